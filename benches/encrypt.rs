//! What a call costs beside the cipher itself: kms_encrypt and kms_decrypt through the C ABI against raw EVP calls with
//! a kept key, on the same OpenSSL, in one process, round by round.
//!
//! The figures are minima and medians in nanoseconds; the ratio is that of one run on one machine.

use std::ffi::{c_char, c_int, c_void};
use std::hint::black_box;
use std::time::Instant;

use kms as _;
use openssl_sys as evp;

const ROUNDS: usize = 60;
const CALLS: usize = 2000;

#[repr(C)]
struct Entry {
    key: *const c_char,
    value: *const c_char,
}

unsafe extern "C" {
    fn kms_options_new() -> *mut c_void;
    fn kms_options_set_root_key(options: *mut c_void, key: *const u8, len: usize) -> i32;
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

/// AES-256-GCM with context and key kept; per message only the IV is set. AAD as long as the library's.
struct Raw(*mut evp::EVP_CIPHER_CTX);

impl Raw {
    fn new() -> Self {
        unsafe {
            let context = evp::EVP_CIPHER_CTX_new();
            let key = [7u8; 32];
            let null = std::ptr::null_mut();
            let started =
                evp::EVP_EncryptInit_ex(context, evp::EVP_aes_256_gcm(), null, key.as_ptr(), std::ptr::null());
            assert_eq!(started, 1, "raw EVP");
            Self(context)
        }
    }

    fn seal(&self, plaintext: &[u8], out: &mut [u8]) {
        let iv = [1u8; 12];
        let aad = [2u8; 64];
        let mut len: c_int = 0;
        unsafe {
            let null = std::ptr::null_mut();
            evp::EVP_EncryptInit_ex(self.0, std::ptr::null(), null, std::ptr::null(), iv.as_ptr());
            evp::EVP_EncryptUpdate(self.0, null.cast(), &mut len, aad.as_ptr(), aad.len() as c_int);
            evp::EVP_EncryptUpdate(self.0, out.as_mut_ptr(), &mut len, plaintext.as_ptr(), plaintext.len() as c_int);
            evp::EVP_EncryptFinal_ex(self.0, out.as_mut_ptr().add(plaintext.len()), &mut len);
            let tag = out.as_mut_ptr().add(plaintext.len()).cast();
            evp::EVP_CIPHER_CTX_ctrl(self.0, evp::EVP_CTRL_GCM_GET_TAG, 16, tag);
        }
    }
}

fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

fn summary(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

fn main() {
    let mut kms = std::ptr::null_mut();
    let mut key: [c_char; 37] = [0; 37];
    unsafe {
        let options = kms_options_new();
        assert_eq!(kms_options_set_root_key(options, [9u8; 32].as_ptr(), 32), 0);
        assert_eq!(kms_open(c"memory:".as_ptr(), options, &mut kms), 0);
        kms_options_free(options);
        assert_eq!(kms_create_key(kms, std::ptr::null(), key.as_mut_ptr()), 0);
    }
    let entry = Entry { key: c"tenant".as_ptr(), value: c"42".as_ptr() };
    let raw = Raw::new();

    println!(
        "{:>8}  {:>16}  {:>22}  {:>22}",
        "bytes", "raw EVP min/med", "encrypt min/med ratio", "decrypt min/med ratio"
    );
    for size in [0usize, 64, 1024, 65_536] {
        let plaintext = vec![3u8; size];
        let mut out = vec![0u8; size + 112];
        let mut blob = vec![0u8; size + 112];
        let (mut len, mut blob_len) = (0, 0);
        let encrypt = |out: &mut [u8], len: &mut usize| unsafe {
            let status =
                kms_encrypt(kms, key.as_ptr(), plaintext.as_ptr(), size, &entry, 1, out.as_mut_ptr(), out.len(), len);
            assert_eq!(status, 0);
        };
        encrypt(&mut blob, &mut blob_len);
        let (mut raws, mut seals, mut opens) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            raws.push(time(|| raw.seal(black_box(&plaintext), black_box(&mut out))));
            seals.push(time(|| encrypt(black_box(&mut out), &mut len)));
            opens.push(time(|| unsafe {
                let status =
                    kms_decrypt(kms, blob.as_ptr(), blob_len, &entry, 1, out.as_mut_ptr(), out.len(), &mut len);
                assert_eq!(status, 0);
            }));
        }
        let (raw, seal, open) = (summary(raws), summary(seals), summary(opens));
        println!(
            "{size:>8}  {:>7.0} {:>8.0}  {:>7.0} {:>7.0} {:>5.2}x  {:>7.0} {:>7.0} {:>5.2}x",
            raw.0,
            raw.1,
            seal.0,
            seal.1,
            seal.1 / raw.1,
            open.0,
            open.1,
            open.1 / raw.1
        );
    }
    unsafe { kms_close(kms) };
}
