//! The actions that list, page by page.

use serde_json::{Value, json};

use super::request::{Request, invalid};
use super::show::{key_entry, object, state, version};
use super::{Keystore, Response};
use crate::domain::arn;
use crate::domain::key::{Creator, Key};
use crate::domain::time::Time;
use crate::error::Result;
use crate::service::log_export::entry;
use crate::service::{Core, ListChanges};

/// PageNumber from 1, PageSize 1 to 100, 10 by default.
struct PageRequest {
    number: usize,
    size: usize,
    seen: usize,
    rows: Vec<Value>,
}

impl PageRequest {
    fn of(request: &mut Request) -> Result<Self> {
        let mut take = |name: &str, default: i64, most: i64| match request.optional_integer(name)?.unwrap_or(default) {
            number if (1..=most).contains(&number) => usize::try_from(number).map_err(|_| invalid(name)),
            _ => Err(invalid(name)),
        };
        Ok(Self {
            number: take("PageNumber", 1, i64::from(i32::MAX))?,
            size: take("PageSize", 10, 100)?,
            seen: 0,
            rows: Vec::new(),
        })
    }

    /// Counts a row, and keeps it if it is on the page.
    fn add(&mut self, row: impl FnOnce() -> Value) {
        let first = (self.number - 1).saturating_mul(self.size);
        if self.seen >= first && self.rows.len() < self.size {
            self.rows.push(row());
        }
        self.seen += 1;
    }

    fn finish(self, list: &str, item: &str) -> Response {
        object([
            (list, json!({ item: self.rows })),
            ("PageNumber", self.number.into()),
            ("PageSize", self.size.into()),
            ("TotalCount", self.seen.into()),
        ])
    }
}

/// What ListKeys may be filtered by; values of one name are alternatives, different names must all match.
struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    fn of(request: &mut Request) -> Result<Self> {
        let bad = || invalid("Filters");
        let Some(filters) = request.json("Filters")? else { return Ok(Self(Vec::new())) };
        let entries = filters.as_array().filter(|entries| entries.len() <= 10).ok_or_else(bad)?;
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        for entry in entries {
            let name = entry.get("Key").and_then(Value::as_str).ok_or_else(bad)?;
            let known = ["KeyState", "KeySpec", "KeyUsage", "ProtectionLevel", "CreatorType"].contains(&name);
            let values = entry.get("Values").and_then(Value::as_array).filter(|v| known && v.len() <= 10);
            let values: Vec<String> = values
                .ok_or_else(bad)?
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(bad)?;
            match all.iter_mut().find(|(seen, _)| seen == name) {
                Some((_, held)) => held.extend(values),
                None => all.push((name.to_owned(), values)),
            }
        }
        Ok(Self(all))
    }

    fn match_key(&self, key: &Key) -> bool {
        self.0.iter().all(|(name, values)| {
            let own = match name.as_str() {
                "KeyState" => state(key.state),
                "KeySpec" => "Aliyun_AES_256",
                "KeyUsage" => "ENCRYPT/DECRYPT",
                "ProtectionLevel" => "SOFTWARE",
                _ if key.creator == Creator::Service => "Service",
                _ => "User",
            };
            values.is_empty() || values.iter().any(|value| value == own)
        })
    }
}

pub fn list_keys(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let mut page = PageRequest::of(request)?;
    let filters = Filters::of(request)?;
    request.finish()?;
    kms.list_keys(None, usize::MAX, |key| {
        if filters.match_key(key) {
            page.add(|| key_entry(key.id));
        }
        true
    })?;
    Ok(page.finish("Keys", "Key"))
}

pub fn list_key_versions(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    let mut page = PageRequest::of(request)?;
    request.finish()?;
    let id = kms.describe_key(key.as_str())?.id;
    kms.list_key_versions(key.as_str(), None, usize::MAX, |found, _| {
        page.add(|| version(id, found));
        true
    })?;
    Ok(page.finish("KeyVersions", "KeyVersion"))
}

fn aliases(kms: &Keystore, request: &mut Request, key: Option<&str>) -> Result<Response> {
    let mut page = PageRequest::of(request)?;
    request.finish()?;
    kms.list_aliases(key, None, usize::MAX, |alias, id| {
        page.add(|| json!({ "KeyId": id.to_string(), "AliasName": alias, "AliasArn": arn::of_alias(alias) }));
        true
    })?;
    Ok(page.finish("Aliases", "Alias"))
}

pub fn list_aliases(kms: &Keystore, request: &mut Request) -> Result<Response> {
    aliases(kms, request, None)
}

pub fn list_aliases_by_key_id(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    aliases(kms, request, Some(&key))
}

pub fn list_resource_tags(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.text("KeyId")?;
    request.finish()?;
    let tags = kms.list_resource_tags(key.as_str())?;
    let id = Core::id_only(&key)?.to_string();
    let tags: Vec<Value> =
        tags.iter().map(|(name, value)| json!({ "KeyId": id, "TagKey": name, "TagValue": value })).collect();
    Ok(object([("Tags", json!({ "Tag": tags }))]))
}

/// Oldest first; continued by AfterGeneration, because the log grows meanwhile.
pub fn list_changes(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let key = request.optional_text("KeyId")?;
    let time = |time: Option<i64>| time.map(Time::from_millis);
    let (from, to) = (time(request.optional_integer("StartTime")?), time(request.optional_integer("EndTime")?));
    let after = request.optional_integer("AfterGeneration")?.map(u64::try_from).transpose();
    let after = after.map_err(|_| invalid("AfterGeneration"))?;
    let most = match request.optional_integer("MaxResults")?.unwrap_or(100) {
        most @ 1..=1000 => usize::try_from(most).map_err(|_| invalid("MaxResults"))?,
        _ => return Err(invalid("MaxResults")),
    };
    request.finish()?;
    let mut rows = Vec::new();
    let which = ListChanges { key: None, from, to, after };
    kms.list_changes(key.as_deref(), which, most + 1, |change| {
        rows.push(Value::Object(entry(change)));
        Ok(true)
    })?;
    let is_last = rows.len() <= most;
    rows.truncate(most);
    Ok(object([("Changes", json!({ "Change": rows })), ("IsLast", is_last.into())]))
}
