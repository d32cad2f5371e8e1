//! Everything cryptographic, and the only code that names OpenSSL.

pub mod openssl;
