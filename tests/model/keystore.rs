//! The keystore with its model, and the objects that a sequence has created in it so far.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use kms::{Keystore, ManualClock, Options};

use super::operations::{self, Ciphertext, Damage, Given, Who};
use super::reference::{Blob, Context, Model, Sealed, Token};
use super::rows::Rows;
use super::rules::{Millis, Rules};
use super::values;

/// 2023-11-14.
const START: Millis = 1_700_000_000_000;
const LATEST: Millis = 7_000_000_000_000;
const ARN: &str = "acs:kms:local:libkms:";
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// The result of GetParametersForImport.
pub struct Parameters {
    pub token: Vec<u8>,
    pub public_key: Vec<u8>,
    pub padding: u8,
    pub meaning: Token,
}

pub struct TestKeystore {
    kms: Option<Keystore>,
    pub clock: ManualClock,
    pub model: Model,
    /// Every key ever made, in that order.
    pub keys: Vec<String>,
    /// Every version id ever seen.
    pub versions: HashSet<String>,
    pub blobs: Vec<(Vec<u8>, Sealed)>,
    /// Made by the last step, not compared yet.
    pub fresh_blobs: Vec<(Vec<u8>, Sealed)>,
    pub parameters: Vec<Parameters>,
    pub rsa_keys_left: usize,
    pub rows: Option<Rows>,
    /// The keys and aliases when lists of them were compared last.
    pub listed: (Vec<String>, BTreeMap<String, String>),
    /// The error body of the last JSON call.
    pub error_body: Option<String>,
    location: String,
    _folder: Option<tempfile::TempDir>,
}

impl TestKeystore {
    pub fn new(file: bool, rsa_keys: usize, rules: Rules) -> Self {
        let folder = file.then(folder);
        let location = folder
            .as_ref()
            .map_or("memory:".to_owned(), |folder| folder.path().join("keys.db").to_str().unwrap().to_owned());
        let mut keystore = Self {
            kms: None,
            clock: ManualClock::at(START),
            model: Model { rules, ..Model::default() },
            keys: Vec::new(),
            versions: HashSet::new(),
            blobs: Vec::new(),
            fresh_blobs: Vec::new(),
            parameters: Vec::new(),
            rsa_keys_left: rsa_keys,
            rows: None,
            listed: Default::default(),
            error_body: None,
            location,
            _folder: folder,
        };
        keystore.open();
        if file {
            keystore.rows = Some(Rows::of(&keystore.location));
        }
        keystore
    }

    fn open(&mut self) {
        let options = Options::new().root_key(&[7; 32]).create(true).clock(self.clock.clone());
        self.kms = Some(Keystore::open(&self.location, &options).unwrap());
    }

    pub fn reopen(&mut self) {
        if self.rows.is_some() {
            self.kms = None;
            self.open();
        }
    }

    pub fn kms(&self) -> &Keystore {
        self.kms.as_ref().unwrap()
    }

    pub fn now(&self) -> Millis {
        self.clock.millis()
    }

    pub fn move_clock(&mut self, wanted: operations::Move) {
        let mut dates = self.model.dates();
        for known in &self.parameters {
            if let Token::Of(_, made) = known.meaning {
                dates.push(made + self.model.rules.token_life);
            }
        }
        let to = match wanted {
            operations::Move::Forward(by) => self.now() + by,
            operations::Move::Back(by) => self.now() - by,
            operations::Move::To(which, beside) if !dates.is_empty() => {
                dates[usize::from(which) % dates.len()] + beside
            }
            operations::Move::To(..) => self.now(),
        };
        self.clock.set(to.clamp(0, LATEST));
    }

    /// The text of an argument.
    pub fn named(&self, who: Who) -> String {
        let key = |number: u8| match self.keys.len() {
            0 => UNKNOWN.to_owned(),
            made => self.keys[usize::from(number) % made].clone(),
        };
        match who {
            Who::Key(number) => key(number),
            Who::Capitals(number) => key(number).to_ascii_uppercase(),
            Who::KeyArn(number) => format!("{ARN}key/{}", key(number)),
            Who::Alias(number) => values::alias(number),
            Who::AliasArn(number) => format!("{ARN}{}", values::alias(number)),
            Who::ServiceAlias(number) => format!("alias/acs/{}", values::SERVICES[usize::from(number)]),
            Who::UnknownKey => UNKNOWN.to_owned(),
            Who::NoId => "no id".to_owned(),
            Who::Empty => String::new(),
        }
    }

