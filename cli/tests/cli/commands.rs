//! Every command: it succeeds, prints a text for people, and JSON for programs.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::support::{Place, ended};

/// A command in a folder with the key `cards`, the key `old` with versions in several states, the ciphertext `note.kms`
/// and the backup `b.db`; what its text says, and a field of its JSON. An empty field: it has no JSON.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("init --keystore other.db --root-key-file other.key", "made the keystore other.db", "/Keystore"),
    ("key create orders --rotate-every 30d", "alias/orders", "/KeyMetadata/KeyId"),
    ("key list", "cards", "/Keys/Key/0/KeyId"),
    ("key show cards", "90d", "/KeyMetadata/RotationInterval"),
    ("key versions cards", "primary", "/KeyVersions/KeyVersion/0/KeyVersionId"),
    ("key enable cards", "enabled", "/Keys/Key/0/KeyState"),
    ("key disable cards", "disabled", "/Keys/Key/0/KeyState"),
    ("key rotate cards", "rotated", "/Keys/Key/0/PrimaryKeyVersion"),
    ("key policy cards --rotate-every 12h", "12h", "/KeyMetadata/RotationInterval"),
    ("key delete cards --yes", "pending deletion", "/Keys/Key/0/DeleteDate"),
    ("key undelete dying", "kept", "/Keys/Key/0/KeyState"),
    ("key tag cards team=pay", "team=pay", "/Tags/Tag/0/TagValue"),
    ("key alias cards visa", "alias/visa", "/Aliases/1"),
    ("key import byok material", "EXTERNAL", "/KeyMetadata/KeyId"),
    ("version disable old 2 --yes", "disabled version 2", "/KeyVersions/KeyVersion/0/KeyVersionState"),
    ("version enable old 1", "enabled version 1", "/KeyVersions/KeyVersion/0/KeyVersionState"),
    ("version delete old 1 --yes", "scheduled for deletion", "/KeyVersions/KeyVersion/0/DeleteDate"),
    ("version undelete old 3", "kms version enable old 3", "/KeyVersions/KeyVersion/0/KeyVersionState"),
    ("encrypt note --key cards -o note.new", "", ""),
    ("decrypt note.kms -o -", "a note", ""),
    ("reencrypt note.kms", "", ""),
    ("inspect note.kms", "alias/cards", "/Files/0/KeyVersionId"),
    ("datakey --key cards --sealed data.key --plaintext data.plain", "", ""),
    ("status", "Next rotations", "/KeyStates/Enabled"),
    ("timeline old", "version 4 primary", "/Lanes/1/Spans/0/Kind"),
    ("log show", "kms key create", "/Changes/Change/0/EventName"),
    ("log verify", "the log is good", "/TotalCount"),
    ("log export log.jsonl", "wrote log.jsonl", "/TotalCount"),
    ("log cut --before 2099-01-01 --yes", "removed", "/CutCount"),
    ("verify", "no faults", "/TotalCount"),
    ("tick", "rotated 0", "/Rotated"),
    ("backup c.db", "wrote c.db", "/SHA256"),
    ("backup b.db --verify", "is good", "/ProbesDecrypted"),
    ("copy keys.db copied.db", "kms status --keystore copied.db", "/KeyCount"),
    ("restore b.db --yes", "restored keys.db", "/Generation"),
    ("root list", "key", "/RootSlots/RootSlot/0/RootSlotId"),
    ("root add --new-root-key-file second.key --label spare", "spare", "/RootSlots/RootSlot/1/Label"),
    ("root remove SLOT --yes", "opened now", "/RootSlots/RootSlot/0/Kind"),
    ("root change --new-root-key-file second.key --yes", "key", "/RootSlots/RootSlot/0/Kind"),
    ("pkcs11 config p.toml --label cards", "token cards, no PIN", "/Configuration"),
    ("call Health", "Generation", "/Generation"),
    ("completions bash", "_kms", ""),
    ("help rotation", "kms key rotate KEY", ""),
];

fn place() -> Place {
    let place = Place::with_key();
    place.ok(["key", "create", "dying"]);
    place.ok(["key", "delete", "dying", "--yes"]);
    place.ok(["key", "create", "old"]);
    place.ok(["key", "rotate", "old", "old", "old"]);
    place.ok(["version", "disable", "old", "1", "3", "--yes"]);
    place.ok(["version", "delete", "old", "3", "--yes"]);
    place.ok(["key", "create", "byok", "--external"]);
    place.write("material", [7; 32]);
    place.write("note", "a note\n");
    place.ok(["encrypt", "note", "--key", "cards", "-o", "note.kms"]);
    place.ok(["backup", "b.db"]);
    place
}

