//! Bytes that come in and go out: raw, Base64 or armored; files are complete or not there.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{AtFlags, CWD, OFlags};
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
        let mut file = NewFile::beside(path)?;
        file.write_all(bytes)
            .and_then(|()| file.file().set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| file.file().sync_all())
            .map_err(|error| failed(&error))?;
        file.publish(path, replace)
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that takes its name when it is complete. Until then it has none, so nothing is left of a command that is killed.
pub enum NewFile {
    Unnamed(File),
    /// Not every file system has files without a name.
    Named(NamedTempFile),
}

impl NewFile {
    /// In the folder of the file that it becomes.
    pub fn beside(path: &Path) -> Result<Self> {
        let unnamed = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::TMPFILE.bits().cast_signed())
            .open(folder(path));
        if let Ok(file) = unnamed
            && by_number(&file).exists()
        {
            return Ok(Self::Unnamed(file));
        }
        tempfile::Builder::new()
            .prefix(".kms-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder(path))
            .map(Self::Named)
            .map_err(|error| Failure::file("writing", path, &error))
    }

    pub fn file(&self) -> &File {
        match self {
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// What an interrupt has to remove.
    pub fn name(&self) -> Option<&Path> {
        match self {
            Self::Unnamed(_) => None,
            Self::Named(file) => Some(file.path()),
        }
    }

    /// Rename a complete and synced file to its target.
    pub fn publish(self, path: &Path, replace: bool) -> Result<()> {
        let done = match self {
            Self::Unnamed(file) => match link(&file, path) {
                Err(error) if replace && error.kind() == ErrorKind::AlreadyExists => tempfile::Builder::new()
                    .prefix(".kms-")
                    .make_in(folder(path), |temporary| link(&file, temporary))
                    .and_then(|second| second.into_temp_path().persist(path).map_err(Into::into)),
                linked => linked,
            },
            Self::Named(file) if replace => file.persist(path).map(|_| ()).map_err(|error| error.error),
            Self::Named(file) => file.persist_noclobber(path).map(|_| ()).map_err(|error| error.error),
        };
        match done {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
            done => done
                .and_then(|()| File::open(folder(path))?.sync_all())
                .map_err(|error| Failure::file("writing", path, &error)),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file().flush()
    }
}

fn by_number(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn link(file: &File, path: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::linkat(CWD, by_number(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
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
