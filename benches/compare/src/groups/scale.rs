//! A keystore of a million keys, and a key of ten thousand versions: opening, using, creating, memory.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use crate::bench::Bench;
use crate::fixture::{BATCH, CreateKeys, Fixture, create_batch, read_ids, remove};
use crate::kms::{ID, Id, Keystore, Settings};
use crate::measure::{Random, median, minimum, pin, quantile, thread_time, wall};
use crate::process::{evict, resident};
use crate::section::{Bar, Kind, Limit, Plot, Promise, Section, Table, digits, time};
use crate::types::OVERHEAD;

const BYTES: usize = 64;
const HOT: usize = 1000;
/// The library's default.
const CACHE: usize = 32_768;
const LARGE_CACHE: usize = 100_000;
/// About what a key's row and its version's take.
const ROW: usize = 333;

type Figures = BTreeMap<String, f64>;

pub fn run(bench: &Bench) -> Result<Section, String> {
    let fixture = Fixture::get(bench)?;
    let path = fixture.path.to_string_lossy().into_owned();
    let opens = |cold: bool| -> Result<Vec<Figures>, String> {
        let mut all = Vec::new();
        for nth in 0..bench.effort.pick(9, 3) {
            if cold {
                evict(&fixture.path)?;
            }
            all.push(in_child(bench, &["open", &path, &(nth * 101 % fixture.count).to_string()])?);
        }
        Ok(all)
    };
    let warm_up = opens(false)?;
    let (cold, warm) = (opens(true)?, opens(false)?);
    drop(warm_up);
    let touches = bench.effort.pick(fixture.count, 4000).to_string();
    let small = in_child(bench, &["touch", &path, &CACHE.to_string(), &touches])?;
    let touches = bench.effort.pick(300_000, 4000).to_string();
    let large = in_child(bench, &["touch", &path, &LARGE_CACHE.to_string(), &touches])?;
    let (creates, batches) = creating(bench)?;
    let versions = many_versions(bench)?;

    let of = |all: &[Figures], name: &str| median(all.iter().map(|figures| figures[name]));
    let worst = |all: &[Figures], name: &str| quantile(all.iter().map(|figures| figures[name]), 1.0);
    let keys = digits(fixture.count as f64);
    let mut absent = Vec::new();
    let mut promises = vec![
        Promise {
            what: format!("open a keystore of {keys} keys"),
            limit: Limit::AtMost(50.0),
            unit: "ms".to_owned(),
            measured: of(&cold, "open_ns") / 1e6,
            figures: format!(
                "median of {} with nothing of the file in memory, slowest {}; {} with it",
                cold.len(),
                time(worst(&cold, "open_ns")),
                time(of(&warm, "open_ns"))
            ),
        },
        Promise {
            what: format!("resident memory of a process that has opened {keys} keys"),
            limit: Limit::AtMost(32.0),
            unit: "MiB".to_owned(),
            measured: of(&cold, "resident_mib"),
            figures: format!(
                "program and library included; {} MiB before the call",
                digits(of(&cold, "resident_before_mib"))
            ),
        },
        Promise {
            what: "first encrypt after it".to_owned(),
            limit: Limit::AtMost(10.0),
            unit: "ms".to_owned(),
            measured: of(&cold, "first_ns") / 1e6,
            figures: format!(
                "slowest {}; {} with the file in memory",
                time(worst(&cold, "first_ns")),
                time(of(&warm, "first_ns"))
            ),
        },
        Promise {
            what: format!("memory after touching {} keys at random", digits(small["touches"])),
            limit: Limit::AtMost(CACHE as f64),
            unit: "keys in memory, as configured".to_owned(),
            measured: small["cached"],
            figures: format!(
                "{} MiB more than before; with a cache of {}: {} MiB after {} keys",
                digits(small["grown_mib"]),
                digits(LARGE_CACHE as f64),
                digits(large["grown_mib"]),
                digits(large["touches"])
            ),
        },
        Promise {
            what: "create keys, one per commit".to_owned(),
            limit: Limit::AtLeast(0.8),
            unit: "x a bare SQLite insert per commit".to_owned(),
            measured: creates.ratio,
            figures: format!("{} against {} a second", digits(creates.ours), digits(creates.bare)),
        },
    ];
    if let Some(batches) = &batches {
        promises.push(Promise {
            what: "create keys, in batches of 1,000".to_owned(),
            limit: Limit::AtLeast(0.8),
            unit: "x bare SQLite inserts, 1,000 per commit".to_owned(),
            measured: batches.ratio,
            figures: format!("{} against {} a second", digits(batches.ours), digits(batches.bare)),
        });
    }
    match fixture.batch_rate {
        Some(rate) => promises.push(Promise {
            what: "create keys, in batches".to_owned(),
            limit: Limit::AtLeast(50_000.0),
            unit: "keys/s".to_owned(),
            measured: rate,
            figures: format!("{keys} keys in calls of 1,000, on the disk"),
        }),
        None => absent.push("keys in batches: this libkms has no kms_create_keys".to_owned()),
    }

    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let tables = vec![
        Table {
            caption: format!("A keystore of {keys} keys ({} MB)", digits(fixture.file_bytes as f64 / 1e6)),
            head: vec!["".to_owned(), "file not in memory".to_owned(), "file in memory".to_owned()],
            rows: [
                ("kms_open", "open_ns"),
                ("first encrypt", "first_ns"),
                ("second encrypt, another key", "second_ns"),
            ]
            .map(|(name, figure)| {
                let cell = |all: &[Figures]| {
                    let least = minimum(all.iter().map(|figures| figures[figure]));
                    format!("{} / {}", time(least), time(of(all, figure)))
                };
                vec![name.to_owned(), cell(&cold), cell(&warm)]
            })
            .to_vec(),
        },
        Table {
            caption: format!("Encrypting {BYTES} bytes under its keys"),
            head: ["", "cache of 32,768 keys", "cache of 100,000 keys"].map(str::to_owned).to_vec(),
            rows: vec![
                both("hot set of 1,000 keys at random, per message", &small, &large, |f| time(f["hot_ns"])),
                both("all keys at random, per message (wall)", &small, &large, |f| time(f["all_ns"])),
                both("the same, CPU time", &small, &large, |f| time(f["all_cpu_ns"])),
                both("messages of that pass", &small, &large, |f| digits(f["touches"])),
                both("memory added by it (without pages of files)", &small, &large, |f| {
                    format!("{} MiB", digits(f["grown_mib"]))
                }),
                both("resident at its end", &small, &large, |f| format!("{} MiB", digits(f["resident_mib"]))),
                both("keys in memory then", &small, &large, |f| digits(f["cached"])),
            ],
        },
        Table {
            caption: "Creating keys, per second".to_owned(),
            head: vec![String::new(), "per second".to_owned()],
            rows: [
                Some(row("kms_create_key, one per commit", digits(creates.ours))),
                Some(row("bare SQLite insert of 333 bytes, one per commit", digits(creates.bare))),
                batches
                    .as_ref()
                    .map(|all| row("kms_create_keys, 1,000 per call, in turn with the next", digits(all.ours))),
                batches.as_ref().map(|all| row("bare SQLite inserts of 333 bytes, 1,000 per commit", digits(all.bare))),
                fixture.batch_rate.map(|rate| row("kms_create_keys, 1,000 per call, a million keys", digits(rate))),
                Some(row("kms_rotate, one per commit", digits(versions["rotate_rate"]))),
            ]
            .into_iter()
            .flatten()
            .collect(),
        },
        Table {
            caption: format!("A key of {} versions", digits(versions["versions"])),
            head: vec![String::new(), "measured".to_owned()],
            rows: vec![
                row("kms_open", time(versions["open_ns"])),
                row("first encrypt", time(versions["first_ns"])),
                row("decrypt under a version not used before, per message", time(versions["old_ns"])),
                row("decrypt under versions used before, per message", time(versions["again_ns"])),
                row("resident at the end", format!("{} MiB", digits(versions["resident_mib"]))),
            ],
        },
    ];
    let bar = |name: &str, value: f64, label: String, ours| Bar { name: name.to_owned(), value, label, ours };
    let rate = |name: &str, value: f64, ours| bar(name, value, digits(value), ours);
    let took = |name: &str, ns: f64| bar(name, ns / 1e3, time(ns), true);
    let mut rates = vec![
        rate("bare SQLite insert, one per commit", creates.bare, false),
        rate("kms_create_key, one per commit", creates.ours, true),
        rate("kms_rotate, one per commit", versions["rotate_rate"], true),
    ];
    rates.extend(fixture.batch_rate.map(|value| rate("kms_create_keys, 1,000 per call", value, true)));
    let plots = vec![
        Plot {
            name: "scale-time".to_owned(),
            title: format!("A keystore of {keys} keys"),
            x: "µs".to_owned(),
            y: String::new(),
            kind: Kind::Bars(vec![
                took("open, file not in memory", of(&cold, "open_ns")),
                took("open, file in memory", of(&warm, "open_ns")),
                took("first encrypt, file not in memory", of(&cold, "first_ns")),
                took("first encrypt, file in memory", of(&warm, "first_ns")),
                took("encrypt, all keys at random", small["all_ns"]),
                took("encrypt, 1,000 keys at random", small["hot_ns"]),
            ]),
        },
        Plot {
            name: "scale-rate".to_owned(),
            title: "Changes of a keystore on the disk".to_owned(),
            x: "per second".to_owned(),
            y: String::new(),
            kind: Kind::Bars(rates),
        },
    ];
    Ok(Section {
        title: "A million keys".to_owned(),
        text: vec![format!(
            "Keystores on the disk. Opening is measured in {} new processes each, once with the file's pages dropped \
             from the page cache and once with them in memory; cells are minimum / median. All keys have automatic \
             rotation, none is due. The bare insert is one row of {ROW} bytes a commit into a database with the same \
             journal and sync settings as a keystore, in turn with the keys.",
            cold.len()
        )],
        tables,
        plots,
        promises,
        absent,
    })
}

