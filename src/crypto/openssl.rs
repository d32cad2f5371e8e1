//! The calls of libcrypto that this library makes, behind safe types; the only place that names openssl_sys.
//!
//! Everything is fetched once into a library context of our own that is never freed, so the host's OPENSSL_CONF,
//! providers and FIPS switch don't reach us, and its exit doesn't take anything away from a running thread. Its memory is
//! `sys::heap`'s, where it isn't shared with the host. Freeing a context wipes it (OpenSSL cleanses cipher and MAC
//! contexts). No key or nonce comes from OpenSSL's random generator;
//! where RSA draws from it by itself, `rsa` reseeds it first.
//!
//! Every failure except a failed tag is `Internal` with the name of the call: none of them depends on the caller's data.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroize;

use crate::error::{Error, Result, Status};
use crate::sys::{exit, fork, heap, memory};

#[cfg(miri)]
mod miri;
#[cfg(miri)]
use miri as ffi;

use ffi::{EVP_CIPHER, EVP_CIPHER_CTX, EVP_MAC, EVP_MAC_CTX, OSSL_LIB_CTX, OSSL_PARAM};

#[allow(dead_code, reason = "the import of key material and the export of data keys are its users to come")]
pub mod rsa;
#[cfg(not(miri))]
mod cpu;

/// libcrypto's own functions; what openssl-sys lacks is declared here.
#[cfg(not(miri))]
mod ffi {
    pub use openssl_sys::{
        CRYPTO_memcmp, ERR_clear_error, ERR_peek_last_error, EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free,
        EVP_CIPHER_CTX_new, EVP_CIPHER_CTX_set_padding, EVP_CIPHER_fetch, EVP_DecryptFinal_ex, EVP_DecryptUpdate,
        EVP_EncryptFinal_ex, EVP_EncryptInit_ex, EVP_EncryptUpdate, EVP_MAC, EVP_MAC_CTX, EVP_MAC_CTX_dup,
        EVP_MAC_CTX_free, EVP_MAC_CTX_new, EVP_MAC_fetch, EVP_MAC_final, EVP_MAC_init, EVP_MAC_update, EVP_PKEY,
        EVP_PKEY_CTX, EVP_PKEY_CTX_free, EVP_PKEY_CTX_new_from_name, EVP_PKEY_CTX_set_params, EVP_PKEY_decrypt,
        EVP_PKEY_decrypt_init, EVP_PKEY_encrypt, EVP_PKEY_encrypt_init, EVP_PKEY_free, EVP_PKEY_fromdata,
        EVP_PKEY_fromdata_init, EVP_PKEY_generate, EVP_PKEY_get_bits, EVP_PKEY_get_params, EVP_PKEY_keygen_init,
        EVP_PKEY_public_check, OSSL_DECODER_CTX_free, OSSL_DECODER_CTX_new_for_pkey, OSSL_DECODER_from_data,
        OSSL_LIB_CTX, OSSL_LIB_CTX_new, OSSL_PARAM, OSSL_PROVIDER_load, assume_init, i2d_PUBKEY,
    };

    use std::ffi::{c_char, c_int, c_void};

    #[allow(non_camel_case_types, reason = "the name is C's")]
    pub enum EVP_RAND_CTX {}

    type Malloc = extern "C" fn(usize, *const c_char, c_int) -> *mut c_void;
    type Realloc = unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void;
    type Free = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

