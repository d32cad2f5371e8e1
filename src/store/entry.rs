//! What the change log is made of: its state, its entries, and which refusals get one.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::backend::ChangeRow;
use crate::domain::id::{ChangeId, KeyId, VersionId};
use crate::domain::log::{Actor, ChangeAction};
use crate::domain::time::Now;
use crate::error::{Result, Status};
use crate::sys::random;

/// A link of the chain: the MAC of an entry.
pub type Link = [u8; 32];

/// Where the log begins and ends, as the description holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// The checkpoint: the generation before the oldest entry, and its link.
    pub base: i64,
    pub before: Link,
    /// The link of the newest entry.
    pub head: Link,
}

impl LogState {
    /// The state of a log without entries, in a keystore of this generation.
    pub const fn new(generation: i64) -> Self {
        Self { base: generation, before: [0; 32], head: [0; 32] }
    }

    pub fn to_bytes(self) -> Vec<u8> {
        [&self.base.to_be_bytes()[..], &self.before, &self.head].concat()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (base, rest) = bytes.split_first_chunk::<8>()?;
        let (before, head) = rest.split_first_chunk::<32>()?;
        Some(Self { base: i64::from_be_bytes(*base), before: *before, head: head.try_into().ok()? })
    }

    /// What a description says; `None` before the first change of a keystore that format 1 made.
    pub fn of(log: Option<&[u8]>) -> Result<Option<Self>> {
        let unknown = || {
            Status::KeystoreCorrupt
                .error("the keystore's description has an unknown form of the change log; restore it from a backup")
        };
        log.map(|bytes| Self::parse(bytes).ok_or_else(unknown)).transpose()
    }
}

/// What the entry of a write transaction says.
#[derive(Debug)]
pub struct LogEntry {
    pub action: ChangeAction,
    pub at: Now,
    pub actor: Actor,
    /// The key that was named last, and how many others were before.
    pub key: Option<KeyId>,
    pub version: Option<VersionId>,
    pub count: u64,
    pub status: Option<Status>,
    pub waited_ms: Option<i64>,
    pub omitted: u64,
}

impl LogEntry {
    pub fn new(action: ChangeAction, at: Now, actor: Actor, omitted: u64) -> Self {
        Self { action, at, actor, key: None, version: None, count: 0, status: None, waited_ms: None, omitted }
    }

    /// Counts a key that is changed; several changes in a row of one key count once.
    pub fn touch(&mut self, key: &KeyId) {
        if self.key != Some(*key) {
            (self.key, self.count) = (Some(*key), self.count + 1);
        }
    }

    pub fn row(&self, generation: i64) -> Result<ChangeRow> {
        let Actor { process_id, user_id, program, label } = &self.actor;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(ChangeRow {
            generation,
            change_id: *ChangeId::from_random(random::array()?).as_bytes(),
            at_ms: self.at.wall.millis(),
            boot_ms: self.at.since_boot_ms,
            pid: i64::from(*process_id),
            uid: i64::from(*user_id),
            program: program.clone(),
            label: label.clone(),
            action: self.action.name().to_owned(),
            key: self.key.filter(|_| self.count == 1).map(|id| *id.as_bytes()),
            version: self.version.filter(|_| self.count == 1).map(|id| *id.as_bytes()),
            count: signed(self.count),
            status: self.status.map_or(0, |status| status as i64),
            omitted: signed(self.omitted),
            waited_ms: self.waited_ms,
            mac: [0; 32],
        })
    }
}

/// A management call that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub action: ChangeAction,
    pub key: Option<KeyId>,
    pub status: Status,
}

/// Refusals that are logged within [`WINDOW_MS`] at most.
const MOST_REFUSALS: u64 = 10;
const WINDOW_MS: i64 = 1000;
/// Bounds how many refusals of a handle are logged, and counts the others.
#[derive(Debug, Default)]
pub struct Refusals {
    window: AtomicI64,
    logged: AtomicU64,
    omitted: AtomicU64,
}

impl Refusals {
    /// Whether one more may be logged at `now`.
    pub fn may_log(&self, now: i64) -> bool {
        let window = self.window.load(Ordering::Relaxed);
        if now - window >= WINDOW_MS
            && self.window.compare_exchange(window, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.logged.store(0, Ordering::Relaxed);
        }
        self.logged.fetch_add(1, Ordering::Relaxed) < MOST_REFUSALS
    }

    /// Counts one that is not logged.
    pub fn omit(&self) {
        self.omitted.fetch_add(1, Ordering::Relaxed);
    }

    pub fn omitted(&self) -> u64 {
        self.omitted.load(Ordering::Relaxed)
    }

    /// Takes those that have no entry, for one entry to count.
    pub fn claim(&self) -> OmittedRefusals<'_> {
        OmittedRefusals { of: self, count: self.omitted.swap(0, Ordering::Relaxed) }
    }
}

/// Refusals without an entry that an entry is to count. They are left to another one unless it is committed.
#[derive(Debug)]
pub struct OmittedRefusals<'a> {
    of: &'a Refusals,
    count: u64,
}

impl OmittedRefusals<'_> {
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The entry was committed.
    pub fn counted(mut self) {
        self.count = 0;
    }
}

impl Drop for OmittedRefusals<'_> {
    fn drop(&mut self) {
        self.of.omitted.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_refusals_a_second_are_logged() {
        let refusals = Refusals::default();
        let logged = |now: i64, calls: usize| (0..calls).filter(|_| refusals.may_log(now)).count();
        assert_eq!(logged(50_000, 1000), 10);
        assert_eq!(logged(50_999, 1000), 0);
        assert_eq!(logged(51_000, 3), 3);
        assert_eq!(logged(51_500, 1000), 7);
        assert_eq!(logged(90_000, 1000), 10);
    }

    #[test]
    fn an_omitted_refusal_is_counted_by_one_committed_entry() {
        let refusals = Refusals::default();
        (0..3).for_each(|_| refusals.omit());
        let (first, second) = (refusals.claim(), refusals.claim());
        assert_eq!((first.count(), second.count()), (3, 0), "two entries count the same refusal");
        drop(first);
        assert_eq!(refusals.omitted(), 3, "an entry that was not committed counts");
        refusals.claim().counted();
        second.counted();
        assert_eq!(refusals.omitted(), 0);
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let state = LogState { base: i64::MAX - 7, before: [1; 32], head: [2; 32] };
        assert_eq!(LogState::of(Some(&state.to_bytes())), Ok(Some(state)));
        assert_eq!(LogState::of(None), Ok(None));
        let status = |bytes: &[u8]| LogState::of(Some(bytes)).map_err(|error| error.status());
        for len in [0, 8, 71, 73] {
            assert_eq!(status(&vec![0; len]), Err(Status::KeystoreCorrupt), "{len} bytes");
        }
    }
}
