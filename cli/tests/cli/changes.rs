//! `kms log` and `kms watch`: what an auditor reads, keeps and checks.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Place;

fn changes(place: &Place, key: &str) -> Vec<Value> {
    place.json(["log", "show", "--key", key])["Changes"]["Change"].as_array().unwrap().clone()
}

/// Several windows of entries are read from the end back.
#[test]
fn the_newest_entries_of_a_long_log_are_found_from_its_end() {
    let place = Place::with_key();
    let options = kms::Options::new().root_key_file(place.path("root.key")).rotation_thread(false);
    let keystore = kms::Keystore::open(place.path("keys.db").to_str().unwrap(), &options).unwrap();
    let key = keystore.describe_key("alias/cards").unwrap().id;
    for number in 0..1500 {
        keystore.update_key_description(key, &format!("{number}")).unwrap();
    }
    let shown = |arguments: [&str; 4]| place.json(arguments)["Changes"]["Change"].as_array().unwrap().len();
    assert_eq!(shown(["log", "show", "--limit", "1400"]), 1400);
    assert_eq!(shown(["log", "show", "--limit", "0"]), 1502);
    let first = place.json(["log", "show", "--key", "cards", "--limit", "0"])["Changes"]["Change"][0].clone();
    assert_eq!(first["EventName"], "CreateKey", "the oldest is not found");
    assert_eq!(place.json(["log", "show", "--limit", "1400"])["OmittedCount"], 102);
    let lanes = place.json(["timeline", "cards"]);
    assert!(lanes.to_string().contains(&key.to_string()), "{lanes}");
}

#[test]
fn each_change_and_each_refusal_is_shown_with_its_command() {
    let place = Place::with_key();
    let id = place.json(["key", "show", "cards"])["KeyMetadata"]["KeyId"].clone();
    place.ok(["key", "disable", "cards"]);
    place.fails(4, "", ["key", "rotate", "cards"]);
    let shown = changes(&place, "cards");
    let names: Vec<_> = shown.iter().map(|change| change["EventName"].as_str().unwrap()).collect();
    assert_eq!(names, ["CreateKey", "CreateAlias", "DisableKey", "CreateKeyVersion"]);
    assert_eq!(shown[2]["UserIdentity"]["Actor"], "kms key disable");
    assert_eq!((&shown[2]["Status"], &shown[3]["ErrorCode"]), (&Value::from(0), &Value::from("Rejected.Disabled")));
    assert_eq!(changes(&place, id.as_str().unwrap()), shown);
    let text = place.ok(["log", "show", "--limit", "1"]);
    assert!(text.contains("Rejected.Disabled") && text.contains("--limit 0") && !text.contains("DisableKey"), "{text}");
    let total = place.json(["log", "verify"])["TotalCount"].as_u64().unwrap();
    assert_eq!(place.json(["log", "show", "--limit", "1"])["OmittedCount"], total - 1);
    assert_eq!(place.json(["log", "show"])["OmittedCount"], 0);
    let of_key = place.json(["log", "show", "--limit", "1", "--key", "cards"]);
    assert!(of_key["OmittedCount"].is_null() && of_key["Changes"]["Change"].as_array().unwrap().len() == 1, "{of_key}");
    assert!(place.ok(["log", "show", "--limit", "1", "--key", "cards"]).contains("and older ones"));
    let all = place.json(["log", "show", "--limit", "0"]);
    assert_eq!(all["Changes"]["Change"].as_array().unwrap().len() as u64, total);
    assert!(place.ok(["log", "show", "--from", "1h", "--limit", "0"]).contains("CreateAlias"));
    assert_eq!(place.ok(["log", "show", "--to", "1h"]), "no entries\n");
    place.fails(2, "", ["log", "show", "--from", "yesterday"]);
    place.fails(3, "kms key list", ["log", "show", "--key", "nobody"]);
}

