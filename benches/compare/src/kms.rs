//! libkms through its C ABI, as a C program calls it.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use crate::dynamic::{Object, functions};
use crate::types::{CONTEXT, Entry, OVERHEAD};

pub const ID: usize = 37;
/// Where a ciphertext has its nonce; the first half of it decides the derived key.
pub const NONCE_AT: usize = 40;

pub type Id = [c_char; ID];
pub type Clock = unsafe extern "C" fn(*mut c_void) -> i64;

/// kms_create_key_options
#[repr(C)]
pub struct CreateKey {
    struct_size: u32,
    origin: i32,
    description: *const c_char,
    enable_automatic_rotation: i32,
    rotation_interval_s: i64,
}

impl CreateKey {
    /// `interval_s` 0: no automatic rotation.
    pub fn rotating(interval_s: i64) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            origin: 0,
            description: null(),
            enable_automatic_rotation: i32::from(interval_s > 0),
            rotation_interval_s: interval_s,
        }
    }
}

/// kms_health_info
#[repr(C)]
#[derive(Default)]
pub struct Health {
    struct_size: u32,
    pub flags: u32,
    pub rotations: u64,
    pub rotation_failures: u64,
    pub keys_destroyed: u64,
    pub keys_cached: u64,
    pub generation: u64,
    pub events_dropped: u64,
    pub versions_destroyed: u64,
    pub polls: u64,
    pub absences: u64,
    pub rollbacks: u64,
    pub age_ms: u64,
    pub clock_ahead_ms: i64,
}

functions! {
    /// The functions that are measured.
    Functions {
        version: "kms_version" = () -> *const c_char;
        last_error: "kms_last_error" = (*mut c_char, usize) -> usize;
        options_new: "kms_options_new" = () -> *mut c_void;
        options_free: "kms_options_free" = (*mut c_void);
        set_root_key: "kms_options_set_root_key" = (*mut c_void, *const u8, usize) -> i32;
        set_create: "kms_options_set_create" = (*mut c_void, i32) -> i32;
        set_rotation_thread: "kms_options_set_rotation_thread" = (*mut c_void, i32) -> i32;
        set_cache_keys: "kms_options_set_cache_keys" = (*mut c_void, usize) -> i32;
        set_clock: "kms_options_set_clock" = (*mut c_void, Clock, *mut c_void) -> i32;
        open: "kms_open" = (*const c_char, *const c_void, *mut *mut c_void) -> i32;
        close: "kms_close" = (*mut c_void);
        create_key: "kms_create_key" = (*const c_void, *const CreateKey, *mut c_char) -> i32;
        create_alias: "kms_create_alias" = (*const c_void, *const c_char, *const c_char) -> i32;
        rotate: "kms_rotate" = (*const c_void, *const c_char, *mut c_char) -> i32;
        health: "kms_health" = (*const c_void, *mut Health) -> i32;
        encrypt: "kms_encrypt" = (
            *const c_void, *const c_char, *const u8, usize, *const Entry, usize, *mut u8, usize, *mut usize,
        ) -> i32;
        decrypt: "kms_decrypt" = (
            *const c_void, *const u8, usize, *const Entry, usize, *mut u8, usize, *mut usize,
        ) -> i32;
    }
}

/// libkms.so, opened once.
#[derive(Clone, Copy)]
pub struct Library {
    pub object: Object,
    f: Functions,
}

impl Library {
    pub fn open(path: &Path) -> Result<Self, String> {
        let object = Object::open(path)?;
        Ok(Self { object, f: Functions::find(object)? })
    }

    pub fn version(&self) -> String {
        unsafe { CStr::from_ptr((self.f.version)()) }.to_string_lossy().into_owned()
    }

    fn check(&self, what: &str, status: i32) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        let mut text = [0u8; 512];
        unsafe { (self.f.last_error)(text.as_mut_ptr().cast(), text.len()) };
        let text = CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy();
        Err(format!("{what}: status {status}: {text}"))
    }
}

/// How to open a keystore; the root key is always the same.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    pub create: bool,
    /// 0: the library's own default.
    pub cache_keys: usize,
    pub clock: Option<Clock>,
    pub no_rotation_thread: bool,
}

/// An open keystore.
pub struct Keystore {
    pub library: Library,
    handle: *mut c_void,
}

unsafe impl Send for Keystore {}
unsafe impl Sync for Keystore {}

