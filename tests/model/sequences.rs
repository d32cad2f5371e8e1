//! The random sequences: operations with arguments that are right, wrong or at a limit, and the frequency of each.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::Union;

use super::operations::*;
use super::values::{ALIASES, GOOD_ALIASES, GOOD_INTERVALS, INTERVALS, SERVICES};

/// Mostly the first `good` numbers, now and then one below `all`.
fn mostly(good: u8, all: u8) -> BoxedStrategy<u8> {
    prop_oneof![9 => 0..good, 1 => 0..all].boxed()
}

fn who() -> BoxedStrategy<Who> {
    prop_oneof![
        24 => any::<u8>().prop_map(Who::Key),
        1 => any::<u8>().prop_map(Who::Capitals),
        2 => any::<u8>().prop_map(Who::KeyArn),
        1 => (0..GOOD_ALIASES).prop_map(Who::AliasArn),
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
            if file {
                let reopen = [Step { json: false, operation: Operation::Reopen }];
                steps = steps.chunks(6).collect::<Vec<_>>().join(&reopen[..]);
            }
            Sequence { file, rsa_keys, steps }
        },
    )
}
