//! Keystores in a PostgreSQL database.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use super::{Driver, FoundLocation, MustSpare, ServerCopy};
use crate::error::{Error, Result, Status};
use crate::store::connection::Gated;
use crate::store::create::{self, NewRoot};
use crate::store::postgres::Postgres;
use crate::store::root::Root;
use crate::store::settings::Settings;

/// A keystore's name where the location has none.
const NAME: &str = "default";

struct Database {
    config: Config,
    name: String,
    patience: Duration,
}

/// The location's server, and the keystore's name, which is its fragment.
fn parse(location: &str) -> Result<(Config, String)> {
    let (url, name) = location.split_once('#').unwrap_or((location, NAME));
    let config = Config::from_str(url)
        .map_err(|e| Status::InvalidArgument.error(format!("the location is no PostgreSQL URL: {e}; correct it")))?;
    Ok((config, name.to_owned()))
}

fn missing(name: &str) -> Error {
    Status::KeystoreNotFound.error(format!("no keystore {name} in the database; pass create to make one"))
}

pub fn find(location: &str, settings: &Settings, root: &Root) -> Result<FoundLocation> {
    let (config, name) = parse(location)?;
    let patience = settings.patience;
    let is_made = settings.create && !settings.read_only;
    let driver = Arc::new(Database { config, name, patience });
    if let Some(found) = Postgres::open(&driver.config, &driver.name, patience, is_made)? {
        return Ok(FoundLocation { driver, backend: Gated::new(found), root_key: None });
    }
    if !is_made {
        return Err(missing(&driver.name));
    }
    if let Root::File(path) = root {
        create::key_file(path)?;
    }
    let mut backend = Gated::new(Postgres::create(&driver.config, &driver.name, patience)?);
    match create::fill_rows(backend.get()?, &NewRoot { root, created: settings.opened_ms }, None) {
        Ok(key) => Ok(FoundLocation { driver, backend, root_key: Some(Box::new(key)) }),
        // Another creator was faster.
        Err(error) => match Postgres::open(&driver.config, &driver.name, patience, false)? {
            Some(found) => Ok(FoundLocation { driver, backend: Gated::new(found), root_key: None }),
            None => Err(error),
        },
    }
}

/// What the name of an unfinished copy ends in.
const UNFINISHED: &str = ".kms-new";

/// Begins the copy of a keystore to a location, or finds the one that was begun there.
pub fn begin_copy(location: &str, patience: Duration) -> Result<ServerCopy> {
    let (config, name) = parse(location)?;
    let unfinished = format!("{name}{UNFINISHED}");
    let taken = {
        let name = name.clone();
        move || {
            Status::KeystoreIo.error(format!(
                "the keystore {name} exists already in the database, and a copy replaces none; choose another name"
            ))
        }
    };
    if name.ends_with(UNFINISHED) {
        return Err(Status::InvalidArgument
            .error(format!("{name} is a name of unfinished copies, which end in {UNFINISHED}; choose another name")));
    }
    if Postgres::open(&config, &name, patience, true)?.is_some() {
        return Err(taken());
    }
    let found = Postgres::open(&config, &unfinished, patience, false)?;
    let is_new = found.is_none();
    let backend = match found {
        Some(found) => found,
        None => Postgres::create(&config, &unfinished, patience)?,
    };
    let driver = Arc::new(Database { config: config.clone(), name: unfinished.clone(), patience });
    let publish = Box::new(move || match Postgres::rename(&config, &unfinished, &name, patience)? {
        true => Ok(()),
        false => Err(taken()),
    });
    Ok(ServerCopy { driver, backend: Gated::new(backend), publish, is_new })
}

impl Driver for Database {
    fn connect(&self, _: &mut MustSpare<'_>) -> Result<Gated> {
        let found = Postgres::open(&self.config, &self.name, self.patience, false)?;
        found.map(Gated::new).ok_or_else(|| missing(&self.name))
    }
}
