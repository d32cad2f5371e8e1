//! Plays a sequence: after each operation the keystore and the model must agree in answer and state.

use super::answers::Answer;
use super::carry_out::{Expected, Given};
use super::compare::{compare, same};
use super::keystore::{TestKeystore, header};
use super::operations::{Operation, Sequence};
use super::rules::{Refusal, Rules};
use kms::change_log::ListChanges;
use serde_json::Value;

/// How often something was tried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    pub sequences: u64,
    pub operations: u64,
    pub refused: u64,
    pub reopened: u64,
    pub rotated: u64,
    pub destroyed: u64,
}

impl std::ops::AddAssign for Tried {
    fn add_assign(&mut self, more: Self) {
        self.sequences += more.sequences;
        self.operations += more.operations;
        self.refused += more.refused;
        self.reopened += more.reopened;
        self.rotated += more.rotated;
        self.destroyed += more.destroyed;
    }
}

/// The first disagreement, or the counts of the run.
pub fn play(sequence: &Sequence, rules: &Rules) -> Result<Tried, String> {
    let mut keystore = TestKeystore::new(sequence.file, sequence.rsa_keys, rules.clone());
    let mut tried = Tried { sequences: 1, ..Tried::default() };
    let mut seen = Seen::of(&keystore)?;
    for (number, step) in sequence.steps.iter().enumerate() {
        let last = number + 1 == sequence.steps.len();
        let at = keystore.now();
        seen = play_step(&mut keystore, &step.operation, step.json, last, seen, &mut tried)
            .map_err(|why| format!("step {}, {:?}, at {at}:\n  {why}", number + 1, step.operation))?;
    }
    Ok(tried)
}

fn play_step(
    keystore: &mut TestKeystore,
    operation: &Operation,
    json: bool,
    all: bool,
    before: Seen,
    tried: &mut Tried,
) -> Result<Seen, String> {
    tried.operations += 1;
    tried.reopened += u64::from(matches!(operation, Operation::Reopen) && keystore.rows.is_some());
    let model = keystore.model.clone();
    let versions = |keystore: &TestKeystore| keystore.model.keys.values().map(|key| key.versions.len()).sum::<usize>();
    let versions_before = versions(keystore);
    let (both, page) = keystore.carry_out(operation, json);
    if let Some((Err(_), _)) = &both {
        keystore.model = model;
        tried.refused += 1;
    }
    tried.rotated += versions(keystore).saturating_sub(versions_before) as u64;
    tried.destroyed += u64::from(matches!(&both, Some((Ok(Answer::TickReport(ticked)), _)) if ticked.destroyed > 0));
    if let Some((expected, given)) = &both {
        same_end(keystore, expected, given)?;
    }
    let after = Seen::of(keystore)?;
    compare(keystore, all)?;
    if matches!(both, Some((Err(_), _))) {
        same("every row but the log's, of which none was to change", &after.rows, &before.rows)?;
        match (before.log, after.log) {
            (Some(before), Some(after)) => {
                same("entries of changes in the log, after a refused call", after.changes, before.changes)?;
                same("at most one refusal is logged", after.refusals <= before.refusals + 1, true)?;
            }
            _ => only_refusals_since(keystore, before.generation)?,
        }
    } else if operation.only_looks() && !matches!(operation, Operation::Reopen) {
        // A handle that is closed stores the dates of uses.
        same("everything in the keystore, of which nothing was to change", &after, &before)?;
    }
    if let Some((Ok(expected), Ok(given))) = both {
        let expected = expected.with_ids(&keystore.model);
        match given {
            Answer::Json(given) => {
                same("answer", without_version_states(given), expected.in_json(&keystore.model, page, keystore.now()))?
            }
            given => same("answer", given, expected)?,
        }
    }
    keep_fresh_blobs(keystore)?;
    Ok(after)
}

