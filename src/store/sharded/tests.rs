use super::*;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::{Key, Origin};
use crate::domain::log::{Actor, ChangeAction};
use crate::domain::time::{Now, Time};
use crate::store::change::{Change, SealedChange};
use crate::store::entry::LogEntry;
use crate::store::kept::Remembered;
use crate::store::sealing::{Meta, Sealing};
use crate::store::tree::Rows;
use crate::store::view::View;

/// A keystore of four shards, of which nothing is kept in memory between transactions.
struct Store {
    backend: Sharded,
    sealing: Sealing,
}

impl Store {
    fn new() -> Self {
        let shards = Shards::new(4).unwrap();
        let (mut backend, mut sealing) = (Sharded::new(shards).unwrap(), Sealing::new(&[1; 32], [2; 16]).unwrap());
        backend.begin(Transaction::Write, Duration::ZERO).unwrap();
        for shard in shards.all() {
            let meta = sealing.first_meta(shards.first_generation(shard, 7), &[], None).unwrap();
            backend.put_meta(shard, &meta).unwrap();
        }
        backend.commit().unwrap();
        Self { backend, sealing }
    }

    fn change<R>(&mut self, body: impl FnOnce(&mut Change<'_>) -> Result<R>) -> Result<(R, Option<SealedChange>)> {
        self.backend.begin(Transaction::Write, Duration::ZERO).unwrap();
        let mut kept = Remembered::default();
        let mut see = |_: &MetaRow, _: Shard, meta: Meta| Ok((meta, 0));
        let rows = Rows { backend: &mut self.backend, sealing: &mut self.sealing };
        let view = View::new(rows, &mut kept, &mut see)?;
        let at = Now { wall: Time::from_millis(0), boot: [0; 16], since_boot_ms: 0 };
        let actor = Actor { process_id: 1, user_id: 0, program: String::new(), label: None };
        let mut change = Change::new(view, LogEntry::new(ChangeAction::CreateKey, at, actor, 0));
        let done = body(&mut change).and_then(|value| Ok((value, change.seal_meta()?)));
        match done.is_ok() {
            true => self.backend.commit().unwrap(),
            false => self.backend.rollback(),
        }
        done
    }

    /// A key with one version, in the shard of this first byte.
    fn key(&mut self, first: u8) -> KeyId {
        let mut id = [9; 16];
        id[0] = first;
        let id = KeyId::from_bytes(id);
        let mut key = Key::new(id, Origin::Kms, String::new(), None, Time::from_millis(0));
        key.promote(VersionId::from_bytes(*id.as_bytes()), Time::from_millis(1));
        self.change(|change| change.insert(key, Some(&[first; 32]))).unwrap();
        id
    }

    /// What a transaction that reads this reads without an announcement.
    fn unannounced(&mut self, body: impl FnOnce(&mut Change<'_>) -> Result<()>) -> u64 {
        let before = self.backend.unannounced;
        self.change(body).unwrap();
        self.backend.unannounced - before
    }
}

fn moved(change: &SealedChange) -> Vec<usize> {
    change.commit.moved.iter().map(|moved| moved.after.shard.index()).collect()
}

/// Each would be one more round trip.
#[test]
fn a_cold_read_announces_all_that_it_reads() {
    let mut store = Store::new();
    let ids: Vec<KeyId> = (0..=255).step_by(5).map(|first| store.key(first)).collect();
    for (at, id) in ids.iter().enumerate() {
        let name = format!("alias/{at}");
        let named = |change: &mut Change<'_>| {
            let key = change.key(id)?.unwrap();
            change.put_alias(&name, &key)
        };
        store.change(named).unwrap();
    }
    for (at, id) in ids.iter().enumerate() {
        let read = store.unannounced(|change| {
            let key = change.key(id)?.unwrap();
            let primary = key.key.primary.unwrap().id;
            assert!(change.material(&key, &primary)?.is_some());
            Ok(())
        });
        assert_eq!(read, 0, "a key is read in several steps");
        let name = format!("alias/{at}");
        let read = store.unannounced(|change| {
            assert_eq!(change.alias(&name)?.map(|key| key.key.id), Some(*id));
            Ok(())
        });
        assert_eq!(read, 0, "an alias is read in several steps");
    }
    let other = KeyId::from_bytes([77; 16]);
    assert_eq!(store.unannounced(|change| change.key(&other).map(|found| assert!(found.is_none()))), 0);
    assert_eq!(store.unannounced(|change| change.alias("alias/none").map(|found| assert!(found.is_none()))), 0);
    // Proves that unannounced reads are counted.
    assert!(store.unannounced(|change| change.keys_after(None, 9).map(drop)) > 0);
}

#[test]
fn a_change_moves_the_shards_that_it_touches_and_no_others() {
    let mut store = Store::new();
    let (first, last) = (store.key(0), store.key(255));
    let (_, sealed) = store
        .change(|change| {
            let key = change.key(&last)?.unwrap();
            assert!(change.key(&first)?.is_some(), "what is only read");
            change.update(key)
        })
        .unwrap();
    assert_eq!(moved(&sealed.unwrap()), [3]);
    for at in 0..9 {
        let (_, sealed) = store
            .change(|change| {
                let key = change.key(&last)?.unwrap();
                change.put_alias(&format!("alias/{at}"), &key)
            })
            .unwrap();
        assert_eq!(sealed.unwrap().commit.moved.len(), 1, "an alias moves the shard of its key");
    }
    store.change(|change| change.key(&last)?.map_or(Ok(()), |key| change.destroy(&key))).unwrap();
    store
        .change(|change| {
            assert!((0..9).all(|at| change.alias(&format!("alias/{at}")).unwrap().is_none()));
            let left = change.keys_after(None, 9)?;
            assert_eq!(left.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [first]);
            Ok(())
        })
        .unwrap();
}

#[test]
fn keys_of_all_shards_are_listed_in_the_order_of_ids() {
    let mut store = Store::new();
    let mut ids: Vec<KeyId> = [200, 3, 130, 64, 63, 255, 0].map(|first| store.key(first)).to_vec();
    ids.sort_unstable_by_key(|id| *id.as_bytes());
    let mut listed: Vec<KeyId> = Vec::new();
    store
        .change(|change| {
            loop {
                let page = change.keys_after(listed.last(), 2)?;
                listed.extend(page.iter().map(|(id, _)| *id));
                if page.len() < 2 {
                    return Ok(());
                }
            }
        })
        .unwrap();
    assert_eq!(listed, ids);
}

#[test]
fn the_description_of_another_shard_is_refused() {
    let mut store = Store::new();
    let id = store.key(255);
    store.backend.parts.swap(0, 3);
    let said = store.change(|change| change.key(&id).map(drop)).map(drop).map_err(|error| error.status());
    assert_eq!(said, Err(Status::KeystoreCorrupt), "one shard stands in the place of another");
}
