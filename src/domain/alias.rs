//! Aliases: other names of keys, `alias/NAME`.

use crate::error::{Result, Status};

/// What every alias begins with.
pub const PREFIX: &str = "alias/";
/// Names of service-managed keys, which users can't make.
pub const RESERVED: &str = "alias/acs";
/// Characters of a name, after the prefix.
const LENGTH: std::ops::RangeInclusive<usize> = 1..=255;

/// Checks the form of an alias: the prefix, then 1 to 255 letters, digits, `_`, `/` or `-`.
pub fn check(alias: &str) -> Result<()> {
    let Some(name) = alias.strip_prefix(PREFIX) else {
        return Err(Status::InvalidArgument.error("an alias begins with alias/"));
    };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'-'));
    if !plain || !LENGTH.contains(&name.len()) {
        return Err(Status::InvalidArgument.error("an alias is alias/ and 1 to 255 letters, digits, _, / or -"));
    }
    Ok(())
}

/// Checks the form of an alias that a user wants to make, move or delete.
pub fn check_users(alias: &str) -> Result<()> {
    check(alias)?;
    if alias.starts_with(RESERVED) {
        return Err(Status::InvalidArgument.error("aliases that begin with alias/acs belong to service-managed keys"));
    }
    Ok(())
}

/// The alias of the key of a named subsystem.
pub fn of_service(name: &str) -> Result<String> {
    let alias = format!("{RESERVED}/{name}");
    if name.is_empty() {
        return Err(Status::InvalidArgument.error("the name of the subsystem is empty"));
    }
    check(&alias).map(|()| alias)
}

#[cfg(test)]
mod tests;
