//! Aliases: other names of keys, which can be moved from one key to another.

use kms::{KeyId, Status};

use super::imported::*;
use super::support::*;

/// Names and keys in the order in which they are listed.
fn listed(kms: &TestKeystore, of: Option<&str>) -> Vec<(String, String)> {
    page(kms, of, None, usize::MAX)
}

fn page(kms: &TestKeystore, of: Option<&str>, after: Option<&str>, limit: usize) -> Vec<(String, String)> {
    let mut all = Vec::new();
    kms.list_aliases(of, after, limit, |name, id| {
        all.push((name.to_owned(), id.to_string()));
        true
    })
    .unwrap();
    all
}

#[test]
fn an_alias_is_accepted_where_the_service_accepts_one() {
    let kms = memory();
    let id = kms.plain_key();
    kms.create_alias(&id, "alias/orders").unwrap();
    assert_eq!(kms.key("alias/orders").id.to_string(), id, "the real id is told, never the alias");
    let blob = kms.encrypt("alias/orders", b"x", &[]).unwrap();
    assert_eq!(kms.inspect(&blob).unwrap().key.to_string(), id);
    kms.generate_data_key("alias/orders", 32, &[]).unwrap();
    kms.generate_data_key_without_plaintext("alias/orders", 32, &[]).unwrap();
    let version = kms.rotate("alias/orders").unwrap().to_string();
    assert!(kms.describe_key_version("alias/orders", &version).unwrap().is_primary);
    assert_eq!(kms.versions("alias/orders").len(), 2);
}

#[test]
fn an_alias_is_refused_where_the_service_wants_an_id() {
    let kms = memory();
    let id = kms.plain_key();
    kms.create_alias(&id, "alias/orders").unwrap();
    let alias = "alias/orders";
    let before = kms.key(&id);
    let results = [
        kms.enable_key(alias),
        kms.disable_key(alias),
        kms.schedule_key_deletion(alias, 7),
        kms.cancel_key_deletion(alias),
        kms.update_key_description(alias, "x"),
        kms.update_rotation_policy(alias, None),
        kms.create_alias(alias, "alias/second"),
        kms.update_alias(alias, "alias/orders"),
        kms.get_parameters_for_import(alias, WRAPPINGS[0]).map(drop),
        kms.import_raw_key_material(alias, &MATERIAL, None),
        kms.import_key_material(alias, &[0; 256], b"token", None),
        kms.delete_key_material(alias),
        kms.tag_resource(alias, &[("a", "b")]),
        kms.untag_resource(alias, &["a"]),
        kms.list_resource_tags(alias).map(drop),
        kms.list_aliases(Some(alias), None, 9, |_, _| true),
        kms.set_deletion_protection(alias, Some("")),
    ];
    for (number, result) in results.into_iter().enumerate() {
        assert_eq!(refused(result), Status::UnsupportedAlias, "call {number}");
    }
    assert_eq!(kms.key(&id), before);
}

#[test]
fn the_characters_of_a_name_are_letters_digits_and_four_signs() {
    let kms = memory();
    let id = kms.plain_key();
    for name in ["alias/a", "alias/A-z_0/9", "alias//", "alias/-", "alias/_", "alias/a/b/c", "alias/alias/x"] {
        kms.create_alias(&id, name).unwrap();
        assert_eq!(kms.key(name).id.to_string(), id);
    }
    let bad = [
        "",
        "alias",
        "alias/",
        "orders",
        "/orders",
        "Alias/orders",
        "ALIAS/orders",
        " alias/orders",
        "alias/a b",
        "alias/a.b",
        "alias/a:b",
        "alias/é",
        "alias/a\n",
        "alias/a\0",
        "alias/a%",
        "alias/a+b",
        "alias/a@b",
        "alias/\u{1F511}",
    ];
    for name in bad {
        assert_eq!(refused(kms.create_alias(&id, name)), Status::InvalidArgument, "{name:?}");
        assert_eq!(refused(kms.update_alias(&id, name)), Status::InvalidArgument, "{name:?}");
        assert_eq!(refused(kms.delete_alias(name)), Status::InvalidArgument, "{name:?}");
    }
    assert_eq!(listed(&kms, None).len(), 7);
}

