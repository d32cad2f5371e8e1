//! The service's matrix of operations against key states, row by row in its order.
//!
//! A [`Driver`] is one way to call the library; the table is the same for all of them. EXTERNAL-only rows use an
//! EXTERNAL key in every column, the others one made by the library, except that only an EXTERNAL key can be
//! PendingImport. Kind is checked before state, so rotation refuses that key for its origin.

use kms::{CreateKey, Key, KeyState, Keystore, Status, VersionId};

use super::imported::*;
use super::support::*;

use Status::{
    RejectedDisabled as Disabled, RejectedPendingDeletion as Pending, RejectedPendingImport as Import,
    StateModifiedFailed as Failed, UnsupportedOperation as NotRotated, UnsupportedOrigin as Origin,
};

/// The rows, named as the service names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    CreateKey,
    ListKeys,
    DescribeKey,
    Encrypt,
    Decrypt,
    GenerateDataKey,
    GenerateDataKeyWithoutPlaintext,
    CreateKeyVersion,
    UpdateRotationPolicyOn,
    UpdateRotationPolicyOff,
    DescribeKeyVersion,
    ListKeyVersions,
    UpdateKeyDescription,
    TagResource,
    UntagResource,
    ListResourceTags,
    EnableKey,
    DisableKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    CreateAlias,
    DeleteAlias,
    ListAliases,
    UpdateAlias,
    GetParametersForImport,
    ImportKeyMaterial,
    DeleteKeyMaterial,
    ReEncryptSource,
    ReEncryptDestination,
    SetDeletionProtection,
    ListAliasesByKeyId,
}

/// One way to call the library.
pub trait Driver {
    /// Carries out `operation` on the subject: its status if it was refused.
    fn perform(&self, kms: &Keystore, operation: Operation, subject: &Subject) -> Result<(), Status>;
}

/// One key in the state of a column, with the objects that operations need; all were created while it was Enabled.
pub struct Subject {
    pub id: String,
    pub version: VersionId,
    pub blob: Vec<u8>,
    /// An alias of the key.
    pub alias: String,
    /// An alias of `other`.
    pub other_alias: String,
    /// An Enabled key, and a ciphertext of its.
    pub other: String,
    pub other_blob: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    ByLibrary,
    External,
}

type Row = (Operation, Made, [Option<Status>; 4]);

pub const COLUMNS: [KeyState; 4] =
    [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion, KeyState::PendingImport];

const fn row(operation: Operation, cells: [Option<Status>; 4]) -> Row {
    (operation, Made::ByLibrary, cells)
}

const fn external(operation: Operation, cells: [Option<Status>; 4]) -> Row {
    (operation, Made::External, cells)
}

const OK: Option<Status> = None;
const USE: [Option<Status>; 4] = [OK, Some(Disabled), Some(Pending), Some(Import)];
const ROTATE: [Option<Status>; 4] = [OK, Some(Disabled), Some(Pending), Some(NotRotated)];
const LOOK: [Option<Status>; 4] = [OK, OK, OK, OK];
const EDIT: [Option<Status>; 4] = [OK, OK, Some(Pending), OK];

/// Columns: Enabled, Disabled, PendingDeletion, PendingImport.
const MATRIX: [Row; 31] = [
    row(Operation::CreateKey, LOOK),
    row(Operation::ListKeys, LOOK),
    row(Operation::DescribeKey, LOOK),
    row(Operation::Encrypt, USE),
    row(Operation::Decrypt, USE),
    row(Operation::GenerateDataKey, USE),
    row(Operation::GenerateDataKeyWithoutPlaintext, USE),
    row(Operation::CreateKeyVersion, ROTATE),
    row(Operation::UpdateRotationPolicyOn, ROTATE),
    row(Operation::UpdateRotationPolicyOff, ROTATE),
    row(Operation::DescribeKeyVersion, LOOK),
    row(Operation::ListKeyVersions, LOOK),
    row(Operation::UpdateKeyDescription, EDIT),
    row(Operation::TagResource, EDIT),
    row(Operation::UntagResource, EDIT),
    row(Operation::ListResourceTags, LOOK),
    row(Operation::EnableKey, [OK, OK, Some(Failed), Some(Failed)]),
    row(Operation::DisableKey, [OK, OK, Some(Failed), Some(Failed)]),
    row(Operation::ScheduleKeyDeletion, [OK, OK, Some(Failed), OK]),
    row(Operation::CancelKeyDeletion, [Some(Failed), Some(Failed), OK, Some(Failed)]),
    row(Operation::CreateAlias, [OK, OK, Some(Failed), OK]),
    row(Operation::DeleteAlias, LOOK),
    row(Operation::ListAliases, LOOK),
    row(Operation::UpdateAlias, EDIT),
    external(Operation::GetParametersForImport, LOOK),
    external(Operation::ImportKeyMaterial, [OK, OK, Some(Failed), OK]),
    external(Operation::DeleteKeyMaterial, LOOK),
    // Not in the service's matrix.
    row(Operation::ReEncryptSource, USE),
    row(Operation::ReEncryptDestination, USE),
    row(Operation::SetDeletionProtection, EDIT),
    row(Operation::ListAliasesByKeyId, LOOK),
];

