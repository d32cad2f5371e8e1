//! The change log: one entry for each committed write transaction, chained by MACs.
//!
//! An entry's MAC covers the MAC of the entry before it, and the description holds the last one. So an entry that is
//! altered, removed, moved or doubled breaks the chain, and a log without its end doesn't fit the description.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::time::Duration;

use super::backend::{ChangeRow, Wanted};
use super::change::{Change, Commit};
use super::entry::{Link, LogEntry, LogState, Refusal};
use super::handle::Store;
use super::sealing::{Columns, Sealing, Stored};
use super::shard::Shard;
use super::state::Head;
use super::unchecked::unchecked;
use super::view::View;
use crate::crypto::openssl;
use crate::domain::id::{ChangeId, KeyId, VersionId};
use crate::domain::log::{Actor, ChangeAction, LoggedChange};
use crate::domain::time::{Now, Time};
use crate::error::{Error, Result, Status};
use crate::sys::{clocks, memory, waiting};

impl Sealing {
    /// The link of an entry that follows the one with the link `before`.
    pub fn link(&mut self, before: &Link, row: &ChangeRow) -> Result<Link> {
        let mut columns = Columns::default();
        columns.bytes(before).number(row.generation).bytes(&row.change_id).number(row.at_ms).number(row.boot_ms);
        columns.number(row.pid).number(row.uid).bytes(row.program.as_bytes());
        columns.optional_bytes(row.label.as_ref().map(String::as_bytes)).bytes(row.action.as_bytes());
        columns.optional_bytes(row.key.as_ref().map(|id| id.as_slice()));
        columns.optional_bytes(row.version.as_ref().map(|id| id.as_slice())).number(row.count).number(row.status);
        columns.number(row.omitted).optional(row.waited_ms);
        self.mac(b"change", &columns)
    }
}

/// A walk along the chain, and the entry that it has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    pub at: i64,
    pub link: Link,
}

impl Walk {
    /// Advances to the next entry. Returns what is wrong with it unless it is the one that follows.
    pub fn step(&mut self, sealing: &mut Sealing, row: &ChangeRow) -> Result<Option<Error>> {
        let (before, link) = (self.at, sealing.link(&self.link, row)?);
        (self.at, self.link) = (row.generation, row.mac);
        Ok(match row.generation.checked_sub(before) {
            _ if unchecked() => None,
            Some(1) if openssl::equal(&link, &row.mac) => None,
            Some(1) => Some(altered(row.generation)),
            _ => Some(gone(before, Some(row.generation))),
        })
    }

    /// What is wrong with the end of a log whose newest entry this is.
    pub fn end(&self, state: &LogState, generation: i64) -> Option<Error> {
        match (self.at == generation, openssl::equal(&self.link, &state.head)) {
            _ if unchecked() => None,
            (true, true) => None,
            (true, false) => Some(altered(generation)),
            (false, _) => Some(gone(self.at, None)),
        }
    }
}

fn altered(generation: i64) -> Error {
    Status::KeystoreCorrupt.error(format!(
        "entry {generation} of the change log was altered, moved or put back; restore the keystore from a backup"
    ))
}

fn gone(before: i64, after: Option<i64>) -> Error {
    let where_ = match after {
        Some(after) => format!("between the entries {before} and {after}"),
        None => format!("after entry {before}"),
    };
    Status::KeystoreCorrupt.error(format!(
        "the change log was altered {where_}: entries are gone or out of order; restore the keystore from a backup"
    ))
}

