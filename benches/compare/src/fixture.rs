//! The keystore of a million keys that several groups measure; made once in a run.

use std::ffi::{c_char, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::kms::{CreateKey, ID, Id, Keystore, Settings};
use crate::measure::wall;

/// All keys of the fixture are due this long after `created_ms`.
pub const INTERVAL_S: i64 = 24 * 3600;
/// The most that one call makes.
pub const BATCH: usize = 1000;

static NOW_MS: AtomicI64 = AtomicI64::new(0);

/// Stands still until `set_clock` moves it.
pub unsafe extern "C" fn clock(_: *mut c_void) -> i64 {
    NOW_MS.load(Ordering::Relaxed)
}

pub fn set_clock(ms: i64) {
    NOW_MS.store(ms, Ordering::Relaxed);
}

#[derive(Serialize, Deserialize)]
pub struct Fixture {
    /// Distinguishes the runs.
    run: String,
    pub path: PathBuf,
    pub count: usize,
    pub created_ms: i64,
    /// Keys a second, if the library creates them in batches.
    pub batch_rate: Option<f64>,
    pub file_bytes: u64,
}

/// kms_create_keys: `count` keys in one transaction, their ids one after the other.
pub type CreateKeys = unsafe extern "C" fn(*const c_void, *const CreateKey, usize, *mut c_char) -> i32;

impl Fixture {
    pub fn get(bench: &Bench) -> Result<Self, String> {
        let run = std::env::var("BENCH_RUN").unwrap_or_default();
        let note = bench.data.join("fixture.json");
        let known = fs::read(&note).ok().and_then(|json| serde_json::from_slice::<Self>(&json).ok());
        let count = bench.effort.pick(1_000_000, 20_000);
        if let Some(known) = known.filter(|known| !run.is_empty() && known.run == run && known.count == count) {
            return Ok(known);
        }
        let fixture = Self::make(bench, run, count)?;
        let json = serde_json::to_vec(&fixture).map_err(|e| e.to_string())?;
        fs::write(note, json).map_err(|e| e.to_string())?;
        Ok(fixture)
    }

    fn make(bench: &Bench, run: String, count: usize) -> Result<Self, String> {
        let path = bench.data.join("million.db");
        remove(&path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
        let created_ms = now.as_millis() as i64;
        set_clock(created_ms);
        let mut ids: Vec<Id> = vec![[0; ID]; count];
        let mut batch_rate = None;
        match bench.library.object.address(c"kms_create_keys") {
            Some(address) => {
                let create: CreateKeys = unsafe { std::mem::transmute(address) };
                let kms = create_keystore(bench, &path)?;
                let (seconds, result) =
                    wall(|| ids.chunks_mut(BATCH).try_for_each(|ids| create_batch(create, &kms, INTERVAL_S, ids)));
                result?;
                batch_rate = Some(count as f64 / seconds);
            }
            None => {
                // One commit each would take a quarter of an hour on a disk.
                let folder = tempfile::tempdir_in("/dev/shm").map_err(|e| format!("/dev/shm: {e}"))?;
                let quick = folder.path().join("million.db");
                let kms = create_keystore(bench, &quick)?;
                for id in &mut ids {
                    *id = kms.create_key(INTERVAL_S)?;
                }
                drop(kms);
                fs::copy(&quick, &path).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        let bytes: Vec<u8> = ids.iter().flatten().map(|&c| c as u8).collect();
        fs::write(ids_of(&path), bytes).map_err(|e| e.to_string())?;
        crate::process::evict(&path)?;
        let file_bytes = fs::metadata(&path).map_err(|e| e.to_string())?.len();
        Ok(Self { run, path, count, created_ms, batch_rate, file_bytes })
    }
}

/// One call of kms_create_keys.
pub fn create_batch(create: CreateKeys, kms: &Keystore, interval_s: i64, ids: &mut [Id]) -> Result<(), String> {
    let options = CreateKey::rotating(interval_s);
    let status = unsafe { create(kms.handle(), &options, ids.len(), ids.as_mut_ptr().cast()) };
    if status == 0 { Ok(()) } else { Err(format!("kms_create_keys: status {status}")) }
}

fn create_keystore(bench: &Bench, path: &Path) -> Result<Keystore, String> {
    let settings = Settings { create: true, clock: Some(clock), ..Settings::default() };
    Keystore::open(bench.library, &path.to_string_lossy(), settings)
}

/// The file with the ids of the keys in the keystore at `path`, `ID` bytes each.
pub fn ids_of(path: &Path) -> PathBuf {
    path.with_extension("ids")
}

pub fn read_ids(path: &Path) -> Result<Vec<Id>, String> {
    let bytes = fs::read(ids_of(path)).map_err(|e| e.to_string())?;
    let id = |chunk: &[u8]| std::array::from_fn(|i| chunk[i] as c_char);
    Ok(bytes.chunks_exact(ID).map(id).collect())
}

/// Removes a keystore and the files next to it.
pub fn remove(path: &Path) {
    let Some((folder, name)) = path.parent().zip(path.file_name()) else { return };
    let name = name.to_string_lossy();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