    unsafe extern "C" {
        pub fn OPENSSL_thread_stop();
        pub fn CRYPTO_malloc(size: usize, file: *const c_char, line: c_int) -> *mut c_void;
        pub fn CRYPTO_get_mem_functions(
            malloc: *mut *const c_void,
            realloc: *mut *const c_void,
            free: *mut *const c_void,
        );
        pub fn CRYPTO_set_mem_functions(malloc: Malloc, realloc: Realloc, free: Free) -> c_int;
        pub fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
        pub fn EVP_CIPHER_CTX_get_params(ctx: *mut EVP_CIPHER_CTX, params: *mut OSSL_PARAM) -> c_int;
        pub fn EVP_DecryptInit_ex2(
            ctx: *mut EVP_CIPHER_CTX,
            cipher: *const EVP_CIPHER,
            key: *const u8,
            iv: *const u8,
            params: *const OSSL_PARAM,
        ) -> c_int;
        pub fn EVP_PKEY_CTX_new_from_pkey(
            context: *mut OSSL_LIB_CTX,
            key: *mut EVP_PKEY,
            properties: *const c_char,
        ) -> *mut EVP_PKEY_CTX;
        pub fn RAND_get0_public(context: *mut OSSL_LIB_CTX) -> *mut EVP_RAND_CTX;
        pub fn RAND_get0_private(context: *mut OSSL_LIB_CTX) -> *mut EVP_RAND_CTX;
        pub fn EVP_RAND_reseed(
            ctx: *mut EVP_RAND_CTX,
            prediction_resistance: c_int,
            entropy: *const u8,
            entropy_len: usize,
            additional: *const u8,
            additional_len: usize,
        ) -> c_int;
        #[cfg(test)]
        pub fn RAND_bytes_ex(context: *mut OSSL_LIB_CTX, buf: *mut u8, len: usize, strength: u32) -> c_int;
    }
}

/// Length of a GCM tag and of an AES block, in bytes.
pub const TAG: usize = 16;
const BLOCK: usize = 16;
/// Most bytes of one update: OpenSSL counts in int. Small in tests, so that they cross it.
const MAX_UPDATE: usize = if cfg!(miri) {
    64
} else if cfg!(test) {
    4096
} else {
    1 << 30
};

// OSSL_PARAM data types (openssl/core.h).
const PARAM_UNSIGNED_INTEGER: u32 = 2;
const PARAM_UTF8_STRING: u32 = 4;
const PARAM_OCTET_STRING: u32 = 5;
// Options of OPENSSL_init_crypto (openssl/crypto.h).
const INIT_NO_LOAD_CONFIG: u64 = 0x0000_0080;
const INIT_NO_ATEXIT: u64 = 0x0008_0000;

/// What is fetched once and kept for the life of the process.
struct Library {
    context: NonNull<OSSL_LIB_CTX>,
    gcm: NonNull<EVP_CIPHER>,
    ecb: NonNull<EVP_CIPHER>,
    /// Contexts with cipher and digest already chosen, under a key of zeros: copied, because choosing fetches.
    cmac: Mac,
    hmac: Mac,
}

// SAFETY: the library context locks for itself; fetched algorithms are immutable and counted atomically; the two MAC
// contexts are only ever read, as the source of a copy.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

thread_local! {
    static AT_END: End = const { End };
}

/// Ends libcrypto's part of a thread inside the fork gate, before libcrypto would do it by itself: it takes a lock of its
/// own there, which a child of a fork in that moment would find taken for ever.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // A shared libcrypto serves the host's code in this thread too: should it call again before the thread is gone,
        // libcrypto begins anew.
        if cfg!(not(miri)) {
            // SAFETY: takes nothing; the thread's contexts of ours don't need it any more.
            fork::gate(|| unsafe { ffi::OPENSSL_thread_stop() });
        }
    }
}

/// The fetched algorithms, and this thread's error queue made ready: every call of libcrypto that may take one of its
/// locks is below this one, but for the end of a thread, which [`End`] sees to.
fn init() -> Result<&'static Library> {
    static LIBRARY: OnceLock<Result<Library>> = OnceLock::new();
    // A thread that is ending already has no queue to make ready.
    let _ = AT_END.try_with(|_| ());
    fork::gate(|| {
        let library = LIBRARY.get_or_init(|| {
            heap::while_starting(|| {
                give_memory();
                Library::load()
            })
        });
        let library = library.as_ref().map_err(Error::clone)?;
        // SAFETY: reads the thread's own queue, which the first such call allocates.
        unsafe { ffi::ERR_peek_last_error() };
        Ok(library)
    })
}

