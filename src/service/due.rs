//! What the clock does to one key that is due: dates are confirmed, versions made, keys and versions destroyed.

use zeroize::Zeroizing;

use super::Core;
use super::backup::BackupStatus;
use super::event::{Event, EventKind};
use crate::domain::deadline::DeadlineStatus;
use crate::domain::deletion::Deletion;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::log::ChangeAction;
use crate::domain::rotation::RotationStatus;
use crate::domain::state::{self, Operation};
use crate::domain::time::{Now, Time};
use crate::error::Result;
use crate::store::{Change, Stored};
use crate::sys::random;

/// What a pass changed about one due key.
pub(super) enum KeyOutcome {
    Rotated(Stored, Vec<Event>),
    /// The key as it is now, with the events to report.
    Updated(Stored, Vec<Event>),
    /// The destroyed key, with its counted waiting period in milliseconds.
    Destroyed(KeyId, i64),
    Nothing,
}

/// Whether [`process_due_key`] would destroy the key or one of its versions, or erase its material.
pub(super) fn is_irreversible(core: &Core, stored: &Stored, now: &Now) -> bool {
    let expiry = stored.key.imported.and_then(|imported| imported.expiry);
    let mut versions = stored.records.all().iter().filter_map(|record| record.deletion);
    let acts = |deletion: Deletion| {
        deletion.status(now) == DeadlineStatus::Act && core.may_continue(deletion.is_of_another_boot(now))
    };
    stored.key.deletion.is_some_and(acts)
        || expiry.is_some_and(|expiry| {
            expiry.status(now) == DeadlineStatus::Act && core.may_continue(expiry.is_of_another_boot(now))
        })
        || versions.any(acts)
}

/// Processes one key inside the write transaction, if it still is due. The change log's entry is about this key.
///
/// What cannot be undone has its own entry, so nothing else is done in the same transaction.
pub(super) fn process_due_key(
    core: &Core,
    change: &mut Change<'_>,
    mut stored: Stored,
    now: &Now,
) -> Result<KeyOutcome> {
    let id = stored.key.id;
    let event = |kind| Event::new(kind, now.wall).of_key(id);
    let (mut events, mut changed) = (Vec::new(), false);
    let deletion = stored.key.deletion.as_mut();
    if let Some(deletion) = deletion.filter(|deletion| core.may_continue(deletion.is_of_another_boot(now))) {
        match deletion.status(now) {
            DeadlineStatus::Act => {
                let waited = deletion.counted_ms(now);
                change.log_as(ChangeAction::DeleteKey, Some(id), 1);
                change.log_waited(waited);
                Core::destroy(change, &stored)?;
                return Ok(KeyOutcome::Destroyed(id, waited));
            }
            DeadlineStatus::Confirmed => {
                (deletion.confirmation, changed) = (Some(*now), true);
                events.push(event(EventKind::DeletionDue));
            }
            DeadlineStatus::Refuted => (deletion.confirmation, changed) = (None, true),
            DeadlineStatus::Wait => {}
        }
        if deletion.counts(now) {
            deletion.count(now);
            changed = true;
        }
    }
    // A key can have both dates.
    let expiry = stored.key.imported.as_mut().and_then(|imported| imported.expiry.as_mut());
    let expiry = expiry.filter(|expiry| core.may_continue(expiry.is_of_another_boot(now)));
    match expiry.map(|expiry| (expiry.status(now), expiry)) {
        Some((DeadlineStatus::Act, _)) => {
            change.log_as(ChangeAction::DeleteExpiredKeyMaterial, Some(id), 1);
            change.erase_material(&mut stored)?;
            stored = without_material(stored)?;
            events.push(event(EventKind::MaterialExpired));
            return Ok(KeyOutcome::Updated(change.update(stored)?, events));
        }
        Some((DeadlineStatus::Confirmed, expiry)) => (expiry.confirmation, changed) = (Some(*now), true),
        Some((DeadlineStatus::Refuted, expiry)) => (expiry.confirmation, changed) = (None, true),
        Some((DeadlineStatus::Wait, _)) | None => {}
    }
    if let Some(destroyed) = process_due_versions(core, change, &mut stored, now, &mut events)? {
        changed = true;
        if destroyed {
            return Ok(KeyOutcome::Updated(change.update(stored)?, events));
        }
    }
    match stored.key.schedule().status(now.wall) {
        RotationStatus::Due => match core.backup_status(&stored.key, now.wall) {
            BackupStatus::Wait => {}
            status => {
                if let Some(primary) = stored.key.primary.filter(|_| status == BackupStatus::Missing) {
                    events.push(event(EventKind::RotatedWithoutBackup).of_version(Some(primary.id)));
                }
                change.log_as(ChangeAction::RotateKeyAuto, Some(id), 1);
                return Ok(KeyOutcome::Rotated(new_version(change, stored, now.wall)?, events));
            }
        },
        RotationStatus::FutureLast => {
            (stored.key.future_noticed, changed) = (Some(now.wall), true);
            events.push(event(EventKind::ClockSuspect));
        }
        RotationStatus::NoteVoid => (stored.key.future_noticed, changed) = (None, true),
        RotationStatus::NotDue => {}
    }
    Ok(if changed { KeyOutcome::Updated(change.update(stored)?, events) } else { KeyOutcome::Nothing })
}

