//! The random sequences: operations of the service with arguments that are right, wrong or at a limit.
//!
//! Arguments name things by numbers ("the 3rd key ever made"), so that a sequence still means something when it is shrunk.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::Union;

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
    /// One of [`ALIASES`].
    Alias(u8),
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

/// A ciphertext made earlier, and what was done to it.
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
    /// To one of the dates that mean something just now, and some milliseconds beside it.
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

pub const ALIASES: [&str; 12] = [
    "alias/a",
    "alias/b/c",
    "alias/Z_-9",
    "alias/LONGEST",
    "alias/TOO_LONG",
    "alias/",
    "alias/acs/disk",
    "alias/acsx",
    "alias/a b",
    "alias/\u{e4}",
    "a",
    "",
];

/// How many of [`ALIASES`] can be made.
pub const GOOD_ALIASES: u8 = 4;

pub fn alias(number: u8) -> String {
    match ALIASES[usize::from(number) % ALIASES.len()] {
        "alias/LONGEST" => format!("alias/{}", "x".repeat(255)),
        "alias/TOO_LONG" => format!("alias/{}", "x".repeat(256)),
        name => name.to_owned(),
    }
}

pub const SERVICES: [&str; 6] = ["disk", "mail/in", "", "a b", "\u{e9}", "disk."];

pub const INTERVALS: [&str; 26] = [
    "1d",
    "10d",
    "90d",
    "864000s",
    "3600s",
    "12h",
    "30m",
    "3650d",
    "1s",
    "5",
    "3651d",
    "315360001s",
    "0d",
    "0",
    "01d",
    "1D",
    " 1d",
    "1d ",
    "1.5d",
    "+1d",
    "-1d",
    "",
    "d",
    "1w",
    "99999999999999999999d",
    "106751991167301d",
];

/// How many of [`INTERVALS`] are good.
pub const GOOD_INTERVALS: u8 = 10;

pub fn description(number: u8) -> String {
    match number {
        0 => String::new(),
        1 => "orders".to_owned(),
        2 => "K\u{fc}hlhaus \u{2713} \"quoted\" \\ \n".to_owned(),
        3 => "\u{e9}".repeat(8192),
        _ => "\u{e9}".repeat(8193),
    }
}

