//! `kms init`, `verify`, `tick`: the keystore as a whole.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kms::Keystore;
use serde_json::json;

use crate::args::{Global, Init};
use crate::database;
use crate::exit::{Exit, Failure, Result};
use crate::keystore_location::KeystoreLocation;
use crate::location::{Location, Root};
use crate::output::{self, Output};
use crate::session::Session;

const SETTINGS: &str = "kms.toml";
const PASSWORD: &str = "The password is in no file of kms. Put it into ~/.pgpass, or a file that PGPASSFILE names, with mode 600: \
     host:port:database:user:password";

pub fn init(global: &Global, args: &Init) -> Result<()> {
    let mut location = Location::find(global)?;
    if let Some(named) = &args.location {
        location.keystore = Some(named.clone());
    }
    let location = location;
    let keystore = location.keystore.clone().unwrap_or_else(|| PathBuf::from("keys.db").into());
    let prepared = match keystore.is_database() {
        true if args.print_sql => return database::script(&keystore, args),
        true => match database::prepare(&keystore, args, global.json)? {
            Some(done) => done,
            None => return Ok(()),
        },
        false => check_file(&keystore, args)?,
    };
    if !location.root_is_named {
        output::note("Choose what opens the keystore. Without it, everything that is encrypted is lost.");
        output::note("For programs that start alone, cancel and pass --root-key-file FILE instead.");
    }
    let mut options =
        location.root.set_new(kms::Options::new().actor(&global.actor).rotation_thread(false).create(true))?;
    if let Some(anchor) = &location.anchor {
        options = options.anchor_file(anchor).anchor_strict(location.anchor_strict);
    }
    Keystore::open(&keystore.unredacted(), &options)?;
    let settings = match args.no_config || Path::new(SETTINGS).exists() || global.config.is_some() {
        true => None,
        false => write_settings(&keystore, &location)?,
    };
    let root = match &location.root {
        Root::KeyFile(file) => Some(file.display().to_string()),
        _ => None,
    };
    Output { json: global.json }.print(
        || json!({ "Keystore": keystore.to_string(), "RootKeyFile": root, "Settings": settings }),
        || {
            let mut text = format!("{prepared}made the keystore {keystore}\n");
            if let Some(root) = &root {
                text.push_str(&format!(
                    "root key: {root}. Keep a copy on another medium; without it everything is lost.\n"
                ));
            }
            if let Some(settings) = &settings {
                text.push_str(&format!("wrote {settings}: commands in this folder find the keystore by it\n"));
            }
            if keystore.has_password() {
                text.push_str(&format!("{PASSWORD}\n"));
            }
            text.push_str("next: kms key create NAME --rotate-every 90d\n");
            text
        },
    )
}

/// Refuses a file that exists, and what only databases have.
fn check_file(keystore: &KeystoreLocation, args: &Init) -> Result<String> {
    if args.print_sql || args.grant.is_some() {
        return Err(
            Failure::usage("--grant and --print-sql are for databases").next("kms init postgres://HOST/DATABASE")
        );
    }
    match keystore.file()?.exists() {
        false => Ok(String::new()),
        true => {
            Err(Failure::new(Exit::Keystore, "Keystore.Exists", format!("there is a keystore at {keystore} already"))
                .next("kms status, to look into it; or --keystore PATH, to make another"))
        }
    }
}

/// A passphrase is in no settings; the file of one may be. A password is in neither.
fn write_settings(keystore: &KeystoreLocation, location: &Location) -> Result<Option<String>> {
    let line = |name: &str, path: &Path| match path.to_str() {
        Some(text) => format!("{name} = {}\n", toml_text(text)),
        None => String::new(),
    };
    let mut text = line("keystore", &keystore.without_password());
    match &location.root {
        Root::KeyFile(file) => text.push_str(&line("root_key_file", file)),
        Root::PassphraseFile(file) if !file.starts_with("/proc") && !file.starts_with("/dev") => {
            text.push_str(&line("root_passphrase_file", file));
        }
        _ => {}
    }
    if let Some(anchor) = &location.anchor {
        text.push_str(&line("anchor_file", anchor));
        if location.anchor_strict {
            text.push_str("anchor_strict = true\n");
        }
    }
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(SETTINGS)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(Some(SETTINGS.to_owned())),
        Err(error) => Err(Failure::file("the keystore is made, but not", Path::new(SETTINGS), &error)
            .next(format!("--keystore {keystore} on each command"))),
    }
}

/// A TOML string.
pub fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub fn verify(session: &Session) -> Result<()> {
    let mut faults = Vec::new();
    let done = session.keystore.verify(|fault| {
        faults.push((fault.key, fault.error.clone()));
        true
    });
    let generation = session.keystore.health()?.generation;
    session.out.print(
        || {
            let list: Vec<_> = faults
                .iter()
                .map(|(key, error)| {
                    json!({ "KeyId": key.map(|id| id.to_string()), "Code": error.status().code(), "Message": error.text() })
                })
                .collect();
            json!({ "Faults": { "Fault": list }, "TotalCount": faults.len(), "Generation": generation })
        },
        || match faults.is_empty() {
            true => format!("no faults; generation {generation}\n"),
            false => faults.iter().map(|(_, error)| output::warning(error.text())).collect(),
        },
    )?;
    match done {
        Err(error) if !faults.is_empty() => {
            let mut failure = Failure::from(error);
            failure.text = format!("{} faults, listed above", faults.len());
            Err(failure.next("kms restore BACKUP, once you have checked the named keys"))
        }
        done => Ok(done?),
    }
}

pub fn tick(session: &Session) -> Result<()> {
    let report = session.keystore.tick()?;
    session.out.print(
        || json!({ "Rotated": report.rotated, "Destroyed": report.destroyed, "Damaged": report.damaged }),
        || format!("rotated {}, destroyed {}, damaged {}\n", report.rotated, report.destroyed, report.damaged),
    )?;
    match report.damaged {
        0 => Ok(()),
        count => Err(Failure::new(Exit::Keystore, "Keystore.Corrupt", format!("{count} due keys are damaged"))
            .next("kms verify")),
    }
}
