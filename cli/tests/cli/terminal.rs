//! On a terminal, created by `script` of util-linux: prompts, colour, and no binary.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Place, Run, kms, with_input};

/// A command line of the shell on a terminal, for a minute at most.
fn terminal(place: &Place, line: &str) -> Command {
    let mut command = place.command("timeout");
    command.env("TERM", "xterm-256color").env("KMS", kms());
    command.args(["--signal=KILL", "60", "script", "-qefc", line, "/dev/null"]);
    command
}

/// The same with input from the user.
fn on_terminal(place: &Place, line: &str, typed: &str) -> Run {
    with_input(terminal(place, line), typed.as_bytes())
}

#[test]
fn binary_is_not_written_to_a_terminal_and_text_is() {
    let place = Place::with_key();
    place.write("note", "a note\n");
    place.write("binary", [0, 1, 2, 255]);
    let run = on_terminal(&place, "$KMS encrypt note -o -", "");
    assert_eq!(run.code, Some(2));
    assert!(String::from_utf8_lossy(&run.out).contains("--armor"));
    place.ok(["encrypt", "note"]);
    place.ok(["encrypt", "binary"]);
    assert_eq!(on_terminal(&place, "$KMS decrypt binary.kms -o -", "").code, Some(2));
    let run = on_terminal(&place, "$KMS decrypt note.kms -o - && $KMS encrypt note -a -o -", "");
    assert_eq!(run.code, Some(0));
    assert!(String::from_utf8_lossy(&run.out).starts_with("a note"));
    assert_eq!(on_terminal(&place, "$KMS datakey --sealed s", "").code, Some(2));
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let place = Place::with_key();
    let shown = |line| String::from_utf8_lossy(&on_terminal(&place, line, "").out).into_owned();
    assert!(shown("$KMS key list").contains("\x1b[1m"));
    assert!(!shown("NO_COLOR=1 $KMS key list").contains("\x1b["));
}

#[test]
fn a_passphrase_is_asked_twice_without_echo() {
    let place = Place::empty();
    let run = on_terminal(&place, "$KMS init", "correct horse\ncorrect horse\n");
    let shown = String::from_utf8_lossy(&run.out);
    assert_eq!(run.code, Some(0), "{shown}");
    assert!(shown.contains("again") && shown.contains("made the keystore"), "{shown}");
    let run = on_terminal(&place, "$KMS status", "correct horse\n");
    assert_eq!(run.code, Some(0), "{}", String::from_utf8_lossy(&run.out));
    assert_eq!(on_terminal(&place, "$KMS status", "wrong horse\n").code, Some(6));
    let run = on_terminal(&Place::empty(), "$KMS init", "one\ntwo\n");
    assert_eq!(run.code, Some(2), "{}", String::from_utf8_lossy(&run.out));
}

#[test]
fn a_plan_is_asked_about() {
    let place = Place::with_key();
    assert_eq!(on_terminal(&place, "$KMS key delete cards", "n\n").code, Some(8));
    assert_eq!(on_terminal(&place, "$KMS key delete cards", "y\n").code, Some(0));
}

#[test]
fn an_interrupt_at_the_prompt_ends_the_command() {
    let place = Place::empty();
    let mut child = terminal(&place, "$KMS init").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut typed, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut byte) = (Vec::new(), [0]);
    // Input before the prompt may be lost.
    while !shown.ends_with(b"assphrase of the keystore: ") && out.read(&mut byte).unwrap() == 1 {
        shown.push(byte[0]);
    }
    typed.write_all(b"\x03").unwrap();
    let code = child.wait().unwrap().code();
    assert!(code != Some(0) && place.names().is_empty(), "{code:?} {:?}", place.names());
}
