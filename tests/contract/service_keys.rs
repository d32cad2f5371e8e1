//! Keys of named subsystems: created on first use, one version for life, not under the user's control.

use kms::{KeyState, Rotation, Status};

use super::support::*;

#[test]
fn a_service_key_is_made_on_first_use_and_found_afterwards() {
    let kms = memory();
    let disk = kms.create_service_key("disk").unwrap();
    assert_eq!(kms.create_service_key("disk").unwrap(), disk);
    let mail = kms.create_service_key("mail").unwrap();
    assert_ne!(disk, mail);
    assert_eq!(kms.key("alias/acs/disk").id, disk);
    assert_eq!(kms.key("alias/acs/mail").id, mail);
}

#[test]
fn a_service_key_encrypts_under_its_reserved_alias() {
    let kms = memory();
    let id = kms.create_service_key("disk").unwrap().to_string();
    let key = kms.key(&id);
    assert_eq!((key.state, key.version_count(), key.automatic_rotation()), (KeyState::Enabled, 1, Rotation::Disabled));
    for name in [id.as_str(), "alias/acs/disk"] {
        let blob = kms.encrypt(name, b"x", &[("a", "1")]).unwrap();
        assert_eq!(kms.decrypt(&blob, &[("a", "1")]).unwrap().as_slice(), b"x");
        kms.generate_data_key(name, 32, &[]).unwrap();
    }
}

#[test]
fn a_service_key_has_one_version_for_life() {
    let kms = memory();
    let id = kms.create_service_key("disk").unwrap().to_string();
    assert_eq!(refused(kms.rotate(&id)), Status::UnsupportedOperation);
    assert_eq!(refused(kms.rotate("alias/acs/disk")), Status::UnsupportedOperation);
    assert_eq!(refused(kms.update_rotation_policy(&id, Some(seconds(DAY)))), Status::UnsupportedOperation);
    assert_eq!(refused(kms.update_rotation_policy(&id, None)), Status::UnsupportedOperation);
    kms.at(4000 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    assert_eq!(kms.versions(&id).len(), 1);
}

#[test]
fn a_service_key_is_not_deleted_by_users() {
    let kms = memory();
    let id = kms.create_service_key("disk").unwrap().to_string();
    let before = kms.key(&id);
    assert_eq!(refused(kms.schedule_key_deletion(&id, 7)), Status::UnsupportedOperation);
    assert_eq!(kms.key(&id), before);
    assert_eq!(refused(kms.delete_key_material(&id)), Status::UnsupportedOrigin);
}

#[test]
fn a_service_keys_alias_is_not_moved_or_deleted_by_users() {
    let kms = memory();
    let id = kms.create_service_key("disk").unwrap();
    let other = kms.plain_key();
    assert_eq!(refused(kms.update_alias(&other, "alias/acs/disk")), Status::InvalidArgument);
    assert_eq!(refused(kms.delete_alias("alias/acs/disk")), Status::InvalidArgument);
    assert_eq!(refused(kms.create_alias(&other, "alias/acs/new")), Status::InvalidArgument);
    assert_eq!(kms.key("alias/acs/disk").id, id);
}

#[test]
fn a_service_keys_name_follows_the_rules_of_aliases() {
    let kms = memory();
    for name in ["", "a b", "é", "a\0", "a.b"] {
        assert_eq!(refused(kms.create_service_key(name)), Status::InvalidArgument, "{name:?}");
    }
    let long = "n".repeat(300);
    let status = refused(kms.create_service_key(&long));
    assert!(matches!(status, Status::InvalidArgument | Status::LimitExceeded), "{status:?}");
    let mut keys = 0;
    kms.list_keys(None, 99, |_| {
        keys += 1;
        true
    })
    .unwrap();
    assert_eq!(keys, 0, "nothing was made");
}

#[test]
fn two_handles_make_one_service_key() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let handles: Vec<TestKeystore> = (0..8).map(|_| open(&path, &clock, |o| o)).collect();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            handles.iter().map(|kms| scope.spawn(|| kms.create_service_key("disk").unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
    let mut keys = 0;
    handles[0]
        .list_keys(None, 99, |_| {
            keys += 1;
            true
        })
        .unwrap();
    assert_eq!(keys, 1);
}

#[test]
fn a_service_key_is_listed_and_its_alias_too() {
    let kms = memory();
    let id = kms.create_service_key("disk").unwrap();
    let mut found = Vec::new();
    kms.list_aliases(Some(&id.to_string()), None, 9, |name, key| {
        found.push((name.to_owned(), key));
        true
    })
    .unwrap();
    assert_eq!(found, vec![("alias/acs/disk".to_owned(), id)]);
}
