//! `kms backup`: a copy of a keystore in use, with a checksum and a manifest next to it, and the check of such a copy.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use kms::{KeyState, Keystore, Options, Status};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::args::{Backup, Global};
use crate::data::{Place, is_stdin};
use crate::exit::{Exit, Failure, Result};
use crate::location::Location;
use crate::output::{self, Output};
use crate::session::Session;
use crate::step::reached;
use crate::times::{iso, now};
use crate::work::WorkFolder;

/// What is encrypted in the backup and decrypted in the keystore.
const PROBE: &[u8] = b"kms backup probe";

pub fn run(global: &Global, args: &Backup) -> Result<()> {
    match args.verify {
        true => verify(global, &args.target),
        false => make(&Session::open(global)?, args),
    }
}

fn make(session: &Session, args: &Backup) -> Result<()> {
    let to_stdout = is_stdin(Some(&args.target));
    if to_stdout {
        Place::Stdout.check(false)?;
    }
    let folder = match to_stdout {
        true => Some(WorkFolder::new(&std::env::temp_dir(), ".kms-backup-")?),
        false => None,
    };
    let target = folder.as_ref().map_or_else(|| args.target.clone(), |folder| folder.path().join("backup.db"));
    let prepared = session.keystore.prepare_backup(&target)?;
    reached("backup: copied");
    let (sha256, size) = digest(prepared.file())?;
    let copy = open_copy(prepared.file(), &session.options)?;
    let keys = manifest(&copy)?;
    drop(copy);
    let (created, generation) = (prepared.backup().created(), prepared.backup().generation());
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let described = json!({
        "Manifest": "libkms backup 1",
        "Name": name,
        "CreationDate": iso(created),
        "Generation": generation,
        "Size": size,
        "SHA256": sha256,
        "Keys": keys,
    });
    if to_stdout {
        let mut file = File::open(prepared.file()).map_err(|error| Failure::file("reading", &target, &error))?;
        output::finish(std::io::copy(&mut file, &mut std::io::stdout().lock()).map(|_| ()))?;
        output::note(&format!("sha256 {sha256}"));
    } else if !args.bare {
        let beside = |extension: &str| Place::File { path: suffixed(&target, extension), replace: true };
        beside(".sha256").write(format!("{sha256}  {name}\n").as_bytes(), 0o600)?;
        reached("backup: checksum written");
        beside(".manifest.json").write(format!("{described:#}\n").as_bytes(), 0o600)?;
    }
    reached("backup: all written");
    let unrecorded = match to_stdout {
        // Recorded when all of it is where it belongs: a pipe may break.
        true => session.keystore.record_backup(&prepared.backup().clone().labelled("-")).err(),
        false => session.keystore.finish_backup(prepared)?,
    };
    if let Some(error) = unrecorded {
        output::note(&format!("the backup is good, but not recorded: {}", error.text()));
    }
    reached("backup: done");
    if to_stdout {
        return Ok(());
    }
    session.out.print(
        || described.clone(),
        || {
            let shown = target.display();
            let size = output::size(size);
            format!(
                "wrote {shown} ({size}, generation {generation}, {})\nnext: kms backup --verify {shown}\n",
                output::count(keys.len() as u64, "key")
            )
        },
    )
}

/// Each key of a copy with its versions, newest first.
fn manifest(copy: &Keystore) -> Result<Vec<Value>> {
    let mut keys = Vec::new();
    for key in copy.keys() {
        let key = key?;
        let versions = copy.key_versions(key.id).map(|version| version.map(|found| found.id.to_string()));
        let versions = versions.collect::<kms::Result<Vec<_>>>()?;
        keys.push(json!({ "KeyId": key.id.to_string(), "KeyVersionIds": versions }));
    }
    Ok(keys)
}

