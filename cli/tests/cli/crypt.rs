//! Encryption: `kms` reads its own output without flags, and output files are complete or absent.

use std::process::Stdio;

use crate::support::{Place, ended, kms, with_input};

#[test]
fn whatever_is_written_is_read_without_flags() {
    let place = Place::with_key();
    let plaintext: Vec<u8> = (0..=255).collect();
    let raw = place.run_with(["encrypt"], &plaintext).out;
    let armored = place.run_with(["encrypt", "--armor"], &plaintext).out;
    assert!(armored.is_ascii() && armored.starts_with(b"-----BEGIN KMS CIPHERTEXT-----\n"));
    let text = String::from_utf8(armored.clone()).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let windows = text.replace('\n', "\r\n");
    for form in [raw, armored, base64.into_bytes(), windows.into_bytes()] {
        let run = place.run_with(["decrypt"], &form);
        assert_eq!((run.code, &run.out), (Some(0), &plaintext), "{}", run.err);
    }
    let response = place.run_with(["call", "Encrypt", "-"], r#"{"KeyId":"alias/cards","Plaintext":"aGVsbG8="}"#);
    let response: serde_json::Value = serde_json::from_slice(&response.out).unwrap();
    let run = place.run_with(["decrypt"], response["CiphertextBlob"].as_str().unwrap());
    assert_eq!(run.out, b"hello", "{}", run.err);
}

#[test]
fn a_file_becomes_file_kms_and_back_and_nothing_is_replaced() {
    let place = Place::with_key();
    place.write("note", "a note");
    place.ok(["encrypt", "note", "--context", "user=42"]);
    assert!(place.fails(7, "--force", ["encrypt", "note"]).contains("note.kms exists"));
    place.fails(7, "--force", ["decrypt", "note.kms", "--context", "user=42"]);
    place.ok(["decrypt", "note.kms", "--context", "user=42", "-o", "back"]);
    assert_eq!(place.read("back"), b"a note");
    place.write("note", "other");
    place.ok(["decrypt", "note.kms", "--context", "user=42", "--force"]);
    assert_eq!(place.read("note"), b"a note");
}

#[test]
fn a_wrong_context_or_a_changed_byte_writes_nothing() {
    let place = Place::with_key();
    place.write("note", "a note");
    place.ok(["encrypt", "note", "--context", "user=42"]);
    let before = place.names();
    place.fails(5, "--context", ["decrypt", "note.kms", "-o", "out"]);
    place.fails(5, "", ["decrypt", "note.kms", "-o", "out", "--context", "user=43"]);
    let good = place.read("note.kms");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        place.write("bad.kms", &bad);
        let run = place.run(["decrypt", "bad.kms", "-o", "out", "--context", "user=42"]);
        assert!(run.code != Some(0) && run.out.is_empty(), "byte {at} was changed and decrypted");
    }
    std::fs::remove_file(place.path("bad.kms")).unwrap();
    assert_eq!(before, place.names(), "a failure left a file");
}

#[test]
fn reencrypt_moves_to_the_newest_version_and_is_idempotent() {
    let place = Place::with_key();
    place.write("note", "a note");
    place.ok(["encrypt", "note", "-c", "user=42"]);
    place.ok(["key", "rotate", "cards"]);
    assert_eq!(place.json(["inspect", "note.kms"])["Files"][0]["IsPrimary"], false);
    place.ok(["reencrypt", "note.kms", "-c", "user=42"]);
    let moved = place.read("note.kms");
    assert_eq!(place.json(["inspect", "note.kms"])["Files"][0]["IsPrimary"], true);
    place.ok(["reencrypt", "note.kms", "-c", "user=42"]);
    assert!(place.read("note.kms") == moved, "a second run wrote again");
    place.ok(["key", "create", "other"]);
    place.ok(["reencrypt", "note.kms", "-c", "user=42", "--new-context", "user=43", "--key", "other"]);
    place.ok(["decrypt", "note.kms", "-c", "user=43", "-o", "back"]);
    assert_eq!(place.json(["inspect", "note.kms"])["Files"][0]["Key"], "alias/other");
    place.ok(["key", "rotate", "other"]);
    place.fails(5, "--context", ["reencrypt", "note.kms", "-c", "user=42"]);
    place.ok(["decrypt", "note.kms", "-c", "user=43", "-o", "again"]);
}

#[test]
fn the_key_may_be_left_out_where_there_is_one() {
    let place = Place::new();
    place.write("note", "x");
    place.fails(3, "kms key create", ["encrypt", "note"]);
    place.ok(["key", "create", "cards"]);
    place.ok(["encrypt", "note", "-o", "a"]);
    place.ok(["key", "create", "orders"]);
    place.fails(2, "--key", ["encrypt", "note", "-o", "b"]);
    let run = ended(place.kms(["encrypt", "note", "-o", "b"]).env("KMS_KEY", "orders").output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.err);
}

#[test]
fn several_files_are_inspected_and_the_bad_one_is_named() {
    let place = Place::with_key();
    place.write("note", "x");
    place.ok(["encrypt", "note"]);
    let run = place.run(["inspect", "note.kms", "note", "missing"]);
    assert_eq!(run.code, Some(1));
    assert!(String::from_utf8_lossy(&run.out).contains("alias/cards"));
    assert!(run.err.contains("note: ") && run.err.contains("missing") && run.err.contains("2 of 3"), "{}", run.err);
}

#[test]
fn a_data_key_is_sealed_in_a_file_and_opens_again() {
    let place = Place::with_key();
    let key = place.run(["datakey", "--sealed", "sealed", "--bytes", "48"]).out;
    assert_eq!(key.len(), 48);
    assert_eq!(place.run(["decrypt", "sealed", "-o", "-"]).out, key);
    place.fails(7, "--force", ["datakey", "--sealed", "sealed"]);
    place.ok(["datakey", "--sealed", "only", "--plaintext", "none"]);
    assert!(place.json(["datakey"])["Plaintext"].is_string());
    assert!(place.json(["datakey", "--plaintext", "none"])["Plaintext"].is_null());
}

#[test]
fn a_disk_that_is_full_leaves_no_file() {
    let place = Place::with_key();
    place.write("big", vec![1; 1 << 20]);
    let before = place.names();
    // The limit of a file's size acts as a disk that is full; the signal that comes with it is ignored.
    let script = format!("trap '' XFSZ; ulimit -f 128; {} encrypt big", kms().display());
    let run = ended(place.command("sh").args(["-c", &script]).output().unwrap());
    assert_eq!(run.code, Some(7), "{}", run.err);
    assert!(run.err.contains("big.kms"), "{}", run.err);
    assert_eq!(before, place.names());
    let run = with_input(
        {
            let mut command = place.command("sh");
            command.args(["-c", &format!("{} encrypt >/dev/full", kms().display())]);
            command
        },
        b"x",
    );
    assert_eq!(run.code, Some(7), "{}", run.err);
}

#[test]
fn an_interrupted_command_leaves_nothing_and_runs_again() {
    let place = Place::with_key();
    let before = place.names();
    // A shell ignores SIGINT for what it runs in the background, tests included.
    let mut command = place.command("env");
    command.arg("--default-signal=INT").arg(kms()).args(["encrypt", "-o", "out"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let killed = place.command("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = child.wait().unwrap();
    assert!(!status.success(), "SIGINT did not end the command");
    assert_eq!(before, place.names());
    assert_eq!(place.run_with(["encrypt", "-o", "out"], "x").code, Some(0));
}