#[test]
fn an_exported_log_is_verified_line_by_line() {
    let place = Place::with_key();
    place.ok(["key", "rotate", "cards", "cards"]);
    assert!(place.ok(["log", "verify"]).contains("the log is good: 4 entries"));
    place.ok(["log", "export", "log.jsonl"]);
    place.fails(7, "", ["log", "export", "log.jsonl"]);
    let exported = String::from_utf8(place.read("log.jsonl")).unwrap();
    assert_eq!(place.ok(["log", "export"]), exported);
    place.ok(["key", "disable", "cards"]);
    assert_eq!(place.json(["log", "verify", "log.jsonl"])["NewerCount"], 1);
    let lines: Vec<_> = exported.lines().collect();
    let altered = exported.replace("kms key rotate", "kms key create");
    let (gap, swapped) = ([lines[0], lines[2]].join("\n"), [lines[1], lines[0]].join("\n"));
    for (what, text) in [("altered", &altered), ("a gap", &gap), ("swapped", &swapped)] {
        place.write("bad.jsonl", text);
        assert!(place.fails(5, "", ["log", "verify", "bad.jsonl"]).contains("line "), "{what}");
    }
    place.write("bad.jsonl", "no JSON\n");
    place.fails(2, "kms log export", ["log", "verify", "bad.jsonl"]);
    place.fails(7, "", ["log", "verify", "missing.jsonl"]);
    place.write("empty.jsonl", "");
    assert_eq!(place.json(["log", "verify", "empty.jsonl"])["TotalCount"], 0);
    place.ok(["log", "cut", "--before", "2099-01-01", "--yes"]);
    assert_eq!(
        place.json(["log", "verify", "log.jsonl"])["TotalCount"],
        4,
        "entries that were cut are proved by the file"
    );
    let other = Place::with_key();
    other.write("log.jsonl", &exported);
    other.fails(5, "", ["log", "verify", "log.jsonl"]);
    let generation = serde_json::from_str::<Value>(lines[3]).unwrap()["Generation"].to_string();
    assert_eq!(place.ok(["log", "export", "--after", &generation]).lines().count(), 1);
}

#[test]
fn a_cut_asks_and_leaves_a_log_that_verifies() {
    let place = Place::with_key();
    let plan = place.fails(8, "--yes", ["log", "cut", "--before", "2099-01-01"]);
    assert!(plan.contains("remove 2 entries") && plan.contains("kms log export"), "{plan}");
    place.ok(["log", "cut", "--before", "2099-01-01", "--dry-run"]);
    assert_eq!(place.json(["log", "cut", "--before", "30d", "--yes"])["CutCount"], 0);
    assert_eq!(changes(&place, "cards").len(), 2);
    assert_eq!(place.json(["log", "cut", "--before", "2099-01-01", "--yes"])["CutCount"], 2);
    let left = place.json(["log", "show"]);
    assert_eq!(left["Changes"]["Change"][0]["EventName"], "CutChanges");
    assert!(place.ok(["log", "verify"]).contains("older ones were cut"));
    place.fails(2, "", ["log", "cut", "--before", "yesterday", "--yes"]);
    place.fails(2, "", ["log", "cut"]);
}

/// Runs `kms watch`, changes the keystore, and ends it with SIGINT once it has printed that.
fn watched(json: bool) -> String {
    let place = Place::with_key();
    let file = std::fs::File::create(place.path("out")).unwrap();
    let mut command = place.kms(["watch", "--interval", "0.1"]);
    command.args(json.then_some("--json")).stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let mut shown = String::new();
    // It may start after the first rotation.
    while !shown.contains("CreateKeyVersion") && Instant::now() < limit {
        place.ok(["key", "rotate", "cards"]);
        std::thread::sleep(Duration::from_millis(300));
        shown = String::from_utf8(place.read("out")).unwrap();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > limit + Duration::from_secs(60) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "kms watch does not end by SIGINT with 0");
    shown
}

#[test]
fn watch_follows_other_processes_and_ends_by_sigint() {
    let shown = watched(false);
    assert!(shown.contains("alias/cards") && shown.contains("kms key rotate"), "{shown}");
    for line in watched(true).lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["EventName"], "CreateKeyVersion");
    }
    Place::with_key().fails(2, "", ["watch", "--interval", "0"]);
}
