//! Bytes that come in and go out: raw, Base64 or armored; files are complete or not there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Result};
use crate::output;
use crate::secret::Secret;

/// The first bytes of every blob.
pub const MAGIC: [u8; 4] = [0x8B, 0x4B, 0x4D, 0x53];
/// The most that one blob holds.
pub const MOST_PLAINTEXT: u64 = 1 << 30;
/// A blob of that, as armored text.
pub const MOST_CIPHERTEXT: u64 = (MOST_PLAINTEXT + 4096) / 3 * 4 + (MOST_PLAINTEXT / 48) + 4096;
/// What the name of an encrypted file ends with.
pub const EXTENSION: &str = "kms";
pub const BEGIN: &str = "-----BEGIN KMS CIPHERTEXT-----";
const END: &str = "-----END KMS CIPHERTEXT-----";

pub fn is_stdin(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path.as_os_str() == "-")
}

/// All that a reader has, at most `most` bytes.
pub fn read_from(source: impl Read, name: &str, len: Option<u64>, most: u64) -> Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::new());
    // One allocation: growing would leave copies of a plaintext behind.
    bytes.reserve_exact(usize::try_from(len.unwrap_or_default().min(most)).unwrap_or_default() + 1);
    let done = source.take(most + 1).read_to_end(&mut bytes);
    done.map_err(|error| Failure::file("reading", Path::new(name), &error))?;
    if bytes.len() as u64 > most {
        return Err(Failure::usage(format!("{name} is above {}", output::size(most))));
    }
    Ok(bytes)
}

/// The ciphertext in what was read: raw, armored, or Base64.
pub fn ciphertext(bytes: Secret) -> Secret {
    if bytes.starts_with(&MAGIC) { bytes } else { debase64(&bytes).unwrap_or(bytes) }
}

/// The bytes of Base64 text, with or without armor; none for anything else.
pub fn debase64(bytes: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let text = match text.strip_prefix(BEGIN) {
        Some(rest) => rest.trim_end().strip_suffix(END)?,
        None => text,
    };
    let compact = Zeroizing::new(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<u8>>());
    match compact.is_empty() {
        true => None,
        false => STANDARD.decode(&*compact).ok().map(Zeroizing::new),
    }
}

pub fn armor(bytes: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(bytes);
    let mut shown = format!("{BEGIN}\n");
    for line in text.as_bytes().chunks(64) {
        shown.push_str(&String::from_utf8_lossy(line));
        shown.push('\n');
    }
    shown.push_str(END);
    shown.push('\n');
    shown.into_bytes()
}

/// Where a result goes: a file, or standard output.
#[derive(Debug)]
pub enum Place {
    Stdout,
    File { path: PathBuf, replace: bool },
}

impl Place {
    /// An early answer, before a passphrase is asked or a minute is spent.
    pub fn check(&self, is_text: bool) -> Result<()> {
        match self {
            Self::Stdout if !is_text && output::stdout_is_terminal() => {
                Err(Failure::usage("the result is binary and standard output is a terminal")
                    .next("--armor for text, -o FILE, or a pipe"))
            }
            Self::File { path, replace: false } if path.symlink_metadata().is_ok() => Err(exists(path)),
            _ => Ok(()),
        }
    }

    /// Writes all of it: a file appears when it is complete and synced.
    pub fn write(&self, bytes: &[u8], mode: u32) -> Result<()> {
        let (path, replace) = match self {
            Self::Stdout => return output::print_bytes(bytes),
            Self::File { path, replace } => (path, *replace),
        };
        let failed = |error: &std::io::Error| Failure::file("writing", path, error);
        let mut file = temporary_beside(path)?;
        file.write_all(bytes)
            .and_then(|()| file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)))
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| failed(&error))?;
        publish(file, path, replace)
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file of another name, in the folder of the one that it becomes.
pub fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".kms-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder(path))
        .map_err(|error| Failure::file("writing", path, &error))
}

/// Gives a complete and synced file its name.
pub fn publish(file: NamedTempFile, path: &Path, replace: bool) -> Result<()> {
    let failed = |error: &std::io::Error| Failure::file("writing", path, error);
    let done = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    match done {
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(&error.error)),
        Ok(_) => File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error)),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::File, "Cli.File", format!("{} exists and is not replaced", path.display()))
        .next("--force to replace it, or -o FILE")
}

/// The mode of an input file, for what is made from it; private for standard input.
pub fn mode(path: Option<&Path>) -> u32 {
    match path.filter(|path| !is_stdin(Some(path))).map(std::fs::metadata) {
        Some(Ok(found)) => found.permissions().mode() & 0o777,
        _ => 0o600,
    }
}