impl View<'_> {
    /// Where a shard's log begins and ends; none in a keystore of format 1.
    pub(super) fn log_state(&mut self, shard: Shard) -> Result<Option<LogState>> {
        LogState::of(self.shard(shard)?.meta.log.as_deref())
    }

    /// The entries after `known`, or from the oldest; at most `limit`, which must not be 0, and fewer only at the end.
    /// Entries are authentic and follow each other, and the newest is the keystore's newest. In a walk, the link is
    /// compared too. Each shard has its own log; the logs come in the order of shards, which is that of generations.
    pub fn changes_after(
        &mut self,
        known: Option<i64>,
        walked: Option<Link>,
        limit: usize,
    ) -> Result<Vec<LoggedChange>> {
        let first = known.and_then(|known| self.shards.of_generation(known)).unwrap_or(Shard::FIRST);
        let mut changes = self.changes_of(first, known, walked, limit)?;
        for shard in self.shards.from(first).skip(1) {
            let left = limit.saturating_sub(changes.len());
            if left == 0 {
                break;
            }
            changes.extend(self.changes_of(shard, None, None, left)?);
        }
        Ok(changes)
    }

    /// The newest entries up to `end` of each of these shards, oldest first; without an end, up to the newest. They are
    /// `limit` entries of each shard, and fewer only where its log begins.
    pub fn changes_until(&mut self, parts: &[(Shard, Option<i64>)], limit: usize) -> Result<Vec<Vec<LoggedChange>>> {
        let shards: Vec<Shard> = parts.iter().map(|(shard, _)| *shard).collect();
        self.rows.backend.prefetch(Wanted::Shards(&shards))?;
        let (mut spans, mut wanted) = (Vec::new(), Vec::new());
        for (shard, end) in parts {
            let newest = self.head(*shard)?.generation;
            let base = self.log_state(*shard)?.map_or(newest, |state| state.base);
            let end = end.map_or(newest, |end| end.min(newest));
            let len = usize::try_from(end - base).unwrap_or(0).min(limit);
            let after = end - i64::try_from(len).unwrap_or(0);
            // One more than the newest, which must not be there.
            let limit = len + usize::from(end == newest);
            spans.push((*shard, after, limit));
            if limit > 0 {
                wanted.push((*shard, if after > base { after } else { i64::MIN }, limit + 1));
            }
        }
        self.rows.backend.prefetch(Wanted::Changes(&wanted))?;
        let read = |(shard, after, limit)| match limit {
            0 => Ok(Vec::new()),
            limit => self.changes_of(shard, Some(after), None, limit),
        };
        spans.into_iter().map(read).collect()
    }

    /// How many entries the logs of all shards have. Each generation has one.
    pub fn log_len(&mut self) -> Result<u64> {
        let shards: Vec<Shard> = self.shards.all().collect();
        self.rows.backend.prefetch(Wanted::Shards(&shards))?;
        let mut len = 0;
        for shard in shards {
            let newest = self.head(shard)?.generation;
            let base = self.log_state(shard)?.map_or(newest, |state| state.base);
            len += u64::try_from(newest - base).unwrap_or(0);
        }
        Ok(len)
    }

    /// As [`Self::changes_after`], of one shard.
    pub(super) fn changes_of(
        &mut self,
        shard: Shard,
        known: Option<i64>,
        walked: Option<Link>,
        limit: usize,
    ) -> Result<Vec<LoggedChange>> {
        let newest = self.head(shard)?.generation;
        let Some(state) = self.log_state(shard)? else {
            return match self.rows.backend.changes_from(shard, i64::MIN, 1)?.first() {
                Some(row) if !unchecked() => Err(altered(row.generation)),
                _ => Ok(Vec::new()),
            };
        };
        let known = known.filter(|known| *known > state.base);
        if known.is_some_and(|known| known > newest) {
            return Ok(Vec::new());
        }
        let rows = self.rows.backend.changes_from(shard, known.unwrap_or(i64::MIN), limit.saturating_add(1))?;
        let is_last = rows.len() <= limit;
        let mut rows = rows.into_iter();
        let mut walk = Walk { at: state.base, link: state.before };
        if let Some(known) = known {
            walk = match rows.next() {
                Some(row) if row.generation == known && walked.is_none_or(|link| link == row.mac) => {
                    Walk { at: known, link: row.mac }
                }
                _ => return Err(altered(known)),
            };
        }
        let mut changes = memory::list(rows.len().min(limit))?;
        for row in rows.take(limit) {
            let before = walk.link;
            if let Some(error) = walk.step(self.rows.sealing, &row)? {
                return Err(error);
            }
            changes.push(logged(row, before)?);
        }
        if is_last || walk.at >= newest {
            walk.end(&state, newest).map_or(Ok(()), Err)?;
        }
        Ok(changes)
    }
}

