//! A keystore with a key in every condition, each operation that changes it, and its visible state afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use kms::{CreateKey, Interval, KeyState, Keystore, ManualClock, Options, Origin, Result, Status, Time};

pub const ROOT: [u8; 32] = [7; 32];
/// A keystore of format 1, and its root key.
pub const FORMAT_1: &[u8] = include_bytes!("../fixtures/format-1/key.db");
pub const FORMAT_1_ROOT: &[u8; 32] = b"libkms TEST root key, not secret";
/// The time of the clocks: 2023-11-14, in Unix milliseconds.
pub const T0: i64 = 1_700_000_000_000;
pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;
const MATERIAL: [u8; 32] = *b"imported material, 32 bytes long";
/// How many keys fall due together in the operation that tries batches: more than the clock's first batch.
const DUE_KEYS: usize = 33;

/// What an operation may leave behind when it is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomic {
    /// All of it or nothing.
    Whole,
    /// Several transactions: each key as it was or as it is to be.
    EachKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    Key,
    File,
}

/// One way to change a keystore. `prepare` brings a copy of the scene to where `act` begins.
pub struct Operation {
    pub name: &'static str,
    pub atomic: Atomic,
    /// The time of the clock during `act`.
    pub at: i64,
    pub prepare: fn(&Keystore, &ManualClock, &Keys) -> Result<()>,
    pub act: fn(&Keystore, &Keys) -> Result<()>,
    pub start: Start,
    /// Whether the keystore has format 1, so that the first change also upgrades it.
    pub older: bool,
    /// Whether its success means that the change was made: a pass may postpone it and send an event.
    pub promises: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The handle is open before.
    Open,
    /// Opening belongs to the operation, and the generation file is missing.
    Opening,
    /// Nothing exists yet: the open creates the keystore.
    Nothing(Root),
}

/// Key ids by their description in the scene.
pub struct Keys(BTreeMap<String, String>);

impl std::ops::Index<&str> for Keys {
    type Output = str;
    fn index(&self, name: &str) -> &str {
        &self.0[name]
    }
}

impl Keys {
    pub fn of(kms: &Keystore) -> Self {
        let mut found = BTreeMap::new();
        kms.list_keys(None, usize::MAX, |key| {
            // The golden keystore of format 1 has none of this name; any key that encrypts will do.
            if key.state == KeyState::Enabled {
                found.entry("steady".to_owned()).or_insert_with(|| key.id.to_string());
            }
            found.insert(key.description.clone(), key.id.to_string());
            true
        })
        .unwrap();
        Self(found)
    }
}

fn nothing(_: &Keystore, _: &ManualClock, _: &Keys) -> Result<()> {
    Ok(())
}

fn made(kms: &Keystore, request: CreateKey) -> Result<()> {
    kms.create_key(&request).map(drop)
}

fn hourly() -> Option<Interval> {
    Some(Interval::from_seconds(3600).unwrap())
}

fn one(name: &'static str, act: fn(&Keystore, &Keys) -> Result<()>) -> Operation {
    Operation {
        name,
        atomic: Atomic::Whole,
        at: T0,
        prepare: nothing,
        act,
        start: Start::Open,
        older: false,
        promises: true,
    }
}

/// What the clock does, and puts off when it can't.
fn later(name: &'static str, act: fn(&Keystore, &Keys) -> Result<()>) -> Operation {
    Operation { promises: false, ..one(name, act) }
}

/// Every sixth operation that changes a keystore, every second with `KMS_FULL=1`, all of them with `KMS_LONG=1`;
/// `KMS_OPERATION` picks one.
pub fn operations() -> Vec<Operation> {
    let only = std::env::var("KMS_OPERATION").ok();
    let step = match only.is_some() || is_long() {
        true => 1,
        false if is_full() => 2,
        false => 6,
    };
    let wanted = all().into_iter().filter(|operation| only.as_deref().is_none_or(|only| only == operation.name));
    wanted.step_by(step).collect()
}

