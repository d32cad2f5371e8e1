//! The service's tables: its errors, its states, its matrix, its limits.

use std::ops::RangeInclusive;

/// Unix milliseconds.
pub type Millis = i64;

pub const SECOND: Millis = 1000;
pub const HOUR: Millis = 3600 * SECOND;
pub const DAY: Millis = 24 * HOUR;

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Several arguments are wrong, and which of them is named is not promised.
    OneOf(Vec<Refusal>),
    InvalidArgument,
    MissingParameter,
    UnknownAction,
    UnsupportedAlias,
    LimitExceeded,
    KeyNotFound,
    KeyVersionNotFound,
    AliasNotFound,
    AliasAlreadyExists,
    Disabled,
    PendingDeletion,
    PendingImport,
    StateModifiedFailed,
    UnsupportedOperation,
    UnsupportedOrigin,
    DeletionProtected,
    MalformedCiphertext,
    AuthenticationFailed,
    InvalidKeyMaterial,
    InvalidImportToken,
    ExpiredImportToken,
}

impl Refusal {
    /// The status number, the service's code, its HTTP status.
    pub fn listed(&self) -> (i32, &'static str, i64) {
        match self {
            Self::OneOf(_) => unreachable!("stands for its members"),
            Self::InvalidArgument => (100, "InvalidParameter", 400),
            Self::MissingParameter => (101, "MissingParameter", 400),
            Self::UnknownAction => (103, "UnsupportedOperation.UnknownAction", 400),
            Self::UnsupportedAlias => (104, "Unsupported.Alias", 400),
            Self::LimitExceeded => (105, "Rejected.LimitExceeded", 400),
            Self::KeyNotFound => (200, "Forbidden.KeyNotFound", 404),
            Self::KeyVersionNotFound => (201, "Forbidden.KeyVersionNotFound", 404),
            Self::AliasNotFound => (202, "Forbidden.AliasNotFound", 404),
            Self::AliasAlreadyExists => (203, "AliasAlreadyExists", 400),
            Self::Disabled => (300, "Rejected.Disabled", 409),
            Self::PendingDeletion => (301, "Rejected.PendingDeletion", 409),
            Self::PendingImport => (302, "Rejected.PendingImport", 409),
            Self::StateModifiedFailed => (303, "Rejected.StateModifiedFailed", 409),
            Self::UnsupportedOperation => (304, "Rejected.UnsupportedOperation", 400),
            Self::UnsupportedOrigin => (305, "Unsupported.Origin", 400),
            Self::DeletionProtected => (306, "Rejected.DeletionProtected", 409),
            Self::MalformedCiphertext => (400, "InvalidParameter", 400),
            Self::AuthenticationFailed => (401, "InvalidParameter", 400),
            Self::InvalidKeyMaterial => (402, "InvalidKeyMaterial", 400),
            Self::InvalidImportToken => (403, "InvalidImportToken", 400),
            Self::ExpiredImportToken => (404, "ExpiredImportToken", 400),
        }
    }

    /// Itself, or what it stands for.
    pub fn members(&self) -> &[Refusal] {
        match self {
            Self::OneOf(members) => members,
            one => std::slice::from_ref(one),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Enabled,
    Disabled,
    PendingDeletion,
    PendingImport,
}

impl State {
    pub const ALL: [State; 4] = [State::Enabled, State::Disabled, State::PendingDeletion, State::PendingImport];
}

/// The rows of the matrix that can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Cryptography,
    CreateKeyVersion,
    UpdateRotationPolicy,
    UpdateKeyDescription,
    Tag,
    EnableKey,
    DisableKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    CreateAlias,
    UpdateAlias,
    ImportKeyMaterial,
    SetDeletionProtection,
}

const OK: Option<Refusal> = None;
const DISABLED: Option<Refusal> = Some(Refusal::Disabled);
const DELETION: Option<Refusal> = Some(Refusal::PendingDeletion);
const IMPORT: Option<Refusal> = Some(Refusal::PendingImport);
const FAILED: Option<Refusal> = Some(Refusal::StateModifiedFailed);

pub type Matrix = [(Row, [Option<Refusal>; 4]); 13];

/// Operations without a row are allowed in every state: the Describe and List operations, DeleteAlias,
/// GetParametersForImport, DeleteKeyMaterial.
#[rustfmt::skip]
pub const MATRIX: Matrix = [
    //                           Enabled  Disabled  PendingDeletion  PendingImport
    (Row::Cryptography,          [OK,     DISABLED, DELETION,        IMPORT]),
    (Row::CreateKeyVersion,      [OK,     DISABLED, DELETION,        IMPORT]),
    (Row::UpdateRotationPolicy,  [OK,     DISABLED, DELETION,        IMPORT]),
    (Row::UpdateKeyDescription,  [OK,     OK,       DELETION,        OK]),
    (Row::Tag,                   [OK,     OK,       DELETION,        OK]),
    (Row::EnableKey,             [OK,     OK,       FAILED,          FAILED]),
    (Row::DisableKey,            [OK,     OK,       FAILED,          FAILED]),
    (Row::ScheduleKeyDeletion,   [OK,     OK,       FAILED,          OK]),
    (Row::CancelKeyDeletion,     [FAILED, FAILED,   OK,              FAILED]),
    (Row::CreateAlias,           [OK,     OK,       FAILED,          OK]),
    (Row::UpdateAlias,           [OK,     OK,       DELETION,        OK]),
    (Row::ImportKeyMaterial,     [OK,     OK,       FAILED,          OK]),
    (Row::SetDeletionProtection, [OK,     OK,       DELETION,        OK]),
];

/// The rules that are a number or a yes or no, so that a test can break one of them.
#[derive(Debug, Clone)]
pub struct Rules {
    pub matrix: Matrix,
    /// Seconds.
    pub interval: RangeInclusive<i64>,
    pub deletion_window_days: RangeInclusive<i64>,
    pub confirmations_apart: Millis,
    pub tags: usize,
    pub description_characters: usize,
    pub context_bytes: usize,
    pub data_key_bytes: RangeInclusive<i64>,
    pub token_life: Millis,
    /// A key that becomes Enabled, or gets a policy, and is overdue.
    pub overdue_rotates_at_once: bool,
    pub encrypting_rotates_first: bool,
    pub rotating_moves_the_schedule: bool,
    pub aliases_go_with_their_key: bool,
    pub only_the_identical_material: bool,
    pub import_leaves_a_disabled_key_disabled: bool,
    pub turning_protection_off_forgets_why: bool,
    pub expiry_counts_at_once: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            matrix: MATRIX,
            interval: 1..=3650 * 86_400,
            deletion_window_days: 7..=366,
            confirmations_apart: HOUR,
            tags: 10,
            description_characters: 8192,
            context_bytes: 8192,
            data_key_bytes: 1..=1024,
            token_life: 24 * HOUR,
            overdue_rotates_at_once: true,
            encrypting_rotates_first: true,
            rotating_moves_the_schedule: true,
            aliases_go_with_their_key: true,
            only_the_identical_material: true,
            import_leaves_a_disabled_key_disabled: true,
            turning_protection_off_forgets_why: true,
            expiry_counts_at_once: true,
        }
    }
}

impl Rules {
    pub fn check(&self, row: Row, state: State) -> Result<(), Refusal> {
        let column = State::ALL.iter().position(|known| *known == state).unwrap();
        let (_, verdicts) = self.matrix.iter().find(|(known, _)| *known == row).unwrap();
        verdicts[column].clone().map_or(Ok(()), Err)
    }
}
