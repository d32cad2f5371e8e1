//! Copies of a keystore that is in use, and which of them were made.

use std::path::Path;
use std::time::Duration;

use super::{Core, Keystore};
use crate::domain::id::VersionId;
use crate::domain::key::Key;
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};
use crate::store::{BackedUp, BackupRecord, Unfinished};
use crate::sys::sync::Lock;

/// The wait of a due rotation for a backup that suits most: a week has a backup of every schedule.
pub const BACKUP_WAIT_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// The longest wait of a due rotation for a backup.
pub const BACKUP_WAIT_MAX: Duration = Duration::from_secs(30 * 86_400);

/// A backup, as it was made or as it is recorded next to the keystore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup(BackupRecord);

impl Backup {
    /// Return its path when it was made, or what [`Backup::labelled`] set.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Return when it was begun, by the clock of the keystore.
    pub fn created(&self) -> Time {
        self.0.created
    }

    /// Return when it was last found good, which [`Keystore::record_verified_backup`] recorded.
    pub fn verified(&self) -> Option<Time> {
        self.0.verified
    }

    /// Return the generation that it holds.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Return whether it has the newest version of a key.
    pub fn has_newest_version_of(&self, key: &Key) -> bool {
        key.primary.is_none_or(|primary| self.0.has(&primary.id))
    }

    /// Name the place that the backup was moved to, such as a tape or a pipe.
    pub fn labelled(mut self, label: &str) -> Self {
        self.0.path = clean(label);
        self
    }
}

/// A complete copy that has neither its name nor a record yet. It is removed when dropped.
///
/// [`Keystore::prepare_backup`] makes it, and [`Keystore::finish_backup`] completes it.
#[derive(Debug)]
pub struct PreparedBackup {
    file: Unfinished,
    backup: Backup,
}

impl PreparedBackup {
    /// Return where the copy is until it is finished, such as `backup.db.kms-new`.
    pub fn file(&self) -> &Path {
        self.file.temporary()
    }

    /// Return the backup, for a record of a copy that is moved elsewhere.
    pub fn backup(&self) -> &Backup {
        &self.backup
    }
}

/// On one line.
fn clean(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Keystore {
    /// Copy the keystore to a new file: complete, synced and read back, or not at all. An existing file is never
    /// replaced. The pages of the copy are checked as by [`Keystore::verify`], its rows are not. The root keys that
    /// open the keystore open the copy.
    ///
    /// The backup is recorded next to the keystore. Where that fails, as in a folder that is read-only, the backup is
    /// good, and [`Keystore::backups`] does not list it.
    ///
    /// # Errors
    /// `KeystoreIo` where the file exists or cannot be written; `UnsupportedOperation` for a `memory:` keystore; and
    /// the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("keys.db");
    /// # let options = Options::new().root_key(&[7; 32]).create(true);
    /// let keystore = Keystore::open(path.to_str().unwrap(), &options)?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// keystore.backup(folder.path().join("backup.db"))?;
    /// let key = keystore.describe_key(key)?;
    /// assert!(keystore.backups()?.iter().any(|backup| backup.has_newest_version_of(&key)));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        self.finish_backup(self.prepare_backup(path)?).map(drop)
    }

    /// Copy the keystore as [`Keystore::backup`], to a temporary name next to `path`. While it has that name, a program
    /// can add a checksum, or move the copy elsewhere and record that with [`Keystore::record_backup`].
    ///
    /// # Errors
    /// As for [`Keystore::backup`].
    pub fn prepare_backup(&self, path: impl AsRef<Path>) -> Result<PreparedBackup> {
        let core = self.core()?;
        // Before the copy is begun.
        let created = core.clock.wall();
        let path = path.as_ref();
        let (file, copied) = core.store.backup(path, &|| core.clock.now())?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let placed = folder.canonicalize().ok().zip(path.file_name()).map(|(folder, name)| folder.join(name));
        let placed = placed.as_deref().unwrap_or(path);
        let backup = Backup(BackupRecord {
            path: clean(&placed.to_string_lossy()),
            created,
            verified: None,
            generation: copied.generation,
            versions: copied.versions,
        });
        Ok(PreparedBackup { file, backup })
    }

    /// Record a prepared backup and give it its name, in this order: every backup under its name is recorded, even if
    /// the process dies in between. Returns why the record could not be written, if so; the backup is valid nevertheless.
    ///
    /// # Errors
    /// As for [`Keystore::backup`].
    pub fn finish_backup(&self, prepared: PreparedBackup) -> Result<Option<Error>> {
        let PreparedBackup { file, backup } = prepared;
        let unrecorded = self.record_backup(&backup).err();
        if let Err(error) = file.publish() {
            if unrecorded.is_none() {
                let store = &self.core()?.store;
                let _ = store.edit_backup_records(|records| records.retain(|known| *known != backup.0));
            }
            return Err(error);
        }
        Ok(unrecorded)
    }

    /// Record a backup next to the keystore, in place of an older one at the same path.
    ///
    /// # Errors
    /// `KeystoreIo` where the record cannot be written, `KeystoreBusy` where other processes hold it too long; and the
    /// [errors of every call](Keystore#errors).
    pub fn record_backup(&self, backup: &Backup) -> Result<()> {
        self.core()?.store.edit_backup_records(|records| {
            records.retain(|known| known.path != backup.0.path);
            records.push(backup.0.clone());
        })
    }

    /// Record that a backup was found good at `verified`. A path without a recorded backup changes nothing.
    ///
    /// # Errors
    /// As for [`Keystore::record_backup`].
    pub fn record_verified_backup(&self, path: &str, verified: Time) -> Result<()> {
        let path = clean(path);
        self.core()?.store.edit_backup_records(|records| {
            let found = records.iter_mut().filter(|record| record.path == path);
            found.for_each(|record| record.verified = Some(verified));
        })
    }

    /// List the recorded backups, oldest first: the last 16. Backups of all processes are recorded next to the
    /// keystore, in `PATH-backups`, or in its database; a `memory:` keystore has no record.
    ///
    /// # Errors
    /// `KeystoreIo` where the record cannot be read; and the [errors of every call](Keystore#errors).
    pub fn backups(&self) -> Result<Vec<Backup>> {
        Ok(self.core()?.store.backup_records()?.into_iter().map(Backup).collect())
    }
}

