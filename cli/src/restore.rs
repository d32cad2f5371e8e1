//! `kms restore`: a checked backup takes the place of a keystore, which is kept under another name.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kms::{Keystore, Options};
use serde_json::json;

use crate::args::{Global, Restore};
use crate::backup::{check_sum, open_copy, suffixed};
use crate::confirm::confirm;
use crate::data::is_stdin;
use crate::exit::{Exit, Failure, Result};
use crate::keystore_location::KeystoreLocation;
use crate::location::Location;
use crate::output::{self, Output};
use crate::step::reached;
use crate::work::WorkFolder;

pub fn run(global: &Global, args: &Restore) -> Result<()> {
    let location = Location::find(global)?;
    let named = location.keystore().map_err(|failure| {
        // Does not suggest a new keystore, which would be in the way.
        failure.next(format!("kms restore {} --keystore keys.db, or another path", output::shown(Some(&args.backup))))
    });
    let named = named?;
    if named.is_database() {
        return into_database(global, args, &location, named);
    }
    let target = named.file()?.to_owned();
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |doing: &'static str, path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Failure::file(doing, &path, &error)
    };
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Failure::new(Exit::File, "Cli.File", format!("there is no folder {folder} to restore into"))
            .next(format!("mkdir -p {folder}")));
    }
    if !is_stdin(Some(&args.backup)) {
        check_sum(&args.backup)?;
    }
    // In the keystore's folder, so that one rename puts the copy in place.
    let work = WorkFolder::new(folder, ".kms-restore-")?;
    let copy = work.path().join("keys.db");
    copy_to(&args.backup, &copy)?;
    let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
    let opened = open_copy(&copy, &options)?;
    opened.verify(|_| true).map_err(|error| Failure::from(error).of_file(&args.backup))?;
    let (keys, generation) = (opened.keys().count(), opened.health()?.generation);
    drop(opened);

    let exists = target.exists();
    let aside = aside(&target);
    let users = users(&target);
    if !users.is_empty() && !args.force {
        return Err(Failure::new(
            Exit::Keystore,
            "Keystore.InUse",
            format!("{} is in use by {}", target.display(), users.join(", ")),
        )
        .next("stop these programs first; --force restores all the same"));
    }
    let mut plan = vec![format!(
        "put {} ({}, generation {generation}) at {}",
        output::shown(Some(&args.backup)),
        output::count(keys as u64, "key"),
        target.display()
    )];
    if exists {
        plan.push(format!("keep the present keystore as {}", aside.display()));
        plan.push("versions that were made after the backup are then only in that file".to_owned());
    }
    if let Some(anchor) = &location.anchor {
        plan.push(format!("reset the anchor {}, which would refuse an older copy", anchor.display()));
    }
    if !confirm(args.reviewed, &plan)? {
        return Ok(());
    }
    reached("restore: copied");
    if exists {
        keep(&target, &aside, work.path())?;
        sync(folder)?;
    }
    reached("restore: former one kept");
    let generations = suffixed(&target, "-gen");
    if generations.exists() {
        std::fs::remove_file(&generations).map_err(failed("removing", &generations))?;
    }
    // Played into the backup, the journal of the former keystore would damage it. Without its journal, the former one is
    // damaged. So it goes first: in between, there is no keystore, and none can be made while a journal exists.
    let journal = suffixed(&target, "-journal");
    if journal.metadata().is_ok_and(|found| found.len() > 0) {
        if exists {
            std::fs::remove_file(&target).map_err(failed("moving", &target))?;
            sync(folder)?;
        }
        reached("restore: only the journal left");
        let kept = suffixed(&aside, "-journal");
        match kept.exists() {
            true => std::fs::remove_file(&journal).map_err(failed("moving", &journal))?,
            // What a killed restore left.
            false => std::fs::rename(&journal, &kept).map_err(failed("moving", &journal))?,
        }
        sync(folder)?;
        reached("restore: nothing left");
    }
    let placed = match target.exists() {
        // It has its second name.
        true => std::fs::rename(&copy, &target),
        // Not over a keystore that another process made meanwhile.
        false => tempfile::TempPath::try_from_path(&copy)
            .and_then(|copy| copy.persist_noclobber(&target).map_err(Into::into)),
    };
    placed.map_err(failed("writing", &target))?;
    sync(folder)?;
    reached("restore: placed");
    if let Some(anchor) = &location.anchor {
        let empty = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(anchor);
        empty.and_then(|file| file.sync_all()).map_err(failed("resetting", anchor))?;
    }
    Keystore::open(&target.display().to_string(), &location.anchored(options))?;
    Output { json: global.json }.print(
        || json!({ "Keystore": target.display().to_string(), "Generation": generation, "KeyCount": keys, "Before": exists.then(|| aside.display().to_string()) }),
        || {
            let kept = if exists { format!("; the former one is {}", aside.display()) } else { String::new() };
            let keys = output::count(keys as u64, "key");
            let option = match &global.keystore {
                Some(named) => format!(" --keystore {named}"),
                None => String::new(),
            };
            let path = target.display();
            format!("restored {path} ({keys}, generation {generation}){kept}\nnext: kms status{option}\n")
        },
    )
}