/// Versions of a key that one transaction destroys. It reads all that have material, once.
const DESTROYED_AT_ONCE: usize = 128;

/// Processes the versions whose deletion is pending, in every state of their key. Each that is destroyed has an entry of the
/// change log. Returns whether one was destroyed; `None` if nothing changed. [`Change::update`] must follow
/// a change.
fn process_due_versions(
    core: &Core,
    change: &mut Change<'_>,
    stored: &mut Stored,
    now: &Now,
    events: &mut Vec<Event>,
) -> Result<Option<bool>> {
    let id = stored.key.id;
    let event = |kind| Event::new(kind, now.wall).of_key(id);
    let (mut updated, mut due) = (Vec::new(), Vec::new());
    for record in stored.records.all() {
        let (mut record, before) = (*record, *record);
        let deletion = record.deletion.as_mut();
        let Some(deletion) = deletion.filter(|deletion| core.may_continue(deletion.is_of_another_boot(now))) else {
            continue;
        };
        match deletion.status(now) {
            DeadlineStatus::Act => {
                if due.len() < DESTROYED_AT_ONCE {
                    due.push((record.number, deletion.counted_ms(now)));
                }
                continue;
            }
            DeadlineStatus::Confirmed => {
                deletion.confirmation = Some(*now);
                let version = change.version_at(stored, record.number)?;
                events.push(event(EventKind::VersionDeletionDue).of_version(Some(version.id)));
            }
            DeadlineStatus::Refuted => deletion.confirmation = None,
            DeadlineStatus::Wait => {}
        }
        if deletion.counts(now) {
            deletion.count(now);
        }
        if record != before {
            updated.push(record);
        }
    }
    if !updated.is_empty() {
        change.put_records(stored, &updated)?;
    }
    if due.is_empty() {
        return Ok((!updated.is_empty()).then_some(false));
    }
    let numbers: Vec<u64> = due.iter().map(|(number, _)| *number).collect();
    let destroyed = change.destroy_versions(stored, &numbers)?;
    for (at, (version, (_, waited))) in destroyed.iter().zip(due).enumerate() {
        if at > 0 {
            change.begin_entry(stored)?;
        }
        change.log_as(ChangeAction::DeleteKeyVersion, Some(id), 1);
        change.log_version(&version.id);
        change.log_waited(waited);
        events.push(event(EventKind::VersionDestroyed).of_version(Some(version.id)).waited(waited));
    }
    Ok(Some(true))
}

/// The key as it is once its imported material was taken away.
pub(super) fn without_material(mut stored: Stored) -> Result<Stored> {
    stored.key.state = state::after(stored.key.state, Operation::DeleteKeyMaterial, false)?;
    if let Some(imported) = &mut stored.key.imported {
        imported.erase();
    }
    Ok(stored)
}

/// The key with a new version, its primary from now on.
pub(super) fn new_version(change: &mut Change<'_>, stored: Stored, now: Time) -> Result<Stored> {
    let material = Zeroizing::new(random::array::<32>()?);
    let id = VersionId::from_random(random::array()?);
    change.log_version(&id);
    change.rotate(stored, id, &material, now)
}
