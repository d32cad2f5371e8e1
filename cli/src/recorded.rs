//! Which backups were made: KEYSTORE-backups, a file beside the keystore, by which `kms status` knows what no backup has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kms::Keystore;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::suffixed;
use crate::data::Place;
use crate::exit::{Failure, Result};

/// How many backups are remembered.
const MOST: usize = 16;

/// One backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    pub path: String,
    pub creation_date: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_date: Option<String>,
    pub generation: u64,
    /// The newest version of each key. Versions are never reused, so it says which ones the backup has.
    pub primaries: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Records {
    backups: Vec<Record>,
}

impl Record {
    pub fn new(path: &str, manifest: &Value) -> Self {
        let newest =
            |key: &Value| Some((key["KeyId"].as_str()?.to_owned(), key["KeyVersionIds"][0].as_str()?.to_owned()));
        Self {
            path: path.to_owned(),
            creation_date: manifest["CreationDate"].as_str().unwrap_or_default().to_owned(),
            verified_date: None,
            generation: manifest["Generation"].as_u64().unwrap_or_default(),
            primaries: manifest["Keys"].as_array().into_iter().flatten().filter_map(newest).collect(),
        }
    }
}

fn beside(keystore: &Path) -> PathBuf {
    suffixed(keystore, "-backups")
}

/// The recorded backups, oldest first. A damaged record is none: it only costs a warning.
pub fn all(keystore: &Path) -> Vec<Record> {
    let text = std::fs::read_to_string(beside(keystore)).unwrap_or_default();
    serde_json::from_str::<Records>(&text).unwrap_or_default().backups
}

pub fn add(keystore: &Path, record: Record) -> Result<()> {
    let mut backups = all(keystore);
    backups.retain(|known| known.path != record.path);
    backups.push(record);
    let surplus = backups.len().saturating_sub(MOST);
    backups.drain(..surplus);
    write(keystore, backups)
}

pub fn mark_verified(keystore: &Path, path: &str, date: &str) -> Result<()> {
    let mut backups = all(keystore);
    let Some(record) = backups.iter_mut().find(|record| record.path == path) else { return Ok(()) };
    record.verified_date = Some(date.to_owned());
    write(keystore, backups)
}

fn write(keystore: &Path, backups: Vec<Record>) -> Result<()> {
    let text = serde_json::to_vec(&Records { backups }).map_err(|error| Failure::usage(error.to_string()))?;
    Place::File { path: beside(keystore), replace: true }.write(&text, 0o600)
}

/// How many keys have versions that no recorded backup has.
pub fn uncovered(keystore: &Keystore, backups: &[Record]) -> Result<u64> {
    let mut count = 0;
    for key in keystore.keys() {
        let Ok(key) = key else { continue };
        let Some(primary) = key.primary else { continue };
        let (id, version) = (key.id.to_string(), primary.id.to_string());
        let covered = backups.iter().any(|record| record.primaries.get(&id) == Some(&version));
        count += u64::from(!covered);
    }
    Ok(count)
}
