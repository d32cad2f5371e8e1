//! `kms log`: who changed what and when, verifiable.

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, BufWriter};
use std::path::Path;

use chrono::{TimeDelta, Utc};
use kms::{
    Interval, KeyId, Status, Time,
    change_log::{ExportReport, ListChanges, LoggedChange},
};
use serde_json::{Value, json};

use crate::args::{LogCommand, LogCut, LogExport, LogShow};
use crate::confirm::confirm;
use crate::data::{self, is_stdin};
use crate::exit::{Exit, Failure, Result};
use crate::key::parse_date;
use crate::output::{self, date, table};
use crate::session::Session;
use crate::times::iso;

/// After this many older entries in a row, all others are assumed to be older than the date too.
const OLDER: u64 = 4096;

pub fn run(session: &Session, command: &LogCommand) -> Result<()> {
    match command {
        LogCommand::Show(args) => show(session, args),
        LogCommand::Verify { file: None } => verify(session),
        LogCommand::Verify { file: Some(file) } => verify_file(session, file),
        LogCommand::Export(args) => export(session, args),
        LogCommand::Cut(args) => cut(session, args),
    }
}

fn show(session: &Session, args: &LogShow) -> Result<()> {
    let key = args.key.as_deref().map(|name| KeyId::parse(name).map_or_else(|| session.key(name), Ok)).transpose()?;
    let (from, to) = (args.from.as_deref().map(past).transpose()?, args.to.as_deref().map(past).transpose()?);
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let is_meant = |change: &LoggedChange| {
        key.is_none_or(|key| change.key == Some(key))
            && from.is_none_or(|from| change.time >= from)
            && to.is_none_or(|to| change.time < to)
    };
    let Newest { changes: shown, is_all } = newest(session, limit, from, is_meant, |_| false)?;
    // For a part of the log, counting the others would mean reading all of it.
    let omitted = match is_all || shown.is_empty() {
        true => Some(0),
        false if (key, from, to) == (None, None, None) => {
            Some(session.keystore.count_changes()?.saturating_sub(shown.len() as u64))
        }
        false => None,
    };
    session.out.print(
        || json!({ "Changes": { "Change": shown.iter().map(entry).collect::<Vec<_>>() }, "OmittedCount": omitted }),
        || {
            if shown.is_empty() {
                return "no entries\n".to_owned();
            }
            let mut names = Names::of(session);
            let rows: Vec<_> = shown.iter().map(|change| row(change, &mut names)).collect();
            let older = match omitted {
                Some(0) => String::new(),
                Some(count) => format!("and {} before these; --limit 0 shows all\n", entries(count)),
                None => "and older ones; --limit 0 shows all\n".to_owned(),
            };
            table(["TIME", "ACTION", "KEY", "BY", "RESULT"], rows) + &older
        },
    )
}

/// The newest entries that are meant, oldest first.
pub struct Newest {
    pub changes: VecDeque<LoggedChange>,
    /// Whether no older entry is meant.
    pub is_all: bool,
}

/// Reads the log from its end back: until there are `limit` entries, after `is_first`, or when thousands of entries in a row
/// are from before `from`. One such entry alone does not end it, because clocks are set back.
pub fn newest(
    session: &Session,
    limit: usize,
    from: Option<Time>,
    is_meant: impl Fn(&LoggedChange) -> bool,
    is_first: impl Fn(&LoggedChange) -> bool,
) -> Result<Newest> {
    let (mut changes, mut older) = (VecDeque::new(), 0);
    for change in session.keystore.newest_changes() {
        let change = change?;
        older = if from.is_some_and(|from| change.time < from) { older + 1 } else { 0 };
        let is_last = older == OLDER || is_first(&change);
        if is_meant(&change) {
            // One more shows that there are more.
            if changes.len() == limit {
                return Ok(Newest { changes, is_all: false });
            }
            changes.push_front(change);
        }
        if is_last {
            break;
        }
    }
    Ok(Newest { changes, is_all: true })
}

/// What keys are called, each read once.
pub struct Names<'s> {
    session: &'s Session,
    known: HashMap<KeyId, String>,
}

impl<'s> Names<'s> {
    pub fn of(session: &'s Session) -> Self {
        Self { session, known: HashMap::new() }
    }

    fn get(&mut self, key: KeyId) -> String {
        let session = self.session;
        let named = || match session.aliases(key) {
            Ok(aliases) if !aliases.is_empty() => aliases.join(", "),
            _ => key.to_string(),
        };
        self.known.entry(key).or_insert_with(named).clone()
    }
}

/// An entry for people: time, action, key, who, result.
pub fn row(change: &LoggedChange, names: &mut Names<'_>) -> [String; 5] {
    let key = match change.key {
        Some(key) => names.get(key),
        None if change.action == "CutChanges" => entries(change.count),
        None if change.count > 1 => output::count(change.count, "key"),
        None => String::new(),
    };
    let actor = &change.actor;
    let who = actor.label.as_deref().unwrap_or(&actor.program);
    let mut result = match Status::from_number(change.status) {
        _ if change.status == 0 => "done".to_owned(),
        Some(status) => status.code().to_owned(),
        None => format!("status {}", change.status),
    };
    if change.refusals_omitted > 0 {
        result.push_str(&format!("; {} refusals before it not logged", change.refusals_omitted));
    }
    [
        output::moment(change.time.millis()),
        change.action.clone(),
        key,
        format!("{who} (user {}, process {})", actor.user_id, actor.process_id),
        result,
    ]
}

