//! `kms timeline`: the versions of a key over time.

mod chart;
mod plain;
mod svg;

use std::path::Path;

use kms::{
    Key, KeyState, KeyVersion, Time, VersionState,
    change_log::{ListChanges, LoggedChange},
};
use serde_json::{Value, json};

use crate::args::Timeline;
use crate::data::{Place, is_stdin};
use crate::exit::Result;
use crate::log::newest;
use crate::output::{self, date, interval};
use crate::session::Session;
use crate::times::{iso, now};
use chart::{Chart, Kind, Lane, Mark, Span};

/// The width of what is no terminal.
const WIDTH: usize = 100;
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;

pub fn run(session: &Session, args: &Timeline) -> Result<()> {
    let place = args.svg.as_deref().map(|path| match is_stdin(Some(path)) {
        true => Place::Stdout,
        false => Place::File { path: path.to_owned(), replace: args.force },
    });
    if let Some(place) = &place {
        place.check(true)?;
    }
    let chart = gather(session, args)?;
    match (&place, &args.svg) {
        (Some(place), Some(path)) => {
            place.write(svg::draw(&chart).as_bytes(), 0o644)?;
            written(session, path)
        }
        _ => session.out.print(
            || as_json(&chart),
            || {
                let size = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
                let is_terminal = output::stdout_is_terminal();
                let width = args.width.or(size.filter(|_| is_terminal)).unwrap_or(WIDTH);
                plain::draw(&chart, width, is_terminal && speaks_utf8())
            },
        ),
    }
}

fn written(session: &Session, path: &Path) -> Result<()> {
    match is_stdin(Some(path)) {
        true => Ok(()),
        false => {
            let shown = path.display().to_string();
            session.out.print(|| json!({ "File": shown }), || format!("wrote {shown}\n"))
        }
    }
}

/// Whether the locale has the characters of a chart.
fn speaks_utf8() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}

fn gather(session: &Session, args: &Timeline) -> Result<Chart> {
    let key = session.keystore.describe_key(session.key(&args.key)?)?;
    let versions = session.keystore.key_versions(key.id).collect::<kms::Result<Vec<_>>>()?;
    let is_meant = |change: &LoggedChange| change.key == Some(key.id) && change.status == 0;
    // Nothing about the key is older than the entry that made it.
    let is_first = |change: &LoggedChange| is_meant(change) && change.action == "CreateKey";
    let found = newest(session, usize::MAX, Some(key.created), is_meant, is_first)?;
    let changes = Vec::from(found.changes);
    let now = now();
    let shown = if args.limit == 0 { versions.len() } else { args.limit.min(versions.len()) };
    let mut lanes = vec![key_lane(&key, &changes, now)];
    for (at, version) in versions.iter().enumerate().take(shown) {
        // Versions are listed newest first.
        let promoted = at.checked_sub(1).and_then(|newer| versions.get(newer)).map(|newer| newer.created);
        lanes.push(version_lane(version, promoted, &changes, now));
    }
    let starts = lanes.iter().skip(1).flat_map(|lane| &lane.spans).map(|span| span.from);
    let from = starts.min().unwrap_or(key.created.millis()).min(now.millis());
    // A date in the far future would leave no room for the past.
    let ahead = ((now.millis() - from) / 2).max(MINUTE_MS);
    let next = key.next_rotation().filter(|_| key.state == KeyState::Enabled);
    let until = lanes.iter().flat_map(|lane| &lane.spans).map(|span| span.to).chain(next.map(Time::millis)).max();
    let to = until.unwrap_or(now.millis()).clamp(now.millis(), now.millis() + ahead);
    let rotation = match (next, key.policy) {
        (Some(next), Some(every)) => {
            let every = interval(&format!("{}s", every.seconds()));
            format!("rotates every {every}, next {}", date(&iso(next)))
        }
        (None, Some(_)) => "rotation is suspended".to_owned(),
        _ => "rotates only by kms key rotate".to_owned(),
    };
    Ok(Chart {
        key: key.id.to_string(),
        title: format!("{}: {:?}, {rotation}", output::clean(&session.named(key.id)), key.state),
        from,
        to: to.max(from + 1),
        now: now.millis(),
        lanes,
        omitted: versions.len() - shown,
        known_from: cut_at(session)?.filter(|time| *time > from),
    })
}

/// Where the log begins, if older entries were cut.
fn cut_at(session: &Session) -> Result<Option<i64>> {
    let oldest = session.keystore.changes(ListChanges::default()).next().transpose()?;
    Ok(oldest.filter(|oldest| oldest.previous_mac != [0; 32]).map(|oldest| oldest.time.millis()))
}

