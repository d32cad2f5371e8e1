//! Tags: up to ten pairs of name and value on a key.

use crate::error::{Error, Result, Status, shown};

/// Tags of one key.
pub const MOST: usize = 10;
const NAME: std::ops::RangeInclusive<usize> = 1..=128;
const VALUE: std::ops::RangeInclusive<usize> = 0..=256;

fn plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-.+=@:".contains(&b))
}

/// Checks a tag's name: 1 to 128 of `a-zA-Z0-9/_-.+=@:`.
pub fn check_name(name: &str) -> Result<()> {
    if plain(name) && NAME.contains(&name.len()) {
        return Ok(());
    }
    Err(refused("name", name, "1 to 128"))
}

/// Checks a tag's value: up to 256 of the same characters.
pub fn check_value(value: &str) -> Result<()> {
    if plain(value) && VALUE.contains(&value.len()) {
        return Ok(());
    }
    Err(refused("value", value, "at most 256"))
}

fn refused(what: &str, text: &str, lengths: &str) -> Error {
    Status::InvalidArgument
        .error(format!("the tag's {what} \"{}\" is refused; use {lengths} of a-z A-Z 0-9 / _ - . + = @ :", shown(text)))
}

#[cfg(test)]
mod tests;
