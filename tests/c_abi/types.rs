//! Structs of `kms.h`, for calls of the C functions from Rust.

use std::ffi::c_char;

/// KMS_MAX_OVERHEAD
pub const OVERHEAD: usize = 112;

/// kms_context_entry
#[repr(C)]
pub struct Entry {
    key: *const c_char,
    value: *const c_char,
}

// SAFETY: its texts are static and never written.
unsafe impl Sync for Entry {}

/// One short entry, as in most programs.
pub static CONTEXT: [Entry; 1] = [Entry { key: c"tenant".as_ptr(), value: c"42".as_ptr() }];

/// kms_batch_record
#[repr(C)]
pub struct Record {
    input: *const u8,
    input_len: usize,
    context: *const Entry,
    context_count: usize,
    destination_context: *const Entry,
    destination_context_count: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: usize,
    status: i32,
    reserved: i32,
}

impl Record {
    /// With [`CONTEXT`]; both buffers must outlive it.
    pub fn new(input: &[u8], out: &mut [u8]) -> Self {
        Self {
            input: input.as_ptr(),
            input_len: input.len(),
            context: CONTEXT.as_ptr(),
            context_count: CONTEXT.len(),
            destination_context: std::ptr::null(),
            destination_context_count: 0,
            out: out.as_mut_ptr(),
            out_cap: out.len(),
            out_len: 0,
            status: 0,
            reserved: 0,
        }
    }
}
