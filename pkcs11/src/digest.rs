//! C_Digest: the hash of a session.

use cryptoki_sys::*;

use crate::fail::{Fail, Result};
use crate::hash::Digest;
use crate::state;

pub fn init(session: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE) -> Result<()> {
    let started = Digest::new(kind);
    state::with(|state| {
        let session = state.session(session)?;
        if session.digest.is_some() {
            return Err(Fail(CKR_OPERATION_ACTIVE));
        }
        session.digest = Some(started?);
        Ok(())
    })
}

/// Takes the hash of a session, so that long data is not hashed under the lock.
pub fn take(session: CK_SESSION_HANDLE) -> Result<Digest> {
    state::with(|state| state.session(session)?.digest.take().ok_or(Fail(CKR_OPERATION_NOT_INITIALIZED)))
}

pub fn put_back(session: CK_SESSION_HANDLE, digest: Digest) {
    // A session that was closed meanwhile has no use for it.
    let _ = state::with(|state| {
        state.session(session)?.digest = Some(digest);
        Ok(())
    });
}
