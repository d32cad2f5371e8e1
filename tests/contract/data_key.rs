//! Data keys: fresh bytes of the requested length, whose ciphertext is an ordinary blob.

use kms::Status;

use super::support::*;

#[test]
fn a_data_key_decrypts_to_the_bytes_that_were_shown() {
    let kms = memory();
    let id = kms.plain_key();
    for len in [1, 16, 32, 1023, 1024] {
        let context = [("purpose", "disk")];
        let (plaintext, blob) = kms.generate_data_key(&id, len, &context).unwrap();
        assert_eq!((plaintext.len(), blob.len()), (len, len + 80));
        assert_eq!(*kms.decrypt(&blob, &context).unwrap(), *plaintext);
        assert_eq!(refused(kms.decrypt(&blob, &[])), Status::AuthenticationFailed);
    }
}

#[test]
fn a_data_key_without_plaintext_decrypts_to_as_many_bytes() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.generate_data_key_without_plaintext(&id, 48, &[]).unwrap();
    let plaintext = kms.decrypt(&blob, &[]).unwrap();
    assert_eq!((plaintext.len(), blob.len()), (48, 128));
    assert_ne!(plaintext.as_slice(), [0; 48]);
}

#[test]
fn a_data_key_has_1_to_1024_bytes() {
    let kms = memory();
    let id = kms.plain_key();
    for len in [0, 1025, 1 << 30, usize::MAX] {
        assert_eq!(refused(kms.generate_data_key(&id, len, &[])), Status::InvalidArgument, "{len} bytes");
        assert_eq!(refused(kms.generate_data_key_without_plaintext(&id, len, &[])), Status::InvalidArgument);
    }
}

#[test]
fn every_data_key_is_new() {
    let kms = memory();
    let id = kms.plain_key();
    let keys: std::collections::HashSet<_> =
        (0..1000).map(|_| kms.generate_data_key(&id, 32, &[]).unwrap().0.to_vec()).collect();
    assert_eq!(keys.len(), 1000);
}

#[test]
fn a_data_key_is_sealed_by_the_primary_and_outlives_it() {
    let kms = memory();
    let id = kms.plain_key();
    let (plaintext, blob) = kms.generate_data_key(&id, 32, &[]).unwrap();
    assert_eq!(kms.inspect(&blob).unwrap().version, kms.primary(&id));
    kms.rotate(&id).unwrap();
    assert_eq!(*kms.decrypt(&blob, &[]).unwrap(), *plaintext);
    let (_, newer) = kms.generate_data_key(&id, 32, &[]).unwrap();
    assert_eq!(kms.inspect(&newer).unwrap().version, kms.primary(&id));
}
