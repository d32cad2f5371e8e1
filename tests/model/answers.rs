//! The answer of an operation, in one form for the model, the Rust calls and the JSON.

use serde_json::{Value, json};

use super::reference::{Key, Model, Rotation, TickReport, Version};
use super::rules::{Millis, State};

/// A key version: the model counts them, the keystore names them.
#[derive(Debug, Clone, PartialEq)]
pub enum Named {
    Number(usize),
    Id(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done,
    Made(String),
    Described(String),
    Keys(Vec<String>),
    Version {
        key: String,
        version: Named,
        primary: Option<bool>,
    },
    Versions {
        key: String,
        versions: Vec<Named>,
    },
    /// Encrypted, with the version.
    Sealed {
        key: String,
        version: Named,
        length: usize,
    },
    Opened {
        key: String,
        version: Named,
        plaintext: Vec<u8>,
    },
    /// Key and version of the source, then those of the new ciphertext.
    Moved {
        from: String,
        from_version: Named,
        to: String,
        to_version: Named,
        length: usize,
    },
    /// A data key wrapped for another recipient.
    Exported {
        key: String,
        version: Named,
        length: usize,
    },
    Parameters {
        expires: Millis,
    },
    Aliases(Vec<(String, String)>),
    Tags {
        key: String,
        tags: Vec<(String, String)>,
    },
    TickReport(TickReport),
    Json(Value),
}

/// Where in a list a JSON answer begins, and how long its pages are.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub number: i64,
    pub size: i64,
}

impl Answer {
    /// The same with the ids of versions, now that all are known.
    pub fn with_ids(self, model: &Model) -> Self {
        let id = |key: &str, version: Named| match version {
            Named::Number(number) => Named::Id(model.version_id(key, number)),
            named => named,
        };
        match self {
            Self::Version { version, key, primary } => Self::Version { version: id(&key, version), key, primary },
            Self::Versions { key, versions } => {
                Self::Versions { versions: versions.into_iter().map(|version| id(&key, version)).collect(), key }
            }
            Self::Sealed { key, version, length } => Self::Sealed { version: id(&key, version), key, length },
            Self::Opened { key, version, plaintext } => Self::Opened { version: id(&key, version), key, plaintext },
            Self::Moved { from, from_version, to, to_version, length } => {
                Self::Moved { from_version: id(&from, from_version), from, to_version: id(&to, to_version), to, length }
            }
            Self::Exported { key, version, length } => Self::Exported { version: id(&key, version), key, length },
            other => other,
        }
    }

    /// The response of `kms_call` without its RequestId and random values.
    pub fn in_json(&self, model: &Model, page: Option<Page>, now: Millis) -> Value {
        let id = |version: &Named| match version {
            Named::Id(id) => id.clone(),
            Named::Number(_) => unreachable!("ids were put in before"),
        };
        match self {
            Self::Done => json!({}),
            Self::Made(key) => json!({"KeyMetadata": metadata(model, key, false, now)}),
            Self::Described(key) => json!({"KeyMetadata": metadata(model, key, true, now)}),
            Self::Keys(keys) => {
                let shown = |key: &String| json!({"KeyId": key, "KeyArn": key_arn(key)});
                paged("Keys", "Key", keys.iter().map(shown).collect(), page)
            }
            Self::Version { key, version, .. } => json!({"KeyVersion": shown_version(model, key, &id(version))}),
            Self::Versions { key, versions } => {
                let shown = |version: &Named| shown_version(model, key, &id(version));
                paged("KeyVersions", "KeyVersion", versions.iter().map(shown).collect(), page)
            }
            Self::Sealed { key, version, length } => {
                json!({"KeyId": key, "KeyVersionId": id(version), "CiphertextBlob": length})
            }
            Self::Opened { key, version, plaintext } => {
                json!({"KeyId": key, "KeyVersionId": id(version), "Plaintext": plaintext})
            }
            // The ids are the source's, as the service documents it.
            Self::Moved { from, from_version, length, .. } => {
                json!({"KeyId": from, "KeyVersionId": id(from_version), "CiphertextBlob": length})
            }
            Self::Exported { key, version, length } => {
                json!({"KeyId": key, "KeyVersionId": id(version), "ExportedDataKey": length})
            }
            Self::Parameters { expires } => json!({"TokenExpireTime": date(*expires)}),
            Self::Aliases(aliases) => {
                let shown = |(alias, key): &(String, String)| {
                    let arn = format!("acs:kms:local:libkms:{alias}");
                    json!({"KeyId": key, "AliasName": alias, "AliasArn": arn})
                };
                paged("Aliases", "Alias", aliases.iter().map(shown).collect(), page)
            }
            Self::Tags { key, tags } => {
                let shown = |(name, value): &(String, String)| json!({"KeyId": key, "TagKey": name, "TagValue": value});
                json!({"Tags": {"Tag": tags.iter().map(shown).collect::<Vec<_>>()}})
            }
            Self::TickReport(_) => unreachable!("no action of the service"),
            Self::Json(value) => value.clone(),
        }
    }
}

