//! C_SetPIN: another passphrase for the root slot that the old one opens.

use cryptoki_sys::*;
use kms::{Options, Status};

use crate::config::SlotConfig;
use crate::fail::{Fail, Result};
use crate::state;

/// The longest PIN, as C_GetTokenInfo says it.
pub const MOST_BYTES: usize = 255;

pub fn change(session: CK_SESSION_HANDLE, old: &[u8], new: &[u8]) -> Result<()> {
    let (config, writable, may_start_threads) = state::with(|state| {
        let access = state.access(session)?;
        Ok((state.slot_of(session)?.config.clone(), access.writable, state.may_start_threads()))
    })?;
    // A user who may read the root key file needs no PIN, and none can be set.
    if !config.needs_pin() {
        return Err(Fail(CKR_FUNCTION_NOT_SUPPORTED));
    }
    if !writable {
        return Err(Fail(CKR_SESSION_READ_ONLY));
    }
    if old.is_empty() {
        return Err(Fail(CKR_PIN_INCORRECT));
    }
    if !(1..=MOST_BYTES).contains(&new.len()) {
        return Err(Fail(CKR_PIN_LEN_RANGE));
    }
    change_passphrase(&config, old, new, may_start_threads)
}

/// Adds a slot for the new passphrase before it removes that of the old one: after a crash in between, both open, and the same
/// call again ends it. Other root slots, such as one for recovery, stay. Argon2id takes a fraction of a second for each.
fn change_passphrase(config: &SlotConfig, old: &[u8], new: &[u8], may_start_threads: bool) -> Result<()> {
    let keystore = state::open(config, Some(old), may_start_threads)?;
    if old == new {
        return Ok(());
    }
    let slots = keystore.list_root_slots()?;
    let opened = slots.iter().find(|slot| slot.opened_this_handle).ok_or(Fail(CKR_PIN_INCORRECT))?;
    let added = keystore.add_root_slot(&Options::new().root_passphrase(new), opened.label.as_deref());
    match added {
        // The new passphrase opens a slot already.
        Err(error) if error.status() == Status::RootSlotExists => {}
        // There are 8.
        Err(error) if error.status() == Status::LimitExceeded => return Err(Fail(CKR_FUNCTION_FAILED)),
        added => drop(added?),
    }
    keystore.remove_root_slot(&opened.id.to_string())?;
    Ok(())
}
