//! Many ciphertexts: counted and re-encrypted in files and folders. Failures are named and left
//! unchanged, and a second run completes.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Place;

/// A folder `data` with small, armored and large files under version 1 of `cards`, of which version 2 is the newest.
fn with_folder() -> Place {
    let place = Place::with_key();
    std::fs::create_dir_all(place.path("data/deep")).unwrap();
    for (name, content) in [("a", vec![1; 10]), ("deep/b", vec![2; 20]), ("big", vec![3; 100_000])] {
        place.write("plain", content);
        place.ok(["encrypt", "plain", "-o", &format!("data/{name}.kms")]);
    }
    place.write("plain", "small");
    place.ok(["encrypt", "plain", "--armor", "-o", "data/armored"]);
    place.write("plain", vec![4; 100_000]);
    place.ok(["encrypt", "plain", "--armor", "-o", "data/armored-big"]);
    place.write("data/readme", "nothing secret");
    symlink(place.path("data/a.kms"), place.path("data/link.kms")).unwrap();
    place.ok(["key", "rotate", "cards"]);
    place.write("plain", "new");
    place.ok(["encrypt", "plain", "-o", "data/new.kms"]);
    place
}

#[test]
fn a_folder_is_counted_by_version_and_ends_with_what_nothing_needs() {
    let place = with_folder();
    let found = place.json(["inspect", "data"]);
    assert_eq!(found["Count"], 6);
    let counts: Vec<_> =
        found["Versions"].as_array().unwrap().iter().map(|v| (v["Number"].clone(), v["Count"].clone())).collect();
    assert_eq!(counts, [(2.into(), 1.into()), (1.into(), 5.into())]);
    assert_eq!((&found["Skipped"]["NotEncrypted"], &found["Skipped"]["Links"]), (&1.into(), &1.into()));
    assert!(found["Unneeded"].as_array().unwrap().is_empty(), "{found}");
    place.ok(["key", "create", "other"]);
    place.ok(["reencrypt", "data", "--yes"]);
    let shown = place.ok(["inspect", "data"]);
    let end = "nothing here needs:\n  alias/cards version 1\n  any version of alias/other\n\
        next, a trial that can be undone: kms version disable cards 1\n";
    assert!(shown.ends_with(end), "{shown}");
    place.ok(["version", "disable", "cards", "1", "--yes"]);
    let shown = place.ok(["inspect", "data"]);
    assert!(shown.ends_with("  any version of alias/other\n"), "a version that is disabled already: {shown}");
    let listed = place.ok(["inspect", "data", "--list"]);
    assert!(listed.contains("data/deep/b.kms"), "{listed}");
}

