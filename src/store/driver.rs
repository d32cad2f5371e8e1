//! Where keystores are kept, apart from their rows: one driver for each kind of location.
//!
//! A driver finds or makes a keystore, connects to it, says whether it is still at its location, and names the files
//! next to it. `backend.rs` handles the rows themselves, and the lock waits.

mod file;
mod memory;
#[cfg(feature = "postgres")]
pub(super) mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::announcements::Announcements;
use super::backend::{MetaRow, SlotRow};
use super::connection::Gated;
use super::root::{Root, RootKey};
use super::settings::{Location, Settings};
use crate::error::{Result, Status};
use crate::sys::word::Word;

/// Whether the keystore with this description must be protected from files of a crash that don't belong to it: the
/// description is authentic under the handle's root key, so nothing is to be undone, or it is of another keystore.
pub type MustSpare<'a> = dyn FnMut(&MetaRow, &[SlotRow]) -> Result<bool> + 'a;

/// A location of an open keystore. Shared by all threads, and by a forked child with its parent. Called outside of the fork
/// gate, which each method passes itself for its local work.
pub trait Driver: Send + Sync {
    /// One try at a connection; KEYSTORE_BUSY while a writer that is just committing keeps it out. The caller waits.
    fn connect(&self, must_spare: &mut MustSpare<'_>) -> Result<Gated>;
    /// Whether there is one connection only, which ends with its process and cannot be shared.
    fn is_private(&self) -> bool {
        false
    }
    /// How many connections a handle may have.
    fn connections(&self) -> usize {
        1
    }
    /// A further connection to where the first one leads, within this time.
    fn connect_beside(&self, time: Duration) -> Result<Gated> {
        let _ = time;
        Err(Status::Internal.error("the keystore has one connection only"))
    }
    /// Why intact rows may look damaged, as after a crash that cut off a change.
    fn explain_damage(&self) -> Result<()> {
        Ok(())
    }

    /// Checks that the caller's location still leads to the open keystore.
    fn check_given(&self) -> Result<()> {
        Ok(())
    }
    /// What is at the location, where it is not the open keystore.
    fn standing(&self) -> Standing {
        Standing::Here
    }
    /// The name of the location that a change records in the description; none where nothing can have two.
    fn place(&self) -> Option<&[u8]> {
        None
    }
    /// Refuses a location that is seen to be a second one of a keystore that was last changed at `recorded`. Whether it is
    /// certain that there is no other.
    fn check_place(&self, recorded: Option<&[u8]>) -> Result<bool> {
        let _ = recorded;
        Ok(true)
    }

    /// Whether the word that announces changes is the one that other processes find.
    fn is_mapped(&self, word: &Word) -> bool {
        let _ = word;
        true
    }
    /// Has other processes of the host find the word; false where there is no such file.
    fn map(&self, word: &Word, uuid: &[u8; 16], writable: bool) -> bool {
        let _ = (word, uuid, writable);
        false
    }
    /// Makes the file that [`Self::map`] needs. The caller holds the keystore's write lock.
    fn make_word(&self, uuid: &[u8; 16], generation: u64) -> Result<()> {
        let _ = (uuid, generation);
        Ok(())
    }

    /// Where other hosts announce their changes. None where only polls find them.
    fn announcements(&self) -> Option<Arc<dyn Announcements>> {
        None
    }

    /// The file that records the keystore's backups.
    fn backup_records(&self) -> Option<PathBuf> {
        None
    }
}

/// What is at a keystore's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// The keystore that is open.
    Here,
    /// Nothing: it was moved away or removed.
    Nothing,
    /// Another file, or an older copy.
    Another,
}

/// A location with its first connection.
pub struct FoundLocation {
    pub driver: Arc<dyn Driver>,
    pub backend: Gated,
    /// Where the keystore was made now: a root that was just tried need not unwrap it once more.
    /// Boxed: moves of this struct would leave copies behind.
    pub root_key: Option<Box<RootKey>>,
}

/// Finds the keystore that the settings name, or makes it if they say so. Runs the root's callback or Argon2 with no lock
/// held. The settings' location becomes the one name for all who open it.
pub fn find(settings: &mut Settings, root: &Root) -> Result<FoundLocation> {
    match settings.location.clone() {
        Location::Memory => memory::make(settings, root),
        Location::File(path) => file::find(path, settings, root),
        #[cfg(feature = "postgres")]
        Location::Server(url) => server::find(&url.0, settings, root),
    }
}

/// The right to write a copy, which one copier has at a time.
#[cfg(feature = "postgres")]
pub trait CopyClaim: Send {
    /// Checks that the claim still holds.
    fn check(&mut self) -> Result<()>;
    /// Gives the copy its name. Never replaces a keystore.
    fn publish(&mut self) -> Result<()>;
}

/// The rows of a copy in a database, which have their name when the copy is complete.
#[cfg(feature = "postgres")]
pub struct ServerCopy {
    pub driver: Arc<dyn Driver>,
    pub backend: Gated,
    /// Claims the rows, once they exist. KEYSTORE_BUSY while another copier has them.
    pub claim: Box<dyn FnOnce() -> Result<Box<dyn CopyClaim>>>,
    /// Whether nothing is there yet.
    pub is_new: bool,
}

#[cfg(feature = "postgres")]
pub use server::begin_copy as begin_server_copy;

/// For rows with one connection, which cannot be shared.
pub fn private() -> Arc<dyn Driver> {
    Arc::new(memory::MemoryDriver)
}

/// As [`Driver::explain_damage`], of a keystore that could not be opened.
pub fn explain_damage(location: &Location) -> Result<()> {
    match location {
        Location::File(path) => file::explain_damage(path),
        _ => Ok(()),
    }
}
