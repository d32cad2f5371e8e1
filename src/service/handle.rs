//! The handle of an open keystore: what it is in each process that has it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::open::Options;
use super::shared::Core;
use crate::domain::log::ChangeAction;
use crate::error::Result;
use crate::sys::fork::PerProcess;
use crate::sys::waiting;

/// An open keystore.
///
/// All threads of a program share one handle: each call takes `&self` and may run concurrently with any other. After a
/// fork, parent and child use the handle independently of each other. Dropping it stops the rotation thread and wipes
/// all key material.
///
/// # Errors
/// Any call may fail with these statuses, besides those that it lists itself:
///
/// * `KeystoreBusy`: another process held the lock for [`Options::busy_timeout`]. Nothing has changed; call again.
/// * `KeystoreIo`: the file system failed, for example on a full disk. `KeystoreReadOnly`: the call had to write.
/// * `KeystoreUnavailable`: the database of the keystore cannot be reached, or did not answer in time.
/// * `KeystoreCorrupt`: a row is damaged. Only calls that need that row fail.
/// * `KeystoreReplaced`: another file is at the path of the keystore. `KeystoreRolledBack`, `AnchorUnavailable`: by the
///   anchor.
/// * `Poisoned`: the rotation thread panicked; open the keystore again. `Forked`: a `memory:` keystore in a forked child.
/// * `OutOfMemory`, `RandomFailed`, `Internal`.
///
/// The hot path reads only memory: encrypting and decrypting under a cached key fails with none of the first four while
/// nothing changes.
pub struct Keystore {
    pub(super) process: PerProcess<Inner>,
}

impl fmt::Debug for Keystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore").finish_non_exhaustive()
    }
}

/// What a handle is in one process. Its threads end before the core goes.
pub(super) struct Inner {
    pub(super) core: Arc<Core>,
    pub(super) options: Options,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.stop_ticker();
        // A short program ends before the first pass. A lock that another process holds is not waited for now. The clock
        // is the caller's, and its panic during another would end the program.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _ = self.core.record_uses(&|| false);
            self.core.log_omitted()
        }));
        if let Some(events) = &self.core.events {
            events.close();
        }
    }
}

/// Runs a call only if it need not wait for the disk, another process or another thread; none if it had to, and it has then
/// changed nothing. For a host that holds its own lock, which it releases before it repeats the call.
#[inline]
pub fn without_waiting<R>(call: impl FnOnce() -> R) -> Option<R> {
    waiting::without(call)
}

/// Runs a function of the user's inside of [`without_waiting`]: what it calls may wait.
pub fn waiting_again<R>(function: impl FnOnce() -> R) -> R {
    waiting::again(function)
}

impl Keystore {
    #[inline]
    pub(super) fn core(&self) -> Result<&Core> {
        let core = self.core_even_if_poisoned()?;
        core.check_alive()?;
        Ok(core)
    }

    /// Carries out a call that may change the keystore; a refusal is logged. `key` is the key as the caller named it.
    pub(super) fn manage<R>(
        &self,
        action: ChangeAction,
        key: Option<&str>,
        call: impl FnOnce(&Core) -> Result<R>,
    ) -> Result<R> {
        let core = self.core()?;
        let done = call(core);
        if let Err(error) = &done {
            core.log_refusal(action, key, error.status());
        }
        done
    }

    #[inline]
    pub(super) fn core_even_if_poisoned(&self) -> Result<&Core> {
        self.process.get(Inner::in_child).map(|inner| &*inner.core)
    }
}
