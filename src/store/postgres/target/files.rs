//! The files of libpq: passwords, services, certificates.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::address::{ServerAddress, invalid};
use crate::error::{Error, Result, Status, shown, shown_path};
use crate::sys::file::{self, Facts, File};

/// Most bytes of such a file; the certificates of all authorities are 250 KiB.
const MOST: usize = 4 << 20;
/// Bits that must be clear: only the owner has access.
const GROUP_AND_OTHERS: u32 = 0o077;
const OTHERS_OR_GROUP_WRITES: u32 = 0o037;

/// A path below the user's folder.
pub fn in_home(name: &str) -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(name))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let text = format!("the file {} can't be read: {}", shown_path(path), file::explain(error));
    Status::KeystoreUnavailable.error(text)
}

/// The content of a file; none where it doesn't exist.
fn content(path: &Path) -> Result<Option<(Zeroizing<Vec<u8>>, Facts)>> {
    let opened = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|e| unreadable(path, &e))?,
    };
    let facts = opened.facts().map_err(|e| unreadable(path, &e))?;
    if !facts.is_regular() {
        return Err(Status::KeystoreUnavailable.error(format!("{} is no file; correct its path", shown_path(path))));
    }
    let len = usize::try_from(facts.len).ok().filter(|len| *len <= MOST);
    let too_large =
        || Status::KeystoreUnavailable.error(format!("{} is too large; correct its path", shown_path(path)));
    let len = len.ok_or_else(too_large)?;
    let mut bytes = Zeroizing::new(Vec::new());
    bytes.try_reserve_exact(len).map_err(|_| Error::out_of_memory())?;
    bytes.resize(len, 0);
    let read = opened.read_at(&mut bytes, 0).map_err(|e| unreadable(path, &e))?;
    bytes.truncate(read);
    Ok(Some((bytes, facts)))
}

/// The content of a file that must exist.
pub fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    match content(path)? {
        Some((bytes, _)) => Ok(bytes),
        None => Err(unreadable(path, &ErrorKind::NotFound.into())),
    }
}

fn text_of(path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map(Zeroizing::new).map_err(|_| invalid(format!("the file {} is no UTF-8 text; correct it", shown_path(path))))
}

/// The password of each server, where the password file has it.
pub fn passwords(
    named: Option<&str>,
    servers: &[ServerAddress],
    database: &str,
    user: &str,
) -> Result<Vec<Option<Zeroizing<String>>>> {
    let Some(path) = named.map(PathBuf::from).or_else(|| in_home(".pgpass")) else { return Ok(Vec::new()) };
    let Some((bytes, facts)) = content(&path)? else { return Ok(Vec::new()) };
    if facts.mode & GROUP_AND_OTHERS != 0 {
        let name = shown_path(&path);
        let text = format!("the password file {name} can be read by others; run: chmod 600 {name}");
        return Err(Status::KeystoreUnavailable.error(text));
    }
    let text = text_of(&path, &bytes)?;
    Ok(servers.iter().map(|server| password(&text, server, database, user)).collect())
}

/// `host:port:database:user:password`, of which each may be `*`.
pub fn password(text: &str, server: &ServerAddress, database: &str, user: &str) -> Option<Zeroizing<String>> {
    let port = server.port.to_string();
    let is_default_folder = matches!(server.host.as_str(), "/tmp" | "/var/run/postgresql" | "/run/postgresql");
    let host = if is_default_folder { "localhost" } else { &server.host };
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for wanted in [host, &port, database, user] {
            let (field, after) = field(rest);
            if *field != "*" && *field != wanted {
                return None;
            }
            rest = after?;
        }
        let (password, _) = field(rest);
        Some(password)
    })
}

/// A field up to its colon, without backslashes, and what comes after it.
fn field(text: &str) -> (Zeroizing<String>, Option<&str>) {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return (value, text.get(at + 1..)),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, None)
}

/// The settings of a service.
pub fn service(name: &str) -> Result<Vec<(String, Zeroizing<String>)>> {
    let variable = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = variable("PGSERVICEFILE").or_else(|| in_home(".pg_service.conf"));
    let folder = variable("PGSYSCONFDIR").unwrap_or_else(|| PathBuf::from("/etc/postgresql-common"));
    for path in own.into_iter().chain([folder.join("pg_service.conf")]) {
        let Some((bytes, _)) = content(&path)? else { continue };
        if let Some(found) = section(&text_of(&path, &bytes)?, name) {
            return Ok(found);
        }
    }
    Err(invalid(format!("the service {} is in no service file; correct service or PGSERVICEFILE", shown(name))))
}

pub fn section(text: &str, name: &str) -> Option<Vec<(String, Zeroizing<String>)>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_head = |line: &str| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(name);
    lines.find(|line| is_head(line))?;
    let settings = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), Zeroizing::new(value.trim().to_owned())))
    });
    Some(settings.collect())
}

/// The client's certificate and key: those named, otherwise libpq's defaults where they exist.
pub fn identity(certificate: Option<&str>, key: Option<&str>) -> Result<Option<(PathBuf, PathBuf)>> {
    let by_default = |name: &str| in_home(name).filter(|path| path.exists());
    let certificate = certificate.map(PathBuf::from).or_else(|| by_default(".postgresql/postgresql.crt"));
    let Some(certificate) = certificate else { return Ok(None) };
    let key = key.map(PathBuf::from).or_else(|| by_default(".postgresql/postgresql.key"));
    let key = key.ok_or_else(|| invalid("the location has a client certificate without its key; add sslkey"))?;
    // Root may own it for a group of users.
    if let Some((_, facts)) = content(&key)? {
        let refused = if facts.owner == 0 { OTHERS_OR_GROUP_WRITES } else { GROUP_AND_OTHERS };
        let name = shown_path(&key);
        if !file::is_trusted_owner(facts.owner) {
            let owner = facts.owner;
            return Err(
                Status::KeystoreUnavailable.error(format!("the private key {name} belongs to user {owner}; chown it"))
            );
        }
        if facts.mode & refused != 0 {
            let text = format!("the private key {name} can be read by others; run: chmod 600 {name}");
            return Err(Status::KeystoreUnavailable.error(text));
        }
    }
    Ok(Some((certificate, key)))
}
