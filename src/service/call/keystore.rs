//! The actions on the keystore as a whole, all of them libkms's own.

use serde_json::{Value, json};

use super::request::{Request, invalid, missing};
use super::show::{date, object};
use super::{Keystore, Response};
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};
use crate::service::{Health, Options, TickReport};
use crate::store::{Fault, RootKind, RootSlot};

/// Faults that an error body lists at most.
const MOST_FAULTS: usize = 1000;

pub fn tick(kms: &Keystore, request: &mut Request) -> Result<Response> {
    request.finish()?;
    let TickReport { rotated, destroyed, versions_destroyed, damaged } = kms.tick()?;
    Ok(object([
        ("Rotated", rotated.into()),
        ("Destroyed", destroyed.into()),
        ("VersionsDestroyed", versions_destroyed.into()),
        ("Damaged", damaged.into()),
    ]))
}

pub fn health(kms: &Keystore, request: &mut Request) -> Result<Response> {
    request.finish()?;
    // Taken apart, so that a new field can't be forgotten here.
    let Health {
        memory_not_locked,
        cipher_memory_unprotected,
        slow_cpu,
        keystore_replaced,
        path_unverified,
        polling,
        rotation_failing,
        thread_stopped,
        read_only,
        no_rotation_thread,
        thread_not_started,
        thread_stalled,
        events_dropped,
        rotations,
        rotation_failures,
        keys_destroyed,
        versions_destroyed,
        keys_cached,
        generation,
        keystore_unavailable,
        host_clock_wrong,
        polls,
        absences,
        rolled_back,
        rollbacks,
        age_ms,
        clock_ahead_ms,
    } = kms.health()?;
    Ok(object([
        ("MemoryNotLocked", memory_not_locked.into()),
        ("CipherMemoryUnprotected", cipher_memory_unprotected.into()),
        ("SlowCpu", slow_cpu.into()),
        ("KeystoreReplaced", keystore_replaced.into()),
        ("PathUnverified", path_unverified.into()),
        ("Polling", polling.into()),
        ("RotationFailing", rotation_failing.into()),
        ("ThreadStopped", thread_stopped.into()),
        ("ReadOnly", read_only.into()),
        ("NoRotationThread", no_rotation_thread.into()),
        ("ThreadNotStarted", thread_not_started.into()),
        ("ThreadStalled", thread_stalled.into()),
        ("Rotations", rotations.into()),
        ("RotationFailures", rotation_failures.into()),
        ("KeysDestroyed", keys_destroyed.into()),
        ("VersionsDestroyed", versions_destroyed.into()),
        ("EventsDropped", events_dropped.into()),
        ("KeysCached", keys_cached.into()),
        ("Generation", generation.into()),
        ("KeystoreUnavailable", keystore_unavailable.into()),
        ("HostClockWrong", host_clock_wrong.into()),
        ("Polls", polls.into()),
        ("Absences", absences.into()),
        ("RolledBack", rolled_back.into()),
        ("Rollbacks", rollbacks.into()),
        ("AgeMs", age_ms.into()),
        ("ClockAheadMs", clock_ahead_ms.into()),
    ]))
}

pub fn backup(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let path = path(request, "Path")?.ok_or_else(|| invalid("Path"))?;
    request.finish()?;
    kms.backup(path).map(|()| Response::new())
}

/// Fails where `kms_verify` does; the faults are then in the error body.
pub fn verify(kms: &Keystore, request: &mut Request) -> Result<Response> {
    request.finish()?;
    let (mut faults, mut count) = (Vec::new(), 0usize);
    let done = kms.verify(|fault| {
        count += 1;
        if faults.len() < MOST_FAULTS {
            faults.push(shown(fault));
        }
        true
    });
    let report = object([("Faults", json!({ "Fault": faults })), ("TotalCount", count.into())]);
    match done {
        Ok(()) => Ok(report),
        Err(error) => {
            request.explain(report);
            Err(error)
        }
    }
}

fn shown(fault: &Fault) -> Value {
    let mut shown = error(&fault.error);
    if let Some(key) = fault.key {
        shown.insert("KeyId".into(), key.to_string().into());
    }
    Value::Object(shown)
}

/// Code and Message, as an error body has them.
pub fn error(error: &Error) -> Response {
    object([("Code", error.status().code().into()), ("Message", error.to_string().into())])
}

pub fn change_root(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let options = root(request)?;
    request.finish()?;
    kms.change_root(&options).map(|()| Response::new())
}

pub fn add_root_slot(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let options = root(request)?;
    let label = request.optional_text("Label")?;
    request.finish()?;
    let id = kms.add_root_slot(&options, label.as_deref())?;
    Ok(object([("RootSlotId", id.to_string().into())]))
}

pub fn remove_root_slot(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let id = request.text("RootSlotId")?;
    request.finish()?;
    kms.remove_root_slot(&id).map(|()| Response::new())
}

pub fn list_root_slots(kms: &Keystore, request: &mut Request) -> Result<Response> {
    request.finish()?;
    let shown = |slot: RootSlot| {
        let kind = match slot.kind {
            RootKind::Key => "KEY",
            RootKind::Passphrase => "PASSPHRASE",
            RootKind::Callback => "CALLBACK",
        };
        let mut shown = object([
            ("RootSlotId", slot.id.to_string().into()),
            ("Kind", kind.into()),
            ("OpenedThisHandle", slot.opened_this_handle.into()),
        ]);
        if let Some(created) = slot.created {
            shown.insert("CreationDate".into(), date(created));
        }
        if let Some(label) = slot.label {
            shown.insert("Label".into(), label.into());
        }
        Value::Object(shown)
    };
    let slots: Vec<Value> = kms.list_root_slots()?.into_iter().map(shown).collect();
    Ok(object([("RootSlots", json!({ "RootSlot": slots }))]))
}

/// Exactly one root. A callback is a function, which JSON can't name.
fn root(request: &mut Request) -> Result<Options> {
    let mut options = Options::new();
    let mut given = 0;
    if let Some(key) = request.optional_bytes("RootKey")? {
        (options, given) = (options.root_key(&key), given + 1);
    }
    if let Some(passphrase) = request.optional_bytes("RootPassphrase")? {
        (options, given) = (options.root_passphrase(&passphrase), given + 1);
    }
    if let Some(path) = path(request, "RootKeyFile")? {
        (options, given) = (options.root_key_file(path), given + 1);
    }
    let create = request.optional_flag("CreateRootKeyFile")?.unwrap_or(false);
    match given {
        1 => Ok(options.create(create)),
        0 => Err(Status::MissingParameter
            .error("no root: pass RootKey, RootPassphrase or RootKeyFile; a callback needs kms_change_root")),
        _ => Err(Status::InvalidArgument.error("more than one root: pass one of RootKey, RootPassphrase, RootKeyFile")),
    }
}

pub fn cut_changes(kms: &Keystore, request: &mut Request) -> Result<Response> {
    let before = request.optional_integer("EndTime")?.ok_or_else(|| missing("EndTime"))?;
    request.finish()?;
    let removed = kms.cut_changes(Time::from_millis(before))?;
    Ok(object([("Removed", removed.into())]))
}

/// A path is never empty.
pub fn path(request: &mut Request, name: &str) -> Result<Option<String>> {
    match request.optional_text(name)? {
        Some(path) if path.is_empty() => Err(invalid(name)),
        path => Ok(path),
    }
}