fn all() -> Vec<Operation> {
    vec![
        one("create", |kms, _| made(kms, CreateKey { description: "new".into(), ..CreateKey::default() })),
        one("create rotating", |kms, _| made(kms, CreateKey { rotate_every: hourly(), ..CreateKey::default() })),
        one("create external", |kms, _| {
            made(kms, CreateKey { origin: Some(Origin::External), ..CreateKey::default() })
        }),
        one("create for a service", |kms, _| kms.create_service_key("disk").map(drop)),
        one("rotate", |kms, keys| kms.rotate(&keys["plain"]).map(drop)),
        one("enable", |kms, keys| kms.enable_key(&keys["disabled"])),
        one("disable", |kms, keys| kms.disable_key(&keys["plain"])),
        one("schedule deletion", |kms, keys| kms.schedule_key_deletion(&keys["plain"], 7)),
        one("cancel deletion", |kms, keys| kms.cancel_key_deletion(&keys["doomed"])),
        one("policy on", |kms, keys| kms.update_rotation_policy(&keys["plain"], hourly())),
        one("policy off", |kms, keys| kms.update_rotation_policy(&keys["hourly"], None)),
        Operation {
            at: T0 + 2 * HOUR_MS,
            ..one("policy that makes overdue", |kms, keys| kms.update_rotation_policy(&keys["plain"], hourly()))
        },
        one("description", |kms, keys| kms.update_key_description(&keys["plain"], "plainer")),
        one("protection", |kms, keys| kms.set_deletion_protection(&keys["plain"], Some("needed"))),
        one("create alias", |kms, keys| kms.create_alias(&keys["plain"], "alias/new")),
        one("update alias", |kms, keys| kms.update_alias(&keys["hourly"], "alias/plain")),
        one("delete alias", |kms, _| kms.delete_alias("alias/plain")),
        one("tag", |kms, keys| kms.tag_resource(&keys["plain"], &[("team", "red"), ("new", "1")])),
        one("untag", |kms, keys| kms.untag_resource(&keys["plain"], &["team", "cost"])),
        one("import", |kms, keys| kms.import_raw_key_material(&keys["waiting"], &MATERIAL, None)),
        one("delete material", |kms, keys| kms.delete_key_material(&keys["imported"])),
        Operation {
            at: T0 + HOUR_MS,
            ..later("rotation before encryption", |kms, keys| kms.encrypt(&keys["hourly"], b"x", &[]).map(drop))
        },
        Operation {
            at: T0 + 7 * DAY_MS,
            prepare: |kms, _, keys| kms.update_rotation_policy(&keys["hourly"], None),
            ..later("deletion first seen due", |kms, _| kms.tick().map(drop))
        },
        Operation {
            at: T0 + 7 * DAY_MS + HOUR_MS,
            prepare: |kms, clock, keys| {
                kms.update_rotation_policy(&keys["hourly"], None)?;
                clock.set(T0 + 7 * DAY_MS);
                kms.tick().map(drop)
            },
            ..later("deletion by the clock", |kms, _| kms.tick().map(drop))
        },
        Operation {
            at: T0 + DAY_MS + HOUR_MS,
            atomic: Atomic::EachKey,
            prepare: |kms, clock, keys| {
                kms.update_rotation_policy(&keys["hourly"], None)?;
                let expiry = Some(Time::from_millis(T0 + DAY_MS));
                kms.import_raw_key_material(&keys["imported"], &MATERIAL, expiry)?;
                clock.set(T0 + DAY_MS);
                kms.tick().map(drop)
            },
            ..later("material expired by the clock", |kms, _| kms.tick().map(drop))
        },
        Operation {
            at: T0 + HOUR_MS,
            atomic: Atomic::EachKey,
            prepare: |kms, _, _| {
                let due =
                    |at| CreateKey { description: format!("due {at}"), rotate_every: hourly(), ..CreateKey::default() };
                (0..DUE_KEYS).try_for_each(|at| made(kms, due(at)))
            },
            ..later("batches of the clock", |kms, _| kms.tick().map(drop))
        },
        Operation {
            older: true,
            ..one("create in format 1", |kms, _| {
                made(kms, CreateKey { description: "new".into(), ..Default::default() })
            })
        },
        Operation { start: Start::Opening, ..one("make the generation file", |_, _| Ok(())) },
        Operation { start: Start::Nothing(Root::Key), ..one("make a keystore", |_, _| Ok(())) },
        Operation { start: Start::Nothing(Root::File), ..one("make a keystore with its key file", |_, _| Ok(())) },
    ]
}

