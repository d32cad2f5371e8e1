//! AES-256-GCM by EVP calls alone: context kept; per message the IV is set, and the key where that is what is compared.

use std::ffi::c_int;
use std::ptr::{null, null_mut};

use openssl_sys as evp;

/// As long as the library's for a context of one short entry.
const AAD: [u8; 64] = [2; 64];
const IV: [u8; 12] = [1; 12];

pub struct Raw(*mut evp::EVP_CIPHER_CTX);

impl Raw {
    pub fn new() -> Self {
        unsafe {
            let context = evp::EVP_CIPHER_CTX_new();
            let started =
                evp::EVP_EncryptInit_ex(context, evp::EVP_aes_256_gcm(), null_mut(), [7u8; 32].as_ptr(), null());
            assert_eq!(started, 1, "raw EVP");
            Self(context)
        }
    }

    pub fn set_key(&mut self, key: &[u8; 32]) {
        unsafe { evp::EVP_EncryptInit_ex(self.0, null(), null_mut(), key.as_ptr(), null()) };
    }

    /// Writes ciphertext and tag.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) {
        let mut len: c_int = 0;
        unsafe {
            evp::EVP_EncryptInit_ex(self.0, null(), null_mut(), null(), IV.as_ptr());
            evp::EVP_EncryptUpdate(self.0, null_mut(), &mut len, AAD.as_ptr(), AAD.len() as c_int);
            evp::EVP_EncryptUpdate(self.0, out.as_mut_ptr(), &mut len, plaintext.as_ptr(), plaintext.len() as c_int);
            evp::EVP_EncryptFinal_ex(self.0, out.as_mut_ptr().add(plaintext.len()), &mut len);
            let tag = out.as_mut_ptr().add(plaintext.len()).cast();
            evp::EVP_CIPHER_CTX_ctrl(self.0, evp::EVP_CTRL_GCM_GET_TAG, 16, tag);
        }
    }

    pub fn sealed(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = vec![0; plaintext.len() + 16];
        self.seal(plaintext, &mut out);
        out
    }

    pub fn open(&mut self, sealed: &[u8], out: &mut [u8]) {
        let (text, mut len): (_, c_int) = (sealed.len() - 16, 0);
        unsafe {
            evp::EVP_DecryptInit_ex(self.0, null(), null_mut(), null(), IV.as_ptr());
            let tag = sealed.as_ptr().add(text).cast_mut().cast();
            evp::EVP_CIPHER_CTX_ctrl(self.0, evp::EVP_CTRL_GCM_SET_TAG, 16, tag);
            evp::EVP_DecryptUpdate(self.0, null_mut(), &mut len, AAD.as_ptr(), AAD.len() as c_int);
            evp::EVP_DecryptUpdate(self.0, out.as_mut_ptr(), &mut len, sealed.as_ptr(), text as c_int);
            let done = evp::EVP_DecryptFinal_ex(self.0, out.as_mut_ptr().add(text), &mut len);
            assert_eq!(done, 1, "raw EVP opens what it sealed");
        }
    }
}
