//! Inputs above a blob's size become encrypted files: through paths and pipes, truncated, interrupted, killed.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, with_input};

/// Some chunks and a rest.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i ^ (i >> 9)) as u8).collect()
}

fn with_big() -> Place {
    let place = Place::with_key();
    place.write("big", content());
    place
}

#[test]
fn a_large_file_is_encrypted_moved_and_decrypted() {
    let place = with_big();
    place.ok(["encrypt", "big", "--context", "user=42", "--threads", "2"]);
    place.fails(7, "--force", ["encrypt", "big"]);
    let before = place.read("big.kms");
    place.ok(["key", "rotate", "cards"]);
    place.ok(["reencrypt", "big.kms", "--context", "user=42"]);
    let after = place.read("big.kms");
    assert_ne!(before[..8192], after[..8192]);
    assert_eq!(before[8192..], after[8192..], "re-encryption rewrites the header alone");
    let found = place.json(["inspect", "big.kms"]);
    let file = &found["Files"][0];
    assert_eq!(
        (&file["Format"], &file["Number"], &file["PlaintextSize"]),
        (&"file".into(), &2.into(), &300_000.into())
    );
    let shown = place.ok(["inspect", "big.kms"]);
    assert!(shown.trim_end().ends_with("yes"), "whether the file has a context is unknown: {shown}");
    place.fails(5, "--context", ["decrypt", "big.kms", "-o", "out"]);
    place.ok(["decrypt", "big.kms", "--context", "user=42", "-o", "out"]);
    assert_eq!(place.read("out"), content());
}

#[test]
fn large_data_passes_through_pipes() {
    let place = with_big();
    let sealed = place.run_with(["encrypt"], content()).out;
    assert_eq!(place.run_with(["decrypt"], &sealed).out, content());
    let armored = place.run_with(["encrypt", "--armor"], content()).out;
    assert!(armored.is_ascii());
    assert_eq!(place.run_with(["decrypt"], &armored).out, content());
    place.write("sealed", &sealed);
    place.ok(["key", "rotate", "cards"]);
    place.ok(["reencrypt", "sealed"]);
    assert_eq!(place.run_with(["decrypt"], place.read("sealed")).out, content());
    let run = place.run_with(["reencrypt"], &sealed);
    assert!(run.code == Some(2) && run.err.contains("in place"), "{}", run.err);
}

#[test]
fn a_damaged_file_leaves_no_output() {
    let place = with_big();
    place.ok(["encrypt", "big"]);
    let good = place.read("big.kms");
    let before = place.names();
    for at in [0, 40, 8_192, 8_230, 8_300, 100_000, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        place.write("big.kms", &bytes);
        place.fails(5, "", ["decrypt", "big.kms", "-o", "out"]);
        assert_eq!(place.names(), before, "after byte {at}");
    }
    for len in [8_192, 8_248, 8_264, 24_648, good.len() - 1] {
        place.write("big.kms", &good[..len]);
        place.fails(5, "", ["decrypt", "big.kms", "-o", "out"]);
        assert_eq!(place.names(), before, "cut to {len} bytes");
    }
    place.write("big.kms", &good);
    place.ok(["decrypt", "big.kms", "-o", "out"]);
    assert_eq!(place.read("out"), content());
}

/// Starts to encrypt a file that takes seconds, and signals the process while it works.
fn cut_off(place: &Place, signal: &str) -> Option<i32> {
    File::create(place.path("huge")).unwrap().set_len(4 << 30).unwrap();
    let mut child = place.kms(["encrypt", "huge"]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    // The output has no name before it is complete, or a temporary one.
    let writes = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
        let open: Vec<_> = open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        open.iter().any(|path| {
            let path = path.to_string_lossy();
            path.starts_with(place.path(".").canonicalize().unwrap().to_str().unwrap())
                && (path.ends_with("(deleted)") || path.contains("/.kms-"))
        })
    };
    while !writes() {
        assert!(began.elapsed() < Duration::from_secs(20), "no output in the work");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let code = child.wait().unwrap().code();
    assert!(!place.names().contains(&"huge.kms".to_owned()), "an output that is not whole");
    std::fs::remove_file(place.path("huge")).unwrap();
    code
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let place = with_big();
    let before = place.names();
    assert_eq!(cut_off(&place, "-INT"), Some(130));
    assert_eq!(place.names(), before);
}

#[test]
fn a_killed_command_leaves_no_output_that_looks_complete() {
    let place = with_big();
    cut_off(&place, "-KILL");
    place.ok(["encrypt", "big"]);
    place.ok(["decrypt", "big.kms", "-o", "out"]);
    assert_eq!(place.read("out"), content());
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let place = with_big();
    let mut command = Command::new("sh");
    command.current_dir(place.path("."));
    command.args(["-c", "ulimit -f 64; trap '' XFSZ; exec \"$0\" encrypt big"]).arg(crate::support::kms());
    let before = place.names();
    let run = with_input(command, b"");
    assert_eq!(run.code, Some(7), "{}", run.err);
    assert!(run.err.contains("big.kms"), "{}", run.err);
    assert_eq!(place.names(), before);
}