impl View<'_> {
    /// Whether an entry that came from outside is one that this keystore wrote.
    pub fn is_authentic(&mut self, change: &LoggedChange) -> Result<bool> {
        let Some(row) = row(change) else { return Ok(false) };
        let link = self.rows.sealing.link(&change.previous_mac, &row)?;
        Ok(unchecked() || openssl::equal(&link, &change.mac))
    }

    /// How many entries follow an authentic one; `None` if the log has another in its place. What was cut counts as there.
    pub fn entries_after(&mut self, change: &LoggedChange) -> Result<Option<u64>> {
        let Ok(at) = i64::try_from(change.generation) else { return Ok(None) };
        let Some(shard) = self.shards.of_generation(at) else { return Ok(None) };
        let Some(state) = self.log_state(shard)? else { return Ok(None) };
        let held = match at.cmp(&state.base) {
            Less => None,
            Equal => Some(state.before),
            Greater => match self.rows.backend.changes_from(shard, at, 1)?.first() {
                Some(row) if row.generation == at => Some(row.mac),
                _ => return Ok(None),
            },
        };
        let is_held = held.is_none_or(|mac| mac == change.mac);
        let newest = self.head(shard)?.generation;
        Ok(is_held.then(|| u64::try_from(newest - at).unwrap_or(0)))
    }
}

/// As a row; `None` for numbers that no row has.
fn row(change: &LoggedChange) -> Option<ChangeRow> {
    let signed = |number: u64| i64::try_from(number).ok();
    Some(ChangeRow {
        generation: signed(change.generation)?,
        change_id: *change.id.as_bytes(),
        at_ms: change.time.millis(),
        boot_ms: change.boot_ms,
        pid: change.actor.process_id.into(),
        uid: change.actor.user_id.into(),
        program: change.actor.program.clone(),
        label: change.actor.label.clone(),
        action: change.action.clone(),
        key: change.key.map(|id| *id.as_bytes()),
        version: change.version.map(|id| *id.as_bytes()),
        count: signed(change.count)?,
        status: change.status.into(),
        omitted: signed(change.refusals_omitted)?,
        waited_ms: change.waited_ms,
        mac: change.mac,
    })
}

fn logged(row: ChangeRow, before: Link) -> Result<LoggedChange> {
    let unknown = || altered(row.generation);
    let number = |value: i64| u64::try_from(value).map_err(|_| unknown());
    let id = |value: i64| u32::try_from(value).map_err(|_| unknown());
    Ok(LoggedChange {
        generation: row.generation.cast_unsigned(),
        id: ChangeId::from_bytes(row.change_id),
        time: Time::from_millis(row.at_ms),
        boot_ms: row.boot_ms,
        actor: Actor { process_id: id(row.pid)?, user_id: id(row.uid)?, program: row.program, label: row.label },
        action: row.action,
        key: row.key.map(KeyId::from_bytes),
        version: row.version.map(VersionId::from_bytes),
        count: number(row.count)?,
        status: i32::try_from(row.status).map_err(|_| altered(row.generation))?,
        refusals_omitted: number(row.omitted)?,
        waited_ms: row.waited_ms,
        mac: row.mac,
        previous_mac: before,
    })
}

