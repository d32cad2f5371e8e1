//! The change log: who changed what, and when.

use super::pages::{PAGE, Page, paged, until_error};
use super::pass::PAUSE;
use super::{Changed, Core, Keystore};
use crate::domain::id::KeyId;
use crate::domain::log::{ChangeAction, LoggedChange};
use crate::domain::time::Time;
use crate::error::Result;
use crate::store::Shard;
use crate::sys::sync;

/// Entries that one transaction removes.
const CUT: usize = 4096;

/// Entries that a list reads first.
const FIRST_PAGE: usize = 16;

/// Entries that are read of a shard at a time from the end of its log back: at first, and at most.
const WINDOW: usize = 16;
const LONGEST_WINDOW: usize = 1024;

/// The end of a shard's log that is not shown yet.
struct LogTail {
    shard: Shard,
    /// The newest generation that was not read.
    end: Option<i64>,
    /// What was read, oldest first.
    entries: Vec<LoggedChange>,
    window: usize,
    is_all_read: bool,
}

impl LogTail {
    fn of(shard: Shard) -> Self {
        Self { shard, end: None, entries: Vec::new(), window: WINDOW, is_all_read: false }
    }

    fn is_wanting(&self) -> bool {
        self.entries.is_empty() && !self.is_all_read
    }

    fn fill(&mut self, entries: Vec<LoggedChange>) {
        self.is_all_read = entries.len() < self.window;
        self.end = entries.first().map(|oldest| oldest.generation.cast_signed() - 1).or(self.end);
        self.window = (self.window * 4).min(LONGEST_WINDOW);
        self.entries = entries;
    }
}

/// Which entries of the change log [`Keystore::changes`] returns. All conditions must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListChanges {
    /// Only entries of this key. It need not exist any more.
    pub key: Option<KeyId>,
    /// Only entries of this time or later.
    pub from: Option<Time>,
    /// Only entries before this time.
    pub to: Option<Time>,
    /// Only entries after this generation: that of the last entry seen, to continue a list.
    pub after: Option<u64>,
}

impl ListChanges {
    fn matches(&self, change: &LoggedChange) -> bool {
        self.key.is_none_or(|key| change.key == Some(key))
            && self.from.is_none_or(|from| change.time >= from)
            && self.to.is_none_or(|to| change.time < to)
    }

    /// As the store counts generations; one that it never reaches is beyond all.
    fn after(&self) -> Option<i64> {
        self.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX))
    }
}