fn verify(global: &Global, path: &Path) -> Result<()> {
    let location = Location::find(global)?;
    let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
    let live = match Keystore::open(&location.keystore()?.unredacted(), &location.anchored(options.clone())) {
        // The day on which a backup is all that is left.
        Err(error) if error.status() == Status::KeystoreNotFound => None,
        live => Some(live?),
    };
    let checksum = check_sum(path)?;
    let copy = open_copy(path, &options)?;
    copy.verify(|_| true).map_err(|error| Failure::from(error).of_file(path))?;
    let mut report = Checked::default();
    for key in copy.keys() {
        let key = key?;
        report.keys += 1;
        report.versions += key.version_count();
        if key.state != KeyState::Enabled {
            continue;
        }
        let failed = |error: kms::Error| Failure::from(error).of_file(path);
        let blob = copy.encrypt(key.id, PROBE, &[]).map_err(failed)?;
        match probe(live.as_ref().unwrap_or(&copy), &blob) {
            Ok(true) => report.probes += 1,
            Ok(false) => {
                return Err(Failure::new(
                    Exit::Keystore,
                    "Keystore.Corrupt",
                    format!("key {} of the backup decrypts differently", key.id),
                ));
            }
            Err(error) => report.unlike.push(format!("key {}: {}", key.id, error.text())),
        }
    }
    if let Some(live) = &live {
        report.lacking = lacking(live, &copy)?;
        if report.unlike.is_empty()
            && let Err(error) = live.record_verified_backup(&absolute(path), now())
        {
            output::note(&format!("the check is not recorded: {}", error.text()));
        }
    }
    report.print(path, checksum, Output { json: global.json })
}

fn probe(keystore: &Keystore, blob: &[u8]) -> kms::Result<bool> {
    match keystore.decrypt(blob, &[]) {
        Ok(plaintext) => Ok(&*plaintext == PROBE),
        // The key is disabled or waits for its deletion meanwhile: no sign against the backup.
        Err(error) if (300..400).contains(&(error.status() as i32)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Keys whose newest version the copy does not have.
fn lacking(live: &Keystore, copy: &Keystore) -> Result<u64> {
    let mut count = 0;
    for key in live.keys() {
        let key = key?;
        let known =
            key.primary.is_none_or(|version| copy.describe_key_version(key.id, &version.id.to_string()).is_ok());
        count += u64::from(!known);
    }
    Ok(count)
}

#[derive(Default)]
struct Checked {
    keys: u64,
    versions: u64,
    probes: u64,
    lacking: u64,
    unlike: Vec<String>,
}

impl Checked {
    fn print(self, path: &Path, checksum: Option<String>, out: Output) -> Result<()> {
        let sum = if checksum.is_some() { "checksum matches" } else { "no checksum beside it" };
        out.print(
            || {
                json!({ "Path": path.display().to_string(), "SHA256": checksum, "KeyCount": self.keys, "VersionCount": self.versions,
                    "ProbesDecrypted": self.probes, "KeysWithNewerVersions": self.lacking, "Unlike": self.unlike })
            },
            || {
                let mut text = format!(
                    "{} is good: {sum}, {}, {}, {} decrypted\n",
                    path.display(),
                    output::count(self.keys, "key"),
                    output::count(self.versions, "version"),
                    output::count(self.probes, "probe")
                );
                self.unlike.iter().for_each(|line| text.push_str(&output::warning(line)));
                if self.lacking > 0 {
                    let keys = output::count(self.lacking, "key");
                    text.push_str(&output::warning(&format!("the keystore has newer versions of {keys}; next: kms backup FILE")));
                }
                text
            },
        )?;
        match self.unlike.len() {
            0 => Ok(()),
            count => Err(Failure::new(
                Exit::Partial,
                "Cli.BackupDiffers",
                format!("{} of the backup are not those of the keystore", output::count(count as u64, "key")),
            )),
        }
    }
}

/// Opens a copy without changing it.
pub fn open_copy(path: &Path, options: &Options) -> Result<Keystore> {
    Ok(Keystore::open(&path.display().to_string(), &options.clone().read_only(true))?)
}

/// Compares a backup with the checksum next to it; none where there is none.
pub fn check_sum(path: &Path) -> Result<Option<String>> {
    let beside = suffixed(path, ".sha256");
    let Ok(text) = std::fs::read_to_string(&beside) else { return Ok(None) };
    let wanted = text.split_whitespace().next().unwrap_or_default();
    let (found, _) = digest(path)?;
    match found == wanted {
        true => Ok(Some(found)),
        false => Err(Failure::new(
            Exit::Keystore,
            "Keystore.Corrupt",
            format!("{} does not have the checksum of {}", path.display(), beside.display()),
        )
        .next("use another backup; this one was modified or is incomplete")),
    }
}

/// The SHA-256 of a file in hexadecimal, and its size.
fn digest(path: &Path) -> Result<(String, u64)> {
    let failed = |error: &std::io::Error| Failure::file("reading", path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut buffer).map_err(|error| failed(&error))? {
            0 => break,
            read => {
                hash.update(buffer.get(..read).unwrap_or_default());
                size += read as u64;
            }
        }
    }
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), size))
}

pub fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn absolute(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
