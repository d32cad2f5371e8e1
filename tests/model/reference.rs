//! The keystore as its documentation describes it, in plain maps: the answer and the changes of each operation.
//!
//! Every operation checks its arguments, then what they name, then the kind of key, then its state. A refused
//! operation may leave this model changed, so its caller restores a copy.

mod arguments;
mod clock;
mod cryptography;
mod keys;
mod material;
mod names;
mod rotation;

use std::collections::BTreeMap;

pub use self::arguments::bare;
use super::rules::{Millis, Refusal, Row, Rules, State};

pub type Answer<T = ()> = Result<T, Refusal>;
pub type Context = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub created: Millis,
    /// Random: recorded when the keystore first returns it.
    pub id: Option<String>,
}

/// A date that must be seen to be reached twice before something is destroyed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deadline {
    pub date: Millis,
    pub confirmed: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub material: [u8; 32],
    pub present: bool,
    pub expiry: Option<Deadline>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// As the user set it last; see [`Key::state_at`].
    pub state: State,
    pub external: bool,
    pub service: bool,
    pub description: String,
    pub created: Millis,
    /// Seconds.
    pub policy: Option<i64>,
    /// Oldest first; the last is the primary.
    pub versions: Vec<Version>,
    /// When a LastRotationDate in the future was noticed.
    pub noticed: Option<Millis>,
    pub deletion: Option<Deadline>,
    pub protection: Option<String>,
    pub imported: Option<Imported>,
    pub tags: BTreeMap<String, String>,
}

/// What was encrypted, and under which key and version.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    pub key: String,
    /// Counted from 1.
    pub version: usize,
    pub plaintext: Vec<u8>,
    pub context: BTreeMap<String, String>,
}

/// What a ciphertext given to the keystore turns out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Blob {
    Whole(Sealed),
    /// Well-formed, but some byte that is only authenticated was changed.
    Changed(Sealed),
    /// Names a key that isn't there.
    UnknownKey,
    /// Names a version that isn't there, or is another key's.
    UnknownVersion(String),
    Malformed,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Of this key, made at that time.
    Of(String, Millis),
    Damaged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TickReport {
    pub rotated: usize,
    pub destroyed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Disabled,
    Enabled,
    Suspended,
}

impl Key {
    /// LastRotationDate: the creation time of the newest version.
    pub fn last_rotation(&self) -> Option<Millis> {
        self.versions.last().map(|version| version.created)
    }

    /// NextRotationDate: when the next rotation is carried out, if the clock stays right.
    pub fn next_rotation(&self, now: Millis) -> Option<Millis> {
        let (last, interval) = (self.last_rotation()?, self.policy? * 1000);
        let noticed = match self.noticed {
            None if last > now => Some(now),
            Some(noticed) if last <= now && last - noticed >= interval => None,
            noticed => noticed,
        };
        Some(noticed.map_or(last + interval, |noticed| (last + interval).min(noticed + interval)))
    }

    pub fn automatic_rotation(&self, now: Millis, rules: &Rules) -> Rotation {
        match (self.policy, self.state_at(now, rules)) {
            (None, _) => Rotation::Disabled,
            (Some(_), State::Enabled) => Rotation::Enabled,
            (Some(_), _) => Rotation::Suspended,
        }
    }

    /// When imported material is to be refused.
    pub fn expiry(&self) -> Option<Millis> {
        self.imported.as_ref()?.expiry.map(|expiry| expiry.date)
    }

    fn has_material(&self, now: Millis, rules: &Rules) -> bool {
        let Some(imported) = &self.imported else { return !self.external };
        let expired = imported.expiry.is_some_and(|expiry| expiry.date <= now);
        imported.present && !(expired && rules.expiry_counts_at_once)
    }

    /// Expired material makes an EXTERNAL key wait for its import from that instant.
    pub fn state_at(&self, now: Millis, rules: &Rules) -> State {
        match self.state {
            State::PendingDeletion => State::PendingDeletion,
            _ if !self.has_material(now, rules) => State::PendingImport,
            state => state,
        }
    }

    fn only_rotating_kind(&self) -> Answer {
        if self.external || self.service { Err(Refusal::UnsupportedOperation) } else { Ok(()) }
    }

    fn only_external(&self) -> Answer {
        if self.external { Ok(()) } else { Err(Refusal::UnsupportedOrigin) }
    }

    fn promote_a_new_version(&mut self, now: Millis) {
        self.versions.push(Version { created: now, id: None });
        self.noticed = None;
    }

    /// Rotates if due; records a LastRotationDate in the future.
    fn look_at_the_schedule(&mut self, now: Millis, rules: &Rules) -> bool {
        let (Some(last), Some(interval)) = (self.last_rotation(), self.policy.map(|seconds| seconds * 1000)) else {
            return false;
        };
        if self.state_at(now, rules) != State::Enabled {
            return false;
        }
        if self.noticed.is_some_and(|noticed| last <= now && last - noticed >= interval) {
            self.noticed = None;
        }
        let next = last + interval;
        let due = self.noticed.map_or(next, |noticed| next.min(noticed + interval));
        if due <= now {
            self.promote_a_new_version(now);
            return true;
        }
        if last > now && self.noticed.is_none() {
            self.noticed = Some(now);
        }
        false
    }

    fn erase_material(&mut self) {
        if let Some(imported) = &mut self.imported {
            imported.present = false;
            imported.expiry = None;
        }
        if self.state != State::PendingDeletion {
            self.state = State::PendingImport;
        }
    }
}

impl Deadline {
    fn at(date: Millis) -> Self {
        Self { date, confirmed: None }
    }

    /// One observation; true when the date has two confirmations, an hour apart.
    fn look(&mut self, now: Millis, rules: &Rules) -> bool {
        if now < self.date {
            self.confirmed = None;
            return false;
        }
        match self.confirmed {
            None => {
                self.confirmed = Some(now);
                rules.confirmations_apart == 0
            }
            Some(first) => now - first >= rules.confirmations_apart,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub rules: Rules,
    pub keys: BTreeMap<String, Key>,
    pub aliases: BTreeMap<String, String>,
}

impl Model {
    fn by_id(&self, id: &str) -> Answer<String> {
        let id = bare(id).to_ascii_lowercase();
        if self.keys.contains_key(&id) { Ok(id) } else { Err(Refusal::KeyNotFound) }
    }

    pub fn by_name(&self, name: &str) -> Answer<String> {
        if bare(name).starts_with("alias/") {
            return self.aliases.get(bare(name)).cloned().ok_or(Refusal::AliasNotFound);
        }
        self.by_id(name)
    }

    fn key(&mut self, id: &str) -> &mut Key {
        self.keys.get_mut(id).unwrap()
    }

    fn check(&self, row: Row, id: &str, now: Millis) -> Answer {
        self.rules.check(row, self.keys[id].state_at(now, &self.rules))
    }

    pub fn version_id(&self, key: &str, version: usize) -> String {
        self.keys[key].versions[version - 1].id.clone().unwrap()
    }

    fn rotate_if_due(&mut self, id: &str, now: Millis) -> bool {
        let rules = self.rules.clone();
        self.key(id).look_at_the_schedule(now, &rules)
    }
}
