//! libkms: a key management service that lives inside a program.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

#[allow(dead_code, reason = "its users come next")]
pub(crate) mod crypto;
pub mod domain;
pub mod error;
#[allow(dead_code, reason = "its users come next")]
pub(crate) mod sys;