impl Keystore {
    /// Iterate over the change log, oldest entry first. Each committed change has one entry, and refused management
    /// calls have one each, up to 10 a second.
    ///
    /// The log is checked as it is read: an entry that was altered, moved or removed is an error, which ends the
    /// iteration.
    ///
    /// # Errors
    /// `KeystoreCorrupt`, and the other [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, change_log::ListChanges};
    /// # let options = Options::new().root_key(&[7; 32]).actor("nightly job");
    /// # let keystore = Keystore::open("memory:", &options)?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// let changes: Vec<_> = keystore.changes(ListChanges { key: Some(key), ..Default::default() }).collect::<Result<_, _>>()?;
    /// assert_eq!(changes[0].action, "CreateKey");
    /// assert_eq!(changes[0].actor.label.as_deref(), Some("nightly job"));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn changes(&self, which: ListChanges) -> impl Iterator<Item = Result<LoggedChange>> {
        self.changes_by_pages(which, FIRST_PAGE)
    }

    /// Iterate over the change log backwards, newest entry first. The entries are checked as by [`Keystore::changes`].
    /// The shards of a database have separate logs, which are merged in the order of time.
    ///
    /// # Errors
    /// As [`Keystore::changes`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.disable_key(key)?;
    /// let newest = keystore.newest_changes().next().expect("an entry")?;
    /// assert_eq!((newest.action.as_str(), newest.key), ("DisableKey", Some(key)));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn newest_changes(&self) -> impl Iterator<Item = Result<LoggedChange>> {
        let mut tails: Option<Vec<LogTail>> = None;
        let next = move || -> Result<Option<LoggedChange>> {
            let core = self.core()?;
            let tails = tails.get_or_insert_with(|| core.store.shards().all().map(LogTail::of).collect());
            let mut wanting: Vec<&mut LogTail> = tails.iter_mut().filter(|tail| tail.is_wanting()).collect();
            // All of them at first, and then the one that was shown to its end.
            if let Some(window) = wanting.iter().map(|tail| tail.window).min() {
                let parts: Vec<_> = wanting.iter().map(|tail| (tail.shard, tail.end)).collect();
                let found = core.store.read(|view| view.changes_until(&parts, window))?;
                for (tail, entries) in wanting.iter_mut().zip(found) {
                    tail.window = window;
                    tail.fill(entries);
                }
            }
            let newest = |tail: &&mut LogTail| tail.entries.last().map(|entry| (entry.time, entry.generation));
            Ok(tails.iter_mut().max_by_key(newest).and_then(|tail| tail.entries.pop()))
        };
        until_error(next)
    }

    /// Count the entries of the change log.
    ///
    /// # Errors
    /// The [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let before = keystore.count_changes()?;
    /// keystore.create_key(&CreateKey::default())?;
    /// assert_eq!(keystore.count_changes()?, before + 1);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn count_changes(&self) -> Result<u64> {
        self.core()?.store.read(|view| view.log_len())
    }

    /// Pages grow from `first` on, so a caller who takes a few entries does not wait for many.
    fn changes_by_pages(&self, which: ListChanges, first: usize) -> impl Iterator<Item = Result<LoggedChange>> {
        let (mut after, mut walked, mut len) = (which.after(), None, first.clamp(1, PAGE));
        paged(move || {
            let page = self.core()?.store.read(|view| view.changes_after(after, walked, len))?;
            if let Some(last) = page.last() {
                (after, walked) = (Some(last.generation.cast_signed()), Some(last.mac));
            }
            let is_last = page.len() < len;
            len = (2 * len).min(PAGE);
            Ok(Page { items: page.into_iter().filter(|change| which.matches(change)).map(Ok).collect(), is_last })
        })
    }

    /// Shows at most `limit` entries, oldest first, of the key `key_id` or as `which` has it, until `visit` returns false. No
    /// lock is held while it runs.
    #[doc(hidden)]
    pub fn list_changes(
        &self,
        key_id: Option<&str>,
        mut which: ListChanges,
        limit: usize,
        mut visit: impl FnMut(&LoggedChange) -> Result<bool>,
    ) -> Result<()> {
        if let Some(key_id) = key_id {
            which.key = Some(Core::id_only(key_id)?);
        }
        self.core()?;
        // With a condition, entries between those that are shown are read too.
        let is_all = which == ListChanges { after: which.after, ..ListChanges::default() };
        let first = if is_all { limit } else { FIRST_PAGE };
        for change in self.changes_by_pages(which, first).take(limit) {
            if !visit(&change?)? {
                break;
            }
        }
        Ok(())
    }

    /// Remove the entries of the change log that are older than `before`, and return how many there were. The rest of
    /// the log continues from a checkpoint, and the cut has its own entry.
    ///
    /// Entries go from the oldest on, up to the first that is not older: where a clock was set back, older ones behind it
    /// stay. A log of many entries is cut in several transactions, each with its entry.
    ///
    /// # Errors
    /// `KeystoreCorrupt` for a log that was altered, which is not cut; and the other
    /// [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{Keystore, Options, Time};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// assert_eq!(keystore.cut_changes(Time::from_millis(1_700_000_000_000))?, 0);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn cut_changes(&self, before: Time) -> Result<u64> {
        self.manage(ChangeAction::CutChanges, None, |core| {
            let mut total = 0;
            // Its own entries say how many were removed, and stay.
            for newest in core.store.read(|view| view.heads())? {
                loop {
                    let done = core.change(ChangeAction::CutChanges, |change, _| {
                        Ok(Changed::none(change.cut_log(before, newest, CUT)?))
                    })?;
                    total += done.value as u64;
                    if done.value < CUT {
                        break;
                    }
                    sync::sleep(PAUSE);
                }
            }
            Ok(total)
        })
    }
}