pub fn operation(name: &str) -> Operation {
    all().into_iter().find(|operation| operation.name == name).expect("no such operation")
}

impl Operation {
    pub fn options(&self, folder: &Path) -> Options {
        let options = match self.start {
            Start::Nothing(Root::File) => Options::new().root_key_file(folder.join("root.key")).create(true),
            Start::Nothing(Root::Key) => Options::new().root_key(&ROOT).create(true),
            _ if self.older => Options::new().root_key(FORMAT_1_ROOT),
            _ => Options::new().root_key(&ROOT),
        };
        options.clock(ManualClock::at(self.at)).busy_timeout(Duration::from_millis(200))
    }

    pub fn open(&self, folder: &Path) -> Result<Keystore> {
        Keystore::open(folder.join("keys.db").to_str().unwrap(), &self.options(folder))
    }
}

/// A folder that removes itself, in memory where the machine has such a place: nothing here waits for a disk.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Earlier ciphertexts, which must stay readable.
#[derive(Clone)]
struct Blob {
    text: String,
    sealed: Vec<u8>,
}

struct Scene {
    folder: tempfile::TempDir,
    blobs: Vec<Blob>,
}

/// The keystore all operations begin with. None of them changes the key `steady`.
fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let folder = folder();
        let options = Options::new().root_key(&ROOT).create(true).clock(ManualClock::at(T0));
        let kms = Keystore::open(folder.path().join("keys.db").to_str().unwrap(), &options).unwrap();
        for name in ["plain", "hourly", "disabled", "doomed", "imported", "waiting", "steady"] {
            let origin = matches!(name, "imported" | "waiting").then_some(Origin::External);
            let rotate_every = if name == "hourly" { hourly() } else { None };
            made(&kms, CreateKey { description: name.into(), origin, rotate_every }).unwrap();
        }
        let keys = Keys::of(&kms);
        kms.import_raw_key_material(&keys["imported"], &MATERIAL, None).unwrap();
        let mut blobs = Vec::new();
        for round in 0..3 {
            for name in ["plain", "hourly", "disabled", "doomed", "imported", "steady"] {
                let text = format!("{name} {round}");
                blobs.push(Blob { sealed: kms.encrypt(&keys[name], text.as_bytes(), &[]).unwrap(), text });
                if round < 2 && name != "imported" {
                    kms.rotate(&keys[name]).unwrap();
                }
            }
        }
        kms.disable_key(&keys["disabled"]).unwrap();
        kms.create_alias(&keys["plain"], "alias/plain").unwrap();
        kms.create_alias(&keys["doomed"], "alias/doomed").unwrap();
        kms.tag_resource(&keys["plain"], &[("team", "blue"), ("cost", "7")]).unwrap();
        kms.tag_resource(&keys["doomed"], &[("team", "grey")]).unwrap();
        kms.schedule_key_deletion(&keys["doomed"], 7).unwrap();
        drop(kms);
        Scene { folder, blobs }
    })
}

/// An operation with a keystore for it, and the keystore's visible state before and after.
pub struct Prepared {
    pub operation: Operation,
    folder: tempfile::TempDir,
    known: Vec<String>,
    pub before: Seen,
    pub after: Seen,
}

