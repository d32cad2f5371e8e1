//! SIGKILL at every step loses nothing and leaves no partial output that looks complete. A second run succeeds.

use std::process::Stdio;

use crate::support::{Place, ended};

/// Kills its process before the write, sync, change of mode, rename or removal of the number in KMS_KILL_AT.
const KILLER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
static int calls;
static void step(void) {
    const char *at = getenv("KMS_KILL_AT");
    if (at != 0 && __sync_add_and_fetch(&calls, 1) == atoi(at)) kill(getpid(), SIGKILL);
}
#define WRAP(type, name, declared, passed) \
    type name declared { step(); type (*real) declared = dlsym(RTLD_NEXT, #name); return real passed; }
WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t len, off_t at), (fd, bytes, len, at))
WRAP(ssize_t, pwrite, (int fd, const void *bytes, size_t len, off_t at), (fd, bytes, len, at))
WRAP(ssize_t, write, (int fd, const void *bytes, size_t len), (fd, bytes, len))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat2, (int a, const char *b, int c, const char *d, unsigned e), (a, b, c, d, e))
WRAP(int, link, (const char *from, const char *to), (from, to))
WRAP(int, linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e))
"#;

fn with_killer() -> Place {
    let place = Place::with_key();
    place.write("killer.c", KILLER);
    let built = place.command("cc").args(["-shared", "-fPIC", "-o", "killer.so", "killer.c", "-ldl"]).status().unwrap();
    assert!(built.success());
    place
}

/// Runs a command again and again, killed one step later each time, until it ends by itself. `check` inspects the
/// result of each.
fn at_every_step<const N: usize>(place: &Place, arguments: [&str; N], prepare: impl Fn(), check: impl Fn(usize)) {
    for step in 1..400 {
        prepare();
        let mut command = place.kms(arguments);
        command.env("LD_PRELOAD", place.path("killer.so")).env("KMS_KILL_AT", step.to_string());
        let run = ended(command.stdin(Stdio::null()).output().unwrap());
        check(step);
        // The empty folder of a restore that was done goes with the next one.
        let is_left = |name: &String| name.starts_with(".kms-") && !name.starts_with(".kms-restore-");
        let left: Vec<_> = place.names().into_iter().filter(is_left).collect();
        assert!(left.is_empty(), "step {step}: {left:?} was left");
        if run.code.is_some() {
            assert_eq!(run.code, Some(0), "step {step}: {}", run.err);
            assert!(step > 3, "the kill never came");
            return;
        }
    }
    panic!("{arguments:?} has no end");
}

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect()
}

#[test]
fn a_backup_that_is_there_is_whole_and_recorded() {
    let place = with_killer();
    let begin = || {
        for name in ["b.db", "b.db.sha256", "b.db.manifest.json", "keys.db-backups"] {
            let _ = std::fs::remove_file(place.path(name));
        }
    };
    at_every_step(&place, ["backup", "b.db", "--json"], begin, |step| {
        if !place.path("b.db").exists() {
            place.ok(["backup", "b.db", "--json"]);
        }
        let found = place.json(["backup", "--verify", "b.db"]);
        assert!(found["SHA256"].is_string(), "step {step}: no checksum: {found}");
        assert!(place.path("b.db.manifest.json").exists());
        assert_eq!(place.json(["status"])["KeysWithoutBackupCount"], 0, "step {step}: it is not recorded");
        assert!(!place.path("b.db.kms-new").exists(), "step {step}: something was left");
    });
}

#[test]
fn a_restore_loses_nothing() {
    let place = with_killer();
    place.ok(["backup", "b.db"]);
    place.ok(["key", "create", "later"]);
    let present = place.read("keys.db");
    let clean = || {
        for name in place.names().iter().filter(|name| name.starts_with("keys.db") || name.starts_with(".kms-")) {
            let path = place.path(name);
            std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path)).unwrap();
        }
        place.write("keys.db", &present);
    };
    at_every_step(&place, ["restore", "b.db", "--yes"], clean, |step| {
        let keys = |name: &str| place.json(["--keystore", name, "key", "list"])["TotalCount"].clone();
        if keys("keys.db") == 2 {
            place.ok(["restore", "b.db", "--yes"]);
        }
        assert_eq!(keys("keys.db"), 1, "step {step}: the backup is not there");
        place.ok(["verify"]);
        let kept: Vec<_> = place.names().into_iter().filter(|name| name.starts_with("keys.db-before-")).collect();
        let whole: Vec<_> = kept.iter().filter(|name| !name.ends_with("-journal") && !name.ends_with("-gen")).collect();
        assert!(
            whole.len() == 1 && keys(whole[0]) == 2,
            "step {step}: the former keystore is lost or doubled: {kept:?}"
        );
    });
}

