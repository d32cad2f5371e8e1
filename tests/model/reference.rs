//! The keystore as its documentation describes it, in plain maps: what each operation answers, and what it changes.
//!
//! Every operation checks its arguments, then what they name, then the kind of key, then its state. An operation that is
//! refused may leave this model changed; who calls it keeps a copy and goes back to it.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{DAY, Millis, Refusal, Row, Rules, State};

pub type Answer<T = ()> = Result<T, Refusal>;
pub type Context = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub created: Millis,
    /// Random: learnt when the keystore first shows it.
    pub id: Option<String>,
}

/// A date that must be seen to be reached twice before something is destroyed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deadline {
    pub date: Millis,
    pub sighted: Option<Millis>,
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
pub struct Ticked {
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

    /// NextRotationDate = LastRotationDate + RotationInterval.
    pub fn next_rotation(&self) -> Option<Millis> {
        Some(self.last_rotation()? + self.policy? * 1000)
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

    /// Rotates if that is due; notes a LastRotationDate that lies in the future.
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
        Self { date, sighted: None }
    }

    /// One look; true when the date was seen twice, an hour apart.
    fn look(&mut self, now: Millis, rules: &Rules) -> bool {
        if now < self.date {
            self.sighted = None;
            return false;
        }
        match self.sighted {
            None => {
                self.sighted = Some(now);
                rules.sightings_apart == 0
            }
            Some(first) => now - first >= rules.sightings_apart,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub rules: Rules,
    pub keys: BTreeMap<String, Key>,
    pub aliases: BTreeMap<String, String>,
}

// Arguments.

/// All arguments are looked at before anything else.
fn arguments<const N: usize>(checks: [Answer; N]) -> Answer {
    let mut wrong: Vec<Refusal> = checks.into_iter().filter_map(Result::err).collect();
    if wrong.len() < 2 { wrong.pop().map_or(Ok(()), Err) } else { Err(Refusal::OneOf(wrong)) }
}

/// A key id, and nothing else.
fn id_argument(text: &str) -> Answer {
    match text {
        "" => Err(Refusal::InvalidArgument),
        _ if text.starts_with("alias/") => Err(Refusal::UnsupportedAlias),
        _ => Ok(()),
    }
}

fn key_argument(text: &str) -> Answer {
    if text.is_empty() { Err(Refusal::InvalidArgument) } else { Ok(()) }
}

fn alias_argument(text: &str) -> Answer {
    let name = text.strip_prefix("alias/").ok_or(Refusal::InvalidArgument)?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_/-".contains(c));
    let reserved = name.starts_with("acs");
    if (1..=255).contains(&name.len()) && plain && !reserved { Ok(()) } else { Err(Refusal::InvalidArgument) }
}

/// `integer[unit]`; no sign, space, leading zero or capital.
pub fn interval_argument(text: &str, rules: &Rules) -> Answer<i64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(Refusal::InvalidArgument),
    };
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::InvalidArgument);
    }
    let seconds = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| rules.interval.contains(seconds)).ok_or(Refusal::InvalidArgument)
}

/// Texts without NUL, no empty name, none twice. Only sealing has a limit of size.
fn context_argument(context: &Context, sealing: bool, rules: &Rules) -> Answer {
    let mut names = BTreeSet::new();
    let mut encoded = 2;
    for (name, value) in context {
        encoded += 4 + name.len() + value.len();
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(Refusal::InvalidArgument);
        }
        if !names.insert(name) {
            return Err(Refusal::InvalidArgument);
        }
    }
    if sealing && encoded > rules.context_bytes { Err(Refusal::LimitExceeded) } else { Ok(()) }
}

fn map(context: &Context) -> BTreeMap<String, String> {
    context.iter().cloned().collect()
}

fn blob_argument(blob: &Blob) -> Answer {
    if *blob == Blob::Malformed { Err(Refusal::MalformedCiphertext) } else { Ok(()) }
}

/// A policy; turning it off has no interval.
fn policy_argument(text: Option<&str>, rules: &Rules) -> Answer {
    text.map_or(Ok(()), |text| interval_argument(text, rules).map(drop))
}

