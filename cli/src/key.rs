//! `kms key`: the keys of a keystore.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use kms::{CreateKey, Interval, KeyId, Origin, Time};
use serde_json::{Value, json};

use crate::args::{Alias, Create, Delete, Import, KeyCommand, KeyNames, List, Policy, Tag};
use crate::confirm::confirm;
use crate::exit::{Exit, Failure, Result};
use crate::output::{self, date, fields, interval, table, text};
use crate::session::{Session, alias};
use crate::version;

pub fn run(session: &Session, command: &KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create(args) => create(session, args),
        KeyCommand::List(args) => list(session, args),
        KeyCommand::Show(args) => show(session, session.key(&args.key)?),
        KeyCommand::Versions(args) => version::list(session, session.key(&args.key)?),
        KeyCommand::Enable(names) => each(session, names, "EnableKey", "enabled", &json!({})),
        KeyCommand::Disable(names) => each(session, names, "DisableKey", "disabled", &json!({})),
        KeyCommand::Rotate(names) => each(session, names, "CreateKeyVersion", "rotated", &json!({})),
        KeyCommand::Undelete(names) => each(session, names, "CancelKeyDeletion", "kept", &json!({})),
        KeyCommand::Policy(args) => policy(session, args),
        KeyCommand::Delete(args) => delete(session, args),
        KeyCommand::Tag(args) => tag(session, args),
        KeyCommand::Alias(args) => set_alias(session, args),
        KeyCommand::Import(args) => import(session, args),
    }
}

fn create(session: &Session, args: &Create) -> Result<()> {
    let alias = args.alias.as_deref().map(alias);
    if let Some(alias) = &alias
        && session.keystore.describe_key(alias).is_ok()
    {
        return Err(Failure::new(Exit::NotFound, "AliasAlreadyExists", format!("{alias} exists already"))
            .next(format!("kms key show {alias}, or another name")));
    }
    #[allow(clippy::needless_update, reason = "fields may be added")]
    let request = CreateKey {
        description: args.description.clone().unwrap_or_default(),
        origin: args.external.then_some(Origin::External),
        rotate_every: args.rotate_every.as_deref().map(Interval::parse).transpose()?,
        ..Default::default()
    };
    let id = session.keystore.create_key(&request)?;
    let made = |command: String| {
        move |error: kms::Error| {
            let mut failure = Failure::from(error);
            failure.text = format!("key {id} is made, but: {}", failure.text);
            failure.next(command)
        }
    };
    if let Some(alias) = &alias {
        session.keystore.create_alias(id, alias).map_err(made(format!("kms key alias {id} NAME")))?;
    }
    if !args.tag.is_empty() {
        session.keystore.tag_resource(id, &pairs(&args.tag)).map_err(made(format!("kms key tag {id} NAME=VALUE")))?;
    }
    show(session, id)
}

pub fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
    list.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn list(session: &Session, args: &List) -> Result<()> {
    let mut keys = Vec::new();
    for key in session.keystore.keys() {
        let described = session.described(key?.id)?;
        if args.state.as_deref().is_none_or(|state| text(&described, "KeyState").eq_ignore_ascii_case(state)) {
            keys.push(described);
        }
    }
    let count = keys.len();
    session.out.print(
        || json!({ "Keys": { "Key": keys }, "TotalCount": count }),
        || match count {
            0 => "no keys; make one: kms key create NAME --rotate-every 90d\n".to_owned(),
            _ => table(
                ["KEY ID", "ALIASES", "STATE", "ROTATES EVERY", "NEXT ROTATION", "DESCRIPTION"],
                keys.iter().map(row),
            ),
        },
    )
}