pub fn context(number: u8) -> Vec<(String, String)> {
    let long = |encoded: usize| "v".repeat(encoded - 7);
    let entries: &[(&str, &str)] = match number {
        0 | 1 => &[],
        2 => &[("tenant", "42")],
        3 => &[("tenant", "42"), ("b", "")],
        4 => &[("\u{43a}\u{43b}\u{44e}\u{447}", "\u{2713}"), ("a", "1"), ("b", "2")],
        5 => &[("", "x")],
        6 => &[("a", "1"), ("a", "2")],
        7 => &[("a", "1"), ("b", "2"), ("a", "1")],
        8 => &[("a\0", "1")],
        9 => &[("a", "1\0")],
        10 => return vec![("k".to_owned(), long(8192))],
        _ => return vec![("k".to_owned(), long(8193))],
    };
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub fn material(number: u8) -> Vec<u8> {
    match number {
        0 | 1 => vec![number + 1; 32],
        2 => vec![1; 31],
        3 => vec![1; 33],
        _ => Vec::new(),
    }
}

pub fn tag_name(number: u8) -> String {
    match number {
        0..=11 => format!("name{number}/_-.+=@:Z"),
        12 => "n".repeat(128),
        13 => "n".repeat(129),
        14 => String::new(),
        _ => "a b".to_owned(),
    }
}

pub fn tag_value(number: u8) -> String {
    match number {
        0 => String::new(),
        1 => "v/_-.+=@:9".to_owned(),
        2 => "v".repeat(256),
        3 => "v".repeat(257),
        _ => "\u{e9}".to_owned(),
    }
}

pub fn data_key_bytes(number: u8) -> usize {
    [32, 16, 1, 190, 191, 214, 245, 1024, 246, 0, 1025][usize::from(number) % 11]
}

/// Mostly the first `good` numbers, now and then one below `all`.
fn mostly(good: u8, all: u8) -> BoxedStrategy<u8> {
    prop_oneof![9 => 0..good, 1 => 0..all].boxed()
}

fn who() -> BoxedStrategy<Who> {
    prop_oneof![
        24 => any::<u8>().prop_map(Who::Key),
        1 => any::<u8>().prop_map(Who::Capitals),
        3 => (0..GOOD_ALIASES).prop_map(Who::Alias),
        1 => any::<u8>().prop_map(|number| Who::Alias(number % ALIASES.len() as u8)),
        1 => (0..2u8).prop_map(Who::ServiceAlias),
        1 => prop_oneof![Just(Who::UnknownKey), Just(Who::NoId), Just(Who::Empty)],
    ]
    .boxed()
}

fn ciphertext() -> BoxedStrategy<Ciphertext> {
    let damage = prop_oneof![
        14 => Just(Damage::None),
        1 => prop_oneof![Just(Damage::Magic), Just(Damage::Format), Just(Damage::Algorithm), Just(Damage::ReservedByte)],
        1 => prop_oneof![Just(Damage::ContextType), Just(Damage::Nonce), Just(Damage::Body), Just(Damage::Tag)],
        1 => prop_oneof![Just(Damage::Longer), Just(Damage::CutShort), Just(Damage::CutToTheHeader), Just(Damage::Empty)],
        1 => prop_oneof![Just(Damage::UnknownKey), Just(Damage::UnknownVersion)],
        1 => any::<u8>().prop_map(Damage::KeyOf),
        1 => any::<u8>().prop_map(Damage::VersionOf),
    ];
    let context = prop_oneof![
        8 => Just(Given::Same),
        1 => Just(Given::Reversed),
        1 => (0..12u8).prop_map(Given::Other),
    ];
    (any::<u8>(), damage, context).prop_map(|(blob, damage, context)| Ciphertext { blob, damage, context }).boxed()
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn clock() -> BoxedStrategy<Operation> {
    let far = prop_oneof![
        2 => 1..5000i64,
        2 => 1..3 * HOUR,
        3 => 1..40 * DAY,
        1 => 1..12 * 365 * DAY,
        1 => Just(DAY),
        1 => Just(HOUR),
    ]
    .boxed();
    let beside = prop_oneof![3 => Just(0), 1 => Just(-1), 1 => Just(1), 1 => Just(HOUR), 1 => -1000..1000i64];
    prop_oneof![
        4 => far.clone().prop_map(Move::Forward),
        1 => far.prop_map(Move::Back),
        5 => (any::<u8>(), beside).prop_map(|(which, beside)| Move::To(which, beside)),
    ]
    .prop_map(Operation::Clock)
    .boxed()
}

fn create_key() -> BoxedStrategy<Operation> {
    let interval = prop_oneof![1 => Just(None), 1 => mostly(GOOD_INTERVALS, INTERVALS.len() as u8).prop_map(Some)];
    let description = prop_oneof![30 => 0..3u8, 1 => 3..5u8];
    let own = (description.clone(), interval).prop_map(|(description, interval)| Operation::CreateKey {
        description,
        external: false,
        interval,
    });
    let external = (description, option::weighted(0.1, 0..GOOD_INTERVALS))
        .prop_map(|(description, interval)| Operation::CreateKey { description, external: true, interval });
    prop_oneof![5 => own, 2 => external].boxed()
}

/// All operations with their weights.
fn operation() -> Union<BoxedStrategy<Operation>> {
    let small = || 0..6u8;
    let page = || (mostly(3, 4), mostly(3, 8));
    let contexts = || mostly(5, 12);
    let policy = prop_oneof![1 => Just(None), 4 => mostly(GOOD_INTERVALS, INTERVALS.len() as u8).prop_map(Some)];
    let days = prop_oneof![
        1 => Just(None),
        4 => prop_oneof![Just(7), Just(30), Just(366)].prop_map(Some),
        1 => prop_oneof![Just(6), Just(367), Just(0), Just(-7), Just(i32::MAX), Just(i32::MIN)].prop_map(Some),
    ];
    let wrapped = prop_oneof![
        6 => Just(Wrapped::Well),
        1 => any::<u8>().prop_map(Wrapped::WithTheKeyOfAnother),
        1 => Just(Wrapped::Damaged),
        1 => Just(Wrapped::Empty),
    ];
    let materials = || prop_oneof![8 => Just(0u8), 2 => Just(1u8), 1 => 2..5u8];
    let expiries = || mostly(4, 7);
    let tags = vec((mostly(12, 16), mostly(3, 5)), 0..4);
    let many_tags = (8..12u8).prop_map(|last| (0..=last).map(|number| (number, 0)).collect::<Vec<_>>());
    let aliases = || mostly(GOOD_ALIASES, ALIASES.len() as u8);
    let exported = || mostly(2, 5);

    use Operation as O;
    Union::new_weighted(vec![
        (3, create_key()),
        (1, mostly(2, SERVICES.len() as u8).prop_map(|name| O::CreateServiceKey { name }).boxed()),
        (2, who().prop_map(|key| O::DescribeKey { key }).boxed()),
        (
            2,
            (option::weighted(0.3, who()), small(), page(), 0..9u8)
                .prop_map(|(after, limit, (page, size), filter)| O::ListKeys { after, limit, page, size, filter })
                .boxed(),
        ),
        (4, who().prop_map(|key| O::EnableKey { key }).boxed()),
        (3, who().prop_map(|key| O::DisableKey { key }).boxed()),
        (4, (who(), days).prop_map(|(key, days)| O::ScheduleKeyDeletion { key, days }).boxed()),
        (3, who().prop_map(|key| O::CancelKeyDeletion { key }).boxed()),
        (
            2,
            (who(), prop_oneof![20 => 0..3u8, 1 => 3..5u8])
                .prop_map(|(key, description)| O::UpdateKeyDescription { key, description })
                .boxed(),
        ),
        (
            2,
            (who(), option::of(prop_oneof![20 => 0..3u8, 1 => 3..5u8]))
                .prop_map(|(key, protection)| O::SetDeletionProtection { key, protection })
                .boxed(),
        ),
        (5, (who(), policy).prop_map(|(key, interval)| O::UpdateRotationPolicy { key, interval }).boxed()),
        (4, who().prop_map(|key| O::CreateKeyVersion { key }).boxed()),
        (
            2,
            (who(), any::<u8>(), 0..5u8)
                .prop_map(|(key, of, version)| O::DescribeKeyVersion { key, of, version })
                .boxed(),
        ),
        (
            2,
            (who(), option::of(0..5u8), small(), page())
                .prop_map(|(key, before, limit, (page, size))| O::ListKeyVersions { key, before, limit, page, size })
                .boxed(),
        ),
        (
            7,
            (who(), vec(any::<u8>(), 0..40), contexts())
                .prop_map(|(key, plaintext, context)| O::Encrypt { key, plaintext, context })
                .boxed(),
        ),
        (7, ciphertext().prop_map(|ciphertext| O::Decrypt { ciphertext }).boxed()),
        (1, ciphertext().prop_map(|ciphertext| O::Inspect { ciphertext }).boxed()),
        (
            5,
            (ciphertext(), who(), contexts())
                .prop_map(|(ciphertext, key, context)| O::ReEncrypt { ciphertext, key, context })
                .boxed(),
        ),
        (
            2,
            (who(), mostly(9, 11), contexts())
                .prop_map(|(key, bytes, context)| O::GenerateDataKey { key, bytes, context })
                .boxed(),
        ),
        (
            2,
            (who(), mostly(9, 11), contexts())
                .prop_map(|(key, bytes, context)| O::GenerateDataKeyWithoutPlaintext { key, bytes, context })
                .boxed(),
        ),
        (
            1,
            (who(), mostly(4, 11), contexts(), exported(), 0..3u8)
                .prop_map(|(key, bytes, context, public_key, wrapping)| O::GenerateAndExportDataKey {
                    key,
                    bytes,
                    context,
                    public_key,
                    wrapping,
                })
                .boxed(),
        ),
        (
            1,
            (ciphertext(), exported(), 0..3u8)
                .prop_map(|(ciphertext, public_key, wrapping)| O::ExportDataKey { ciphertext, public_key, wrapping })
                .boxed(),
        ),
        (2, (who(), 0..3u8).prop_map(|(key, wrapping)| O::GetParametersForImport { key, wrapping }).boxed()),
        (
            2,
            (who(), any::<u8>(), proptest::bool::weighted(0.1), wrapped, materials(), expiries())
                .prop_map(|(key, token, token_damaged, wrapped, material, expires)| O::ImportKeyMaterial {
                    key,
                    token,
                    token_damaged,
                    wrapped,
                    material,
                    expires,
                })
                .boxed(),
        ),
        (
            6,
            (who(), materials(), expiries())
                .prop_map(|(key, material, expires)| O::ImportRawKeyMaterial { key, material, expires })
                .boxed(),
        ),
        (2, who().prop_map(|key| O::DeleteKeyMaterial { key }).boxed()),
        (4, (who(), aliases()).prop_map(|(key, alias)| O::CreateAlias { key, alias }).boxed()),
        (2, (who(), aliases()).prop_map(|(key, alias)| O::UpdateAlias { key, alias }).boxed()),
        (2, aliases().prop_map(|alias| O::DeleteAlias { alias }).boxed()),
        (
            1,
            (option::of(0..GOOD_ALIASES), small(), page())
                .prop_map(|(after, limit, (page, size))| O::ListAliases { after, limit, page, size })
                .boxed(),
        ),
        (
            1,
            (who(), option::of(0..GOOD_ALIASES), small(), page())
                .prop_map(|(key, after, limit, (page, size))| O::ListAliasesByKeyId { key, after, limit, page, size })
                .boxed(),
        ),
        (
            3,
            (who(), prop_oneof![4 => tags, 1 => many_tags])
                .prop_map(|(key, tags)| O::TagResource { key, tags })
                .boxed(),
        ),
        (2, (who(), vec(mostly(12, 16), 0..4)).prop_map(|(key, names)| O::UntagResource { key, names }).boxed()),
        (1, who().prop_map(|key| O::ListResourceTags { key }).boxed()),
        (1, (who(), any::<u8>()).prop_map(|(key, how)| O::Misspelt { key, how }).boxed()),
        (14, clock()),
        (10, Just(O::Tick).boxed()),
        (3, Just(O::Reopen).boxed()),
    ])
}

fn step(operation: impl Strategy<Value = Operation>) -> impl Strategy<Value = Step> {
    (proptest::bool::weighted(0.3), operation).prop_map(|(json, operation)| Step { json, operation })
}

/// A key's way to its end, which single operations seldom find.
fn destruction() -> impl Strategy<Value = Vec<Step>> {
    let steps = |key: Who, apart: i64| {
        [
            Operation::ScheduleKeyDeletion { key, days: Some(7) },
            Operation::Clock(Move::Forward(7 * DAY)),
            Operation::Tick,
            Operation::Clock(Move::Forward(apart)),
            Operation::Tick,
        ]
    };
    (any::<u8>(), prop_oneof![3 => Just(HOUR), 1 => Just(HOUR - 1), 1 => Just(-8 * DAY), 1 => 1..3 * HOUR]).prop_map(
        move |(key, apart)| steps(Who::Key(key), apart).map(|operation| Step { json: false, operation }).to_vec(),
    )
}

/// Imported material's way to its end.
fn expiry() -> impl Strategy<Value = Vec<Step>> {
    (any::<u8>(), prop_oneof![3 => Just(HOUR), 1 => Just(-2 * HOUR), 1 => 1..3 * HOUR]).prop_map(|(key, apart)| {
        let steps = [
            Operation::ImportRawKeyMaterial { key: Who::Key(key), material: 0, expires: 1 },
            Operation::Clock(Move::Forward(HOUR)),
            Operation::Tick,
            Operation::Clock(Move::Forward(apart)),
            Operation::Tick,
        ];
        steps.map(|operation| Step { json: false, operation }).to_vec()
    })
}

pub fn sequence() -> impl Strategy<Value = Sequence> {
    let rsa_keys = prop_oneof![149 => Just(0usize), 1 => Just(2usize)];
    let phrase = prop_oneof![
        40 => step(operation()).prop_map(|step| vec![step]),
        1 => destruction(),
        1 => expiry(),
    ];
    (proptest::bool::weighted(0.1), rsa_keys, vec(step(create_key()), 1..4), vec(phrase, 5..32)).prop_map(
        |(file, rsa_keys, mut steps, phrases)| {
            steps.extend(phrases.into_iter().flatten());
            Sequence { file, rsa_keys, steps }
        },
    )
}
