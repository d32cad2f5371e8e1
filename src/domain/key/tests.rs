use super::*;
use crate::domain::deadline::Deadline;
use crate::domain::time::Now;

fn external() -> Key {
    Key::new(KeyId::from_bytes([1; 16]), Origin::External, String::new(), None, Time::from_millis(0))
}

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

#[test]
fn numbers_of_origins_and_creators_are_read_back() {
    for origin in [Origin::Kms, Origin::External] {
        assert_eq!(Origin::from_number(origin as i32), Some(origin));
    }
    for creator in [Creator::User, Creator::Service] {
        assert_eq!(Creator::from_number(creator as i32), Some(creator));
    }
    assert_eq!((Origin::from_number(2), Creator::from_number(2)), (None, None));
}

#[test]
fn an_imported_key_has_material_until_its_date_and_is_looked_at_then() {
    let mut key = external();
    let date = Time::from_millis(10);
    assert_eq!((key.material_expires(), key.holds_material(), key.has_material(date)), (None, false, false));
    key.imported = Some(Imported { digest: [1; 32], present: true, expiry: Some(Deadline::at(date)) });
    assert_eq!((key.material_expires(), key.next_look()), (Some(date), Some(date)));
    assert!(key.has_material(Time::from_millis(9)) && !key.has_material(date), "refused from its date on");
    assert!(key.holds_material(), "expired, but not erased");
}

#[test]
fn a_key_is_looked_at_for_its_deletion_and_not_for_its_rotation() {
    let mut key = Key::new(
        KeyId::from_bytes([1; 16]),
        Origin::Kms,
        String::new(),
        Some(Interval::parse("30d").unwrap()),
        Time::from_millis(0),
    );
    key.promote(VersionId::from_bytes([1; 16]), Time::from_millis(0));
    assert_eq!(key.next_look(), key.next_rotation());
    assert!(key.next_rotation().is_some() && key.delete_date().is_none());
    let now = Now { wall: Time::from_millis(0), boot: [1; 16], since_boot_ms: 0 };
    let deletion = Deletion::schedule(&now, 7).unwrap();
    key.state = KeyState::PendingDeletion;
    key.deletion = Some(deletion);
    assert_eq!((key.next_look(), key.delete_date()), (Some(deletion.next_look()), Some(deletion.date)));
    (key.state, key.deletion) = (KeyState::Disabled, None);
    assert_eq!(key.next_look(), None);
}
