//! Tags: up to ten pairs of name and value on a key.

use crate::error::{Result, Status};

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
    Err(Status::InvalidArgument.error("a tag's name has 1 to 128 characters of a-z A-Z 0-9 / _ - . + = @ :"))
}

/// Checks a tag's value: up to 256 of the same characters.
pub fn check_value(value: &str) -> Result<()> {
    if plain(value) && VALUE.contains(&value.len()) {
        return Ok(());
    }
    Err(Status::InvalidArgument.error("a tag's value has at most 256 characters of a-z A-Z 0-9 / _ - . + = @ :"))
}

#[cfg(test)]
mod tests;
