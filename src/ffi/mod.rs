//! The C ABI: pointers in, typed calls out, no logic.
//!
//! Doc comments here are the manual of `include/kms.h` and speak C. The order of the modules is the order of the
//! header: what a program meets first comes first.

#![allow(non_camel_case_types, reason = "the names are those of the C header")]

#[cfg(not(panic = "unwind"))]
compile_error!("libkms stops panics at the C boundary, which needs panic = \"unwind\"");

mod options;
mod open;

mod key;
mod crypt;
mod batch;
mod survey;
mod data_key;
mod file;
mod file_reader;
mod stream;
mod rotation;
mod version;
mod alias;
mod tag;
mod import;
mod call;
mod health;
mod verify;
mod backup;
mod root;
mod log;

mod status;
mod types;

mod guard;
mod last_error;
mod out;
mod ptr;

#[cfg(test)]
mod tests;
