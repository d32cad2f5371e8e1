//! Checks every row of a keystore, and reports each fault with its key.

use std::time::Duration;

use super::Keystore;
use crate::error::{Error, Result, Status};
use crate::store::{Fault, Verifier};
use crate::sys::{stack, sync};

impl Keystore {
    /// Check the whole keystore: that each row is authentic and the newest copy, that no row is missing or added,
    /// that each index is right, that all material can be unsealed, and that each page of the file has one owner.
    ///
    /// Other calls continue meanwhile: the check reads rows for a few milliseconds at a time, and changes wait for
    /// the check of the pages. `visit` is called with each fault, with no lock held; it returns false to end the
    /// check.
    ///
    /// # Errors
    /// `KeystoreCorrupt` with the text of the first fault; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// keystore.verify(|fault| {
    ///     eprintln!("{:?}: {}", fault.key, fault.error);
    ///     true
    /// })?;
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn verify(&self, mut visit: impl FnMut(&Fault) -> bool) -> Result<()> {
        let core = self.core()?;
        let mut verifier = Verifier::default();
        let mut first = None;
        while let Some(faults) = stack::with_stack_wiped(|| core.store.read(|view| verifier.step(view)))? {
            for fault in faults {
                let go_on = visit(&fault);
                first.get_or_insert(fault);
                if !go_on {
                    return verdict(first);
                }
            }
            // SQLite has no queue: without a pause no writer would get the lock.
            sync::sleep(Duration::from_micros(200));
        }
        match core.store.check_pages_owned() {
            Err(error) if error.status() == Status::KeystoreCorrupt => {
                let fault = Fault { key: None, error };
                visit(&fault);
                first.get_or_insert(fault);
            }
            done => done?,
        }
        verdict(first)
    }
}

fn verdict(first: Option<Fault>) -> Result<()> {
    match first {
        None => Ok(()),
        Some(fault) => Err(Error::new(Status::KeystoreCorrupt, fault.error.to_string())),
    }
}
