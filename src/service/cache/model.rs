//! The cache's protocol in every order that loom finds: what was acknowledged is seen by the next call, whoever made it.
//!
//! The store here is a lock around two numbers; the cache, the word and the order in which changes are told are the
//! library's own.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::*;
use crate::domain::key::Origin;
use crate::domain::time::Time;
use crate::store::tell;
use crate::sys::fault::breaks;
use crate::sys::word::Word;

/// The store of one key whose revision is the number of changes.
struct Disk {
    rows: Mutex<Rows>,
    word: Word,
}

struct Rows {
    generation: i64,
    revision: i64,
}

impl Changes for &mut Rows {
    fn generation(&self) -> i64 {
        self.generation
    }
    fn destroyed(&self) -> i64 {
        0
    }
    fn renamed(&self) -> i64 {
        0
    }
    fn changed_since(&mut self, generation: i64, _: usize) -> Result<Vec<KeyId>> {
        Ok(if self.generation > generation { vec![id()] } else { Vec::new() })
    }
}

impl Source for Disk {
    fn word(&self) -> u64 {
        self.word.load()
    }
    fn look(&self, body: impl FnOnce(&mut dyn Changes) -> Result<()>) -> Result<()> {
        body(&mut &mut *self.rows.lock().unwrap())
    }
}

fn id() -> KeyId {
    KeyId::from_bytes([7; 16])
}

fn stored(rows: &Rows) -> Stored {
    let key = Key::new(id(), Origin::External, String::new(), None, Time::from_millis(0));
    Stored { row: 1, revision: rows.revision, generation: rows.generation, versions: [0; 32], tags: None, key }
}

impl Disk {
    fn new() -> Self {
        Self { rows: Mutex::new(Rows { generation: 1, revision: 1 }), word: Word::private(100) }
    }

    /// A change, as `Store::write` makes it: under the write lock until it is told, unless the writer dies before that.
    fn change(&self, cache: &Cache, told: bool) -> i64 {
        let mut rows = self.rows.lock().unwrap();
        let before = rows.generation;
        rows.generation += 1;
        rows.revision += 1;
        let (commit, changed) = (Commit { before, after: rows.generation, destroyed: 0, renamed: 0 }, [stored(&rows)]);
        if told {
            tell(&self.word, || cache.publish(commit, &changed, &[], &[]), |before| cache.announced(before));
        }
        rows.revision
    }

    /// The revision that a call works with: as `Core::key` finds it.
    fn revision(&self, cache: &Cache) -> i64 {
        cache.fresh(self).unwrap();
        if let Some(found) = cache.key(&id()).unwrap() {
            return found.revision;
        }
        let word = self.word();
        let mut rows = self.rows.lock().unwrap();
        cache.catch_up(&mut &mut *rows, word).unwrap();
        cache.keep_key(&stored(&rows), rows.generation).unwrap().revision
    }
}

fn scene() -> (Arc<Disk>, Arc<Cache>, Arc<Cache>) {
    let (disk, ours, theirs) = (Arc::new(Disk::new()), Arc::new(Cache::new(4)), Arc::new(Cache::new(4)));
    assert_eq!(disk.revision(&ours), 1);
    (disk, ours, theirs)
}

/// A thread of ours reads while another process changes; the call after the acknowledgement sees the change.
fn another_process_changes() {
    loom::model(|| {
        let (disk, ours, theirs) = scene();
        let (reading, cache) = (Arc::clone(&disk), Arc::clone(&ours));
        let reader = thread::spawn(move || reading.revision(&cache));
        let changed = disk.change(&theirs, true);
        let meanwhile = reader.join().unwrap();
        assert!(meanwhile <= changed, "a revision that nobody made");
        assert_eq!(disk.revision(&ours), changed, "a change that was acknowledged is not seen by the next call");
    });
}

/// Two threads of ours, one of which changes; each sees what was acknowledged.
fn our_own_process_changes() {
    loom::model(|| {
        let (disk, ours, _) = scene();
        let (reading, cache) = (Arc::clone(&disk), Arc::clone(&ours));
        let reader = thread::spawn(move || {
            let first = reading.revision(&cache);
            assert!(first <= reading.revision(&cache), "a key went back to what it was");
        });
        let changed = disk.change(&ours, true);
        assert_eq!(disk.revision(&ours), changed, "the thread that changed a key does not see it");
        reader.join().unwrap();
        assert_eq!(disk.revision(&ours), changed, "a change that was acknowledged is not seen by the next call");
    });
}

/// A process dies between its commit and its announcement, and ours then changes the same key beside a reader.
fn a_change_follows_one_that_was_never_announced() {
    loom::model(|| {
        let (disk, ours, theirs) = scene();
        disk.change(&theirs, false);
        let (reading, cache) = (Arc::clone(&disk), Arc::clone(&ours));
        let reader = thread::spawn(move || reading.revision(&cache));
        let changed = disk.change(&ours, true);
        reader.join().unwrap();
        assert_eq!(disk.revision(&ours), changed, "a change that was acknowledged is not seen by the next call");
    });
}

#[test]
fn a_change_of_another_process_is_seen_by_the_next_call() {
    another_process_changes();
}

#[test]
fn a_change_of_ours_is_seen_by_every_thread() {
    our_own_process_changes();
}

#[test]
fn an_unannounced_change_is_seen_with_the_next_that_is_ours() {
    a_change_follows_one_that_was_never_announced();
}

#[test]
fn two_processes_that_change_at_once_hide_neither_change() {
    loom::model(|| {
        let (disk, ours, theirs) = scene();
        let (changing, cache) = (Arc::clone(&disk), Arc::clone(&theirs));
        let other = thread::spawn(move || changing.change(&cache, true));
        disk.change(&ours, true);
        other.join().unwrap();
        assert_eq!(disk.revision(&ours), 3, "one of two changes is hidden from us");
        assert_eq!(disk.revision(&theirs), 3, "one of two changes is hidden from them");
    });
}

#[test]
fn the_model_notices_a_word_read_after_looking() {
    assert!(breaks("KMS_FAULT_WORD_READ_AFTER_LOOKING", || {
        // The announcement comes after the lock is let go, as between processes: it may fall into a look.
        loom::model(|| {
            let (disk, ours, _) = scene();
            disk.word.count();
            let (reading, cache) = (Arc::clone(&disk), Arc::clone(&ours));
            let reader = thread::spawn(move || reading.revision(&cache));
            let mut rows = disk.rows.lock().unwrap();
            rows.generation += 1;
            rows.revision += 1;
            drop(rows);
            disk.word.count();
            reader.join().unwrap();
            assert_eq!(disk.revision(&ours), 2);
        });
    }));
}

#[test]
fn the_model_notices_a_gap_that_is_taken_for_none() {
    assert!(breaks("KMS_FAULT_GAP_UNNOTICED", a_change_follows_one_that_was_never_announced));
}
