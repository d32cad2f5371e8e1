//! The cache's protocol in every order that loom finds: what was acknowledged is seen by the next call on any thread.
//!
//! The store here is a lock around two numbers; the cache, the word and the order in which changes are announced are the
//! library's own.
//!
//! Of the loads of an atomic that precede a write to it, loom remembers only the last as one that the write could have
//! preceded. Counting a change begins with a load, which hides another thread's load of the
//! word; so both sides also touch `Disk::turn`, in a way that orders nothing.

use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;

use super::*;
use crate::domain::key::Origin;
use crate::domain::time::Time;
use crate::domain::version::VersionRecords;
use crate::store::{Moved, Shard, tell};
use crate::sys::fault::breaks;
use crate::sys::word::Word;

/// A check takes the word that it reads afterwards for what it has seen.
const READ_LATE: &str = "KMS_FAULT_WORD_READ_LATE";

/// The store of one key whose revision is the number of changes.
struct Disk {
    rows: Mutex<ModelRows>,
    word: Word,
    turn: AtomicU64,
}

impl Disk {
    fn take_turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct ModelRows {
    generation: i64,
    revision: i64,
    /// Whether they are on another machine.
    is_remote: bool,
}

/// A handle of a process. Its threads share one connection, which is lent to a change until that is announced; or each
/// has its own, and what it reads is of the moment when it began.
struct Handle {
    disk: Arc<Disk>,
    connection: Option<Mutex<()>>,
    cache: Cache,
}

impl Changes for ModelRows {
    fn history(&self) -> u64 {
        0
    }

    fn may_lose(&self) -> bool {
        self.is_remote
    }

    fn heads(&mut self) -> Result<Vec<Head>> {
        Ok(vec![head(self.generation)])
    }

    fn changed_since(&mut self, head: &Head, _: usize) -> Result<Vec<KeyId>> {
        Ok(if self.generation > head.generation { vec![id()] } else { Vec::new() })
    }
}

/// The only shard.
fn head(generation: i64) -> Head {
    Head { shard: Shard::FIRST, generation, destroyed: 0, renamed: 0 }
}

impl ChangeSource for Handle {
    fn word(&self) -> u64 {
        self.disk.take_turn();
        self.disk.word.load()
    }

    fn look(&self, body: impl FnOnce(&mut dyn Changes) -> Result<()>) -> Result<()> {
        let _lent = self.lend();
        body(&mut self.snapshot())?;
        if fault::wanted(READ_LATE) {
            self.cache.looked_at.store(self.word(), Ordering::Release);
        }
        Ok(())
    }
}

fn id() -> KeyId {
    KeyId::from_bytes([7; 16])
}

fn stored(rows: &ModelRows) -> Stored {
    let key = Key::new(id(), Origin::External, String::new(), None, Time::from_millis(0));
    Stored {
        row: 1,
        revision: rows.revision,
        generation: rows.generation,
        versions: [0; 32],
        tags: None,
        records_mac: None,
        records: VersionRecords::default().into(),
        key,
    }
}

impl Handle {
    fn new(disk: &Arc<Disk>) -> Arc<Self> {
        let connection = (!disk.rows.lock().unwrap().is_remote).then(|| Mutex::new(()));
        Arc::new(Self { disk: Arc::clone(disk), connection, cache: Cache::new(4) })
    }

    fn lend(&self) -> Option<MutexGuard<'_, ()>> {
        self.connection.as_ref().map(|connection| connection.lock().unwrap())
    }

    fn snapshot(&self) -> ModelRows {
        self.disk.rows.lock().unwrap().clone()
    }

    /// A change, as `Store::write` makes it; a process that is killed after its commit announces nothing. Returns the new
    /// revision.
    fn change(&self, told: bool) -> i64 {
        let _lent = self.lend();
        let (commit, changed) = {
            let mut rows = self.disk.rows.lock().unwrap();
            rows.generation += 1;
            rows.revision += 1;
            let moved = Moved { before: head(rows.generation - 1), after: head(rows.generation) };
            let commit = Commit { history: 0, moved: vec![moved] };
            (commit, [stored(&rows)])
        };
        if told {
            let publish = || self.cache.publish(&commit, &changed, &[], &[]);
            self.disk.take_turn();
            tell(&self.disk.word, publish, |before| self.cache.announced(before));
        }
        changed.iter().map(|stored| stored.revision).sum()
    }

    /// The revision that a call works with, found as `Core::key` does.
    fn revision(&self) -> i64 {
        if !self.cache.covers(self.word()) {
            self.cache.look(self).unwrap();
        }
        match self.cache.key(&id()).unwrap() {
            Some(found) => found.revision,
            None => self.load(),
        }
    }

    /// The revision of a first use, as `Core::load_key` finds it.
    fn load(&self) -> i64 {
        let word = self.word();
        let _lent = self.lend();
        let mut rows = self.snapshot();
        self.cache.catch_up(&mut rows, word).unwrap();
        self.cache.keep_key(&stored(&rows), 0, &head(rows.generation)).unwrap().revision
    }
}

