//! The change log: which calls leave an entry, and its contents.

use std::collections::HashSet;

use kms::{
    CreateKey, Interval, KeyId, Keystore, ManualClock, Options, Origin, Status, Time,
    change_log::{ListChanges, LoggedChange},
};

const T0: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400;

fn opened() -> (Keystore, ManualClock) {
    let clock = ManualClock::at(T0);
    let options = Options::new().root_key(&[7; 32]).clock(clock.clone()).actor("the tests");
    (Keystore::open("memory:", &options).unwrap(), clock)
}

fn all(kms: &Keystore) -> Vec<LoggedChange> {
    kms.changes(ListChanges::default()).collect::<Result<_, _>>().unwrap()
}

/// The entries that `call` leaves.
fn left<R>(kms: &Keystore, call: impl FnOnce() -> R) -> (R, Vec<LoggedChange>) {
    let after = kms.health().unwrap().generation;
    let done = call();
    let which = ListChanges { after: Some(after), ..Default::default() };
    (done, kms.changes(which).collect::<Result<_, _>>().unwrap())
}

fn names(entries: &[LoggedChange]) -> Vec<&str> {
    entries.iter().map(|entry| entry.action.as_str()).collect()
}

#[test]
fn an_entry_says_who_did_what_when() {
    let (kms, clock) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    clock.advance_seconds(5);
    let (_, entries) = left(&kms, || kms.disable_key(key).unwrap());
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.key, entry.count, entry.status), ("DisableKey", Some(key), 1, 0));
    assert_eq!(entry.time, Time::from_millis(T0 + 5000));
    assert_eq!(entry.generation, kms.health().unwrap().generation);
    assert_eq!(entry.actor.process_id, std::process::id());
    assert_eq!(entry.actor.label.as_deref(), Some("the tests"));
    let program = std::env::current_exe().unwrap();
    assert_eq!(entry.actor.program, program.file_name().unwrap().to_str().unwrap());
}

#[test]
fn entries_are_chained_and_numbered_without_a_gap() {
    let (kms, _) = opened();
    for _ in 0..600 {
        kms.create_key(&CreateKey::default()).unwrap();
    }
    let entries = all(&kms);
    assert_eq!(entries.len(), 600);
    for pair in entries.windows(2) {
        assert_eq!(pair[1].generation, pair[0].generation + 1);
        assert_eq!(pair[1].previous_mac, pair[0].mac);
        assert_ne!(pair[1].id, pair[0].id);
    }
    let which = ListChanges { after: Some(entries[299].generation), ..Default::default() };
    let rest: Vec<LoggedChange> = kms.changes(which).collect::<Result<_, _>>().unwrap();
    assert_eq!(rest, entries[300..]);
    for after in [entries[599].generation, entries[599].generation + 1, u64::MAX] {
        assert_eq!(kms.changes(ListChanges { after: Some(after), ..Default::default() }).count(), 0);
    }
}

#[test]
fn the_log_is_read_from_its_end_back_and_counted() {
    let (kms, clock) = opened();
    let agrees = || {
        let mut back: Vec<LoggedChange> = kms.newest_changes().collect::<Result<_, _>>().unwrap();
        assert!(back.is_sorted_by(|newer, older| newer.time >= older.time), "the shards' logs are mixed up");
        back.sort_by_key(|entry| entry.generation);
        assert_eq!(back, all(&kms));
        assert_eq!(kms.count_changes().unwrap(), back.len() as u64);
    };
    agrees();
    // Around the sizes of the windows that are read.
    for count in [15, 1, 1, 47, 1, 15, 1, 1, 200] {
        for _ in 0..count {
            kms.create_key(&CreateKey::default()).unwrap();
        }
        agrees();
        clock.advance_seconds(1);
    }
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for _ in 0..700 {
        kms.disable_key(key).unwrap();
        kms.enable_key(key).unwrap();
    }
    agrees();
    kms.cut_changes(Time::from_millis(T0 + 4000)).unwrap();
    agrees();
    // What is logged meanwhile is not shown.
    let mut back = kms.newest_changes();
    let first = back.next().unwrap().unwrap();
    kms.disable_key(key).unwrap();
    assert!(back.all(|entry| entry.unwrap().generation != first.generation));
    kms.cut_changes(Time::from_millis(i64::MAX)).unwrap();
    agrees();
}

