//! A fault that only a search guided by coverage finds; the stage fails unless it is found.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(!bytes.starts_with(b"a fault"), "found");
});
