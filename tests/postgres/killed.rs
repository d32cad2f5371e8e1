//! Processes that begin together or are killed: one keystore, and nothing acknowledged is lost.

use std::io::{PipeWriter, Read, Write};

use super::*;

/// Starts a child that writes lines to the pipe that is returned.
fn child(body: impl FnOnce(&mut PipeWriter)) -> (i32, std::io::PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child opens handles of its own, and ends without running anything of its parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut writer)));
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    (child, reader)
}

/// Waits for a child and returns its status.
fn ended(child: i32) -> i32 {
    let mut ended = 0;
    // SAFETY: `ended` is valid for the call to fill.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
    ended
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Prints each acknowledged result at once.
fn change_without_end(location: &str, clock: &ManualClock, out: &mut PipeWriter) {
    let kms = Keystore::open(location, &options().clock(clock.clone())).unwrap();
    for round in 0.. {
        let key = kms.create_key(&CreateKey::default()).unwrap();
        writeln!(out, "key {key}").unwrap();
        let alias = format!("alias/{key}");
        kms.create_alias(key, &alias).unwrap();
        writeln!(out, "alias {alias} {key}").unwrap();
        let blob = kms.encrypt(key, b"first", &[]).unwrap();
        writeln!(out, "blob {}", hex(&blob)).unwrap();
        kms.rotate(key).unwrap();
        writeln!(out, "rotated {key}").unwrap();
        let blob = kms.encrypt(key, b"second", &[]).unwrap();
        writeln!(out, "blob {}", hex(&blob)).unwrap();
        if round % 2 == 0 {
            kms.disable_key(key).unwrap();
            writeln!(out, "disabled {key}").unwrap();
        }
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_acknowledged() {
    let (name, clock) = (name("acknowledged"), ManualClock::at(T0));
    let location = format!("{}#{name}", server());
    let kms = open(&name, &clock);
    let shared = kms.create_key(&CreateKey::default()).unwrap();
    let (mut said, mut checked) = (String::new(), 0);
    for round in 0..12_u64 {
        let (process, mut reader) = child(|out| change_without_end(&location, &clock, out));
        let mut first = [0];
        reader.read_exact(&mut first).unwrap();
        // Any moment of the changes, which take milliseconds each.
        std::thread::sleep(Duration::from_micros(round * 79_193 % 400_000));
        // SAFETY: ends a child of this test.
        unsafe { libc::kill(process, libc::SIGKILL) };
        // What it held is free: the server ends its transaction with its connection.
        let begun = Instant::now();
        kms.rotate(shared).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "a killed process keeps its locks");
        ended(process);
        said.push_str(std::str::from_utf8(&first).unwrap());
        reader.read_to_string(&mut said).unwrap();
        // The last line may be cut off.
        said.truncate(said.rfind('\n').map_or(0, |end| end + 1));
    }
    let fresh = open(&name, &clock);
    let disabled: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("disabled ")).collect();
    for line in said.lines() {
        checked += 1;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["key", key] => drop(fresh.describe_key(key).expect(line)),
            ["alias", alias, key] => assert_eq!(fresh.describe_key(alias).expect(line).id.to_string(), key),
            ["rotated", key] => assert_eq!(numbers(&fresh, KeyId::parse(key).unwrap()), [2, 1], "{line}"),
            ["disabled", key] => assert_eq!(fresh.describe_key(key).unwrap().state, kms::KeyState::Disabled, "{line}"),
            ["blob", blob] => {
                let blob = unhex(blob);
                let key = fresh.inspect(&blob).expect(line).key.to_string();
                match fresh.decrypt(&blob, &[]) {
                    Ok(text) => assert!([&b"first"[..], b"second"].contains(&&*text)),
                    // Its last disable may have been made without being acknowledged.
                    Err(error) => {
                        assert_eq!(error.status(), Status::RejectedDisabled, "{line}");
                        let is_disabled = fresh.describe_key(&*key).unwrap().state == kms::KeyState::Disabled;
                        assert!(is_disabled || disabled.contains(&&*key), "{line}");
                    }
                }
            }
            _ => panic!("{line}"),
        }
    }
    println!("{checked} acknowledged results of 12 killed processes");
    assert!(checked > 36, "too few: {checked}");
    // Half of a change is nowhere: neither in rows and trees nor in the log.
    assert!(is_sound(&fresh));
    assert_eq!(fresh.newest_changes().map(|entry| entry.map(drop)).collect::<kms::Result<Vec<_>>>().err(), None);
}

#[test]
fn processes_that_create_at_the_same_moment_make_one_keystore() {
    for round in 0..4 {
        let (name, clock) = (name("creators"), ManualClock::at(T0));
        let location = format!("{}#{name}", server());
        let (start, go) = std::io::pipe().unwrap();
        let creators: Vec<_> = (0..6)
            .map(|_| {
                child(|out| {
                    // All at once.
                    (&start).read_exact(&mut [0]).unwrap();
                    let kms = Keystore::open(&location, &options().clock(clock.clone())).unwrap();
                    writeln!(out, "{}", kms.create_key(&CreateKey::default()).unwrap()).unwrap();
                })
            })
            .collect();
        (&go).write_all(&[0; 6]).unwrap();
        let mut made: Vec<String> = Vec::new();
        for (process, mut reader) in creators {
            let mut said = String::new();
            reader.read_to_string(&mut said).unwrap();
            assert_eq!(ended(process), 0, "round {round}: a creator failed");
            made.push(said.trim().to_owned());
        }
        let kms = open(&name, &clock);
        let mut found: Vec<String> = kms.keys().map(|key| key.unwrap().id.to_string()).collect();
        made.sort();
        found.sort();
        assert_eq!(made, found, "round {round}: a creator made another keystore");
        assert_eq!(sql(&name, &format!("SELECT count(*) FROM store WHERE name = '{name}'")), "1");
        assert!(is_sound(&kms));
    }
}
