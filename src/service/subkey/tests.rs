use super::*;
use crate::domain::version::MOST_GCM_MESSAGES;
use crate::service::seen::SeenUses;
use crate::service::{CreateKey, ListChanges, Options};

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
    keystore.decrypt_gcm(key, Candidates::Newest(trials), &PARTS, sealed, &mut out)?;
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
        assert_eq!(*keystore.unwrap_with_subkey(key, Candidates::Newest(6), false, wrapped).unwrap(), [3; 32]);
    }
    // The oldest is the sixth, the newest empty.
    let error = opens(&keystore, key, 5, &all[0].0).unwrap_err();
    assert_eq!(error.status(), Status::AuthenticationFailed, "a version beyond the trials");
    opens(&keystore, key, 5, &all[1].0).unwrap();
}

#[test]
fn a_named_version_opens_its_own_alone() {
    let (keystore, key) = keystore();
    let name = || Candidates::Only(keystore.describe_key(key).unwrap().primary.unwrap().id);
    let (first, old) = (sealed(&keystore, key), name());
    let wrapped = keystore.wrap_with_subkey(key, false, &[3; 32]).unwrap();
    keystore.rotate(key).unwrap();
    let (second, new) = (sealed(&keystore, key), name());
    let mut out = [0; TEXT.len()];
    let mut opened = |version, sealed: &[u8]| {
        keystore.decrypt_gcm(key, version, &PARTS, sealed, &mut out).map_err(|error| error.status())
    };
    assert_eq!(opened(old, &first), Ok(()));
    assert_eq!(opened(new, &second), Ok(()));
    assert_eq!(opened(new, &first), Err(Status::AuthenticationFailed));
    assert_eq!(opened(old, &second), Err(Status::AuthenticationFailed));
    assert_eq!(*keystore.unwrap_with_subkey(key, old, false, &wrapped).unwrap(), [3; 32]);
    assert!(keystore.unwrap_with_subkey(key, new, false, &wrapped).is_err());
    let Candidates::Only(id) = old else { unreachable!() };
    keystore.disable_key_version(key, &id.to_string()).unwrap();
    assert_eq!(opened(old, &first), Err(Status::KeyVersionDisabled), "not: a wrong ciphertext");
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

/// Makes the keystore know that `left` GCM messages of the primary are left.
fn leave_messages(keystore: &Keystore, key: KeyId, left: u64) {
    let core = keystore.core().unwrap();
    core.change_key(ChangeAction::ReserveMessages, &key, |change, mut stored, _| {
        let mut record = stored.records.of(stored.key.primary.unwrap().number);
        record.gcm_messages = MOST_GCM_MESSAGES - left;
        change.put_records(&mut stored, &[record])?;
        Ok(Changed::one((), change.update(stored)?))
    })
    .unwrap();
}

fn primary(keystore: &Keystore, key: KeyId) -> u64 {
    keystore.describe_key(key).unwrap().primary.unwrap().number
}

#[test]
fn a_version_rotates_before_its_2_to_the_31st_message() {
    let (keystore, key) = keystore();
    leave_messages(&keystore, key, 2);
    let mut all = vec![sealed(&keystore, key), sealed(&keystore, key)];
    assert_eq!(primary(&keystore, key), 1, "two messages were left");
    all.push(sealed(&keystore, key));
    assert_eq!(primary(&keystore, key), 2);
    for sealed in all {
        opens(&keystore, key, 9, &sealed).unwrap();
    }
    let entries: Vec<_> = keystore.changes(ListChanges::default()).map(|entry| entry.unwrap()).collect();
    let rotation = entries.iter().find(|entry| entry.action == "RotateKeyAuto").expect("the rotation is logged");
    assert_eq!(rotation.key, Some(key));

    let service = keystore.create_service_key("disks").unwrap();
    leave_messages(&keystore, service, 1);
    sealed(&keystore, service);
    let error = keystore.encrypt_gcm(service, &PARTS, TEXT, &mut [0; 25]).unwrap_err();
    assert_eq!(error.status(), Status::LimitExceeded, "a key that cannot rotate is refused");
    keystore.wrap_with_subkey(service, false, &[1; 16]).expect("wrapping draws no IV");
}

/// What a process reserved and did not use is lost with it, and no other process encrypts it.
#[test]
fn all_handles_and_restarts_share_the_messages_of_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let options = || Options::new().root_key(&[7; 32]).rotation_thread(false);
    let open = || Keystore::open(path.to_str().unwrap(), &options()).unwrap();
    let first = Keystore::open(path.to_str().unwrap(), &options().create(true)).unwrap();
    let key = first.create_key(&CreateKey::default()).unwrap();
    leave_messages(&first, key, 600);

    let second = open();
    let mut all = vec![sealed(&first, key), sealed(&second, key)];
    drop(second);
    assert_eq!(primary(&first, key), 1);
    // Two blocks of 256 are taken, and the third has the last 88.
    let third = open();
    for _ in 0..88 {
        all.push(sealed(&third, key));
        assert_eq!(primary(&third, key), 1);
    }
    all.push(sealed(&third, key));
    assert_eq!(primary(&third, key), 2, "restarts encrypted more than a version may");
    all.push(sealed(&first, key));
    assert_eq!(primary(&first, key), 2, "one process after another rotated");
    for sealed in &all {
        opens(&first, key, 9, sealed).unwrap();
    }
    assert!(first.verify(|_| true).is_ok());

    let reader = Keystore::open(path.to_str().unwrap(), &options().read_only(true)).unwrap();
    let error = reader.encrypt_gcm(key, &PARTS, TEXT, &mut [0; 25]).unwrap_err();
    assert_eq!(error.status(), Status::KeystoreReadOnly, "messages that nothing counts");
    opens(&reader, key, 9, &all[0]).unwrap();
}

/// A handle that encrypts much stores seldom.
#[test]
fn blocks_of_reserved_messages_grow_up_to_a_limit() {
    let (keystore, key) = keystore();
    let reserved = || keystore.core().unwrap().key(&key).unwrap().records.of(1).gcm_messages;
    let mut expected = 0;
    for block in [256, 512, 1024, 2048] {
        sealed(&keystore, key);
        expected += block;
        assert_eq!(reserved(), expected);
        for _ in 1..block {
            sealed(&keystore, key);
        }
        assert_eq!(reserved(), expected);
    }
    let seen = SeenUses::default();
    for _ in 0..30 {
        let wanted = seen.wanted_messages();
        assert!(wanted.is_power_of_two() && wanted <= 1 << 20);
        seen.add_messages(wanted);
        assert_eq!(seen.wanted_messages(), 0);
        while seen.take_message() {}
    }
    assert_eq!(seen.wanted_messages(), 1 << 20);
}
