//! `kms timeline`: a history of 400 days, as text, JSON and SVG.

use kms::{CreateKey, Interval, Keystore, ManualClock, Options};
use serde_json::Value;

use crate::support::{Place, ended, kms};

/// A key that rotated every 100 days since 350 days ago; it was disabled for 20 days, and its first version is disabled.
fn place() -> Place {
    let place = Place::new();
    let clock = ManualClock::at(chrono::Utc::now().timestamp_millis() - 350 * 86_400_000);
    let options = Options::new().root_key_file(place.path("root.key")).clock(clock.clone()).rotation_thread(false);
    let keystore = Keystore::open(place.path("keys.db").to_str().unwrap(), &options).unwrap();
    let every = Some(Interval::parse("100d").unwrap());
    let key = keystore.create_key(&CreateKey { rotate_every: every, ..Default::default() }).unwrap();
    keystore.create_alias(key, "alias/cards").unwrap();
    let first = keystore.describe_key(key).unwrap().primary.unwrap().id.to_string();
    let days = |days: i64| {
        clock.advance_seconds(days * 86_400);
        keystore.tick().unwrap();
    };
    let blob = keystore.encrypt(key, b"x", &[]).unwrap();
    days(110);
    days(110);
    keystore.decrypt(&blob, &[]).unwrap();
    keystore.disable_key(key).unwrap();
    days(20);
    keystore.enable_key(key).unwrap();
    days(60);
    keystore.disable_key_version(key, &first).unwrap();
    days(50);
    drop(keystore);
    place
}

#[test]
fn a_history_is_drawn_as_text_as_json_and_as_a_picture() {
    let place = place();
    let json = place.json(["timeline", "cards"]);
    let kinds = |lane: usize| -> Vec<&str> {
        let spans = json["Lanes"][lane]["Spans"].as_array().unwrap();
        spans.iter().map(|span| span["Kind"].as_str().unwrap()).collect()
    };
    let last = json["Lanes"].as_array().unwrap().len() - 1;
    assert_eq!(kinds(0), ["Encrypts", "Disabled", "Encrypts"]);
    assert_eq!(kinds(last), ["Encrypts", "Decrypts", "Disabled"]);
    assert_eq!(kinds(1), ["Encrypts"]);
    assert_eq!(json["Lanes"][last]["Marks"][0]["Kind"], "LastEncrypt");
    assert_eq!(json["Lanes"][last]["Marks"][1]["Kind"], "LastDecrypt");
    let length = |span: &Value| {
        let day = |name: &str| chrono::DateTime::parse_from_rfc3339(span[name].as_str().unwrap()).unwrap();
        (day("To") - day("From")).num_days()
    };
    assert_eq!(length(&json["Lanes"][0]["Spans"][1]), 20);

    let text = place.ok(["timeline", "cards", "--width", "80"]);
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80 || line.contains("alias/cards")), "{text}");
    let first = text.lines().find(|line| line.starts_with("version 1 ")).unwrap();
    assert!(first.contains("===") && first.contains("---") && first.contains("...") && first.contains('D'), "{text}");
    let few = place.ok(["timeline", "cards", "--limit", "1"]);
    assert!(few.contains("older versions; --limit 0"), "{few}");

    place.ok(["timeline", "cards", "--svg", "cards.svg"]);
    let picture = String::from_utf8(place.read("cards.svg")).unwrap();
    assert!(
        picture.starts_with("<svg ") && picture.ends_with("</svg>\n") && picture.contains("version 1"),
        "{picture}"
    );
    place.fails(7, "--force", ["timeline", "cards", "--svg", "cards.svg"]);
    place.ok(["timeline", "cards", "--svg", "cards.svg", "--force"]);
    assert_eq!(place.ok(["timeline", "cards", "--svg", "-"]), picture);

    assert!(!text.contains("the change log begins"), "{text}");
    place.ok(["log", "cut", "--before", "2099-01-01", "--yes"]);
    let text = place.ok(["timeline", "cards"]);
    assert!(text.contains("the change log begins on"), "{text}");
}

#[test]
fn a_timeline_needs_a_key_and_room() {
    let place = Place::with_key();
    place.fails(3, "kms key list", ["timeline", "nobody"]);
    place.fails(2, "", ["timeline"]);
    place.fails(2, "", ["timeline", "cards", "--width", "3"]);
    place.fails(2, "", ["timeline", "cards", "--force"]);
    place.ok(["key", "create", "byok", "--external"]);
    assert!(place.ok(["timeline", "byok"]).contains("PendingImport"));
    assert!(place.ok(["timeline", "cards"]).contains("version 1 primary"));
}

#[test]
fn a_terminal_with_utf8_gets_its_width_and_characters() {
    let place = Place::with_key();
    let mut command = place.command("script");
    let line = "stty cols 70; $KMS timeline cards";
    command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").env("KMS", kms()).args(["-qefc", line, "/dev/null"]);
    let run = ended(command.stdin(std::process::Stdio::null()).output().unwrap());
    let shown = String::from_utf8_lossy(&run.out);
    assert!(run.code == Some(0) && shown.contains('█') && shown.contains("\x1b[32m"), "{shown}");
}