fn both(name: &str, small: &Figures, large: &Figures, cell: impl Fn(&Figures) -> String) -> Vec<String> {
    vec![name.to_owned(), cell(small), cell(large)]
}

/// Runs one measurement in a separate process, which has loaded nothing but libkms.
fn in_child(bench: &Bench, arguments: &[&str]) -> Result<Figures, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = bench.data.parent().ok_or("no folder")?;
    let output =
        Command::new(program).arg("child").arg(folder).args(arguments).output().map_err(|e| format!("a child: {e}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("a child's figures: {e}"))
}

pub fn child(library: crate::kms::Library, arguments: &[String]) -> Result<String, String> {
    pin(0);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
    let figures = match arguments[..] {
        ["open", path, nth] => open(library, path, number(nth)?)?,
        ["touch", path, cache, count] => touch(library, path, number(cache)?, number(count)?)?,
        ["versions", path] => old_versions(library, path)?,
        _ => return Err(format!("unknown measurement {arguments:?}")),
    };
    serde_json::to_string(&figures).map_err(|e| e.to_string())
}

fn figures<const N: usize>(pairs: [(&str, f64); N]) -> Figures {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Opens, and encrypts under two keys.
fn open(library: crate::kms::Library, path: &str, nth: usize) -> Result<Figures, String> {
    let ids = two_ids(Path::new(path), nth)?;
    let mut out = [0; BYTES + OVERHEAD];
    let (before, _) = resident();
    let (open, kms) = wall(|| Keystore::open(library, path, Settings::default()));
    let kms = kms?;
    let (after, anonymous) = resident();
    let [first, second] = ids.map(|id| wall(|| kms.encrypt(id.as_ptr(), &[3; BYTES], &mut out)).0);
    Ok(figures([
        ("open_ns", open * 1e9),
        ("first_ns", first * 1e9),
        ("second_ns", second * 1e9),
        ("resident_before_mib", before),
        ("resident_mib", after),
        ("anonymous_mib", anonymous),
    ]))
}

/// Read by position, so that the list of a million ids isn't counted as memory of the library.
fn two_ids(path: &Path, nth: usize) -> Result<[Id; 2], String> {
    use std::os::unix::fs::FileExt;
    let file = fs::File::open(crate::fixture::ids_of(path)).map_err(|e| e.to_string())?;
    let keys = file.metadata().map_err(|e| e.to_string())?.len() as usize / size_of::<Id>();
    let mut ids = [[0; size_of::<Id>()]; 2];
    for (id, nth) in ids.iter_mut().zip([nth, nth + keys / 2]) {
        let mut bytes = [0u8; size_of::<Id>()];
        let at = nth % keys * size_of::<Id>();
        file.read_exact_at(&mut bytes, at as u64).map_err(|e| e.to_string())?;
        *id = bytes.map(|b| b as _);
    }
    Ok(ids)
}

/// Encrypts over a hot set, then under `count` different keys at random.
fn touch(library: crate::kms::Library, path: &str, cache: usize, count: usize) -> Result<Figures, String> {
    let mut ids = read_ids(Path::new(path))?;
    Random::new().shuffle(&mut ids);
    ids.truncate(count);
    let settings = Settings { cache_keys: cache, ..Settings::default() };
    let kms = Keystore::open(library, path, settings)?;
    let mut out = [0; BYTES + OVERHEAD];
    let mut encrypt = |id: &Id| {
        black_box(kms.encrypt(id.as_ptr(), black_box(&[3; BYTES]), &mut out));
    };

    let hot = &ids[..HOT.min(ids.len())];
    hot.iter().for_each(&mut encrypt);
    let order = Random::new().indices(200_000, hot.len());
    let start = thread_time();
    order.iter().for_each(|&i| encrypt(&hot[i as usize]));
    let hot_ns = (thread_time() - start).as_nanos() as f64 / order.len() as f64;

    let (_, before) = resident();
    let start = thread_time();
    let (seconds, ()) = wall(|| ids.iter().for_each(&mut encrypt));
    let cpu = thread_time() - start;
    let (all, after) = resident();
    Ok(figures([
        ("hot_ns", hot_ns),
        ("all_ns", seconds * 1e9 / ids.len() as f64),
        ("all_cpu_ns", cpu.as_nanos() as f64 / ids.len() as f64),
        ("touches", ids.len() as f64),
        ("grown_mib", (after - before).max(0.0)),
        ("resident_mib", all),
        ("cached", kms.health()?.keys_cached as f64),
    ]))
}

struct Creates {
    ours: f64,
    bare: f64,
    ratio: f64,
}

/// Keys and bare inserts in turn, each a separate commit; and in batches, each of which is a commit.
fn creating(bench: &Bench) -> Result<(Creates, Option<Creates>), String> {
    let (ours_path, bare_path) = (bench.data.join("create.db"), bench.data.join("bare.db"));
    remove(&ours_path);
    remove(&bare_path);
    let settings = Settings { create: true, ..Settings::default() };
    let kms = Keystore::open(bench.library, &ours_path.to_string_lossy(), settings)?;
    let bare = bare_database(&bare_path).map_err(|e| format!("SQLite: {e}"))?;
    let insert = || {
        let mut statement = bare.prepare_cached("INSERT INTO row (data) VALUES (?1)")?;
        statement.execute([[5u8; ROW].as_slice()])
    };
    let failed = |e: rusqlite::Error| format!("SQLite: {e}");
    let ones = in_turn(bench, 50, || kms.create_key(0).map(drop), || insert().map(drop).map_err(failed))?;
    let batches = match bench.library.object.address(c"kms_create_keys") {
        None => None,
        Some(address) => {
            let create: CreateKeys = unsafe { std::mem::transmute(address) };
            let mut ids: Vec<Id> = vec![[0; ID]; BATCH];
            let insert_batch = || {
                let transaction = bare.unchecked_transaction()?;
                (0..BATCH).try_for_each(|_| insert().map(drop))?;
                transaction.commit()
            };
            let of_batches =
                in_turn(bench, 5, || create_batch(create, &kms, 0, &mut ids), || insert_batch().map_err(failed))?;
            let keys = BATCH as f64;
            Some(Creates { ours: of_batches.ours * keys, bare: of_batches.bare * keys, ..of_batches })
        }
    };
    drop(kms);
    remove(&ours_path);
    remove(&bare_path);
    Ok((ones, batches))
}

/// Both in turn, second in one round and first in the next: how often a second, and the median ratio.
fn in_turn(
    bench: &Bench,
    per_round: u32,
    mut ours: impl FnMut() -> Result<(), String>,
    mut bare: impl FnMut() -> Result<(), String>,
) -> Result<Creates, String> {
    let (mut our_rates, mut bare_rates) = (Vec::new(), Vec::new());
    for round in 0..bench.effort.pick(41, 3) {
        for turn in 0..2 {
            let is_ours = (round + turn) % 2 == 0;
            let (seconds, result) = wall(|| (0..per_round).try_for_each(|_| if is_ours { ours() } else { bare() }));
            result?;
            let rates = if is_ours { &mut our_rates } else { &mut bare_rates };
            rates.push(f64::from(per_round) / seconds);
        }
    }
    let ratio = median(our_rates.iter().zip(&bare_rates).map(|(ours, bare)| ours / bare));
    Ok(Creates { ours: median(our_rates), bare: median(bare_rates), ratio })
}

fn bare_database(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let bare = rusqlite::Connection::open(path)?;
    bare.pragma_update(None, "journal_mode", "TRUNCATE")?;
    bare.pragma_update(None, "synchronous", "FULL")?;
    bare.pragma_update(None, "secure_delete", "ON")?;
    bare.execute_batch("CREATE TABLE row (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")?;
    Ok(bare)
}

fn many_versions(bench: &Bench) -> Result<Figures, String> {
    let count = bench.effort.pick(10_000, 300);
    let path = bench.data.join("versions.db");
    remove(&path);
    let settings = Settings { create: true, ..Settings::default() };
    let kms = Keystore::open(bench.library, &path.to_string_lossy(), settings)?;
    let key = kms.create_key(0)?;
    let mut blobs = vec![kms.blob(&key, &[3; BYTES])];
    let mut rotating = 0.0;
    for _ in 1..count {
        let (seconds, result) = wall(|| kms.rotate(&key));
        result?;
        rotating += seconds;
        blobs.push(kms.blob(&key, &[3; BYTES]));
    }
    drop(kms);
    let note = serde_json::to_vec(&(key.map(|c| c as u8).to_vec(), blobs)).map_err(|e| e.to_string())?;
    fs::write(path.with_extension("blobs"), note).map_err(|e| e.to_string())?;
    let mut figures = in_child(bench, &["versions", &path.to_string_lossy()])?;
    figures.insert("rotate_rate".to_owned(), f64::from(count - 1) / rotating);
    remove(&path);
    Ok(figures)
}

fn old_versions(library: crate::kms::Library, path: &str) -> Result<Figures, String> {
    let note = fs::read(Path::new(path).with_extension("blobs")).map_err(|e| e.to_string())?;
    let (id, mut blobs): (Vec<u8>, Vec<Vec<u8>>) = serde_json::from_slice(&note).map_err(|e| e.to_string())?;
    drop(note);
    let id: Id = std::array::from_fn(|i| id[i] as _);
    Random::new().shuffle(&mut blobs);
    let mut out = [0; BYTES + OVERHEAD];
    let (open, kms) = wall(|| Keystore::open(library, path, Settings::default()));
    let kms = kms?;
    let first = wall(|| kms.encrypt(id.as_ptr(), &[3; BYTES], &mut out)).0;
    let mut pass = || {
        let all = || blobs.iter().for_each(|blob| _ = black_box(kms.decrypt(blob, &mut out)));
        wall(all).0 * 1e9 / blobs.len() as f64
    };
    let (old, again) = (pass(), pass());
    Ok(figures([
        ("versions", blobs.len() as f64),
        ("open_ns", open * 1e9),
        ("first_ns", first * 1e9),
        ("old_ns", old),
        ("again_ns", again),
        ("resident_mib", resident().0),
    ]))
}