/// Whether libcrypto's memory is ours.
static OUR_MEMORY: AtomicBool = AtomicBool::new(false);

/// Has libcrypto take its memory from [`heap`]. A shared one is the host's as well, whose memory functions it keeps. So
/// does a static one that the host was first to use: libcrypto refuses others only while it has its own, and would
/// free with ours what it took from the host's.
#[cfg(not(miri))]
fn give_memory() {
    let (mut malloc, mut others) = (ptr::null(), [ptr::null(); 2]);
    let [realloc, free] = &mut others;
    // SAFETY: three places for a pointer.
    unsafe { ffi::CRYPTO_get_mem_functions(&mut malloc, realloc, free) };
    if cfg!(feature = "vendored") && malloc == ffi::CRYPTO_malloc as *const c_void {
        // SAFETY: the three belong together, and are never unloaded.
        let code = unsafe { ffi::CRYPTO_set_mem_functions(heap::malloc, heap::realloc, heap::free) };
        OUR_MEMORY.store(code == 1, Ordering::Relaxed);
    }
}

#[cfg(miri)]
fn give_memory() {}

/// Where cipher contexts lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Locked,
    /// RLIMIT_MEMLOCK is too small.
    NotLocked,
    /// In ordinary memory, because libcrypto has other memory functions than ours.
    Ordinary,
}

pub fn memory() -> Memory {
    match OUR_MEMORY.load(Ordering::Relaxed) {
        true if heap::is_locked() => Memory::Locked,
        true => Memory::NotLocked,
        false => Memory::Ordinary,
    }
}

/// Whether libcrypto uses the CPU's instructions for AES-GCM.
pub fn is_quick() -> bool {
    #[cfg(not(miri))]
    // In the gate, because the first call takes a lock of libcrypto's.
    return init().is_err() || fork::gate(cpu::is_quick);
    #[cfg(miri)]
    true
}

impl Library {
    fn load() -> Result<Self> {
        // A shared libcrypto belongs to the host as well: there its configuration stays the host's to load, and our
        // own context doesn't read it anyway.
        let config = if cfg!(feature = "vendored") { INIT_NO_LOAD_CONFIG } else { 0 };
        // SAFETY: no settings are passed; the crate's own start, which would load the host's configuration, is then
        // marked as done.
        unsafe {
            check(ffi::OPENSSL_init_crypto(config | INIT_NO_ATEXIT, ptr::null()), "OPENSSL_init_crypto")?;
            ffi::assume_init();
        }
        if !cfg!(feature = "vendored") {
            exit::register()?;
        }
        #[cfg(not(miri))]
        cpu::forget_environment();
        // SAFETY: takes nothing; never freed.
        let library = made(unsafe { ffi::OSSL_LIB_CTX_new() }, "OSSL_LIB_CTX_new")?;
        let context = library.as_ptr();
        // SAFETY: a live context and a terminated name; the provider is never unloaded.
        made(unsafe { ffi::OSSL_PROVIDER_load(context, c"default".as_ptr()) }, "OSSL_PROVIDER_load")?;
        Ok(Self {
            context: library,
            gcm: fetch_cipher(context, c"AES-256-GCM")?,
            ecb: fetch_cipher(context, c"AES-256-ECB")?,
            cmac: Mac::fetch(context, c"CMAC", c"cipher", c"AES-256-CBC")?,
            hmac: Mac::fetch(context, c"HMAC", c"digest", c"SHA256")?,
        })
    }
}

fn fetch_cipher(context: *mut OSSL_LIB_CTX, name: &CStr) -> Result<NonNull<EVP_CIPHER>> {
    // SAFETY: a live context and a terminated name.
    made(unsafe { ffi::EVP_CIPHER_fetch(context, name.as_ptr(), ptr::null()) }, "EVP_CIPHER_fetch")
}

