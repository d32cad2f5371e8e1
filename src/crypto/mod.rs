//! Everything cryptographic, and the only code that names OpenSSL.
//!
//! * `openssl`: libcrypto's calls behind safe types (GCM, AES blocks, CMAC, HMAC, RSA); the only place that names it
//! * `xaes`: XAES-256-GCM, with derived keys kept while it is safe; what seals and opens every message
//! * `row`: XAES-256-GCM for the keystore's rows, one key and many small texts
//! * `blob`: the ciphertext's header, bytes only
//! * `cobblestone`: the body of a file, in chunks. `file_header`: its header, bytes only
//! * `context`: the caller's encryption context, and the AAD made of it
//! * `import`: import tokens, and the digest of imported material
//! * `kdf`: subkeys of the store's root key
//! * `subkey`: subkeys of a key version, for the mechanisms of PKCS#11
//! * `passphrase`: the key of a passphrase slot (Argon2id)
//! * `plaintext`: plaintexts in the hands of the caller

pub mod blob;
pub mod cobblestone;
pub mod context;
pub mod file_header;
pub mod import;
pub mod kdf;
pub mod openssl;
pub mod passphrase;
pub mod plaintext;
pub mod row;
pub mod subkey;
pub mod xaes;

#[cfg(test)]
mod vectors;