fn row(key: &Value) -> [String; 6] {
    let aliases: Vec<&str> = key["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let aliases = aliases.iter().map(|name| name.trim_start_matches("alias/")).collect::<Vec<_>>().join(", ");
    let state = match text(key, "DeleteDate").as_str() {
        "" => text(key, "KeyState"),
        due => format!("{} {}", text(key, "KeyState"), date(due)),
    };
    let mut description: String = text(key, "Description").chars().take(40).collect();
    if description != text(key, "Description") {
        description.push_str("...");
    }
    [
        text(key, "KeyId"),
        aliases,
        state,
        interval(&text(key, "RotationInterval")),
        date(&text(key, "NextRotationDate")),
        description,
    ]
}

fn show(session: &Session, id: KeyId) -> Result<()> {
    let mut key = session.described(id)?;
    let tags: Vec<Value> = session
        .keystore
        .list_resource_tags(id)?
        .into_iter()
        .map(|(name, value)| json!({ "TagKey": name, "TagValue": value }))
        .collect();
    key["Tags"] = json!({ "Tag": tags });
    session.out.print(
        || json!({ "KeyMetadata": key }),
        || {
            let list = |value: &Value| {
                value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            };
            let tags: Vec<String> =
                tags.iter().map(|tag| format!("{}={}", text(tag, "TagKey"), text(tag, "TagValue"))).collect();
            let all = [
                ("Key", text(&key, "KeyId")),
                ("Aliases", list(&key["Aliases"])),
                ("State", text(&key, "KeyState")),
                ("Description", text(&key, "Description")),
                ("Created", date(&text(&key, "CreationDate"))),
                ("Origin", text(&key, "Origin")),
                ("Primary version", text(&key, "PrimaryKeyVersion")),
                ("Automatic rotation", text(&key, "AutomaticRotation")),
                ("Rotates every", interval(&text(&key, "RotationInterval"))),
                ("Last rotation", date(&text(&key, "LastRotationDate"))),
                ("Next rotation", date(&text(&key, "NextRotationDate"))),
                ("Deleted on", date(&text(&key, "DeleteDate"))),
                ("Material expires", date(&text(&key, "MaterialExpireTime"))),
                ("Deletion protection", text(&key, "DeletionProtection")),
                ("Tags", tags.join(", ")),
            ];
            fields(&all.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
        },
    )
}

/// Carries out an action on each key; all names are resolved before the first.
fn each(session: &Session, names: &KeyNames, action: &str, done: &str, extra: &Value) -> Result<()> {
    let ids = names.keys.iter().map(|name| session.key(name)).collect::<Result<Vec<_>>>()?;
    let mut changed = Vec::new();
    for id in ids {
        let mut request = extra.clone();
        request["KeyId"] = id.to_string().into();
        session.call(action, &request)?;
        changed.push(id);
    }
    let described = changed.iter().map(|id| session.described(*id)).collect::<Result<Vec<_>>>()?;
    session.out.print(
        || json!({ "Keys": { "Key": described }, "TotalCount": changed.len() }),
        || changed.iter().map(|id| format!("{done} {}\n", session.named(*id))).collect(),
    )
}

fn policy(session: &Session, args: &Policy) -> Result<()> {
    let id = session.key(&args.name.key)?;
    let every = args.rotate_every.as_deref().map(Interval::parse).transpose()?;
    session.keystore.update_rotation_policy(id, every)?;
    show(session, id)
}

fn delete(session: &Session, args: &Delete) -> Result<()> {
    let ids = args.names.keys.iter().map(|name| session.key(name)).collect::<Result<Vec<_>>>()?;
    let mut plan: Vec<String> = Vec::new();
    for id in &ids {
        let versions = session.keystore.describe_key(*id)?.version_count();
        plan.push(format!("delete in {} days: {}, {versions} versions", args.days, session.named(*id)));
    }
    plan.push("From now on these keys encrypt and decrypt nothing. Until the date: kms key undelete KEY".to_owned());
    plan.push("To try it first: kms key disable KEY".to_owned());
    if !confirm(args.reviewed, &plan)? {
        return Ok(());
    }
    each(session, &args.names, "ScheduleKeyDeletion", "pending deletion:", &json!({ "PendingWindowInDays": args.days }))
}

fn tag(session: &Session, args: &Tag) -> Result<()> {
    let id = session.key(&args.name.key)?;
    if !args.set.is_empty() {
        session.keystore.tag_resource(id, &pairs(&args.set))?;
    }
    if !args.remove.is_empty() {
        session.keystore.untag_resource(id, &args.remove.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    let tags = session.call("ListResourceTags", &json!({ "KeyId": id.to_string() }))?;
    session.out.print(
        || tags.clone(),
        || {
            let list = tags["Tags"]["Tag"].as_array().into_iter().flatten();
            list.map(|tag| {
                format!("{}={}\n", output::clean(&text(tag, "TagKey")), output::clean(&text(tag, "TagValue")))
            })
            .collect()
        },
    )
}

fn set_alias(session: &Session, args: &Alias) -> Result<()> {
    let id = session.key(&args.name.key)?;
    for name in args.set.iter().map(|name| alias(name)) {
        let exists = session.keystore.describe_key(&name).is_ok();
        match args.moves && exists {
            true => session.keystore.update_alias(id, &name)?,
            false => session.keystore.create_alias(id, &name)?,
        }
    }
    for name in args.remove.iter().map(|name| alias(name)) {
        if session.key(&name)? != id {
            return Err(
                Failure::usage(format!("{name} is an alias of another key")).next(format!("kms key show {name}"))
            );
        }
        session.keystore.delete_alias(&name)?;
    }
    let aliases = session.aliases(id)?;
    session.out.print(
        || json!({ "KeyId": id.to_string(), "Aliases": aliases }),
        || aliases.iter().map(|name| format!("{name}\n")).collect(),
    )
}

fn import(session: &Session, args: &Import) -> Result<()> {
    let id = session.key(&args.name.key)?;
    let material = crate::stream::Input::open(Some(&args.material))?.bytes(1 << 16)?;
    let material = if material.len() == 32 { material } else { crate::data::debase64(&material).unwrap_or(material) };
    let expires = args.expires.as_deref().map(parse_date).transpose()?;
    session.keystore.import_raw_key_material(id, &material, expires)?;
    show(session, id)
}

/// A date as people write it: `2027-12-31`, RFC 3339, or an interval from now.
pub fn parse_date(text: &str) -> Result<Time> {
    if let Ok(interval) = Interval::parse(text)
        && text.ends_with(['d', 'h', 'm', 's'])
    {
        return Ok(Time::from_millis((Utc::now() + TimeDelta::seconds(interval.seconds())).timestamp_millis()));
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(Time::from_millis(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis()));
    }
    DateTime::parse_from_rfc3339(text).map(|date| Time::from_millis(date.timestamp_millis())).map_err(|_| {
        Failure::usage(format!("{} is no date; write 2027-12-31, 2027-12-31T08:00:00Z or 90d", output::clean(text)))
    })
}