fn entries(count: u64) -> String {
    output::counted(count, "entry", "entries")
}

/// An entry with the field names of the service.
pub fn entry(change: &LoggedChange) -> Value {
    serde_json::from_str(&change.to_json_line()).unwrap_or_default()
}

/// Reads all of the log, which checks it.
fn verify(session: &Session) -> Result<()> {
    let (mut count, mut first, mut last, mut from_start) = (0, None, None, false);
    for change in session.keystore.changes(ListChanges::default()) {
        let change = change?;
        if first.is_none() {
            (first, from_start) = (Some(change.time), change.previous_mac == [0; 32]);
        }
        (count, last) = (count + 1, Some((change.generation, change.time)));
    }
    let generation = last.map(|(generation, _)| generation);
    session.out.print(
        || {
            json!({ "TotalCount": count, "Generation": generation, "FromStart": from_start,
                "FirstTime": first.map(iso), "LastTime": last.map(|(_, time)| iso(time)) })
        },
        || match (first, last) {
            (Some(first), Some((generation, last))) => {
                let start = if from_start { "the whole history" } else { "older ones were cut" };
                let (first, last) = (date(&iso(first)), date(&iso(last)));
                format!("the log is good: {}, {first} to {last}, {start}; generation {generation}\n", entries(count))
            }
            _ => "the log is good: no entries\n".to_owned(),
        },
    )
}

/// Each line must be an entry that this keystore wrote, unaltered, and follow the line before; cut entries are such too.
fn verify_file(session: &Session, file: &Path) -> Result<()> {
    let source: Box<dyn std::io::Read> = match is_stdin(Some(file)) {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(file).map_err(|error| Failure::file("reading", file, &error))?),
    };
    let report = session.keystore.verify_changes(BufReader::new(source)).map_err(|error| {
        let failure = Failure::from(error).of_file(Path::new(&output::shown(Some(file))));
        if failure.exit == Exit::Usage {
            failure.next("kms log export FILE")
        } else {
            Failure { next: None, ..failure }
        }
    })?;
    session.out.print(
        || {
            json!({ "TotalCount": report.entries, "FirstGeneration": report.first, "Generation": report.last,
                "FromStart": report.from_start, "NewerCount": report.newer })
        },
        || {
            let newer = match (report.newer, report.last) {
                (Some(newer), _) => format!("the log has {newer} newer"),
                (None, None) => "none to compare".to_owned(),
                (None, Some(_)) => "the keystore is an older copy: it lacks the last of them".to_owned(),
            };
            format!("the file is good: {}; {newer}\n", entries(report.entries))
        },
    )
}

fn export(session: &Session, args: &LogExport) -> Result<()> {
    let Some(path) = args.file.as_deref().filter(|path| !is_stdin(Some(path))) else {
        session.keystore.export_changes(args.after, BufWriter::new(output::Pipe))?;
        return Ok(());
    };
    data::Place::File { path: path.to_owned(), replace: false }.check(true)?;
    let failed = |error: &std::io::Error| Failure::file("writing", path, error);
    let mut file = data::NewFile::beside(path)?;
    let done = session.keystore.export_changes(args.after, BufWriter::new(&mut file));
    let ExportReport { entries: count, last, .. } = done.map_err(|error| Failure::from(error).of_file(path))?;
    file.file().sync_all().map_err(|error| failed(&error))?;
    file.publish(path, false)?;
    session.out.print(
        || json!({ "File": path.display().to_string(), "TotalCount": count, "Generation": last }),
        || {
            let next = last.map(|last| format!("next: kms log export FILE --after {last}, to continue it later\n"));
            format!("wrote {}, {}\n{}", path.display(), entries(count), next.unwrap_or_default())
        },
    )
}

fn cut(session: &Session, args: &LogCut) -> Result<()> {
    let before = past(&args.before)?;
    let (mut count, mut first) = (0_u64, None);
    for change in session.keystore.changes(ListChanges::default()) {
        let change = change?;
        if change.time >= before {
            break;
        }
        first = first.or(Some(change.time));
        count += 1;
    }
    let until = date(&iso(before));
    if let Some(first) = first {
        let plan = [
            format!("remove {} of the change log, {} to {until}", entries(count), date(&iso(first))),
            "They cannot be brought back. To keep a copy: kms log export FILE".to_owned(),
        ];
        if !confirm(args.reviewed, &plan)? {
            return Ok(());
        }
    }
    let cut = match first {
        Some(_) if !args.reviewed.dry_run => session.keystore.cut_changes(before)?,
        _ => 0,
    };
    session.out.print(
        || json!({ "CutCount": cut }),
        || match cut {
            0 => format!("no entries before {until}; nothing was changed\n"),
            cut => format!("removed {}; next: kms log verify\n", entries(cut)),
        },
    )
}

/// A date; an interval such as `7d` is that long ago.
fn past(text: &str) -> Result<Time> {
    match Interval::parse(text) {
        Ok(interval) if text.ends_with(['d', 'h', 'm', 's']) => {
            Ok(Time::from_millis((Utc::now() - TimeDelta::seconds(interval.seconds())).timestamp_millis()))
        }
        _ => parse_date(text),
    }
}
