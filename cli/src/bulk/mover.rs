//! Re-encrypts ciphertexts one by one, and counts what became of them.

use std::fmt::Display;
use std::io::Write;

use kms::{KeyId, KeyRef, Keystore, Status};
use serde_json::{Value, json};

use super::failures::Failures;
use super::form::Form;
use super::{interrupted, is_fatal};
use crate::exit::{Failure, Result};
use crate::key::pairs;
use crate::output::count;
use crate::session::Session;
use crate::stream::Watch;

/// An encrypted file in memory, as from text; none where it is under the newest version already.
pub fn reencrypt_file(
    session: &Session,
    file: &[u8],
    context: &[(&str, &str)],
    destination: Option<KeyId>,
) -> Result<Option<Vec<u8>>> {
    let failed = |error: std::io::Error| Failure::file("writing", &std::env::temp_dir(), &error);
    // Ciphertext as it was: nothing of it is secret.
    let mut copy = tempfile::NamedTempFile::new().map_err(failed)?;
    copy.write_all(file).map_err(failed)?;
    match session.keystore.reencrypt_file(copy.path(), context, destination.map(KeyRef::from))? {
        true => std::fs::read(copy.path()).map(Some).map_err(failed),
        false => Ok(None),
    }
}

pub fn context_stays() -> Failure {
    Failure::usage("the encryption context of a large file stays")
        .next("kms decrypt, then kms encrypt with the new context")
}

pub type Pairs = Vec<(String, String)>;

pub struct Mover<'s> {
    pub session: &'s Session,
    pub destination: Option<KeyId>,
    /// The part of the encryption context that all have.
    pub context: Pairs,
    /// What takes the place of that part in the results.
    pub new_context: Option<Pairs>,
    pub failures: Failures,
    pub watch: Watch,
    pub moved: u64,
    /// Under the newest version already.
    pub newest: u64,
}

impl Mover<'_> {
    /// What is to be stored instead; none where it is under the newest version already.
    pub fn reencrypt(&self, stored: &[u8]) -> Result<Option<Vec<u8>>> {
        self.reencrypt_with(stored, || Ok(Pairs::new()))
    }

    /// The same, with pairs of the context that only this one has; they are asked for where they are needed.
    pub fn reencrypt_with(&self, stored: &[u8], more: impl FnOnce() -> Result<Pairs>) -> Result<Option<Vec<u8>>> {
        let (form, blob) = Form::decode(stored);
        if Keystore::is_encrypted_file(&blob) {
            self.check_context_stays()?;
            let mut context = pairs(&self.context);
            let more = more()?;
            context.extend(pairs(&more));
            let moved = reencrypt_file(self.session, &blob, &context, self.destination)?;
            return Ok(moved.map(|moved| form.encode(moved)));
        }
        let keystore = &self.session.keystore;
        let info = keystore.inspect(&blob)?;
        let is_newest = info.is_primary && self.destination.is_none_or(|key| key == info.key);
        if is_newest && self.new_context.is_none() {
            return Ok(None);
        }
        let more = more()?;
        let with_more = |fixed: &Pairs| -> Pairs { fixed.iter().chain(&more).cloned().collect() };
        let (source, new) = (with_more(&self.context), with_more(self.new_context.as_ref().unwrap_or(&self.context)));
        let destination = self.destination.map(KeyRef::from);
        match keystore.reencrypt(&blob, &pairs(&source), destination, &pairs(&new)) {
            Ok(moved) => Ok(Some(form.encode(moved))),
            // An earlier run, which was interrupted, has moved it.
            Err(error)
                if error.status() == Status::AuthenticationFailed
                    && is_newest
                    && keystore.decrypt(&blob, &pairs(&new)).is_ok() =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A large file is re-encrypted by its header alone, which a new context would not suit.
    pub fn check_context_stays(&self) -> Result<()> {
        match self.new_context {
            Some(_) => Err(context_stays()),
            None => Ok(()),
        }
    }

    /// Ends the work where it was interrupted; what is done stays.
    pub fn proceed(&self) -> Result<()> {
        match self.watch.is_interrupted() {
            true => {
                Err(interrupted(&format!("{} moved before; the rest is as it was", count(self.moved, "ciphertext"))))
            }
            false => Ok(()),
        }
    }

    /// One is done, for good.
    pub fn done(&mut self, moved: bool) -> Result<()> {
        self.add(u64::from(moved), u64::from(!moved))
    }

    pub fn add(&mut self, moved: u64, newest: u64) -> Result<()> {
        self.moved += moved;
        self.newest += newest;
        self.watch.show(self.total());
        self.proceed()
    }

    /// One cannot be moved and stays as it was.
    pub fn fail(&mut self, place: &dyn Display, failure: Failure) -> Result<()> {
        if is_fatal(&failure) {
            return Err(failure);
        }
        self.failures.add(place, &failure, self.session.out.json, &self.watch);
        self.proceed()
    }

    pub fn total(&self) -> u64 {
        self.moved + self.newest + self.failures.count
    }

    pub fn json(&self) -> Value {
        json!({
            "Moved": self.moved,
            "AlreadyNewest": self.newest,
            "Failed": self.failures.count,
            "Failures": self.failures.listed(),
        })
    }

    pub fn text(&self) -> String {
        let already = match self.newest {
            0 => String::new(),
            newest => format!(", {newest} under the newest version already"),
        };
        format!("moved {}{already}\n", count(self.moved, "ciphertext"))
    }
}
