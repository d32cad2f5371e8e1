//! The change log as JSON lines: written, and checked afterwards.
//!
//! A line has the fields of an entry and both of its MACs, so an open keystore can verify that the lines come from it,
//! unaltered, in order and without a gap.

use std::io::{BufRead, Read, Write};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::{Keystore, ListChanges};
use crate::domain::id::{ChangeId, KeyId, VersionId};
use crate::domain::log::{Actor, LoggedChange};
use crate::domain::time::Time;
use crate::error::{Error, Result, Status};

/// Most bytes of a line that is read; a written one is far below.
const LINE_MAX: usize = 16 * 1024;
/// Lines that are checked in one read of the keystore.
const BATCH: usize = 256;

/// What [`Keystore::export_changes`] wrote, or [`Keystore::verify_changes`] found in an exported change log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// How many entries there are.
    pub entries: u64,
    /// The generation of the first entry; `None` without one.
    pub first: Option<u64>,
    /// The generation of the last entry.
    pub last: Option<u64>,
    /// Whether the first entry is the first of the keystore's history: nothing is missing before it.
    pub from_start: bool,
    /// How many entries the keystore has after the last one. `None` if the keystore lacks the last one: it was restored from
    /// an older backup.
    pub newer: Option<u64>,
}

impl ExportReport {
    fn take(&mut self, change: &LoggedChange) {
        if self.first.is_none() {
            self.first = Some(change.generation);
            self.from_start = change.previous_mac == [0; 32];
        }
        self.entries += 1;
        self.last = Some(change.generation);
    }
}

impl LoggedChange {
    /// Return the entry as one line of JSON without its end, as [`Keystore::export_changes`] writes it.
    pub fn to_json_line(&self) -> String {
        Value::Object(entry(self)).to_string()
    }
}

impl Keystore {
    /// Write the entries of the change log after the generation `after` as JSON lines, oldest first, and report them. `None`
    /// writes all.
    ///
    /// To continue an export, pass [`ExportReport::last`]. The log is checked as it is read.
    ///
    /// # Errors
    /// `FileIo` if `lines` cannot be written; `KeystoreCorrupt` for a log that was altered; and the other [errors of every
    /// call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// keystore.create_key(&CreateKey::default())?;
    /// let mut lines = Vec::new();
    /// assert_eq!(keystore.export_changes(None, &mut lines)?.entries, 1);
    /// assert_eq!(keystore.verify_changes(&lines[..])?.newer, Some(0));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn export_changes(&self, after: Option<u64>, mut lines: impl Write) -> Result<ExportReport> {
        let mut report = ExportReport { newer: Some(0), ..ExportReport::default() };
        for change in self.changes(ListChanges { after, ..ListChanges::default() }) {
            let change = change?;
            let mut line = change.to_json_line();
            line.push('\n');
            lines.write_all(line.as_bytes()).map_err(|error| unwritten(&error))?;
            report.take(&change);
        }
        lines.flush().map_err(|error| unwritten(&error))?;
        Ok(report)
    }

    /// Check that exported lines are entries of this keystore, unaltered, in order and without a gap.
    ///
    /// The report says whether entries are missing before the first line or after the last. The entries need not be in the
    /// keystore any more ([`Keystore::cut_changes`]).
    ///
    /// # Errors
    /// `AuthenticationFailed` names the first line that is altered, moved, or follows a missing one; `InvalidArgument` for a
    /// line that is no entry; `FileIo` if `lines` cannot be read; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, Status};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// keystore.create_key(&CreateKey::default())?;
    /// let mut lines = Vec::new();
    /// keystore.export_changes(None, &mut lines)?;
    /// let altered = String::from_utf8(lines).unwrap().replace("CreateKey", "DeleteKey");
    /// assert_eq!(keystore.verify_changes(altered.as_bytes()).unwrap_err().status(), Status::AuthenticationFailed);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn verify_changes(&self, mut lines: impl BufRead) -> Result<ExportReport> {
        let core = self.core()?;
        let mut report = ExportReport::default();
        let mut last: Option<LoggedChange> = None;
        loop {
            let batch = read_batch(&mut lines, report.entries)?;
            let mut authentic = batch.len();
            core.store.read(|view| {
                for (at, change) in batch.iter().enumerate() {
                    if !view.is_authentic(change)? {
                        authentic = at;
                        break;
                    }
                }
                Ok(())
            })?;
            let is_last = batch.len() < BATCH;
            for (at, change) in batch.into_iter().enumerate() {
                report.take(&change);
                if at >= authentic {
                    return Err(altered(report.entries, &change));
                }
                if let Some(before) = &last {
                    check_order(report.entries, before, &change)?;
                }
                last = Some(change);
            }
            if is_last {
                break;
            }
        }
        if let Some(last) = last {
            report.newer = core.store.read(|view| view.entries_after(&last))?;
        }
        Ok(report)
    }
}

