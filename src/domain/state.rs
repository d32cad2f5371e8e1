//! The states of a customer master key, what each allows, and the only ways they change.
//!
//! ```text
//!  PendingImport --import--> Enabled <--enable/disable--> Disabled
//!        any but PendingDeletion --schedule--> PendingDeletion --cancel--> Enabled (PendingImport without material)
//!                                                             --due-----> gone
//! ```
//!
//! Pure: no clock, file, lock or randomness. `rotation.rs` and `deletion.rs` decide when; this file says what is legal.

use crate::error::{Error, Result, Status};

/// The state of a key, which decides what the key allows.
///
/// Exhaustive: the service's contract has no further state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum KeyState {
    /// The key encrypts, decrypts and rotates.
    Enabled = 1,
    /// The key neither encrypts nor decrypts until it is enabled again.
    Disabled = 2,
    /// The waiting period before the key is destroyed; the deletion can be cancelled.
    PendingDeletion = 3,
    /// An EXTERNAL key without usable material.
    PendingImport = 4,
}

impl KeyState {
    /// All states.
    pub const ALL: [KeyState; 4] = [Self::Enabled, Self::Disabled, Self::PendingDeletion, Self::PendingImport];

    /// Return the state of this number, as C has it.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Enabled),
            2 => Some(Self::Disabled),
            3 => Some(Self::PendingDeletion),
            4 => Some(Self::PendingImport),
            _ => None,
        }
    }
}

/// What a caller wants to do to a key; one row of the service's state matrix each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(not(test), allow(dead_code, reason = "no call asks whether it may do what every state allows"))]
pub enum Operation {
    /// Encrypt, Decrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, both sides of ReEncrypt.
    Cryptography,
    CreateKeyVersion,
    UpdateRotationPolicy,
    /// EnableKeyVersion, DisableKeyVersion, ScheduleKeyVersionDeletion, CancelKeyVersionDeletion.
    ChangeVersion,
    /// DescribeKey, ListKeys, DescribeKeyVersion, ListKeyVersions.
    Read,
    EnableKey,
    DisableKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    SetDeletionProtection,
    UpdateKeyDescription,
    /// TagResource, UntagResource.
    Tag,
    CreateAlias,
    /// UpdateAlias: only the target counts.
    UpdateAlias,
    /// DeleteAlias, ListAliases, ListAliasesByKeyId.
    OtherAlias,
    GetParametersForImport,
    ImportKeyMaterial,
    DeleteKeyMaterial,
}

/// The service's state matrix: the error of an operation that `state` forbids.
pub fn check(state: KeyState, operation: Operation) -> Result<()> {
    use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport};
    use Operation as Op;
    match (operation, state) {
        (Op::Read | Op::OtherAlias | Op::GetParametersForImport | Op::DeleteKeyMaterial, _) => Ok(()),

        (Op::Cryptography | Op::CreateKeyVersion | Op::UpdateRotationPolicy, Enabled) => Ok(()),
        (Op::Cryptography | Op::CreateKeyVersion | Op::UpdateRotationPolicy, _) => Err(rejected(state)),

        (Op::EnableKey | Op::DisableKey, Enabled | Disabled) => Ok(()),
        (Op::EnableKey | Op::DisableKey, PendingDeletion | PendingImport) => Err(modified_failed(operation, state)),

        (Op::ScheduleKeyDeletion, Enabled | Disabled | PendingImport) => Ok(()),
        (Op::ScheduleKeyDeletion, PendingDeletion) => Err(modified_failed(operation, state)),

        (Op::CancelKeyDeletion, PendingDeletion) => Ok(()),
        (Op::CancelKeyDeletion, Enabled | Disabled | PendingImport) => Err(modified_failed(operation, state)),

        (
            Op::SetDeletionProtection | Op::UpdateKeyDescription | Op::Tag | Op::UpdateAlias | Op::ChangeVersion,
            Enabled | Disabled | PendingImport,
        ) => Ok(()),
        (
            Op::SetDeletionProtection | Op::UpdateKeyDescription | Op::Tag | Op::UpdateAlias | Op::ChangeVersion,
            PendingDeletion,
        ) => Err(rejected(state)),

        (Op::CreateAlias | Op::ImportKeyMaterial, Enabled | Disabled | PendingImport) => Ok(()),
        (Op::CreateAlias | Op::ImportKeyMaterial, PendingDeletion) => Err(modified_failed(operation, state)),
    }
}

/// The state after an allowed change; `has_material` decides where a cancelled deletion returns to.
pub fn after(state: KeyState, operation: Operation, has_material: bool) -> Result<KeyState> {
    check(state, operation)?;
    Ok(match operation {
        Operation::EnableKey => KeyState::Enabled,
        Operation::DisableKey => KeyState::Disabled,
        Operation::ScheduleKeyDeletion => KeyState::PendingDeletion,
        Operation::CancelKeyDeletion if has_material => KeyState::Enabled,
        Operation::CancelKeyDeletion => KeyState::PendingImport,
        Operation::ImportKeyMaterial if state == KeyState::PendingImport => KeyState::Enabled,
        Operation::DeleteKeyMaterial if state != KeyState::PendingDeletion => KeyState::PendingImport,
        _ => state,
    })
}

fn rejected(state: KeyState) -> Error {
    match state {
        KeyState::Disabled => Status::RejectedDisabled.error("the key is Disabled; enable it first"),
        KeyState::PendingDeletion => {
            Status::RejectedPendingDeletion.error("the key is PendingDeletion; cancel its deletion first")
        }
        KeyState::PendingImport => {
            Status::RejectedPendingImport.error("the key is PendingImport; import its material first")
        }
        KeyState::Enabled => Status::Internal.error("an Enabled key was refused"),
    }
}

fn modified_failed(operation: Operation, state: KeyState) -> Error {
    Status::StateModifiedFailed.error(match (operation, state) {
        (Operation::CancelKeyDeletion, KeyState::Enabled) => "the key is Enabled and has no deletion to cancel",
        (Operation::CancelKeyDeletion, KeyState::Disabled) => "the key is Disabled and has no deletion to cancel",
        (Operation::CancelKeyDeletion, _) => "the key is PendingImport and has no deletion to cancel",
        (_, KeyState::PendingImport) => "the key is PendingImport; import its material first",
        _ => "the key is PendingDeletion; cancel its deletion first",
    })
}

#[cfg(test)]
mod tests;
