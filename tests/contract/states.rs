//! The state matrix: what each state of a key allows, with the service's own three refusals.

use kms::{KeyState, Result, Status};

use super::support::*;

use Status::{
    RejectedDisabled as Disabled, RejectedPendingDeletion as Pending, RejectedPendingImport as Import,
    StateModifiedFailed as Failed, UnsupportedOperation as Origin,
};

type Row = (&'static str, fn(&Subject<'_>) -> Result<()>, [Option<Status>; 4]);

/// One key in the state of a column, and a blob made under it while it was Enabled.
struct Subject<'a> {
    kms: &'a TestKeystore,
    id: &'a str,
    blob: Option<&'a [u8]>,
    /// An Enabled key, and a blob of its.
    other: &'a str,
    other_blob: &'a [u8],
}

impl Subject<'_> {
    /// A PendingImport key has no ciphertext: the column is then the matrix's own.
    fn with_blob<T>(&self, call: impl FnOnce(&[u8]) -> Result<T>) -> Result<()> {
        match self.blob {
            Some(blob) => call(blob).map(drop),
            None => Err(Import.error("no ciphertext exists")),
        }
    }
}

/// Columns: Enabled, Disabled, PendingDeletion, PendingImport (an EXTERNAL key, so the origin is checked before the
/// state).
const MATRIX: &[Row] = &[
    ("DescribeKey", |s| s.kms.describe_key(s.id).map(drop), [None, None, None, None]),
    ("ListKeyVersions", |s| s.kms.list_key_versions(s.id, None, 9, |_, _| true), [None, None, None, None]),
    ("Encrypt", |s| s.kms.encrypt(s.id, b"x", &[]).map(drop), [None, Some(Disabled), Some(Pending), Some(Import)]),
    ("Decrypt", |s| s.with_blob(|b| s.kms.decrypt(b, &[])), [None, Some(Disabled), Some(Pending), Some(Import)]),
    (
        "GenerateDataKey",
        |s| s.kms.generate_data_key(s.id, 32, &[]).map(drop),
        [None, Some(Disabled), Some(Pending), Some(Import)],
    ),
    (
        "GenerateDataKeyWithoutPlaintext",
        |s| s.kms.generate_data_key_without_plaintext(s.id, 32, &[]).map(drop),
        [None, Some(Disabled), Some(Pending), Some(Import)],
    ),
    (
        "ReEncrypt, as source",
        |s| s.with_blob(|b| s.kms.reencrypt(b, &[], Some(s.other.into()), &[])),
        [None, Some(Disabled), Some(Pending), Some(Import)],
    ),
    (
        "ReEncrypt, as destination",
        |s| s.kms.reencrypt(s.other_blob, &[], Some(s.id.into()), &[]).map(drop),
        [None, Some(Disabled), Some(Pending), Some(Import)],
    ),
    ("Inspect", |s| s.blob.map_or(Ok(()), |b| s.kms.inspect(b).map(drop)), [None, None, None, None]),
    ("CreateKeyVersion", |s| s.kms.rotate(s.id).map(drop), [None, Some(Disabled), Some(Pending), Some(Origin)]),
    (
        "UpdateRotationPolicy, on",
        |s| s.kms.update_rotation_policy(s.id, Some(seconds(DAY))),
        [None, Some(Disabled), Some(Pending), Some(Origin)],
    ),
    (
        "UpdateRotationPolicy, off",
        |s| s.kms.update_rotation_policy(s.id, None),
        [None, Some(Disabled), Some(Pending), Some(Origin)],
    ),
    ("EnableKey", |s| s.kms.enable_key(s.id), [None, None, Some(Failed), Some(Failed)]),
    ("DisableKey", |s| s.kms.disable_key(s.id), [None, None, Some(Failed), Some(Failed)]),
    ("ScheduleKeyDeletion", |s| s.kms.schedule_key_deletion(s.id, 7), [None, None, Some(Failed), None]),
    ("CancelKeyDeletion", |s| s.kms.cancel_key_deletion(s.id), [Some(Failed), Some(Failed), None, Some(Failed)]),
];

const COLUMNS: [KeyState; 4] =
    [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion, KeyState::PendingImport];