/// An error that names the call, with nothing left in OpenSSL's error queue.
#[cold]
fn failed(call: &'static str) -> Error {
    // SAFETY: clears the thread's own queue.
    unsafe { ffi::ERR_clear_error() };
    match memory::was_short() {
        true => memory::out_of_memory(),
        false => Status::Internal.error(format!("{call} failed")),
    }
}

#[inline]
fn check(code: c_int, call: &'static str) -> Result<()> {
    if code > 0 { Ok(()) } else { Err(failed(call)) }
}

fn made<T>(object: *mut T, call: &'static str) -> Result<NonNull<T>> {
    NonNull::new(object).ok_or_else(|| failed(call))
}

fn wrong_length() -> Error {
    Status::Internal.error("a buffer of the wrong length for the cipher")
}

const END: OSSL_PARAM =
    OSSL_PARAM { key: ptr::null(), data_type: 0, data: ptr::null_mut(), data_size: 0, return_size: 0 };

fn param(key: &'static CStr, data_type: u32, data: *mut c_void, data_size: usize) -> [OSSL_PARAM; 2] {
    [OSSL_PARAM { key: key.as_ptr(), data_type, data, data_size, return_size: usize::MAX }, END]
}

/// An EVP_CIPHER_CTX: made, wiped and freed.
struct Cipher(NonNull<EVP_CIPHER_CTX>);

// SAFETY: a context is plain memory without ties to its thread; it isn't Sync, and every use takes `&mut`.
unsafe impl Send for Cipher {}

impl Cipher {
    fn new(algorithm: NonNull<EVP_CIPHER>) -> Result<Self> {
        // SAFETY: takes nothing.
        let cipher = Self(made(unsafe { ffi::EVP_CIPHER_CTX_new() }, "EVP_CIPHER_CTX_new")?);
        // SAFETY: both objects are live; null key and iv mean "later".
        let code = unsafe {
            ffi::EVP_EncryptInit_ex(cipher.ptr(), algorithm.as_ptr(), ptr::null_mut(), ptr::null(), ptr::null())
        };
        check(code, "EVP_EncryptInit_ex")?;
        Ok(cipher)
    }

    fn ptr(&self) -> *mut EVP_CIPHER_CTX {
        self.0.as_ptr()
    }

    fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        // SAFETY: the context is of a cipher with 32 key bytes; null cipher, engine and iv mean "as it is".
        let code =
            unsafe { ffi::EVP_EncryptInit_ex(self.ptr(), ptr::null(), ptr::null_mut(), key.as_ptr(), ptr::null()) };
        check(code, "EVP_EncryptInit_ex")
    }

    /// Runs `len` bytes at `input` through `update` into `out`; null `out` takes them as AAD.
    ///
    /// # Safety
    /// `input` is readable for `len` bytes; `out` is null, or writable for `len` bytes and either `input` itself or apart
    /// from it.
    #[inline]
    unsafe fn update(&mut self, update: Update, out: *mut u8, input: *const u8, len: usize) -> Result<()> {
        if len <= MAX_UPDATE {
            if len == 0 {
                return Ok(());
            }
            let mut written = 0;
            // SAFETY: the caller's promise; the length fits an int.
            let code = unsafe { update(self.ptr(), out, &mut written, input, len as c_int) };
            return check(code, "EVP_CipherUpdate");
        }
        // SAFETY: the caller's promise.
        unsafe { self.update_in_steps(update, out, input, len) }
    }

    /// # Safety
    /// As for `update`.
    #[cold]
    unsafe fn update_in_steps(&mut self, update: Update, out: *mut u8, input: *const u8, len: usize) -> Result<()> {
        let mut done = 0;
        while done < len {
            let step = (len - done).min(MAX_UPDATE);
            let mut written = 0;
            // SAFETY: `done + step <= len`, so both ranges stay inside what the caller vouches for, and the output of
            // a stream cipher or of whole blocks is as long as its input; `step` fits an int.
            let code = unsafe {
                let out = if out.is_null() { out } else { out.add(done) };
                update(self.ptr(), out, &mut written, input.add(done), step as c_int)
            };
            check(code, "EVP_CipherUpdate")?;
            done += step;
        }
        Ok(())
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: made by EVP_CIPHER_CTX_new, freed once.
        unsafe { ffi::EVP_CIPHER_CTX_free(self.ptr()) };
    }
}

