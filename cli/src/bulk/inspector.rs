//! Counts ciphertexts by key and version, and shows the versions that none of them needs.

use std::fmt::Display;

use kms::{
    KeyId, VersionState,
    survey::{Survey, SurveyCount},
};
use serde_json::{Value, json};

use super::failures::Failures;
use super::form::Form;
use super::{interrupted, is_fatal};
use crate::exit::{Failure, Result};
use crate::output::{count, table};
use crate::session::Session;
use crate::stream::Watch;

/// What was passed over.
#[derive(Debug, Default, Clone, Copy)]
pub struct Skipped {
    /// Files that nothing of `kms` is in.
    pub not_encrypted: u64,
    /// Empty cells and NULL.
    pub empty: u64,
    /// Symbolic links, pipes, devices.
    pub other: u64,
    /// Temporary files of a command that was killed.
    pub leftovers: u64,
}

impl Skipped {
    pub fn json(&self) -> Value {
        json!({ "NotEncrypted": self.not_encrypted, "Empty": self.empty, "Links": self.other, "Leftovers": self.leftovers })
    }

    pub fn notes(&self) -> Vec<String> {
        let all = [
            (self.not_encrypted, "file that is not encrypted", "files that are not encrypted"),
            (self.empty, "empty value", "empty values"),
            (self.other, "symbolic link, pipe or device", "symbolic links, pipes or devices"),
            (
                self.leftovers,
                "leftover .kms-* of a command that was killed; remove it",
                "leftovers .kms-* of commands that were killed; remove them",
            ),
        ];
        let shown = all.iter().filter(|(number, _, _)| *number > 0);
        shown.map(|(number, one, many)| format!("skipped {number} {}", if *number == 1 { one } else { many })).collect()
    }
}

pub struct Inspector<'s> {
    session: &'s Session,
    survey: Survey<'s>,
    pub skipped: Skipped,
    pub failures: Failures,
    pub watch: Watch,
    /// Lines of --list, or objects of --json --list.
    list: Option<Vec<Value>>,
    seen: u64,
}

impl<'s> Inspector<'s> {
    pub fn new(session: &'s Session, list: bool) -> Self {
        Self {
            session,
            survey: session.keystore.survey(),
            skipped: Skipped::default(),
            failures: Failures::default(),
            watch: Watch::items(None),
            list: list.then(Vec::new),
            seen: 0,
        }
    }

    /// Counts a ciphertext as it is stored.
    pub fn see(&mut self, place: &dyn Display, stored: &[u8]) -> Result<()> {
        self.proceed()?;
        let (_, blob) = Form::decode(stored);
        match self.survey.add(&blob) {
            Ok((key, version)) => self.show(place, key, &version.to_string()),
            Err(error) => self.failed(place, error.into()),
        }
    }

    pub fn fail(&mut self, place: &dyn Display, failure: Failure) -> Result<()> {
        self.proceed()?;
        self.failed(place, failure)
    }

    pub fn skip(&mut self, which: impl FnOnce(&mut Skipped) -> &mut u64) -> Result<()> {
        *which(&mut self.skipped) += 1;
        if self.watch.is_interrupted() { Err(interrupted("")) } else { Ok(()) }
    }

    fn proceed(&mut self) -> Result<()> {
        if self.watch.is_interrupted() {
            return Err(interrupted("nothing was changed"));
        }
        self.seen += 1;
        self.watch.show(self.seen);
        Ok(())
    }

    fn failed(&mut self, place: &dyn Display, failure: Failure) -> Result<()> {
        if is_fatal(&failure) {
            return Err(failure);
        }
        self.failures.add(place, &failure.inspecting(), self.session.out.json, &self.watch);
        Ok(())
    }

    fn show(&mut self, place: &dyn Display, key: KeyId, version: &str) -> Result<()> {
        let Some(list) = &mut self.list else { return Ok(()) };
        let number = self.session.keystore.describe_key_version(key, version)?.number;
        let name = name(self.session, key)?;
        list.push(json!({ "Place": place.to_string(), "Key": name, "KeyId": key.to_string(), "KeyVersionId": version, "Number": number }));
        Ok(())
    }

    /// All that was seen, in one way or another.
    pub fn total(&self) -> u64 {
        self.seen
    }

    pub fn counts(&self) -> Result<Vec<SurveyCount>> {
        Ok(self.survey.counts()?)
    }

    /// Prints the counts, and ends with the versions that nothing needs.
    pub fn report(self) -> Result<()> {
        self.watch.clear();
        let counts = self.counts()?;
        let mut versions = Vec::new();
        for found in counts.iter().filter(|found| found.count > 0 || found.version.state != VersionState::Destroyed) {
            versions.push(json!({
                "Key": name(self.session, found.key)?,
                "KeyId": found.key.to_string(),
                "KeyVersionId": found.version.id.to_string(),
                "Number": found.version.number,
                "IsPrimary": found.version.is_primary,
                "State": format!("{:?}", found.version.state),
                "Count": found.count,
            }));
        }
        let is_unneeded = |version: &Value| version["Count"] == 0 && version["IsPrimary"] == false;
        let (unneeded, needed): (Vec<Value>, Vec<Value>) = versions.into_iter().partition(is_unneeded);
        let absent = absent(self.session, &counts)?;
        self.session.out.print(
            || {
                let mut all = json!({
                    "Count": self.survey.readable(),
                    "Versions": needed,
                    "Unneeded": unneeded,
                    "AbsentKeys": absent,
                    "Failed": self.failures.count,
                    "Failures": self.failures.listed(),
                    "Skipped": self.skipped.json(),
                });
                if let Some(list) = &self.list {
                    all["Items"] = list.clone().into();
                }
                all
            },
            || self.text(&needed, &unneeded, &absent),
        )?;
        self.failures.end(self.seen)
    }

