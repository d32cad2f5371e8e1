//! The `kms` command as a process: its output, its JSON, its exit codes, and its behaviour without a terminal.

mod backup;
mod bulk;
mod changes;
mod columns;
mod commands;
mod crypt;
#[cfg(feature = "postgres")]
mod database;
mod folders;
mod keys;
mod killed;
mod killed_files;
mod large;
mod location;
mod operating;
mod pkcs11;
mod support;
mod terminal;
mod timeline;
mod versions;