    /// The id of a version of the key, or something else than that.
    pub fn version_named(&self, key: &str, of: u8, version: u8) -> String {
        let other = self.named(Who::Key(of));
        let key = if of.is_multiple_of(4) { other } else { self.model.by_name(key).unwrap_or(other) };
        let versions = self.model.keys.get(&key).map_or(&[][..], |key| &key.versions);
        match version {
            3 => "no id".to_owned(),
            4 => String::new(),
            _ if versions.is_empty() || version == 2 => UNKNOWN.to_owned(),
            _ => versions[usize::from(version) % versions.len()].id.clone().unwrap(),
        }
    }

    /// The bytes of an altered ciphertext, their kind, and the context to open them with.
    pub fn ciphertext(&self, wanted: Ciphertext) -> (Vec<u8>, Blob, Context) {
        let other = |context: Given, same: Context| match context {
            Given::Same => same,
            Given::Reversed => same.into_iter().rev().collect(),
            Given::Other(number) => values::context(number),
        };
        let Some(known) = self.blobs.len().checked_sub(1) else {
            return (b"no blob was made yet".to_vec(), Blob::Malformed, other(wanted.context, Vec::new()));
        };
        let (bytes, sealed) = &self.blobs[known - usize::from(wanted.blob) % (known + 1)];
        let context = other(wanted.context, sealed.context.clone().into_iter().collect());
        let (bytes, blob) = self.damaged(bytes.clone(), sealed.clone(), wanted.damage);
        (bytes, blob, context)
    }

    fn damaged(&self, mut bytes: Vec<u8>, sealed: Sealed, damage: Damage) -> (Vec<u8>, Blob) {
        let flip = |mut bytes: Vec<u8>, at: usize| {
            bytes[at] ^= 1;
            bytes
        };
        let last = bytes.len() - 1;
        match damage {
            Damage::None => (bytes, Blob::Whole(sealed)),
            Damage::Magic => (flip(bytes, 1), Blob::Malformed),
            Damage::Format => (flip(bytes, 4), Blob::Malformed),
            Damage::Algorithm => {
                bytes[5] = 9;
                (bytes, Blob::Malformed)
            }
            Damage::ContextType => {
                bytes[6] = 2 - bytes[6];
                (bytes, Blob::Changed(sealed))
            }
            Damage::ReservedByte => (flip(bytes, 7), Blob::Malformed),
            Damage::UnknownKey => (flip(bytes, 20), Blob::UnknownKey),
            Damage::UnknownVersion => (flip(bytes, 36), Blob::UnknownVersion(sealed.key)),
            Damage::KeyOf(number) => {
                let other = self.named(Who::Key(number));
                if other == sealed.key {
                    return (bytes, Blob::Whole(sealed));
                }
                bytes[8..24].copy_from_slice(&uuid(&other));
                (bytes, Blob::UnknownVersion(other))
            }
            Damage::VersionOf(number) => {
                let Some(key) = self.model.keys.get(&sealed.key) else { return (bytes, Blob::Whole(sealed)) };
                let version = usize::from(number) % key.versions.len() + 1;
                if version == sealed.version {
                    return (bytes, Blob::Whole(sealed));
                }
                bytes[24..40].copy_from_slice(&uuid(&self.model.version_id(&sealed.key, version)));
                (bytes, Blob::Changed(Sealed { version, ..sealed }))
            }
            Damage::Nonce => (flip(bytes, 50), Blob::Changed(sealed)),
            Damage::Body => (flip(bytes, 64), Blob::Changed(sealed)),
            Damage::Tag => (flip(bytes, last), Blob::Changed(sealed)),
            Damage::Longer => {
                bytes.push(0);
                (bytes, Blob::Changed(sealed))
            }
            Damage::CutShort if last >= 80 => (bytes[..last].to_vec(), Blob::Changed(sealed)),
            Damage::CutShort => (bytes[..last].to_vec(), Blob::Malformed),
            Damage::CutToTheHeader => (bytes[..79].to_vec(), Blob::Malformed),
            Damage::Empty => (Vec::new(), Blob::Malformed),
        }
    }
}

/// In memory where there is a file system in memory: sequences are many, and syncing a disk is slow.
fn folder() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.unwrap()
}

/// The 16 bytes of an id.
fn uuid(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').map(hex).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap() as u8
}

/// Key and version that a ciphertext names in its bytes 8 to 40.
pub fn header(blob: &[u8]) -> (String, String) {
    let id = |bytes: &[u8]| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    };
    (id(&blob[8..24]), id(&blob[24..40]))
}
