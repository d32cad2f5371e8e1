//! The PKCS#11 module of libkms: programs that speak PKCS#11 get keys that rotate.
//!
//! One secret key object represents one customer master key; its versions are hidden unless the configuration shows
//! them. `docs/pkcs11.md` is the manual.
//!
//! * `ffi`: the C functions. All `unsafe` is there.
//! * `state`: slots, sessions and object handles behind one lock. `config`: the configuration file.
//! * `object`: finding, making and destroying objects, `search`: one in progress. `attribute`: templates and attributes.
//! * `mechanism`: what is offered, and parameters. `cipher`: encryption, decryption, wrapping, `operation`: one in progress.
//! * `pin`: C_SetPIN. `digest`: C_Digest, `hash`: one in progress.
//! * `fail`: return values.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must not leave the module: build it with panic = \"unwind\"");

mod attribute;
mod cipher;
mod config;
mod digest;
mod fail;
#[allow(unsafe_code, reason = "the boundary to C")]
mod ffi;
mod hash;
mod mechanism;
mod object;
mod operation;
mod pin;
mod search;
mod state;