type Update = unsafe extern "C" fn(*mut EVP_CIPHER_CTX, *mut u8, *mut c_int, *const u8, c_int) -> c_int;

/// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags. One context seals and opens: the key schedule
/// is the same, and a change of direction costs nothing.
pub struct Gcm(Cipher);

/// What a message starts with. A new key is given along with the nonce, because each call of libcrypto costs.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// None: the context has it.
    pub key: Option<&'a [u8; 32]>,
    pub nonce: &'a [u8; 12],
}

impl<'a> From<&'a [u8; 12]> for Start<'a> {
    fn from(nonce: &'a [u8; 12]) -> Self {
        Self { key: None, nonce }
    }
}

impl Start<'_> {
    #[inline]
    fn key(&self) -> *const u8 {
        self.key.map_or(ptr::null(), |key| key.as_ptr())
    }
}

impl Gcm {
    /// A context without a key; sealing or opening before it was given one is `Internal`.
    pub fn new() -> Result<Self> {
        Ok(Self(Cipher::new(init()?.gcm)?))
    }

    #[cfg(test)]
    pub fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        self.0.set_key(key)
    }

    /// Writes ciphertext and tag; `out` is `TAG` bytes longer than `plaintext`.
    #[inline]
    pub fn seal<'a>(
        &mut self,
        start: impl Into<Start<'a>>,
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        if Some(out.len()) != plaintext.len().checked_add(TAG) {
            return Err(wrong_length());
        }
        // SAFETY: `out` has room for the text and the tag, and two borrows don't overlap.
        unsafe { self.seal_raw(start.into(), aad, plaintext.as_ptr(), plaintext.len(), out.as_mut_ptr()) }
    }

    /// Replaces the plaintext at the start of `buf` by ciphertext and its last `TAG` bytes by the tag.
    pub fn seal_in_place<'a>(&mut self, start: impl Into<Start<'a>>, aad: &[u8], buf: &mut [u8]) -> Result<()> {
        let len = buf.len().checked_sub(TAG).ok_or_else(wrong_length)?;
        let text = buf.as_mut_ptr();
        // SAFETY: input and output are the same range of `buf`, and the tag follows inside it.
        unsafe { self.seal_raw(start.into(), aad, text, len, text) }
    }

    /// # Safety
    /// `input` is readable for `len` bytes, `out` writable for `len + TAG`, and they are the same or apart.
    #[inline]
    unsafe fn seal_raw(
        &mut self,
        start: Start<'_>,
        aad: &[u8],
        input: *const u8,
        len: usize,
        out: *mut u8,
    ) -> Result<()> {
        let ctx = self.0.ptr();
        // SAFETY: the context is of GCM, whose key has 32 bytes, or null, and whose nonce has 12; AAD is a slice; text and
        // tag are the caller's word. The end of GCM writes no text, but wants a place for it.
        unsafe {
            let (key, nonce) = (start.key(), start.nonce.as_ptr());
            let code = ffi::EVP_EncryptInit_ex(ctx, ptr::null(), ptr::null_mut(), key, nonce);
            check(code, "EVP_EncryptInit_ex")?;
            self.0.update(ffi::EVP_EncryptUpdate, ptr::null_mut(), aad.as_ptr(), aad.len())?;
            self.0.update(ffi::EVP_EncryptUpdate, out, input, len)?;
            let (mut rest, mut written) = (MaybeUninit::<[u8; BLOCK]>::uninit(), 0);
            check(ffi::EVP_EncryptFinal_ex(ctx, rest.as_mut_ptr().cast(), &mut written), "EVP_EncryptFinal_ex")?;
            let mut tag = param(c"tag", PARAM_OCTET_STRING, out.add(len).cast(), TAG);
            check(ffi::EVP_CIPHER_CTX_get_params(ctx, tag.as_mut_ptr()), "EVP_CIPHER_CTX_get_params")
        }
    }

    /// Checks the tag at the end of `sealed` and writes the plaintext; `out` is `TAG` bytes shorter.
    ///
    /// A wrong tag is `AuthenticationFailed`; after it, and after any other failure, `out` is all zeros.
    #[inline]
    pub fn open<'a>(&mut self, start: impl Into<Start<'a>>, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<()> {
        let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or_else(wrong_length)?;
        if text.len() != out.len() {
            return Err(wrong_length());
        }
        let opened = self.open_unwiped(start.into(), aad, text, tag, out);
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    #[inline]
    fn open_unwiped(
        &mut self,
        start: Start<'_>,
        aad: &[u8],
        text: &[u8],
        tag: &[u8; TAG],
        out: &mut [u8],
    ) -> Result<()> {
        let ctx = self.0.ptr();
        // SAFETY: the context is of GCM, whose key has 32 bytes, or null, and whose nonce has 12; the other ranges are
        // slices, `out` as long as `text`. The tag is only read, through a pointer that C calls mutable.
        let code = unsafe {
            let tag = param(c"tag", PARAM_OCTET_STRING, tag.as_ptr().cast_mut().cast(), TAG);
            let code = ffi::EVP_DecryptInit_ex2(ctx, ptr::null(), start.key(), start.nonce.as_ptr(), tag.as_ptr());
            check(code, "EVP_DecryptInit_ex2")?;
            self.0.update(ffi::EVP_DecryptUpdate, ptr::null_mut(), aad.as_ptr(), aad.len())?;
            self.0.update(ffi::EVP_DecryptUpdate, out.as_mut_ptr(), text.as_ptr(), text.len())?;
            let (mut rest, mut written) = (MaybeUninit::<[u8; BLOCK]>::uninit(), 0);
            ffi::EVP_DecryptFinal_ex(ctx, rest.as_mut_ptr().cast(), &mut written)
        };
        if code > 0 {
            return Ok(());
        }
        // SAFETY: clears the thread's own queue.
        unsafe { ffi::ERR_clear_error() };
        Err(Status::AuthenticationFailed.error(AUTHENTICATION_FAILED))
    }
}

