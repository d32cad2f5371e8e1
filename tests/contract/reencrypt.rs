//! Re-encryption: to the destination's primary, with its own context, and nothing opened for a destination that refuses.

use kms::Status;

use super::support::*;

#[test]
fn re_encrypting_moves_a_ciphertext_to_the_current_primary() {
    let kms = memory();
    let id = kms.plain_key();
    let old = kms.encrypt(&id, b"x", &[("a", "1")]).unwrap();
    let new_version = kms.rotate(&id).unwrap();
    let new = kms.reencrypt(&old, &[("a", "1")], &id, &[("a", "1")]).unwrap();
    assert_eq!(kms.inspect(&new).unwrap().version, new_version);
    assert_eq!(kms.decrypt(&new, &[("a", "1")]).unwrap().as_slice(), b"x");
    assert_eq!(kms.decrypt(&old, &[("a", "1")]).unwrap().as_slice(), b"x", "the old ciphertext stays readable");
}

#[test]
fn re_encrypting_can_change_the_key_and_the_context() {
    let kms = memory();
    let (from, to) = (kms.plain_key(), kms.plain_key());
    let blob = kms.encrypt(&from, b"x", &[("a", "1")]).unwrap();
    for context in [[].as_slice(), &[("b", "2")], &[("a", "1"), ("b", "2")]] {
        let moved = kms.reencrypt(&blob, &[("a", "1")], &to, context).unwrap();
        assert_eq!(kms.inspect(&moved).unwrap().key.to_string(), to);
        assert_eq!(kms.decrypt(&moved, context).unwrap().as_slice(), b"x");
        assert_eq!(moved.len(), 81);
    }
    assert_eq!(refused(kms.reencrypt(&blob, &[], &to, &[])), Status::AuthenticationFailed);
    assert_eq!(refused(kms.reencrypt(&blob, &[("a", "2")], &to, &[])), Status::AuthenticationFailed);
}

#[test]
fn re_encrypting_always_takes_a_fresh_nonce() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let mut seen = std::collections::HashSet::from([blob[40..64].to_vec()]);
    for _ in 0..1000 {
        blob = kms.reencrypt(&blob, &[], &id, &[]).unwrap();
        assert!(seen.insert(blob[40..64].to_vec()), "a nonce was kept");
    }
    let source = kms.encrypt(&id, b"x", &[]).unwrap();
    assert_ne!(kms.reencrypt(&source, &[], &id, &[]).unwrap(), kms.reencrypt(&source, &[], &id, &[]).unwrap());
}

#[test]
fn the_sources_state_is_told_before_the_destinations() {
    let kms = memory();
    let (disabled, pending) = (kms.plain_key(), kms.plain_key());
    let blobs = [&disabled, &pending].map(|id| kms.encrypt(id, b"x", &[]).unwrap());
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 7).unwrap();
    assert_eq!(refused(kms.reencrypt(&blobs[0], &[], &pending, &[])), Status::RejectedDisabled);
    assert_eq!(refused(kms.reencrypt(&blobs[1], &[], &disabled, &[])), Status::RejectedPendingDeletion);
}

#[test]
fn nothing_is_decrypted_for_a_destination_that_refuses() {
    let kms = memory();
    let (source, disabled, external) = (kms.plain_key(), kms.plain_key(), kms.external_key());
    kms.disable_key(&disabled).unwrap();
    let mut tampered = kms.encrypt(&source, b"x", &[]).unwrap();
    *tampered.last_mut().unwrap() ^= 1;
    let unknown = kms::KeyId::from_random([3; 16]).to_string();
    assert_eq!(refused(kms.reencrypt(&tampered, &[], &disabled, &[])), Status::RejectedDisabled);
    assert_eq!(refused(kms.reencrypt(&tampered, &[], &external, &[])), Status::RejectedPendingImport);
    assert_eq!(refused(kms.reencrypt(&tampered, &[], &unknown, &[])), Status::KeyNotFound);
    assert_eq!(refused(kms.reencrypt(&tampered, &[], &source, &[])), Status::AuthenticationFailed);
}
