use std::cell::Cell;

use super::*;
use crate::domain::key::Origin;
use crate::domain::time::Time;
use crate::store::{Moved, Shard};

/// A snapshot of a store of one shard on another machine.
struct Snapshot {
    history: u64,
    generation: i64,
}

impl Changes for Snapshot {
    fn history(&self) -> u64 {
        self.history
    }

    fn may_lose(&self) -> bool {
        true
    }

    fn heads(&mut self) -> Result<Vec<Head>> {
        Ok(vec![head(self.generation)])
    }

    fn changed_since(&mut self, _: &Head, _: usize) -> Result<Vec<KeyId>> {
        Ok(vec![id()])
    }
}

fn head(generation: i64) -> Head {
    Head { shard: Shard::FIRST, generation, destroyed: 0, renamed: 0 }
}

fn id() -> KeyId {
    KeyId::from_bytes([7; 16])
}

fn stored(generation: i64) -> Stored {
    let key = Key::new(id(), Origin::External, String::new(), None, Time::from_millis(0));
    Stored {
        row: 1,
        revision: generation,
        generation,
        versions: [0; 32],
        tags: None,
        records_mac: None,
        records: VersionRecords::default().into(),
        key,
    }
}

fn revision(cache: &Cache) -> Option<i64> {
    cache.key(&id()).unwrap().map(|key| key.revision)
}

#[test]
fn what_was_read_before_a_change_of_ours_that_was_not_taken_over_is_not_kept_after_it() {
    let cache = Cache::new(4);
    assert!(cache.catch_up(&mut Snapshot { history: 0, generation: 1 }, 100).unwrap());
    // Another host changed the shard unseen; ours follows that.
    let commit = Commit { history: 0, moved: vec![Moved { before: head(2), after: head(3) }] };
    assert!(!cache.publish(&commit, &[stored(3)], &[], &[]));
    // A thread had read the key before, on its own connection.
    cache.keep_key(&stored(1), 0, &head(1)).unwrap();
    cache.keep_alias("alias/a", id(), 0, &head(1)).unwrap();
    assert!(revision(&cache).is_none() && cache.alias("alias/a").unwrap().is_none(), "our own change is undone");
    assert!(cache.catch_up(&mut Snapshot { history: 0, generation: 2 }, 101).unwrap());
    cache.keep_key(&stored(2), 0, &head(2)).unwrap();
    assert_eq!(revision(&cache), None, "our own change is undone");
    assert!(cache.catch_up(&mut Snapshot { history: 0, generation: 3 }, 101).unwrap());
    cache.keep_key(&stored(3), 0, &head(3)).unwrap();
    assert_eq!(revision(&cache), Some(3), "keys of the shard are never kept again");
}

#[test]
fn a_snapshot_of_an_unknown_moment_replaces_and_covers_nothing() {
    let cache = Cache::new(4);
    cache.catch_up(&mut Snapshot { history: 1, generation: 5 }, 100).unwrap();
    cache.keep_key(&stored(5), 1, &head(5)).unwrap();
    assert!(!cache.catch_up(&mut Snapshot { history: UNPLACED, generation: 4 }, 101).unwrap());
    assert_eq!((revision(&cache), cache.generation().unwrap()), (Some(5), 5));
    assert!(cache.covers(100) && !cache.covers(101));
}

/// Its first snapshot was begun before another thread found that the store has another history.
struct Source {
    looks: Cell<u64>,
}

impl ChangeSource for Source {
    fn word(&self) -> u64 {
        101
    }

    fn look(&self, body: impl FnOnce(&mut dyn Changes) -> Result<()>) -> Result<()> {
        let history = self.looks.replace(self.looks.get() + 1);
        body(&mut Snapshot { history, generation: 6 })
    }
}

#[test]
fn a_check_that_says_nothing_of_the_present_history_is_made_again() {
    let cache = Cache::new(4);
    cache.catch_up(&mut Snapshot { history: 1, generation: 5 }, 100).unwrap();
    cache.keep_key(&stored(5), 1, &head(5)).unwrap();
    cache.look(&Source { looks: Cell::new(0) }).unwrap();
    assert!(cache.covers(101), "a check ends without an answer");
    assert_eq!(revision(&cache), None, "what changed is still used");
}
