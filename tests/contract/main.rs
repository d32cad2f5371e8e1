//! The contract of keys, versions, rotation and ciphertexts, through the public API alone.
//!
//! Each test's name is a promise. Time is a manual clock's, except where the rotation thread itself is on trial.

mod aliases;
mod arguments;
mod batch;
mod ciphertext;
mod clock;
mod context;
mod create_keys;
mod data_key;
mod debug;
mod deletion;
mod deletion_counts;
mod deletion_leaves_nothing;
mod error_codes;
mod events;
mod expiry;
mod files;
mod import;
mod import_padding;
mod imported;
mod into;
mod iterators;
mod limits;
mod listener;
mod lists;
mod matrix;
mod matrix_json;
mod overdue;
mod policy;
mod protection;
mod reencrypt;
mod reopening;
mod resource_names;
mod rotation_rules;
mod sentences;
mod sentences_schedule;
mod service_keys;
mod sharing;
mod states;
mod support;
mod tags;
mod texts;
mod thread;
mod unstorable;
