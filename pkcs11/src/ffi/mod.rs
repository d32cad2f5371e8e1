//! The C functions: pointers in, typed calls out. All `unsafe` of the module is in this folder.
//!
//! * `calls`: the functions that do something. `refused`: those that are not supported. `lists`: how programs get them.
//! * `ptr`: the memory of callers. `guard`: no panic leaves a function. `fork`: the state across a fork. `log`: syslog.

mod calls;
mod fork;
mod guard;
mod lists;
mod log;
mod ptr;
mod refused;
