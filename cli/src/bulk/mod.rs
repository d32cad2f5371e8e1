//! Many ciphertexts: files, folders, columns of CSV and JSON-lines files and of SQLite tables.
//!
//! * `inspector`: counts them. `mover`: re-encrypts them. `failures`: what could not be.
//! * `tree`: encrypts and decrypts whole folders.
//! * `files`, `sqlite`, and `lines` with `csv`, `jsonl` and `record`: where they are. `walk`, `replace`, `form`: what these have in common.

mod csv;
mod failures;
mod files;
mod form;
mod inspector;
mod jsonl;
mod lines;
mod mover;
mod record;
mod replace;
mod sqlite;
pub mod tree;
mod walk;

use std::path::PathBuf;

use kms::{KeyId, KeyState};
use serde_json::{Value, json};

use crate::args::{Columns, Inspect, Reencrypt};
use crate::confirm::confirm;
use crate::exit::{Exit, Failure, Result};
use crate::output::{self, count};
use crate::session::Session;
use crate::stream::Watch;

use failures::Failures;
use inspector::{Inspector, name};
use mover::Mover;
pub use mover::{context_stays, reencrypt_file};
pub use walk::meant;

/// Where ciphertexts are.
enum Source<'a> {
    Files,
    Lines(lines::Kind, &'a str),
    Sqlite(&'a str, PathBuf),
}

impl<'a> Source<'a> {
    fn new(session: &Session, columns: &'a Columns) -> Result<Self> {
        Ok(match columns {
            Columns { csv: Some(column), delimiter, .. } => {
                Self::Lines(lines::Kind::Csv { delimiter: *delimiter }, column)
            }
            Columns { jsonl: Some(field), .. } => Self::Lines(lines::Kind::Jsonl, field),
            Columns { sqlite: Some(column), .. } => {
                Self::Sqlite(column, session.location.keystore()?.without_password())
            }
            _ => Self::Files,
        })
    }

    fn inspect(&self, inspector: &mut Inspector<'_>, files: &[PathBuf]) -> Result<()> {
        match self {
            Self::Files => files::inspect(inspector, files),
            Self::Lines(kind, name) => lines::inspect(inspector, files, *kind, name),
            Self::Sqlite(name, keystore) => sqlite::inspect(inspector, files, name, keystore),
        }
    }

    fn reencrypt(&self, mover: &mut Mover<'_>, files: &[PathBuf], context: &mover::Pairs) -> Result<()> {
        match self {
            Self::Files => files::reencrypt(mover, files),
            Self::Lines(kind, name) => lines::reencrypt(mover, files, *kind, name, context),
            Self::Sqlite(name, keystore) => sqlite::reencrypt(mover, files, name, context, keystore),
        }
    }
}

/// Whether the arguments name more than one ciphertext.
pub fn is_meant(files: &[PathBuf], columns: &Columns) -> bool {
    columns.any() || files.len() > 1 || files.iter().any(|path| path.is_dir())
}

pub fn inspect(session: &Session, args: &Inspect) -> Result<()> {
    let source = Source::new(session, &args.columns)?;
    check(&args.files)?;
    // A user who names files wants to know about each.
    let each = args.list || (!args.columns.any() && !args.files.iter().any(|path| path.is_dir()));
    let mut inspector = Inspector::new(session, each);
    source.inspect(&mut inspector, &args.files)?;
    inspector.report()
}

pub fn reencrypt(session: &Session, args: &Reencrypt) -> Result<()> {
    let source = Source::new(session, &args.columns)?;
    check(&args.files)?;
    if args.target.output.is_some() || args.armor {
        return Err(Failure::usage("--output and --armor are for a single file"));
    }
    let new_context = (!args.new_context.is_empty()).then(|| args.new_context.clone());
    let destination = args.key.as_deref().map(|name| session.key(name)).transpose()?;
    let mut inspector = Inspector::new(session, false);
    inspector.failures.quiet = !args.reviewed.dry_run;
    source.inspect(&mut inspector, &args.files)?;
    inspector.watch.clear();
    let plan = Plan::new(session, &inspector, destination, new_context.is_some())?;
    let (total, skipped, failures) = (inspector.total(), inspector.skipped, std::mem::take(&mut inspector.failures));
    if plan.moves == 0 && failures.count == 0 {
        return session.out.print(
            || json!({ "Planned": plan.json(), "Moved": 0, "AlreadyNewest": plan.newest, "Failed": 0, "Failures": [], "Skipped": skipped.json() }),
            || format!("nothing to move: {} under the newest version already\n", count(plan.newest, "ciphertext")),
        );
    }
    if args.reviewed.dry_run {
        session.out.print(
            || json!({ "Planned": plan.json(), "Failed": failures.count, "Failures": failures.listed(), "Skipped": skipped.json() }),
            || plan.lines(&failures, skipped.notes()).iter().map(|line| format!("{}\n", output::clean(line))).collect::<String>() + "dry run: nothing was changed\n",
        )?;
        return failures.end(total);
    }
    confirm(args.reviewed, &plan.lines(&failures, skipped.notes()))?;
    let mut mover = Mover {
        session,
        destination,
        context: args.context.context.clone(),
        new_context,
        failures: Failures::default(),
        watch: Watch::items(Some(total)),
        moved: 0,
        newest: 0,
    };
    let done = source.reencrypt(&mut mover, &args.files, &args.context_column);
    mover.watch.clear();
    session.out.print(
        || {
            let mut all = mover.json();
            (all["Planned"], all["Skipped"]) = (plan.json(), skipped.json());
            all
        },
        || mover.text(),
    )?;
    done?;
    let total = mover.total();
    mover.failures.end(total)
}

/// What a move would do.
struct Plan {
    moves: u64,
    newest: u64,
    /// Key, version, count, and where to.
    groups: Vec<Value>,
    warnings: Vec<String>,
}

impl Plan {
    /// `all`: also what is under the newest version.
    fn new(session: &Session, inspector: &Inspector<'_>, destination: Option<KeyId>, all: bool) -> Result<Self> {
        let mut plan = Self { moves: 0, newest: 0, groups: Vec::new(), warnings: Vec::new() };
        let mut warned = Vec::new();
        for found in inspector.counts()?.iter().filter(|found| found.count > 0) {
            let to = destination.unwrap_or(found.key);
            if found.version.is_primary && to == found.key && !all {
                plan.newest += found.count;
                continue;
            }
            plan.moves += found.count;
            let newest = session.keystore.describe_key(to)?.primary.map_or(0, |version| version.number);
            plan.groups.push(json!({
                "Key": name(session, found.key)?,
                "Number": found.version.number,
                "Count": found.count,
                "ToKey": name(session, to)?,
                "ToNumber": newest,
            }));
            for key in [found.key, to] {
                let state = session.keystore.describe_key(key)?.state;
                if state != KeyState::Enabled && !warned.contains(&key) {
                    warned.push(key);
                    plan.warnings
                        .push(format!("these will fail, because the key {} is {state:?}", name(session, key)?));
                }
            }
        }
        Ok(plan)
    }

    fn json(&self) -> Value {
        json!({ "Moves": self.moves, "AlreadyNewest": self.newest, "Groups": self.groups })
    }

    fn lines(&self, failures: &Failures, notes: Vec<String>) -> Vec<String> {
        let all = self.moves + self.newest + failures.count;
        let mut lines = vec![format!("would move {} of {}:", self.moves, count(all, "ciphertext"))];
        for group in &self.groups {
            let [key, number, count, to, newest] =
                ["Key", "Number", "Count", "ToKey", "ToNumber"].map(|field| output::text(group, field));
            let to = if to == key { String::new() } else { format!("{to} ") };
            lines.push(format!("  {count} from {key} version {number} to {to}version {newest}"));
        }
        lines.extend(self.warnings.iter().cloned());
        if self.newest > 0 {
            lines.push(format!("{} under the newest version already", self.newest));
        }
        if failures.count > 0 {
            lines.push(format!("{} cannot be read and would be left", failures.count));
        }
        lines.extend(notes);
        lines
    }
}

fn check(files: &[PathBuf]) -> Result<()> {
    match files.iter().any(|path| path.as_os_str() == "-") || files.is_empty() {
        true => Err(Failure::usage("standard input is a single ciphertext; name files or folders")),
        false => Ok(()),
    }
}

/// A failure that is about the keystore, not about one ciphertext.
fn is_fatal(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Keystore | Exit::Internal | Exit::Interrupted)
}

fn interrupted(text: &str) -> Failure {
    let text = if text.is_empty() { "nothing was changed" } else { text };
    Failure::new(Exit::Interrupted, "Cli.Interrupted", format!("interrupted; {text}"))
        .next("the same command continues")
}
