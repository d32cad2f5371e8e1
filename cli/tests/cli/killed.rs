//! A backup or a restore killed at any step loses nothing and leaves no partial output that looks complete. The same
//! command succeeds when it runs again.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, ended};

/// Runs a command that dies at a step.
fn killed_at(place: &Place, step: &str, arguments: [&str; 3]) {
    let mut command = place.kms(arguments);
    let run = ended(command.env("KMS_FAULT_KILLED_AT", step).stdin(Stdio::null()).output().unwrap());
    assert_eq!(run.code, None, "{step}: it was not killed: {}", run.err);
}

/// Kills a command that waits at each step of its work.
fn kill_while(place: &Place, fault: &str, arguments: [&str; 3], after: Duration) {
    let mut child = place.kms(arguments).env(fault, "1").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it ended before it could be killed");
}

fn good(place: &Place, arguments: [&str; 3]) {
    assert_eq!(place.run(arguments).code, Some(0), "{arguments:?}: {}", place.run(arguments).err);
}

#[test]
fn a_killed_backup_is_complete_or_not_there() {
    for step in ["backup: copied", "backup: checksum written", "backup: all written"] {
        let place = Place::with_key();
        killed_at(&place, step, ["backup", "b.db", "--json"]);
        assert!(!place.path("b.db").exists(), "{step}: it has its name before it is complete");
        assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 1, "{step}: it is recorded before it is complete");
        place.ok(["backup", "b.db"]);
        good(&place, ["backup", "--verify", "b.db"]);
        assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 0);
    }
    let place = Place::with_key();
    killed_at(&place, "backup: done", ["backup", "b.db", "--json"]);
    good(&place, ["backup", "--verify", "b.db"]);
    assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 0, "a complete backup is not recorded");
    let place = Place::with_key();
    kill_while(&place, "KMS_FAULT_SLOW_BACKUP", ["backup", "b.db", "--json"], Duration::from_millis(150));
    assert!(!place.path("b.db").exists(), "half a backup has the name of a whole one");
    place.ok(["backup", "b.db"]);
    good(&place, ["backup", "--verify", "b.db"]);
    assert!(!place.path("b.db.kms-new").exists(), "what the killed backup left is still there");
}

#[test]
fn a_killed_backup_to_standard_output_leaves_no_copy_behind_the_next_one() {
    let place = Place::with_key();
    std::fs::create_dir(place.path("tmp")).unwrap();
    let to_stdout = |step: &str| {
        let mut command = place.kms(["backup", "-"]);
        command.env("TMPDIR", place.path("tmp")).env("KMS_FAULT_KILLED_AT", step).stdin(Stdio::null());
        ended(command.output().unwrap())
    };
    let left = || std::fs::read_dir(place.path("tmp")).unwrap().count();
    assert_eq!((to_stdout("backup: copied").code, left()), (None, 1));
    assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 1);
    let done = to_stdout("");
    assert_eq!((done.code, left()), (Some(0), 0), "{}", done.err);
    assert!(done.out.starts_with(b"SQLite format 3"));
    assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 0);
}

/// A keystore whose journal is hot: it has two keys, and a third version that was not committed.
fn with_hot_journal() -> Place {
    let place = Place::with_key();
    place.ok(["backup", "b.db"]);
    place.ok(["key", "create", "later"]);
    let begun = Instant::now();
    let is_hot = || place.read("keys.db-journal").first().is_some_and(|byte| *byte != 0);
    while !is_hot() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no journal became hot");
        let mut child = Command::new("sh");
        child.current_dir(place.path("."));
        child.args(["-c", "exec \"$0\" key rotate cards"]).arg(crate::support::kms()).env("KMS_FAULT_SLOW_COMMIT", "1");
        let mut child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let spawned = Instant::now();
        while !is_hot() && spawned.elapsed() < Duration::from_secs(5) && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place
}

/// The keystores that restores kept.
fn kept(place: &Place) -> Vec<String> {
    place
        .names()
        .into_iter()
        .filter(|name| name.contains("-before-") && !name.contains("-journal"))
        .filter(|name| !name.ends_with("-gen"))
        .collect()
}

#[test]
fn a_killed_restore_loses_nothing_and_runs_again() {
    let steps = [
        "restore: copied",
        "restore: former one kept",
        "restore: only the journal left",
        "restore: nothing left",
        "restore: placed",
    ];
    for step in steps {
        let place = with_hot_journal();
        killed_at(&place, step, ["restore", "b.db", "--yes"]);
        if place.path("keys.db").exists() {
            good(&place, ["verify", "--root-key-file", "root.key"]);
        } else {
            let before = place.names();
            place.fails(6, "", ["status"]);
            assert_eq!(place.names(), before, "{step}: a command changed what a killed restore left");
        }
        place.ok(["restore", "b.db", "--yes"]);
        assert_eq!(place.json(["key", "list"])["TotalCount"], 1, "{step}: the backup is not there");
        place.ok(["verify"]);
        let former = kept(&place);
        let whole = former.iter().filter(|name| {
            let found = place.json(["--keystore", name.as_str(), "key", "list"]);
            place.ok(["--keystore", name.as_str(), "verify"]);
            found["TotalCount"] == 2
        });
        assert!(whole.count() > 0, "{step}: the former keystore is lost: {former:?}");
        let left: Vec<_> = place.names().into_iter().filter(|name| name.starts_with(".kms-")).collect();
        assert!(left.is_empty(), "{step}: left by the killed restore: {left:?}");
    }
}
