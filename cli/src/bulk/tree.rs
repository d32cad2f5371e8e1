//! `kms encrypt` and `decrypt` of a folder, into another one with the same tree.

use std::fs;
use std::path::{Path, PathBuf};

use kms::{Error, KeyId, Status, file::FileOptions};
use serde_json::json;

use super::failures::Failures;
use super::inspector::Skipped;
use super::mover::Pairs;
use super::walk::{Step, meant, walk};
use super::{files, interrupted, is_fatal};
use crate::args::{Decrypt, Encrypt};
use crate::data::{self, Place};
use crate::data::{EXTENSION, MOST_CIPHERTEXT};
use crate::exit::{Exit, Failure, Result};
use crate::key::pairs;
use crate::output::count;
use crate::session::Session;
use crate::stream::{Input, SMALL, Watch};

/// What is done with each file.
struct Work<'s> {
    session: &'s Session,
    /// The key to encrypt under; none to decrypt.
    key: Option<KeyId>,
    context: &'s Pairs,
    threads: usize,
    replace: bool,
    watch: Watch,
}

pub fn encrypt(session: &Session, args: &Encrypt, source: &Path, target: &Path) -> Result<()> {
    let key = Some(session.key_to_encrypt(args.key.as_deref())?);
    let work = Work {
        session,
        key,
        context: &args.context.context,
        threads: args.threads,
        replace: args.target.force,
        watch: Watch::items(None),
    };
    work.run(source, target)
}

pub fn decrypt(session: &Session, args: &Decrypt, source: &Path, target: &Path) -> Result<()> {
    let work = Work {
        session,
        key: None,
        context: &args.context.context,
        threads: args.threads,
        replace: args.target.force,
        watch: Watch::items(None),
    };
    work.run(source, target)
}

impl Work<'_> {
    fn run(&self, source: &Path, target: &Path) -> Result<()> {
        let source = meant(source)?;
        let failed = |error: &std::io::Error| Failure::file("writing", target, error);
        fs::create_dir_all(target).map_err(|error| failed(&error))?;
        let real = |path: &Path| path.canonicalize().map_err(|error| failed(&error));
        if source.is_dir() && real(target)?.starts_with(real(&source)?) {
            return Err(Failure::usage(format!("{} is within {}", target.display(), source.display()))
                .next("--output-dir with a folder elsewhere"));
        }
        let (mut done, mut there, mut skipped, mut failures) = (0, 0, Skipped::default(), Failures::default());
        let json = self.session.out.json;
        let end = walk(std::slice::from_ref(&source), &mut |step| {
            if self.watch.is_interrupted() {
                return Err(interrupted("the files that are complete stay"));
            }
            let (path, made) = match step {
                Step::Other => {
                    skipped.other += 1;
                    return Ok(());
                }
                Step::Leftover => {
                    skipped.leftovers += 1;
                    return Ok(());
                }
                Step::Failed { path, failure } => (path, Err(failure)),
                Step::File { path, named } => (path, self.file(&source, target, path, named)),
            };
            match made {
                Ok(Some(true)) => done += 1,
                Ok(Some(false)) => there += 1,
                Ok(None) => skipped.not_encrypted += 1,
                Err(_) if self.watch.is_interrupted() => return Err(interrupted("the files that are complete stay")),
                Err(failure) if is_fatal(&failure) => return Err(failure),
                Err(failure) => failures.add(&path.display(), &failure, json, &self.watch),
            }
            self.watch.show(done + there + failures.count);
            Ok(())
        });
        self.watch.clear();
        let verb = if self.key.is_some() { "Encrypted" } else { "Decrypted" };
        self.session.out.print(
            || json!({ verb: done, "AlreadyThere": there, "Failed": failures.count, "Failures": failures.listed(), "Skipped": skipped.json() }),
            || {
                let already = if there > 0 { format!(", {there} there already") } else { String::new() };
                let notes: String = skipped.notes().iter().map(|note| format!("{note}\n")).collect();
                format!("{} {}{already}\n{notes}", verb.to_lowercase(), count(done, "file"))
            },
        )?;
        end?;
        let all = done + there + failures.count;
        failures.end(all)
    }

    /// Whether the file had to be written; none for one that is not encrypted and cannot be decrypted.
    fn file(&self, source: &Path, target: &Path, path: &Path, named: bool) -> Result<Option<bool>> {
        if self.key.is_none() && !files::is_ciphertext(path, named)? {
            return Ok(None);
        }
        let below = path.strip_prefix(source).ok().filter(|below| !below.as_os_str().is_empty());
        let target = target.join(below.unwrap_or(Path::new(path.file_name().unwrap_or_default())));
        let target = self.named(target);
        if !self.replace && self.is_there(path, &target)? {
            return Ok(Some(false));
        }
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| Failure::file("writing", folder, &error))?;
        match self.key {
            Some(key) => self.encrypt(key, path, target)?,
            None => self.decrypt(path, target)?,
        }
        Ok(Some(true))
    }

    fn named(&self, target: PathBuf) -> PathBuf {
        match self.key {
            Some(_) => {
                let mut name = target.into_os_string();
                name.push(format!(".{EXTENSION}"));
                name.into()
            }
            None if target.extension().is_some_and(|extension| extension == EXTENSION) => target.with_extension(""),
            None => target,
        }
    }

    /// An earlier run may have made it; it is complete, or it would not have its name.
    fn is_there(&self, source: &Path, target: &Path) -> Result<bool> {
        let Ok(found) = target.symlink_metadata() else { return Ok(false) };
        let changed = source.metadata().and_then(|source| Ok((source.modified()?, found.modified()?)));
        match changed {
            Ok((source, made)) if found.is_file() && source <= made => Ok(true),
            _ => Err(Failure::new(Exit::File, "Cli.File", format!("{} exists and is older", target.display()))
                .next("--force to replace what exists")),
        }
    }

    fn step(&self) -> kms::Result<()> {
        match self.watch.is_interrupted() {
            true => Err(Error::new(Status::FileIo, "interrupted")),
            false => Ok(()),
        }
    }

    fn encrypt(&self, key: KeyId, path: &Path, target: PathBuf) -> Result<()> {
        let context = pairs(self.context);
        let mut input = Input::open(Some(path))?;
        if input.is_large()? {
            let step = |_| self.step();
            let options = FileOptions::new().threads(self.threads).replace(self.replace).progress(&step);
            self.session.keystore.encrypt_file(key, path, &target, &context, &options)?;
            return Ok(());
        }
        let blob = self.session.keystore.encrypt(key, &input.bytes(SMALL)?, &context)?;
        Place::File { path: target, replace: self.replace }.write(&blob, data::mode(Some(path)))
    }

    fn decrypt(&self, path: &Path, target: PathBuf) -> Result<()> {
        let context = pairs(self.context);
        let mut input = Input::open(Some(path))?;
        if input.is_encrypted_file()? {
            let step = |_| self.step();
            let options = FileOptions::new().threads(self.threads).replace(self.replace).progress(&step);
            self.session.keystore.decrypt_file(path, &target, &context, &options)?;
            return Ok(());
        }
        let blob = data::ciphertext(input.bytes(MOST_CIPHERTEXT)?);
        let plaintext = self.session.keystore.decrypt(&blob, &context)?;
        Place::File { path: target, replace: self.replace }.write(&plaintext, data::mode(Some(path)))
    }
}