#[test]
fn encryption_leaves_all_of_a_file_or_none() {
    let place = with_killer();
    for (name, text) in [("big", content()), ("small", b"a note".to_vec())] {
        place.write(name, &text);
        let sealed = format!("{name}.kms");
        let gone = || drop(std::fs::remove_file(place.path(&sealed)));
        at_every_step(&place, ["encrypt", name], gone, |step| {
            assert!(place.read(name) == text, "step {step}: the source was changed");
            if !place.path(&sealed).exists() {
                place.ok(["encrypt", name]);
            }
            place.ok(["decrypt", &sealed, "-o", "out", "--force"]);
            assert!(place.read("out") == text, "step {step}: an output that is not whole");
        });
    }
}

#[test]
fn decryption_leaves_all_of_a_file_or_none() {
    let place = with_killer();
    for (name, text) in [("big", content()), ("small", b"a note".to_vec())] {
        place.write(name, &text);
        place.ok(["encrypt", name]);
        let sealed = format!("{name}.kms");
        let gone = || drop(std::fs::remove_file(place.path("out")));
        at_every_step(&place, ["decrypt", &sealed, "-o", "out"], gone, |step| {
            if place.path("out").exists() {
                assert!(place.read("out") == text, "step {step}: an output that is not whole");
            }
        });
        gone();
        let mut command = place.command("sh");
        let script = format!("cat {sealed} | {} decrypt - -o out", crate::support::kms().display());
        command.args(["-c", &script]).env("LD_PRELOAD", place.path("killer.so")).env("KMS_KILL_AT", "20");
        command.stdin(Stdio::null()).output().unwrap();
        assert!(!place.names().iter().any(|name| name.starts_with(".kms-")), "a pipe leaves a part of the output");
        gone();
        place.ok(["decrypt", &sealed, "-o", "out"]);
        assert!(place.read("out") == text);
    }
}

#[test]
fn reencryption_leaves_a_file_that_opens() {
    let place = with_killer();
    for (name, text) in [("big", content()), ("small", b"a note".to_vec())] {
        place.write(name, &text);
        place.ok(["encrypt", name, "--force"]);
        let sealed = format!("{name}.kms");
        let before = place.read(&sealed);
        place.ok(["key", "rotate", "cards"]);
        at_every_step(
            &place,
            ["reencrypt", &sealed],
            || place.write(&sealed, &before),
            |step| {
                place.ok(["decrypt", &sealed, "-o", "out", "--force"]);
                assert!(place.read("out") == text, "step {step}: the file was damaged");
                place.ok(["reencrypt", &sealed]);
                let found = place.json(["inspect", &sealed]);
                assert_eq!(found["Files"][0]["IsPrimary"], true, "step {step}: a second run did not finish");
            },
        );
    }
}

#[test]
fn a_csv_file_is_the_old_or_the_new_one() {
    let place = with_killer();
    let text = place.run_with(["encrypt", "--armor"], "x").out;
    let text: String = String::from_utf8(text).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let rows = format!("id,card\n{}", format!("1,{text}\n").repeat(50));
    place.ok(["key", "rotate", "cards"]);
    let arguments = ["reencrypt", "rows.csv", "--csv", "card", "--yes"];
    at_every_step(
        &place,
        arguments,
        || place.write("rows.csv", &rows),
        |step| {
            let found = place.json(["inspect", "rows.csv", "--csv", "card"]);
            let is_old = place.read("rows.csv") == rows.as_bytes();
            let under = if is_old { &found["Versions"][1]["Count"] } else { &found["Versions"][0]["Count"] };
            assert_eq!(under, 50, "step {step}: neither the old file nor the new one: {found}");
        },
    );
}

#[test]
fn a_table_opens_and_has_every_row() {
    let place = with_killer();
    let blob = place.run_with(["encrypt"], "x").out;
    place.ok(["key", "rotate", "cards"]);
    let prepare = || {
        for name in ["app.db", "app.db-journal"] {
            let _ = std::fs::remove_file(place.path(name));
        }
        let app = rusqlite::Connection::open(place.path("app.db")).unwrap();
        app.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, card); BEGIN").unwrap();
        for number in 0..600 {
            app.execute("INSERT INTO t VALUES (?, ?)", rusqlite::params![number, blob]).unwrap();
        }
        app.execute_batch("COMMIT").unwrap();
    };
    // Most steps are the pages of one transaction.
    for step in [5, 20, 60, 62, 64, 66, 68, 70, 80, 100, 110, 120, 130] {
        prepare();
        let mut command = place.kms(["reencrypt", "app.db", "--sqlite", "t.card", "--yes"]);
        command.env("LD_PRELOAD", place.path("killer.so")).env("KMS_KILL_AT", step.to_string());
        command.stdin(Stdio::null()).output().unwrap();
        let found = place.json(["inspect", "app.db", "--sqlite", "t.card"]);
        assert_eq!((&found["Count"], &found["Failed"]), (&600.into(), &0.into()), "step {step}: {found}");
        place.ok(["reencrypt", "app.db", "--sqlite", "t.card", "--yes"]);
        assert_eq!(place.json(["inspect", "app.db", "--sqlite", "t.card"])["Versions"][0]["Count"], 600);
    }
}
