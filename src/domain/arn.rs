//! Resource names (ARNs) of keys and aliases, as DescribeKey and the lists print them.
//!
//! An argument that takes a key id takes `acs:kms:local:libkms:key/ID`, one that takes an alias
//! `acs:kms:local:libkms:alias/NAME`. Resource names of other services name nothing in a keystore.

use super::alias;
use super::id::KeyId;

/// Service, region and account.
pub const PREFIX: &str = "acs:kms:local:libkms:";
/// How the resource names of every service of this family begin.
const FAMILY: &str = "acs:";
const KEY: &str = "key/";

pub fn of_key(id: KeyId) -> String {
    format!("{PREFIX}{KEY}{id}")
}

/// `alias` includes its prefix, `alias/`.
pub fn of_alias(alias: &str) -> String {
    format!("{PREFIX}{alias}")
}

/// Whether a text is meant as a resource name, of any service.
pub fn is_meant(text: &str) -> bool {
    text.starts_with(FAMILY)
}

/// The key id inside a key's resource name; any other text is returned as it is.
pub fn key_id(text: &str) -> &str {
    text.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(KEY)).unwrap_or(text)
}

/// The alias inside an alias's resource name; any other text is returned as it is.
pub fn alias(text: &str) -> &str {
    text.strip_prefix(PREFIX).filter(|rest| rest.starts_with(alias::PREFIX)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
