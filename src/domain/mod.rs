//! The pure rules of keys: no I/O, no clock, no randomness, no cryptography.
//!
//! * `id`, `time`, `limits`: the words the rules are written in.
//! * `key`: what a customer master key (CMK) is.
//! * `state`: which state allows which operation, and how states change.
//! * `rotation`: when a new version is due. `deletion`: when a key may be destroyed.

pub mod deletion;
pub mod id;
pub mod key;
pub mod limits;
pub mod rotation;
pub mod state;
pub mod time;
pub mod version;
