//! A keystore with a hand-driven clock whose events are kept, for every other file here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms::{
    CreateKey, Interval, Key, KeyVersion, Keystore, ManualClock, Options, Origin, Result, Status, VersionId,
    health::{Event, EventKind},
};

/// Where the manual clocks start: 2023-11-14, in Unix milliseconds.
pub const T0: i64 = 1_700_000_000_000;
pub const DAY: i64 = 86_400;
pub const DAY_MS: i64 = DAY * 1000;
pub const HOUR_MS: i64 = 3_600_000;
pub const ROOT: [u8; 32] = [7; 32];

pub type Told = Arc<Mutex<Vec<Event>>>;

/// An open keystore; derefs to its handle.
pub struct TestKeystore {
    pub kms: Keystore,
    pub clock: ManualClock,
    pub told: Told,
}

impl std::ops::Deref for TestKeystore {
    type Target = Keystore;
    fn deref(&self) -> &Keystore {
        &self.kms
    }
}

/// A fresh keystore in memory, at T0.
pub fn memory() -> TestKeystore {
    open("memory:", &ManualClock::at(T0), |options| options)
}

/// A keystore at a place, with options of the caller's on top.
pub fn open(location: &str, clock: &ManualClock, more: impl FnOnce(Options) -> Options) -> TestKeystore {
    try_open(location, clock, more).unwrap()
}

pub fn try_open(location: &str, clock: &ManualClock, more: impl FnOnce(Options) -> Options) -> Result<TestKeystore> {
    let told = Told::default();
    let keep = told.clone();
    let options = Options::new().root_key(&ROOT).create(true).clock(clock.clone());
    let options = options.on_event(move |event| keep.lock().unwrap().push(event.clone()));
    let kms = Keystore::open(location, &more(options))?;
    Ok(TestKeystore { kms, clock: clock.clone(), told })
}

/// A separate folder for a keystore file, and that file's path.
pub fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db").to_str().unwrap().to_owned();
    (folder, path)
}

impl TestKeystore {
    /// A key without a policy.
    pub fn plain_key(&self) -> String {
        self.kms.create_key(&CreateKey::default()).unwrap().to_string()
    }

    /// A key that rotates every `interval` seconds.
    pub fn rotating_key(&self, interval: i64) -> String {
        let request = CreateKey { rotate_every: Some(seconds(interval)), ..CreateKey::default() };
        self.kms.create_key(&request).unwrap().to_string()
    }

    /// An EXTERNAL key, which waits for its material.
    pub fn external_key(&self) -> String {
        let request = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
        self.kms.create_key(&request).unwrap().to_string()
    }

    pub fn key(&self, id: &str) -> Key {
        self.kms.describe_key(id).unwrap()
    }

    pub fn primary(&self, id: &str) -> VersionId {
        self.key(id).primary.unwrap().id
    }

    /// All versions, newest first.
    pub fn versions(&self, id: &str) -> Vec<KeyVersion> {
        let mut all = Vec::new();
        self.kms
            .list_key_versions(id, None, usize::MAX, |version, _| {
                all.push(*version);
                true
            })
            .unwrap();
        all
    }

    /// The version that encrypting now uses.
    pub fn sealed_under(&self, id: &str) -> VersionId {
        let blob = self.kms.encrypt(id, b"probe", &[]).unwrap();
        self.kms.inspect(&blob).unwrap().version
    }

    pub fn events(&self, kind: EventKind) -> Vec<Event> {
        self.told.lock().unwrap().iter().filter(|event| event.kind == kind).cloned().collect()
    }

    /// Sets the clock to `ms` after T0.
    pub fn at(&self, ms: i64) {
        self.clock.set(T0 + ms);
    }
}

pub fn seconds(seconds: i64) -> Interval {
    Interval::from_seconds(seconds).unwrap()
}

/// The status of a call that must fail.
#[track_caller]
pub fn refused<T>(result: Result<T>) -> Status {
    match result {
        Err(error) => error.status(),
        Ok(_) => panic!("a call succeeded that must be refused"),
    }
}

/// Asks every 20 ms until it is so; false after `limit`.
pub fn eventually(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < limit {
        if so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    so()
}

/// A key that has rotated once, its first version, and a blob under that.
pub fn rotated(kms: &TestKeystore) -> (String, String, Vec<u8>) {
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"old", &[]).unwrap();
    let old = kms.primary(&id).to_string();
    kms.rotate(&id).unwrap();
    (id, old, blob)
}

/// Lets the waiting period of 7 days and both confirmations pass.
pub fn destroy_version(kms: &TestKeystore, key: &str, version: &str) {
    let now = kms.clock.millis() - T0;
    kms.disable_key_version(key, version).unwrap();
    kms.schedule_key_version_deletion(key, version, 7).unwrap();
    kms.at(now + 7 * DAY_MS);
    kms.tick().unwrap();
    kms.at(now + 7 * DAY_MS + HOUR_MS);
    assert_eq!(kms.tick().unwrap().versions_destroyed, 1);
}