fn run(line: &str, json: bool) -> String {
    let place = place();
    let slot = || {
        let slots = place.json(["root", "add", "--new-root-key-file", "removed.key"]);
        slots["RootSlots"]["RootSlot"][1]["RootSlotId"].as_str().unwrap().to_owned()
    };
    let line = if line.contains("SLOT") { line.replace("SLOT", &slot()) } else { line.to_owned() };
    let mut command = place.kms([]);
    command.args(line.split(' ')).args(json.then_some("--json"));
    let run = ended(command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(run.code, Some(0), "kms {line}: {}", run.err);
    String::from_utf8(run.out).unwrap()
}

#[test]
fn every_command_has_a_text_for_people_and_json_for_programs() {
    for (line, text, field) in COMMANDS {
        let shown = run(line, false);
        assert!(shown.contains(text), "kms {line} does not print {text:?}: {shown}");
        assert!(!shown.contains('\x1b'), "kms {line} prints colour without a terminal");
        if !field.is_empty() {
            let json: serde_json::Value = serde_json::from_str(&run(line, true)).unwrap();
            assert!(
                json.pointer(field).is_some_and(|value| !value.is_null()),
                "kms {line} --json lacks {field}: {json}"
            );
        }
    }
}

#[test]
fn every_command_of_the_help_is_tried() {
    let place = Place::empty();
    let mut known = BTreeSet::new();
    let listed = |help: &str| -> Vec<String> {
        let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
        let lines = commands.lines().take_while(|line| line.starts_with("  "));
        lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    for name in listed(&place.ok(["help"])) {
        let below = listed(&place.ok(["help", &name]));
        match below.is_empty() {
            true => drop(known.insert(name)),
            false => known.extend(below.iter().map(|below| format!("{name} {below}"))),
        }
    }
    let tried: BTreeSet<_> = COMMANDS.iter().map(|(line, _, _)| *line).collect();
    known.remove("watch"); // It runs until it is interrupted.
    known.remove("accept-rollback"); // Of databases; database.rs tries it.
    let untried: Vec<_> = known.iter().filter(|name| !tried.iter().any(|line| line.starts_with(*name))).collect();
    assert!(known.len() > 25 && untried.is_empty(), "no test runs {untried:?}");
}

#[test]
fn bad_input_exits_with_2_and_changes_no_key() {
    let place = Place::with_key();
    let keys = || place.json(["key", "list"]);
    let before = keys();
    for line in [
        "nonsense",
        "key",
        "key create --rotate-every",
        "key policy cards",
        "key create x --rotate-every 90y",
        "key create x --rotate-every 0",
        "key create x --tag novalue",
        "key delete cards --days 6 --yes",
        "version disable cards",
        "version delete cards 1 --days 6 --yes",
        "version delete cards 1 --days 367 --yes",
        "encrypt note --context novalue",
        "datakey --key cards",
        "call DescribeKey {",
        "call Encrypt {\"Plaintext\":\"aGk=\"}",
        "help nonsense",
        "key import cards material --expires yesterday",
    ] {
        place.write("material", [7; 32]);
        place.write("note", "a note");
        let mut command = place.kms([]);
        let run = ended(command.args(line.split(' ')).stdin(Stdio::null()).output().unwrap());
        assert_eq!(run.code, Some(2), "kms {line}: {}", run.err);
        assert!(run.out.is_empty() && !run.err.is_empty(), "kms {line} says nothing on standard error");
    }
    // A call that the library refuses leaves an entry in the change log, and nothing else.
    assert_eq!(before, keys(), "a refused command changed the keystore");
}

#[test]
fn a_command_that_is_typed_without_its_group_is_found() {
    let place = Place::empty();
    place.fails(2, "next: kms key rotate", ["rotate", "cards"]);
    place.fails(2, "next: kms root change", ["passphrase"]);
    place.fails(7, "mkdir -p none", ["--keystore", "none/keys.db", "restore", "b.db"]);
}

#[test]
fn a_failure_with_json_is_json() {
    let place = Place::with_key();
    let run = place.run(["key", "show", "nobody", "--json"]);
    let body: serde_json::Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!((run.code, body["ExitCode"].as_i64()), (Some(3), Some(3)));
    assert_eq!(body["Code"], "Forbidden.AliasNotFound");
    assert_eq!(body["Next"], "kms key list");
}

#[test]
fn manuals_and_completions_name_every_command() {
    let place = Place::empty();
    place.ok(["manuals", "man"]);
    let page = String::from_utf8(place.read("man/kms.1")).unwrap();
    for word in ["kms\\-key(1)", "kms\\-backup(1)", "EXIT CODES"] {
        assert!(page.contains(word), "kms(1) lacks {word}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.ok(["completions", shell]).contains("reencrypt"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_gone_and_a_full_disk_are_told_apart() {
    let place = Place::with_key();
    let mut shell = place.command("sh");
    let script = format!("{0} key list | true; {0} key list >/dev/full; echo $?", crate::support::kms().display());
    let run = ended(shell.args(["-c", &script]).output().unwrap());
    assert_eq!(String::from_utf8_lossy(&run.out), "7\n", "{}", run.err);
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(run.err.contains("No space left on device"), "{}", run.err);
}