/// The spans between changes of a state, the last of which is `present`: a log that was cut lacks earlier ones.
fn spans(changes: &[(Time, Kind)], present: Kind, end: Time) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (time, kind) in changes {
        match spans.last_mut() {
            Some(last) if last.kind == *kind => continue,
            Some(last) => last.to = time.millis().max(last.from),
            None => {}
        }
        spans.push(Span { from: time.millis(), to: time.millis(), kind: *kind });
    }
    if let Some(last) = spans.last_mut() {
        last.to = end.millis().max(last.from);
        last.kind = present;
    }
    spans
}

fn key_lane(key: &Key, changes: &[LoggedChange], now: Time) -> Lane {
    let kind = |state| match state {
        KeyState::Enabled => Kind::Encrypts,
        KeyState::PendingDeletion => Kind::Pending,
        _ => Kind::Disabled,
    };
    let mut history = vec![(key.created, Kind::Encrypts)];
    history.extend(changes.iter().filter_map(|change| {
        Some((
            change.time,
            match change.action.as_str() {
                "EnableKey" | "CancelKeyDeletion" | "ImportKeyMaterial" | "ImportRawKeyMaterial" => Kind::Encrypts,
                "DisableKey" | "DeleteKeyMaterial" | "DeleteExpiredKeyMaterial" => Kind::Disabled,
                "ScheduleKeyDeletion" => Kind::Pending,
                _ => return None,
            },
        ))
    }));
    let present = kind(key.state);
    let mut spans = spans(&history, present, now);
    waits(&mut spans, key.delete_date(), now);
    let next = key.next_rotation().filter(|_| key.state == KeyState::Enabled);
    let marks = next.map(|next| (next.millis(), Mark::NextRotation)).into_iter().collect();
    Lane { name: "key".to_owned(), state: format!("{:?}", key.state), spans, marks }
}

/// A pending deletion reaches into the future.
fn waits(spans: &mut Vec<Span>, delete: Option<Time>, now: Time) {
    if let Some(date) = delete.filter(|date| *date > now) {
        spans.push(Span { from: now.millis(), to: date.millis(), kind: Kind::Pending });
    }
}

fn version_lane(version: &KeyVersion, replaced: Option<Time>, changes: &[LoggedChange], now: Time) -> Lane {
    let kind = |state| match state {
        VersionState::Enabled if version.is_primary => Kind::Encrypts,
        VersionState::Enabled => Kind::Decrypts,
        VersionState::Disabled => Kind::Disabled,
        VersionState::PendingDeletion => Kind::Pending,
        _ => Kind::Destroyed,
    };
    let mut history = vec![(version.created, Kind::Encrypts)];
    history.extend(replaced.map(|time| (time, Kind::Decrypts)));
    history.extend(changes.iter().filter(|change| change.version == Some(version.id)).filter_map(|change| {
        Some((
            change.time,
            match change.action.as_str() {
                "EnableKeyVersion" => Kind::Decrypts,
                "DisableKeyVersion" | "CancelKeyVersionDeletion" => Kind::Disabled,
                "ScheduleKeyVersionDeletion" => Kind::Pending,
                "DeleteKeyVersion" => Kind::Destroyed,
                _ => return None,
            },
        ))
    }));
    let mut spans = spans(&history, kind(version.state), now);
    waits(&mut spans, version.delete_date, now);
    let marks = [(version.last_encrypt_date, Mark::LastEncrypt), (version.last_decrypt_date, Mark::LastDecrypt)];
    // A day has no time: the mark stands in its middle, and not before the version or after the present.
    let within = |day: Time| {
        (day.millis() + DAY_MS / 2).clamp(version.created.millis(), now.millis().max(version.created.millis()))
    };
    let marks = marks.into_iter().filter_map(|(day, mark)| Some((within(day?), mark))).collect();
    let state = if version.is_primary { "primary".to_owned() } else { format!("{:?}", version.state) };
    Lane { name: format!("version {}", version.number), state, spans, marks }
}

fn as_json(chart: &Chart) -> Value {
    let time = |millis: i64| iso(Time::from_millis(millis));
    let lanes: Vec<Value> = chart
        .lanes
        .iter()
        .map(|lane| {
            let spans: Vec<Value> = lane
                .spans
                .iter()
                .map(|span| json!({ "Kind": format!("{:?}", span.kind), "From": time(span.from), "To": time(span.to) }))
                .collect();
            let marks: Vec<Value> =
                lane.marks.iter().map(|(at, mark)| json!({ "Kind": format!("{mark:?}"), "Time": time(*at) })).collect();
            json!({ "Name": lane.name, "State": lane.state, "Spans": spans, "Marks": marks })
        })
        .collect();
    json!({ "KeyId": chart.key, "Title": chart.title, "From": time(chart.from), "To": time(chart.to),
        "Now": time(chart.now), "Lanes": lanes, "OmittedCount": chart.omitted })
}
