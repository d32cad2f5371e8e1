//! Keystores in a PostgreSQL database.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use super::{Driver, FoundLocation, MustSpare};
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

impl Driver for Database {
    fn connect(&self, _: &mut MustSpare<'_>) -> Result<Gated> {
        let found = Postgres::open(&self.config, &self.name, self.patience, false)?;
        found.map(Gated::new).ok_or_else(|| missing(&self.name))
    }
}
