//! Backups: made while in use, checked, recorded, restored without losing the present keystore.

use std::process::Stdio;

use crate::support::{Place, with_input};

#[test]
fn a_backup_has_a_checksum_and_a_manifest_and_status_knows_it() {
    let place = Place::with_key();
    assert!(place.ok(["status"]).contains("no recorded backup"));
    place.ok(["backup", "b.db"]);
    let sum = place.command("sha256sum").args(["-c", "b.db.sha256"]).output().unwrap();
    assert!(sum.status.success(), "sha256sum does not read the checksum");
    let manifest: serde_json::Value = serde_json::from_slice(&place.read("b.db.manifest.json")).unwrap();
    let versions = place.json(["key", "versions", "cards"]);
    assert_eq!(manifest["Keys"][0]["KeyVersionIds"][0], versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]);
    place.ok(["backup", "--verify", "b.db"]);
    let status = place.json(["status"]);
    assert_eq!(status["KeysWithoutBackupCount"], 0);
    assert!(status["Backups"][0]["VerifiedDate"].is_string());
    place.ok(["key", "rotate", "cards"]);
    assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 1);
    assert_eq!(place.json(["backup", "--verify", "b.db"])["KeysWithNewerVersions"], 1);
    place.fails(1, "", ["status", "--check"]);
    place.fails(6, "", ["backup", "b.db"]);
}

#[test]
fn a_backup_through_a_pipe_restores() {
    let place = Place::with_key();
    place.write("note", "a note");
    place.ok(["encrypt", "note"]);
    let bytes = place.run(["backup", "-"]).out;
    for name in ["keys.db", "keys.db-gen", "keys.db-journal"] {
        let _ = std::fs::remove_file(place.path(name));
    }
    let run = place.run_with(["restore", "-", "--yes"], &bytes);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(place.ok(["decrypt", "note.kms", "-o", "-"]), "a note");
    let run = with_input(place.kms(["restore", "-", "--yes"]), &bytes[..bytes.len() / 2]);
    assert_eq!(run.code, Some(6), "half a backup was restored: {}", run.err);
    assert_eq!(place.ok(["decrypt", "note.kms", "-o", "-"]), "a note");
}

#[test]
fn restore_asks_and_keeps_the_present_keystore() {
    let place = Place::with_key();
    place.ok(["backup", "b.db"]);
    place.ok(["key", "create", "later"]);
    let plan = place.fails(8, "--yes", ["restore", "b.db"]);
    assert!(plan.contains("keep the present keystore"), "{plan}");
    place.ok(["restore", "b.db", "--dry-run"]);
    assert_eq!(place.json(["key", "list"])["TotalCount"], 2);
    let before = place.json(["restore", "b.db", "--yes"])["Before"].as_str().unwrap().to_owned();
    assert_eq!(place.json(["key", "list"])["TotalCount"], 1);
    assert_eq!(place.json(["--keystore", &before, "key", "list"])["TotalCount"], 2);
    assert!(!place.names().iter().any(|name| name.starts_with(".kms-")), "{:?}", place.names());
}

#[test]
fn restore_refuses_a_keystore_in_use_and_a_changed_backup() {
    let place = Place::with_key();
    place.ok(["backup", "b.db"]);
    let mut user =
        place.command("sh").args(["-c", "exec 9<keys.db; echo; sleep 30"]).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(user.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    place.fails(6, "stop these programs", ["restore", "b.db", "--yes"]);
    user.kill().unwrap();
    user.wait().unwrap();
    let mut changed = place.read("b.db");
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    place.write("b.db", &changed);
    place.fails(6, "another backup", ["restore", "b.db", "--yes"]);
    place.fails(6, "another backup", ["backup", "--verify", "b.db"]);
}

#[test]
fn a_copy_is_the_keystore_at_another_path() {
    let place = Place::with_key();
    place.write("note", "a note");
    place.ok(["encrypt", "note"]);
    let said = place.json(["copy", "keys.db", "copy.db"]);
    assert_eq!((&said["KeyCount"], &said["KeyVersionCount"], &said["AliasCount"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(place.ok(["--keystore", "copy.db", "decrypt", "note.kms", "-o", "-"]), "a note");
    let oldest = |shown: serde_json::Value| shown["Changes"]["Change"][0]["EventId"].clone();
    assert_eq!(oldest(place.json(["--keystore", "copy.db", "log", "show"])), oldest(place.json(["log", "show"])));
    place.fails(6, "choose another path", ["copy", "keys.db", "copy.db"]);
    place.fails(6, "kms init", ["copy", "none.db", "other.db"]);
    assert!(!place.path("other.db").exists());
    place.fails(2, "kms backup -", ["copy", "keys.db", "-"]);
    place.fails(2, "pass a path", ["copy", "memory:", "other.db"]);
    place.fails(2, "PostgreSQL", ["copy", "keys.db", "postgres:dbname=kms"]);
    assert!(!place.path("postgres:dbname=kms").exists(), "a database became a file");
    place.fails(6, "choose another path", ["--keystore", "new.kms-new", "init", "--root-key-file", "new.key"]);
    place.write("other.db.kms-new", "a file of the user");
    place.fails(6, "move it away", ["copy", "keys.db", "other.db"]);
    assert!(place.path("other.db.kms-new").exists(), "a file that is no keystore was removed");
}

#[test]
fn a_source_with_an_anchor_is_checked_under_each_of_its_paths() {
    let place = Place::empty();
    place.ok(["init", "--root-key-file", "root.key", "--anchor-file", "anchor"]);
    place.ok(["key", "create", "cards"]);
    assert!(place.ok(["copy", "keys.db", "copy.db"]).contains("--anchor-file FILE, a new one"));
    std::fs::copy(place.path("keys.db"), place.path("older.db")).unwrap();
    place.ok(["key", "rotate", "cards"]);
    std::fs::copy(place.path("older.db"), place.path("keys.db")).unwrap();
    for source in ["keys.db", "./keys.db", place.path("keys.db").to_str().unwrap()] {
        place.fails(6, "kms help anchor", ["copy", source, "other.db"]);
    }
    std::fs::remove_file(place.path("kms.toml")).unwrap();
    place.fails(
        6,
        "kms help anchor",
        ["--root-key-file", "root.key", "--anchor-file", "anchor", "copy", "keys.db", "other.db"],
    );
}

#[test]
fn a_restored_backup_is_accepted_by_the_anchor() {
    let place = Place::empty();
    place.ok(["init", "--root-key-file", "root.key", "--anchor-file", "anchor"]);
    place.ok(["key", "create", "cards"]);
    place.ok(["backup", "b.db"]);
    place.ok(["key", "rotate", "cards"]);
    std::fs::copy(place.path("b.db"), place.path("keys.db")).unwrap();
    place.fails(6, "kms help anchor", ["status"]);
    place.ok(["restore", "b.db", "--yes"]);
    place.ok(["status"]);
    place.ok(["verify"]);
}
