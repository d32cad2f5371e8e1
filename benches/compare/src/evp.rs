//! Raw EVP: AES-256-GCM by libcrypto's calls, on the libcrypto that is opened.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use crate::cipher::{AAD, Cipher, KEY, Nonce, TAG};
use crate::dynamic::{Object, functions};

const GET_TAG: c_int = 0x10;
const SET_TAG: c_int = 0x11;

functions! {
    Functions {
        version: "OpenSSL_version" = (c_int) -> *const c_char;
        aes_256_gcm: "EVP_aes_256_gcm" = () -> *const c_void;
        new: "EVP_CIPHER_CTX_new" = () -> *mut c_void;
        free: "EVP_CIPHER_CTX_free" = (*mut c_void);
        ctrl: "EVP_CIPHER_CTX_ctrl" = (*mut c_void, c_int, c_int, *mut c_void) -> c_int;
        encrypt_init: "EVP_EncryptInit_ex" = (*mut c_void, *const c_void, *mut c_void, *const u8, *const u8) -> c_int;
        encrypt_update: "EVP_EncryptUpdate" = (*mut c_void, *mut u8, *mut c_int, *const u8, c_int) -> c_int;
        encrypt_final: "EVP_EncryptFinal_ex" = (*mut c_void, *mut u8, *mut c_int) -> c_int;
        decrypt_init: "EVP_DecryptInit_ex" = (*mut c_void, *const c_void, *mut c_void, *const u8, *const u8) -> c_int;
        decrypt_update: "EVP_DecryptUpdate" = (*mut c_void, *mut u8, *mut c_int, *const u8, c_int) -> c_int;
        decrypt_final: "EVP_DecryptFinal_ex" = (*mut c_void, *mut u8, *mut c_int) -> c_int;
    }
}

/// One libcrypto.
#[derive(Clone, Copy)]
pub struct Libcrypto(Functions);

impl Libcrypto {
    pub fn open(path: &Path) -> Result<Self, String> {
        Functions::find(Object::open(path)?).map(Self)
    }

    /// "OpenSSL 3.6.3"
    pub fn version(&self) -> String {
        let text = unsafe { CStr::from_ptr((self.0.version)(0)) }.to_string_lossy().into_owned();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }
}

/// What is set again for each message, in addition to the IV.
#[derive(Clone, Copy, PartialEq)]
pub enum Habit {
    KeyKept,
    KeySet,
    NewContext,
}

/// A key with its two contexts.
pub struct Evp {
    crypto: Functions,
    habit: Habit,
    seal: *mut c_void,
    open: *mut c_void,
    key: [u8; 32],
    nonce: Nonce,
}

impl Evp {
    pub fn new(crypto: &Libcrypto, habit: Habit) -> Self {
        Self::with_key(crypto, habit, &KEY)
    }

    pub fn with_key(crypto: &Libcrypto, habit: Habit, key: &[u8; 32]) -> Self {
        let f = crypto.0;
        unsafe {
            let (seal, open) = ((f.new)(), (f.new)());
            assert_eq!((f.encrypt_init)(seal, (f.aes_256_gcm)(), null_mut(), key.as_ptr(), null()), 1, "EVP key");
            assert_eq!((f.decrypt_init)(open, (f.aes_256_gcm)(), null_mut(), key.as_ptr(), null()), 1, "EVP key");
            Self { crypto: f, habit, seal, open, key: *key, nonce: Nonce::default() }
        }
    }

    /// Takes the place of the key that is set with the next message.
    pub fn set_key(&mut self, key: &[u8; 32]) {
        self.key = *key;
    }

    fn key(&self) -> *const u8 {
        if self.habit == Habit::KeyKept { null() } else { self.key.as_ptr() }
    }
}

impl Drop for Evp {
    fn drop(&mut self) {
        unsafe {
            (self.crypto.free)(self.seal);
            (self.crypto.free)(self.open);
        }
    }
}

impl Cipher for Evp {
    #[inline]
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) {
        let f = &self.crypto;
        let key = self.key();
        let nonce = self.nonce.next();
        let mut len: c_int = 0;
        unsafe {
            let mut context = self.seal;
            let mut cipher = null();
            if self.habit == Habit::NewContext {
                context = (f.new)();
                cipher = (f.aes_256_gcm)();
            }
            (f.encrypt_init)(context, cipher, null_mut(), key, nonce.as_ptr());
            (f.encrypt_update)(context, null_mut(), &mut len, AAD.as_ptr(), AAD.len() as c_int);
            (f.encrypt_update)(context, out.as_mut_ptr(), &mut len, plaintext.as_ptr(), plaintext.len() as c_int);
            let tag = out.as_mut_ptr().add(plaintext.len());
            (f.encrypt_final)(context, tag, &mut len);
            assert_eq!((f.ctrl)(context, GET_TAG, TAG as c_int, tag.cast()), 1, "EVP seal");
            if self.habit == Habit::NewContext {
                (f.free)(context);
            }
        }
    }

    #[inline]
    fn open(&mut self, sealed: &[u8], out: &mut [u8]) {
        let f = &self.crypto;
        let key = self.key();
        let nonce = self.nonce.last();
        let size = sealed.len() - TAG;
        let mut len: c_int = 0;
        unsafe {
            let mut context = self.open;
            let mut cipher = null();
            if self.habit == Habit::NewContext {
                context = (f.new)();
                cipher = (f.aes_256_gcm)();
            }
            (f.decrypt_init)(context, cipher, null_mut(), key, nonce.as_ptr());
            (f.decrypt_update)(context, null_mut(), &mut len, AAD.as_ptr(), AAD.len() as c_int);
            (f.decrypt_update)(context, out.as_mut_ptr(), &mut len, sealed.as_ptr(), size as c_int);
            (f.ctrl)(context, SET_TAG, TAG as c_int, sealed.as_ptr().add(size).cast_mut().cast());
            assert_eq!((f.decrypt_final)(context, out.as_mut_ptr().add(size), &mut len), 1, "EVP open");
            if self.habit == Habit::NewContext {
                (f.free)(context);
            }
        }
    }
}
