//! What surrounds every function: a panic becomes CKR_GENERAL_ERROR.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys::{CK_RV, CKR_GENERAL_ERROR, CKR_OK};

use crate::fail::Result;

pub fn guard(body: impl FnOnce() -> Result<()>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(fail)) => fail.0,
        Err(_) => CKR_GENERAL_ERROR,
    }
}
