//! How long a plaintext may be.

use crate::domain::limits;
use crate::error::{Error, Result, Status};

#[inline]
pub(crate) fn check_plaintext_len(len: usize) -> Result<()> {
    if len <= limits::PLAINTEXT_BYTES { Ok(()) } else { Err(plaintext_too_long(len)) }
}

#[cold]
fn plaintext_too_long(len: usize) -> Error {
    Status::LimitExceeded
        .error(format!("the plaintext of {len} bytes is above 1 GiB; encrypt it in parts or by a data key"))
}
