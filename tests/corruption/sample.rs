//! A small keystore with a little of everything, and the required result of each use.

use std::path::PathBuf;
use std::sync::OnceLock;

use kms::{CreateKey, Interval, Keystore, ManualClock, Options, Result, Status, health::Fault};

pub const ROOT: [u8; 32] = [7; 32];
pub const T0: i64 = 1_700_000_000_000;

pub fn quiet() -> Options {
    Options::new().root_key(&ROOT).rotation_thread(false).clock(ManualClock::at(T0 + 50_000))
}

/// A folder in memory: these tests are not about the disk.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn store(&self) -> String {
        self.path("keys.db").to_str().unwrap().to_owned()
    }

    pub fn put(&self, bytes: &[u8]) {
        let _ = std::fs::remove_file(self.path("keys.db-journal"));
        std::fs::write(self.store(), bytes).unwrap();
    }

    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.store()).unwrap()
    }

    pub fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.store()).unwrap()
    }

    pub fn open(&self) -> Result<Keystore> {
        Keystore::open(&self.store(), &quiet())
    }
}

/// A key, and the answers that it must keep.
#[derive(Clone)]
pub struct Kept {
    pub id: String,
    pub alias: String,
    /// All its aliases, in the order of names.
    pub aliases: Vec<String>,
    described: String,
    versions: Vec<String>,
    tags: Vec<(String, String)>,
    blobs: Vec<(Vec<u8>, String)>,
    /// The status of an encryption or decryption, if the key's state refuses it.
    refusal: Option<Status>,
}

impl Kept {
    /// A key as it is now; `blobs` were made under it, each with its plaintext.
    pub fn of(kms: &Keystore, id: &str, blobs: Vec<(Vec<u8>, String)>) -> Self {
        let aliases: Vec<String> = aliases(kms, Some(id)).unwrap().into_iter().map(|(name, _)| name).collect();
        Self {
            id: id.to_owned(),
            alias: aliases[0].clone(),
            aliases,
            described: format!("{:?}", kms.describe_key(id).unwrap()),
            versions: versions(kms, id).unwrap(),
            tags: kms.list_resource_tags(id).unwrap(),
            blobs,
            refusal: kms.encrypt(id, b"", &[]).err().map(|error| error.status()),
        }
    }
}

/// The keystore's file as it is, and older states of it, oldest first.
pub struct Sample {
    pub bytes: Vec<u8>,
    pub older: Vec<Vec<u8>>,
    pub keys: Vec<Kept>,
}

/// Made once for all tests.
pub fn sample() -> &'static Sample {
    static MADE: OnceLock<Sample> = OnceLock::new();
    MADE.get_or_init(make)
}

fn make() -> Sample {
    let place = Place::new();
    let clock = ManualClock::at(T0);
    let kms = Keystore::open(&place.store(), &quiet().create(true).clock(clock.clone())).unwrap();
    let mut older = Vec::new();
    let mut step = || {
        clock.advance_seconds(1);
        older.push(place.bytes());
    };
    let request = |description: &str| CreateKey {
        description: description.to_owned(),
        rotate_every: Some(Interval::parse("90d").unwrap()),
        ..CreateKey::default()
    };
    let ids: Vec<String> = (0..5).map(|n| kms.create_key(&request(&format!("key {n}"))).unwrap().to_string()).collect();
    let mut blobs = vec![Vec::new(); ids.len()];
    for round in 0..3 {
        for (number, id) in ids.iter().enumerate() {
            let text = format!("text {number} of round {round}");
            blobs[number].push((kms.encrypt(id, text.as_bytes(), &[("round", "x")]).unwrap(), text));
            if round < 2 && number != 3 {
                kms.rotate(id).unwrap();
            }
        }
        step();
    }
    for (number, id) in ids.iter().enumerate() {
        kms.create_alias(id, &format!("alias/name-{number}")).unwrap();
        kms.tag_resource(id, &[("team", "red"), ("stage", "test")]).unwrap();
    }
    step();
    // Aliases change places, so that the older copy of each is another key's.
    for (number, id) in ids.iter().enumerate() {
        kms.update_alias(id, &format!("alias/name-{}", (number + 1) % ids.len())).unwrap();
    }
    step();
    kms.tag_resource(&ids[0], &[("team", "blue")]).unwrap();
    kms.untag_resource(&ids[1], &["stage"]).unwrap();
    step();
    let gone = kms.create_key(&request("to be destroyed")).unwrap().to_string();
    kms.create_alias(&gone, "alias/gone").unwrap();
    kms.tag_resource(&gone, &[("a", "b")]).unwrap();
    step();
    kms.schedule_key_deletion(&gone, 7).unwrap();
    clock.advance_seconds(8 * 86_400);
    kms.tick().unwrap();
    clock.advance_seconds(2 * 3600);
    assert_eq!(kms.tick().unwrap().destroyed, 1);
    clock.set(T0 + 20_000);
    step();
    kms.disable_key(&ids[4]).unwrap();
    kms.update_key_description(&ids[2], "another description").unwrap();
    let keys = ids.iter().zip(blobs).map(|(id, blobs)| Kept::of(&kms, id, blobs)).collect();
    drop(kms);
    Sample { bytes: place.bytes(), older, keys }.whole(&place)
}

/// Aliases and their keys in the order in which they are shown, of one key or of all.
fn aliases(kms: &Keystore, key: Option<&str>) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    kms.list_aliases(key, None, usize::MAX, |name, id| {
        found.push((name.to_owned(), id.to_string()));
        true
    })?;
    Ok(found)
}

