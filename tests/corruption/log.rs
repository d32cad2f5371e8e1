//! The change log and the records of versions, altered by an attacker who can write the file.

use kms::{CreateKey, Keystore, ManualClock, Options, Result, Status, Time, change_log::ListChanges};
use rusqlite::types::Value;

use crate::sample::{Place, faults};

const T0: i64 = 1_700_000_000_000;
const ROOT: [u8; 32] = [7; 32];

fn options() -> Options {
    Options::new().root_key(&ROOT).clock(ManualClock::at(T0 + 90 * 86_400_000)).rotation_thread(false)
}

/// A keystore whose key has a primary, an Enabled, a Disabled, a pending and a destroyed version, and the blob of each.
fn made(place: &Place) -> (String, Vec<Vec<u8>>) {
    let clock = ManualClock::at(T0);
    let options = options().clock(clock.clone()).create(true).actor("corruption");
    let kms = Keystore::open(&place.store(), &options).unwrap();
    let id = kms.create_key(&CreateKey::default()).unwrap().to_string();
    let mut blobs = vec![kms.encrypt(id.as_str(), b"text", &[]).unwrap()];
    for _ in 0..4 {
        kms.rotate(id.as_str()).unwrap();
        blobs.push(kms.encrypt(id.as_str(), b"text", &[]).unwrap());
    }
    let version = |at: usize| kms.inspect(&blobs[at]).unwrap().version.to_string();
    for at in 0..3 {
        kms.disable_key_version(id.as_str(), &version(at)).unwrap();
    }
    kms.schedule_key_version_deletion(id.as_str(), &version(0), 7).unwrap();
    for hours in [7 * 24, 2] {
        clock.advance_seconds(hours * 3600);
        kms.tick().unwrap();
    }
    kms.schedule_key_version_deletion(id.as_str(), &version(1), 366).unwrap();
    assert!(kms.enable_key("3f1c2f9e-0000-4000-8000-000000000000").is_err(), "a refusal, for the log");
    (id, blobs)
}

fn log(kms: &Keystore) -> Result<Vec<String>> {
    kms.changes(ListChanges::default()).map(|entry| entry.map(|entry| format!("{entry:?}"))).collect()
}

/// What a change of the file must not go unnoticed by: reading the log, and verifying.
fn is_noticed(place: &Place, what: &str) {
    let kms = match Keystore::open(&place.store(), &options()) {
        Ok(kms) => kms,
        Err(error) => return assert_eq!(error.status(), Status::KeystoreCorrupt, "{what}"),
    };
    assert_eq!(log(&kms).map_err(|error| error.status()), Err(Status::KeystoreCorrupt), "{what}: the log is shown");
    let backwards = kms.newest_changes().find_map(Result::err).map(|error| error.status());
    assert_eq!(backwards, Some(Status::KeystoreCorrupt), "{what}: the log is shown from its end back");
    let (found, end) = faults(&kms);
    let named = found.iter().any(|(_, text)| text.contains("change log"));
    assert!(named || end == Some(Status::KeystoreCorrupt), "{what}: verify says {found:?}, {end:?}");
}

fn generations(place: &Place) -> Vec<i64> {
    let sqlite = place.sqlite();
    let mut all = sqlite.prepare("SELECT generation FROM change ORDER BY generation").unwrap();
    let rows = all.query_map([], |row| row.get(0)).unwrap();
    rows.map(|row| row.unwrap()).collect()
}

/// Another value of the same type, or of none.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![Value::Blob(vec![1; 16]), Value::Integer(1)],
        Value::Integer(number) => vec![Value::Integer(number.wrapping_add(1)), Value::Integer(!number)],
        Value::Text(text) => vec![Value::Text(format!("{text}x")), Value::Text(String::new())],
        Value::Blob(bytes) => {
            let mut flipped = bytes.clone();
            flipped[0] ^= 1;
            vec![Value::Blob(flipped)]
        }
        Value::Real(_) => panic!("the library stores no real numbers"),
    }
}

