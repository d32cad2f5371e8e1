//! The in-place upgrade from format 1, killed at each call that writes: the keystore opens in format 1 or 2, every blob of it
//! opens, and the next change upgrades it.

use std::path::Path;

use kms::{CreateKey, KeyState, Keystore, ManualClock, Options};
use serde_json::Value;

use crate::calls::{Kind, Plan, Watch, When};
use crate::role;
use crate::scene::{FORMAT_1, FORMAT_1_ROOT, T0, folder};
use crate::together::each;

const EXPECTED: &str = include_str!("../fixtures/format-1/expected.json");
const WHENS: &[(&str, When, Option<Kind>)] =
    &[("before", When::Before, None), ("within", When::Within, Some(Kind::Write)), ("after", When::After, None)];

fn open(folder: &Path) -> Keystore {
    let options = Options::new().root_key(FORMAT_1_ROOT).clock(ManualClock::at(T0));
    Keystore::open(folder.join("keys.db").to_str().unwrap(), &options).unwrap()
}

fn format_of(folder: &Path) -> i32 {
    let sqlite = rusqlite::Connection::open(folder.join("keys.db")).unwrap();
    sqlite.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn key_count(kms: &Keystore) -> usize {
    kms.keys().filter(|key| key.is_ok()).count()
}

/// Opens every blob of the golden keystore.
fn check_blobs(kms: &Keystore, expected: &Value) {
    let mut opened = 0;
    for key in expected["key.db"].as_array().unwrap() {
        let id = key["id"].as_str().unwrap();
        assert_eq!(kms.describe_key(id).unwrap().version_count(), key["versions"].as_u64().unwrap());
        let is_disabled = kms.describe_key(id).unwrap().state != KeyState::Enabled;
        for blob in key["blobs"].as_array().unwrap() {
            let text = blob["blob"].as_str().unwrap();
            let bytes: Vec<u8> =
                (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
            let context: Vec<_> = blob["tenant"].as_str().map(|tenant| ("tenant", tenant)).into_iter().collect();
            match kms.decrypt(&bytes, &context) {
                Ok(found) => assert_eq!(*found, *blob["plaintext"].as_str().unwrap().as_bytes()),
                Err(error) => assert!(is_disabled, "{error}"),
            }
            opened += usize::from(!is_disabled);
        }
    }
    assert!(opened > 4, "only {opened} blobs were opened");
}

/// Role. Argument: the number of a `WHENS`.
pub fn kill_upgrade_each(arguments: &[String]) {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let (text, when, only) = WHENS[arguments[0].parse::<usize>().unwrap()];
    let (mut kills, mut upgraded) = (0, 0);
    for point in 1.. {
        let folder = folder();
        std::fs::write(folder.path().join("keys.db"), FORMAT_1).unwrap();
        let killed = killed_at(folder.path(), Plan::Kill { at: point, when, only });
        let (kms, step) = (open(folder.path()), format!("killed {text} write point {point}"));
        check_blobs(&kms, &expected);
        kms.verify(|fault| panic!("{step}: {fault:?}")).unwrap();
        let (format, keys) = (format_of(folder.path()), key_count(&kms));
        let before = expected["key.db"].as_array().unwrap().len();
        match format {
            1 => assert_eq!(keys, before, "{step}: a new key without the upgrade"),
            2 => assert_eq!(keys, before + 1, "{step}: an upgrade without the change that made it"),
            other => panic!("{step}: format {other}"),
        }
        kms.create_key(&CreateKey::default()).unwrap();
        check_blobs(&kms, &expected);
        kms.verify(|fault| panic!("{step}: {fault:?}")).unwrap();
        assert_eq!((format_of(folder.path()), key_count(&kms)), (2, keys + 1), "{step}: the next change");
        if !killed {
            assert_eq!(format, 2);
            break;
        }
        (kills, upgraded) = (kills + 1, upgraded + usize::from(format == 2));
    }
    println!("{kills} {upgraded}");
}

fn killed_at(folder: &Path, plan: Plan) -> bool {
    crate::killed::in_child(|| {
        let watch = Watch::over(folder);
        let kms = open(folder);
        watch.plan(plan);
        kms.create_key(&CreateKey::default()).unwrap();
    })
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn a_killed_upgrade_is_done_or_not_begun_and_the_next_change_finishes_it() {
    let counts = each((0..WHENS.len()).collect(), |when| {
        let output = role::command("kill-upgrade-each").arg(when.to_string()).output().unwrap();
        assert!(output.status.success(), "{}: {}", WHENS[when].0, String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (kills, upgraded) = text.trim().split_once(' ').unwrap();
        println!("{}: {kills} kills, {upgraded} of them after the upgrade", WHENS[when].0);
        (kills.parse::<usize>().unwrap(), upgraded.parse::<usize>().unwrap())
    });
    let (kills, upgraded) = counts.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(upgraded > 3 && kills - upgraded > 30, "{kills} kills, {upgraded} after the upgrade");
}
