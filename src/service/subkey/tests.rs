use super::*;
use crate::service::{CreateKey, Options};

const PARTS: GcmParts<'static> = GcmParts { iv: &[7; 12], aad: b"aad", tag_len: 16 };
const TEXT: &[u8] = b"4111 1111";

fn keystore() -> (Keystore, KeyId) {
    let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).rotation_thread(false)).unwrap();
    let key = keystore.create_key(&CreateKey::default()).unwrap();
    (keystore, key)
}

fn sealed(keystore: &Keystore, key: KeyId) -> Vec<u8> {
    let mut out = vec![0; TEXT.len() + 16];
    keystore.encrypt_gcm(key, &PARTS, TEXT, &mut out).unwrap();
    out
}

fn opens(keystore: &Keystore, key: KeyId, trials: usize, sealed: &[u8]) -> Result<()> {
    let mut out = vec![0; TEXT.len()];
    keystore.decrypt_gcm(key, trials, &PARTS, sealed, &mut out)?;
    assert_eq!(out, TEXT);
    Ok(())
}

#[test]
fn what_any_version_encrypted_opens_within_the_trials() {
    let (keystore, key) = keystore();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push((sealed(&keystore, key), keystore.wrap_with_subkey(key, false, &[3; 32]).unwrap()));
        keystore.rotate(key).unwrap();
    }
    for (sealed, wrapped) in &all {
        opens(&keystore, key, 6, sealed).unwrap();
        assert_eq!(*keystore.unwrap_with_subkey(key, 6, false, wrapped).unwrap(), [3; 32]);
    }
    // The oldest is the sixth, the newest empty.
    let error = opens(&keystore, key, 5, &all[0].0).unwrap_err();
    assert_eq!(error.status(), Status::AuthenticationFailed, "a version beyond the trials");
    opens(&keystore, key, 5, &all[1].0).unwrap();
}

#[test]
fn versions_of_other_keys_and_disabled_ones_open_nothing() {
    let (keystore, key) = keystore();
    let old = keystore.describe_key(key).unwrap().primary.unwrap().id.to_string();
    let first = sealed(&keystore, key);
    let other = keystore.create_key(&CreateKey::default()).unwrap();
    assert_eq!(opens(&keystore, other, 9, &first).unwrap_err().status(), Status::AuthenticationFailed);

    keystore.rotate(key).unwrap();
    keystore.disable_key_version(key, &old).unwrap();
    assert_eq!(opens(&keystore, key, 9, &first).unwrap_err().status(), Status::AuthenticationFailed);
    keystore.enable_key_version(key, &old).unwrap();
    opens(&keystore, key, 9, &first).unwrap();

    keystore.disable_key(key).unwrap();
    assert_eq!(opens(&keystore, key, 9, &first).unwrap_err().status(), Status::RejectedDisabled);
    let mut out = [0; 25];
    let error = keystore.encrypt_gcm(key, &PARTS, TEXT, &mut out).unwrap_err();
    assert_eq!(error.status(), Status::RejectedDisabled);
    assert_eq!(keystore.wrap_with_subkey(key, false, &[1; 16]).unwrap_err().status(), Status::RejectedDisabled);
}

/// A trial is no use: otherwise no old version would ever look unused.
#[test]
fn a_version_that_was_only_tried_was_not_used() {
    let (keystore, key) = keystore();
    let first = sealed(&keystore, key);
    keystore.rotate(key).unwrap();
    let second = sealed(&keystore, key);
    keystore.rotate(key).unwrap();
    opens(&keystore, key, 9, &second).unwrap();
    keystore.tick().unwrap();
    let used = || keystore.key_versions(key).map(|version| version.unwrap().last_decrypt_date.is_some());
    assert_eq!(used().collect::<Vec<_>>(), [false, true, false]);
    opens(&keystore, key, 9, &first).unwrap();
    keystore.tick().unwrap();
    assert_eq!(used().collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn a_version_rotates_before_its_2_to_the_31st_message() {
    let (keystore, key) = keystore();
    let first = sealed(&keystore, key);
    let primary = keystore.describe_key(key).unwrap().primary.unwrap();
    let material = keystore.core().unwrap().material(&key, &primary.id).unwrap();
    material.seen.messages.store(MOST_MESSAGES - 1, Ordering::Relaxed);
    let last = sealed(&keystore, key);
    assert_eq!(keystore.describe_key(key).unwrap().primary.unwrap().number, 1, "one message was left");
    let next = sealed(&keystore, key);
    assert_eq!(keystore.describe_key(key).unwrap().primary.unwrap().number, 2);
    for sealed in [first, last, next] {
        opens(&keystore, key, 9, &sealed).unwrap();
    }

    let service = keystore.create_service_key("disks").unwrap();
    sealed(&keystore, service);
    let primary = keystore.describe_key(service).unwrap().primary.unwrap();
    let material = keystore.core().unwrap().material(&service, &primary.id).unwrap();
    material.seen.messages.store(MOST_MESSAGES, Ordering::Relaxed);
    let error = keystore.encrypt_gcm(service, &PARTS, TEXT, &mut [0; 25]).unwrap_err();
    assert_eq!(error.status(), Status::LimitExceeded, "a key that cannot rotate is refused");
}
