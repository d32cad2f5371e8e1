//! The pure rules of keys: no I/O, no clock, no randomness, no cryptography.
//!
//! * `id`, `time`, `limits`: the words the rules are written in.
//! * `key`: what a customer master key (CMK) is.
//! * `state`: which state allows which operation, and how states change.
//! * `rotation`: when a new version is due. `deadline`: when what can't be undone may be done; `deletion` of a key is.
//! * `material`: imported material. `alias`, `tag`: names and labels.
//! * `arn`: resource names. `log`: what the change log says.

pub mod alias;
pub mod arn;

pub mod deadline;
pub mod deletion;
pub mod id;
pub mod key;
pub mod limits;
pub mod log;
pub mod material;
pub mod rotation;
pub mod state;
pub mod tag;
pub mod time;
pub mod version;
