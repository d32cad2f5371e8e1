//! Re-encryption: to the destination's primary version and context. A destination that refuses causes no decryption.

use kms::Status;

use super::support::*;

#[test]
fn re_encrypting_moves_a_ciphertext_to_the_current_primary() {
    let kms = memory();
    let id = kms.plain_key();
    let old = kms.encrypt(&id, b"x", &[("a", "1")]).unwrap();
    let new_version = kms.rotate(&id).unwrap();
    let new = kms.reencrypt(&old, &[("a", "1")], Some((&id).into()), &[("a", "1")]).unwrap();
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
        let moved = kms.reencrypt(&blob, &[("a", "1")], Some((&to).into()), context).unwrap();
        assert_eq!(kms.inspect(&moved).unwrap().key.to_string(), to);
        assert_eq!(kms.decrypt(&moved, context).unwrap().as_slice(), b"x");
        assert_eq!(moved.len(), 81);
    }
    assert_eq!(refused(kms.reencrypt(&blob, &[], Some((&to).into()), &[])), Status::AuthenticationFailed);
    assert_eq!(refused(kms.reencrypt(&blob, &[("a", "2")], Some((&to).into()), &[])), Status::AuthenticationFailed);
}

#[test]
fn re_encrypting_always_takes_a_fresh_nonce() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let mut seen = std::collections::HashSet::from([blob[40..64].to_vec()]);
    for _ in 0..1000 {
        blob = kms.reencrypt(&blob, &[], Some((&id).into()), &[]).unwrap();
        assert!(seen.insert(blob[40..64].to_vec()), "a nonce was kept");
    }
    let source = kms.encrypt(&id, b"x", &[]).unwrap();
    assert_ne!(
        kms.reencrypt(&source, &[], Some((&id).into()), &[]).unwrap(),
        kms.reencrypt(&source, &[], Some((&id).into()), &[]).unwrap()
    );
}

#[test]
fn the_sources_state_is_told_before_the_destinations() {
    let kms = memory();
    let (disabled, pending) = (kms.plain_key(), kms.plain_key());
    let blobs = [&disabled, &pending].map(|id| kms.encrypt(id, b"x", &[]).unwrap());
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 7).unwrap();
    assert_eq!(refused(kms.reencrypt(&blobs[0], &[], Some((&pending).into()), &[])), Status::RejectedDisabled);
    assert_eq!(refused(kms.reencrypt(&blobs[1], &[], Some((&disabled).into()), &[])), Status::RejectedPendingDeletion);
}

#[test]
fn nothing_is_decrypted_for_a_destination_that_refuses() {
    let kms = memory();
    let (source, disabled, external) = (kms.plain_key(), kms.plain_key(), kms.external_key());
    kms.disable_key(&disabled).unwrap();
    let mut tampered = kms.encrypt(&source, b"x", &[]).unwrap();
    *tampered.last_mut().unwrap() ^= 1;
    let unknown = kms::KeyId::from_random([3; 16]).to_string();
    assert_eq!(refused(kms.reencrypt(&tampered, &[], Some((&disabled).into()), &[])), Status::RejectedDisabled);
    assert_eq!(refused(kms.reencrypt(&tampered, &[], Some((&external).into()), &[])), Status::RejectedPendingImport);
    assert_eq!(refused(kms.reencrypt(&tampered, &[], Some((&unknown).into()), &[])), Status::KeyNotFound);
    assert_eq!(refused(kms.reencrypt(&tampered, &[], Some((&source).into()), &[])), Status::AuthenticationFailed);
}

#[test]
fn the_destination_may_be_an_alias_or_the_ciphertexts_own_key() {
    let kms = memory();
    let (from, to) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&to, "alias/to").unwrap();
    let blob = kms.encrypt(&from, b"x", &[]).unwrap();
    let key_of = |blob: &[u8]| kms.inspect(blob).unwrap().key.to_string();
    for name in ["alias/to", "acs:kms:local:libkms:alias/to"] {
        let moved = kms.reencrypt(&blob, &[], Some(name.into()), &[("a", "1")]).unwrap();
        assert_eq!(key_of(&moved), to);
        assert_eq!(kms.decrypt(&moved, &[("a", "1")]).unwrap().as_slice(), b"x");
    }
    kms.update_alias(&from, "alias/to").unwrap();
    assert_eq!(
        key_of(&kms.reencrypt(&blob, &[], Some("alias/to".into()), &[]).unwrap()),
        from,
        "as the alias stands now"
    );
    let newest = kms.rotate(&from).unwrap();
    let own = kms.reencrypt(&blob, &[], None, &[]).unwrap();
    assert_eq!((key_of(&own), kms.inspect(&own).unwrap().version), (from.clone(), newest));

    assert_eq!(refused(kms.reencrypt(&blob, &[], Some("alias/none".into()), &[])), Status::AliasNotFound);
    assert_eq!(refused(kms.reencrypt(&blob, &[], Some("".into()), &[])), Status::InvalidArgument);
    kms.disable_key(&from).unwrap();
    assert_eq!(
        refused(kms.reencrypt(&blob, &[], Some("alias/none".into()), &[])),
        Status::RejectedDisabled,
        "source first"
    );
    assert_eq!(refused(kms.reencrypt(&blob, &[], None, &[])), Status::RejectedDisabled);
    assert_eq!(refused(kms.reencrypt(b"short", &[], None, &[])), Status::MalformedCiphertext);
}

#[test]
fn the_services_own_action_wants_a_key_id_as_destination() {
    let kms = memory();
    let id = kms.plain_key();
    kms.create_alias(&id, "alias/a").unwrap();
    let sealed = kms.call("Encrypt", &format!(r#"{{"KeyId":"{id}","Plaintext":"eA=="}}"#)).unwrap();
    let blob = sealed.split('"').skip_while(|part| *part != "CiphertextBlob").nth(2).unwrap();
    let to = |name: &str| {
        let request = format!(r#"{{"CiphertextBlob":"{blob}","DestinationKeyId":"{name}"}}"#);
        kms.call("ReEncrypt", &request).map(drop).map_err(|failed| failed.error.status())
    };
    assert_eq!(to("alias/a"), Err(Status::UnsupportedAlias));
    assert_eq!(to("acs:kms:local:libkms:alias/a"), Err(Status::UnsupportedAlias));
    assert_eq!(to(&format!("acs:kms:local:libkms:key/{id}")), Ok(()));
    assert_eq!(to(&id), Ok(()));
}