/// What can be seen of a keystore: lines, each under the key (or other thing) it is about. Ids that are not known from
/// before are only called new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, Vec<String>>);

impl Prepared {
    pub fn new(operation: Operation) -> Self {
        let folder = folder();
        let mut known = Vec::new();
        if !matches!(operation.start, Start::Nothing(_)) {
            let clock = ManualClock::at(T0);
            match operation.older {
                true => std::fs::write(folder.path().join("keys.db"), FORMAT_1).unwrap(),
                false => copy(scene().folder.path(), folder.path()),
            }
            let options = operation.options(folder.path()).clock(clock.clone());
            let kms = Keystore::open(folder.path().join("keys.db").to_str().unwrap(), &options).unwrap();
            (operation.prepare)(&kms, &clock, &Keys::of(&kms)).unwrap();
            known = ids(&kms);
        }
        if operation.start == Start::Opening {
            std::fs::remove_file(folder.path().join("keys.db-gen")).unwrap();
        }
        let mut this = Self { operation, folder, known, before: Seen(BTreeMap::new()), after: Seen(BTreeMap::new()) };
        this.before = this.look_at(&this.copy()).unwrap();
        let done = this.copy();
        let kms = this.operation.open(done.path()).unwrap();
        (this.operation.act)(&kms, &Keys::of(&kms)).unwrap();
        drop(kms);
        this.after = this.look_at(&done).unwrap();
        this
    }

    /// A separate keystore for one trial.
    pub fn copy(&self) -> tempfile::TempDir {
        let copied = folder();
        copy(self.folder.path(), copied.path());
        copied
    }

    pub fn copy_to(&self, folder: &Path) {
        copy(self.folder.path(), folder);
    }

    /// Opens the keystore in `folder` and reads all of it; then checks that it can be changed.
    pub fn look_at(&self, folder: &tempfile::TempDir) -> Result<Seen> {
        let kms = self.operation.open(folder.path())?;
        let seen = self.look(&kms)?;
        // This may rotate overdue keys, so it is last.
        let mut enabled = Vec::new();
        kms.list_keys(None, usize::MAX, |key| {
            enabled.extend((key.state == KeyState::Enabled).then(|| key.id.to_string()));
            true
        })?;
        for key in &enabled {
            let sealed = kms.encrypt(key, b"probe", &[])?;
            assert_eq!(*kms.decrypt(&sealed, &[])?, *b"probe");
        }
        kms.create_key(&CreateKey::default())?;
        Ok(seen)
    }

    pub fn look(&self, kms: &Keystore) -> Result<Seen> {
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut keys = Vec::new();
        kms.list_keys(None, usize::MAX, |key| {
            keys.push(key.clone());
            true
        })?;
        for key in &keys {
            let id = key.id.to_string();
            let name = if self.known.contains(&id) { id.clone() } else { "new".to_owned() };
            let lines = seen.entry(name).or_default();
            lines.push(format!("{key:?}"));
            let mut primaries = 0;
            kms.list_key_versions(&id, None, usize::MAX, |version, primary| {
                primaries += usize::from(primary);
                // Uses have dates, even if a change fails.
                let mut version = *version;
                (version.last_encrypt_date, version.last_decrypt_date) = (None, None);
                lines.push(format!("{version:?} primary: {primary}"));
                true
            })?;
            let wanted = usize::from(key.primary.is_some());
            // Erased material has no version to list.
            assert!(primaries <= wanted, "{primaries} primaries of key {id}");
            assert!(key.state != KeyState::Enabled || primaries == 1, "{primaries} primaries of key {id}");
            kms.list_aliases(Some(&id), None, usize::MAX, |alias, _| {
                lines.push(format!("alias {alias}"));
                true
            })?;
            lines.push(format!("tags {:?}", kms.list_resource_tags(&id)?));
        }
        if !self.known.is_empty() {
            let opened = seen.entry("blobs".into()).or_default();
            for blob in &scene().blobs {
                opened.push(match kms.decrypt(&blob.sealed, &[]) {
                    Ok(found) if *found == *blob.text.as_bytes() => format!("{}: as encrypted", blob.text),
                    Ok(_) => panic!("a blob opens to something else than was encrypted"),
                    Err(error) => format!("{}: {:?}", blob.text, error.status()),
                });
            }
        }
        for lines in seen.values_mut() {
            for line in lines.iter_mut() {
                *line = self.without_new_ids(line);
            }
        }
        Ok(Seen(seen))
    }

