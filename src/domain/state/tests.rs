use super::*;
use KeyState::*;
use Operation as Op;

/// The service's matrix, row by row: Enabled, Disabled, PendingDeletion, PendingImport; None is "ok".
#[test]
fn the_matrix_is_the_services() {
    const OK: Option<Status> = None;
    const DIS: Option<Status> = Some(Status::RejectedDisabled);
    const DEL: Option<Status> = Some(Status::RejectedPendingDeletion);
    const IMP: Option<Status> = Some(Status::RejectedPendingImport);
    const MOD: Option<Status> = Some(Status::StateModifiedFailed);
    let matrix = [
        (Op::Read, [OK, OK, OK, OK]),
        (Op::Cryptography, [OK, DIS, DEL, IMP]),
        (Op::CreateKeyVersion, [OK, DIS, DEL, IMP]),
        (Op::UpdateRotationPolicy, [OK, DIS, DEL, IMP]),
        (Op::EnableKey, [OK, OK, MOD, MOD]),
        (Op::DisableKey, [OK, OK, MOD, MOD]),
        (Op::ScheduleKeyDeletion, [OK, OK, MOD, OK]),
        (Op::CancelKeyDeletion, [MOD, MOD, OK, MOD]),
        (Op::SetDeletionProtection, [OK, OK, DEL, OK]),
        (Op::UpdateKeyDescription, [OK, OK, DEL, OK]),
        (Op::Tag, [OK, OK, DEL, OK]),
        (Op::CreateAlias, [OK, OK, MOD, OK]),
        (Op::UpdateAlias, [OK, OK, DEL, OK]),
        (Op::OtherAlias, [OK, OK, OK, OK]),
        (Op::GetParametersForImport, [OK, OK, OK, OK]),
        (Op::ImportKeyMaterial, [OK, OK, MOD, OK]),
        (Op::DeleteKeyMaterial, [OK, OK, OK, OK]),
    ];
    for (operation, row) in matrix {
        for (state, expected) in KeyState::ALL.into_iter().zip(row) {
            let got = check(state, operation).err().map(|e| e.status());
            assert_eq!(got, expected, "{operation:?} while {state:?}");
            assert_eq!(after(state, operation, true).err().map(|e| e.status()), expected);
        }
    }
}

#[test]
fn cancelling_returns_to_enabled_or_to_pending_import_without_material() {
    assert_eq!(after(PendingDeletion, Op::CancelKeyDeletion, true), Ok(Enabled));
    assert_eq!(after(PendingDeletion, Op::CancelKeyDeletion, false), Ok(PendingImport));
}

#[test]
fn enabling_and_disabling_are_idempotent() {
    for state in [Enabled, Disabled] {
        assert_eq!(after(state, Op::EnableKey, true), Ok(Enabled));
        assert_eq!(after(state, Op::DisableKey, true), Ok(Disabled));
    }
}

#[test]
fn every_state_keeps_its_number() {
    for state in KeyState::ALL {
        assert_eq!(KeyState::from_number(state as i32), Some(state));
    }
    assert_eq!(KeyState::from_number(0), None);
}

#[test]
fn an_import_enables_a_waiting_key_and_leaves_a_disabled_one_disabled() {
    assert_eq!(after(PendingImport, Op::ImportKeyMaterial, false), Ok(Enabled));
    assert_eq!(after(Disabled, Op::ImportKeyMaterial, true), Ok(Disabled));
    assert_eq!(after(Enabled, Op::ImportKeyMaterial, true), Ok(Enabled));
}

#[test]
fn deleting_material_waits_for_another_import_unless_the_key_is_to_be_deleted() {
    for state in [Enabled, Disabled, PendingImport] {
        assert_eq!(after(state, Op::DeleteKeyMaterial, true), Ok(PendingImport));
    }
    assert_eq!(after(PendingDeletion, Op::DeleteKeyMaterial, true), Ok(PendingDeletion));
}

#[test]
fn a_cancel_without_a_deletion_names_the_state() {
    for state in [KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport] {
        let error = modified_failed(Operation::CancelKeyDeletion, state);
        assert!(error.text().starts_with(&format!("the key is {state:?} and")), "{error}");
    }
}