impl Keystore {
    pub fn open(library: Library, location: &str, settings: Settings) -> Result<Self, String> {
        let f = library.f;
        let location = CString::new(location).map_err(|e| e.to_string())?;
        let mut handle = null_mut();
        unsafe {
            let options = (f.options_new)();
            library.check("root key", (f.set_root_key)(options, [9u8; 32].as_ptr(), 32))?;
            library.check("create", (f.set_create)(options, i32::from(settings.create)))?;
            if settings.cache_keys > 0 {
                library.check("cache", (f.set_cache_keys)(options, settings.cache_keys))?;
            }
            if let Some(clock) = settings.clock {
                library.check("clock", (f.set_clock)(options, clock, null_mut()))?;
            }
            let thread = i32::from(!settings.no_rotation_thread);
            library.check("rotation thread", (f.set_rotation_thread)(options, thread))?;
            let status = (f.open)(location.as_ptr(), options, &mut handle);
            (f.options_free)(options);
            library.check("kms_open", status)?;
        }
        Ok(Self { library, handle })
    }

    pub fn memory(library: Library, cache_keys: usize) -> Result<Self, String> {
        Self::open(library, "memory:", Settings { cache_keys, ..Settings::default() })
    }

    /// `interval_s` 0: no automatic rotation.
    pub fn create_key(&self, interval_s: i64) -> Result<Id, String> {
        let mut id: Id = [0; ID];
        let options = CreateKey::rotating(interval_s);
        let status = unsafe { (self.library.f.create_key)(self.handle, &options, id.as_mut_ptr()) };
        self.library.check("kms_create_key", status)?;
        Ok(id)
    }

    pub fn create_alias(&self, id: &Id, alias: &CStr) -> Result<(), String> {
        let status = unsafe { (self.library.f.create_alias)(self.handle, id.as_ptr(), alias.as_ptr()) };
        self.library.check("kms_create_alias", status)
    }

    pub fn rotate(&self, id: &Id) -> Result<(), String> {
        let status = unsafe { (self.library.f.rotate)(self.handle, id.as_ptr(), null_mut()) };
        self.library.check("kms_rotate", status)
    }

    pub fn health(&self) -> Result<Health, String> {
        let mut health = Health { struct_size: size_of::<Health>() as u32, ..Health::default() };
        let status = unsafe { (self.library.f.health)(self.handle, &mut health) };
        self.library.check("kms_health", status)?;
        Ok(health)
    }

    /// The handle, for functions that only some versions of the library have.
    pub fn handle(&self) -> *const c_void {
        self.handle
    }

    /// Returns the ciphertext's length.
    #[inline]
    pub fn encrypt(&self, key: *const c_char, plaintext: &[u8], out: &mut [u8]) -> usize {
        let mut len = 0;
        let status = unsafe {
            (self.library.f.encrypt)(
                self.handle,
                key,
                plaintext.as_ptr(),
                plaintext.len(),
                CONTEXT.as_ptr(),
                1,
                out.as_mut_ptr(),
                out.len(),
                &mut len,
            )
        };
        self.expect("kms_encrypt", status);
        len
    }

    #[inline]
    pub fn decrypt(&self, blob: &[u8], out: &mut [u8]) -> usize {
        let mut len = 0;
        let status = unsafe {
            (self.library.f.decrypt)(
                self.handle,
                blob.as_ptr(),
                blob.len(),
                CONTEXT.as_ptr(),
                1,
                out.as_mut_ptr(),
                out.len(),
                &mut len,
            )
        };
        self.expect("kms_decrypt", status);
        len
    }

    #[inline]
    fn expect(&self, what: &str, status: i32) {
        if status != 0 {
            panic!("{}", self.library.check(what, status).unwrap_err());
        }
    }

    /// `plaintext` under `key`, as a new vector.
    pub fn blob(&self, key: &Id, plaintext: &[u8]) -> Vec<u8> {
        let mut blob = vec![0; plaintext.len() + OVERHEAD];
        let len = self.encrypt(key.as_ptr(), plaintext, &mut blob);
        blob.truncate(len);
        blob
    }

    /// Ciphertexts of which each has another prefix of the nonce, so that each needs another derived key.
    pub fn blobs_of_new_prefixes(&self, key: &Id, plaintext: &[u8], count: usize) -> Vec<Vec<u8>> {
        let mut blobs: Vec<Vec<u8>> = Vec::with_capacity(count);
        while blobs.len() < count {
            let blob = self.blob(key, plaintext);
            let prefix = NONCE_AT..NONCE_AT + 12;
            if blobs.last().is_none_or(|last| last[prefix.clone()] != blob[prefix]) {
                blobs.push(blob);
            }
        }
        blobs
    }
}

impl Drop for Keystore {
    fn drop(&mut self) {
        unsafe { (self.library.f.close)(self.handle) }
    }
}
