//! An alias that is hidden while its key is destroyed, and reappears: it never names a later key.

use kms::{CreateKey, Status};

use crate::aliased::{Aliased, aliased, destroy, new_key, opened};
use crate::pages::only_page;
use crate::sample::{Place, faults};

/// Hides the last key's alias; returns how to bring it back.
type Hide = fn(&Aliased, &Place) -> Box<dyn FnOnce(&Place)>;

const ALIAS: &str = "alias/c";

fn out_of_the_table(_: &Aliased, place: &Place) -> Box<dyn FnOnce(&Place)> {
    let sqlite = place.sqlite();
    let row: (i64, i64, i64, Vec<u8>) = sqlite
        .query_row("DELETE FROM alias WHERE name = ? RETURNING key_row, revision, generation, mac", [ALIAS], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    Box::new(move |place| {
        let (key, revision, generation, mac) = row;
        let row = rusqlite::params![ALIAS, key, revision, generation, mac];
        assert_eq!(place.sqlite().execute("INSERT INTO alias VALUES(?, ?, ?, ?, ?)", row).unwrap(), 1);
    })
}

fn out_of_the_index(_: &Aliased, place: &Place) -> Box<dyn FnOnce(&Place)> {
    // The last entry, because its key is the last.
    let bytes = place.bytes();
    place.put(&only_page(&bytes, "alias_key").shortened(&bytes));
    // The row never left the table.
    Box::new(|_| {})
}

fn altered(_: &Aliased, place: &Place) -> Box<dyn FnOnce(&Place)> {
    let flip = |place: &Place| {
        let sql = "UPDATE alias SET generation = CASE generation % 2 WHEN 0 THEN generation + 1 ELSE generation - 1 END
                   WHERE name = ?";
        assert_eq!(place.sqlite().execute(sql, [ALIAS]).unwrap(), 1);
    };
    flip(place);
    Box::new(flip)
}

fn of_another_key(sample: &Aliased, place: &Place) -> Box<dyn FnOnce(&Place)> {
    let from = sample.keys.len() as i64;
    let moved = |place: &Place, to: i64| {
        assert_eq!(place.sqlite().execute("UPDATE alias SET key_row = ? WHERE name = ?", (to, ALIAS)).unwrap(), 1);
    };
    moved(place, 1);
    Box::new(move |place| moved(place, from))
}

fn never_names_a_later_key(hide: Hide, how: &str) {
    // The alias comes back before or after new keys are made; and all other keys may be gone by then.
    for (early, doomed) in [(false, vec![2]), (true, vec![2]), (false, vec![2, 1, 0]), (true, vec![2, 1, 0])] {
        let what = format!("{how}, keys {doomed:?} destroyed, brought back {}", if early { "early" } else { "late" });
        let sample = aliased(&[0, 1, 2]);
        let place = Place::new();
        place.put(&sample.bytes);
        let bring_back = hide(&sample, &place);
        let (kms, clock) = opened(&place);
        for number in doomed {
            // Others than the last are destroyed with their aliases, or not at all.
            let done = destroy(&kms, &clock, &sample.keys[number]);
            assert!(matches!(done, Ok(()) | Err(Status::KeystoreCorrupt)), "{what}: {done:?}");
        }
        let gone = kms.describe_key(&sample.keys[2]).map(drop).map_err(|error| error.status());
        assert_eq!(gone, Err(Status::KeyNotFound), "{what}: the key is not destroyed");
        let mut bring_back = Some(bring_back);
        if early && let Some(bring_back) = bring_back.take() {
            bring_back(&place);
        }
        new_key(&kms);
        kms.create_keys(&CreateKey::default(), 3).unwrap();
        if let Some(bring_back) = bring_back.take() {
            bring_back(&place);
        }
        drop(kms);
        let (kms, _) = opened(&place);
        for answer in [
            kms.describe_key(ALIAS).map(|key| key.id.to_string()),
            kms.encrypt(ALIAS, b"text", &[]).and_then(|blob| kms.inspect(&blob)).map(|blob| blob.key.to_string()),
        ] {
            let said = answer.map_err(|error| error.status());
            assert_eq!(said, Err(Status::KeystoreCorrupt), "{what}: the alias of a destroyed key is no error");
        }
        assert!(faults(&kms).1.is_some(), "{what}: verify finds nothing");
    }
}

#[test]
fn an_alias_that_was_out_of_the_table_names_no_later_key() {
    never_names_a_later_key(out_of_the_table, "out of the table");
}

#[test]
fn an_alias_that_was_out_of_the_index_names_no_later_key() {
    never_names_a_later_key(out_of_the_index, "out of the index");
}

#[test]
fn an_alias_that_was_altered_names_no_later_key() {
    never_names_a_later_key(altered, "altered");
}

#[test]
fn an_alias_that_was_another_keys_names_no_later_key() {
    never_names_a_later_key(of_another_key, "another key's");
}
