//! An open keystore, and how the commands name keys and call actions.

use kms::{KeyId, KeyState, Keystore, Options};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::Global;
use crate::exit::{Exit, Failure, Result};
use crate::location::Location;
use crate::output::Output;

pub struct Session {
    pub keystore: Keystore,
    pub location: Location,
    pub out: Output,
    /// What opened it: the same root key opens backups, and the user is not asked twice.
    pub options: Options,
}

impl Session {
    pub fn open(global: &Global) -> Result<Self> {
        let location = Location::find(global)?;
        let path = location.keystore()?.unredacted();
        // The anchor is that of this path; a backup has none.
        let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
        let keystore = Keystore::open(&path, &location.anchored(options.clone()))?;
        Ok(Self { keystore, location, out: Output { json: global.json }, options })
    }

    /// The response of an action.
    pub fn call(&self, action: &str, request: &Value) -> Result<Value> {
        let request = Zeroizing::new(request.to_string());
        match self.keystore.call(action, &request) {
            Ok(response) => parsed(&Zeroizing::new(response)),
            Err(failed) => Err(failed.error.into()),
        }
    }

    /// The id of a key that is named by its id, a resource name or an alias, with or without `alias/`.
    pub fn key(&self, name: &str) -> Result<KeyId> {
        let reference = reference(name);
        match self.keystore.describe_key(&reference) {
            Ok(key) => Ok(key.id),
            Err(error) => Err(error.into()),
        }
    }

    /// The key that encrypts: the one named, that of the settings, or the only Enabled key.
    pub fn key_to_encrypt(&self, name: Option<&str>) -> Result<KeyId> {
        if let Some(name) = name.or(self.location.key.as_deref()) {
            return self.key(name);
        }
        let mut found = None;
        for key in self.keystore.keys().filter(|key| key.as_ref().map_or(true, |key| key.state == KeyState::Enabled)) {
            let key = key?;
            if found.replace(key.id).is_some() {
                return Err(Failure::usage("the keystore has several keys, and none was named")
                    .next("pass --key KEY, one of: kms key list"));
            }
        }
        found.ok_or_else(|| {
            Failure::new(Exit::NotFound, "Forbidden.KeyNotFound", "the keystore has no Enabled key")
                .next("kms key create NAME --rotate-every 90d")
        })
    }

    /// The metadata of a key with its aliases and tags.
    pub fn described(&self, id: KeyId) -> Result<Value> {
        let mut response = self.call("DescribeKey", &json!({ "KeyId": id.to_string() }))?;
        let mut key = response["KeyMetadata"].take();
        key["Aliases"] = self.aliases(id)?.into();
        Ok(key)
    }

    pub fn aliases(&self, id: KeyId) -> Result<Vec<String>> {
        Ok(self.keystore.aliases_of(id).collect::<kms::Result<_>>()?)
    }

    /// A key for people: its id, and its aliases.
    pub fn named(&self, id: KeyId) -> String {
        match self.aliases(id) {
            Ok(aliases) if !aliases.is_empty() => format!("{id} ({})", aliases.join(", ")),
            _ => id.to_string(),
        }
    }
}

pub fn parsed(json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|error| {
        Failure::new(Exit::Internal, "InternalFailure", format!("the library returned JSON that is none: {error}"))
    })
}

/// What the library takes for a key's name: an alias gets its prefix where it was left out.
pub fn reference(name: &str) -> String {
    if KeyId::parse(name).is_some() || name.contains(':') { name.to_owned() } else { alias(name) }
}

pub fn alias(name: &str) -> String {
    if name.starts_with("alias/") { name.to_owned() } else { format!("alias/{name}") }
}
