//! `kms version` and `kms key versions`: names, states, plans, last uses.

use kms::{Keystore, ManualClock, Options};
use serde_json::Value;

use crate::support::Place;

/// A keystore whose key `cards` has the versions 1 to 3, and `note.kms` that version 1 encrypted.
fn place() -> Place {
    let place = Place::with_key();
    place.write("note", "a note\n");
    place.ok(["encrypt", "note"]);
    place.ok(["key", "rotate", "cards", "cards"]);
    place
}

fn states(place: &Place) -> Vec<String> {
    let listed = place.json(["key", "versions", "cards"]);
    let versions = listed["KeyVersions"]["KeyVersion"].as_array().unwrap();
    versions.iter().map(|version| version["KeyVersionState"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_disabled_version_decrypts_nothing_until_it_is_enabled() {
    let place = place();
    let shown = place.ok(["version", "disable", "cards", "1", "--yes"]);
    assert!(shown.contains("disabled version 1") && shown.contains("kms version enable cards 1"), "{shown}");
    place.fails(4, "kms version enable", ["decrypt", "note.kms", "-o", "-"]);
    assert!(place.ok(["version", "enable", "cards", "1"]).contains("enabled version 1"));
    assert_eq!(place.ok(["decrypt", "note.kms", "-o", "-"]), "a note\n");
}

#[test]
fn the_way_to_a_deletion_and_back_is_named_at_each_step() {
    let place = place();
    place.fails(4, "kms version disable cards 1", ["version", "delete", "cards", "1", "--yes"]);
    place.ok(["version", "disable", "cards", "1", "2", "--yes"]);
    let shown = place.ok(["version", "delete", "cards", "1", "--yes", "--days", "7"]);
    assert!(shown.contains("kms version undelete cards 1"), "{shown}");
    assert_eq!(states(&place), ["Enabled", "Disabled", "PendingDeletion"]);
    place.fails(4, "kms version undelete cards 1", ["version", "enable", "cards", "1"]);
    place.fails(4, "kms version undelete cards 1", ["version", "delete", "cards", "1", "--yes"]);
    place.fails(4, "kms key versions cards", ["version", "undelete", "cards", "2"]);
    assert!(place.ok(["version", "undelete", "cards", "1"]).contains("kms version enable cards 1"));
    assert_eq!(states(&place), ["Enabled", "Disabled", "Disabled"]);
}

#[test]
fn plans_name_the_last_uses_and_ask() {
    let place = place();
    let plan = place.fails(8, "--yes", ["version", "disable", "cards", "1"]);
    let today = chrono::Utc::now().format("%Y-%m-%d").to_string();
    for word in ["alias/cards", "last encrypted: 2", "no use recorded", "kms inspect", "kms version enable cards 1"] {
        assert!(plan.contains(word), "the plan lacks {word:?}: {plan}");
    }
    assert!(plan.contains(&today) || chrono::Utc::now().format("%Y-%m-%d").to_string() != today, "{plan}");
    place.ok(["version", "disable", "cards", "1", "--dry-run"]);
    place.ok(["version", "disable", "cards", "1", "--dry-run", "--yes"]);
    assert_eq!(states(&place), ["Enabled", "Enabled", "Enabled"]);
}

#[test]
fn versions_are_named_by_number_or_id_and_refused_together() {
    let place = place();
    let listed = place.json(["key", "versions", "cards"]);
    let version = |at: usize| &listed["KeyVersions"]["KeyVersion"][at];
    let id = version(2)["KeyVersionId"].as_str().unwrap();
    assert_eq!((&version(0)["IsPrimary"], &version(2)["Number"]), (&Value::from(true), &Value::from(1)));
    place.fails(3, "kms key versions cards", ["version", "disable", "cards", "1", "4", "--yes"]);
    place.fails(3, "", ["version", "disable", "cards", "0", "--yes"]);
    place.fails(3, "", ["version", "disable", "cards", "nonsense", "--yes"]);
    place.fails(3, "kms key list", ["version", "disable", "nobody", "1", "--yes"]);
    place.fails(4, "kms key rotate cards", ["version", "disable", "cards", "1", "3", "--yes"]);
    assert_eq!(states(&place), ["Enabled", "Enabled", "Enabled"], "a refused command disabled a version");
    let changed = place.json(["version", "disable", "cards", id, "1", "--yes"]);
    assert_eq!(changed["TotalCount"], 1, "a version that is named twice is changed twice");
    assert_eq!(changed["KeyVersions"]["KeyVersion"][0]["KeyVersionState"], "Disabled");
}

#[test]
fn status_counts_versions_by_state_and_entries_of_the_log() {
    let place = place();
    place.ok(["version", "disable", "cards", "1", "2", "--yes"]);
    place.ok(["version", "delete", "cards", "2", "--yes", "--days", "7"]);
    let status = place.json(["status"]);
    assert_eq!((&status["DisabledVersionCount"], &status["VersionCount"]), (&Value::from(1), &Value::from(3)));
    assert_eq!(status["PendingVersionDeletions"][0]["Number"], 2);
    let log = place.json(["log", "verify"]);
    assert_eq!(status["LogEntryCount"], log["TotalCount"]);
    let text = place.ok(["status"]);
    assert!(text.contains("3, 1 Disabled, 1 PendingDeletion") && text.contains(" version 2\n"), "{text}");
    let metrics = place.ok(["status", "--prometheus"]);
    for line in ["kms_key_versions_disabled 1", "kms_key_versions_pending_deletion 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    place.ok(["log", "cut", "--before", "2099-01-01", "--yes"]);
    assert_eq!(place.json(["status"])["LogEntryCount"], 1);
}

#[test]
fn imported_keys_have_no_version_to_disable() {
    let place = Place::new();
    place.ok(["key", "create", "byok", "--external"]);
    place.write("material", [9; 32]);
    place.ok(["key", "import", "byok", "material"]);
    place.fails(4, "kms key disable byok", ["version", "disable", "byok", "1", "--yes"]);
}

#[test]
fn a_destroyed_version_stays_in_the_list() {
    let place = place();
    place.ok(["version", "disable", "cards", "1", "--yes"]);
    place.ok(["version", "delete", "cards", "1", "--yes", "--days", "7"]);
    let clock = ManualClock::at(chrono::Utc::now().timestamp_millis());
    let options = Options::new().root_key_file(place.path("root.key")).clock(clock.clone()).rotation_thread(false);
    let keystore = Keystore::open(place.path("keys.db").to_str().unwrap(), &options).unwrap();
    // Under another clock, the library counts the waiting period from its start.
    keystore.tick().unwrap();
    for _ in 0..3 {
        clock.advance_seconds(8 * 86_400);
        keystore.tick().unwrap();
    }
    drop(keystore);
    assert_eq!(states(&place), ["Enabled", "Enabled", "Destroyed"]);
    assert!(place.ok(["key", "versions", "cards"]).contains("Destroyed"));
    place.fails(4, "kms key versions cards", ["version", "enable", "cards", "1"]);
    place.fails(4, "", ["decrypt", "note.kms", "-o", "-"]);
}