/// Where an allowed operation leaves the key.
fn after(operation: Operation, before: KeyState) -> KeyState {
    match operation {
        Operation::EnableKey | Operation::CancelKeyDeletion => KeyState::Enabled,
        Operation::DisableKey => KeyState::Disabled,
        Operation::ScheduleKeyDeletion => KeyState::PendingDeletion,
        Operation::ImportKeyMaterial if before == KeyState::PendingImport => KeyState::Enabled,
        Operation::DeleteKeyMaterial if before != KeyState::PendingDeletion => KeyState::PendingImport,
        _ => before,
    }
}

/// A key in `state`; a PendingImport one is one whose material was deleted, so that it has a ciphertext.
fn subject(kms: &TestKeystore, made: Made, state: KeyState) -> Subject {
    let external = made == Made::External || state == KeyState::PendingImport;
    let id = if external { kms.imported_key() } else { kms.rotating_key(365 * DAY) };
    let other = kms.plain_key();
    let (alias, other_alias) = (format!("alias/{id}"), format!("alias/{other}"));
    kms.create_alias(&id, &alias).unwrap();
    kms.create_alias(&other, &other_alias).unwrap();
    kms.tag_resource(&id, &[("team", "payments")]).unwrap();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let other_blob = kms.encrypt(&other, b"x", &[]).unwrap();
    match state {
        KeyState::Enabled => {}
        KeyState::Disabled => kms.disable_key(&id).unwrap(),
        KeyState::PendingDeletion => kms.schedule_key_deletion(&id, 30).unwrap(),
        KeyState::PendingImport => kms.delete_key_material(&id).unwrap(),
    }
    assert_eq!(kms.key(&id).state, state);
    Subject { version: kms.inspect(&blob).unwrap().version, id, blob, alias, other_alias, other, other_blob }
}

/// All that can be seen of a key: itself, its versions, tags and aliases.
type Seen = (Key, Vec<kms::KeyVersion>, Vec<(String, String)>, Vec<String>);

fn seen(kms: &TestKeystore, id: &str) -> Seen {
    let mut aliases = Vec::new();
    let of_key = kms.list_aliases(Some(id), None, usize::MAX, |name, _| {
        aliases.push(name.to_owned());
        true
    });
    of_key.unwrap();
    (kms.key(id), kms.versions(id), kms.list_resource_tags(id).unwrap(), aliases)
}

fn check(kms: &TestKeystore, driver: &impl Driver, operation: Operation, subject: &Subject, expected: Option<Status>) {
    let before = seen(kms, &subject.id);
    let state = before.0.state;
    let got = driver.perform(kms, operation, subject).err();
    assert_eq!(got, expected, "{operation:?} of a {:?} key that is {state:?}", before.0.origin);
    let now = seen(kms, &subject.id);
    match got {
        Some(_) => assert_eq!(now, before, "{operation:?} was refused and changed a key that is {state:?}"),
        None => assert_eq!(now.0.state, after(operation, state), "{operation:?} of a key that was {state:?}"),
    }
}

/// The matrix, by any driver.
pub fn each_row_holds(driver: &impl Driver) {
    let kms = memory();
    for (operation, made, cells) in MATRIX {
        for (state, expected) in COLUMNS.into_iter().zip(cells) {
            check(&kms, driver, operation, &subject(&kms, made, state), expected);
        }
    }
}

/// An EXTERNAL key has the same matrix, but never rotates; one made by the library is never imported.
pub fn kind_is_checked_before_state(driver: &impl Driver) {
    let kms = memory();
    for (operation, made, cells) in MATRIX {
        for (state, cell) in COLUMNS.into_iter().zip(cells) {
            match made {
                Made::ByLibrary => {
                    let expected = if cells == ROTATE { Some(NotRotated) } else { cell };
                    check(&kms, driver, operation, &subject(&kms, Made::External, state), expected);
                }
                Made::External if state != KeyState::PendingImport => {
                    check(&kms, driver, operation, &subject(&kms, Made::ByLibrary, state), Some(Origin));
                }
                Made::External => {}
            }
        }
    }
}

