//! libcrypto's start: its memory, our library context, and the algorithms that are fetched once.

use std::ffi::CStr;
#[cfg(not(miri))]
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::call::{check, made};
use super::contexts::Mac;
#[cfg(not(miri))]
use super::cpu;
#[cfg(all(any(feature = "vendored", test), not(miri)))]
use super::dispatch::ProviderFunctions;
use super::ffi::{self, EVP_CIPHER, OSSL_LIB_CTX};
use crate::error::{Error, Result};
use crate::sys::{exit, fork, heap};

// Options of OPENSSL_init_crypto (openssl/crypto.h).
const INIT_NO_LOAD_CONFIG: u64 = 0x0000_0080;
const INIT_NO_ATEXIT: u64 = 0x0008_0000;

/// What is fetched once and kept for the life of the process.
pub(super) struct Library {
    pub(super) context: NonNull<OSSL_LIB_CTX>,
    #[cfg(any(not(feature = "vendored"), test, miri))]
    pub(super) gcm: NonNull<EVP_CIPHER>,
    #[cfg(all(any(feature = "vendored", test), not(miri)))]
    pub(super) functions: ProviderFunctions,
    pub(super) ecb: NonNull<EVP_CIPHER>,
    /// Contexts with cipher and digest already chosen, under a key of zeros: copied, because choosing fetches.
    pub(super) cmac: Mac,
    pub(super) hmac: Mac,
    pub(super) hmac_sha512: Mac,
}

// SAFETY: the library context locks for itself; fetched algorithms are immutable and counted atomically; the MAC
// contexts are only ever read, as the source of a copy.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

thread_local! {
    static AT_END: ThreadStop = const { ThreadStop };
}

/// Ends libcrypto's part of a thread inside the fork gate, before libcrypto would do it by itself: it takes a lock of its
/// own there, which a child of a fork in that moment would find locked without end.
struct ThreadStop;

impl Drop for ThreadStop {
    fn drop(&mut self) {
        // A shared libcrypto serves the host's code in this thread too: should it call again before the thread is gone,
        // libcrypto starts again.
        if cfg!(not(miri)) {
            // SAFETY: takes nothing; this thread's cipher contexts don't need it any more.
            fork::gate(|| unsafe { ffi::OPENSSL_thread_stop() });
        }
    }
}

/// The fetched algorithms, and this thread's error queue made ready: every call of libcrypto that may take one of its
/// locks is below this one, but for the end of a thread, which [`ThreadStop`] sees to.
pub(super) fn init() -> Result<&'static Library> {
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
        let _provider = made(unsafe { ffi::OSSL_PROVIDER_load(context, c"default".as_ptr()) }, "OSSL_PROVIDER_load")?;
        Ok(Self {
            #[cfg(all(any(feature = "vendored", test), not(miri)))]
            functions: ProviderFunctions::of(_provider)?,
            context: library,
            #[cfg(any(not(feature = "vendored"), test, miri))]
            gcm: fetch_cipher(context, c"AES-256-GCM")?,
            ecb: fetch_cipher(context, c"AES-256-ECB")?,
            cmac: Mac::fetch(context, c"CMAC", c"cipher", c"AES-256-CBC")?,
            hmac: Mac::fetch(context, c"HMAC", c"digest", c"SHA256")?,
            hmac_sha512: Mac::fetch(context, c"HMAC", c"digest", c"SHA512")?,
        })
    }
}

pub(super) fn fetch_cipher(context: *mut OSSL_LIB_CTX, name: &CStr) -> Result<NonNull<EVP_CIPHER>> {
    // SAFETY: a live context and a terminated name.
    made(unsafe { ffi::EVP_CIPHER_fetch(context, name.as_ptr(), ptr::null()) }, "EVP_CIPHER_fetch")
}
