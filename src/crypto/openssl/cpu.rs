//! Which instructions libcrypto uses: those that the CPU has, ignoring the environment.
//!
//! libcrypto reads OPENSSL_ia32cap (OPENSSL_armcap on aarch64) when it is loaded, before any code of the library runs. A value
//! left there for another program would take AES-NI from us: table-driven AES, 24 times slower, with timing that depends
//! on the key. The built-in libcrypto is set up again from the CPU alone; of a shared one only the outcome is read.

use std::ffi::{CStr, c_char, c_int};

#[cfg(feature = "vendored")]
use crate::sys::fault;

unsafe extern "C" {
    fn OPENSSL_info(kind: c_int) -> *const c_char;
}

/// OPENSSL_INFO_CPU_SETTINGS (openssl/crypto.h).
const CPU_SETTINGS: c_int = 1008;

/// Takes back what the environment has changed. Called before a cipher is fetched, and once.
pub fn forget_environment() {
    #[cfg(feature = "vendored")]
    if knows_capabilities() && !fault::wanted("KMS_FAULT_CIPHER_ENVIRONMENT") {
        set_again();
    }
}

#[cfg(feature = "vendored")]
fn set_again() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `knows_capabilities` confirmed the release whose array has this length. The function fills an array as long
    // as libcrypto's own, whose first two words are its result, as in OPENSSL_cpuid_setup (crypto/cpuid.c). Words are
    // only changed where the environment has changed them; libcrypto itself reads them without a lock.
    unsafe {
        let mut found = [0u32; CAPABILITIES];
        let first = OPENSSL_ia32_cpuid(found.as_mut_ptr());
        let [low, high, ..] = &mut found;
        // The bit says that all is set up.
        (*low, *high) = (first as u32 | 1 << 10, (first >> 32) as u32);
        let known = &raw mut OPENSSL_ia32cap_P;
        if known.read() != found {
            known.write(found);
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: one word, which libcrypto itself reads without a lock.
    unsafe {
        let known = &raw mut OPENSSL_armcap_P;
        known.write(known.read() | arm_capabilities());
    }
}

/// Whether libcrypto is of the release whose private words this file knows. A dependent's lock file may choose another,
/// whose array has another length; the health flag then reports what the environment has changed.
#[cfg(feature = "vendored")]
fn knows_capabilities() -> bool {
    const KNOWN: std::ffi::c_ulong = 0x306;
    // SAFETY: returns a constant of libcrypto.
    (unsafe { openssl_sys::OpenSSL_version_num() } >> 20) == KNOWN
}

/// OPENSSL_IA32CAP_P_MAX_INDEXES (crypto/cryptlib.h of OpenSSL 3.6).
#[cfg(all(feature = "vendored", target_arch = "x86_64"))]
const CAPABILITIES: usize = 10;

#[cfg(all(feature = "vendored", target_arch = "x86_64"))]
unsafe extern "C" {
    static mut OPENSSL_ia32cap_P: [u32; CAPABILITIES];
    fn OPENSSL_ia32_cpuid(capabilities: *mut u32) -> u64;
}

#[cfg(all(feature = "vendored", target_arch = "aarch64"))]
unsafe extern "C" {
    static mut OPENSSL_armcap_P: u32;
}

/// What AES-GCM and SHA-256 use (crypto/arm_arch.h).
#[cfg(all(feature = "vendored", target_arch = "aarch64"))]
fn arm_capabilities() -> u32 {
    use std::arch::is_aarch64_feature_detected;
    let found = [
        (is_aarch64_feature_detected!("neon"), 0),
        (is_aarch64_feature_detected!("aes"), 2),
        (is_aarch64_feature_detected!("sha2"), 4),
        (is_aarch64_feature_detected!("pmull"), 5),
    ];
    found.iter().filter(|(found, _)| *found).map(|(_, bit)| 1 << bit).sum()
}

/// Whether libcrypto has the CPU's instructions for AES and GHASH; yes where that is unknown. Reads text that libcrypto
/// makes once.
pub fn is_quick() -> bool {
    // SAFETY: returns NULL, or a text that stays.
    let text = unsafe { OPENSSL_info(CPU_SETTINGS) };
    if text.is_null() {
        return true;
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_str().ok().and_then(has_instructions).unwrap_or(true)
}

/// From a text such as `OPENSSL_ia32cap=0x7efaf3bfffebffff:0x18c05fdef3bfa7eb`.
fn has_instructions(settings: &str) -> Option<bool> {
    let (name, values) = settings.split_once("=0x")?;
    let first = values.split([':', ' ']).next()?;
    let capabilities = u64::from_str_radix(first, 16).ok()?;
    // PCLMULQDQ and AES-NI in the second word; AES and PMULL.
    let wanted = match name {
        "OPENSSL_ia32cap" => 1 << 33 | 1 << 57,
        "OPENSSL_armcap" => 1 << 2 | 1 << 5,
        _ => return None,
    };
    Some(capabilities & wanted == wanted)
}

#[cfg(test)]
mod tests;
