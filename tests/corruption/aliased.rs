//! A keystore of a few keys with aliases, and what each alias may name after damage to the file.

use kms::{CreateKey, Keystore, ManualClock, Status};

use crate::sample::{Place, T0, faults, quiet};

/// The keystore's file; which alias names which key.
pub struct Aliased {
    pub bytes: Vec<u8>,
    pub keys: Vec<String>,
    /// In the order of names, each with its key's number.
    pub aliases: Vec<(String, usize)>,
}

/// One alias for each number of `keys`, which it names: `alias/a`, `alias/b` and so on.
pub fn aliased(keys: &[usize]) -> Aliased {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &quiet().create(true).clock(ManualClock::at(T0))).unwrap();
    let ids: Vec<String> = (0..=*keys.iter().max().unwrap()).map(|_| new_key(&kms)).collect();
    let names = keys.iter().zip('a'..).map(|(key, letter)| (format!("alias/{letter}"), *key));
    let aliases: Vec<(String, usize)> = names.collect();
    for (alias, key) in &aliases {
        kms.create_alias(&ids[*key], alias).unwrap();
    }
    drop(kms);
    Aliased { bytes: place.bytes(), keys: ids, aliases }
}

pub fn new_key(kms: &Keystore) -> String {
    kms.create_key(&CreateKey::default()).unwrap().to_string()
}

pub fn opened(place: &Place) -> (Keystore, ManualClock) {
    let clock = ManualClock::at(T0 + 50_000);
    (Keystore::open(&place.store(), &quiet().clock(clock.clone())).unwrap(), clock)
}

/// Destroys a key, as far as damage lets it be done.
pub fn destroy(kms: &Keystore, clock: &ManualClock, id: &str) -> Result<(), Status> {
    let scheduled = kms.schedule_key_deletion(id, 7);
    clock.advance_seconds(8 * 86_400);
    let confirmed = kms.tick();
    clock.advance_seconds(3600);
    let done = kms.tick();
    scheduled.and(confirmed.map(drop)).and(done.map(drop)).map_err(|error| error.status())
}

/// What an alias names, when it is listed and when it is used.
fn named(kms: &Keystore, alias: &str) -> [Result<String, Status>; 2] {
    let described = kms.describe_key(alias).map(|key| key.id.to_string());
    let used = kms.encrypt(alias, b"text", &[]).and_then(|blob| kms.inspect(&blob)).map(|blob| blob.key.to_string());
    [described, used].map(|answer| answer.map_err(|error| error.status()))
}

/// Holds each alias to the key that it names, `None` where it is gone. Returns how many are errors; `verify` must find
/// them.
pub fn held(kms: &Keystore, expected: &[(&str, Option<&str>)], what: &str) -> usize {
    let mut failed = 0;
    for (alias, key) in expected {
        for answer in named(kms, alias) {
            match (answer, key) {
                (Ok(id), Some(key)) if id == *key => {}
                (Err(Status::AliasNotFound), None) => {}
                (Err(Status::KeystoreCorrupt), _) => failed += 1,
                (answer, _) => panic!("{what}: {alias} must name {key:?} or be an error, but says {answer:?}"),
            }
        }
    }
    let (found, verdict) = faults(kms);
    assert!(failed == 0 || verdict.is_some(), "{what}: {failed} aliases are errors, but verify finds nothing");
    assert_eq!(found.is_empty(), verdict.is_none(), "{what}: {found:?}, but {verdict:?}");
    failed
}
