//! A database that goes back: a standby that lacks the last second, a restored backup, rows that an attacker restored.

use super::hosts::{EventLog, TOLERANCE, within};
use super::*;
use kms::health::EventKind;

const TABLES: [&str; 9] = ["shard", "key", "material", "version", "alias", "tag", "node", "change", "checkpoint"];

/// Keeps a copy of the rows of these tables, which [`put_back`] puts in their place.
fn keep(name: &str, tables: &[&str]) -> String {
    let copy = name.replace('-', "_");
    keep_as(name, &copy, tables);
    copy
}

fn keep_as(name: &str, copy: &str, tables: &[&str]) {
    let keep = tables
        .iter()
        .map(|table| format!("CREATE TABLE {table}_{copy} AS SELECT * FROM {table} WHERE store = {{store}};"));
    sql(name, &keep.collect::<String>());
}

fn put_back(name: &str, copy: &str, tables: &[&str], which: &str) {
    let put = tables.iter().map(|table| {
        format!(
            "DELETE FROM {table} WHERE store = {{store}} AND {which}; \
             INSERT INTO {table} SELECT * FROM {table}_{copy} WHERE {which};"
        )
    });
    sql(name, &put.collect::<String>());
}

pub fn with(log: &EventLog) -> Options {
    log.options().poll_interval(Duration::from_millis(100))
}

/// Polls make the checkpoint again after 10 s.
fn await_checkpoint(name: &str) {
    let number = || sql(name, "SELECT number FROM checkpoint WHERE store = {store}").parse::<i64>().unwrap();
    let before = number();
    within(Duration::from_secs(40), "no checkpoint is made", || number() > before);
}

/// The first shard is read also where a connection is made again.
pub fn key_in_first_shard(kms: &Keystore) -> KeyId {
    let mut ids = std::iter::repeat_with(|| kms.create_key(&CreateKey::default()).unwrap());
    ids.find(|id| id.to_string().as_str() < "04").unwrap()
}

