//! Copies of a keystore at another location, where it is to be used from then on.

use super::Keystore;
use crate::error::Result;
use crate::store::{CopyReport, CopyStep, Location};
use crate::sys::stack;

impl Keystore {
    /// Copy the keystore to a `location` that has none. The copy has the same keys, versions, states, aliases, tags and
    /// dates, and the same root keys open it.
    ///
    /// Other calls and processes continue meanwhile. From file to file the pages are copied, and all keys of the copy are
    /// read. Otherwise all keys are copied, then compared, with a probe of each version. At the end the keystore is locked
    /// for a short time, in which changes wait, until the copy has what changed meanwhile. Later changes are in the keystore
    /// alone: stop the programs that use it, or start them with the copy.
    ///
    /// The copy has its name when it is complete. After a crash, call this again: a copy in a database is continued, one
    /// in a file begun again.
    ///
    /// From file to file the change log is copied too. Any other copy begins its own log, with entries `CopyKeystore`;
    /// export the log before ([`Keystore::export_changes`]).
    ///
    /// # Errors
    /// `KeystoreIo` where the location has a keystore, or cannot be written; `KeystoreCorrupt` for a damaged key;
    /// `InvalidArgument` for a malformed location or `memory:`; `KeystoreBusy` where others hold the lock too long; and the
    /// [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name: &str| folder.path().join(name).display().to_string();
    /// let options = Options::new().root_key(&[7; 32]);
    /// let keystore = Keystore::open(&path("keys.db"), &options.clone().create(true))?;
    /// let key = keystore.create_key(&CreateKey::default())?;
    /// let blob = keystore.encrypt(key, b"4111 1111", &[])?;
    /// let report = keystore.copy(&path("copy.db"), |_| ())?;
    /// assert_eq!(report.versions, 1);
    /// let copy = Keystore::open(&path("copy.db"), &options)?;
    /// assert_eq!(&*copy.decrypt(&blob, &[])?, b"4111 1111");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn copy(&self, location: &str, on_step: impl Fn(CopyStep)) -> Result<CopyReport> {
        let core = self.core()?;
        let location = Location::parse(location)?;
        stack::with_stack_wiped(|| core.store.copy(&location, &|| core.clock.now(), &on_step))
    }
}