fn versions(kms: &Keystore, key: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    kms.list_key_versions(key, None, usize::MAX, |version, primary| {
        // Looking at a keystore decrypts, and so changes these dates.
        let mut version = *version;
        (version.last_encrypt_date, version.last_decrypt_date) = (None, None);
        found.push(format!("{version:?} {primary}"));
        true
    })?;
    Ok(found)
}

/// A use that failed: the key's number, the call, and its error.
pub type Failure = (usize, &'static str, Status);

impl Sample {
    /// The sample, after a check that all its answers are right.
    pub fn whole(self, place: &Place) -> Self {
        place.put(&self.bytes);
        let kms = place.open().unwrap();
        assert_eq!(self.failures(&kms), [], "the sample itself is not whole");
        assert_eq!(faults(&kms), (vec![], None));
        self
    }

    /// Makes every query about key `number`. A wrong answer is a broken promise; a refusal is returned.
    pub fn failures_of(&self, kms: &Keystore, number: usize) -> Vec<Failure> {
        let kept = &self.keys[number];
        let mut failures = Vec::new();
        let mut note = |what, result: Result<bool>| match result {
            Ok(true) => {}
            Ok(false) => panic!("key {number}: {what} gave a wrong answer"),
            Err(error) => failures.push((number, what, error.status())),
        };
        note("describe", kms.describe_key(&kept.id).map(|key| format!("{key:?}") == kept.described));
        for alias in &kept.aliases {
            note("alias", kms.describe_key(alias).map(|key| format!("{key:?}") == kept.described));
        }
        note("versions", versions(kms, &kept.id).map(|found| found == kept.versions));
        note("tags", kms.list_resource_tags(&kept.id).map(|found| found == kept.tags));
        for (blob, text) in &kept.blobs {
            match (kms.decrypt(blob, &[("round", "x")]), kept.refusal) {
                (Err(error), Some(refusal)) if error.status() == refusal => {}
                (Ok(_), Some(_)) => panic!("key {number}: decrypted under a key that must refuse it"),
                (opened, _) => note("decrypt", opened.map(|opened| *opened == *text.as_bytes())),
            }
        }
        match (kms.encrypt(&kept.id, b"new", &[]), kept.refusal) {
            (Err(error), Some(refusal)) if error.status() == refusal => {}
            (Ok(_), Some(_)) => panic!("key {number}: encrypted under a key that must refuse it"),
            (Err(error), _) => note("encrypt", Err(error)),
            (Ok(blob), None) => note("reopen", kms.decrypt(&blob, &[]).map(|opened| *opened == *b"new")),
        }
        let expected: Vec<(String, String)> =
            kept.aliases.iter().map(|alias| (alias.clone(), kept.id.clone())).collect();
        failures.extend(unlisted(aliases(kms, Some(&kept.id)), &expected).map(|status| (number, "aliases", status)));
        failures
    }

    pub fn failures(&self, kms: &Keystore) -> Vec<Failure> {
        let mut all: Vec<Failure> = (0..self.keys.len()).flat_map(|number| self.failures_of(kms, number)).collect();
        let mut listed = Vec::new();
        let list = kms.list_keys(None, usize::MAX, |key| {
            listed.push(key.id.to_string());
            true
        });
        let mut expected: Vec<String> = self.keys.iter().map(|kept| kept.id.clone()).collect();
        expected.sort();
        match list {
            Ok(()) => assert_eq!(listed, expected, "a list without an error leaves something out or adds it"),
            Err(error) => all.push((usize::MAX, "list", error.status())),
        }
        let of = |kept: &Kept| kept.aliases.iter().map(|alias| (alias.clone(), kept.id.clone())).collect::<Vec<_>>();
        let mut expected: Vec<(String, String)> = self.keys.iter().flat_map(of).collect();
        expected.sort();
        all.extend(unlisted(aliases(kms, None), &expected).map(|status| (usize::MAX, "aliases", status)));
        all
    }
}

/// What is wrong with a list of aliases. SQLite alone knows which exist, so one may be missing or at another position.
/// That equals an error: `verify` must find it. No alias is ever shown that doesn't exist, or as another key's.
fn unlisted(listed: Result<Vec<(String, String)>>, expected: &[(String, String)]) -> Option<Status> {
    match listed {
        Ok(listed) if listed == expected => None,
        Ok(listed) => {
            let wrong: Vec<_> = listed.iter().filter(|alias| !expected.contains(alias)).collect();
            assert!(wrong.is_empty(), "a list of aliases shows {wrong:?}, which are not");
            Some(Status::KeystoreCorrupt)
        }
        Err(error) => Some(error.status()),
    }
}

/// The report of `verify`: each fault's key and text, and the status of the call.
pub fn faults(kms: &Keystore) -> (Vec<(Option<String>, String)>, Option<Status>) {
    let mut found = Vec::new();
    let done = kms.verify(|fault: &Fault| {
        found.push((fault.key.map(|id| id.to_string()), fault.error.to_string()));
        true
    });
    (found, done.err().map(|error| error.status()))
}

/// The step through the cases of a test: each one is tried with `KMS_FULL=1`, otherwise one of 18.
pub fn step() -> usize {
    if long() || std::env::var_os("KMS_FULL").is_some_and(|value| value != "0") { 1 } else { 18 }
}

/// Whether the run is to try everything.
pub fn long() -> bool {
    std::env::var_os("KMS_LONG").is_some_and(|value| value != "0")
}
