//! Failing system calls: each one of each operation, once and permanently.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kms::{
    Keystore, ManualClock, Options, Status,
    health::{Event, EventKind},
};

use crate::calls::{Entry, Kind, Plan, Watch};
use crate::scene::{
    HOUR_MS, Keys, Operation, Prepared, ROOT, Start, T0, eventually, is_long, operation, operations, status,
};
use crate::together::each;

const ERRNOS: [c_int; 4] = [libc::EIO, libc::ENOSPC, libc::EROFS, libc::EACCES];

/// The statuses that a caller may see when the file system fails.
const EXPECTED: &[Status] =
    &[Status::KeystoreIo, Status::KeystoreReadOnly, Status::KeystoreBusy, Status::RootKeyUnavailable];

#[derive(Default)]
struct Tally {
    faults: usize,
    harmless: usize,
    /// The call returned an error although the change is stored: its last sync failed.
    stands: usize,
    statuses: BTreeMap<String, usize>,
}

/// One trial: the call of number `at` fails. Whether there was such a call.
fn fail(prepared: &Prepared, plan: Plan, tally: &mut Tally) -> bool {
    let (operation, folder) = (&prepared.operation, prepared.copy());
    let watch = Watch::over(folder.path());
    let (opened, result) = if operation.start == Start::Open {
        let kms = operation.open(folder.path()).unwrap();
        let keys = Keys::of(&kms);
        let warm = kms.encrypt(&keys["steady"], b"x", &[]).unwrap();
        watch.plan(plan);
        let result = (operation.act)(&kms, &keys);
        let sealed = kms.encrypt(&keys["steady"], b"y", &[]);
        let opened = kms.decrypt(&warm, &[]);
        let where_ = || format!("{}, {plan:?} ({:?})", operation.name, watch.fired_at());
        assert_eq!(status(&sealed), None, "{}: encryption with a cached key stops", where_());
        assert_eq!(status(&opened), None, "{}: decryption with a cached key stops", where_());
        (Some((kms, sealed.unwrap())), result)
    } else {
        watch.plan(plan);
        let opened = operation.open(folder.path());
        (None, opened.map(drop))
    };
    let (fired, fired_at) = (watch.fired(), watch.fired_at());
    watch.plan(Plan::Nothing);
    let context = format!("{}, {plan:?}, first failed: {fired_at:?}, result {:?}", operation.name, status(&result));
    if fired == 0 {
        assert_eq!(status(&result), None, "{context}: failed without a fault");
    }
    tally.faults += fired.min(1);
    match &result {
        Ok(()) => tally.harmless += fired.min(1),
        Err(error) => {
            // SQLite takes EIO while reading for damage, and no caller can distinguish them.
            let unreadable = matches!(fired_at, Some((Kind::Read, _))) && error.status() == Status::KeystoreCorrupt;
            assert!(unreadable || EXPECTED.contains(&error.status()), "{context}: {error}");
            *tally.statuses.entry(format!("{:?}", error.status())).or_default() += 1;
        }
    }
    let live = opened.map(|(kms, sealed)| {
        let live = prepared.look(&kms);
        assert!(live.is_ok(), "{context}: the handle doesn't recover: {:?}", live.err());
        (live.unwrap(), sealed)
    });
    let seen = prepared.look_at(&folder);
    let promised = result.is_ok() && (operation.promises || fired == 0);
    assert_eq!(prepared.violation(&seen, promised), None, "{context}");
    let seen = seen.unwrap();
    if result.is_err() && seen != prepared.before {
        tally.stands += 1;
    }
    if let Some((live, sealed)) = live {
        assert!(live == seen, "{context}: the handle has something else in memory than the store");
        let kms = operation.open(folder.path()).unwrap();
        assert_eq!(*kms.decrypt(&sealed, &[]).unwrap(), *b"y", "{context}: a blob is lost");
    }
    fired > 0
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn whatever_call_fails_nothing_is_half_done_and_encryption_goes_on() {
    let tallies = each(operations(), |operation| {
        let prepared = Prepared::new(operation);
        let mut tally = Tally::default();
        if is_long() {
            for for_good in [false, true] {
                for errno in ERRNOS {
                    let mut at = 1;
                    while fail(&prepared, Plan::Fail { at, errno, for_good, only: None }, &mut tally) {
                        at += 1;
                    }
                }
            }
        } else {
            // Each call, with the errors by turns.
            let mut at = 1;
            loop {
                let errno = ERRNOS[at % ERRNOS.len()];
                let for_good = (at / ERRNOS.len()) % 2 == 1;
                if !fail(&prepared, Plan::Fail { at, errno, for_good, only: None }, &mut tally) {
                    break;
                }
                at += 1;
            }
        }
        // Syncs are few, and the ones that matter most.
        for for_good in [false, true] {
            let mut at = 1;
            while fail(&prepared, Plan::Fail { at, errno: libc::EIO, for_good, only: Some(Kind::Sync) }, &mut tally) {
                at += 1;
            }
        }
        assert!(tally.faults > 10, "{}: hardly a call failed", prepared.operation.name);
        tally
    });
    let mut all = Tally::default();
    for tally in &tallies {
        all.faults += tally.faults;
        all.harmless += tally.harmless;
        all.stands += tally.stands;
        for (status, count) in &tally.statuses {
            *all.statuses.entry(status.clone()).or_default() += count;
        }
    }
    println!(
        "{} operations, {} faults: {} without effect, {} told though the change stands, {:?}",
        tallies.len(),
        all.faults,
        all.harmless,
        all.stands,
        all.statuses
    );
    assert!(all.faults > 30 * tallies.len() && all.faults > 2 * all.harmless, "the faults hardly had an effect");
}

/// Whether the store was reopened before the next write.
fn reopened_before_writing(log: &[Entry]) -> bool {
    let after = log.iter().skip_while(|entry| !matches!(entry, Entry::Acknowledged));
    for entry in after {
        match entry {
            Entry::Open { name } if name == "keys.db" => return true,
            Entry::Write { .. } | Entry::Truncate { .. } => return false,
            _ => {}
        }
    }
    panic!("nothing was written")
}

/// Rotates twice, the first time with a fault. Returns the result of the first rotation, and the calls.
fn rotate_twice(prepared: &Prepared, plan: Plan) -> (bool, Option<Status>, Vec<Entry>) {
    let folder = prepared.copy();
    let watch = Watch::over(folder.path());
    let kms = prepared.operation.open(folder.path()).unwrap();
    let keys = Keys::of(&kms);
    watch.record();
    watch.plan(plan);
    let first = kms.rotate(&keys["plain"]);
    let fired = watch.fired() > 0;
    watch.plan(Plan::Nothing);
    watch.acknowledged();
    kms.rotate(&keys["plain"]).unwrap();
    (fired, status(&first), watch.log())
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn after_a_failed_sync_the_store_is_opened_anew_before_the_next_write() {
    let prepared = Prepared::new(operation("rotate"));
    let mut syncs = 0;
    for for_good in [false, true] {
        for at in 1.. {
            let plan = Plan::Fail { at, errno: libc::EIO, for_good, only: Some(Kind::Sync) };
            let (fired, told, log) = rotate_twice(&prepared, plan);
            if !fired {
                break;
            }
            syncs += 1;
            let folder_only = |entry: &Entry| matches!(entry, Entry::Failed { name, .. } if name.is_empty());
            if log.iter().filter(|entry| matches!(entry, Entry::Failed { .. })).all(folder_only) {
                // SQLite ignores the result: the journal's name has existed since the first change.
                continue;
            }
            assert_eq!(told, Some(Status::KeystoreIo), "sync {at} failed, for good: {for_good}");
            assert!(reopened_before_writing(&log), "sync {at} failed, and its connection went on writing");
        }
    }
    assert!(syncs >= 8, "only {syncs} syncs failed");
    // Without a fault the connection stays, so the check above can fail.
    let (_, told, log) = rotate_twice(&prepared, Plan::Nothing);
    assert_eq!(told, None);
    assert!(!reopened_before_writing(&log), "the store is opened anew for no reason");
    println!("{syncs} failed syncs");
}

type Told = Arc<Mutex<Vec<Event>>>;

fn with_thread(folder: &std::path::Path, clock: &ManualClock) -> (Keystore, Told) {
    let told = Told::default();
    let keep = Arc::clone(&told);
    let options = Options::new()
        .root_key(&ROOT)
        .clock(clock.clone())
        .rotation_thread(true)
        .busy_timeout(Duration::from_millis(200))
        .on_event(move |event| keep.lock().unwrap().push(event.clone()));
    (Keystore::open(folder.join("keys.db").to_str().unwrap(), &options).unwrap(), told)
}

fn count(told: &Told, kind: EventKind) -> usize {
    told.lock().unwrap().iter().filter(|event| event.kind == kind).count()
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn the_clock_goes_on_after_the_disk_failed_and_tells_of_it() {
    let prepared = Prepared::new(Operation { at: T0, ..operation("description") });
    let mut faults = Vec::new();
    for errno in ERRNOS {
        for (only, for_good) in
            [(Some(Kind::Sync), true), (Some(Kind::Sync), false), (Some(Kind::Write), true), (None, true)]
        {
            faults.push((errno, only, for_good));
        }
    }
    let recovered = each(faults, |(errno, only, for_good)| {
        let folder = prepared.copy();
        let watch = Watch::over(folder.path());
        let clock = ManualClock::at(T0);
        let (kms, told) = with_thread(folder.path(), &clock);
        let keys = Keys::of(&kms);
        kms.encrypt(&keys["hourly"], b"x", &[]).unwrap();
        let before = kms.describe_key(&keys["hourly"]).unwrap().primary.unwrap().id;
        let context = format!("errno {errno}, {only:?}, for good: {for_good}");
        watch.plan(Plan::Fail { at: 1, errno, for_good, only });
        clock.set(T0 + HOUR_MS);
        let patience = Duration::from_secs(60);
        assert!(eventually(patience, || count(&told, EventKind::RotationFailed) > 0), "{context}: silence");
        let sealed = kms.encrypt(&keys["hourly"], b"y", &[]);
        assert_eq!(status(&sealed), None, "{context}: encryption stops while rotation fails");
        if for_good {
            assert_eq!(kms.inspect(sealed.as_ref().unwrap()).unwrap().version, before, "{context}");
            assert!(kms.health().unwrap().rotation_failing, "{context}: health doesn't tell");
        }
        watch.plan(Plan::Nothing);
        let started = Instant::now();
        assert!(eventually(patience, || count(&told, EventKind::Rotated) > 0), "{context}: no rotation any more");
        assert!(
            eventually(patience, || !kms.health().unwrap().rotation_failing),
            "{context}: health is not well again"
        );
        let key = kms.describe_key(&keys["hourly"]).unwrap();
        assert_ne!(key.primary.unwrap().id, before, "{context}");
        assert_eq!(key.version_count(), 4, "{context}: not exactly one version");
        assert_eq!(*kms.decrypt(&sealed.unwrap(), &[]).unwrap(), *b"y", "{context}");
        started.elapsed()
    });
    println!("{} faults; rotated again within {:?}", recovered.len(), recovered.iter().max().unwrap());
}

#[cfg(kms_faults)]
#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn a_connection_kept_after_a_failed_sync_would_be_noticed() {
    let told = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--include-ignored",
            "--exact",
            "errors::after_a_failed_sync_the_store_is_opened_anew_before_the_next_write",
        ])
        .env("KMS_FAULT_NOT_REOPENED", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success(), "without reopening the test passes: {text}");
    assert!(text.contains("its connection went on writing"), "the test fails of something else: {text}");
}