    fn text(&self, needed: &[Value], unneeded: &[Value], absent: &[String]) -> String {
        let mut shown = String::new();
        if let Some(list) = self.list.as_deref().filter(|list| !list.is_empty()) {
            let line = |item: &Value| ["Place", "Key", "Number"].map(|field| crate::output::text(item, field));
            shown.push_str(&table(["PLACE", "KEY", "VERSION"], list.iter().map(line)));
            shown.push('\n');
        }
        if !needed.is_empty() {
            let row = |version: &Value| {
                let newest = if version["IsPrimary"] == true { "newest" } else { "" };
                let [key, number, count] = ["Key", "Number", "Count"].map(|field| crate::output::text(version, field));
                [key, number, count, newest.to_owned()]
            };
            shown.push_str(&table(["KEY", "VERSION", "COUNT", ""], needed.iter().map(row)));
            shown.push('\n');
        }
        for note in self.skipped.notes() {
            shown.push_str(&format!("{note}\n"));
        }
        if self.failures.count > 0 {
            shown.push_str(&format!("{} could not be read, so what they need is unknown\n", self.failures.count));
        }
        let old: u64 =
            needed.iter().filter(|version| version["IsPrimary"] == false).filter_map(|v| v["Count"].as_u64()).sum();
        if old > 0 {
            shown.push_str(&format!("{} under an old version; kms reencrypt moves them\n", count(old, "ciphertext")));
        }
        if self.survey.readable() == 0 {
            shown.push_str("no ciphertext of this keystore here\n");
            return shown;
        }
        match unneeded {
            [] => shown.push_str("no older version of these keys is without ciphertext here\n"),
            _ => {
                shown.push_str("nothing here needs:\n");
                let mut keys: Vec<(String, Vec<u64>)> = Vec::new();
                for version in unneeded {
                    let (key, number) =
                        (crate::output::text(version, "Key"), version["Number"].as_u64().unwrap_or_default());
                    match keys.last_mut() {
                        Some((last, numbers)) if *last == key => numbers.push(number),
                        _ => keys.push((key, vec![number])),
                    }
                }
                for (key, numbers) in keys {
                    shown.push_str(&format!("  {} version {}\n", crate::output::clean(&key), ranges(&numbers)));
                }
            }
        }
        if !absent.is_empty() {
            shown.push_str(&format!("  any version of {}\n", crate::output::clean(&absent.join(", "))));
        }
        shown.push_str(&self.next(unneeded));
        shown
    }

    /// The trial of each key's versions that nothing needs. What unreadable inputs need is unknown.
    fn next(&self, unneeded: &[Value]) -> String {
        let mut keys: Vec<(String, Vec<String>)> = Vec::new();
        for version in unneeded.iter().filter(|version| version["State"] == "Enabled" && self.failures.count == 0) {
            let [key, number] = ["Key", "Number"].map(|field| crate::output::text(version, field));
            match keys.last_mut() {
                Some((last, numbers)) if *last == key => numbers.push(number),
                _ => keys.push((key, vec![number])),
            }
        }
        let mut shown = String::new();
        for (key, numbers) in keys {
            let numbers = numbers.get(..MOST_NAMED).unwrap_or(&numbers).join(" ");
            let key = crate::output::clean(key.strip_prefix("alias/").unwrap_or(&key));
            let word = if shown.is_empty() { "next, a trial that can be undone:" } else { "and:" };
            shown.push_str(&format!("{word} kms version disable {key} {numbers}\n"));
        }
        shown
    }
}

/// Versions that the next command names, at most.
const MOST_NAMED: usize = 20;
/// Keys that are shown as not occurring, at most.
const MOST_ABSENT: usize = 20;

/// The other keys of the keystore.
fn absent(session: &Session, counts: &[SurveyCount]) -> Result<Vec<String>> {
    let (mut names, mut more) = (Vec::new(), 0_u64);
    for key in session.keystore.keys() {
        let key = key?;
        if counts.iter().any(|found| found.key == key.id) {
            continue;
        }
        match names.len() < MOST_ABSENT || session.out.json {
            true => names.push(name(session, key.id)?),
            false => more += 1,
        }
    }
    if more > 0 {
        names.push(count(more, "other key"));
    }
    Ok(names)
}

/// What people call a key.
pub fn name(session: &Session, key: KeyId) -> Result<String> {
    Ok(session.aliases(key)?.first().cloned().unwrap_or_else(|| key.to_string()))
}

/// `7-5, 3`, of numbers that fall.
fn ranges(numbers: &[u64]) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, end)) if *end == number + 1 => *end = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let shown = parts.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") });
    shown.collect::<Vec<_>>().join(", ")
}
