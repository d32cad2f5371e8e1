use super::*;

#[test]
fn a_new_key_is_enabled_or_waits_for_its_import() {
    let now = Time::from_millis(5);
    let id = KeyId::from_bytes([1; 16]);
    let key = Key::new(id, Origin::Kms, String::new(), None, now);
    assert_eq!((key.state, key.version_count(), key.rotates()), (KeyState::Enabled, 0, true));
    let key = Key::new(id, Origin::External, String::new(), None, now);
    assert_eq!((key.state, key.version_count(), key.rotates()), (KeyState::PendingImport, 0, false));
}

#[test]
fn versions_are_numbered_from_one_and_the_newest_is_primary() {
    let mut key = Key::new(KeyId::from_bytes([1; 16]), Origin::Kms, String::new(), None, Time::from_millis(0));
    for number in 1..=3u8 {
        let version = key.promote(VersionId::from_bytes([number; 16]), Time::from_millis(i64::from(number)));
        assert_eq!(version.number, u64::from(number));
        assert_eq!(key.primary, Some(version));
        assert_eq!(key.last_rotation(), Some(version.created), "LastRotationDate is the newest version's creation");
    }
}

#[test]
fn only_keys_whose_material_we_make_for_a_user_rotate() {
    let mut key = Key::new(KeyId::from_bytes([1; 16]), Origin::Kms, String::new(), None, Time::from_millis(0));
    key.creator = Creator::Service;
    assert!(!key.rotates());
}