impl Change<'_> {
    /// The time of the transaction.
    pub(super) fn now(&self) -> Now {
        self.entry.at
    }

    /// Appends what the entry says so far of a key, and begins another of the same transaction.
    pub fn begin_entry(&mut self, stored: &Stored) -> Result<()> {
        // The last one has the count of refusals.
        let omitted = std::mem::take(&mut self.entry.omitted);
        let shard = self.shard_of(stored);
        self.append_entry(shard)?;
        self.touch(shard)?.appended += 1;
        let LogEntry { action, at, actor, status, .. } = &self.entry;
        self.entry = LogEntry { status: *status, ..LogEntry::new(*action, *at, actor.clone(), omitted) };
        Ok(())
    }

    /// Appends the transaction's entry to the log of a shard that it changes. Called when all else is written.
    pub(super) fn append_entry(&mut self, shard: Shard) -> Result<()> {
        let Self { view, entry, .. } = self;
        let open = view.shard(shard)?;
        let (before, next) = (open.head.generation, open.next_generation());
        let mut state = view.log_state(shard)?.unwrap_or(LogState::new(before));
        let mut row = entry.row(next)?;
        row.mac = view.rows.sealing.link(&state.head, &row)?;
        view.rows.backend.insert_change(&row)?;
        state.head = row.mac;
        view.shard(shard)?.meta.log = Some(state.to_bytes());
        Ok(())
    }

    /// Removes at most `most` entries of a shard's log from the oldest on, up to the first that is not before `date` or is
    /// after the generation `newest`. The chain continues from the last removed entry, which must be authentic.
    pub fn cut_log(&mut self, date: Time, newest: Head, most: usize) -> Result<usize> {
        let shard = newest.shard;
        let Some(mut state) = self.view.log_state(shard)? else { return Ok(0) };
        let rows = self.view.rows.backend.changes_from(shard, i64::MIN, most)?;
        let mut walk = Walk { at: state.base, link: state.before };
        let mut cut = 0;
        let goes = |row: &&ChangeRow| Time::from_millis(row.at_ms) < date && row.generation <= newest.generation;
        for row in rows.iter().take_while(goes) {
            if let Some(error) = walk.step(self.view.rows.sealing, row)? {
                return Err(error);
            }
            cut += 1;
        }
        if cut == 0 {
            return Ok(0);
        }
        if self.view.rows.backend.delete_changes(shard, walk.at)? != cut && !unchecked() {
            return Err(altered(walk.at));
        }
        (state.base, state.before) = (walk.at, walk.link);
        self.touch(shard)?.meta.log = Some(state.to_bytes());
        self.entry.count = cut as u64;
        Ok(cut)
    }

    /// What the entry says instead of the action that was called, and of the keys that were changed.
    pub fn log_as(&mut self, action: ChangeAction, key: Option<KeyId>, count: u64) {
        (self.entry.action, self.entry.key, self.entry.count) = (action, key, count);
    }

    /// Names a key that the change is about and that it does not change itself.
    pub fn log_key(&mut self, key: &KeyId) {
        self.entry.touch(key);
    }

    /// Names the version that the change is about.
    pub fn log_version(&mut self, version: &VersionId) {
        self.entry.version = Some(*version);
    }

    /// How long a key or a version waited for its destruction.
    pub fn log_waited(&mut self, waited_ms: i64) {
        self.entry.waited_ms = Some(waited_ms);
    }

    /// Makes the entry that of a refused call.
    pub fn log_refusal(&mut self, status: Status) {
        self.entry.status = Some(status);
    }
}

/// For so long a refusal waits for other processes: its caller waits with it.
const PATIENCE: Duration = Duration::from_millis(250);

impl Store {
    /// Logs a refused call in a separate transaction, if it can: a failure to log is not reported to the caller.
    pub fn log_refusal(
        &self,
        refusal: Refusal,
        now: impl FnOnce() -> Now,
        publish: impl FnOnce(Commit) -> bool,
        announced: impl FnOnce(u64),
    ) {
        // A call that must not wait is made again, and logged then.
        if self.is_read_only() || waiting::allowed().is_err() {
            return;
        }
        let logged = match self.refusals.may_log(clocks::coarse_ms()) {
            true => {
                let patience = self.settings.patience.min(PATIENCE);
                let body = |change: &mut Change<'_>, _: &Now| change.refuse(refusal);
                self.write_within(patience, refusal.action, now, body, |(), commit| publish(commit), announced)
            }
            false => Err(Error::new(Status::LimitExceeded, "")),
        };
        if logged.is_err() {
            self.refusals.omit();
        }
    }

    /// Logs how many refusals have no entry, when no other entry of this handle will. Waits no longer than a refusal.
    pub fn log_omitted(
        &self,
        now: impl FnOnce() -> Now,
        publish: impl FnOnce(Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<()> {
        if self.refusals.omitted() == 0 || self.is_read_only() {
            return Ok(());
        }
        let body = |change: &mut Change<'_>, _: &Now| change.entry_only(Shard::FIRST).map(drop);
        let patience = self.settings.patience.min(PATIENCE);
        self.write_within(patience, ChangeAction::RecordRefusals, now, body, |(), commit| publish(commit), announced)
    }
}

impl Change<'_> {
    /// Makes the transaction nothing but an entry. A keystore of format 1 has no log, and no such entry upgrades it; whether
    /// it has one.
    fn entry_only(&mut self, shard: Shard) -> Result<bool> {
        let has_log = self.view.shard(shard)?.meta.log.is_some();
        if has_log {
            self.touch(shard)?;
        }
        Ok(has_log)
    }

    /// Makes the transaction nothing but the entry of a refused call.
    fn refuse(&mut self, refusal: Refusal) -> Result<()> {
        let shard = refusal.key.map_or(Shard::FIRST, |key| self.view.shards.of_name(key.as_bytes()));
        if !self.entry_only(shard)? {
            return Ok(());
        }
        self.entry.status = Some(refusal.status);
        if let Some(key) = &refusal.key {
            self.entry.touch(key);
        }
        Ok(())
    }
}