#[test]
fn after_a_failover_that_lost_changes_nothing_is_written_until_an_operator_accepts() {
    let (name, log) = (name("failover"), EventLog::default());
    let location = format!("{}?application_name={name}#{name}", server());
    let ours = Keystore::open(&location, &with(&log)).unwrap();
    let key = key_in_first_shard(&ours);
    let kept = ours.encrypt(key, b"kept", &[]).unwrap();
    let copy = keep(&name, &TABLES);
    let lost = ours.rotate(key).unwrap();
    let gone = ours.encrypt(key, b"gone", &[]).unwrap();
    assert_eq!(ours.inspect(&gone).unwrap().version, lost);
    put_back(&name, &copy, &TABLES, "true");
    // As after a failover.
    sql(&name, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"));
    within(TOLERANCE, "nobody noticed", || ours.health().unwrap().rolled_back);
    within(TOLERANCE, "no event", || log.of(EventKind::VersionLost).len() == 1);
    let named = &log.of(EventKind::VersionLost)[0];
    assert_eq!((named.key, named.version), (Some(key), Some(lost)), "what is lost is not named");
    assert_eq!(log.of(EventKind::KeystoreRolledBack).len(), 1);
    // Reads continue with the available state.
    assert_eq!(&*ours.decrypt(&kept, &[]).unwrap(), b"kept");
    assert_eq!(status(ours.decrypt(&gone, &[])), Some(Status::KeyVersionNotFound));
    assert_ne!(
        ours.inspect(&ours.encrypt(key, b"new", &[]).unwrap()).unwrap().version,
        lost,
        "a lost version encrypts"
    );
    assert_eq!(status(ours.rotate(key)), Some(Status::KeystoreRolledBack));
    // A process that never saw more is stopped by the checkpoint of one that did.
    let theirs = Keystore::open(&location, &with(&EventLog::default())).unwrap();
    within(TOLERANCE, "another process writes on", || status(theirs.rotate(key)) == Some(Status::KeystoreRolledBack));
    assert_eq!(&*theirs.decrypt(&kept, &[]).unwrap(), b"kept");
    // Where the version was never in memory, the call names it.
    within(TOLERANCE, "another process does not say what is lost", || {
        let refused = theirs.decrypt(&gone, &[]).unwrap_err();
        assert_eq!(refused.status(), Status::KeyVersionNotFound);
        [key.to_string(), lost.to_string(), "lost its newest changes".to_owned()]
            .iter()
            .all(|part| refused.text().contains(part))
    });
    drop(Keystore::open(&location, &with(&EventLog::default()).accept_rollback(true)).unwrap());
    for kms in [&ours, &theirs] {
        within(TOLERANCE, "changes stay stopped", || kms.rotate(key).is_ok());
        assert!(!kms.health().unwrap().rolled_back);
    }
    assert_eq!(ours.health().unwrap().rollbacks, 1);
    assert!(is_sound(&open(&name, &ManualClock::at(T0))));
}

#[test]
fn a_shard_that_was_put_back_is_noticed_by_the_checkpoint_of_who_never_saw_it() {
    let (name, log) = (name("shard"), EventLog::default());
    let location = format!("{}#{name}", server());
    let ours = Keystore::open(&location, &with(&log)).unwrap();
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let number: i64 = i64::from(u8::from_str_radix(&key.to_string()[..2], 16).unwrap() / 4);
    let copy = keep(&name, &["shard", "key", "node"]);
    ours.disable_key(key).unwrap();
    await_checkpoint(&name);
    drop(ours);
    put_back(&name, &copy, &["shard"], &format!("shard = {number}"));
    put_back(&name, &copy, &["node"], &format!("number >> 48 = {number}"));
    put_back(&name, &copy, &["key"], &format!("key_row >> 32 = {number}"));
    let fresh = Keystore::open(&location, &with(&log)).unwrap();
    assert!(fresh.health().unwrap().rolled_back, "a shard of before a disable is believed");
    assert_eq!(status(fresh.rotate(key)), Some(Status::KeystoreRolledBack));
}

#[test]
fn a_node_that_was_put_back_is_noticed() {
    let (name, clock) = (name("node"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let keys: Vec<KeyId> = (0..40).map(|_| kms.create_key(&CreateKey::default()).unwrap()).collect();
    let copy = keep(&name, &["node"]);
    keys.iter().for_each(|key| kms.disable_key(*key).unwrap());
    put_back(&name, &copy, &["node"], "true");
    let fresh = open(&name, &clock);
    let said = keys.iter().map(|key| status(fresh.describe_key(*key)));
    assert!(
        said.into_iter().all(|said| said == Some(Status::KeystoreCorrupt)),
        "nodes of before a change are believed"
    );
}

#[test]
fn a_whole_database_of_before_is_noticed_by_the_anchor_and_without_one_by_who_saw_more() {
    let (name, log) = (name("anchor"), EventLog::default());
    let folder = std::env::temp_dir().join(format!("kms-{name}"));
    std::fs::create_dir(&folder).unwrap();
    let (location, anchor) = (format!("{}#{name}", server()), folder.join("anchor"));
    std::fs::write(&anchor, b"").unwrap();
    let anchored = || with(&EventLog::default()).anchor_file(&anchor);
    let ours = Keystore::open(&location, &anchored()).unwrap();
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let copy = keep(&name, &TABLES);
    ours.disable_key(key).unwrap();
    await_checkpoint(&name);
    std::thread::sleep(Duration::from_secs(1));
    drop(ours);
    put_back(&name, &copy, &TABLES, "true");
    // As documented: a process that has neither seen more nor has an anchor can't detect it.
    let unaware = Keystore::open(&location, &with(&log)).unwrap();
    assert!(!unaware.health().unwrap().rolled_back);
    let refused = Keystore::open(&location, &anchored());
    assert_eq!(status(refused), Some(Status::KeystoreRolledBack), "the anchor knows a newer checkpoint");
    drop(Keystore::open(&location, &anchored().accept_rollback(true)).unwrap());
    let again = Keystore::open(&location, &anchored()).unwrap();
    again.rotate(key).unwrap();
    within(TOLERANCE, "the other process is stopped", || unaware.rotate(key).is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_anchor_is_made_with_its_keystore_and_refuses_to_begin_another() {
    let (name, folder) = (name("begun"), tempfile::tempdir().unwrap());
    let (location, anchor) = (format!("{}#{name}", server()), folder.path().join("anchor"));
    let anchored = || with(&EventLog::default()).anchor_file(&anchor);
    let nowhere = Keystore::open("postgres://u:p@127.0.0.1:1/d?sslmode=disable", &anchored());
    assert_eq!(status(nowhere.map(drop)), Some(Status::KeystoreUnavailable));
    assert!(!anchor.exists(), "an anchor without a keystore is left");
    // A keystore that cannot be made: its root key is refused in the midst.
    let refused = with(&EventLog::default()).anchor_file(folder.path().join("missing/anchor"));
    assert_eq!(status(Keystore::open(&location, &refused).map(drop)), Some(Status::AnchorUnavailable));
    assert_eq!(
        sql(&name, &format!("SELECT count(*) FROM store WHERE name = '{name}'")),
        "0",
        "it is made without its anchor"
    );
    let kms = Keystore::open(&location, &anchored()).unwrap();
    kms.create_key(&CreateKey::default()).unwrap();
    drop(kms);
    drop(Keystore::open(&location, &anchored()).unwrap());
    sql(&name, &format!("DELETE FROM store WHERE name = '{name}'"));
    let again = Keystore::open(&location, &anchored());
    assert_eq!(status(again.map(drop)), Some(Status::KeystoreRolledBack), "a lost keystore is made again");
    assert_eq!(sql(&name, &format!("SELECT count(*) FROM store WHERE name = '{name}'")), "0");
    std::fs::write(&anchor, b"").unwrap();
    drop(Keystore::open(&location, &anchored()).unwrap());
}

/// A child inherits its parent's knowledge of the generation.
#[test]
fn a_forked_child_refuses_what_its_parent_would() {
    let (name, clock) = (name("child"), ManualClock::at(T0));
    let kms =
        Keystore::open(&format!("{}#{name}", server()), &options().clock(clock).poll_interval(Duration::from_secs(60)));
    let kms = kms.unwrap();
    let key = key_in_first_shard(&kms);
    let copy = keep(&name, &TABLES);
    kms.disable_key(key).unwrap();
    put_back(&name, &copy, &TABLES, "true");
    // SAFETY: the child uses the library, which supports that, and ends without running anything of its parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_refused = status(kms.rotate(key)) == Some(Status::KeystoreRolledBack);
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!is_refused)) };
    }
    let mut ended = 0;
    // SAFETY: `ended` is valid for the call to fill.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
    assert_eq!(ended, 0, "a child writes to what its parent knows to be old");
}

/// Rounds begin long before a poll makes the next checkpoint.
#[test]
fn with_a_strict_anchor_a_new_process_notices_the_loss_of_the_last_change() {
    let name = name("strict");
    let folder = tempfile::tempdir().unwrap();
    let (location, anchor) = (format!("{}#{name}", server()), folder.path().join("anchor"));
    std::fs::write(&anchor, b"").unwrap();
    let anchored = || with(&EventLog::default()).anchor_file(&anchor).anchor_strict(true);
    let mut ours = Keystore::open(&location, &anchored()).unwrap();
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let change = |kms: &Keystore, what: &str| match what {
        "a new key" => kms.create_key(&CreateKey::default()).map(|_| ()),
        "a rotation" => kms.rotate(key).map(|_| ()),
        "an alias, in two shards" => kms.create_alias(key, "alias/lost"),
        _ => kms.disable_key(key),
    };
    let changes = ["a new key", "a rotation", "an alias, in two shards", "a disable"];
    for (at, what) in changes.into_iter().enumerate() {
        let copy = format!("{name}-{at}").replace('-', "_");
        keep_as(&name, &copy, &TABLES);
        change(&ours, what).unwrap();
        drop(ours);
        put_back(&name, &copy, &TABLES, "true");
        let refused = Keystore::open(&location, &anchored());
        assert_eq!(status(refused), Some(Status::KeystoreRolledBack), "the loss of {what} is not noticed");
        ours = Keystore::open(&location, &anchored().accept_rollback(true)).unwrap();
    }
    assert!(is_sound(&ours));
}

#[test]
fn strict_changes_of_several_handles_follow_one_another() {
    const CHANGES: u32 = 40;
    let folder = tempfile::tempdir().unwrap();
    let rate = |handles: u32, kind: &str| {
        let (name, anchor) = (name(kind), folder.path().join(format!("{kind}-{handles}")));
        std::fs::write(&anchor, b"").unwrap();
        let location = format!("{}#{name}", server());
        let options = || match kind {
            "plain" => with(&EventLog::default()),
            kind => with(&EventLog::default()).anchor_file(&anchor).anchor_strict(kind == "strict"),
        };
        let all: Vec<Keystore> = (0..handles).map(|_| Keystore::open(&location, &options()).unwrap()).collect();
        let keys: Vec<KeyId> = all.iter().map(|kms| kms.create_key(&CreateKey::default()).unwrap()).collect();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (kms, key) in all.iter().zip(&keys) {
                scope.spawn(move || (0..CHANGES).for_each(|_| assert!(kms.rotate(*key).is_ok())));
            }
        });
        let took = begun.elapsed();
        let fresh = Keystore::open(&location, &options()).unwrap();
        assert!(!fresh.health().unwrap().rolled_back);
        for (kms, key) in all.iter().zip(&keys) {
            assert_eq!(numbers(&fresh, *key).len(), 1 + CHANGES as usize);
            assert!(!kms.health().unwrap().rolled_back, "a change of another handle is taken for a rollback");
            kms.rotate(*key).unwrap();
        }
        f64::from(CHANGES * handles) / took.as_secs_f64()
    };
    for handles in [1, 2, 4] {
        let [plain, anchored, strict] = ["plain", "anchored", "strict"].map(|kind| rate(handles, kind));
        println!("{handles} handles: {plain:.0} changes a second, {anchored:.0} anchored, {strict:.0} strict");
    }
}
