//! A field of a file with a JSON object on each line. Everything but its ciphertexts stays byte by byte.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::mover::Pairs;
use super::record::{Cell, Change, Field, MOST_RECORD, Sink};
use crate::exit::{Failure, Result};

/// The members of an object in their order, as they stand in the line.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The value of a field, by its name or as `outer.inner`; none where it is missing.
fn find<'a>(json: &'a str, name: &str) -> Result<Option<&'a str>> {
    let members: Members<'a> =
        serde_json::from_str(json).map_err(|error| Failure::usage(format!("not a JSON object: {error}")))?;
    let of = |name: &str| {
        let mut found = members.0.iter().filter(|(member, _)| member == name).map(|(_, value)| value.get());
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Failure::usage(format!("several members {name}"))),
            (found, None) => Ok(found),
        }
    };
    if let Some(found) = of(name)? {
        return Ok(Some(found));
    }
    match name.split_once('.') {
        Some((outer, inner)) => match of(outer)? {
            Some(value) if value.starts_with('{') => find(value, inner),
            _ => Ok(None),
        },
        None => Ok(None),
    }
}

/// The text of a string.
fn string(json: &str) -> Result<String> {
    serde_json::from_str(json).map_err(|_| Failure::usage("the field is no string"))
}

fn context_value(line: &str, column: &str) -> Result<String> {
    match find(line, column)? {
        None | Some("null") => {
            Err(Failure::usage(format!("the line has no value {column} for the encryption context")))
        }
        Some(value) if value.starts_with('"') => string(value),
        Some(value) if value.starts_with(['{', '[']) => {
            Err(Failure::usage(format!("{column} is no single value for the encryption context")))
        }
        Some(value) => Ok(value.to_owned()),
    }
}

pub fn scan(path: &Path, source: File, field: &Field<'_>, change: &mut Change<'_>, sink: &mut Sink<'_>) -> Result<()> {
    let mut source = BufReader::with_capacity(1 << 16, source);
    let mut raw = Vec::new();
    for number in 1.. {
        raw.clear();
        let read = source.by_ref().take(MOST_RECORD as u64 + 1).read_until(b'\n', &mut raw);
        if read.map_err(|error| Failure::file("reading", path, &error))? == 0 {
            break;
        }
        if raw.len() > MOST_RECORD {
            let most = crate::output::size(MOST_RECORD as u64);
            return Err(Failure::usage(format!("{} line {number} is above {most}", path.display())));
        }
        if raw.trim_ascii().is_empty() {
            sink(&raw)?;
            continue;
        }
        let line = std::str::from_utf8(&raw).map_err(|_| Failure::usage("not UTF-8"));
        let found = line.and_then(|line| Ok((line, find(line.trim_start_matches('\u{feff}'), field.name)?)));
        let (line, found) = match found {
            Ok((line, found)) => (line, Ok(found)),
            Err(failure) => ("", Err(failure)),
        };
        let context = || -> Result<Pairs> {
            let pair = |(name, column): &(String, String)| Ok((name.clone(), context_value(line, column)?));
            field.context.iter().map(pair).collect()
        };
        // Missing and null are like an empty cell.
        let value = found.and_then(|found| match found {
            None | Some("null") => Ok((None, String::new())),
            Some(json) => Ok((Some(json), string(json)?)),
        });
        let (json, value) = match &value {
            Ok((json, value)) => (*json, Ok(value.as_bytes())),
            Err(failure) => (None, Err(failure.again())),
        };
        let new = change(Cell { line: number, value, context: &context })?;
        match (new, json) {
            (Some(new), Some(json)) => {
                // The value is a part of the line, which stays around it.
                let start = (json.as_ptr() as usize).saturating_sub(raw.as_ptr() as usize);
                let text = serde_json::Value::from(String::from_utf8_lossy(&new)).to_string();
                sink(raw.get(..start).unwrap_or_default())?;
                sink(text.as_bytes())?;
                sink(raw.get(start + json.len()..).unwrap_or_default())?;
            }
            _ => sink(&raw)?,
        }
    }
    Ok(())
}