/// Calls through the Rust API.
struct Rust;

impl Driver for Rust {
    fn perform(&self, kms: &Keystore, operation: Operation, s: &Subject) -> Result<(), Status> {
        let (id, version) = (s.id.as_str(), s.version.to_string());
        let done = match operation {
            Operation::CreateKey => kms.create_key(&CreateKey::default()).map(drop),
            Operation::ListKeys => kms.list_keys(None, 9, |_| true),
            Operation::DescribeKey => kms.describe_key(id).map(drop),
            Operation::Encrypt => kms.encrypt(id, b"x", &[]).map(drop),
            Operation::Decrypt => kms.decrypt(&s.blob, &[]).map(drop),
            Operation::GenerateDataKey => kms.generate_data_key(id, 32, &[]).map(drop),
            Operation::GenerateDataKeyWithoutPlaintext => {
                kms.generate_data_key_without_plaintext(id, 32, &[]).map(drop)
            }
            Operation::CreateKeyVersion => kms.rotate(id).map(drop),
            Operation::UpdateRotationPolicyOn => kms.update_rotation_policy(id, Some(seconds(DAY))),
            Operation::UpdateRotationPolicyOff => kms.update_rotation_policy(id, None),
            Operation::DescribeKeyVersion => kms.describe_key_version(id, &version).map(drop),
            Operation::ListKeyVersions => kms.list_key_versions(id, None, 9, |_, _| true),
            Operation::UpdateKeyDescription => kms.update_key_description(id, "new"),
            Operation::TagResource => kms.tag_resource(id, &[("team", "orders")]),
            Operation::UntagResource => kms.untag_resource(id, &["team"]),
            Operation::ListResourceTags => kms.list_resource_tags(id).map(drop),
            Operation::EnableKey => kms.enable_key(id),
            Operation::DisableKey => kms.disable_key(id),
            Operation::ScheduleKeyDeletion => kms.schedule_key_deletion(id, 7),
            Operation::CancelKeyDeletion => kms.cancel_key_deletion(id),
            Operation::CreateAlias => kms.create_alias(id, &format!("{}/second", s.alias)),
            Operation::DeleteAlias => kms.delete_alias(&s.alias),
            Operation::ListAliases => kms.list_aliases(None, None, 9, |_, _| true),
            Operation::UpdateAlias => kms.update_alias(id, &s.other_alias),
            Operation::GetParametersForImport => kms.get_parameters_for_import(id, WRAPPINGS[2]).map(drop),
            Operation::ImportKeyMaterial => kms.import_raw_key_material(id, &MATERIAL, None),
            Operation::DeleteKeyMaterial => kms.delete_key_material(id),
            Operation::ReEncryptSource => kms.reencrypt(&s.blob, &[], Some((&s.other).into()), &[]).map(drop),
            Operation::ReEncryptDestination => kms.reencrypt(&s.other_blob, &[], Some(id.into()), &[]).map(drop),
            Operation::SetDeletionProtection => kms.set_deletion_protection(id, Some("why")),
            Operation::ListAliasesByKeyId => kms.list_aliases(Some(id), None, 9, |_, _| true),
        };
        done.map_err(|error| error.status())
    }
}

#[test]
fn every_operation_is_allowed_in_exactly_the_states_of_its_row() {
    each_row_holds(&Rust);
}

#[test]
fn origin_is_told_before_state() {
    kind_is_checked_before_state(&Rust);
}

#[test]
fn every_row_is_there_once() {
    for (at, (operation, ..)) in MATRIX.iter().enumerate() {
        assert_eq!(*operation as usize, at, "{operation:?}: the table is in the order of the rows");
    }
}

#[test]
fn a_key_that_never_had_material_has_no_version_to_describe() {
    let kms = memory();
    let id = kms.external_key();
    let version = kms.sealed_under(&kms.plain_key()).to_string();
    assert_eq!(refused(kms.describe_key_version(&id, &version)), Status::KeyVersionNotFound);
    assert!(kms.versions(&id).is_empty());
    assert_eq!(refused(kms.encrypt(&id, b"x", &[])), Import);
    assert_eq!(refused(kms.generate_data_key(&id, 32, &[])), Import);
    kms.delete_key_material(&id).unwrap();
    assert_eq!(kms.key(&id).state, KeyState::PendingImport, "nothing to delete is no failure");
}
