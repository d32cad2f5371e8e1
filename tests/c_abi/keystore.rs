//! The library that this program is linked with, called as a C program does.

use std::ffi::{CStr, CString, c_char, c_void};

use crate::types::{Entry, OVERHEAD, Record};

unsafe extern "C" {
    fn kms_options_new() -> *mut c_void;
    fn kms_options_set_root_key(options: *mut c_void, key: *const u8, len: usize) -> i32;
    fn kms_options_set_create(options: *mut c_void, create: i32) -> i32;
    fn kms_options_set_cache_keys(options: *mut c_void, keys: usize) -> i32;
    fn kms_options_free(options: *mut c_void);
    fn kms_open(location: *const c_char, options: *const c_void, out: *mut *mut c_void) -> i32;
    fn kms_close(kms: *mut c_void);
    fn kms_create_key(kms: *const c_void, options: *const c_void, key: *mut c_char) -> i32;
    fn kms_create_alias(kms: *const c_void, key: *const c_char, alias: *const c_char) -> i32;
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
    fn kms_encrypt_batch(
        kms: *const c_void,
        key: *const c_char,
        records: *mut Record,
        record_size: usize,
        count: usize,
    ) -> i32;
}

pub struct Keystore(*mut c_void);

// SAFETY: handles are for all threads.
unsafe impl Send for Keystore {}
// SAFETY: as above.
unsafe impl Sync for Keystore {}

impl Keystore {
    /// `cache_keys` of 0: as many as the library takes by itself.
    pub fn open(location: &CStr, cache_keys: usize) -> Self {
        let mut kms = std::ptr::null_mut();
        // SAFETY: as kms.h has it.
        unsafe {
            let options = kms_options_new();
            assert_eq!(kms_options_set_root_key(options, [9u8; 32].as_ptr(), 32), 0);
            assert_eq!(kms_options_set_create(options, 1), 0);
            if cache_keys > 0 {
                assert_eq!(kms_options_set_cache_keys(options, cache_keys), 0);
            }
            assert_eq!(kms_open(location.as_ptr(), options, &mut kms), 0);
            kms_options_free(options);
        }
        Self(kms)
    }

    pub fn in_memory(cache_keys: usize) -> Self {
        Self::open(c"memory:", cache_keys)
    }

    pub fn create_key(&self) -> CString {
        let mut key: [c_char; 37] = [0; 37];
        // SAFETY: an id has its room, and ends with NUL.
        unsafe {
            assert_eq!(kms_create_key(self.0, std::ptr::null(), key.as_mut_ptr()), 0);
            CStr::from_ptr(key.as_ptr()).to_owned()
        }
    }

    pub fn create_alias(&self, key: &CStr, alias: &CStr) {
        // SAFETY: two texts.
        assert_eq!(unsafe { kms_create_alias(self.0, key.as_ptr(), alias.as_ptr()) }, 0);
    }

    /// Returns the ciphertext's length.
    #[inline]
    pub fn encrypt(&self, key: &CStr, text: &[u8], context: &[Entry], out: &mut [u8]) -> usize {
        let (context, count) = (context.as_ptr(), context.len());
        let (place, cap, mut len) = (out.as_mut_ptr(), out.len(), 0);
        // SAFETY: each pointer with the length behind it.
        let status = unsafe {
            kms_encrypt(self.0, key.as_ptr(), text.as_ptr(), text.len(), context, count, place, cap, &mut len)
        };
        assert_eq!(status, 0);
        len
    }

    /// Returns the plaintext's length.
    #[inline]
    pub fn decrypt(&self, blob: &[u8], context: &[Entry], out: &mut [u8]) -> usize {
        let (context, count) = (context.as_ptr(), context.len());
        let (place, cap, mut len) = (out.as_mut_ptr(), out.len(), 0);
        // SAFETY: as above.
        let status = unsafe { kms_decrypt(self.0, blob.as_ptr(), blob.len(), context, count, place, cap, &mut len) };
        assert_eq!(status, 0);
        len
    }

    /// The ciphertext in separate memory.
    pub fn sealed(&self, key: &CStr, text: &[u8], context: &[Entry]) -> Vec<u8> {
        let mut blob = vec![0; text.len() + OVERHEAD];
        let len = self.encrypt(key, text, context, &mut blob);
        blob.truncate(len);
        blob
    }

    pub fn encrypt_batch(&self, key: &CStr, records: &mut [Record]) {
        // SAFETY: the records are as long as they say.
        let status = unsafe {
            kms_encrypt_batch(self.0, key.as_ptr(), records.as_mut_ptr(), size_of::<Record>(), records.len())
        };
        assert_eq!(status, 0);
    }
}

impl Drop for Keystore {
    fn drop(&mut self) {
        // SAFETY: closed once.
        unsafe { kms_close(self.0) };
    }
}