/// Our handle, with the key in memory, and another process's.
fn scene() -> (Arc<Handle>, Arc<Handle>) {
    scene_of(false)
}

fn scene_of(is_remote: bool) -> (Arc<Handle>, Arc<Handle>) {
    let rows = Mutex::new(ModelRows { generation: 1, revision: 1, is_remote });
    let disk = Arc::new(Disk { rows, word: Word::private(100).unwrap(), turn: AtomicU64::new(0) });
    let (ours, theirs) = (Handle::new(&disk), Handle::new(&disk));
    assert_eq!(ours.revision(), 1);
    (ours, theirs)
}

const UNSEEN: &str = "a change that was acknowledged is not seen by the next call";

/// A thread of this process reads while another process writes.
fn another_process_changes() {
    loom::model(|| {
        let (ours, theirs) = scene();
        theirs.disk.word.count();
        let reading = Arc::clone(&ours);
        let reader = thread::spawn(move || reading.revision());
        let changed = theirs.change(true);
        assert!(reader.join().unwrap() <= changed, "a revision that nobody made");
        assert_eq!(ours.revision(), changed, "{UNSEEN}");
    });
}

/// Two threads of this process, one of which writes.
fn our_own_process_changes() {
    loom::model(|| {
        let (ours, _) = scene();
        let reading = Arc::clone(&ours);
        let reader = thread::spawn(move || {
            let first = reading.revision();
            assert!(first <= reading.revision(), "a key went back to what it was");
        });
        let changed = ours.change(true);
        assert_eq!(ours.revision(), changed, "the thread that changed a key does not see it");
        reader.join().unwrap();
        assert_eq!(ours.revision(), changed, "{UNSEEN}");
    });
}

/// A process died between its commit and its announcement; ours then makes a change concurrently with a reader.
fn a_change_follows_one_that_was_never_announced() {
    loom::model(|| {
        let (ours, theirs) = scene();
        theirs.change(false);
        let reading = Arc::clone(&ours);
        let reader = thread::spawn(move || reading.revision());
        let changed = ours.change(true);
        reader.join().unwrap();
        assert_eq!(ours.revision(), changed, "{UNSEEN}");
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

/// One thread reads keys that are not in memory, on its own connection, while another makes a change on its own.
#[test]
fn a_first_use_on_another_connection_hides_no_change_of_ours() {
    loom::model(|| {
        let (ours, _) = scene_of(true);
        let reading = Arc::clone(&ours);
        let reader = thread::spawn(move || reading.load());
        let changed = ours.change(true);
        assert_eq!(ours.revision(), changed, "{UNSEEN}");
        reader.join().unwrap();
        assert_eq!(ours.revision(), changed, "{UNSEEN}");
    });
}

#[test]
fn of_two_changes_of_ours_at_once_on_two_connections_neither_is_hidden() {
    let mut some = loom::model::Builder::new();
    // All orders would take hours.
    some.preemption_bound = Some(3);
    some.check(|| {
        let (ours, _) = scene_of(true);
        let changing = Arc::clone(&ours);
        let other = thread::spawn(move || {
            let changed = changing.change(true);
            assert!(changing.revision() >= changed, "a thread that changed a key does not see it");
        });
        let changed = ours.change(true);
        assert!(ours.revision() >= changed, "the thread that changed a key does not see it");
        other.join().unwrap();
        assert_eq!(ours.revision(), 3, "{UNSEEN}");
    });
}

#[test]
fn an_unannounced_change_is_seen_with_the_next_that_is_ours() {
    a_change_follows_one_that_was_never_announced();
}

#[test]
fn two_processes_that_change_at_once_hide_neither_change() {
    loom::model(|| {
        let (ours, theirs) = scene();
        let changing = Arc::clone(&theirs);
        let other = thread::spawn(move || changing.change(true));
        ours.change(true);
        other.join().unwrap();
        assert_eq!(ours.revision(), 3, "one of two changes is hidden from us");
        assert_eq!(theirs.revision(), 3, "one of two changes is hidden from them");
    });
}

#[test]
fn the_model_notices_a_change_that_is_not_announced() {
    assert!(breaks(
        "KMS_FAULT_UNANNOUNCED",
        "service::cache::model::a_change_of_another_process_is_seen_by_the_next_call",
        UNSEEN
    ));
}

#[test]
fn the_model_notices_a_word_that_is_read_after_the_look() {
    assert!(breaks(READ_LATE, "service::cache::model::a_change_of_another_process_is_seen_by_the_next_call", UNSEEN));
}

#[test]
fn the_model_notices_a_gap_that_is_taken_for_none() {
    assert!(breaks(
        "KMS_FAULT_GAP_UNNOTICED",
        "service::cache::model::an_unannounced_change_is_seen_with_the_next_that_is_ours",
        UNSEEN
    ));
}

#[test]
fn the_model_notices_a_cache_that_goes_back_to_an_earlier_moment() {
    assert!(breaks(
        "KMS_FAULT_HEADS_SET_BACK",
        "service::cache::model::a_first_use_on_another_connection_hides_no_change_of_ours",
        UNSEEN
    ));
}
