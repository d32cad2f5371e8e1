//! Surveys: count blobs by key and version, and find the versions that none of them needs.

use std::collections::HashMap;
use std::fmt;

use super::{KeyVersion, Keystore};
use crate::crypto::blob::Blob;
use crate::crypto::file_header::{self, FileHeader};
use crate::domain::id::{KeyId, VersionId};
use crate::error::{Result, Status};
use crate::sys::{fork, memory};

/// Ids that the keystore does not have are remembered up to this number; blobs choose them.
const MOST_UNKNOWN: usize = 1 << 16;

/// How many blobs of a [`Survey`] are under one version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SurveyCount {
    /// The key.
    pub key: KeyId,
    /// One of its versions, as it is now.
    pub version: KeyVersion,
    /// Number of blobs under this version. 0: no blob of the survey needs it.
    pub count: u64,
}

/// What a survey cannot count by version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// Bytes that are no blob.
    pub malformed: u64,
    /// Blobs whose key this keystore does not have.
    pub unknown_key: u64,
    /// Blobs whose key this keystore has, but not the version.
    pub unknown_version: u64,
}

impl Unreadable {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.malformed + self.unknown_key + self.unknown_version
    }
}

/// What the keystore has for the ids in a header.
#[derive(Debug, Clone, Copy)]
enum Sight {
    /// The place of the count.
    Known(usize),
    Unknown(Status),
}

/// A count of blobs by key and version, made by [`Keystore::survey`].
///
/// A survey reads headers, as [`Keystore::inspect`] does: nothing is decrypted or authenticated. It keeps nothing of
/// the blobs, so it may run over any number of them.
pub struct Survey<'a> {
    keystore: &'a Keystore,
    tally: Tally,
}

/// The process that a survey belongs to: what a forked child counted would be missing in its parent's counts.
#[derive(Debug, Clone, Copy)]
pub struct SurveyProcess(u64);

impl SurveyProcess {
    /// Return this process.
    #[allow(clippy::new_without_default, reason = "a value of this process is no default")]
    pub fn new() -> Self {
        Self(fork::epoch())
    }

    /// Check that this is still the process.
    ///
    /// # Errors
    /// `Forked` in a child.
    pub fn check(self) -> Result<()> {
        if self.0 == fork::epoch() {
            return Ok(());
        }
        Err(Status::Forked.error("a survey belongs to the process that made it; begin a new one after fork"))
    }
}

/// What a survey has counted, without its keystore.
pub(crate) struct Tally {
    process: SurveyProcess,
    sights: HashMap<(KeyId, VersionId), Sight>,
    counts: Vec<(KeyId, VersionId, u64)>,
    /// The place of the last count: neighbours tend to be under the same version.
    last: usize,
    unknown: usize,
    unreadable: Unreadable,
}

impl fmt::Debug for Survey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { counts, unreadable, .. } = &self.tally;
        f.debug_struct("Survey").field("versions", &counts.len()).field("unreadable", unreadable).finish()
    }
}

impl Keystore {
    /// Begin a survey: feed it blobs, then ask which versions they need.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let rows = [keystore.encrypt(key, b"one", &[])?, keystore.encrypt(key, b"two", &[])?];
    /// keystore.rotate(key)?;
    /// let mut survey = keystore.survey();
    /// for row in &rows {
    ///     survey.add(row)?;
    /// }
    /// let counts = survey.counts()?;
    /// assert_eq!(counts.iter().map(|found| (found.version.number, found.count)).collect::<Vec<_>>(), [(2, 0), (1, 2)]);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn survey(&self) -> Survey<'_> {
        Survey { keystore: self, tally: Tally::new() }
    }
}

impl Survey<'_> {
    /// Count a blob, or an encrypted file by its first [`Keystore::FILE_HEADER_BYTES`] bytes. Returns the key and version
    /// that it needs.
    ///
    /// The keystore is asked when a version occurs for the first time.
    ///
    /// # Errors
    /// `MalformedCiphertext`, `KeyNotFound` and `KeyVersionNotFound` count the blob as [`Survey::unreadable`]. `Forked` in
    /// a child of the process that began the survey. Any other error is one [of every call](Keystore#errors), and the blob is not counted.
    pub fn add(&mut self, blob: &[u8]) -> Result<(KeyId, VersionId)> {
        self.tally.add(self.keystore, blob)
    }

    /// What could not be counted by version.
    pub fn unreadable(&self) -> Unreadable {
        self.tally.unreadable
    }

    /// Number of blobs that were counted by version.
    pub fn readable(&self) -> u64 {
        self.tally.counts.iter().map(|(_, _, count)| count).sum()
    }

    /// Every version of each key that occurred, newest first, with its number of blobs.
    ///
    /// A version with a count of 0 that is not the primary is needed by nothing in the survey. A key that did not occur
    /// is not listed.
    ///
    /// # Errors
    /// `KeyNotFound` for a key that was destroyed meanwhile; `Forked` as for [`Survey::add`]; and the [errors of every call](Keystore#errors).
    pub fn counts(&self) -> Result<Vec<SurveyCount>> {
        self.tally.counts(self.keystore)
    }
}

