//! Copies between files and databases are complete or absent, even if the copy is killed or others change the source.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::backup::CopyStep;
use kms::{CreateKey, Keystore, ManualClock, Status};

use super::gallery::{Gallery, same, sound};
use super::{T0, impatient, name, options, proxied, server, sql, status};

fn place(name: &str) -> String {
    format!("{}#{name}", server())
}

fn open_at(location: &str, clock: &ManualClock) -> kms::Result<Keystore> {
    Keystore::open(location, &options().create(false).clock(clock.clone()))
}

/// Waiting for the disk would take most of the time.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_copy_into_a_database_and_back_is_the_same_keystore() {
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let path = |name: &str| text(&folder.path().join(name));
    let kms = Keystore::open(&path("keys.db"), &options().clock(clock.clone())).unwrap();
    let gallery = Gallery::fill(&kms, &clock);
    let (first, second) = (place(&name("first")), place(&name("second")));
    let report = kms.copy(&first, |_| ()).unwrap();
    assert_eq!(report.keys, kms.keys().count() as u64);
    assert_eq!(status(kms.copy(&first, |_| ())), Some(Status::KeystoreIo), "a keystore was replaced");
    let mut from = kms;
    for to in [&first, &second, &path("back.db")] {
        if *to != first {
            assert_eq!(from.copy(to, |_| ()).unwrap(), report);
        }
        let copy = open_at(to, &clock).unwrap();
        sound(&copy);
        same(&from, &copy);
        assert_eq!(gallery.opened(&from), gallery.opened(&copy));
        from = copy;
    }
    // The backup of a database is the file that a copy is.
    let there = open_at(&second, &clock).unwrap();
    there.backup(path("backup.db")).unwrap();
    same(&there, &open_at(&path("backup.db"), &clock).unwrap());
    from.rotate(gallery.blobs[0].0).unwrap();
    there.rotate(gallery.blobs[0].0).unwrap();
    sound(&there);
}

#[test]
fn an_unfinished_copy_of_another_keystore_is_left_alone() {
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let kms = Keystore::open(&text(&folder.path().join("keys.db")), &options().clock(clock.clone())).unwrap();
    kms.create_key(&CreateKey::default()).unwrap();
    let name = name("other");
    drop(Keystore::open(&place(&format!("{name}.kms-new")), &options().clock(clock.clone())).unwrap());
    assert_eq!(status(kms.copy(&place(&name), |_| ())), Some(Status::KeystoreIo));
    assert_eq!(status(open_at(&place(&name), &clock)), Some(Status::KeystoreNotFound));
    assert_eq!(status(kms.copy(&place("x.kms-new"), |_| ())), Some(Status::InvalidArgument));
}

/// Runs in a child that is killed after this time. Returns whether it finished before.
fn copy_and_kill(from: &str, to: &str, after: Duration, clock: &ManualClock) -> bool {
    // SAFETY: the child opens a new handle, and ends without running any code of its parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let copied = open_at(from, clock).and_then(|kms| kms.copy(to, |_| ()));
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(copied.is_err())) };
    }
    std::thread::sleep(after);
    let mut ended = 0;
    // SAFETY: ends a child of this test, and waits for it.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &mut ended, 0);
    }
    assert!(!libc::WIFEXITED(ended) || libc::WEXITSTATUS(ended) == 0, "the copy failed");
    libc::WIFEXITED(ended)
}

#[test]
fn a_copy_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let path = |name: &str| text(&folder.path().join(name));
    let kms = Keystore::open(&path("keys.db"), &options().clock(clock.clone())).unwrap();
    let gallery = Gallery::fill(&kms, &clock);
    let there = place(&name("killed-source"));
    kms.copy(&there, |_| ()).unwrap();
    let begun = Instant::now();
    kms.copy(&place(&name("killed-measured")), |_| ()).unwrap();
    let whole = begun.elapsed();
    let (mut kills, mut ends) = (0, 0);
    for round in 0..4 {
        let inward = round % 2 == 0;
        let to = if inward { place(&name("killed")) } else { path(&format!("copy-{round}.db")) };
        let from = if inward { path("keys.db") } else { there.clone() };
        // Each kill comes later than the one before; the copy in the database has more at each.
        for part in 1..=4 {
            if copy_and_kill(&from, &to, whole * part / 4 + whole * round / 20, &clock) {
                ends += 1;
                break;
            }
            kills += 1;
            match open_at(&to, &clock) {
                Err(error) => assert_eq!(error.status(), Status::KeystoreNotFound, "{error}"),
                // Killed after it had its name.
                Ok(copy) => {
                    same(&kms, &copy);
                    break;
                }
            }
        }
        if open_at(&to, &clock).is_err() {
            open_at(&from, &clock).unwrap().copy(&to, |_| ()).unwrap();
        }
        let copy = open_at(&to, &clock).unwrap();
        same(&kms, &copy);
        assert_eq!(gallery.opened(&kms), gallery.opened(&copy));
        sound(&copy);
    }
    println!("{kills} kills, {ends} copies ended before theirs");
    assert!(kills >= 6, "the copies were quicker than the kills");
    assert_eq!(
        sql("x", "SELECT count(*) FROM store WHERE name LIKE 'killed-%.kms-new'"),
        "0",
        "something was left behind"
    );
}

