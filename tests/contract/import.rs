//! Imported key material: one version for life, which may be taken away and brought back unchanged.

use kms::{KeyId, KeyState, Status, Time};

use super::imported::*;
use super::support::*;

fn at(ms: i64) -> Option<Time> {
    Some(Time::from_millis(T0 + ms))
}

#[test]
fn importing_enables_a_key_and_makes_its_only_version() {
    let kms = memory();
    let id = kms.external_key();
    assert_eq!((kms.key(&id).state, kms.versions(&id).len()), (KeyState::PendingImport, 0));
    kms.at(DAY_MS);
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.state, key.version_count()), (KeyState::Enabled, 1));
    assert_eq!(kms.versions(&id)[0].id, key.primary.unwrap().id);
    let blob = kms.encrypt(&id, b"x", &[("a", "1")]).unwrap();
    assert_eq!(kms.decrypt(&blob, &[("a", "1")]).unwrap().as_slice(), b"x");
}

#[test]
fn material_is_32_bytes() {
    let kms = memory();
    let id = kms.external_key();
    for len in [0, 1, 16, 31, 33, 64, 4096] {
        assert_eq!(refused(kms.import_raw_key_material(&id, &vec![1; len], None)), Status::InvalidKeyMaterial, "{len}");
        if len <= 64 {
            let parameters = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
            let wrapped = wrap(&parameters.public_key, WRAPPINGS[2], &vec![1; len]);
            let status = refused(kms.import_key_material(&id, &wrapped, &parameters.token, None));
            assert_eq!(status, Status::InvalidKeyMaterial, "{len} wrapped");
        }
    }
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
}

#[test]
fn only_the_identical_material_is_ever_accepted_again() {
    let kms = memory();
    let id = kms.imported_key();
    let primary = kms.primary(&id);
    let mut other = MATERIAL;
    other[31] ^= 1;
    let check = |when: &str| {
        for wrong in [&other[..], &[0; 32], &MATERIAL[..31]] {
            assert_eq!(refused(kms.import_raw_key_material(&id, wrong, None)), Status::InvalidKeyMaterial, "{when}");
        }
        kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
        assert_eq!((kms.primary(&id), kms.versions(&id).len()), (primary, 1), "one version for life; {when}");
    };
    check("while it is there");
    kms.delete_key_material(&id).unwrap();
    check("after its deletion");
    kms.import_raw_key_material(&id, &MATERIAL, at(DAY_MS)).unwrap();
    kms.at(DAY_MS);
    check("after its expiry");
    kms.import_raw_key_material(&id, &MATERIAL, at(2 * DAY_MS)).unwrap();
    for ms in [2 * DAY_MS, 2 * DAY_MS + HOUR_MS] {
        kms.at(ms);
        kms.tick().unwrap();
    }
    check("after it was erased");
    kms.schedule_key_deletion(&id, 7).unwrap();
    kms.delete_key_material(&id).unwrap();
    kms.cancel_key_deletion(&id).unwrap();
    check("after a cancelled deletion");
}

#[test]
fn deleting_the_material_makes_data_undecryptable_until_it_is_imported_again() {
    let kms = memory();
    let id = kms.imported_key();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    kms.delete_key_material(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::RejectedPendingImport);
    assert_eq!(refused(kms.encrypt(&id, b"x", &[])), Status::RejectedPendingImport);
    kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
    assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    assert!(kms.inspect(&kms.encrypt(&id, b"y", &[]).unwrap()).unwrap().is_primary);
}

#[test]
fn the_same_material_in_two_keys_opens_nothing_of_the_other() {
    let kms = memory();
    let (one, two) = (kms.imported_key(), kms.imported_key());
    let mut blob = kms.encrypt(&one, b"x", &[]).unwrap();
    let other = kms.encrypt(&two, b"x", &[]).unwrap();
    blob[8..40].copy_from_slice(&other[8..40]);
    assert_eq!(refused(kms.decrypt(&blob, &[])), Status::AuthenticationFailed);
}

#[test]
fn import_is_for_external_keys_only() {
    let kms = memory();
    let made = [kms.plain_key(), kms.create_service_key("disk").unwrap().to_string()];
    let unknown = KeyId::from_random([5; 16]).to_string();
    for (id, expected) in made.iter().map(|id| (id, Status::UnsupportedOrigin)).chain([(&unknown, Status::KeyNotFound)])
    {
        assert_eq!(refused(kms.get_parameters_for_import(id, WRAPPINGS[0])), expected);
        assert_eq!(refused(kms.import_raw_key_material(id, &MATERIAL, None)), expected);
        assert_eq!(refused(kms.import_key_material(id, &[0; 256], b"token", None)), expected);
        assert_eq!(refused(kms.delete_key_material(id)), expected);
    }
}