#[test]
fn a_folder_is_moved_after_a_plan_and_a_second_run_touches_nothing() {
    let place = with_folder();
    std::fs::set_permissions(place.path("data/a.kms"), PermissionsExt::from_mode(0o640)).unwrap();
    let run = place.run(["reencrypt", "data"]);
    assert_eq!(run.code, Some(8));
    assert!(run.err.contains("would move 5 of 6 ciphertexts") && run.err.contains("--yes"), "{}", run.err);
    let planned = place.ok(["reencrypt", "data", "--dry-run"]);
    assert!(planned.contains("5 from alias/cards version 1 to version 2") && planned.contains("dry run"), "{planned}");
    assert_eq!(place.json(["inspect", "data"])["Versions"][1]["Count"], 5, "a dry run changed something");
    let moved = place.json(["reencrypt", "data", "--yes"]);
    assert_eq!((&moved["Moved"], &moved["AlreadyNewest"]), (&5.into(), &1.into()), "{moved}");
    for (name, content) in [("armored-big", vec![4; 100_000]), ("big.kms", vec![3; 100_000])] {
        place.ok(["decrypt", &format!("data/{name}"), "-o", "again", "--force"]);
        assert!(place.read("again") == content, "{name}");
    }
    assert!(place.read("data/armored-big").starts_with(b"-----BEGIN"));

    assert_eq!(std::fs::metadata(place.path("data/a.kms")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(place.path("data/link.kms").is_symlink());
    let before: Vec<_> = ["data/a.kms", "data/big.kms", "data/armored"].map(|name| place.read(name)).into();
    assert!(place.read("data/armored").starts_with(b"-----BEGIN"));
    let shown = place.ok(["reencrypt", "data", "--yes"]);
    assert!(shown.contains("nothing to move"), "{shown}");
    let after: Vec<_> = ["data/a.kms", "data/big.kms", "data/armored"].map(|name| place.read(name)).into();
    assert!(before == after, "a second run wrote again");
    place.ok(["decrypt", "data/deep/b.kms", "-o", "out"]);
    assert_eq!(place.read("out"), vec![2; 20]);
}

#[test]
fn what_cannot_be_moved_is_named_and_left() {
    let place = with_folder();
    place.write("plain", "other context");
    place.ok(["encrypt", "plain", "-c", "user=42", "-o", "data/context.kms"]);
    place.ok(["key", "rotate", "cards"]);
    let mut bad = place.read("data/a.kms");
    bad[70] ^= 1;
    place.write("data/a.kms", &bad);
    place.write("data/junk.kms", "no ciphertext");
    std::fs::create_dir(place.path("data/closed")).unwrap();
    let run = place.run(["reencrypt", "data", "--yes"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    for name in ["data/a.kms", "data/context.kms", "data/junk.kms", "3 of 8 failed"] {
        assert!(run.err.contains(name), "{name} is not named: {}", run.err);
    }
    assert!(String::from_utf8_lossy(&run.out).contains("moved 5 ciphertexts"));
    assert!(place.read("data/a.kms") == bad && place.read("data/junk.kms") == b"no ciphertext");
    let run = place.run(["reencrypt", "data/context.kms", "data/context.kms", "--yes"]);
    assert_eq!(run.code, Some(5), "only failures of one kind have its code: {}", run.err);
    assert!(run.err.contains("--context"), "{}", run.err);
    place.ok(["reencrypt", "data/context.kms", "-c", "user=42"]);
    let err = place.fails(1, "restore it from a copy", ["inspect", "data"]);
    assert!(err.contains("data/junk.kms") && !err.contains("kms inspect"), "{err}");
}

#[test]
fn another_key_and_a_disabled_key_are_planned() {
    let place = with_folder();
    place.ok(["key", "create", "other"]);
    let planned = place.ok(["reencrypt", "data", "--key", "other", "--dry-run"]);
    assert!(planned.contains("1 from alias/cards version 2 to alias/other version 1"), "{planned}");
    place.ok(["reencrypt", "data", "--key", "other", "--yes"]);
    assert_eq!(place.json(["inspect", "data"])["Versions"][0]["Key"], "alias/other");
    place.ok(["key", "rotate", "other"]);
    place.ok(["key", "disable", "other"]);
    let planned = place.ok(["reencrypt", "data", "--dry-run"]);
    assert!(planned.contains("alias/other is Disabled"), "{planned}");
    place.fails(4, "kms key enable", ["reencrypt", "data", "--yes"]);
    assert!(place.fails(2, "", ["reencrypt", "data", "-o", "x"]).contains("single file"));
    assert!(place.fails(2, "", ["inspect", "data", "-"]).contains("standard input"));
    place.fails(7, "", ["inspect", "missing", "nothing"]);
}

#[test]
fn a_link_that_is_named_stays_a_link() {
    let place = with_folder();
    place.ok(["reencrypt", "data/link.kms"]);
    assert!(place.path("data/link.kms").is_symlink());
    assert_eq!(place.json(["inspect", "data/a.kms"])["Files"][0]["Number"], 2);
}

#[test]
fn a_new_context_takes_the_place_of_the_old_one_and_a_second_run_finishes() {
    let place = Place::with_key();
    std::fs::create_dir(place.path("data")).unwrap();
    for name in ["a", "b", "c"] {
        place.write(name, name);
        place.ok(["encrypt", name, "-c", "app=old", "-o", &format!("data/{name}.kms")]);
    }
    // As an interrupted run leaves it.
    place.ok(["reencrypt", "data/b.kms", "-c", "app=old", "--new-context", "app=new"]);
    let arguments = ["reencrypt", "data", "-c", "app=old", "--new-context", "app=new", "--yes"];
    let planned = place.ok(["reencrypt", "data", "-c", "app=old", "--new-context", "app=new", "--dry-run"]);
    assert!(planned.contains("would move 3 of 3") && planned.contains("version 1 to version 1"), "{planned}");
    let moved = place.json(arguments);
    assert_eq!((&moved["Moved"], &moved["AlreadyNewest"], &moved["Failed"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!(place.json(arguments)["AlreadyNewest"], 3, "a second run moved something");
    for name in ["a", "b", "c"] {
        let file = format!("data/{name}.kms");
        assert_eq!(place.ok(["decrypt", &file, "-c", "app=new", "-o", "-"]), name);
        place.fails(5, "", ["decrypt", &file, "-c", "app=old", "-o", "out"]);
    }
    place.write("big", vec![3; 100_000]);
    place.ok(["encrypt", "big", "-c", "app=old", "-o", "data/big.kms"]);
    let run = place.run(arguments);
    assert!(run.code != Some(0) && run.err.contains("the encryption context of a large file stays"), "{}", run.err);
    place.write("rows.csv", "id,card\n");
    let armored = place.run_with(["encrypt", "-c", "app=old", "-c", "id=7", "--armor"], "x").out;
    let text: String = String::from_utf8(armored).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    place.write("rows.csv", format!("id,card\n7,{text}\n"));
    let csv = ["reencrypt", "rows.csv", "--csv", "card", "-c", "app=old", "--context-column", "id=id"];
    let mut command = place.kms(csv);
    let run = crate::support::ended(command.args(["--new-context", "app=new", "--yes"]).output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.err);
    let rows = String::from_utf8(place.read("rows.csv")).unwrap();
    let cell = rows.lines().nth(1).unwrap().split_once(',').unwrap().1.to_owned();
    assert_eq!(place.run_with(["decrypt", "-c", "app=new", "-c", "id=7"], cell).out, b"x");
}
