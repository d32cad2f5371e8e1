//! Keystores in SQLite files, with the files next to them: journal, generation file, record of backups.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{Driver, FoundLocation, MustSpare, Standing};
use crate::error::{Result, Status};
use crate::store::backend::{MetaRow, SlotRow};
use crate::store::connection::{Gated, wait};
use crate::store::create::{self, NewRoot};
use crate::store::root::Root;
use crate::store::settings::{Location, Settings};
use crate::store::sqlite::{self, Sqlite};
use crate::store::{announce, backup_record, leftover, place, roots};
use crate::sys::fork;
use crate::sys::word::Word;

struct KeystoreFile {
    path: PathBuf,
    /// The path as the caller passed it, where it leads to `path` through a symbolic link.
    given: Option<PathBuf>,
    read_only: bool,
}

pub fn find(path: PathBuf, settings: &mut Settings, root: &Root) -> Result<FoundLocation> {
    let root_key = match settings.create && !settings.read_only {
        true => {
            sqlite::check_no_leftover(&path)?;
            let _unless_created = match &settings.anchor {
                Some(anchor) if !sqlite::exists(&path)? => match anchor.prepare(&path.display(), Some(&path)) {
                    // Another creator was faster.
                    Err(e) if e.status() == Status::KeystoreRolledBack && sqlite::exists(&path)? => None,
                    done => done?,
                },
                _ => None,
            };
            create::create(&path, &NewRoot { root, created: settings.opened_ms }, settings.patience)?.map(Box::new)
        }
        false => {
            create::check_pair(&path, root)?;
            None
        }
    };
    if !settings.read_only {
        leftover::remove_second_names(&path);
        if let Root::File(key) = root {
            leftover::remove_second_names(key);
        }
    }
    let mut driver = KeystoreFile { path, given: None, read_only: settings.read_only };
    // One name for all: the files next to the store must be the same for programs that use a symbolic link,
    // and a program may change its folder. The connection reports a missing file.
    if let (Ok(found), Ok(given)) = (driver.path.canonicalize(), std::path::absolute(&driver.path)) {
        driver.given = Some(given).filter(|given| *given != found);
        driver.path = found;
    }
    settings.location = Location::File(driver.path.clone());
    let mut must_spare = |found: &MetaRow, slots: &[SlotRow]| {
        match roots::unlock(root, found, slots, &settings.location) {
            Ok(_) => Ok(true),
            // Where the root opens no slot either, this open fails in any case.
            Err(e) if e.status() == Status::WrongRootKey => Ok(!roots::opens_a_slot(root, found, slots)?),
            Err(e) => Err(e),
        }
    };
    // A writer may be just committing.
    let deadline = Instant::now() + settings.patience;
    let backend = wait(|| Instant::now() >= deadline, &mut || driver.connect(&mut must_spare))?;
    Ok(FoundLocation { driver: Arc::new(driver), backend, root_key })
}

/// A change that a crash cut off halfway resembles damage.
pub fn explain_damage(path: &Path) -> Result<()> {
    fork::gate(|| sqlite::check_not_left(path))
}

impl Driver for KeystoreFile {
    fn connect(&self, must_spare: &mut MustSpare<'_>) -> Result<Gated> {
        // Before SQLite plays a journal of another file into this one.
        if let Some(doubt) = fork::gate(|| sqlite::Doubt::at(&self.path))
            && must_spare(&doubt.meta, &doubt.slots)?
        {
            fork::gate(|| doubt.refuse(&self.path))?;
        }
        fork::gate(|| Sqlite::open(&self.path, self.read_only)).map(Gated::new)
    }

    fn explain_damage(&self) -> Result<()> {
        explain_damage(&self.path)
    }

    fn check_given(&self) -> Result<()> {
        // A link in the caller's path may have been changed, as by a deploy.
        let Some(given) = &self.given else { return Ok(()) };
        let found = given.canonicalize().ok();
        if found.as_ref() == Some(&self.path) {
            return Ok(());
        }
        let leads = found.map_or("nowhere".to_owned(), |found| format!("to {}", found.display()));
        Err(Status::KeystoreReplaced.error(format!(
            "{} led to the keystore {} and now leads {leads}; close the handle and open it again",
            given.display(),
            self.path.display()
        )))
    }

    fn standing(&self) -> Standing {
        match sqlite::exists(&self.path) {
            Ok(true) => Standing::Another,
            _ => Standing::Nothing,
        }
    }

    fn place(&self) -> Option<&[u8]> {
        Some(self.path.as_os_str().as_bytes())
    }

    fn check_place(&self, recorded: Option<&[u8]>) -> Result<bool> {
        place::check(&self.path, recorded)
    }

    fn is_mapped(&self, word: &Word) -> bool {
        announce::is_mapped(word, &self.path)
    }

    fn map(&self, word: &Word, uuid: &[u8; 16], writable: bool) -> bool {
        announce::map(word, &self.path, uuid, writable)
    }

    fn make_word(&self, uuid: &[u8; 16], generation: u64) -> Result<()> {
        announce::make(&self.path, uuid, generation)
    }

    fn backup_records(&self) -> Option<PathBuf> {
        Some(backup_record::path_of(&self.path))
    }
}