#[test]
fn names_are_told_apart_by_case() {
    let kms = memory();
    let (lower, upper) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&lower, "alias/orders").unwrap();
    kms.create_alias(&upper, "alias/Orders").unwrap();
    assert_eq!(kms.key("alias/orders").id.to_string(), lower);
    assert_eq!(kms.key("alias/Orders").id.to_string(), upper);
}

#[test]
fn names_of_services_are_reserved() {
    let kms = memory();
    let id = kms.plain_key();
    for name in ["alias/acs/disk", "alias/acs", "alias/acs/", "alias/acsx", "alias/acs-mine"] {
        assert_eq!(refused(kms.create_alias(&id, name)), Status::InvalidArgument, "{name}");
    }
    kms.create_alias(&id, "alias/ac").unwrap();
    kms.create_alias(&id, "alias/my/acs").unwrap();
    kms.create_service_key("disk").unwrap();
    assert_eq!(refused(kms.update_alias(&id, "alias/acs/disk")), Status::InvalidArgument);
    assert_eq!(refused(kms.delete_alias("alias/acs/disk")), Status::InvalidArgument);
    assert_ne!(kms.key("alias/acs/disk").id.to_string(), id);
}

#[test]
fn a_name_is_unique_in_the_keystore() {
    let kms = memory();
    let (first, second) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&first, "alias/orders").unwrap();
    for id in [&first, &second] {
        assert_eq!(refused(kms.create_alias(id, "alias/orders")), Status::AliasAlreadyExists);
    }
    assert_eq!(kms.key("alias/orders").id.to_string(), first);
}

#[test]
fn a_key_may_have_many_aliases() {
    let kms = memory();
    let id = kms.plain_key();
    let names: Vec<String> = (0..300).map(|n| format!("alias/n{n:03}")).collect();
    for name in &names {
        kms.create_alias(&id, name).unwrap();
    }
    let expected: Vec<_> = names.iter().map(|name| (name.clone(), id.clone())).collect();
    assert_eq!(listed(&kms, Some(&id)), expected);
    assert_eq!(listed(&kms, None), expected);
}

#[test]
fn what_an_alias_must_name_is_a_key_that_exists() {
    let kms = memory();
    let id = kms.plain_key();
    let unknown = KeyId::from_random([5; 16]).to_string();
    assert_eq!(refused(kms.create_alias(&unknown, "alias/orders")), Status::KeyNotFound);
    assert_eq!(refused(kms.update_alias(&id, "alias/orders")), Status::AliasNotFound);
    assert_eq!(refused(kms.delete_alias("alias/orders")), Status::AliasNotFound);
    assert_eq!(refused(kms.list_aliases(Some(&unknown), None, 9, |_, _| true)), Status::KeyNotFound);
    assert_eq!(refused(kms.encrypt("alias/orders", b"x", &[])), Status::AliasNotFound);
    kms.create_alias(&id, "alias/orders").unwrap();
    assert_eq!(refused(kms.update_alias(&unknown, "alias/orders")), Status::KeyNotFound);
    assert_eq!(kms.key("alias/orders").id.to_string(), id);
}

#[test]
fn moving_an_alias_switches_encryption_and_leaves_old_data_readable() {
    let kms = memory();
    let (old, new) = (kms.imported_key(), kms.plain_key());
    kms.create_alias(&old, "alias/app").unwrap();
    let blob = kms.encrypt("alias/app", b"x", &[]).unwrap();
    let before = (kms.key(&old), kms.key(&new));
    kms.update_alias(&new, "alias/app").unwrap();
    assert_eq!(kms.inspect(&kms.encrypt("alias/app", b"y", &[]).unwrap()).unwrap().key.to_string(), new);
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    assert_eq!((kms.key(&old), kms.key(&new)), before, "the keys are untouched");
    assert_eq!(listed(&kms, Some(&old)), vec![]);
    assert_eq!(listed(&kms, Some(&new)), vec![("alias/app".to_owned(), new.clone())]);
    kms.update_alias(&new, "alias/app").unwrap();
    assert_eq!(kms.key("alias/app").id.to_string(), new, "moving it to where it is is no failure");
}

#[test]
fn a_deleted_alias_names_nothing_at_once_and_is_free_again() {
    let kms = memory();
    let (first, second) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&first, "alias/app").unwrap();
    kms.encrypt("alias/app", b"x", &[]).unwrap();
    kms.delete_alias("alias/app").unwrap();
    assert_eq!(refused(kms.encrypt("alias/app", b"x", &[])), Status::AliasNotFound);
    assert_eq!(refused(kms.describe_key("alias/app")), Status::AliasNotFound);
    assert_eq!(refused(kms.delete_alias("alias/app")), Status::AliasNotFound);
    kms.encrypt(&first, b"x", &[]).unwrap();
    kms.create_alias(&second, "alias/app").unwrap();
    assert_eq!(kms.key("alias/app").id.to_string(), second);
}

