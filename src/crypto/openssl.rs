//! The calls of libcrypto that this library makes, behind safe types; the only place that names openssl_sys.
//!
//! Everything is fetched once into our library context, which is never freed, so the host's OPENSSL_CONF,
//! providers and FIPS switch don't reach us, and its exit doesn't take anything away from a running thread. Its memory is
//! `sys::heap`'s, where it isn't shared with the host. Freeing a context wipes it (OpenSSL cleanses cipher and MAC
//! contexts). No key or nonce comes from OpenSSL's random generator;
//! where RSA draws from it, `rsa` reseeds it first.
//!
//! Every failure except a failed tag is `Internal` with the name of the call: none of them depends on the caller's data.
//!
//! * `gcm`, `block`, `mac`, `rsa`: what the rest of the library calls; `gcm` has two engines. `modes`: what PKCS#11 needs.
//! * `tls`: the client's side of TLS, for keystores in a database.
//! * `library`: libcrypto's start. `contexts`: its contexts. `call`: errors and parameters. `ffi`: its functions. `dispatch`: those
//!   of its provider.
//! * `cpu`: what the CPU can do. `miri`: a stand-in for libcrypto where only Rust runs.

mod block;
mod call;
mod contexts;
#[cfg(not(miri))]
mod cpu;
#[cfg(all(any(feature = "vendored", test), not(miri)))]
mod dispatch;
#[cfg(not(miri))]
mod ffi;
mod gcm;
mod library;
mod mac;
#[allow(clippy::missing_errors_doc, reason = "seen outside of the crate by the PKCS#11 module alone")]
mod modes;
#[cfg(miri)]
mod miri;
pub mod rsa;
#[cfg(feature = "postgres")]
pub mod tls;

#[cfg(miri)]
use miri as ffi;

pub use block::Block;
pub use call::AUTHENTICATION_FAILED;
pub use gcm::{Gcm, Input, Start, TAG};
pub use library::{Memory, is_quick, memory};
pub use mac::{Hmac, cmac, equal, hmac_sha512};
pub use modes::{AES_BLOCK, AesMode, AesStream, AnyGcm, GcmParts, MOST_WRAPPED, WRAP_OVERHEAD, unwrap_key, wrap_key};

#[cfg(test)]
mod tests;
