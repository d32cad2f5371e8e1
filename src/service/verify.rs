//! Looks at every row of a keystore and tells what is wrong with which key.

use std::time::Duration;

use super::Keystore;
use crate::error::{Error, Result, Status};
use crate::store::{Fault, Verifier};
use crate::sys::{stack, sync};

impl Keystore {
    /// Checks the whole keystore: that each row is authentic, is the newest copy, is found by each index, that none is
    /// missing and none was added, and that all material can be unsealed. At last checks that each page of the file
    /// belongs to one table or index, or is free. Ok only if all is well.
    ///
    /// It may run beside everything else: it reads rows for a few milliseconds at a time, and changes wait for the check of
    /// the pages. `visit` is told each fault, and ends the walk by returning false; no lock is held while it runs.
    pub fn verify(&self, mut visit: impl FnMut(&Fault) -> bool) -> Result<()> {
        let core = self.core()?;
        let mut verifier = Verifier::default();
        let mut first = None;
        while let Some(faults) = stack::swept(|| core.store.read(|view| verifier.step(view)))? {
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