#[test]
fn an_edited_entry_is_noticed_whatever_its_column() {
    let place = Place::new();
    made(&place);
    let whole = place.bytes();
    let all = generations(&place);
    let columns: Vec<String> = {
        let sqlite = place.sqlite();
        sqlite.prepare("SELECT * FROM change").unwrap().column_names().map(str::to_owned).collect()
    };
    let mut edited = 0;
    for generation in [all[0], all[all.len() / 2], all[all.len() - 2], all[all.len() - 1]] {
        for column in &columns {
            let select = format!("SELECT {column} FROM change WHERE generation = ?");
            place.put(&whole);
            let value: Value = place.sqlite().query_row(&select, [generation], |row| row.get(0)).unwrap();
            for other in others(&value) {
                place.put(&whole);
                let update = format!("UPDATE change SET {column} = ? WHERE generation = ?");
                // A column of another type, and a generation that is taken, are refused by SQLite.
                if place.sqlite().execute(&update, rusqlite::params![other, generation]).is_ok() {
                    is_noticed(&place, &format!("{column} of entry {generation} is {other:?}"));
                    edited += 1;
                }
            }
        }
    }
    assert!(edited > 3 * columns.len(), "only {edited} edits");
}

#[test]
fn entries_removed_moved_added_or_cut_off_are_noticed() {
    let place = Place::new();
    made(&place);
    let whole = place.bytes();
    let all = generations(&place);
    let last = all[all.len() - 1];
    let mut tampered: Vec<(String, String)> = all
        .iter()
        .map(|at| (format!("entry {at} is removed"), format!("DELETE FROM change WHERE generation = {at}")))
        .collect();
    for cut in 1..=all.len() {
        tampered.push((
            format!("the last {cut} are cut off"),
            format!("DELETE FROM change WHERE generation > {last} - {cut}"),
        ));
        tampered.push((
            format!("the first {cut} are removed"),
            format!("DELETE FROM change WHERE generation < {} + {cut}", all[0]),
        ));
    }
    for pair in all.windows(2) {
        let [one, two] = pair else { continue };
        tampered.push((
            format!("the entries {one} and {two} change places"),
            format!(
                "UPDATE change SET generation = -1 WHERE generation = {one}; UPDATE change SET generation = {one} WHERE generation = {two};
                 UPDATE change SET generation = {two} WHERE generation = -1"
            ),
        ));
    }
    for (what, at) in [("after the end", last + 1), ("before the beginning", all[0] - 1)] {
        tampered.push((
            format!("an entry is added {what}"),
            format!("CREATE TEMP TABLE t AS SELECT * FROM change WHERE generation = {last}; UPDATE t SET generation = {at}; INSERT INTO change SELECT * FROM t"),
        ));
    }
    for (what, sql) in tampered {
        place.put(&whole);
        place.sqlite().execute_batch(&sql).unwrap();
        is_noticed(&place, &what);
    }
}

/// The end of an older log fits no newer description row. An older copy of the whole file is the anchor's task.
#[test]
fn an_older_log_is_noticed() {
    let place = Place::new();
    let (id, _) = made(&place);
    let anchored = options().anchor_file(place.path("anchor"));
    std::fs::write(place.path("anchor"), b"").unwrap();
    drop(Keystore::open(&place.store(), &anchored).unwrap());
    let older = place.bytes();
    Keystore::open(&place.store(), &anchored).unwrap().rotate(id.as_str()).unwrap();
    let newer = place.bytes();
    std::fs::write(place.path("older.db"), &older).unwrap();
    let attach = format!("ATTACH '{}' AS older", place.path("older.db").display());
    let log = "DELETE FROM main.change; INSERT INTO main.change SELECT * FROM older.change";
    place.put(&newer);
    place.sqlite().execute_batch(&format!("{attach}; {log}")).unwrap();
    is_noticed(&place, "the entries are those of an older file");
    place.put(&newer);
    let end = "UPDATE main.meta SET log = (SELECT log FROM older.meta)";
    place.sqlite().execute_batch(&format!("{attach}; {log}; {end}")).unwrap();
    let opened = Keystore::open(&place.store(), &options()).map(drop).map_err(|error| error.status());
    // The open cannot distinguish a description row under another root key from an altered one.
    assert_eq!(opened, Err(Status::WrongRootKey), "the description is authentic with the end of an older log");
    place.put(&older);
    let opened = Keystore::open(&place.store(), &anchored).map(drop).map_err(|error| error.status());
    assert_eq!(opened, Err(Status::KeystoreRolledBack));
}