fn expiry_argument(expires: Option<Millis>, now: Millis) -> Answer {
    if expires.is_some_and(|expires| expires <= now) { Err(Refusal::InvalidArgument) } else { Ok(()) }
}

fn data_key_argument(bytes: i64, rules: &Rules) -> Answer {
    if rules.data_key_bytes.contains(&bytes) { Ok(()) } else { Err(Refusal::InvalidArgument) }
}

fn tag_text_argument(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Answer {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.+=@:".contains(c));
    if plain && lengths.contains(&text.len()) { Ok(()) } else { Err(Refusal::InvalidArgument) }
}

fn description_argument(text: &str, rules: &Rules) -> Answer {
    if text.contains('\0') {
        return Err(Refusal::InvalidArgument);
    }
    if text.chars().count() > rules.description_characters { Err(Refusal::LimitExceeded) } else { Ok(()) }
}

impl Model {
    // What arguments name.

    fn by_id(&self, id: &str) -> Answer<String> {
        let id = id.to_ascii_lowercase();
        if self.keys.contains_key(&id) { Ok(id) } else { Err(Refusal::KeyNotFound) }
    }

    pub fn by_name(&self, name: &str) -> Answer<String> {
        if name.starts_with("alias/") {
            return self.aliases.get(name).cloned().ok_or(Refusal::AliasNotFound);
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

    // Keys.

    /// `fresh` is the random id that the keystore gave it.
    pub fn create_key(
        &mut self,
        fresh: &str,
        description: &str,
        external: bool,
        rotate_every: Option<&str>,
        now: Millis,
    ) -> Answer<String> {
        arguments([description_argument(description, &self.rules), policy_argument(rotate_every, &self.rules)])?;
        let policy = rotate_every.map(|text| interval_argument(text, &self.rules)).transpose()?;
        if external && policy.is_some() {
            return Err(Refusal::UnsupportedOperation);
        }
        self.insert(fresh, description, external, false, policy, now);
        Ok(fresh.to_owned())
    }

    fn insert(&mut self, id: &str, description: &str, external: bool, service: bool, policy: Option<i64>, now: Millis) {
        let versions = if external { Vec::new() } else { vec![Version { created: now, id: None }] };
        let state = if external { State::PendingImport } else { State::Enabled };
        let key = Key {
            state,
            external,
            service,
            description: description.to_owned(),
            created: now,
            policy,
            versions,
            noticed: None,
            deletion: None,
            protection: None,
            imported: None,
            tags: BTreeMap::new(),
        };
        self.keys.insert(id.to_owned(), key);
    }

    /// The key of a named subsystem, made on first use.
    pub fn create_service_key(&mut self, fresh: &str, name: &str, now: Millis) -> Answer<String> {
        if name.is_empty() || alias_argument(&format!("alias/-cs/{name}")).is_err() {
            return Err(Refusal::InvalidArgument);
        }
        let alias = format!("alias/acs/{name}");
        if let Some(id) = self.aliases.get(&alias) {
            return Ok(id.clone());
        }
        self.insert(fresh, "", false, true, None, now);
        self.aliases.insert(alias, fresh.to_owned());
        Ok(fresh.to_owned())
    }

    pub fn describe_key(&self, name: &str) -> Answer<String> {
        key_argument(name)?;
        self.by_name(name)
    }

    /// Ids after one that need not be there any more, in their order.
    pub fn list_keys(&self, after: Option<&str>, limit: usize) -> Answer<Vec<String>> {
        if let Some(after) = after {
            id_argument(after)?;
            if !is_uuid(after) {
                return Err(Refusal::KeyNotFound);
            }
        }
        let after = after.unwrap_or("").to_ascii_lowercase();
        Ok(self.keys.keys().filter(|id| **id > after).take(limit).cloned().collect())
    }

    pub fn enable_key(&mut self, id: &str, now: Millis) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.check(Row::EnableKey, &id, now)?;
        let becomes = self.keys[&id].state != State::Enabled;
        self.key(&id).state = State::Enabled;
        if becomes && self.rules.overdue_rotates_at_once {
            self.rotate_if_due(&id, now);
        }
        Ok(())
    }

    pub fn disable_key(&mut self, id: &str, now: Millis) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.check(Row::DisableKey, &id, now)?;
        self.key(&id).state = State::Disabled;
        Ok(())
    }

    pub fn schedule_key_deletion(&mut self, id: &str, days: Option<i64>, now: Millis) -> Answer {
        let days = days.unwrap_or(30);
        let in_range = self.rules.deletion_window_days.contains(&days);
        arguments([id_argument(id), if in_range { Ok(()) } else { Err(Refusal::InvalidArgument) }])?;
        let id = self.by_id(id)?;
        if self.keys[&id].service {
            return Err(Refusal::UnsupportedOperation);
        }
        self.check(Row::ScheduleKeyDeletion, &id, now)?;
        if self.keys[&id].protection.is_some() {
            return Err(Refusal::DeletionProtected);
        }
        let key = self.key(&id);
        key.state = State::PendingDeletion;
        key.deletion = Some(Deadline::at(now + days * DAY));
        Ok(())
    }

    pub fn cancel_key_deletion(&mut self, id: &str, now: Millis) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.check(Row::CancelKeyDeletion, &id, now)?;
        let key = self.key(&id);
        // Whether material is there is for `state_at` to say, also of a key whose material has expired meanwhile.
        key.state = State::Enabled;
        key.deletion = None;
        if self.rules.overdue_rotates_at_once {
            self.rotate_if_due(&id, now);
        }
        Ok(())
    }

    pub fn update_key_description(&mut self, id: &str, description: &str, now: Millis) -> Answer {
        arguments([id_argument(id), description_argument(description, &self.rules)])?;
        let id = self.by_id(id)?;
        self.check(Row::UpdateKeyDescription, &id, now)?;
        self.key(&id).description = description.to_owned();
        Ok(())
    }

    pub fn set_deletion_protection(&mut self, id: &str, protection: Option<&str>, now: Millis) -> Answer {
        arguments([id_argument(id), description_argument(protection.unwrap_or(""), &self.rules)])?;
        let id = self.by_id(id)?;
        self.check(Row::SetDeletionProtection, &id, now)?;
        if protection.is_some() || self.rules.turning_protection_off_forgets_why {
            self.key(&id).protection = protection.map(str::to_owned);
        }
        Ok(())
    }

    // Versions and rotation.

    pub fn update_rotation_policy(&mut self, id: &str, rotate_every: Option<&str>, now: Millis) -> Answer {
        arguments([id_argument(id), policy_argument(rotate_every, &self.rules)])?;
        let policy = rotate_every.map(|text| interval_argument(text, &self.rules)).transpose()?;
        let id = self.by_id(id)?;
        self.keys[&id].only_rotating_kind()?;
        self.check(Row::UpdateRotationPolicy, &id, now)?;
        self.key(&id).policy = policy;
        if self.rules.overdue_rotates_at_once {
            self.rotate_if_due(&id, now);
        }
        Ok(())
    }

    /// The number of the new version, which is the primary.
    pub fn create_key_version(&mut self, name: &str, now: Millis) -> Answer<(String, usize)> {
        key_argument(name)?;
        let id = self.by_name(name)?;
        self.keys[&id].only_rotating_kind()?;
        self.check(Row::CreateKeyVersion, &id, now)?;
        let moves = self.rules.rotating_moves_the_schedule;
        let key = self.key(&id);
        let last = key.last_rotation().unwrap_or(now);
        key.promote_a_new_version(if moves { now } else { last });
        let number = key.versions.len();
        Ok((id, number))
    }

    pub fn describe_key_version(&self, name: &str, version: &str) -> Answer<(String, usize)> {
        key_argument(name)?;
        let id = self.by_name(name)?;
        let version = version.to_ascii_lowercase();
        let place = self.keys[&id].versions.iter().position(|known| known.id.as_ref() == Some(&version));
        place.map(|place| (id, place + 1)).ok_or(Refusal::KeyVersionNotFound)
    }

    /// Numbers, newest first.
    pub fn list_key_versions(&self, name: &str, before: Option<u64>, limit: usize) -> Answer<(String, Vec<usize>)> {
        key_argument(name)?;
        let id = self.by_name(name)?;
        let below = before.map_or(usize::MAX, |before| before as usize);
        let numbers = (1..=self.keys[&id].versions.len()).rev().filter(|number| *number < below).take(limit).collect();
        Ok((id, numbers))
    }

    // Cryptography.

    fn primary_for_encryption(&mut self, id: &str, now: Millis) -> usize {
        if self.rules.encrypting_rotates_first {
            self.rotate_if_due(id, now);
        }
        self.keys[id].versions.len()
    }

    pub fn encrypt(&mut self, name: &str, plaintext: &[u8], context: &Context, now: Millis) -> Answer<Sealed> {
        arguments([key_argument(name), context_argument(context, true, &self.rules)])?;
        let key = self.by_name(name)?;
        self.check(Row::Cryptography, &key, now)?;
        let version = self.primary_for_encryption(&key, now);
        Ok(Sealed { key, version, plaintext: plaintext.to_vec(), context: map(context) })
    }

    /// The blob's key and version exist, and the key may decrypt now.
    fn may_open(&self, blob: &Blob, now: Millis) -> Answer {
        let id = match blob {
            Blob::Malformed => return Err(Refusal::MalformedCiphertext),
            Blob::UnknownKey => return Err(Refusal::KeyNotFound),
            Blob::UnknownVersion(key) => {
                self.by_id(key)?;
                return Err(Refusal::KeyVersionNotFound);
            }
            Blob::Whole(sealed) | Blob::Changed(sealed) => self.by_id(&sealed.key)?,
        };
        self.check(Row::Cryptography, &id, now)
    }

    fn open(blob: &Blob, context: &BTreeMap<String, String>) -> Answer<Sealed> {
        match blob {
            Blob::Whole(sealed) if sealed.context == *context => Ok(sealed.clone()),
            _ => Err(Refusal::AuthenticationFailed),
        }
    }

    pub fn decrypt(&self, blob: &Blob, context: &Context, now: Millis) -> Answer<Sealed> {
        arguments([blob_argument(blob), context_argument(context, false, &self.rules)])?;
        self.may_open(blob, now)?;
        Self::open(blob, &map(context))
    }

    /// All of the source is checked, then all of the destination; then the source is opened.
    pub fn re_encrypt(
        &mut self,
        blob: &Blob,
        source_context: &Context,
        destination: &str,
        destination_context: &Context,
        now: Millis,
    ) -> Answer<(Sealed, Sealed)> {
        arguments([
            blob_argument(blob),
            context_argument(source_context, false, &self.rules),
            id_argument(destination),
            context_argument(destination_context, true, &self.rules),
        ])?;
        self.may_open(blob, now)?;
        let key = self.by_id(destination)?;
        self.check(Row::Cryptography, &key, now)?;
        let source = Self::open(blob, &map(source_context))?;
        let version = self.primary_for_encryption(&key, now);
        let plaintext = source.plaintext.clone();
        Ok((source, Sealed { key, version, plaintext, context: map(destination_context) }))
    }

    /// Names key and version of a blob, and whether that is the primary; in every state.
    pub fn inspect(&self, blob: &Blob) -> Answer<(String, usize, bool)> {
        match blob {
            Blob::Malformed => Err(Refusal::MalformedCiphertext),
            Blob::UnknownKey => Err(Refusal::KeyNotFound),
            Blob::UnknownVersion(key) => self.by_id(key).and(Err(Refusal::KeyVersionNotFound)),
            Blob::Whole(sealed) | Blob::Changed(sealed) => {
                let id = self.by_id(&sealed.key)?;
                let is_primary = self.keys[&id].versions.len() == sealed.version;
                Ok((id, sealed.version, is_primary))
            }
        }
    }

    /// The plaintext is random, so the answer is without it.
    pub fn generate_data_key(&mut self, name: &str, bytes: i64, context: &Context, now: Millis) -> Answer<Sealed> {
        arguments([
            key_argument(name),
            data_key_argument(bytes, &self.rules),
            context_argument(context, true, &self.rules),
        ])?;
        self.encrypt(name, &[], context, now)
    }

    /// `fits` is how many bytes the padding leaves; `None` stands for a public key that is none.
    pub fn generate_and_export_data_key(
        &mut self,
        name: &str,
        bytes: i64,
        context: &Context,
        fits: Option<usize>,
        now: Millis,
    ) -> Answer<Sealed> {
        let public_key = match fits {
            None => Err(Refusal::InvalidArgument),
            Some(fits) if bytes > fits as i64 => Err(Refusal::LimitExceeded),
            Some(_) => Ok(()),
        };
        arguments([
            key_argument(name),
            data_key_argument(bytes, &self.rules),
            context_argument(context, true, &self.rules),
            public_key,
        ])?;
        self.encrypt(name, &[], context, now)
    }

    /// `length` is the plaintext's, as the size of the ciphertext tells it.
    pub fn export_data_key(
        &self,
        blob: &Blob,
        length: usize,
        context: &Context,
        fits: Option<usize>,
        now: Millis,
    ) -> Answer<Sealed> {
        let public_key = match fits {
            None => Err(Refusal::InvalidArgument),
            Some(fits) if length > fits => Err(Refusal::LimitExceeded),
            Some(_) => Ok(()),
        };
        arguments([blob_argument(blob), context_argument(context, false, &self.rules), public_key])?;
        self.may_open(blob, now)?;
        Self::open(blob, &map(context))
    }

    // Imported material.

    /// When the token ends.
    pub fn get_parameters_for_import(&self, id: &str, now: Millis) -> Answer<(Token, Millis)> {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        Ok((Token::Of(id, now), now + self.rules.token_life))
    }

    /// `wrapped` is what the token's private key makes of the wrapped material, if anything.
    pub fn import_key_material(
        &mut self,
        id: &str,
        wrapped: Option<&[u8]>,
        token: &Token,
        expires: Option<Millis>,
        now: Millis,
    ) -> Answer {
        arguments([id_argument(id), expiry_argument(expires, now)])?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        self.check(Row::ImportKeyMaterial, &id, now)?;
        match token {
            Token::Of(key, _) if *key != id => return Err(Refusal::InvalidImportToken),
            Token::Damaged => return Err(Refusal::InvalidImportToken),
            Token::Of(_, made) if now - made >= self.rules.token_life => return Err(Refusal::ExpiredImportToken),
            Token::Of(..) => {}
        }
        let material = wrapped.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or(Refusal::InvalidKeyMaterial)?;
        self.take_material(&id, material, expires, now)
    }

    pub fn import_raw_key_material(
        &mut self,
        id: &str,
        material: &[u8],
        expires: Option<Millis>,
        now: Millis,
    ) -> Answer {
        arguments([id_argument(id), expiry_argument(expires, now)])?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        self.check(Row::ImportKeyMaterial, &id, now)?;
        let material = <[u8; 32]>::try_from(material).map_err(|_| Refusal::InvalidKeyMaterial)?;
        self.take_material(&id, material, expires, now)
    }

    fn take_material(&mut self, id: &str, material: [u8; 32], expires: Option<Millis>, now: Millis) -> Answer {
        let rules = self.rules.clone();
        let key = self.key(id);
        let state = key.state_at(now, &rules);
        if let Some(imported) = &key.imported
            && imported.material != material
            && rules.only_the_identical_material
        {
            return Err(Refusal::InvalidKeyMaterial);
        }
        if key.versions.is_empty() {
            key.versions.push(Version { created: now, id: None });
        }
        key.imported = Some(Imported { material, present: true, expiry: expires.map(Deadline::at) });
        if state == State::PendingImport || !rules.import_leaves_a_disabled_key_disabled {
            key.state = State::Enabled;
        }
        Ok(())
    }

    pub fn delete_key_material(&mut self, id: &str) -> Answer {
        id_argument(id)?;
        let id = self.by_id(id)?;
        self.keys[&id].only_external()?;
        self.key(&id).erase_material();
        Ok(())
    }

    // Aliases.

    pub fn create_alias(&mut self, id: &str, alias: &str, now: Millis) -> Answer {
        arguments([id_argument(id), alias_argument(alias)])?;
        let id = self.by_id(id)?;
        if self.aliases.contains_key(alias) {
            return Err(Refusal::AliasAlreadyExists);
        }
        self.check(Row::CreateAlias, &id, now)?;
        self.aliases.insert(alias.to_owned(), id);
        Ok(())
    }

    pub fn update_alias(&mut self, id: &str, alias: &str, now: Millis) -> Answer {
        arguments([id_argument(id), alias_argument(alias)])?;
        let id = self.by_id(id)?;
        if !self.aliases.contains_key(alias) {
            return Err(Refusal::AliasNotFound);
        }
        self.check(Row::UpdateAlias, &id, now)?;
        self.aliases.insert(alias.to_owned(), id);
        Ok(())
    }

    pub fn delete_alias(&mut self, alias: &str) -> Answer {
        alias_argument(alias)?;
        self.aliases.remove(alias).map(drop).ok_or(Refusal::AliasNotFound)
    }

    pub fn list_aliases(&self, id: Option<&str>, after: Option<&str>, limit: usize) -> Answer<Vec<(String, String)>> {
        id.map_or(Ok(()), id_argument)?;
        let of = id.map(|id| self.by_id(id)).transpose()?;
        let after = after.unwrap_or("");
        let found = self
            .aliases
            .iter()
            .filter(|(alias, key)| alias.as_str() > after && of.as_ref().is_none_or(|of| of == *key));
        Ok(found.take(limit).map(|(alias, key)| (alias.clone(), key.clone())).collect())
    }

    // Tags.

    pub fn tag_resource(&mut self, id: &str, tags: &[(String, String)], now: Millis) -> Answer {
        let good = |(name, value): &(String, String)| {
            tag_text_argument(name, 1..=128).and_then(|()| tag_text_argument(value, 0..=256))
        };
        arguments([id_argument(id), tags.iter().try_for_each(good)])?;
        let id = self.by_id(id)?;
        self.check(Row::Tag, &id, now)?;
        let limit = self.rules.tags;
        let key = self.key(&id);
        key.tags.extend(tags.iter().cloned());
        if key.tags.len() > limit { Err(Refusal::LimitExceeded) } else { Ok(()) }
    }

    pub fn untag_resource(&mut self, id: &str, names: &[String], now: Millis) -> Answer {
        let good = |name: &String| tag_text_argument(name, 1..=128);
        arguments([id_argument(id), names.iter().try_for_each(good)])?;
        let id = self.by_id(id)?;
        self.check(Row::Tag, &id, now)?;
        let key = self.key(&id);
        key.tags.retain(|name, _| !names.contains(name));
        Ok(())
    }

    pub fn list_resource_tags(&self, id: &str) -> Answer<Vec<(String, String)>> {
        id_argument(id)?;
        let id = self.by_id(id)?;
        Ok(self.keys[&id].tags.clone().into_iter().collect())
    }

    // The clock.

    /// Every date at which something may begin to be different.
    pub fn dates(&self) -> Vec<Millis> {
        let mut dates = Vec::new();
        for key in self.keys.values() {
            dates.extend(key.next_rotation());
            dates.extend(key.last_rotation());
            dates.extend(key.noticed.zip(key.policy).map(|(noticed, seconds)| noticed + seconds * 1000));
            let expiry = key.imported.as_ref().and_then(|imported| imported.expiry);
            for deadline in key.deletion.iter().chain(expiry.iter()) {
                dates.push(deadline.date);
                dates.extend(deadline.sighted.map(|first| first + self.rules.sightings_apart));
            }
        }
        dates
    }

    /// All that is due now.
    pub fn tick(&mut self, now: Millis) -> Ticked {
        let mut done = Ticked::default();
        let rules = self.rules.clone();
        let ids: Vec<String> = self.keys.keys().cloned().collect();
        for id in ids {
            let key = self.key(&id);
            if key.look_at_the_schedule(now, &rules) {
                done.rotated += 1;
            }
            let expired = key.imported.as_mut().and_then(|imported| imported.expiry.as_mut());
            if expired.is_some_and(|expiry| expiry.look(now, &rules)) {
                key.erase_material();
            }
            if key.deletion.as_mut().is_some_and(|deletion| deletion.look(now, &rules)) {
                done.destroyed += 1;
                self.keys.remove(&id);
                if rules.aliases_go_with_their_key {
                    self.aliases.retain(|_, key| *key != id);
                }
            }
        }
        done
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