fn paged(list: &str, entry: &str, all: Vec<Value>, page: Option<Page>) -> Value {
    let page = page.unwrap_or(Page { number: 1, size: 10 });
    let total = all.len();
    let skipped = ((page.number - 1) * page.size) as usize;
    let shown: Vec<Value> = all.into_iter().skip(skipped).take(page.size as usize).collect();
    json!({list: {entry: shown}, "PageNumber": page.number, "PageSize": page.size, "TotalCount": total})
}

fn key_arn(key: &str) -> String {
    format!("acs:kms:local:libkms:key/{key}")
}

fn shown_version(model: &Model, key: &str, version: &str) -> Value {
    let of = |known: &&Version| known.id.as_deref() == Some(version);
    let created = model.keys[key].versions.iter().find(of).unwrap().created;
    json!({"KeyId": key, "KeyVersionId": version, "CreationDate": date(created)})
}

pub fn state_name(state: State) -> &'static str {
    match state {
        State::Enabled => "Enabled",
        State::Disabled => "Disabled",
        State::PendingDeletion => "PendingDeletion",
        State::PendingImport => "PendingImport",
    }
}

fn metadata(model: &Model, id: &str, with_protection: bool, now: Millis) -> Value {
    let key: &Key = &model.keys[id];
    let rotation = key.automatic_rotation(now, &model.rules);
    let or_empty = |time: Option<Millis>| time.map(date).unwrap_or_default();
    let mut shown = json!({
        "KeyId": id,
        "Arn": key_arn(id),
        "Creator": "libkms",
        "CreationDate": date(key.created),
        "Description": key.description,
        "KeySpec": "Aliyun_AES_256",
        "KeyUsage": "ENCRYPT/DECRYPT",
        "KeyState": state_name(key.state_at(now, &model.rules)),
        "Origin": if key.external { "EXTERNAL" } else { "Aliyun_KMS" },
        "ProtectionLevel": "SOFTWARE",
        "AutomaticRotation": format!("{rotation:?}"),
        "DeleteDate": or_empty(key.deletion.map(|deletion| deletion.date)),
        "MaterialExpireTime": or_empty(key.expiry()),
    });
    if let Some(primary) = key.versions.last() {
        shown["PrimaryKeyVersion"] = json!(primary.id);
        shown["LastRotationDate"] = json!(date(primary.created));
    }
    if rotation != Rotation::Disabled {
        shown["RotationInterval"] = json!(format!("{}s", key.policy.unwrap()));
        shown["NextRotationDate"] = json!(date(key.next_rotation(now).unwrap()));
    }
    if with_protection {
        shown["DeletionProtection"] = json!(if key.protection.is_some() { "Enabled" } else { "Disabled" });
        if let Some(why) = key.protection.as_ref().filter(|why| !why.is_empty()) {
            shown["DeletionProtectionDescription"] = json!(why);
        }
    }
    shown
}

/// ISO 8601, UTC, whole seconds: the civil calendar counted from 1 March of the year 0.
pub fn date(millis: Millis) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