#[test]
fn a_cut_log_is_whole_and_the_cut_cannot_be_hidden() {
    let place = Place::new();
    made(&place);
    let before = generations(&place);
    let kms = Keystore::open(&place.store(), &options()).unwrap();
    let cut = kms.cut_changes(Time::from_millis(T0 + 86_400_000)).unwrap();
    assert!(cut > 0 && cut < before.len() as u64, "{cut} of {}", before.len());
    assert_eq!(faults(&kms), (vec![], None));
    let left = log(&kms).unwrap();
    assert_eq!(left.len() as u64, before.len() as u64 - cut + 1, "the cut has an entry");
    assert!(left[left.len() - 1].contains("CutChanges"));
    drop(kms);
    let whole = place.bytes();
    let last = generations(&place).pop().unwrap();
    place.sqlite().execute("DELETE FROM change WHERE generation = ?", [last]).unwrap();
    is_noticed(&place, "the entry of the cut is removed");
    place.put(&whole);
    assert_eq!(log(&Keystore::open(&place.store(), &options()).unwrap()).unwrap().len(), left.len());
}

/// A version's row may bring a disabled or destroyed version back, so each change of one is an error of its key.
#[test]
fn altered_records_of_versions_are_noticed() {
    let place = Place::new();
    let (id, blobs) = made(&place);
    let whole = place.bytes();
    let columns: Vec<String> = {
        let sqlite = place.sqlite();
        sqlite.prepare("SELECT * FROM version").unwrap().column_names().map(str::to_owned).collect()
    };
    let numbers: Vec<i64> = {
        let sqlite = place.sqlite();
        let mut all = sqlite.prepare("SELECT number FROM version").unwrap();
        let rows = all.query_map([], |row| row.get(0)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    };
    assert!(numbers.len() >= 3, "{numbers:?}");
    let refused = |what: &str| {
        let kms = match Keystore::open(&place.store(), &options()) {
            Ok(kms) => kms,
            Err(error) => return assert_eq!(error.status(), Status::KeystoreCorrupt, "{what}"),
        };
        for blob in &blobs {
            let opened = kms.decrypt(blob, &[]).map(drop).map_err(|error| error.status());
            assert_eq!(opened, Err(Status::KeystoreCorrupt), "{what}");
        }
        let (found, end) = faults(&kms);
        assert!(end.is_some() || found.iter().any(|(key, _)| key.as_deref() == Some(id.as_str())), "{what}: {found:?}");
    };
    for number in &numbers {
        place.put(&whole);
        place.sqlite().execute("DELETE FROM version WHERE number = ?", [number]).unwrap();
        refused(&format!("the record of version {number} is removed"));
        for column in &columns {
            place.put(&whole);
            let select = format!("SELECT {column} FROM version WHERE number = ?");
            let value: Value = place.sqlite().query_row(&select, [number], |row| row.get(0)).unwrap();
            for other in others(&value) {
                place.put(&whole);
                let update = format!("UPDATE version SET {column} = ? WHERE number = ?");
                if place.sqlite().execute(&update, rusqlite::params![other, number]).is_ok() {
                    refused(&format!("{column} of the record of version {number} is {other:?}"));
                }
            }
        }
    }
    place.put(&whole);
    place.sqlite().execute("UPDATE key SET records = NULL", []).unwrap();
    refused("the key covers no records");
}