#[test]
fn a_copy_of_a_keystore_in_use_has_all_that_was_there_when_it_was_locked() {
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let path = |name: &str| text(&folder.path().join(name));
    let kms = Keystore::open(&path("keys.db"), &options().clock(clock.clone())).unwrap();
    Gallery::fill(&kms, &clock);
    let source = place(&name("busy-source"));
    kms.copy(&source, |_| ()).unwrap();
    for (from, to) in
        [(path("keys.db"), place(&name("busy"))), (source, path("busy.db")), (path("keys.db"), path("pages.db"))]
    {
        let kms = open_at(&from, &clock).unwrap();
        let ends = AtomicBool::new(false);
        let (mut blobs, mut longest) = (Vec::new(), Duration::ZERO);
        let mut before = Vec::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let writing = Keystore::open(&from, &options().clock(clock.clone())).unwrap();
                while !ends.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let key = writing.create_key(&CreateKey::default()).unwrap();
                    writing.rotate(key).unwrap();
                    writing.create_alias(key, &format!("alias/{key}")).unwrap();
                    longest = longest.max(begun.elapsed());
                    blobs.push((Instant::now(), writing.encrypt(key, b"in use", &[]).unwrap()));
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
            let locked = std::cell::Cell::new(None);
            let waiting = Keystore::open(&from, &options().clock(clock.clone())).unwrap();
            let copied = waiting.copy(&to, |step| {
                if step == CopyStep::Locked {
                    locked.set(Some(Instant::now()));
                }
            });
            ends.store(true, Ordering::Relaxed);
            writer.join().unwrap();
            copied.unwrap();
            before.push(locked.get().unwrap());
        });
        let locked = before.pop().unwrap();
        let copy = open_at(&to, &clock).unwrap();
        sound(&copy);
        let meanwhile = blobs.iter().filter(|(at, _)| *at < locked).count();
        println!("{meanwhile} changes meanwhile, the longest took {longest:?}");
        assert!(meanwhile > 0, "nothing was changed meanwhile");
        for (_, blob) in blobs.iter().filter(|(at, _)| *at < locked) {
            assert_eq!(&*copy.decrypt(blob, &[]).unwrap(), b"in use", "a version is missing in the copy");
        }
        drop(kms);
    }
}

#[test]
fn of_two_copiers_to_one_location_one_is_refused() {
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let kms = Keystore::open(&text(&folder.path().join("keys.db")), &options().clock(clock.clone())).unwrap();
    kms.create_keys(&CreateKey::default(), 200).unwrap();
    let to = place(&name("two"));
    let other = impatient().create(false).clock(clock.clone());
    let other = Keystore::open(&text(&folder.path().join("keys.db")), &other).unwrap();
    let refusals = std::cell::Cell::new(0);
    let report = kms.copy(&to, |step| {
        // From the first keys to the last moment.
        if matches!(step, CopyStep::Copied(_) | CopyStep::Locked) && refusals.get() < 2 {
            let refused = other.copy(&to, |_| ());
            assert_eq!(status(refused), Some(Status::KeystoreBusy), "two copiers write one copy");
            refusals.set(refusals.get() + 1);
        }
    });
    assert_eq!(report.unwrap().keys, 200);
    assert!(refusals.get() > 0, "the other was never there");
    let copy = open_at(&to, &clock).unwrap();
    sound(&copy);
    same(&kms, &copy);
}

/// The shards of a database cost the same for any number of keys.
#[test]
fn a_copy_makes_no_round_trip_for_a_single_key() {
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let path = |name: &str| text(&folder.path().join(name));
    let turns = |count: usize| {
        let kms = Keystore::open(&path(&format!("{count}.db")), &options().clock(clock.clone())).unwrap();
        let ids: Vec<_> = (0..count / 50).flat_map(|_| kms.create_keys(&CreateKey::default(), 50).unwrap()).collect();
        for id in ids.iter().step_by(4) {
            kms.tag_resource(*id, &[("tag", "value")]).unwrap();
            kms.create_alias(*id, &format!("alias/{id}")).unwrap();
            kms.rotate(*id).unwrap();
        }
        let (location, proxy) = proxied(&name("trips"));
        let trips = || proxy.traffic.turns.load(Ordering::SeqCst);
        kms.copy(&location, |_| ()).unwrap();
        let inward = trips();
        let there = Keystore::open(&location, &options().clock(clock.clone())).unwrap();
        let before = trips();
        there.copy(&path(&format!("{count}-back.db")), |_| ()).unwrap();
        let outward = trips() - before;
        println!("{count} keys: {inward} round trips into the database, {outward} out of it");
        (inward, outward)
    };
    let ((few_in, few_out), (many_in, many_out)) = (turns(200), turns(1_000));
    assert!(many_in - few_in < 400 && many_out - few_out < 400, "800 more keys take as many more round trips");
}

/// `KMS_TEST_CAMPAIGN`: how long it takes.
#[test]
fn many_keys_are_copied() {
    let count = if std::env::var_os("KMS_TEST_CAMPAIGN").is_some() { 20_000 } else { 500 };
    let (folder, clock) = (folder(), ManualClock::at(T0));
    let path = |name: &str| text(&folder.path().join(name));
    let kms = Keystore::open(&path("keys.db"), &options().clock(clock.clone())).unwrap();
    (0..count / 500).for_each(|_| assert!(kms.create_keys(&CreateKey::default(), 500).is_ok()));
    let there = place(&name("many"));
    let begun = Instant::now();
    assert_eq!(kms.copy(&there, |_| ()).unwrap().keys, count);
    let inward = begun.elapsed();
    let begun = Instant::now();
    assert_eq!(open_at(&there, &clock).unwrap().copy(&path("back.db"), |_| ()).unwrap().keys, count);
    println!("{count} keys: {inward:?} into the database, {:?} out of it", begun.elapsed());
}
