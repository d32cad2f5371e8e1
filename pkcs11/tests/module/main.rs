//! The module as programs use it: loaded, called through its function list, in a process for each test.

mod attack;
mod cipher;
mod harness;
mod keys;
mod lifecycle;
mod rotation;
