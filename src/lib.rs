//! libkms: a key management service that lives inside a program.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
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

pub mod clock;
pub(crate) mod crypto;
pub mod domain;
pub mod error;
#[cfg(feature = "capi")]
mod ffi;
pub(crate) mod store;
pub(crate) mod sys;
pub mod service;

pub use clock::{Clock, ManualClock};
pub use domain::id::{KeyId, VersionId};
pub use domain::key::{Key, Origin};
pub use domain::rotation::{Interval, Rotation};
pub use domain::state::KeyState;
pub use domain::version::Version;
pub use error::{Error, Result, Status};
pub use service::{BlobInfo, CreateKey, Event, EventKind, Health, Kms, Options, Ticked};
pub use store::RootWrapper;
