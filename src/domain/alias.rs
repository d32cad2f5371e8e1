//! Aliases: other names of keys, `alias/NAME`.

use crate::error::{Error, Result, Status, shown};

/// What every alias begins with.
pub const PREFIX: &str = "alias/";
/// Names of service-managed keys, which users can't make.
pub const RESERVED: &str = "alias/acs";
/// Characters of a name, after the prefix.
const MOST: usize = 255;
const LENGTH: std::ops::RangeInclusive<usize> = 1..=MOST;
/// What no alias is longer than.
pub const MAX_BYTES: usize = PREFIX.len() + MOST;

/// Checks the form of an alias: the prefix, then 1 to 255 letters, digits, `_`, `/` or `-`.
pub fn check(alias: &str) -> Result<()> {
    let Some(name) = alias.strip_prefix(PREFIX) else {
        return Err(refused(alias));
    };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'-'));
    if !plain || !LENGTH.contains(&name.len()) {
        return Err(refused(alias));
    }
    Ok(())
}

/// Checks the form of an alias that a user wants to make, move or delete.
pub fn check_users(alias: &str) -> Result<()> {
    check(alias)?;
    if alias.starts_with(RESERVED) {
        return Err(Status::InvalidArgument.error(format!(
            "{} begins with alias/acs, which belongs to service-managed keys; choose another name",
            shown(alias)
        )));
    }
    Ok(())
}

/// The alias of the key of a named subsystem.
pub fn of_service(name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Status::InvalidArgument
            .error("the name of the service-managed key is empty; pass 1 to 251 letters, digits, _, / or -"));
    }
    if name.len() > MOST {
        return Err(refused(name));
    }
    let alias = format!("{RESERVED}/{name}");
    check(&alias).map(|()| alias)
}

fn refused(alias: &str) -> Error {
    Status::InvalidArgument
        .error(format!("\"{}\" is no alias; use alias/ and 1 to 255 letters, digits, _, / or -", shown(alias)))
}

#[cfg(test)]
mod tests;