#[test]
fn a_call_that_changes_nothing_leaves_no_entry() {
    let (kms, _) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for call in [
        &|| kms.enable_key(key).unwrap() as (),
        &|| kms.update_key_description(key, "").unwrap(),
        &|| kms.untag_resource(key, &["none"]).unwrap(),
        &|| assert_eq!(kms.tick().unwrap().rotated, 0),
        &|| drop(kms.encrypt(key, b"text", &[]).unwrap()),
        &|| drop(kms.describe_key(key).unwrap()),
        &|| assert_eq!(kms.cut_changes(Time::from_millis(T0)).unwrap(), 0),
    ] as [&dyn Fn(); 7]
    {
        let ((), entries) = left(&kms, call);
        assert_eq!(entries, []);
    }
}

#[test]
fn keys_created_together_have_one_entry_with_their_count() {
    let (kms, _) = opened();
    let (_, entries) = left(&kms, || kms.create_keys(&CreateKey::default(), 7).unwrap());
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.key, entry.count), ("CreateKeys", None, 7));
}

#[test]
fn the_clock_logs_its_rotations_with_a_count() {
    let (kms, clock) = opened();
    let daily = CreateKey { rotate_every: Some(Interval::parse("1d").unwrap()), ..Default::default() };
    let alone = kms.create_key(&daily).unwrap();
    clock.advance_seconds(DAY);
    let (_, entries) = left(&kms, || kms.tick().unwrap());
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.key, entry.count), ("RotateKeyAuto", Some(alone), 1));
    kms.create_keys(&daily, 5).unwrap();
    clock.advance_seconds(DAY);
    let (_, entries) = left(&kms, || kms.tick().unwrap());
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.key, entry.count), ("RotateKeyAuto", None, 6));
}

#[test]
fn each_destroyed_key_is_named() {
    let (kms, clock) = opened();
    let keys = kms.create_keys(&CreateKey::default(), 5).unwrap();
    for key in &keys {
        kms.schedule_key_deletion(*key, 7).unwrap();
    }
    clock.advance_seconds(7 * DAY);
    let (_, entries) = left(&kms, || kms.tick().unwrap());
    assert_eq!(names(&entries), ["RecordDates"]);
    assert_eq!((entries[0].key, entries[0].count), (None, 5));
    clock.advance_seconds(3600);
    let (report, entries) = left(&kms, || kms.tick().unwrap());
    assert_eq!(report.destroyed, 5);
    assert_eq!(names(&entries), ["DeleteKey"; 5]);
    let mut named: Vec<KeyId> = entries.iter().map(|entry| entry.key.unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, keys);
    assert!(entries.iter().all(|entry| entry.waited_ms == Some((7 * DAY + 3600) * 1000)), "{entries:?}");
    let which = ListChanges { key: Some(keys[0]), ..Default::default() };
    let of_key: Vec<LoggedChange> = kms.changes(which).collect::<Result<_, _>>().unwrap();
    assert_eq!(names(&of_key), ["ScheduleKeyDeletion", "DeleteKey"], "a destroyed key is found no more");
}

#[test]
fn each_destroyed_version_is_named_also_beside_others_of_its_key() {
    let (kms, clock) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for _ in 0..3 {
        kms.rotate(key).unwrap();
    }
    let mut old: Vec<_> = kms.key_versions(key).skip(1).map(|version| version.unwrap().id).collect();
    for version in &old {
        kms.disable_key_version(key, &version.to_string()).unwrap();
        kms.schedule_key_version_deletion(key, &version.to_string(), 7).unwrap();
    }
    clock.advance_seconds(7 * DAY);
    kms.tick().unwrap();
    clock.advance_seconds(3600);
    let (report, entries) = left(&kms, || kms.tick().unwrap());
    assert_eq!(report.versions_destroyed, 3);
    assert_eq!(names(&entries), ["DeleteKeyVersion"; 3]);
    let mut named: Vec<_> = entries.iter().map(|entry| entry.version.unwrap()).collect();
    old.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, old);
    assert!(entries.iter().all(|entry| (entry.key, entry.count) == (Some(key), 1)), "{entries:?}");
    assert!(entries.iter().all(|entry| entry.waited_ms == Some((7 * DAY + 3600) * 1000)), "{entries:?}");
}

