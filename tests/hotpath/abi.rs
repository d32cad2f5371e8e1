//! The library, as a C program sees it.

use std::ffi::{CStr, CString, c_char, c_void};

#[repr(C)]
pub struct Entry {
    key: *const c_char,
    value: *const c_char,
}

/// kms_batch_record.
#[repr(C)]
pub struct Record {
    input: *const u8,
    input_len: usize,
    context: *const Entry,
    context_count: usize,
    destination_context: *const Entry,
    destination_count: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: usize,
    status: i32,
    reserved: i32,
}

impl Record {
    pub fn new(input: &[u8], out: &mut [u8]) -> Self {
        Self {
            input: input.as_ptr(),
            input_len: input.len(),
            context: &CONTEXT,
            context_count: 1,
            destination_context: std::ptr::null(),
            destination_count: 0,
            out: out.as_mut_ptr(),
            out_cap: out.len(),
            out_len: 0,
            status: 0,
            reserved: 0,
        }
    }
}

unsafe extern "C" {
    fn kms_encrypt_batch(
        kms: *const c_void,
        key: *const c_char,
        records: *mut Record,
        record_size: usize,
        count: usize,
    ) -> i32;
    fn kms_options_new() -> *mut c_void;
    fn kms_options_set_root_key(options: *mut c_void, key: *const u8, len: usize) -> i32;
    fn kms_options_set_create(options: *mut c_void, create: i32) -> i32;
    fn kms_options_free(options: *mut c_void);
    fn kms_open(location: *const c_char, options: *const c_void, out: *mut *mut c_void) -> i32;
    fn kms_close(kms: *mut c_void);
    fn kms_create_key(kms: *const c_void, options: *const c_void, key: *mut c_char) -> i32;
    fn kms_encrypt(
        kms: *const c_void,
        key: *const c_char,
        plaintext: *const u8,
        len: usize,
        context: *const Entry,
        count: usize,
        out: *mut u8,
        cap: usize,
        out_len: *mut usize,
    ) -> i32;
    fn kms_decrypt(
        kms: *const c_void,
        blob: *const u8,
        len: usize,
        context: *const Entry,
        count: usize,
        out: *mut u8,
        cap: usize,
        out_len: *mut usize,
    ) -> i32;
}

static CONTEXT: Entry = Entry { key: c"tenant".as_ptr(), value: c"42".as_ptr() };

// SAFETY: its texts live for ever and are never written.
unsafe impl Sync for Entry {}

pub struct Keystore(*mut c_void);

// SAFETY: handles are for all threads.
unsafe impl Send for Keystore {}
// SAFETY: as above.
unsafe impl Sync for Keystore {}

impl Keystore {
    pub fn open() -> Self {
        Self::open_at(c"memory:")
    }

    pub fn open_file(path: &std::path::Path) -> Self {
        Self::open_at(&CString::new(path.to_str().unwrap()).unwrap())
    }

    fn open_at(location: &CStr) -> Self {
        let mut kms = std::ptr::null_mut();
        unsafe {
            let options = kms_options_new();
            assert_eq!(kms_options_set_root_key(options, [9u8; 32].as_ptr(), 32), 0);
            assert_eq!(kms_options_set_create(options, 1), 0);
            assert_eq!(kms_open(location.as_ptr(), options, &mut kms), 0);
            kms_options_free(options);
        }
        Self(kms)
    }

    pub fn create_key(&self) -> CString {
        let mut key: [c_char; 37] = [0; 37];
        unsafe {
            assert_eq!(kms_create_key(self.0, std::ptr::null(), key.as_mut_ptr()), 0);
            CStr::from_ptr(key.as_ptr()).to_owned()
        }
    }

    /// Returns the ciphertext's length.
    pub fn encrypt(&self, key: &CStr, text: &[u8], context: bool, out: &mut [u8]) -> usize {
        let (mut len, entries) = (0, usize::from(context));
        let (place, cap) = (out.as_mut_ptr(), out.len());
        let status = unsafe {
            kms_encrypt(self.0, key.as_ptr(), text.as_ptr(), text.len(), &CONTEXT, entries, place, cap, &mut len)
        };
        assert_eq!(status, 0);
        len
    }

    pub fn decrypt(&self, blob: &[u8], context: bool, out: &mut [u8]) -> usize {
        let (mut len, entries) = (0, usize::from(context));
        let (place, cap) = (out.as_mut_ptr(), out.len());
        let status = unsafe { kms_decrypt(self.0, blob.as_ptr(), blob.len(), &CONTEXT, entries, place, cap, &mut len) };
        assert_eq!(status, 0);
        len
    }

    pub fn encrypt_batch(&self, key: &CStr, records: &mut [Record]) {
        let status = unsafe {
            kms_encrypt_batch(self.0, key.as_ptr(), records.as_mut_ptr(), size_of::<Record>(), records.len())
        };
        assert_eq!(status, 0);
    }
}

impl Drop for Keystore {
    fn drop(&mut self) {
        unsafe { kms_close(self.0) };
    }
}
