//! `kms log`: who changed what and when, verifiable.

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use chrono::{TimeDelta, Utc};
use kms::{
    Interval, KeyId, Status, Time,
    change_log::{ListChanges, LoggedChange},
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
    let mut shown = VecDeque::new();
    let mut omitted = 0;
    for change in session.keystore.changes(ListChanges { key, from, to, after: None }) {
        if args.limit > 0 && shown.len() == args.limit {
            shown.pop_front();
            omitted += 1;
        }
        shown.push_back(change?);
    }
    session.out.print(
        || json!({ "Changes": { "Change": shown.iter().map(entry).collect::<Vec<_>>() }, "OmittedCount": omitted }),
        || {
            if shown.is_empty() {
                return "no entries\n".to_owned();
            }
            let mut names = Names::of(session);
            let rows: Vec<_> = shown.iter().map(|change| row(change, &mut names)).collect();
            let older = match omitted {
                0 => String::new(),
                count => format!("and {} before these; --limit 0 shows all\n", entries(count)),
            };
            table(["TIME", "ACTION", "KEY", "BY", "RESULT"], rows) + &older
        },
    )
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
    let which = ListChanges { after: args.after, ..ListChanges::default() };
    let Some(path) = args.file.as_deref().filter(|path| !is_stdin(Some(path))) else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        for change in session.keystore.changes(which) {
            output::finish(writeln!(out, "{}", change?.to_json_line()))?;
        }
        return output::finish(out.flush());
    };
    data::Place::File { path: path.to_owned(), replace: false }.check(true)?;
    let failed = |error: &std::io::Error| Failure::file("writing", path, error);
    let mut file = data::temporary_beside(path)?;
    let (mut count, mut last) = (0, None);
    let mut out = BufWriter::new(file.as_file_mut());
    for change in session.keystore.changes(which) {
        let change = change?;
        writeln!(out, "{}", change.to_json_line()).map_err(|error| failed(&error))?;
        (count, last) = (count + 1, Some(change.generation));
    }
    out.flush().map_err(|error| failed(&error))?;
    drop(out);
    file.as_file().sync_all().map_err(|error| failed(&error))?;
    data::publish(file, path, false)?;
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