/// More than one transaction destroys.
#[test]
fn many_versions_of_a_key_are_destroyed_in_few_transactions_and_each_is_named() {
    const OLD: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let clock = ManualClock::at(1_700_000_000_000);
    let options = Options::new().root_key(&[7; 32]).create(true).clock(clock.clone());
    let kms = Keystore::open(path.to_str().unwrap(), &options).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let mut blobs = Vec::new();
    for _ in 0..OLD {
        blobs.push(kms.encrypt(key, b"old", &[]).unwrap());
        kms.rotate(key).unwrap();
    }
    let newest = kms.encrypt(key, b"new", &[]).unwrap();
    let other = Keystore::open(path.to_str().unwrap(), &options).unwrap();
    assert_eq!(*other.decrypt(&blobs[0], &[]).unwrap(), *b"old");
    let old: Vec<_> = kms.key_versions(key).skip(1).map(|version| version.unwrap().id).collect();
    for version in &old {
        kms.disable_key_version(key, &version.to_string()).unwrap();
        kms.schedule_key_version_deletion(key, &version.to_string(), 7).unwrap();
    }
    clock.advance_seconds(7 * DAY);
    kms.tick().unwrap();
    clock.advance_seconds(3600);
    let (report, entries) = left(&kms, || kms.tick().unwrap());
    assert_eq!(report.versions_destroyed, OLD);
    let named: HashSet<_> = entries.iter().filter(|e| e.action == "DeleteKeyVersion").map(|e| e.version).collect();
    assert_eq!((entries.len(), named.len()), (OLD, OLD), "an entry for each, and none besides");
    for (handle, name) in [(&kms, "this"), (&other, "another")] {
        assert_eq!(*handle.decrypt(&newest, &[]).unwrap(), *b"new", "{name} handle");
        for blob in &blobs {
            let error = handle.decrypt(blob, &[]).unwrap_err();
            assert_eq!(error.status(), Status::KeyVersionDestroyed, "{name} handle: {error}");
        }
        handle.verify(|fault| panic!("{name} handle: {fault:?}")).unwrap();
        handle.rotate(key).unwrap();
    }
}

#[test]
fn no_rotation_waits_for_a_destruction() {
    let (kms, clock) = opened();
    let gone = kms.create_key(&CreateKey::default()).unwrap();
    kms.schedule_key_deletion(gone, 7).unwrap();
    clock.advance_seconds(7 * DAY);
    kms.tick().unwrap();
    let hourly = CreateKey { rotate_every: Some(Interval::parse("2h").unwrap()), ..Default::default() };
    kms.create_keys(&hourly, 100).unwrap();
    clock.advance_seconds(7200);
    let (report, entries) = left(&kms, || kms.tick().unwrap());
    assert_eq!((report.rotated, report.destroyed), (100, 1));
    let (last, rotations) = entries.split_last().unwrap();
    assert_eq!(last.action, "DeleteKey");
    assert!(rotations.len() > 1 && rotations.iter().all(|entry| entry.action == "RotateKeyAuto"), "{entries:?}");
}

#[test]
fn erased_material_is_named() {
    let (kms, clock) = opened();
    let external = CreateKey { origin: Some(Origin::External), ..Default::default() };
    let keys = kms.create_keys(&external, 2).unwrap();
    for key in &keys {
        kms.import_raw_key_material(*key, &[3; 32], Some(Time::from_millis(T0 + 1000))).unwrap();
    }
    clock.advance_seconds(10);
    kms.tick().unwrap();
    clock.advance_seconds(3600);
    let (_, entries) = left(&kms, || kms.tick().unwrap());
    assert_eq!(names(&entries), ["DeleteExpiredKeyMaterial"; 2]);
    assert!(keys.iter().all(|key| entries.iter().any(|entry| entry.key == Some(*key))), "{entries:?}");
}

#[test]
fn a_refused_call_is_logged_with_its_status() {
    let (kms, _) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    kms.disable_key(key).unwrap();
    let (done, entries) = left(&kms, || kms.rotate(key));
    assert_eq!(done.map_err(|error| error.status()), Err(Status::RejectedDisabled));
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.key), ("CreateKeyVersion", Some(key)));
    assert_eq!(entry.status, Status::RejectedDisabled as i32);
    let (done, entries) = left(&kms, || kms.encrypt(key, b"", &[]).map(drop));
    assert_eq!(done.map_err(|error| error.status()), Err(Status::RejectedDisabled));
    assert_eq!(entries, [], "encryptions are not logged");
}

#[test]
fn refusals_beyond_ten_a_second_are_counted_in_the_next_entry() {
    let (kms, _) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let (_, entries) = left(&kms, || {
        for _ in 0..200 {
            assert!(kms.create_alias(key, "no alias").is_err());
        }
    });
    let logged = entries.len() as u64;
    assert!((10..=100).contains(&logged), "{logged} refusals were logged");
    let (_, next) = left(&kms, || kms.disable_key(key).unwrap());
    let omitted: u64 = entries.iter().chain(&next).map(|entry| entry.refusals_omitted).sum();
    assert_eq!(logged + omitted, 200);
    let (_, next) = left(&kms, || kms.enable_key(key).unwrap());
    assert_eq!(next[0].refusals_omitted, 0, "refusals are counted twice");
}

