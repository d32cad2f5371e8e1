//! The valid values of a single argument, regardless of what it names.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Blob, Context};
use crate::rules::{Millis, Refusal, Rules};

/// All arguments are checked before anything else.
pub fn arguments<const N: usize>(checks: [Answer; N]) -> Answer {
    let mut wrong: Vec<Refusal> = checks.into_iter().filter_map(Result::err).collect();
    if wrong.len() < 2 { wrong.pop().map_or(Ok(()), Err) } else { Err(Refusal::OneOf(wrong)) }
}

/// What a resource name of the keystore stands for; any other text is itself.
pub fn bare(text: &str) -> &str {
    match text.strip_prefix("acs:kms:local:libkms:") {
        Some(alias) if alias.starts_with("alias/") => alias,
        Some(key) => key.strip_prefix("key/").unwrap_or(text),
        None => text,
    }
}

/// A key id, and nothing else.
pub fn id_argument(text: &str) -> Answer {
    match text {
        "" => Err(Refusal::InvalidArgument),
        _ if bare(text).starts_with("alias/") => Err(Refusal::UnsupportedAlias),
        _ => Ok(()),
    }
}

pub fn key_argument(text: &str) -> Answer {
    if text.is_empty() { Err(Refusal::InvalidArgument) } else { Ok(()) }
}

pub fn alias_argument(text: &str) -> Answer {
    let name = text.strip_prefix("alias/").ok_or(Refusal::InvalidArgument)?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_/-".contains(c));
    let reserved = name.starts_with("acs");
    if (1..=255).contains(&name.len()) && plain && !reserved { Ok(()) } else { Err(Refusal::InvalidArgument) }
}

/// `integer[unit]`; no sign, space, leading zero or capital.
pub fn interval_argument(text: &str, rules: &Rules) -> Answer<i64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(Refusal::InvalidArgument),
    };
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::InvalidArgument);
    }
    let seconds = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| rules.interval.contains(seconds)).ok_or(Refusal::InvalidArgument)
}

/// Texts without NUL, no empty name, none twice. Only sealing has a limit of size.
pub fn context_argument(context: &Context, sealing: bool, rules: &Rules) -> Answer {
    let mut names = BTreeSet::new();
    let mut encoded = 2;
    for (name, value) in context {
        encoded += 4 + name.len() + value.len();
        if name.is_empty() || name.contains('\0') || value.contains('\0') {
            return Err(Refusal::InvalidArgument);
        }
        if !names.insert(name) {
            return Err(Refusal::InvalidArgument);
        }
    }
    if sealing && encoded > rules.context_bytes { Err(Refusal::LimitExceeded) } else { Ok(()) }
}

pub fn map(context: &Context) -> BTreeMap<String, String> {
    context.iter().cloned().collect()
}

pub fn blob_argument(blob: &Blob) -> Answer {
    if *blob == Blob::Malformed { Err(Refusal::MalformedCiphertext) } else { Ok(()) }
}

/// A policy; turning it off has no interval.
pub fn policy_argument(text: Option<&str>, rules: &Rules) -> Answer {
    text.map_or(Ok(()), |text| interval_argument(text, rules).map(drop))
}

pub fn expiry_argument(expires: Option<Millis>, now: Millis) -> Answer {
    if expires.is_some_and(|expires| expires <= now) { Err(Refusal::InvalidArgument) } else { Ok(()) }
}

pub fn data_key_argument(bytes: i64, rules: &Rules) -> Answer {
    if rules.data_key_bytes.contains(&bytes) { Ok(()) } else { Err(Refusal::InvalidArgument) }
}

/// `fits` is how many bytes the padding leaves; `None` stands for a public key that is none.
pub fn public_key_argument(fits: Option<usize>, bytes: i64) -> Answer {
    match fits {
        None => Err(Refusal::InvalidArgument),
        Some(fits) if bytes > fits as i64 => Err(Refusal::LimitExceeded),
        Some(_) => Ok(()),
    }
}

pub fn tag_text_argument(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Answer {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.+=@:".contains(c));
    if plain && lengths.contains(&text.len()) { Ok(()) } else { Err(Refusal::InvalidArgument) }
}

pub fn description_argument(text: &str, rules: &Rules) -> Answer {
    if text.contains('\0') {
        return Err(Refusal::InvalidArgument);
    }
    if text.chars().count() > rules.description_characters { Err(Refusal::LimitExceeded) } else { Ok(()) }
}

pub fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
