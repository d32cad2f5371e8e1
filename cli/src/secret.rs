//! Secrets from files, descriptors and terminals; never from arguments.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Result};

pub type Secret = Zeroizing<Vec<u8>>;

/// The longest passphrase that the library takes, and its line ending.
const MOST: u64 = (1 << 20) + 2;

/// The path of an inherited descriptor.
pub fn descriptor(number: u32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// The first line of a file, or all of it where it has one line; a file that others may read is refused.
pub fn passphrase_file(path: &Path) -> Result<Secret> {
    let failed = |error: &std::io::Error| Failure::file("reading the passphrase", path, error).next("kms help root");
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let found = file.metadata().map_err(|error| failed(&error))?;
    if found.is_file() && found.permissions().mode() & 0o007 != 0 {
        return Err(Failure::new(
            Exit::Keystore,
            "Cli.PassphraseFile",
            format!("others may read the passphrase file {}", path.display()),
        )
        .next(format!("chmod 600 {}", path.display())));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(4096));
    file.by_ref().take(MOST).read_to_end(&mut text).map_err(|error| failed(&error))?;
    for ending in [b'\n', b'\r'] {
        if text.last() == Some(&ending) {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(Failure::usage(format!("the passphrase file {} is empty", path.display())));
    }
    Ok(text)
}

/// Asks on the terminal, even while standard input is data.
pub fn ask(prompt: &str) -> Result<Secret> {
    match rpassword::prompt_password(prompt) {
        Ok(text) if text.is_empty() => Err(Failure::usage("the passphrase is empty")),
        Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(Failure::usage("no passphrase was typed; nothing was changed").next("the same command, and type one"))
        }
        Err(_) => Err(Failure::usage("a passphrase is needed, and there is no terminal to ask on")
            .next("pass --root-key-file FILE or --root-passphrase-file FILE; kms help root")),
    }
}

/// Asks twice for a passphrase that does not exist yet.
pub fn ask_new(what: &str) -> Result<Secret> {
    let first = ask(&format!("New {what}: "))?;
    let second = ask(&format!("The same {what} again: "))?;
    if *first != *second {
        return Err(Failure::usage("the two passphrases differ; nothing was changed"));
    }
    Ok(first)
}