impl Tally {
    fn new() -> Self {
        let (process, unreadable) = (SurveyProcess::new(), Unreadable::default());
        Self { process, sights: HashMap::new(), counts: Vec::new(), last: 0, unknown: 0, unreadable }
    }

    /// Fails where the handle cannot be used.
    #[cfg(feature = "capi")]
    pub(crate) fn begin(keystore: &Keystore) -> Result<Self> {
        keystore.core().map(|_| Self::new())
    }

    /// Fails in a forked child.
    #[cfg(feature = "capi")]
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check()
    }

    /// Counts a blob: [`Survey::add`].
    pub(crate) fn add(&mut self, keystore: &Keystore, blob: &[u8]) -> Result<(KeyId, VersionId)> {
        self.process.check()?;
        match self.find(keystore, blob) {
            Ok(at) => {
                let (key, version, count) = self.counts.get_mut(at).ok_or_else(memory::out_of_memory)?;
                *count += 1;
                self.last = at;
                Ok((*key, *version))
            }
            Err(error) => {
                match error.status() {
                    Status::MalformedCiphertext => self.unreadable.malformed += 1,
                    Status::KeyNotFound => self.unreadable.unknown_key += 1,
                    Status::KeyVersionNotFound => self.unreadable.unknown_version += 1,
                    _ => {}
                }
                Err(error)
            }
        }
    }

    /// What could not be counted by version.
    #[cfg(feature = "capi")]
    pub(crate) fn unreadable(&self) -> Unreadable {
        self.unreadable
    }

    /// The counts of the versions that the keystore has now: [`Survey::counts`].
    pub(crate) fn counts(&self, keystore: &Keystore) -> Result<Vec<SurveyCount>> {
        self.process.check()?;
        let mut keys: Vec<KeyId> = memory::list(self.counts.len())?;
        keys.extend(self.counts.iter().map(|(key, _, _)| *key));
        keys.sort_unstable();
        keys.dedup();
        let mut all = Vec::new();
        for key in keys {
            for version in keystore.key_versions(key) {
                let version = version?;
                let count = match self.sights.get(&(key, version.id)) {
                    Some(Sight::Known(at)) => self.counts.get(*at).map_or(0, |(_, _, count)| *count),
                    _ => 0,
                };
                all.try_reserve(1).map_err(|_| memory::out_of_memory())?;
                all.push(SurveyCount { key, version, count });
            }
        }
        Ok(all)
    }

    /// The place of the count for what protects a blob.
    fn find(&mut self, keystore: &Keystore, bytes: &[u8]) -> Result<usize> {
        let header = match file_header::has_magic(bytes) {
            true => {
                let header = bytes.first_chunk().ok_or_else(file_header::not_a_file)?;
                Blob::parse(FileHeader::parse(header)?.slot.blob)?.header
            }
            false => Blob::parse(bytes)?.header,
        };
        let ids = (header.key, header.version);
        if let Some((key, version, _)) = self.counts.get(self.last)
            && (*key, *version) == ids
        {
            return Ok(self.last);
        }
        match self.sights.get(&ids) {
            Some(Sight::Known(at)) => Ok(*at),
            // A blob is made after its version, so an unknown version stays unknown.
            Some(Sight::Unknown(status)) => Err(status.error("as for an earlier blob of the survey")),
            None => self.first_sight(keystore, ids),
        }
    }

    #[cold]
    fn first_sight(&mut self, keystore: &Keystore, ids: (KeyId, VersionId)) -> Result<usize> {
        self.sights.try_reserve(1).map_err(|_| memory::out_of_memory())?;
        self.counts.try_reserve(1).map_err(|_| memory::out_of_memory())?;
        let found = keystore.check_version(&ids.0, &ids.1);
        let sight = match &found {
            Ok(_) => Sight::Known(self.counts.len()),
            Err(error) if matches!(error.status(), Status::KeyNotFound | Status::KeyVersionNotFound) => {
                self.unknown += 1;
                Sight::Unknown(error.status())
            }
            Err(_) => return found.map(|_| 0),
        };
        if matches!(sight, Sight::Known(_)) || self.unknown <= MOST_UNKNOWN {
            self.sights.insert(ids, sight);
        }
        found?;
        self.counts.push((ids.0, ids.1, 0));
        Ok(self.counts.len() - 1)
    }
}
