//! The golden keystore of tests/fixtures: the same keys, versions and ciphertexts in every run, so that a finding repeats.

use kms::{KeyState, Keystore, ManualClock, Options};
use serde_json::Value;

pub const FILE: &[u8] = include_bytes!("../../tests/fixtures/format-1/key.db");
const EXPECTED: &str = include_str!("../../tests/fixtures/format-1/expected.json");

pub struct Known {
    pub key: String,
    pub blob: Vec<u8>,
    pub plaintext: Vec<u8>,
    pub tenant: Option<String>,
}

impl Known {
    pub fn context(&self) -> Vec<(&str, &str)> {
        self.tenant.iter().map(|tenant| ("tenant", tenant.as_str())).collect()
    }
}

/// Below TMPDIR, which ci/stages/fuzz.sh sets to memory and removes: what is tried here is not the disk.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn expected() -> Value {
    serde_json::from_str(EXPECTED).expect("the golden keystore's description is JSON")
}

pub fn options() -> Options {
    let root = expected()["root_key"].as_str().expect("it has a root key").to_owned();
    Options::new().root_key(root.as_bytes()).clock(ManualClock::at(1_700_001_000_000))
}

pub fn known() -> Vec<Known> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let unhex = |hex: String| {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal")).collect()
    };
    let mut all = Vec::new();
    for key in expected()["key.db"].as_array().expect("keys") {
        for blob in key["blobs"].as_array().expect("blobs") {
            all.push(Known {
                key: text(&key["id"]),
                blob: unhex(text(&blob["blob"])),
                plaintext: text(&blob["plaintext"]).into_bytes(),
                tenant: blob["tenant"].as_str().map(str::to_owned),
            });
        }
    }
    all
}

/// A copy that lives as long as the process, with every key Enabled.
pub fn open() -> Keystore {
    let folder = folder();
    let path = folder.path().join("keys.db");
    std::fs::write(&path, FILE).expect("the copy can be written");
    let kms = Keystore::open(path.to_str().expect("a path in UTF-8"), &options()).expect("the golden keystore opens");
    for known in known() {
        if kms.describe_key(&known.key).expect("a golden key").state == KeyState::Disabled {
            kms.enable_key(&known.key).expect("a Disabled key can be enabled");
        }
        let opened = kms.decrypt(&known.blob, &known.context()).expect("a golden ciphertext opens");
        assert_eq!(*opened, *known.plaintext);
    }
    let _ = folder.keep();
    kms
}
