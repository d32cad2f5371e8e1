//! The journal that a crash leaves, and a keystore that is moved: moving either of the two away destroys nothing.

use std::path::{Path, PathBuf};

use kms::{CreateKey, Keystore, Options, Status};

use crate::calls::{Plan, When};
use crate::killed::die_at;
use crate::role;
use crate::scene::{Prepared, ROOT, copy, operation};

fn options() -> Options {
    Options::new().root_key(&ROOT).rotation_thread(false)
}

fn journal_of(store: &Path) -> PathBuf {
    PathBuf::from(format!("{}-journal", store.display()))
}

/// How many faults `verify` finds in a keystore that must open.
fn faults(store: &Path) -> usize {
    let kms = Keystore::open(store.to_str().unwrap(), &options()).unwrap();
    let mut faults = 0;
    let _ = kms.verify(|_| {
        faults += 1;
        true
    });
    faults
}

/// The text of a refusal that names the journal; none where the keystore opens.
fn refused(store: &Path) -> Option<String> {
    let error = Keystore::open(store.to_str().unwrap(), &options()).err()?;
    assert_eq!(error.status(), Status::KeystoreIo, "{error}");
    Some(error.to_string())
}

/// Role. Kills a change before each of its writes; then another copy of the keystore takes its place, or it is moved.
pub fn leave_each(_: &[String]) {
    let prepared = Prepared::new(operation("disable"));
    let scene = tempfile::tempdir().unwrap();
    prepared.copy_to(scene.path());
    let newer = scene.path().join("newer.db");
    {
        let kms = Keystore::open(scene.path().join("keys.db").to_str().unwrap(), &options()).unwrap();
        for _ in 0..3 {
            kms.create_key(&CreateKey::default()).unwrap();
        }
        kms.backup(&newer).unwrap();
    }
    let (mut replaced, mut moved, mut destroyed) = (0, 0, 0);
    for point in 1.. {
        let folder = prepared.copy();
        let store = folder.path().join("keys.db");
        // Its place is recorded by a change.
        Keystore::open(store.to_str().unwrap(), &options()).unwrap().create_key(&CreateKey::default()).unwrap();
        let (killed, _) =
            die_at(&prepared.operation, &folder, Plan::Kill { at: point, when: When::Before, only: None });
        if !killed {
            break;
        }
        let other = tempfile::tempdir().unwrap();
        copy(folder.path(), other.path());

        std::fs::copy(&newer, folder.path().join("put.db")).unwrap();
        std::fs::rename(folder.path().join("put.db"), &store).unwrap();
        // A root that opens nothing must not have the journal played either.
        let wrong = Options::new().root_key(&[8; 32]).rotation_thread(false);
        assert!(Keystore::open(store.to_str().unwrap(), &wrong).is_err());
        if let Some(text) = refused(&store) {
            assert!(text.contains("keys.db-journal was left by a crash"), "{text}");
            assert!(std::fs::read(&store).unwrap() == std::fs::read(&newer).unwrap(), "the refused file was changed");
            std::fs::remove_file(journal_of(&store)).unwrap();
            replaced += 1;
        }
        destroyed += usize::from(Keystore::open(store.to_str().unwrap(), &options()).is_err() || faults(&store) > 0);

        // The crash once more, at the path that the keystore has recorded.
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        copy(other.path(), folder.path());
        let (from, to) = (store.clone(), folder.path().join("moved.db"));
        std::fs::rename(&from, &to).unwrap();
        if let Some(text) = refused(&to) {
            assert!(text.contains("moved.db was moved away from its journal"), "{text}");
            assert!(text.contains("keys.db-journal"), "{text}");
            std::fs::rename(journal_of(&from), journal_of(&to)).unwrap();
            moved += 1;
        }
        destroyed += usize::from(Keystore::open(to.to_str().unwrap(), &options()).is_err() || faults(&to) > 0);
    }
    println!("{replaced} {moved} {destroyed}");
}

fn left(environment: &[(&str, &str)]) -> Vec<usize> {
    let output = role::command("leave-each").envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(|count| count.parse().unwrap()).collect()
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn a_dead_writers_journal_destroys_no_file_and_is_missed_by_its_own() {
    let [replaced, moved, destroyed] = left(&[])[..] else { panic!("counts") };
    assert_eq!(destroyed, 0);
    assert!(replaced > 2 && moved > 2, "no journal was hot: {replaced}, {moved}");
}

/// The test above can fail.
#[cfg(kms_faults)]
#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn an_unmarked_journal_would_destroy_the_file() {
    let [_, _, destroyed] = left(&[("KMS_FAULT_JOURNAL_UNMARKED", "1")])[..] else { panic!("counts") };
    assert!(destroyed > 0);
}
