//! libkms: an embedded key management service.
//!
//! A [`Keystore`] is an open keystore. It makes customer master keys, encrypts under them, and rotates them on schedule;
//! everything ever encrypted stays readable.
//!
//! ```
//! use kms::{CreateKey, Interval, Keystore, ManualClock, Options};
//!
//! # fn main() -> kms::Result<()> {
//! let clock = ManualClock::at(0);
//! let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).clock(clock.clone()))?;
//! let key = keystore.create_key(&CreateKey { rotate_every: Some(Interval::parse("90d")?), ..Default::default() })?;
//! let old = keystore.encrypt(key, b"4111 1111", &[("tenant", "42")])?;
//!
//! clock.advance_seconds(5 * 365 * 86_400);
//! assert_eq!(keystore.tick()?.rotated, 1);
//! assert_eq!(&*keystore.decrypt(&old, &[("tenant", "42")])?, b"4111 1111");
//! # Ok(())
//! # }
//! ```
//!
//! A [`Keystore`] may be shared by all threads of a program, by processes that it forks, and, through its file, by other
//! programs. Times are Unix milliseconds ([`Time`]). Each fallible call returns an [`Error`] with a stable [`Status`].
//!
//! # Layers
//!
//! From the outside in; imports point one way:
//!
//! * `ffi`: the C ABI, whose manual is `include/kms.h` (feature `capi`).
//! * `service`: the use cases, the key cache, the rotation thread.
//! * `store`: the keystore: sealed rows, transactions, root keys, other processes.
//! * `crypto`: ciphertexts, XAES-256-GCM; the only code that calls OpenSSL.
//! * `domain`: the rules of keys, pure. `error`: the one error.
//! * `clock` and `sys` serve every layer: time, and the operating system.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![deny(missing_docs, missing_debug_implementations, clippy::missing_errors_doc)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::undocumented_unsafe_blocks
    )
)]

/// The README's Rust program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod clock;
mod crypto;
mod domain;
mod error;
// Its texts are the C manual, whose tables and programs are no Rust to be tested.
#[cfg(all(feature = "capi", not(doctest)))]
mod ffi;
mod service;
mod store;
mod sys;

/// What the Python module, the PKCS#11 module, the tests and the fuzzers of this repository need. It may change in any release.
#[doc(hidden)]
pub mod internal {
    pub use crate::crypto::openssl::{
        AES_BLOCK, AesMode, AesStream, AnyGcm, GcmParts, MOST_WRAPPED, WRAP_OVERHEAD, unwrap_key, wrap_key,
    };
    pub use crate::domain::time::Now;
    pub use crate::service::{Candidates, ContextSink, SurveyProcess, waiting_again, without_waiting};
    pub use crate::store::shown_location;
    pub use crate::sys::random::fill as fill_random;
}

/// Backups: what was recorded of them, and how long a due rotation waits for one. Copies at another location.
pub mod backup {
    pub use crate::service::{BACKUP_WAIT_DEFAULT, BACKUP_WAIT_MAX, Backup, CopyReport, CopyStep, PreparedBackup};
}

/// The change log: who changed what, when.
pub mod change_log {
    pub use crate::domain::id::ChangeId;
    pub use crate::domain::log::{Actor, LoggedChange};
    pub use crate::service::{ExportReport, ListChanges};
}

/// Files of any size, encrypted in constant memory.
pub mod file {
    pub use crate::service::{
        DecryptReader, DecryptStream, EncryptStream, EncryptWriter, FileInfo, FileOptions, FileReader,
    };
}

/// The condition of a keystore, and what happens to it.
pub mod health {
    pub use crate::service::{Event, EventKind, Fault, Health};
}

/// Root keys: their slots, wrapping by the host program, and the anchor.
pub mod root {
    pub use crate::domain::id::SlotId;
    pub use crate::store::{AnchorStore, RootKind, RootSlot, RootWrapper};
}

/// Surveys: which versions a set of blobs needs.
pub mod survey {
    pub use crate::service::{Survey, SurveyCount, Unreadable};
}

/// Keystores in a PostgreSQL database: its tables, roles and server. Without the feature `postgres` each call fails.
pub mod database {
    pub use crate::store::database::{DatabaseInfo, PreparedDatabase, describe, prepare, script};
}

pub use clock::{Clock, ManualClock};
pub use crypto::plaintext::Plaintext;
pub use domain::id::{KeyId, VersionId};
pub use domain::key::{Creator, Key, Origin};
pub use domain::rotation::{Interval, Rotation};
pub use domain::state::KeyState;
pub use domain::time::Time;
pub use domain::version::{Version, VersionState};
pub use error::{Error, Result, Status};
pub use service::{
    BlobInfo, CallFailed, CreateKey, ImportParameters, KeyRef, KeyVersion, Keystore, Options, Record, ReencryptItem,
    TickReport, Wrapping,
};