/// How long a due rotation waits for a backup that has the key's newest version.
#[derive(Debug)]
pub(super) struct BackupWait {
    longest: Duration,
    known: Lock<BackedUp>,
}

impl BackupWait {
    pub fn new(longest: Duration) -> Option<Self> {
        (!longest.is_zero()).then(|| Self { longest, known: Lock::default() })
    }
}

/// What a due rotation has to do with backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackupStatus {
    /// A recorded backup has the newest version, or none has to.
    Covered,
    Wait,
    /// It has waited as long as it may.
    Missing,
}

impl Core {
    pub(super) fn backup_status(&self, key: &Key, now: Time) -> BackupStatus {
        let (Some(wait), Some(primary)) = (&self.backup_wait, key.primary) else { return BackupStatus::Covered };
        if self.is_backed_up(wait, &primary.id) {
            return BackupStatus::Covered;
        }
        let waited = key.next_rotation().map_or(0, |next| now.millis_since(next));
        match u128::try_from(waited).unwrap_or_default() < wait.longest.as_millis() {
            true => BackupStatus::Wait,
            false => BackupStatus::Missing,
        }
    }

    /// Before a pass, in which no other transaction may run.
    pub(super) fn read_backed_up(&self) -> Result<()> {
        let Some(wait) = &self.backup_wait else { return Ok(()) };
        // Read without holding the lock: a transaction of another thread may need it.
        let known = wait.known.lock()?.clone();
        if let Some(newer) = self.store.read_backed_up(&known)? {
            *wait.known.lock()? = newer;
        }
        Ok(())
    }

    fn is_backed_up(&self, wait: &BackupWait, version: &VersionId) -> bool {
        wait.known.lock().is_ok_and(|mut known| self.store.is_backed_up(version, &mut known))
    }
}

/// Refuses a wait for backups that is too long.
pub(super) fn check_backup_wait(longest: Duration) -> Option<Error> {
    (longest > BACKUP_WAIT_MAX).then(|| {
        Status::InvalidArgument.error(format!(
            "a rotation may wait 30 days for a backup, not {} s; pass 0 to 2592000 s",
            longest.as_secs()
        ))
    })
}
