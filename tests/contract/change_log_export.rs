//! An exported change log is proved to be the keystore's own, unaltered, in order and without a gap.

use kms::{CreateKey, Keystore, ManualClock, Options, Result, Status, Time};

const T0: i64 = 1_700_000_000_000;

fn opened(location: &str, label: &str) -> (Keystore, ManualClock) {
    let clock = ManualClock::at(T0);
    let options = Options::new().root_key(&[7; 32]).clock(clock.clone()).actor(label).create(true);
    (Keystore::open(location, &options).unwrap(), clock)
}

/// A keystore with `count` entries, some refused, and its exported lines.
fn exported(count: usize) -> (Keystore, ManualClock, Vec<String>) {
    let (kms, clock) = opened("memory:", "the \"tests\", \u{e9}\u{1f511}");
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for at in 2..=count {
        clock.advance_seconds(1);
        match at % 5 {
            0 => drop(kms.rotate(key).unwrap()),
            1 => drop(kms.create_key(&CreateKey::default()).unwrap()),
            2 => drop(kms.create_keys(&CreateKey::default(), 2).unwrap()),
            3 => kms.disable_key(key).unwrap(),
            _ => kms.enable_key(key).unwrap(),
        }
    }
    assert!(kms.create_alias(key, "no alias").is_err());
    let lines = lines(&kms, None);
    assert_eq!(lines.len(), count + 1);
    (kms, clock, lines)
}

fn lines(kms: &Keystore, after: Option<u64>) -> Vec<String> {
    let mut out = Vec::new();
    let written = kms.export_changes(after, &mut out).unwrap().entries;
    let lines: Vec<String> = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len() as u64, written);
    lines
}

fn verify(kms: &Keystore, lines: &[String]) -> Result<kms::change_log::ExportReport> {
    kms.verify_changes(lines.join("\n").as_bytes())
}

fn refused(kms: &Keystore, lines: &[String]) -> String {
    let error = verify(kms, lines).unwrap_err();
    assert!([Status::AuthenticationFailed, Status::InvalidArgument].contains(&error.status()), "{error}");
    error.text().to_owned()
}

#[test]
fn a_whole_export_is_verified_and_says_what_it_covers() {
    let (kms, _, all) = exported(600);
    let report = verify(&kms, &all).unwrap();
    assert_eq!((report.entries, report.newer, report.from_start), (601, Some(0), true));
    assert_eq!(report.last.unwrap() - report.first.unwrap(), 600);
    let part = verify(&kms, &all[100..300]).unwrap();
    assert_eq!((part.entries, part.newer, part.from_start), (200, Some(301), false));
    assert_eq!(lines(&kms, part.last), all[300..], "an export continues after the last line of another");
    let empty = verify(&kms, &[]).unwrap();
    assert_eq!((empty.entries, empty.first, empty.newer), (0, None, None));
}

#[test]
fn every_altered_field_is_noticed() {
    let (kms, _, all) = exported(6);
    let line = all[4].clone();
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    assert!(fields.len() >= 12);
    for name in fields.keys() {
        for value in [serde_json::json!("x"), serde_json::json!(7), serde_json::Value::Null] {
            let mut altered = fields.clone();
            altered.insert(name.clone(), value);
            let mut lines = all.clone();
            lines[4] = serde_json::Value::Object(altered).to_string();
            refused(&kms, &lines);
        }
        let mut without = fields.clone();
        without.remove(name);
        let mut lines = all.clone();
        lines[4] = serde_json::Value::Object(without).to_string();
        refused(&kms, &lines);
    }
    let mut more = fields;
    more.insert("Comment".into(), "approved".into());
    let mut lines = all;
    lines[4] = serde_json::Value::Object(more).to_string();
    refused(&kms, &lines);
}

#[test]
fn every_altered_digit_is_noticed() {
    let (kms, _, all) = exported(3);
    for at in 0..all[1].len() {
        let mut line = all[1].clone().into_bytes();
        if !line[at].is_ascii_digit() {
            continue;
        }
        line[at] = if line[at] == b'1' { b'2' } else { b'1' };
        let mut lines = all.clone();
        lines[1] = String::from_utf8(line).unwrap();
        refused(&kms, &lines);
    }
}

#[test]
fn removed_doubled_and_moved_lines_are_noticed() {
    let (kms, _, all) = exported(600);
    for at in [1, 255, 256, 257, 400] {
        let mut lines = all.clone();
        lines.remove(at);
        assert!(refused(&kms, &lines).contains("missing or out of order"), "line {at} removed");
        let mut lines = all.clone();
        lines.insert(at, all[at].clone());
        assert!(refused(&kms, &lines).contains("missing or out of order"), "line {at} doubled");
        let mut lines = all.clone();
        lines.swap(at, at + 1);
        assert!(refused(&kms, &lines).contains("missing or out of order"), "line {at} moved");
    }
    let cut = verify(&kms, &all[..590]).unwrap();
    assert_eq!(cut.newer, Some(11), "a cut end shows as entries that the keystore has beyond");
}

#[test]
fn what_is_no_line_of_an_export_is_refused_by_its_number() {
    let (kms, _, all) = exported(4);
    for bad in
        ["", "{}", "[]", "null", "no JSON", "{\"Generation\":1}", &all[2][..all[2].len() - 1], &"[".repeat(200_000)]
    {
        let mut lines = all.clone();
        lines[2] = bad.to_owned();
        let error = verify(&kms, &lines).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.text().starts_with("line 3 is no entry"), "{error}");
    }
}

#[test]
fn the_export_of_another_keystore_is_refused() {
    let (_, _, all) = exported(3);
    let (other, _) = opened("memory:", "the tests");
    other.create_key(&CreateKey::default()).unwrap();
    assert!(refused(&other, &all).contains("line 1 of the exported change log"));
}

#[test]
fn an_export_outlives_a_cut_and_shows_an_older_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (kms, clock) = opened(&path("keys.db"), "the tests");
    for _ in 0..5 {
        kms.create_key(&CreateKey::default()).unwrap();
        clock.advance_seconds(1);
    }
    kms.backup(path("copy.db")).unwrap();
    kms.create_key(&CreateKey::default()).unwrap();
    let all = lines(&kms, None);
    kms.cut_changes(Time::from_millis(i64::MAX)).unwrap();
    assert_eq!(verify(&kms, &all).unwrap().newer, Some(1));
    let (copy, _) = opened(&path("copy.db"), "the tests");
    assert_eq!(verify(&copy, &all).unwrap().newer, None, "the backup is older than the export");
    copy.create_keys(&CreateKey::default(), 2).unwrap();
    assert_eq!(verify(&copy, &all).unwrap().newer, None, "another entry has its place");
    assert_eq!(verify(&copy, &all[..5]).unwrap().newer, Some(1));
}