/// Copies the backup to a new name in the database; no keystore is replaced, since programs on other hosts may have it open.
fn into_database(global: &Global, args: &Restore, location: &Location, target: &KeystoreLocation) -> Result<()> {
    let work = WorkFolder::new(&std::env::temp_dir(), ".kms-restore-")?;
    let copy = work.path().join("keys.db");
    if !is_stdin(Some(&args.backup)) {
        check_sum(&args.backup)?;
    }
    copy_to(&args.backup, &copy)?;
    let options = location.root.set(Options::new().actor(&global.actor).rotation_thread(false))?;
    let opened = Keystore::open(&copy.display().to_string(), &options)?;
    opened.verify(|_| true).map_err(|error| Failure::from(error).of_file(&args.backup))?;
    let keys = output::count(opened.keys().count() as u64, "key");
    let plan = [format!("put {} ({keys}) at {target}, which must have no keystore", output::shown(Some(&args.backup)))];
    if !confirm(args.reviewed, &plan)? {
        return Ok(());
    }
    reached("restore: copied");
    let report = opened.copy(&target.unredacted(), |_| ()).map_err(|error| {
        Failure::from(error).next("name a new keystore after the # of the location, and start the programs with it")
    })?;
    reached("restore: placed");
    Output { json: global.json }.print(
        || json!({ "Keystore": target.to_string(), "KeyCount": report.keys, "KeyVersionCount": report.versions }),
        || format!("restored {target} ({keys})\nnext: kms status --keystore '{target}'\n"),
    )
}

/// The name under which the present keystore is kept. A killed restore may have renamed it already.
fn aside(target: &Path) -> PathBuf {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = suffixed(Path::new(target.file_name().unwrap_or_default()), "-before-");
    let pair = |path: &Path| (id(path), id(&suffixed(path, "-journal")));
    let present = pair(target);
    let former = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(prefix.as_os_str().as_encoded_bytes()) && present.0.is_some() && pair(path) == present
    });
    former.unwrap_or_else(|| suffixed(target, &format!("-before-{}", chrono::Utc::now().format("%Y%m%dT%H%M%S%.3f"))))
}

/// Which file this is, by any name.
fn id(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().map(|found| (found.dev(), found.ino())).ok()
}

/// Link the keystore and its journal under second names. Both pairs are complete until the first names go.
fn keep(target: &Path, aside: &Path, work: &Path) -> Result<()> {
    let link = |from: &Path, to: &Path| {
        let kept = match std::fs::hard_link(from, to) {
            // A killed restore has linked it.
            Err(_) if id(from).is_some() && id(from) == id(to) => Ok(()),
            // Not every file system has hard links.
            Err(_) => copied(from, to, &work.join("kept")),
            linked => linked,
        };
        kept.map_err(|error| Failure::file("keeping the present keystore as", to, &error))
    };
    let journal = suffixed(target, "-journal");
    if journal.exists() {
        link(&journal, &suffixed(aside, "-journal"))?;
    }
    link(target, aside)
}

/// A copy that has its name when it is complete.
fn copied(from: &Path, to: &Path, temporary: &Path) -> std::io::Result<()> {
    std::fs::copy(from, temporary)?;
    File::open(temporary)?.sync_all()?;
    tempfile::TempPath::try_from_path(temporary)?.persist_noclobber(to).map_err(Into::into)
}

fn copy_to(backup: &Path, copy: &Path) -> Result<()> {
    let mut source: Box<dyn Read> = match is_stdin(Some(backup)) {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(backup).map_err(|error| Failure::file("reading", backup, &error))?),
    };
    let written =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).and_then(|mut file| {
            std::io::copy(&mut source, &mut file)?;
            file.sync_all()
        });
    written.map_err(|error| Failure::file("copying the backup to", copy, &error))
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Failure::file("writing into", folder, &error))
}

/// The processes that have the keystore open, as far as this user may see them.
fn users(target: &Path) -> Vec<String> {
    let Ok(target) = std::fs::canonicalize(target) else { return Vec::new() };
    let me = std::process::id().to_string();
    let entries = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for process in entries(PathBuf::from("/proc")) {
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid == me || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        if entries(process.path().join("fd")).any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == target)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (process {pid})", output::clean(name.trim_end())));
        }
    }
    found
}