    fn without_new_ids(&self, line: &str) -> String {
        let mut text = line.to_owned();
        for id in uuids(line) {
            if !self.known.iter().any(|known| known == id) {
                text = text.replace(id, "new");
            }
        }
        text
    }

    /// The faults of the state after the operation was cut off, or acknowledged.
    pub fn violation(&self, seen: &Result<Seen>, acknowledged: bool) -> Option<String> {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return Some(format!("the keystore doesn't open again: {:?} {error}", error.status())),
        };
        let fits = match (acknowledged, self.operation.atomic) {
            (true, _) => *seen == self.after,
            (false, Atomic::Whole) => *seen == self.before || *seen == self.after,
            (false, Atomic::EachKey) => {
                seen.0.keys().eq(self.before.0.keys())
                    && seen.0.iter().all(|(key, lines)| {
                        self.before.0.get(key) == Some(lines) || self.after.0.get(key) == Some(lines)
                    })
            }
        };
        (!fits).then(|| {
            let promise = if acknowledged { "an acknowledged change is lost" } else { "a change is half done" };
            let names = seen.0.keys().chain(self.before.0.keys()).chain(self.after.0.keys());
            let names: BTreeSet<_> = names.filter(|name| seen.0.get(*name) != self.after.0.get(*name)).collect();
            let of = |seen: &Seen| names.iter().map(|name| seen.0.get(*name).cloned()).collect::<Vec<_>>();
            format!("{promise}: {:#?}\nbefore: {:#?}\nafter: {:#?}", of(seen), of(&self.before), of(&self.after))
        })
    }
}

/// All key and version ids.
fn ids(kms: &Keystore) -> Vec<String> {
    let mut keys = Vec::new();
    kms.list_keys(None, usize::MAX, |key| {
        keys.push(key.id.to_string());
        true
    })
    .unwrap();
    let mut all = keys.clone();
    for key in &keys {
        kms.list_key_versions(key, None, usize::MAX, |version, _| {
            all.push(version.id.to_string());
            true
        })
        .unwrap();
        // A version without material is named by its key alone.
        all.extend(kms.describe_key(key).unwrap().primary.map(|primary| primary.id.to_string()));
    }
    all
}

/// The parts of `line` in the form of a UUID.
fn uuids(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let starts = |at: usize| [8, 13, 18, 23].iter().all(|dash| bytes.get(at + dash) == Some(&b'-'));
    (0..bytes.len()).filter(|at| starts(*at)).filter_map(|at| line.get(at..at + 36)).collect()
}

pub fn status<T>(result: &Result<T>) -> Option<Status> {
    result.as_ref().err().map(kms::Error::status)
}

/// `short`, or `long` in a long run: `KMS_LONG=1`, or a greater number for that many times `long`.
pub fn scaled(short: usize, long: usize) -> usize {
    match std::env::var("KMS_LONG").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0) {
        0 => short,
        times => long * times,
    }
}

/// Whether the run is a campaign: `make test-all` sets `KMS_FULL=1`.
pub fn is_full() -> bool {
    is_long() || std::env::var_os("KMS_FULL").is_some_and(|value| value != "0")
}

pub fn is_long() -> bool {
    scaled(0, 1) > 0
}

/// Asks every 5 ms until it is so; false after `limit`.
pub fn eventually(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < limit {
        if so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    so()
}
