//! Any bytes as an encrypted file: a file opens to its own plaintext or not at all, by each way of reading it.
//!
//! The file that is changed is a new one in each process, because nothing records an input key; the changes repeat.
#![no_main]

use std::sync::LazyLock;

use kms::{Keystore, file::FileOptions};
use libfuzzer_sys::fuzz_target;
use libkms_fuzz::edit::{Edit, apply};
use libkms_fuzz::{blameless, golden};

const PLAINTEXT: [u8; 40] = [7; 40];
const CONTEXT: &[(&str, &str)] = &[("tenant", "42")];
/// Where the fields of the first slot end: edits fall there more often than into its zeros.
const FIELDS: usize = 34 + 112 + 32;

static STATE: LazyLock<(Keystore, Vec<u8>)> = LazyLock::new(|| {
    let keystore = golden::open();
    let key = golden::known().swap_remove(0).key;
    let mut file = Vec::new();
    keystore
        .encrypt_copy(key.as_str(), &PLAINTEXT[..], &mut file, CONTEXT, &FileOptions::new().threads(1))
        .expect("a file is encrypted");
    (keystore, file)
});

/// The first byte chooses: any bytes, a changed file, a file whose fields are changed, or fields moved to the other slot.
fn input(bytes: &[u8], file: &[u8]) -> Option<Vec<u8>> {
    let (&kind, rest) = bytes.split_first()?;
    if kind.is_multiple_of(4) {
        return Some(rest.to_vec());
    }
    let edits: Vec<Edit> = arbitrary::Unstructured::new(rest).arbitrary().ok()?;
    let mut changed = file.to_vec();
    match kind % 4 {
        1 => apply(&mut changed, &edits),
        place => {
            let mut fields = file[..FIELDS].to_vec();
            apply(&mut fields, &edits);
            fields.resize(4096, 0);
            let at = if place == 2 { 0 } else { 4096 };
            changed[at..at + 4096].copy_from_slice(&fields);
        }
    }
    Some(changed)
}

fuzz_target!(|bytes: &[u8]| {
    let (kms, file) = &*STATE;
    let Some(changed) = input(bytes, file) else { return };
    let mut plaintext = Vec::new();
    let copied = kms.decrypt_copy(&changed[..], &mut plaintext, CONTEXT, &FileOptions::new().threads(1));
    match &copied {
        Ok(_) => assert_eq!(plaintext, PLAINTEXT, "a wrong plaintext"),
        Err(error) => {
            blameless(error);
            assert!(changed != *file, "a file no longer opens: {error}");
            assert!(plaintext.is_empty() || PLAINTEXT.starts_with(&plaintext), "a wrong plaintext before the failure");
        }
    }
    assert!(Keystore::is_encrypted_file(&changed) || copied.is_err(), "what is not recognised opens");
    let read_at = |buffer: &mut [u8], at: u64| {
        let rest = usize::try_from(at).ok().and_then(|at| changed.get(at..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    };
    match kms.open_file_with(read_at, changed.len() as u64, CONTEXT) {
        Ok(reader) => {
            assert!(copied.is_ok(), "another way of reading opens it");
            let mut some = [0; 10];
            assert_eq!(reader.read_at(&mut some, 35).expect("it was opened"), 5);
        }
        Err(error) => {
            blameless(&error);
            assert!(copied.is_err(), "another way of reading does not open it: {error}");
        }
    }
});
