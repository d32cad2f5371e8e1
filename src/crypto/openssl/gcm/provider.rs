//! AES-256-GCM through the functions that libcrypto's default provider offers, without EVP in between.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::{Engine, Start, TAG};
use crate::crypto::openssl::call::{PARAM_OCTET_STRING, check, made, param, unauthentic};
use crate::crypto::openssl::dispatch::ProviderFunctions;
use crate::crypto::openssl::ffi::OSSL_PARAM;
use crate::crypto::openssl::library::init;
use crate::error::Result;

const KEY: usize = 32;
const NONCE: usize = 12;

/// The provider's context: made here, wiped and freed by the provider.
pub struct ProviderGcm {
    functions: &'static ProviderFunctions,
    state: NonNull<c_void>,
    /// The list of one parameter, the tag, whose address each message sets.
    tag: [OSSL_PARAM; 2],
}

// SAFETY: a context is plain memory without ties to its thread; it isn't Sync, and every use takes `&mut`. The list's
// addresses are of a constant, and of a tag that only the call that set it uses.
unsafe impl Send for ProviderGcm {}

impl ProviderGcm {
    /// The list with the address of a message's tag.
    #[inline(always)]
    fn tag_at(&mut self, tag: *mut u8) -> *mut OSSL_PARAM {
        let [parameter, _] = &mut self.tag;
        parameter.data = tag.cast();
        self.tag.as_mut_ptr()
    }
}

impl Engine for ProviderGcm {
    fn new() -> Result<Self> {
        let functions = &init()?.functions;
        // SAFETY: what the provider makes contexts with is live as long as the process.
        let state = made(unsafe { (functions.new)(functions.provider) }, "the provider's cipher_newctx")?;
        Ok(Self { functions, state, tag: param(c"tag", PARAM_OCTET_STRING, ptr::null_mut(), TAG) })
    }

    fn set_key(&mut self, key: &[u8; 32]) -> Result<()> {
        // SAFETY: a live context and a key of its length; a null nonce means "later", and there are no parameters.
        let code =
            unsafe { (self.functions.encrypt)(self.state.as_ptr(), key.as_ptr(), KEY, ptr::null(), 0, ptr::null()) };
        check(code, "the provider's cipher_encrypt_init")
    }

    #[inline(always)]
    unsafe fn seal(&mut self, start: Start<'_>, aad: &[u8], input: *const u8, len: usize, out: *mut u8) -> Result<()> {
        let (functions, state) = (self.functions, self.state.as_ptr());
        // SAFETY: a live context; a key of its length, or null, and a nonce of its length; AAD is a slice; text and tag
        // are the caller's word; an ended list of parameters.
        unsafe {
            let (key, nonce) = (start.key(), start.nonce.as_ptr());
            let code = (functions.encrypt)(state, key, KEY, nonce, NONCE, ptr::null());
            check(code, "the provider's cipher_encrypt_init")?;
            functions.feed(state, ptr::null_mut(), aad.as_ptr(), aad.len())?;
            functions.feed(state, out, input, len)?;
            check(functions.finish(state), "the provider's cipher_final")?;
            let tag = self.tag_at(out.add(len));
            check((functions.get)(state, tag), "the provider's cipher_get_ctx_params")
        }
    }

    #[inline(always)]
    fn open(&mut self, start: Start<'_>, aad: &[u8], text: &[u8], tag: &[u8; TAG], out: &mut [u8]) -> Result<()> {
        let (functions, state) = (self.functions, self.state.as_ptr());
        // SAFETY: a live context; a key of its length, or null, and a nonce of its length; an ended list of parameters,
        // whose tag is only read, through a pointer that C calls mutable; the other ranges are slices, `out` as long as
        // `text`.
        unsafe {
            let (key, nonce) = (start.key(), start.nonce.as_ptr());
            let tag = self.tag_at(tag.as_ptr().cast_mut());
            let code = (functions.decrypt)(state, key, KEY, nonce, NONCE, tag);
            check(code, "the provider's cipher_decrypt_init")?;
            functions.feed(state, ptr::null_mut(), aad.as_ptr(), aad.len())?;
            functions.feed(state, out.as_mut_ptr(), text.as_ptr(), text.len())?;
            if functions.finish(state) > 0 { Ok(()) } else { Err(unauthentic()) }
        }
    }
}

impl Drop for ProviderGcm {
    fn drop(&mut self) {
        // SAFETY: made by the provider, freed once.
        unsafe { (self.functions.free)(self.state.as_ptr()) };
    }
}