#[test]
fn material_wrapped_in_each_way_is_imported() {
    let kms = memory();
    for wrapping in WRAPPINGS {
        let id = kms.external_key();
        let parameters = kms.get_parameters_for_import(&id, wrapping).unwrap();
        assert_eq!(parameters.expires.millis(), T0 + DAY_MS, "24 hours");
        let wrapped = wrap(&parameters.public_key, wrapping, &MATERIAL);
        assert_eq!(wrapped.len(), 256, "RSA-2048");
        kms.import_key_material(&id, &wrapped, &parameters.token, None).unwrap();
        let blob = kms.encrypt(&id, b"x", &[]).unwrap();
        kms.delete_key_material(&id).unwrap();
        kms.import_raw_key_material(&id, &MATERIAL, None).unwrap();
        assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x", "the material that was wrapped: {wrapping:?}");
    }
}

#[test]
fn material_wrapped_in_another_way_or_damaged_is_invalid() {
    let kms = memory();
    let id = kms.external_key();
    let parameters = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
    let other = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
    let good = wrap(&parameters.public_key, WRAPPINGS[2], &MATERIAL);
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    let wrong = [
        wrap(&parameters.public_key, WRAPPINGS[0], &MATERIAL),
        wrap(&parameters.public_key, WRAPPINGS[1], &MATERIAL),
        wrap(&other.public_key, WRAPPINGS[2], &MATERIAL),
        damaged,
        good[..255].to_vec(),
        vec![],
        vec![0; 256],
        vec![0xff; 256],
    ];
    for (number, wrapped) in wrong.iter().enumerate() {
        let status = refused(kms.import_key_material(&id, wrapped, &parameters.token, None));
        assert_eq!(status, Status::InvalidKeyMaterial, "wrapped {number}");
    }
    kms.import_key_material(&id, &good, &parameters.token, None).unwrap();
}

#[test]
fn a_token_is_good_several_times_for_its_key_alone() {
    let kms = memory();
    let (id, other) = (kms.external_key(), kms.external_key());
    let first = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
    let second = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
    assert!(first.token != second.token && first.public_key != second.public_key, "each call makes a pair");
    let wrapped = wrap(&first.public_key, WRAPPINGS[2], &MATERIAL);
    for _ in 0..3 {
        kms.import_key_material(&id, &wrapped, &first.token, None).unwrap();
    }
    let wrapped_for_second = wrap(&second.public_key, WRAPPINGS[2], &MATERIAL);
    kms.import_key_material(&id, &wrapped_for_second, &second.token, None).unwrap();
    let status = refused(kms.import_key_material(&other, &wrapped, &first.token, None));
    assert_eq!(status, Status::InvalidImportToken, "the token of another key");
    assert_eq!(kms.key(&other).state, KeyState::PendingImport);
}

#[test]
fn a_token_expires_after_24_hours() {
    let kms = memory();
    let id = kms.external_key();
    let parameters = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
    let wrapped = wrap(&parameters.public_key, WRAPPINGS[2], &MATERIAL);
    kms.at(DAY_MS - 1);
    kms.import_key_material(&id, &wrapped, &parameters.token, None).unwrap();
    kms.at(DAY_MS + 1);
    let status = refused(kms.import_key_material(&id, &wrapped, &parameters.token, None));
    assert_eq!(status, Status::ExpiredImportToken);
    assert_eq!(kms.key(&id).state, KeyState::Enabled, "the material itself stays");
}

#[test]
fn a_changed_token_is_invalid() {
    let kms = memory();
    let id = kms.external_key();
    let parameters = kms.get_parameters_for_import(&id, WRAPPINGS[2]).unwrap();
    let wrapped = wrap(&parameters.public_key, WRAPPINGS[2], &MATERIAL);
    let token = &parameters.token;
    let mut wrong = vec![vec![], b"token".to_vec(), token[..token.len() - 1].to_vec(), [&token[..], &[0]].concat()];
    for at in (0..token.len()).step_by(61).chain([token.len() - 1]) {
        let mut changed = token.clone();
        changed[at] ^= 1;
        wrong.push(changed);
    }
    let foreign = memory();
    let key = foreign.external_key();
    wrong.push(foreign.get_parameters_for_import(&key, WRAPPINGS[2]).unwrap().token);
    for token in &wrong {
        assert_eq!(refused(kms.import_key_material(&id, &wrapped, token, None)), Status::InvalidImportToken);
    }
    assert_eq!(kms.key(&id).state, KeyState::PendingImport);
}

#[test]
fn imports_and_tokens_outlive_the_handle() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let first = open(&path, &clock, |o| o);
    let id = first.external_key();
    let parameters = first.get_parameters_for_import(&id, WRAPPINGS[1]).unwrap();
    drop(first);
    let second = open(&path, &clock, |o| o);
    let wrapped = wrap(&parameters.public_key, WRAPPINGS[1], &MATERIAL);
    second.import_key_material(&id, &wrapped, &parameters.token, at(DAY_MS)).unwrap();
    let blob = second.encrypt(&id, b"x", &[]).unwrap();
    drop(second);
    let third = open(&path, &clock, |o| o);
    assert_eq!(third.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    third.at(DAY_MS);
    assert_eq!(refused(third.decrypt(&blob, &[])), Status::RejectedPendingImport);
}
