//! The change log.

use std::ffi::{CString, c_char, c_void};
use std::ptr::null;

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{id_text, kms_logged_change, kms_visit_change_fn};
use crate::domain::log::LoggedChange;
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};
use crate::service::ListChanges;

/// kms_list_changes passes at most `limit` entries of the change log to `visit`, oldest first, until `visit` returns a
/// value other than 0. `key_id` selects the entries of one key; NULL selects all. `from_ms` selects entries from that
/// time on, `to_ms` entries before that time; 0 means no bound. `after_generation` selects entries of later
/// generations; 0 means no bound. Times are Unix milliseconds, UTC.
///
/// Each committed change of the keystore has one entry. Each refused management call has one too, up to 10 a second for
/// each handle. Encryption and decryption are not logged. To continue a list, pass the generation of the last entry
/// seen. The key may no longer exist.
///
/// The call checks the log as it reads: it fails with KMS_KEYSTORE_CORRUPT if an entry was altered, moved or removed.
/// No lock is held while `visit` runs. May be called concurrently on one handle.
///
///     static int32_t print(void *user, const kms_logged_change *change) {
///         (void)user;
///         return printf("%s %s\n", change->action, change->key_id != NULL ? change->key_id : "") < 0;
///     }
///     kms_list_changes(kms, NULL, 0, 0, 0, SIZE_MAX, print, NULL);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_list_changes(
    kms: *const kms_t,
    key_id: *const c_char,
    from_ms: i64,
    to_ms: i64,
    after_generation: u64,
    limit: usize,
    visit: kms_visit_change_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let visit = visit.ok_or_else(|| Status::InvalidArgument.error("visit is NULL"))?;
        let time = |ms: i64| (ms != 0).then(|| Time::from_millis(ms));
        let key_id = ptr::optional_text(key_id, "key_id")?;
        let after = (after_generation > 0).then_some(after_generation);
        let which = ListChanges { key: None, from: time(from_ms), to: time(to_ms), after };
        kms.list_changes(key_id, which, limit, |change| Ok(show(change, |shown| visit(user, shown))? == 0))
    })
}

/// kms_cut_changes removes the entries of the change log that are older than `before_ms`, in Unix milliseconds, UTC.
/// `removed` receives their number; it may be NULL. The rest of the log continues from a checkpoint: the generation and
/// MAC of the last removed entry. The log has an entry for the cut.
///
/// The call removes entries from the oldest up to the first that is not older. Export them first. If the log was
/// altered, the call fails with KMS_KEYSTORE_CORRUPT and does not cut it. A long log is cut in several transactions, so
/// a failed call may have removed some.
///
///     kms_cut_changes(kms, (int64_t)(time(NULL) - 365 * 86400) * 1000, NULL);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_cut_changes(kms: *const kms_t, before_ms: i64, removed: *mut u64) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        ptr::write_if(removed, 0);
        ptr::write_if(removed, handle(kms)?.cut_changes(Time::from_millis(before_ms))?);
        Ok(())
    })
}

/// Passes the entry as C has it to `visit`.
fn show(change: &LoggedChange, visit: impl FnOnce(&kms_logged_change) -> i32) -> Result<i32> {
    let text = |text: &str| CString::new(text).map_err(|_| has_nul(change));
    let (program, action) = (text(&change.actor.program)?, text(&change.action)?);
    let label = change.actor.label.as_deref().map(text).transpose()?;
    let key_id = change.key.map(id_text);
    let version_id = change.version.map(id_text);
    Ok(visit(&kms_logged_change {
        struct_size: size_of::<kms_logged_change>() as u32,
        status: change.status,
        generation: change.generation,
        change_id: id_text(change.id),
        time_ms: change.time.millis(),
        boot_ms: change.boot_ms,
        process_id: change.actor.process_id,
        user_id: change.actor.user_id,
        program: program.as_ptr(),
        actor: label.as_ref().map_or(null(), |label| label.as_ptr()),
        action: action.as_ptr(),
        key_id: key_id.as_ref().map_or(null(), |text| text.as_ptr()),
        version_id: version_id.as_ref().map_or(null(), |text| text.as_ptr()),
        count: change.count,
        refusals_omitted: change.refusals_omitted,
        waited_ms: change.waited_ms.unwrap_or(0),
        mac: change.mac,
        previous_mac: change.previous_mac,
    }))
}

/// The library writes no such text.
fn has_nul(change: &LoggedChange) -> Error {
    Status::KeystoreCorrupt.error(format!(
        "entry {} of the change log has a text with NUL; restore the keystore from a backup",
        change.generation
    ))
}
