//! The library, as a C program sees it.

use std::ffi::{CStr, CString, c_char, c_void};

#[repr(C)]
struct Entry {
    key: *const c_char,
    value: *const c_char,
}

unsafe extern "C" {
    fn kms_options_new() -> *mut c_void;
    fn kms_options_set_root_key(options: *mut c_void, key: *const u8, len: usize) -> i32;
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
}

const CONTEXT: Entry = Entry { key: c"tenant".as_ptr(), value: c"42".as_ptr() };

/// A buffer with room for a ciphertext, and how much of it is used.
pub struct Blob {
    pub bytes: Vec<u8>,
    pub len: usize,
}

impl Blob {
    pub fn new(plaintext: usize) -> Self {
        Self { bytes: vec![0; plaintext + 112], len: 0 }
    }
}

/// A keystore in memory.
pub struct Kms(*mut c_void);

// SAFETY: handles are for all threads.
unsafe impl Send for Kms {}
// SAFETY: as above.
unsafe impl Sync for Kms {}

impl Kms {
    /// `cache_keys` of 0: as it comes.
    pub fn open(cache_keys: usize) -> Self {
        let mut kms = std::ptr::null_mut();
        unsafe {
            let options = kms_options_new();
            assert_eq!(kms_options_set_root_key(options, [9u8; 32].as_ptr(), 32), 0);
            if cache_keys > 0 {
                assert_eq!(kms_options_set_cache_keys(options, cache_keys), 0);
            }
            assert_eq!(kms_open(c"memory:".as_ptr(), options, &mut kms), 0);
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

    pub fn create_alias(&self, key: &CStr, alias: &CStr) {
        assert_eq!(unsafe { kms_create_alias(self.0, key.as_ptr(), alias.as_ptr()) }, 0);
    }

    #[inline]
    pub fn encrypt(&self, key: &CStr, plaintext: &[u8], out: &mut Blob) {
        let (text, len, cap) = (plaintext.as_ptr(), plaintext.len(), out.bytes.len());
        let place = out.bytes.as_mut_ptr();
        let status = unsafe { kms_encrypt(self.0, key.as_ptr(), text, len, &CONTEXT, 1, place, cap, &mut out.len) };
        assert_eq!(status, 0);
    }

    #[inline]
    pub fn decrypt(&self, blob: &Blob, out: &mut Blob) {
        let (text, cap, place) = (blob.bytes.as_ptr(), out.bytes.len(), out.bytes.as_mut_ptr());
        let status = unsafe { kms_decrypt(self.0, text, blob.len, &CONTEXT, 1, place, cap, &mut out.len) };
        assert_eq!(status, 0);
    }

    pub fn sealed(&self, key: &CStr, plaintext: &[u8]) -> Blob {
        let mut blob = Blob::new(plaintext.len());
        self.encrypt(key, plaintext, &mut blob);
        blob
    }

    /// Under a nonce prefix that no other message has.
    pub fn sealed_by_another_thread(kms: &Kms, key: &CStr, plaintext: &[u8]) -> Blob {
        std::thread::scope(|scope| scope.spawn(|| kms.sealed(key, plaintext)).join().unwrap())
    }
}

impl Drop for Kms {
    fn drop(&mut self) {
        unsafe { kms_close(self.0) };
    }
}
