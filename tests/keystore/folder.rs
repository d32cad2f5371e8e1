//! A folder for each test's keystore, with the most common actions of the tests.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use kms::{CreateKey, Interval, Keystore, Options, Result, Status};

pub const ROOT: [u8; 32] = [7; 32];

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// For tests that would spend most of their time on the disk, but are not about it.
    pub fn without_a_disk() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where the keystore is, or will be.
    pub fn store(&self) -> String {
        self.path("keys.db").to_str().unwrap().to_owned()
    }

    /// Makes (or opens) the keystore under [`ROOT`], without a rotation thread.
    pub fn create(&self) -> Keystore {
        Keystore::open(&self.store(), &quiet().create(true)).unwrap()
    }

    pub fn open(&self) -> Keystore {
        Keystore::open(&self.store(), &quiet()).unwrap()
    }

    /// The host's own SQLite on the keystore's file.
    pub fn sqlite(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.store()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    /// Every file's name, mode and content.
    pub fn snapshot(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let entries = std::fs::read_dir(self.0.path()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let content = if found.is_file() { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
            (entry.file_name().into_string().unwrap(), (found.mode(), content))
        });
        entries.collect()
    }
}

/// Root key and no thread.
pub fn quiet() -> Options {
    Options::new().root_key(&ROOT).rotation_thread(false)
}

pub fn seconds(seconds: i64) -> Interval {
    Interval::from_seconds(seconds).unwrap()
}

pub fn new_key(kms: &Keystore, rotate_every_s: Option<i64>) -> String {
    let request = CreateKey { rotate_every: rotate_every_s.map(seconds), ..CreateKey::default() };
    kms.create_key(&request).unwrap().to_string()
}

pub fn key_ids(kms: &Keystore) -> Vec<String> {
    let mut ids = Vec::new();
    kms.list_keys(None, usize::MAX, |key| {
        ids.push(key.id.to_string());
        true
    })
    .unwrap();
    ids
}

/// A key's version ids, newest first; exactly the first must be the primary.
pub fn versions(kms: &Keystore, key: &str) -> Vec<String> {
    let (mut ids, mut primaries, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    kms.list_key_versions(key, None, usize::MAX, |version, primary| {
        ids.push(version.id.to_string());
        primaries.push(primary);
        numbers.push(version.number);
        true
    })
    .unwrap();
    assert!(primaries.iter().enumerate().all(|(at, primary)| *primary == (at == 0)), "exactly one primary, the newest");
    assert!(numbers.iter().rev().copied().eq(1..=numbers.len() as u64), "numbers have a gap: {numbers:?}");
    ids
}

pub fn status<T>(result: Result<T>) -> Option<Status> {
    result.err().map(|error| error.status())
}

/// `count` in a campaign (`KMS_FULL=1`) and half of it otherwise; more where the run is asked to be longer.
pub fn scaled(count: usize) -> usize {
    let full = std::env::var_os("KMS_FULL").is_some_and(|value| value != "0");
    let count = if full { count } else { count.div_ceil(2) };
    count * std::env::var("KMS_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// A count of the short run, or the one that `KMS_LONG` asks for.
pub fn choose<T>(short: T, long: T) -> T {
    if std::env::var_os("KMS_LONG").is_some_and(|value| value != "0") { long } else { short }
}