/// The one text of a failed tag: it says nothing about what differed.
pub const AUTHENTICATION_FAILED: &str =
    "the ciphertext, its context or its key don't belong together, or something was changed";

/// AES-256 of single blocks (FIPS 197), for deriving keys.
pub struct Block(Cipher);

impl Block {
    /// A context without a key; encrypting before `set_key` is `Internal`.
    pub fn new() -> Result<Self> {
        let cipher = Cipher::new(init()?.ecb)?;
        // SAFETY: a live context.
        check(unsafe { ffi::EVP_CIPHER_CTX_set_padding(cipher.ptr(), 0) }, "EVP_CIPHER_CTX_set_padding")?;
        Ok(Self(cipher))
    }

    pub fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        self.0.set_key(key)
    }

    /// Encrypts each 16 bytes of `blocks` in place.
    pub fn encrypt(&mut self, blocks: &mut [u8]) -> Result<()> {
        if !blocks.len().is_multiple_of(BLOCK) {
            return Err(wrong_length());
        }
        let start = blocks.as_mut_ptr();
        // SAFETY: input and output are the same whole blocks, so nothing is held back or added.
        unsafe { self.0.update(ffi::EVP_EncryptUpdate, start, start, blocks.len()) }
    }
}

/// An EVP_MAC_CTX: made, wiped and freed.
struct Mac(NonNull<EVP_MAC_CTX>);

// SAFETY: as for `Cipher`.
unsafe impl Send for Mac {}

