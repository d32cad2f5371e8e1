use std::time::Duration;

use super::*;
use crate::domain::id::KeyId;
use crate::domain::key::Origin;
use crate::domain::log::{Actor, ChangeAction};
use crate::domain::time::Now;
use crate::store::backend::{Backend, Transaction};
use crate::store::kept::Remembered;
use crate::store::sealing::Sealing;
use crate::store::sqlite::Sqlite;
use crate::store::tree::Rows;

/// A keystore without a file.
struct Store {
    backend: Sqlite,
    sealing: Sealing,
    kept: Remembered,
}

impl Store {
    fn new() -> Self {
        let mut backend = Sqlite::in_memory().unwrap();
        let mut sealing = Sealing::new(&[1; 32], [2; 16]).unwrap();
        backend.begin(Transaction::Write, Duration::ZERO).unwrap();
        backend.put_meta(Shard::FIRST, &sealing.first_meta(1, &[], None).unwrap()).unwrap();
        backend.commit().unwrap();
        Self { backend, sealing, kept: Remembered::default() }
    }

    /// One transaction, committed if `body` is Ok.
    fn change<R>(&mut self, body: impl FnOnce(&mut Change<'_>) -> Result<R>) -> Result<R> {
        self.backend.begin(Transaction::Write, Duration::ZERO).unwrap();
        let rows = Rows { backend: &mut self.backend, sealing: &mut self.sealing };
        let mut see = |_: &MetaRow, _: Shard, meta: Meta| Ok((meta, 0));
        let view = View::new(rows, &mut self.kept, &mut see).unwrap();
        let mut change = Change::new(view, entry());
        let done = body(&mut change).and_then(|value| change.seal_meta().map(|_| value));
        match done.is_ok() {
            true => self.backend.commit().unwrap(),
            false => self.backend.rollback(),
        }
        done
    }
}

fn entry() -> LogEntry {
    let (at, program) = (Now { wall: Time::from_millis(0), boot: [0; 16], since_boot_ms: 0 }, String::new());
    let actor = Actor { process_id: 1, user_id: 0, program, label: None };
    LogEntry::new(ChangeAction::CreateKey, at, actor, 0)
}

/// A key without material.
fn key(id: u8) -> Key {
    Key::new(KeyId::from_bytes([id; 16]), Origin::External, String::new(), None, Time::from_millis(0))
}

/// The trees of a change that failed begin as those of no description.
#[test]
fn what_a_failed_change_left_in_memory_is_read_again() {
    let mut store = Store::new();
    store.change(|change| change.insert(key(1), None)).unwrap();
    let state = State::of(&store.backend.meta(Shard::FIRST).unwrap());
    store.backend.begin(Transaction::Write, Duration::ZERO).unwrap();
    let rows = Rows { backend: &mut store.backend, sealing: &mut store.sealing };
    let mut see = |_: &MetaRow, _: Shard, meta: Meta| Ok((meta, 0));
    let mut change = Change::new(View::new(rows, &mut store.kept, &mut see).unwrap(), entry());
    change.insert(key(2), None).unwrap();
    change.seal_meta().unwrap();
    store.backend.rollback();
    assert!(store.kept.head(Shard::FIRST, &state).is_some());
    store.kept.forget_failed();
    assert_eq!(store.kept.head(Shard::FIRST, &state), None, "trees of a failed change pass for those of a description");
    // One that changes nothing leaves none.
    store.change(|_| Ok(())).unwrap();
    store.kept.forget_failed();
    assert!(store.kept.head(Shard::FIRST, &state).is_some());
}

#[test]
fn an_id_is_given_to_one_key_only() {
    let mut store = Store::new();
    let first = store.change(|change| change.insert(key(1), None)).unwrap();
    let status = |result: Result<Stored>| result.map(drop).map_err(|error| error.status());
    let again = store.change(|change| change.insert(key(1), None));
    assert_eq!(status(again), Err(Status::RandomFailed), "a second key has the first one's id");
    let twice = store.change(|change| {
        change.insert(key(2), None)?;
        change.insert(key(2), None)
    });
    assert_eq!(status(twice), Err(Status::RandomFailed), "two keys of one transaction have one id");
    store.change(|change| change.insert(key(3), None)).unwrap();
    store
        .change(|change| {
            let found = change.key(&KeyId::from_bytes([1; 16]))?.map(|found| (found.row, found.key));
            assert_eq!(found, Some((first.row, first.key.clone())), "a refused key harmed the one that has its id");
            assert!(change.key(&KeyId::from_bytes([2; 16]))?.is_none(), "a part of what failed was kept");
            assert_eq!(change.keys_after(None, 9)?.len(), 2);
            change.destroy(&first)
        })
        .unwrap();
    store.change(|change| change.insert(key(1), None)).unwrap();
}

#[test]
fn the_row_of_a_destroyed_key_is_given_to_no_other() {
    let mut store = Store::new();
    let first = store.change(|change| change.insert(key(1), None)).unwrap();
    store.change(|change| change.destroy(&first)).unwrap();
    let second = store.change(|change| change.insert(key(2), None)).unwrap();
    assert_ne!(second.row, first.row, "what still names the destroyed key names the new one");
}

#[test]
fn the_last_row_is_a_limit() {
    let mut store = Store::new();
    let greatest = i64::from(u32::MAX);
    let last = store
        .change(|change| {
            change.shard(Shard::FIRST)?.meta.last_row = greatest - 1;
            change.insert(key(1), None)
        })
        .unwrap();
    assert_eq!(last.row, greatest);
    let refused = store.change(|change| change.insert(key(2), None)).map(drop).map_err(|error| error.status());
    assert_eq!(refused, Err(Status::LimitExceeded), "a row number that the trees have no name for");
    store.change(|change| change.key(&last.key.id).map(|found| assert!(found.is_some()))).unwrap();
}

/// A caller who may send ciphertexts could otherwise make each of them cost a check of all versions.
#[test]
fn a_version_that_is_not_there_is_looked_for_once() {
    let mut store = Store::new();
    let new = Key::new(KeyId::from_bytes([1; 16]), Origin::Kms, String::new(), None, Time::from_millis(0));
    store.change(|change| change.insert(new, None)).unwrap();
    for number in 1..=40 {
        let rotated = |change: &mut Change<'_>| {
            let stored = change.key(&KeyId::from_bytes([1; 16]))?.unwrap();
            change.rotate(stored, VersionId::from_bytes([number; 16]), &[number; 32], Time::from_millis(1))
        };
        store.change(rotated).unwrap();
    }
    let asked = |store: &mut Store, number: u8| {
        store.change(|change| {
            let stored = change.key(&KeyId::from_bytes([1; 16]))?.unwrap();
            Ok(change.material(&stored, &VersionId::from_bytes([number; 16]))?.is_some())
        })
    };
    assert!(!asked(&mut store, 200).unwrap());
    // A check of all of them would now end in an error.
    store.backend.begin(Transaction::Write, Duration::ZERO).unwrap();
    assert_eq!(store.backend.delete_materials(1).unwrap().len(), 40);
    store.backend.commit().unwrap();
    for number in 201..=250 {
        assert!(!asked(&mut store, number).unwrap(), "all versions are checked again");
    }
    assert!(asked(&mut store, 3).is_err(), "a version that is gone is said never to have been there");
}
