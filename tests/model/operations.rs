//! What a sequence consists of: operations of the service and their arguments.
//!
//! Arguments name things by numbers ("the 3rd key ever made"), so that a sequence still means something when it is
//! shrunk.

/// One keystore's life.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// In a file, which can be closed and opened again; else in memory.
    pub file: bool,
    /// How many RSA keys may be made for imports: they are slow.
    pub rsa_keys: usize,
    pub steps: Vec<Step>,
}

#[derive(Clone)]
pub struct Step {
    /// By `kms_call`'s JSON instead of the Rust call.
    pub json: bool,
    pub operation: Operation,
}

/// On one line.
impl std::fmt::Debug for Step {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.json { "JSON" } else { "Rust" };
        to.write_fmt(format_args!("{how} {:?}", self.operation))
    }
}

/// The text that an argument `KeyId` gets.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    /// A key made earlier, which may be gone by now.
    Key(u8),
    /// The same, its id in capitals.
    Capitals(u8),
    /// The same, by its resource name.
    KeyArn(u8),
    /// One of [`ALIASES`].
    Alias(u8),
    AliasArn(u8),
    ServiceAlias(u8),
    UnknownKey,
    NoId,
    Empty,
}

#[derive(Debug, Clone, Copy)]
pub enum Damage {
    None,
    Magic,
    Format,
    Algorithm,
    ReservedByte,
    ContextType,
    UnknownKey,
    UnknownVersion,
    KeyOf(u8),
    VersionOf(u8),
    Nonce,
    Body,
    Tag,
    Longer,
    CutShort,
    CutToTheHeader,
    Empty,
}

/// An earlier ciphertext, and its alteration.
#[derive(Debug, Clone, Copy)]
pub struct Ciphertext {
    pub blob: u8,
    pub damage: Damage,
    pub context: Given,
}

/// The context at decryption.
#[derive(Debug, Clone, Copy)]
pub enum Given {
    Same,
    Reversed,
    /// One of [`context`].
    Other(u8),
}

#[derive(Debug, Clone, Copy)]
pub enum Move {
    Forward(i64),
    Back(i64),
    /// To one of the dates that matter at present, or some milliseconds before or after.
    To(u8, i64),
}

#[derive(Debug, Clone, Copy)]
pub enum Wrapped {
    Well,
    WithTheKeyOfAnother(u8),
    Damaged,
    Empty,
}

#[derive(Debug, Clone)]
pub enum Operation {
    CreateKey {
        description: u8,
        external: bool,
        interval: Option<u8>,
    },
    CreateServiceKey {
        name: u8,
    },
    DescribeKey {
        key: Who,
    },
    ListKeys {
        after: Option<Who>,
        limit: u8,
        page: u8,
        size: u8,
        filter: u8,
    },
    EnableKey {
        key: Who,
    },
    DisableKey {
        key: Who,
    },
    ScheduleKeyDeletion {
        key: Who,
        days: Option<i32>,
    },
    CancelKeyDeletion {
        key: Who,
    },
    UpdateKeyDescription {
        key: Who,
        description: u8,
    },
    SetDeletionProtection {
        key: Who,
        protection: Option<u8>,
    },
    UpdateRotationPolicy {
        key: Who,
        interval: Option<u8>,
    },
    CreateKeyVersion {
        key: Who,
    },
    DescribeKeyVersion {
        key: Who,
        of: u8,
        version: u8,
    },
    ListKeyVersions {
        key: Who,
        before: Option<u8>,
        limit: u8,
        page: u8,
        size: u8,
    },
    Encrypt {
        key: Who,
        plaintext: Vec<u8>,
        context: u8,
    },
    Decrypt {
        ciphertext: Ciphertext,
    },
    Inspect {
        ciphertext: Ciphertext,
    },
    ReEncrypt {
        ciphertext: Ciphertext,
        key: Who,
        context: u8,
    },
    GenerateDataKey {
        key: Who,
        bytes: u8,
        context: u8,
    },
    GenerateDataKeyWithoutPlaintext {
        key: Who,
        bytes: u8,
        context: u8,
    },
    GenerateAndExportDataKey {
        key: Who,
        bytes: u8,
        context: u8,
        public_key: u8,
        wrapping: u8,
    },
    ExportDataKey {
        ciphertext: Ciphertext,
        public_key: u8,
        wrapping: u8,
    },
    GetParametersForImport {
        key: Who,
        wrapping: u8,
    },
    ImportKeyMaterial {
        key: Who,
        token: u8,
        token_damaged: bool,
        wrapped: Wrapped,
        material: u8,
        expires: u8,
    },
    ImportRawKeyMaterial {
        key: Who,
        material: u8,
        expires: u8,
    },
    DeleteKeyMaterial {
        key: Who,
    },
    CreateAlias {
        key: Who,
        alias: u8,
    },
    UpdateAlias {
        key: Who,
        alias: u8,
    },
    DeleteAlias {
        alias: u8,
    },
    ListAliases {
        after: Option<u8>,
        limit: u8,
        page: u8,
        size: u8,
    },
    ListAliasesByKeyId {
        key: Who,
        after: Option<u8>,
        limit: u8,
        page: u8,
        size: u8,
    },
    TagResource {
        key: Who,
        tags: Vec<(u8, u8)>,
    },
    UntagResource {
        key: Who,
        names: Vec<u8>,
    },
    ListResourceTags {
        key: Who,
    },
    /// A JSON request that is wrong in a way which typed calls can't be.
    Misspelt {
        key: Who,
        how: u8,
    },
    Clock(Move),
    Tick,
    /// Closes the keystore and opens it again, if it is in a file.
    Reopen,
}

impl Operation {
    /// Changes nothing even when it succeeds.
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::DescribeKey { .. }
                | Self::ListKeys { .. }
                | Self::DescribeKeyVersion { .. }
                | Self::ListKeyVersions { .. }
                | Self::Decrypt { .. }
                | Self::Inspect { .. }
                | Self::ExportDataKey { .. }
                | Self::GetParametersForImport { .. }
                | Self::ListAliases { .. }
                | Self::ListAliasesByKeyId { .. }
                | Self::ListResourceTags { .. }
                | Self::Misspelt { .. }
                | Self::Clock(_)
        )
    }
}