/// A refused call leaves one entry in the change log at most, and changes nothing else.
fn only_refusals_since(keystore: &TestKeystore, generation: u64) -> Result<(), String> {
    let mut entries = 0;
    for entry in keystore.kms().changes(ListChanges { after: Some(generation), ..ListChanges::default() }) {
        let entry = entry.map_err(|error| format!("the change log: {error}"))?;
        if entry.status == 0 {
            return Err(format!("a refused call left a change in the log: {entry:?}"));
        }
        entries += 1;
    }
    same("at most one refusal is logged", entries <= 1, true)
}

/// Everything that a read-only call must leave unchanged, beyond what `compare` checks.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Grows with every change.
    generation: u64,
    /// Without the log and the description, which has the log's end.
    rows: Option<Vec<String>>,
    /// Of several shards, whose log is listed shard by shard, so that new entries are not at its end.
    log: Option<LogCount>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct LogCount {
    changes: usize,
    refusals: usize,
}

impl LogCount {
    fn of(keystore: &TestKeystore) -> Result<Self, String> {
        let mut count = Self { changes: 0, refusals: 0 };
        for entry in keystore.kms().changes(ListChanges::default()) {
            match entry.map_err(|error| format!("the change log: {error}"))?.status {
                0 => count.changes += 1,
                _ => count.refusals += 1,
            }
        }
        Ok(count)
    }
}

impl Seen {
    fn of(keystore: &TestKeystore) -> Result<Self, String> {
        let health = keystore.kms().health().map_err(|error| format!("health: {error}"))?;
        let is_sharded = keystore.rows.is_none() && std::env::var_os("KMS_TEST_POSTGRES").is_some();
        let log = is_sharded.then(|| LogCount::of(keystore)).transpose()?;
        Ok(Self { generation: health.generation, rows: keystore.rows.as_ref().map(|rows| rows.all()), log })
    }
}

/// An answer without the fields that the model lacks, because its versions have no states.
fn without_version_states(mut answer: Value) -> Value {
    if let Some(version) = answer.get_mut("KeyVersion") {
        strip(version);
    }
    if let Some(versions) = answer.pointer_mut("/KeyVersions/KeyVersion").and_then(Value::as_array_mut) {
        versions.iter_mut().for_each(strip);
    }
    answer
}

fn strip(version: &mut Value) {
    let members = version.as_object_mut().expect("a version is an object");
    for name in ["KeyVersionState", "DeleteDate", "LastEncryptDate", "LastDecryptDate"] {
        assert!(members.remove(name).is_some(), "{name} is missing");
    }
}

/// Both succeeded, or both were refused for the same reason.
fn same_end(keystore: &TestKeystore, expected: &Expected, given: &Given) -> Result<(), String> {
    match (expected, given) {
        (Ok(_), Ok(_)) => return Ok(()),
        (Err(refusal), Err(number)) if refusal.members().iter().any(|member| member.listed().0 == *number) => {}
        _ => same("how it ended", format!("{given:?}"), format!("{expected:?}"))?,
    }
    if let (Err(refusal), Err(number), Some(body)) = (expected, given, &keystore.error_body) {
        let listed = refusal.members().iter().map(Refusal::listed);
        let (_, code, http) = listed.into_iter().find(|(listed, ..)| listed == number).unwrap();
        let body: Value = serde_json::from_str(body).map_err(|error| format!("{body}: {error}"))?;
        same("Code", body["Code"].as_str(), Some(code))?;
        same("HttpStatus", body["HttpStatus"].as_i64(), Some(http))?;
        same("there is a Message", body["Message"].as_str().is_some_and(|text| !text.is_empty()), true)?;
        same("there is a RequestId", body["RequestId"].as_str().is_some_and(|text| text.len() == 36), true)?;
    }
    Ok(())
}

fn keep_fresh_blobs(keystore: &mut TestKeystore) -> Result<(), String> {
    for (blob, sealed) in std::mem::take(&mut keystore.fresh_blobs) {
        let named = (sealed.key.clone(), keystore.model.version_id(&sealed.key, sealed.version));
        same("key and version in the ciphertext", header(&blob), named)?;
        keystore.blobs.push((blob, sealed));
    }
    Ok(())
}