/// A new key brought to `state`, and a blob of it where one can exist.
fn key_in(kms: &TestKeystore, state: KeyState) -> (String, Option<Vec<u8>>) {
    if state == KeyState::PendingImport {
        return (kms.external_key(), None);
    }
    let id = kms.rotating_key(365 * DAY);
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    match state {
        KeyState::Disabled => kms.disable_key(&id).unwrap(),
        KeyState::PendingDeletion => kms.schedule_key_deletion(&id, 30).unwrap(),
        _ => {}
    }
    (id, Some(blob))
}

#[test]
fn every_operation_is_allowed_in_exactly_the_states_of_the_matrix() {
    let kms = memory();
    let other = kms.plain_key();
    let other_blob = kms.encrypt(&other, b"x", &[]).unwrap();
    for (name, call, expected) in MATRIX {
        for (state, expected) in COLUMNS.iter().zip(expected) {
            let (id, blob) = key_in(&kms, *state);
            assert_eq!(kms.key(&id).state, *state);
            let subject = Subject { kms: &kms, id: &id, blob: blob.as_deref(), other: &other, other_blob: &other_blob };
            let before = kms.key(&id);
            let got = call(&subject).err().map(|error| error.status());
            assert_eq!(got, *expected, "{name} of a key that is {state:?}");
            if got.is_some() {
                assert_eq!(kms.key(&id), before, "{name} was refused and still changed a key that is {state:?}");
            }
        }
    }
}

#[test]
fn a_deleted_keys_import_state_does_not_hide_its_pending_deletion() {
    let kms = memory();
    let id = kms.external_key();
    kms.schedule_key_deletion(&id, 7).unwrap();
    assert_eq!(refused(kms.encrypt(&id, b"x", &[])), Pending);
    assert_eq!(refused(kms.rotate(&id)), Origin, "origin is checked before state");
    assert_eq!(refused(kms.update_rotation_policy(&id, None)), Origin);
    assert_eq!(refused(kms.enable_key(&id)), Failed);
    assert_eq!(refused(kms.schedule_key_deletion(&id, 7)), Failed);
}

#[test]
fn enabling_and_disabling_are_idempotent() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let before = kms.key(&id);
    for _ in 0..3 {
        kms.enable_key(&id).unwrap();
        assert_eq!(kms.key(&id), before, "enabling an Enabled key changes nothing");
    }
    for _ in 0..3 {
        kms.disable_key(&id).unwrap();
        assert_eq!(kms.key(&id).state, KeyState::Disabled);
    }
    kms.enable_key(&id).unwrap();
    assert_eq!(kms.key(&id), before);
}

#[test]
fn a_disabled_key_decrypts_nothing_until_it_is_enabled_again() {
    let kms = memory();
    let id = kms.plain_key();
    let old = kms.encrypt(&id, b"old", &[]).unwrap();
    kms.rotate(&id).unwrap();
    let new = kms.encrypt(&id, b"new", &[]).unwrap();
    kms.decrypt(&old, &[]).unwrap();
    kms.disable_key(&id).unwrap();
    for blob in [&old, &new] {
        assert_eq!(refused(kms.decrypt(blob, &[])), Disabled, "no cached version outlives the state");
    }
    kms.enable_key(&id).unwrap();
    assert_eq!(kms.decrypt(&old, &[]).unwrap().as_slice(), b"old");
    assert_eq!(kms.decrypt(&new, &[]).unwrap().as_slice(), b"new");
}

#[test]
fn keys_in_every_state_are_listed() {
    let kms = memory();
    for state in COLUMNS {
        key_in(&kms, state);
    }
    let mut states = Vec::new();
    kms.list_keys(None, 10, |key| {
        states.push(key.state);
        true
    })
    .unwrap();
    assert!(states.len() == 4 && COLUMNS.iter().all(|state| states.contains(state)), "{states:?}");
}

#[test]
fn an_external_key_starts_without_a_version() {
    let kms = memory();
    let id = kms.external_key();
    let key = kms.key(&id);
    assert_eq!((key.state, key.primary, key.version_count()), (KeyState::PendingImport, None, 0));
    assert!(kms.versions(&id).is_empty());
}
