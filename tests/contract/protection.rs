//! Deletion protection and descriptions: what users write on a key.

use kms::{CreateKey, KeyId, KeyState, Status};

use super::imported::*;
use super::support::*;

#[test]
fn protection_is_off_on_a_new_key_and_keeps_its_reason_while_it_is_on() {
    let kms = memory();
    let id = kms.plain_key();
    assert_eq!(kms.key(&id).protection, None);
    for reason in ["", "production data", "é \u{1F511}\n"] {
        kms.set_deletion_protection(&id, Some(reason)).unwrap();
        assert_eq!(kms.key(&id).protection.as_deref(), Some(reason));
    }
    kms.set_deletion_protection(&id, None).unwrap();
    assert_eq!(kms.key(&id).protection, None);
    kms.set_deletion_protection(&id, None).unwrap();
}

#[test]
fn protection_refuses_the_scheduling_of_a_deletion_until_it_is_off() {
    let kms = memory();
    let (enabled, disabled, waiting) = (kms.rotating_key(DAY), kms.plain_key(), kms.external_key());
    kms.disable_key(&disabled).unwrap();
    for id in [&enabled, &disabled, &waiting] {
        kms.set_deletion_protection(id, Some("why")).unwrap();
        let before = kms.key(id);
        assert_eq!(refused(kms.schedule_key_deletion(id, 7)), Status::DeletionProtected);
        assert_eq!(kms.key(id), before);
        kms.set_deletion_protection(id, None).unwrap();
        kms.schedule_key_deletion(id, 7).unwrap();
    }
}

#[test]
fn protection_refuses_nothing_else() {
    let kms = memory();
    let id = kms.imported_key();
    kms.set_deletion_protection(&id, Some("why")).unwrap();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.disable_key(&id).unwrap();
    kms.enable_key(&id).unwrap();
    kms.update_key_description(&id, "new").unwrap();
    kms.delete_key_material(&id).unwrap();
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
    kms.decrypt(&blob, &[]).unwrap();
    assert_eq!(kms.key(&id).protection.as_deref(), Some("why"), "and nothing else turns it off");
    let id = kms.rotating_key(DAY);
    kms.set_deletion_protection(&id, Some("why")).unwrap();
    kms.rotate(&id).unwrap();
    kms.update_rotation_policy(&id, None).unwrap();
}

#[test]
fn a_bad_waiting_period_is_told_before_protection() {
    let kms = memory();
    let id = kms.plain_key();
    kms.set_deletion_protection(&id, Some("")).unwrap();
    assert_eq!(refused(kms.schedule_key_deletion(&id, 6)), Status::InvalidArgument);
}

#[test]
fn a_key_that_is_to_be_deleted_can_not_be_protected() {
    let kms = memory();
    let id = kms.plain_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    for protection in [Some("too late"), None] {
        assert_eq!(refused(kms.set_deletion_protection(&id, protection)), Status::RejectedPendingDeletion);
    }
    kms.cancel_key_deletion(&id).unwrap();
    kms.set_deletion_protection(&id, Some("in time")).unwrap();
}

#[test]
fn a_description_is_replaced_as_a_whole_and_may_be_empty() {
    let kms = memory();
    let request = CreateKey { description: "first".into(), ..CreateKey::default() };
    let id = kms.create_key(&request).unwrap().to_string();
    assert_eq!(kms.key(&id).description, "first");
    for text in ["second", "", "é \u{1F511}\n\"quoted\"", "second"] {
        kms.update_key_description(&id, text).unwrap();
        assert_eq!(kms.key(&id).description, text);
    }
    kms.disable_key(&id).unwrap();
    kms.update_key_description(&id, "of a disabled key").unwrap();
    kms.schedule_key_deletion(&id, 7).unwrap();
    assert_eq!(refused(kms.update_key_description(&id, "late")), Status::RejectedPendingDeletion);
    assert_eq!(kms.key(&id).description, "of a disabled key");
}

#[test]
fn neither_touches_the_rotation_schedule() {
    let kms = memory();
    let id = kms.rotating_key(10 * DAY);
    kms.at(5 * DAY_MS);
    let before = kms.key(&id);
    kms.update_key_description(&id, "new").unwrap();
    kms.set_deletion_protection(&id, Some("why")).unwrap();
    let after = kms.key(&id);
    assert_eq!(
        (after.primary, after.policy, after.next_rotation()),
        (before.primary, before.policy, before.next_rotation())
    );
    assert_eq!(after.state, KeyState::Enabled);
}

#[test]
fn an_unknown_key_is_not_found() {
    let kms = memory();
    let unknown = KeyId::from_random([5; 16]).to_string();
    assert_eq!(refused(kms.update_key_description(&unknown, "x")), Status::KeyNotFound);
    assert_eq!(refused(kms.set_deletion_protection(&unknown, None)), Status::KeyNotFound);
    assert_eq!(refused(kms.update_key_description("", "x")), Status::InvalidArgument);
    assert_eq!(refused(kms.update_key_description("alias/x", "x")), Status::UnsupportedAlias);
}

#[test]
fn both_outlive_the_handle() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let first = open(&path, &clock, |o| o);
    let id = first.plain_key();
    first.update_key_description(&id, "orders").unwrap();
    first.set_deletion_protection(&id, Some("why")).unwrap();
    drop(first);
    let second = open(&path, &clock, |o| o);
    let key = second.key(&id);
    assert_eq!((key.description.as_str(), key.protection.as_deref()), ("orders", Some("why")));
    assert_eq!(refused(second.schedule_key_deletion(&id, 7)), Status::DeletionProtected);
}
