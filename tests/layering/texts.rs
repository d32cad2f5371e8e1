//! The form of an error text: it names the thing, and then the next step.

use std::fmt::Write;

/// Longer texts belong in the documentation.
const LONGEST: usize = 200;

/// Statuses whose text has a next step, after a semicolon or a colon. A text about an argument says what
/// the argument must be. A text about the library itself has no next step.
const WITH_STEP: &[&str] = &[
    "KeyNotFound",
    "KeyVersionNotFound",
    "AliasNotFound",
    "AliasAlreadyExists",
    "UnsupportedAlias",
    "UnknownAction",
    "LimitExceeded",
    "RejectedDisabled",
    "RejectedPendingDeletion",
    "RejectedPendingImport",
    "UnsupportedOperation",
    "UnsupportedOrigin",
    "DeletionProtected",
    "InvalidImportToken",
    "ExpiredImportToken",
    "KeystoreTooNew",
    "KeystoreReadOnly",
    "KeystoreRolledBack",
    "AnchorUnavailable",
    "Poisoned",
    "Forked",
];

/// Words that a native speaker would not write here.
const TICS: &[&str] =
    &[" ours", " gives", " told", " tells", "hoever", "for ever", " anew", " goes on", " go on", " began ", " stands "];

/// The texts of a file: `Status::X.error("...")`, also by `format!`, with its line.
fn texts(source: &str) -> Vec<(usize, &str, String)> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("Status::") {
        let rest = &source[at + "Status::".len()..];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
        let Some(rest) = rest[name.len()..].trim_start().strip_prefix(".error(") else { continue };
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("format!(").map_or(rest, str::trim_start);
        let Some(literal) = rest.strip_prefix('"') else { continue };
        let mut text = String::new();
        let mut chars = literal.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '"' => break,
                '\\' if chars.peek() == Some(&'\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                '\\' => text.extend(chars.next()),
                char => text.push(char),
            }
        }
        found.push((source[..at].lines().count(), name, text));
    }
    found
}

/// The faults of a file's texts.
pub fn check(name: &str, source: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (line, status, text) in texts(source) {
        let mut why = String::new();
        if text.len() > LONGEST {
            write!(why, " is longer than {LONGEST} bytes;").unwrap();
        }
        if text.ends_with('.') || text.starts_with(|c: char| c.is_ascii_uppercase()) && !text.starts_with(['S', 'A']) {
            why += " is no part of a sentence (lower case, no full stop);";
        }
        if let Some(tic) = TICS.iter().find(|tic| text.contains(**tic)) {
            write!(why, " says \"{}\";", tic.trim()).unwrap();
        }
        if WITH_STEP.contains(&status) && !text.contains([';', ':']) {
            why += " has no next step;";
        }
        if !why.is_empty() {
            broken.push(format!("src/{name}:{line}: the text of {status}{why} \"{text}\""));
        }
    }
    broken
}

/// How many texts a file has.
pub fn count(source: &str) -> usize {
    texts(source).len()
}

#[test]
fn a_bad_text_is_found() {
    let bad = r#"
        Status::KeyNotFound.error("there is no key")
        Status::Internal.error(format!("It failed. {x}"))
        Status::InvalidArgument
            .error("the key, which the program gives, is wrong")
    "#;
    assert_eq!(check("x.rs", bad).len(), 3, "{:?}", check("x.rs", bad));
    assert_eq!(count(bad), 3);
    assert!(check("x.rs", r#"Status::KeyNotFound.error(format!("no key {id}; list the keys"))"#).is_empty());
}
