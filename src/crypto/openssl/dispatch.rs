//! The table of functions that libcrypto's default provider offers for AES-256-GCM.
//!
//! The interface is public: OSSL_PROVIDER_query_operation(3), provider-cipher(7). The numbers of the functions and their
//! types are those of openssl/core_dispatch.h, and never change.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::call::{check, failed};
use super::ffi::{OSSL_PARAM, OSSL_PROVIDER};
use crate::error::Result;

/// What a provider's table holds; cast to its own type before it is called.
type Function = unsafe extern "C" fn();

/// OSSL_ALGORITHM (openssl/core.h).
#[repr(C)]
struct ProviderAlgorithm {
    names: *const c_char,
    _properties: *const c_char,
    functions: *const DispatchEntry,
    _description: *const c_char,
}

/// OSSL_DISPATCH (openssl/core.h).
#[repr(C)]
struct DispatchEntry {
    number: c_int,
    function: Option<Function>,
}

unsafe extern "C" {
    fn OSSL_PROVIDER_query_operation(
        provider: *const OSSL_PROVIDER,
        operation: c_int,
        no_cache: *mut c_int,
    ) -> *const ProviderAlgorithm;
    fn OSSL_PROVIDER_get0_provider_ctx(provider: *const OSSL_PROVIDER) -> *mut c_void;
}

/// OSSL_OP_CIPHER (openssl/core_dispatch.h).
const CIPHER: c_int = 2;
/// The longest rest that a cipher writes at its end.
const BLOCK: usize = 16;

type NewContext = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type FreeContext = unsafe extern "C" fn(*mut c_void);
type Init = unsafe extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize, *const OSSL_PARAM) -> c_int;
type UpdateFunction = unsafe extern "C" fn(*mut c_void, *mut u8, *mut usize, usize, *const u8, usize) -> c_int;
type Final = unsafe extern "C" fn(*mut c_void, *mut u8, *mut usize, usize) -> c_int;
type GetParams = unsafe extern "C" fn(*mut c_void, *mut OSSL_PARAM) -> c_int;

/// The provider's functions of AES-256-GCM, and what it makes contexts with.
pub struct ProviderFunctions {
    pub(super) provider: *mut c_void,
    pub(super) new: NewContext,
    pub(super) free: FreeContext,
    pub(super) encrypt: Init,
    pub(super) decrypt: Init,
    update: UpdateFunction,
    end: Final,
    pub(super) get: GetParams,
}

// SAFETY: addresses of functions, and of the provider's own state, which locks for itself.
unsafe impl Send for ProviderFunctions {}
// SAFETY: as above.
unsafe impl Sync for ProviderFunctions {}

impl ProviderFunctions {
    /// Asks a provider that is never unloaded.
    pub fn of(provider: NonNull<OSSL_PROVIDER>) -> Result<Self> {
        let wanted = || failed("OSSL_PROVIDER_query_operation");
        let mut no_cache = 0;
        // SAFETY: a live provider and a place for an int.
        let mut algorithm = unsafe { OSSL_PROVIDER_query_operation(provider.as_ptr(), CIPHER, &mut no_cache) };
        // SAFETY: what the provider returns is NULL, or a list that ends with a name of NULL and stays.
        let functions = unsafe {
            loop {
                let entry = algorithm.as_ref().filter(|entry| !entry.names.is_null()).ok_or_else(wanted)?;
                if names(entry.names, c"AES-256-GCM") {
                    break entry.functions;
                }
                algorithm = algorithm.add(1);
            }
        };
        let find = |number: c_int| {
            let mut at = functions;
            // SAFETY: a list of functions that ends with number 0.
            unsafe {
                while (*at).number != 0 {
                    if (*at).number == number {
                        return (*at).function.ok_or_else(wanted);
                    }
                    at = at.add(1);
                }
            }
            Err(wanted())
        };
        // SAFETY: each number identifies a function of this type (openssl/core_dispatch.h); the provider is live.
        unsafe {
            Ok(Self {
                provider: OSSL_PROVIDER_get0_provider_ctx(provider.as_ptr()),
                new: std::mem::transmute::<Function, NewContext>(find(1)?),
                encrypt: std::mem::transmute::<Function, Init>(find(2)?),
                decrypt: std::mem::transmute::<Function, Init>(find(3)?),
                update: std::mem::transmute::<Function, UpdateFunction>(find(4)?),
                end: std::mem::transmute::<Function, Final>(find(5)?),
                free: std::mem::transmute::<Function, FreeContext>(find(7)?),
                get: std::mem::transmute::<Function, GetParams>(find(10)?),
            })
        }
    }

    /// Takes AAD (null `out`) or text; an empty one is none.
    ///
    /// # Safety
    /// `state` is a live context of these functions. `input` is readable for `len` bytes; `out` is null, or writable for
    /// `len` bytes and either `input` itself or apart from it.
    #[inline(always)]
    pub(super) unsafe fn feed(&self, state: *mut c_void, out: *mut u8, input: *const u8, len: usize) -> Result<()> {
        let mut written = MaybeUninit::uninit();
        // SAFETY: the caller's promise; `out` has room for the `len` bytes that it is said to have, or takes none.
        let code = unsafe { (self.update)(state, out, written.as_mut_ptr(), len, input, len) };
        check(code, "the provider's cipher_update")
    }

    /// Ends a message; after a decryption, whether the tag was right.
    ///
    /// # Safety
    /// `state` is a live context of these functions.
    #[inline(always)]
    pub(super) unsafe fn finish(&self, state: *mut c_void) -> c_int {
        let (mut rest, mut written) = (MaybeUninit::<[u8; BLOCK]>::uninit(), MaybeUninit::uninit());
        // SAFETY: the caller's promise, and a place of a block, of which GCM writes nothing.
        unsafe { (self.end)(state, rest.as_mut_ptr().cast(), written.as_mut_ptr(), BLOCK) }
    }
}

/// Whether a list of names, with colons between them, has this one.
///
/// # Safety
/// `list` is a terminated text.
unsafe fn names(list: *const c_char, name: &CStr) -> bool {
    // SAFETY: the caller's promise.
    let list = unsafe { CStr::from_ptr(list) };
    list.to_bytes().split(|byte| *byte == b':').any(|found| found == name.to_bytes())
}