#[test]
fn an_alias_stays_on_a_key_that_is_to_be_deleted_and_can_be_moved_away() {
    let kms = memory();
    let (pending, new) = (kms.plain_key(), kms.plain_key());
    for name in ["alias/stays", "alias/moves", "alias/goes"] {
        kms.create_alias(&pending, name).unwrap();
    }
    kms.schedule_key_deletion(&pending, 7).unwrap();
    assert_eq!(listed(&kms, Some(&pending)).len(), 3);
    assert_eq!(refused(kms.encrypt("alias/stays", b"x", &[])), Status::RejectedPendingDeletion);
    kms.update_alias(&new, "alias/moves").unwrap();
    kms.delete_alias("alias/goes").unwrap();
    kms.encrypt("alias/moves", b"x", &[]).unwrap();
    assert_eq!(refused(kms.update_alias(&pending, "alias/moves")), Status::RejectedPendingDeletion);
}

#[test]
fn a_destroyed_key_takes_its_aliases_with_it() {
    let kms = memory();
    let (gone, other) = (kms.plain_key(), kms.plain_key());
    kms.create_alias(&gone, "alias/gone").unwrap();
    kms.create_alias(&other, "alias/other").unwrap();
    kms.schedule_key_deletion(&gone, 7).unwrap();
    for hours in [0, 1] {
        kms.at(7 * DAY_MS + hours * HOUR_MS);
        kms.tick().unwrap();
    }
    assert_eq!(refused(kms.describe_key("alias/gone")), Status::AliasNotFound);
    assert_eq!(listed(&kms, None), vec![("alias/other".to_owned(), other.clone())]);
    kms.create_alias(&other, "alias/gone").unwrap();
    assert_eq!(kms.key("alias/gone").id.to_string(), other);
}

#[test]
fn a_list_goes_on_after_the_last_name_seen_even_if_it_is_gone() {
    let kms = memory();
    let (a, b) = (kms.plain_key(), kms.plain_key());
    for n in 0..10 {
        kms.create_alias(if n % 2 == 0 { &a } else { &b }, &format!("alias/n{n}")).unwrap();
    }
    let names = |page: Vec<(String, String)>| page.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(page(&kms, None, None, 3)), ["alias/n0", "alias/n1", "alias/n2"]);
    kms.delete_alias("alias/n2").unwrap();
    assert_eq!(names(page(&kms, None, Some("alias/n2"), 2)), ["alias/n3", "alias/n4"]);
    assert_eq!(names(page(&kms, Some(&a), Some("alias/n2"), 9)), ["alias/n4", "alias/n6", "alias/n8"]);
    assert_eq!(names(page(&kms, None, Some("alias/n9"), 9)), [""; 0]);
    assert_eq!(names(page(&kms, None, None, 0)), [""; 0]);
    let mut seen = 0;
    kms.list_aliases(None, None, usize::MAX, |_, _| {
        seen += 1;
        seen < 4
    })
    .unwrap();
    assert_eq!(seen, 4, "the visitor stops it");
}

#[test]
fn another_handle_sees_a_moved_alias_on_its_next_call() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let (one, two) = (open(&path, &clock, |o| o), open(&path, &clock, |o| o));
    let (first, second) = (one.plain_key(), one.plain_key());
    one.create_alias(&first, "alias/app").unwrap();
    let under =
        |kms: &TestKeystore| kms.inspect(&kms.encrypt("alias/app", b"x", &[]).unwrap()).unwrap().key.to_string();
    assert_eq!(under(&two), first);
    one.update_alias(&second, "alias/app").unwrap();
    assert_eq!(under(&two), second);
    two.delete_alias("alias/app").unwrap();
    assert_eq!(refused(one.encrypt("alias/app", b"x", &[])), Status::AliasNotFound);
    one.create_alias(&first, "alias/app").unwrap();
    assert_eq!(under(&two), first, "an alias that was not found may come to be");
    drop((one, two));
    let third = open(&path, &clock, |o| o);
    assert_eq!(under(&third), first);
}