#[test]
fn the_end_of_a_handle_counts_the_refusals_that_no_entry_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let options = Options::new().root_key(&[7; 32]).create(true).rotation_thread(false);
    let open = || Keystore::open(path.to_str().unwrap(), &options).unwrap();
    let kms = open();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for _ in 0..100 {
        assert!(kms.create_alias(key, "no alias").is_err());
    }
    drop(kms);
    let entries = all(&open());
    let refused = entries.iter().filter(|entry| entry.status != 0).count() as u64;
    let omitted: u64 = entries.iter().map(|entry| entry.refusals_omitted).sum();
    assert!(omitted > 0 && refused + omitted == 100, "{refused} logged and {omitted} counted");
    assert_eq!((entries.last().unwrap().action.as_str(), entries.last().unwrap().status), ("RecordRefusals", 0));
    drop(open());
    assert_eq!(all(&open()).len(), entries.len(), "a handle without refusals leaves an entry");
}

#[test]
fn a_refused_call_that_is_made_again_because_it_must_not_wait_counts_once() {
    let (kms, _) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let call = || kms.schedule_key_deletion(key, 1);
    for _ in 0..6 {
        let (done, entries) = left(&kms, || kms::internal::without_waiting(call).unwrap_or_else(call));
        assert_eq!(done.map_err(|error| error.status()), Err(Status::InvalidArgument));
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((entry.status, entry.refusals_omitted), (Status::InvalidArgument as i32, 0));
    }
}

#[test]
fn a_log_is_filtered_by_time_and_key() {
    let (kms, clock) = opened();
    let keys: Vec<KeyId> = (0..4)
        .map(|_| {
            clock.advance_seconds(10);
            kms.create_key(&CreateKey::default()).unwrap()
        })
        .collect();
    let at = |number: i64| Some(Time::from_millis(T0 + number * 10_000));
    let found =
        |which: ListChanges| -> Vec<KeyId> { kms.changes(which).map(|entry| entry.unwrap().key.unwrap()).collect() };
    assert_eq!(found(ListChanges { from: at(2), ..Default::default() }), keys[1..]);
    assert_eq!(found(ListChanges { to: at(2), ..Default::default() }), keys[..1]);
    assert_eq!(found(ListChanges { from: at(2), to: at(4), ..Default::default() }), keys[1..3]);
    assert_eq!(found(ListChanges { from: at(2), key: Some(keys[0]), ..Default::default() }), []);
}

#[test]
fn a_cut_log_continues_from_a_checkpoint() {
    let (kms, clock) = opened();
    for _ in 0..10 {
        kms.create_key(&CreateKey::default()).unwrap();
        clock.advance_seconds(1);
    }
    let before = all(&kms);
    let (cut, entries) = left(&kms, || kms.cut_changes(Time::from_millis(T0 + 6000)).unwrap());
    assert_eq!(cut, 6);
    assert_eq!((names(&entries), entries[0].count, entries[0].key), (vec!["CutChanges"], 6, None));
    let after = all(&kms);
    assert_eq!(after[..4], before[6..]);
    assert_eq!(after.len(), 5);
    kms.verify(|_| true).unwrap();
    assert_eq!(kms.cut_changes(Time::from_millis(i64::MAX)).unwrap(), 5);
    assert_eq!(names(&all(&kms)), ["CutChanges"]);
    kms.verify(|_| true).unwrap();
    let after = kms.changes(ListChanges { after: Some(before[2].generation), ..Default::default() });
    assert_eq!(after.count(), 1, "a list that continues from what was cut misses the rest");
}

#[test]
fn a_long_log_is_cut_in_parts() {
    let (kms, _) = opened();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for _ in 0..2500 {
        kms.disable_key(key).unwrap();
        kms.enable_key(key).unwrap();
    }
    assert_eq!(kms.cut_changes(Time::from_millis(T0 + 1)).unwrap(), 5001);
    let counts: Vec<u64> = all(&kms).iter().map(|entry| entry.count).collect();
    assert_eq!(counts, [4096, 905], "the entries of a cut stay, whatever its date");
    kms.verify(|_| true).unwrap();
}
