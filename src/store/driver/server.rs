//! Keystores in a PostgreSQL database.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{CopyClaim, Driver, FoundLocation, MustSpare, ServerCopy};
use crate::error::{Error, Result, Status};
use crate::store::announce;
use crate::store::announcements::Announcements;
use crate::store::connection::Gated;
use crate::store::create::{self, NewRoot};
use crate::store::database_info::{DatabaseInfo, PreparedDatabase};
use crate::store::leftover::SUFFIX;
use crate::store::postgres::{self, Claim, Lead, Listener, Postgres, Target};
use crate::store::root::Root;
use crate::store::settings::Settings;
use crate::sys::fault;
use crate::sys::word::Word;

/// How long preparing a database may wait for other users of its tables.
const PREPARING: Duration = Duration::from_secs(10);

struct Database {
    target: Arc<Target>,
    patience: Duration,
    /// The file of the word that announces changes to the host's other processes, once it was searched.
    word_path: OnceLock<Option<PathBuf>>,
    /// Where the connections lead.
    lead: Arc<Lead>,
}

impl Database {
    fn new(target: Arc<Target>, patience: Duration) -> Self {
        Self { target, patience, word_path: OnceLock::new(), lead: Arc::default() }
    }

    fn gated(&self, found: Postgres) -> Gated {
        Gated::new(found.following(&self.lead))
    }
}

fn missing(target: &Target) -> Error {
    Status::KeystoreNotFound.error(format!("no keystore at {target}; pass create to make one"))
}

pub fn find(location: &str, settings: &Settings, root: &Root) -> Result<FoundLocation> {
    let target = Arc::new(Target::find(location)?);
    let patience = settings.patience;
    let is_made = settings.create && !settings.read_only;
    let driver = Arc::new(Database::new(target, patience));
    if let Some(found) = Postgres::open(&driver.target, patience, is_made)? {
        return Ok(FoundLocation { backend: driver.gated(found), driver, root_key: None });
    }
    if !is_made {
        return Err(missing(&driver.target));
    }
    let mut unless_created = match &settings.anchor {
        Some(anchor) => match anchor.prepare(&driver.target, None) {
            // Another creator was faster.
            Err(error) if error.status() == Status::KeystoreRolledBack => {
                return match Postgres::open(&driver.target, patience, false)? {
                    Some(found) => Ok(FoundLocation { backend: driver.gated(found), driver, root_key: None }),
                    None => Err(error),
                };
            }
            done => done?,
        },
        None => None,
    };
    if let Root::File(path) = root {
        create::key_file(path)?;
    }
    let mut backend = driver.gated(Postgres::create(&driver.target, patience)?);
    let made = create::fill_rows(backend.get()?, &NewRoot { root, created: settings.opened_ms }, None, patience);
    let found = match made {
        Ok(key) => Ok(FoundLocation { driver, backend, root_key: Some(Box::new(key)) }),
        // Another creator was faster.
        Err(error) => match Postgres::open(&driver.target, patience, false) {
            Ok(Some(found)) => Ok(FoundLocation { backend: driver.gated(found), driver, root_key: None }),
            Ok(None) => return Err(error),
            Err(unknown) => Err(unknown),
        },
    };
    if let Some(anchor) = &mut unless_created {
        anchor.keep();
    }
    found
}

pub fn prepare(location: &str, role: Option<&str>) -> Result<PreparedDatabase> {
    postgres::prepare(&Target::find(location)?, role, PREPARING)
}

pub fn script(location: &str, role: Option<&str>) -> Result<String> {
    postgres::script(&Target::find(location)?, role)
}

pub fn describe(location: &str) -> Result<DatabaseInfo> {
    postgres::describe(&Target::find(location)?)
}

/// Begins the copy of a keystore to a location, or finds the one that was begun there.
pub fn begin_copy(location: &str, patience: Duration) -> Result<ServerCopy> {
    let target = Arc::new(Target::find(location)?);
    let name = target.keystore.clone();
    let unfinished = Arc::new(Target { keystore: format!("{name}{SUFFIX}"), ..(*target).clone() });
    if name.ends_with(SUFFIX) {
        return Err(Status::InvalidArgument
            .error(format!("{name} is a name of unfinished copies, which end in {SUFFIX}; choose another name")));
    }
    if Postgres::open(&target, patience, true)?.is_some() {
        return Err(taken(&name));
    }
    let found = Postgres::open(&unfinished, patience, false)?;
    let is_new = found.is_none();
    let backend = match found {
        Some(found) => found,
        None => Postgres::create(&unfinished, patience)?,
    };
    let driver = Arc::new(Database::new(Arc::clone(&unfinished), patience));
    let claim = Box::new(move || -> Result<Box<dyn CopyClaim>> {
        let claim = Postgres::claim(&unfinished, patience)?;
        Ok(Box::new(NamedClaim { claim, name }))
    });
    Ok(ServerCopy { driver, backend: Gated::new(backend), claim, is_new })
}

/// The claim of a copy that is to have this name.
struct NamedClaim {
    claim: Claim,
    name: String,
}

fn taken(name: &str) -> Error {
    Status::KeystoreIo.error(format!(
        "the keystore {name} exists already in the database, and a copy replaces none; choose another name"
    ))
}

impl CopyClaim for NamedClaim {
    fn check(&mut self) -> Result<()> {
        self.claim.check()
    }

    fn publish(&mut self) -> Result<()> {
        match self.claim.rename(&self.name)? {
            true => Ok(()),
            false => Err(taken(&self.name)),
        }
    }
}

impl Driver for Database {
    fn connect(&self, _: &mut MustSpare<'_>) -> Result<Gated> {
        let found = Postgres::open(&self.target, self.patience, false)?;
        found.map(|found| self.gated(found)).ok_or_else(|| missing(&self.target))
    }

    fn connections(&self) -> usize {
        if fault::wanted("KMS_FAULT_ONE_CONNECTION") { 1 } else { self.target.connections }
    }

    fn connect_beside(&self, time: Duration) -> Result<Gated> {
        let found = Postgres::open_beside(&self.target, &self.lead, self.patience, time)?;
        found.map(Gated::new).ok_or_else(|| missing(&self.target))
    }

    fn is_mapped(&self, word: &Word) -> bool {
        self.word_path.get().and_then(Option::as_ref).is_none_or(|path| word.is_at(path))
    }

    fn map(&self, word: &Word, uuid: &[u8; 16], writable: bool) -> bool {
        let path = self.word_path.get_or_init(|| announce::runtime_path(uuid));
        path.as_ref().is_some_and(|path| announce::map_at(word, path, uuid, writable))
    }

    fn make_word(&self, uuid: &[u8; 16], generation: u64) -> Result<()> {
        let path = self.word_path.get_or_init(|| announce::runtime_path(uuid));
        path.as_ref().map_or(Ok(()), |path| announce::make_at(path, uuid, generation))
    }

    fn announcements(&self) -> Option<Arc<dyn Announcements>> {
        let target = self.target.notify.as_deref()?;
        Some(Arc::new(Listener::new(target)))
    }
}
