//! `kms pkcs11`: the configuration of the PKCS#11 module, and who uses the keystore through it.

use std::collections::BTreeMap;
use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kms::{Time, change_log::ListChanges};
use serde_json::json;

use crate::args::{Global, Pkcs11Command, Pkcs11Config};
use crate::exit::{Exit, Failure, Result};
use crate::keystore::toml_text;
use crate::location::{Location, Root};
use crate::output::Output;
use crate::session::Session;

/// Where the module finds its configuration without KMS_PKCS11_CONF.
const DEFAULT: &str = "/etc/libkms/pkcs11.toml";
/// The label of the module's entries in the change log.
const ACTOR: &str = "PKCS#11";
/// The newest entries of the change log, which are searched for programs that use the module.
const SEARCHED: u64 = 10_000;

pub fn run(global: &Global, command: &Pkcs11Command) -> Result<()> {
    match command {
        Pkcs11Command::Config(args) => config(global, args),
    }
}

fn config(global: &Global, args: &Pkcs11Config) -> Result<()> {
    let location = Location::find(global)?;
    let keystore = existing(location.keystore()?.file()?, "the keystore")?;
    let root_key = match &location.root {
        Root::KeyFile(file) => Some(existing(file, "the root key file")?),
        _ => None,
    };
    let label = match &args.label {
        Some(label) => label.clone(),
        None => keystore.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
    };
    if label.is_empty() || label.len() > 32 || label.contains('\0') {
        return Err(Failure::usage(format!(
            "the label {label:?} has {} bytes, and a token's has 1 to 32",
            label.len()
        ))
        .next("--label TEXT"));
    }
    let mut text = slot(&label, &keystore, root_key.as_deref(), args.read_only)?;
    // What guards the keystore must guard it behind the module too.
    if let Some(anchor) = &location.anchor {
        let anchor =
            std::path::absolute(anchor).map_err(|error| Failure::file("looking for the anchor", anchor, &error))?;
        text.push_str(&format!("anchor_file = {}\n", path_text(&anchor)?));
    }
    if let Some(wait) = location.require_backup {
        text.push_str(&format!("require_backup = \"{}s\"\n", wait.as_secs()));
    }
    write(&args.file, &text)?;

    let module = module();
    let path = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    Output { json: global.json }.print(
        || json!({ "Configuration": path, "TokenLabel": label, "Keystore": keystore, "Module": module, "NeedsPin": root_key.is_none() }),
        || {
            let pin = if root_key.is_some() { "no PIN" } else { "the PIN is the root passphrase" };
            let mut text = format!("wrote {}: token {label}, {pin}\n", path.display());
            if path != Path::new(DEFAULT) {
                text.push_str(&format!("next: export KMS_PKCS11_CONF={}\n", path.display()));
            }
            text.push_str(&format!("next: pkcs11-tool --module {module} --list-objects\n"));
            text.push_str(&format!("p11-kit: echo 'module: {module}' >/etc/pkcs11/modules/libkms.module\n"));
            text.push_str(&format!("Java: printf 'name = kms\\nlibrary = {module}\\nslotListIndex = 0\\n' >kms.cfg\n"));
            text
        },
    )
}

/// An absolute path, which the module asks for; links stay, because they may be moved later.
fn existing(path: &Path, what: &str) -> Result<PathBuf> {
    let found = std::fs::metadata(path).and_then(|_| std::path::absolute(path));
    found.map_err(|error| Failure::file(&format!("looking for {what}"), path, &error).next("kms init, to make one"))
}

fn slot(label: &str, keystore: &Path, root_key: Option<&Path>, read_only: bool) -> Result<String> {
    let mut slot = format!("[[slot]]\nlabel = {}\nkeystore = {}\n", toml_text(label), path_text(keystore)?);
    match root_key {
        Some(file) => slot.push_str(&format!("root_key_file = {}\n", path_text(file)?)),
        None => slot.push_str("# Without root_key_file, the PIN is the passphrase of a root slot.\n"),
    }
    if read_only {
        slot.push_str("read_only = true\n");
    }
    Ok(slot)
}

fn path_text(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) => Ok(toml_text(text)),
        None => Err(Failure::usage(format!("the path {} is not UTF-8; move the file", path.display()))),
    }
}

/// Nothing in it is secret, so every user may read it. The module refuses it where others may write it.
fn write(path: &Path, text: &str) -> Result<()> {
    if path == Path::new(DEFAULT)
        && let Some(folder) = path.parent()
    {
        // Where it fails, so does the file, which is what the user asked for.
        let _ = std::fs::create_dir(folder);
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Keystore, "Cli.Exists", format!("there is a file {} already", path.display()))
                .next("add a [[slot]] to it by hand; or kms pkcs11 config FILE, to write another")
        }
        _ => {
            Failure::file("writing", path, &error).next("kms pkcs11 config ./pkcs11.toml; or the same command as root")
        }
    })?;
    // A narrow umask must not hide it from the programs of other users.
    let written = file
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a configuration would be refused by the module, and by the next run of this command.
        let _ = std::fs::remove_file(path);
        Failure::file("writing", path, &error)
    })
}

/// The module next to this command, as `make install` and the packages place it; otherwise its name, for the loader to
/// find.
fn module() -> String {
    const NAME: &str = "libkms-pkcs11.so";
    let beside = std::env::current_exe().ok().and_then(|command| Some(command.parent()?.parent()?.join("lib")));
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let found = beside.into_iter().flat_map(|lib| [lib.join(&triplet).join(NAME), lib.join(NAME)]);
    found.into_iter().find(|path| path.exists()).map_or_else(|| NAME.to_owned(), |path| path.display().to_string())
}

/// A program that changed the keystore through the module.
#[derive(Debug, Clone, Copy)]
pub struct LastChange {
    pub time: Time,
    pub process_id: u32,
}

/// The programs and users whose changes the log has under the module's label, among its newest entries. A program that only
/// decrypts often makes no change, and a read-only one never does.
pub fn users(session: &Session, generation: u64) -> Result<BTreeMap<(String, u32), LastChange>> {
    let mut found = BTreeMap::new();
    let newest = ListChanges { after: Some(generation.saturating_sub(SEARCHED)), ..ListChanges::default() };
    for change in session.keystore.changes(newest) {
        let change = change?;
        if change.actor.label.as_deref() == Some(ACTOR) {
            let last = LastChange { time: change.time, process_id: change.actor.process_id };
            found.insert((change.actor.program, change.actor.user_id), last);
        }
    }
    Ok(found)
}
