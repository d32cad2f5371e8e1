//! A journal belongs to the file it was written for: it does not harm another file that is moved to the path later.

use std::path::Path;
use std::time::{Duration, Instant};

use kms::{CreateKey, Keystore, Status};

use crate::folder::{Folder, choose, new_key, quiet, status};
use crate::worker::Worker;

/// A keystore, and a healthy copy that had 40 changes more.
fn with_newer_copy() -> (Folder, std::path::PathBuf) {
    let folder = Folder::without_a_disk();
    let kms = folder.create();
    for _ in 0..30 {
        new_key(&kms, None);
    }
    let other = Folder::without_a_disk();
    kms.backup(other.path("keys.db")).unwrap();
    let further = other.open();
    for _ in 0..40 {
        new_key(&further, None);
    }
    let copy = folder.path("newer.db");
    further.backup(&copy).unwrap();
    (folder, copy)
}

/// Opens and verifies the file at the path. Returns the findings.
fn verified(store: &str) -> String {
    let mut faults = 0;
    let kms = match Keystore::open(store, &quiet()) {
        Ok(kms) => kms,
        Err(error) => return format!("{:?}", error.status()),
    };
    let done = status(kms.verify(|_| {
        faults += 1;
        true
    }));
    format!("{done:?}, {faults} faults")
}

/// Role. Arguments: the store, and the copy that is moved there during a transaction of another connection.
pub fn replace_beside_writer(arguments: &[String]) {
    let [store, copy] = arguments else { panic!("arguments") };
    let kms = Keystore::open(store, &quiet()).unwrap();
    let writer = rusqlite::Connection::open(store).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode = TRUNCATE; PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE key SET description = 'x';
             INSERT INTO node SELECT 1000 + value, zeroblob(3000) FROM
             (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 100) SELECT value FROM n)",
        )
        .unwrap();
    assert!(std::fs::metadata(format!("{store}-journal")).unwrap().len() > 512, "the journal is not hot");
    std::fs::rename(copy, store).unwrap();
    let before = std::fs::read(store).unwrap();
    let short = || quiet().busy_timeout(Duration::from_millis(50));
    println!("{:?}", status(Keystore::open(store, &short())));
    println!("{:?}", status(Keystore::open(store, &short().read_only(true))));
    println!("{}", std::fs::read(store).unwrap() == before);
    writer.execute_batch("ROLLBACK").unwrap();
    drop((writer, kms));
    println!("{}", verified(store));
}

fn replaced_beside_writer(environment: &[(&str, &str)]) -> Vec<String> {
    let (folder, copy) = with_newer_copy();
    Worker::start_with("replace-beside-writer", &[&folder.store(), copy.to_str().unwrap()], environment).drain()
}

#[test]
fn a_live_writers_journal_is_not_played_into_the_file_that_replaced_its_own() {
    let busy = format!("{:?}", Some(Status::KeystoreBusy));
    assert_eq!(replaced_beside_writer(&[]), [&*busy, &*busy, "true", "None, 0 faults"]);
}

/// The test above can fail.
#[cfg(kms_faults)]
#[test]
fn an_unlocked_journal_would_destroy_the_file() {
    let told = replaced_beside_writer(&[("KMS_FAULT_JOURNAL_UNLOCKED", "1")]);
    println!("{told:?}");
    assert_ne!(told.get(2).map(String::as_str), Some("true"), "nothing was played back, so the test shows nothing");
    assert_ne!(told.get(3).map(String::as_str), Some("None, 0 faults"));
}

/// Role. Arguments: the store. Creates keys until its input ends, regardless of the file at the path; prints the first.
pub fn create_always(arguments: &[String]) {
    std::thread::spawn(|| {
        while crate::worker::heard().is_some() {}
        std::process::exit(0);
    });
    let mut first = true;
    loop {
        let Ok(kms) = Keystore::open(&arguments[0], &quiet()) else { continue };
        while kms.create_key(&CreateKey::default()).is_ok() {
            if std::mem::take(&mut first) {
                println!("created");
            }
        }
    }
}

#[test]
fn a_file_moved_to_the_path_while_processes_write_stays_whole() {
    let started = Instant::now();
    let limit = choose(Duration::from_secs(8), Duration::from_secs(60));
    let mut renames = 0;
    while started.elapsed() < limit {
        let (folder, copy) = with_newer_copy();
        let mut workers: Vec<Worker> = (0..2).map(|_| Worker::start("create-always", &[&folder.store()])).collect();
        for worker in &mut workers {
            assert_eq!(worker.hear(), "created");
        }
        std::thread::sleep(Duration::from_micros(5000 + renames * 7919 % 20_000));
        std::fs::rename(&copy, folder.store()).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        for worker in workers {
            worker.end();
        }
        assert_eq!(verified(&folder.store()), "None, 0 faults", "after {renames} renames");
        renames += 1;
    }
    println!("{renames} renames");
}

#[test]
fn a_journal_that_is_no_file_is_refused_by_name() {
    for kind in ["fifo", "folder", "device"] {
        let folder = Folder::new();
        let journal = folder.path("keys.db-journal");
        let open = folder.create();
        new_key(&open, None);
        let put = || {
            let _ = std::fs::remove_file(&journal);
            match kind {
                "fifo" => make_fifo(&journal),
                "folder" => std::fs::create_dir(&journal).unwrap(),
                _ => std::os::unix::fs::symlink("/dev/zero", &journal).unwrap(),
            }
        };
        put();
        let named = |what: &str, error: kms::Error| {
            assert_eq!(error.status(), Status::KeystoreIo, "{kind}, {what}: {error}");
            assert!(error.to_string().contains("keys.db-journal is not a regular file"), "{kind}, {what}: {error}");
        };
        named("an open handle", open.create_key(&CreateKey::default()).unwrap_err());
        named("open", Keystore::open(&folder.store(), &quiet()).err().unwrap());
        named("read-only", Keystore::open(&folder.store(), &quiet().read_only(true)).err().unwrap());
        named("create where one is", Keystore::open(&folder.store(), &quiet().create(true)).err().unwrap());
        drop(open);
        std::fs::remove_file(folder.store()).unwrap();
        named("create", Keystore::open(&folder.store(), &quiet().create(true)).err().unwrap());
        assert!(!Path::new(&folder.store()).exists(), "{kind}");
    }
}

fn make_fifo(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}