fn read_batch(lines: &mut impl BufRead, before: u64) -> Result<Vec<LoggedChange>> {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line);
        match read {
            Err(error) => return Err(Status::FileIo.error(format!("the exported change log cannot be read: {error}"))),
            Ok(0) => break,
            Ok(_) => {}
        }
        let number = before + batch.len() as u64 + 1;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        batch.push(parse(text).ok_or_else(|| no_entry(number))?);
    }
    Ok(batch)
}

fn check_order(line: u64, before: &LoggedChange, change: &LoggedChange) -> Result<()> {
    if before.generation.checked_add(1) != Some(change.generation) {
        return Err(Status::AuthenticationFailed.error(format!(
            "line {line} of the exported change log is entry {} and follows entry {}: entries are missing or out of order",
            change.generation, before.generation
        )));
    }
    if before.mac != change.previous_mac {
        return Err(Status::AuthenticationFailed.error(format!(
            "line {line} of the exported change log, entry {}, does not follow the line before: they are of two histories of \
             the keystore",
            change.generation
        )));
    }
    Ok(())
}

#[cold]
fn altered(line: u64, change: &LoggedChange) -> Error {
    Status::AuthenticationFailed.error(format!(
        "line {line} of the exported change log, entry {}, was altered or is of another keystore",
        change.generation
    ))
}

#[cold]
fn no_entry(line: u64) -> Error {
    Status::InvalidArgument
        .error(format!("line {line} is no entry of a change log; pass what export_changes or `kms log export` wrote"))
}

#[cold]
fn unwritten(error: &std::io::Error) -> Error {
    Status::FileIo.error(format!("the change log cannot be exported: {error}"))
}

/// ISO 8601, UTC, with milliseconds; a time beyond the years 1 to 9999 is the nearest in them.
fn date(time: Time) -> String {
    const MIN_DATE: i64 = -62_135_596_800_000;
    let shown = time.millis().clamp(MIN_DATE, Time::MAX_DATE.millis());
    DateTime::from_timestamp_millis(shown).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An entry as an object.
pub(super) fn entry(change: &LoggedChange) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    put("Generation", change.generation.into());
    put("EventId", change.id.to_string().into());
    put("EventName", change.action.as_str().into());
    put("EventTime", date(change.time).into());
    put("EventTimeMs", change.time.millis().into());
    put("BootTimeMs", change.boot_ms.into());
    let Actor { process_id, user_id, program, label } = &change.actor;
    let mut identity = json!({ "ProcessId": process_id, "UserId": user_id, "Program": program });
    if let (Some(label), Value::Object(identity)) = (label, &mut identity) {
        identity.insert("Actor".into(), label.as_str().into());
    }
    put("UserIdentity", identity);
    if let Some(key) = change.key {
        put("KeyId", key.to_string().into());
    }
    if let Some(version) = change.version {
        put("KeyVersionId", version.to_string().into());
    }
    put("Count", change.count.into());
    put("Status", change.status.into());
    if let Some(status) = Status::from_number(change.status) {
        put("ErrorCode", status.code().into());
    }
    put("RefusalsOmitted", change.refusals_omitted.into());
    if let Some(waited) = change.waited_ms {
        put("WaitedMs", waited.into());
    }
    put("Mac", hex(&change.mac).into());
    put("PreviousMac", hex(&change.previous_mac).into());
    shown
}

/// The entry of a line; `None` unless the line is exactly what [`entry`] makes of it.
fn parse(line: &[u8]) -> Option<LoggedChange> {
    let line: Value = (line.len() <= LINE_MAX).then(|| serde_json::from_slice(line).ok())??;
    let shown = line.as_object()?;
    let text = |name: &str| shown.get(name).and_then(Value::as_str);
    let number = |name: &str| shown.get(name).and_then(Value::as_u64);
    let signed = |name: &str| shown.get(name).and_then(Value::as_i64);
    let identity = shown.get("UserIdentity")?.as_object()?;
    let id = |name: &str| u32::try_from(identity.get(name)?.as_u64()?).ok();
    let change = LoggedChange {
        generation: number("Generation")?,
        id: ChangeId::parse(text("EventId")?)?,
        time: Time::from_millis(signed("EventTimeMs")?),
        boot_ms: signed("BootTimeMs")?,
        actor: Actor {
            process_id: id("ProcessId")?,
            user_id: id("UserId")?,
            program: identity.get("Program")?.as_str()?.to_owned(),
            label: identity.get("Actor").and_then(Value::as_str).map(str::to_owned),
        },
        action: text("EventName")?.to_owned(),
        key: text("KeyId").and_then(KeyId::parse),
        version: text("KeyVersionId").and_then(VersionId::parse),
        count: number("Count")?,
        status: i32::try_from(signed("Status")?).ok()?,
        refusals_omitted: number("RefusalsOmitted")?,
        waited_ms: signed("WaitedMs"),
        mac: bytes(text("Mac")?)?,
        previous_mac: bytes(text("PreviousMac")?)?,
    };
    // Every field that is read by people stands in the MAC, or follows from one that does.
    (entry(&change) == *shown).then_some(change)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).map(char::from).collect()
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
