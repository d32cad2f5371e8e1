//! Any bytes as a ciphertext: only what was encrypted with the context given opens, and only to its plaintext.
#![no_main]

use std::sync::LazyLock;

use kms::{Keystore, Record};
use libfuzzer_sys::fuzz_target;
use libkms_fuzz::blameless;
use libkms_fuzz::edit::{Edit, apply};
use libkms_fuzz::golden::{self, Known};

static STATE: LazyLock<(Keystore, Vec<Known>)> = LazyLock::new(|| (golden::open(), golden::known()));

/// The first byte chooses the context, the second whether the rest is a ciphertext or how to change a known one.
fn input(bytes: &[u8], known: &[Known]) -> Option<(u8, Vec<u8>)> {
    let (&[context, kind], rest) = bytes.split_first_chunk::<2>()?;
    if kind.is_multiple_of(2) {
        return Some((context, rest.to_vec()));
    }
    let (&which, rest) = rest.split_first()?;
    let edits: Vec<Edit> = arbitrary::Unstructured::new(rest).arbitrary().ok()?;
    let mut blob = known[usize::from(which) % known.len()].blob.clone();
    apply(&mut blob, &edits);
    Some((context, blob))
}

fuzz_target!(|bytes: &[u8]| {
    let (kms, known) = &*STATE;
    let Some((context, blob)) = input(bytes, known) else { return };
    let contexts: [&[(&str, &str)]; 5] =
        [&[], &[("tenant", "42")], &[("tenant", "4")], &[("tenant", "42"), ("a", "")], &[("a", "\0")]];
    let context = contexts[usize::from(context) % contexts.len()];

    let ours = known.iter().find(|known| known.blob == blob && known.context() == context);
    let opened = kms.decrypt(&blob, context);
    match (&opened, ours) {
        (Ok(opened), Some(ours)) => assert_eq!(**opened, *ours.plaintext, "a wrong plaintext"),
        (Ok(_), None) => panic!("what nobody encrypted was decrypted"),
        (Err(error), None) => blameless(error),
        (Err(error), Some(_)) => panic!("a ciphertext no longer opens: {error}"),
    }
    match kms.inspect(&blob) {
        Ok(info) => {
            assert!(
                blob.len() >= 80 && blob[8..24] == *info.key.as_bytes() && blob[24..40] == *info.version.as_bytes()
            );
        }
        Err(error) => {
            blameless(&error);
            assert!(opened.is_err(), "what can't be inspected was decrypted");
        }
    }
    let batch = kms.decrypt_batch(&[Record { data: &blob, context }]).expect("a batch as such succeeds");
    assert!(batch.len() == 1 && batch[0].is_ok() == opened.is_ok(), "a batch decides otherwise");
    match kms.reencrypt(&blob, context, Some((&known[0].key).into()), &[("moved", "")]) {
        Ok(moved) => {
            assert!(opened.is_ok(), "what can't be decrypted was re-encrypted");
            let again = kms.decrypt(&moved, &[("moved", "")]).expect("what was re-encrypted opens");
            assert!(opened.is_ok_and(|opened| *opened == *again), "re-encryption changed the plaintext");
        }
        Err(error) => {
            blameless(&error);
            assert!(opened.is_err(), "what can be decrypted can't be re-encrypted");
        }
    }
});