impl Mac {
    /// A context of MAC `name` whose parameter `key` is `value`, keyed with zeros so that it can be copied.
    fn fetch(context: *mut OSSL_LIB_CTX, name: &CStr, key: &'static CStr, value: &CStr) -> Result<Self> {
        // SAFETY: a live context and terminated names; the algorithm is never freed; the parameter outlives the call
        // that reads it, and its value is only read.
        unsafe {
            let algorithm: NonNull<EVP_MAC> =
                made(ffi::EVP_MAC_fetch(context, name.as_ptr(), ptr::null()), "EVP_MAC_fetch")?;
            let mac = Self(made(ffi::EVP_MAC_CTX_new(algorithm.as_ptr()), "EVP_MAC_CTX_new")?);
            let value_ptr = value.as_ptr().cast_mut().cast();
            let choice = param(key, PARAM_UTF8_STRING, value_ptr, value.count_bytes());
            let zeros = [0u8; 32];
            let code = ffi::EVP_MAC_init(mac.0.as_ptr(), zeros.as_ptr(), zeros.len(), choice.as_ptr());
            check(code, "EVP_MAC_init")?;
            Ok(mac)
        }
    }

    /// A copy of `template` under a key of its own.
    fn keyed(template: &Mac, key: &[u8; 32]) -> Result<Self> {
        // SAFETY: a live context that nobody writes; the copy is ours.
        let mac = Self(made(unsafe { ffi::EVP_MAC_CTX_dup(template.0.as_ptr()) }, "EVP_MAC_CTX_dup")?);
        // SAFETY: a live context and a key of 32 bytes; no parameters.
        let code = unsafe { ffi::EVP_MAC_init(mac.0.as_ptr(), key.as_ptr(), key.len(), ptr::null()) };
        check(code, "EVP_MAC_init")?;
        Ok(mac)
    }

    fn finish<const N: usize>(&mut self, parts: &[&[u8]]) -> Result<[u8; N]> {
        let (mut out, mut written) = ([0; N], 0);
        // SAFETY: a live context; each part is a slice; `out` has the N bytes it is said to have.
        unsafe {
            for part in parts {
                check(ffi::EVP_MAC_update(self.0.as_ptr(), part.as_ptr(), part.len()), "EVP_MAC_update")?;
            }
            let code = ffi::EVP_MAC_final(self.0.as_ptr(), out.as_mut_ptr(), &mut written, N);
            check(code, "EVP_MAC_final")?;
        }
        if written == N { Ok(out) } else { Err(wrong_length()) }
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        // SAFETY: made by EVP_MAC_CTX_new or _dup, freed once.
        unsafe { ffi::EVP_MAC_CTX_free(self.0.as_ptr()) };
    }
}

/// AES-256-CMAC (NIST SP 800-38B) of the parts joined.
pub fn cmac(key: &[u8; 32], message: &[&[u8]]) -> Result<[u8; 16]> {
    Mac::keyed(&init()?.cmac, key)?.finish(message)
}

/// HMAC-SHA-256 (FIPS 198-1) under a kept key.
pub struct Hmac(Mac);

impl Hmac {
    pub fn new(key: &[u8; 32]) -> Result<Self> {
        Ok(Self(Mac::keyed(&init()?.hmac, key)?))
    }

    /// The MAC of the parts joined.
    pub fn mac(&mut self, parts: &[&[u8]]) -> Result<[u8; 32]> {
        // SAFETY: a live context; a null key restarts under the one it has.
        check(unsafe { ffi::EVP_MAC_init(self.0.0.as_ptr(), ptr::null(), 0, ptr::null()) }, "EVP_MAC_init")?;
        self.0.finish(parts)
    }
}

/// Whether the bytes are equal, in a time that depends on the lengths alone.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    // SAFETY: both ranges have the compared length.
    a.len() == b.len() && unsafe { ffi::CRYPTO_memcmp(a.as_ptr().cast(), b.as_ptr().cast(), a.len()) } == 0
}

#[cfg(test)]
mod tests;
