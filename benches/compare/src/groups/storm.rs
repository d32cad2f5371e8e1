//! A rotation storm: a million keys due at one instant, while two threads encrypt, and once more without them.

use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::fixture::{Fixture, INTERVAL_S, clock, read_ids, remove, set_clock};
use crate::kms::{Id, Keystore, Settings};
use crate::measure::Random;
use crate::section::{Kind, Limit, Plot, Promise, Section, Series, Table, digits, time};
use crate::types::OVERHEAD;

const BYTES: usize = 64;
const THREADS: usize = 2;
const HOT: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(300);

const WARMING: usize = 0;
const IDLE: usize = 1;
const STORM: usize = 2;
const DONE: usize = 3;

const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("slowest", 1.0)];

pub fn run(bench: &Bench) -> Result<Section, String> {
    let fixture = Fixture::get(bench)?;
    let path = bench.data.join("storm.db");
    remove(&path);
    fs::copy(&fixture.path, &path).map_err(|e| format!("{}: {e}", path.display()))?;
    // What is still to be written of the copy would disturb the idle time.
    fs::File::open(&path).and_then(|copy| copy.sync_all()).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut ids = read_ids(&fixture.path)?;
    Random::new().shuffle(&mut ids);
    ids.truncate(HOT);

    set_clock(fixture.created_ms);
    let settings = Settings { clock: Some(clock), ..Settings::default() };
    let kms = Keystore::open(bench.library, &path.to_string_lossy(), settings)?;
    let phase = AtomicUsize::new(WARMING);
    let seen = thread::scope(|scope| -> Result<Seen, String> {
        let encrypting: Vec<_> = (0..THREADS)
            .map(|nth| {
                let (kms, ids, phase) = (&kms, &ids, &phase);
                scope.spawn(move || encrypt(kms, ids, phase, nth))
            })
            .collect();
        let storm = conduct(bench, &kms, &fixture, &phase);
        phase.store(DONE, Ordering::SeqCst);
        let mut latencies = [Histogram::new(), Histogram::new()];
        for thread in encrypting {
            let theirs = thread.join().map_err(|_| "an encrypting thread died")?;
            latencies.iter_mut().zip(&theirs).for_each(|(all, one)| all.add_all(one));
        }
        Ok(Seen { storm: storm?, alone: storm_of(&kms, &fixture, 2)?, latencies })
    })?;
    drop(kms);
    remove(&path);
    Ok(section(&seen))
}

struct Seen {
    storm: Storm,
    /// With no thread encrypting.
    alone: Storm,
    latencies: [Histogram; 2],
}

struct Storm {
    /// Seconds until the first rotation, and from there to the last.
    noticed: f64,
    seconds: f64,
    rotated: u64,
}

impl Storm {
    fn rate(&self) -> f64 {
        self.rotated as f64 / self.seconds
    }
}

/// Lets the threads run idle, then has the storm begin.
fn conduct(bench: &Bench, kms: &Keystore, fixture: &Fixture, phase: &AtomicUsize) -> Result<Storm, String> {
    thread::sleep(Duration::from_millis(bench.effort.pick(1000, 200)));
    phase.store(IDLE, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(bench.effort.pick(5000, 500)));
    phase.store(STORM, Ordering::SeqCst);
    storm_of(kms, fixture, 1)
}

/// Moves the clock to where all keys are due for the `nth` time, and waits for the last rotation.
fn storm_of(kms: &Keystore, fixture: &Fixture, nth: i64) -> Result<Storm, String> {
    let before = kms.health()?.rotations;
    let due = Instant::now();
    set_clock(fixture.created_ms + nth * INTERVAL_S * 1000);
    let mut first = None;
    loop {
        let rotated = kms.health()?.rotations - before;
        if rotated > 0 && first.is_none() {
            first = Some(Instant::now());
        }
        if rotated >= fixture.count as u64 {
            let first = first.unwrap_or(due);
            return Ok(Storm { noticed: (first - due).as_secs_f64(), seconds: first.elapsed().as_secs_f64(), rotated });
        }
        if due.elapsed() > PATIENCE {
            return Err(format!("{rotated} of {} keys rotated in {PATIENCE:?}", fixture.count));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// One message after the other; the end of one is the start of the next.
fn encrypt(kms: &Keystore, ids: &[Id], phase: &AtomicUsize, nth: usize) -> [Histogram; 2] {
    let mut latencies = [Histogram::new(), Histogram::new()];
    let mut out = [0; BYTES + OVERHEAD];
    let order = Random::new().indices(1 << 16, ids.len());
    let mut at = nth * (order.len() / THREADS);
    let mut start = Instant::now();
    loop {
        let phase = phase.load(Ordering::Relaxed);
        if phase == DONE {
            return latencies;
        }
        at = (at + 1) % order.len();
        kms.encrypt(ids[order[at] as usize].as_ptr(), black_box(&[3; BYTES]), black_box(&mut out));
        let end = Instant::now();
        if phase != WARMING {
            latencies[phase - IDLE].add((end - start).as_nanos() as u64);
        }
        start = end;
    }
}

/// Counts by logarithm, 32 steps to each doubling: 3 % apart.
struct Histogram {
    counts: Vec<u64>,
    slowest: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: vec![0; 64 * 32], slowest: 0 }
    }

    fn add(&mut self, ns: u64) {
        let ns = ns.max(32);
        let exponent = ns.ilog2();
        self.counts[(exponent * 32) as usize + ((ns >> (exponent - 5)) & 31) as usize] += 1;
        self.slowest = self.slowest.max(ns);
    }

    fn add_all(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.slowest = self.slowest.max(other.slowest);
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn quantile(&self, part: f64) -> f64 {
        if part >= 1.0 {
            return self.slowest as f64;
        }
        let wanted = (self.total() as f64 * part) as u64;
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > wanted {
                let (exponent, step) = (i / 32, i % 32);
                return (1u64 << exponent) as f64 * (1.0 + (step as f64 + 0.5) / 32.0);
            }
        }
        self.slowest as f64
    }
}

fn section(seen: &Seen) -> Section {
    let [idle, storm] = &seen.latencies;
    let p99 = (idle.quantile(0.99), storm.quantile(0.99));
    let keys = digits(seen.storm.rotated as f64);
    let row = |name: &str, histogram: &Histogram| {
        let cells = QUANTILES.map(|(_, part)| time(histogram.quantile(part)));
        [name.to_owned()].into_iter().chain(cells).chain([digits(histogram.total() as f64)]).collect()
    };
    let line = |name: &str, histogram: &Histogram, ours| Series {
        name: name.to_owned(),
        values: QUANTILES.iter().map(|(_, part)| Some(histogram.quantile(*part) / 1e3)).collect(),
        ours,
    };
    Section {
        title: "A rotation storm".to_owned(),
        text: vec![format!(
            "{keys} keys on the disk become due at one instant. {THREADS} threads encrypt {BYTES} bytes all the time \
             under {HOT} of them at random, so with the rotation thread there are three for the CPUs. Each call is timed \
             by the wall clock, about 25 ns for reading it included. The first rotation came {} after the keys were \
             due, the last {} s later. Then they become due once more, with nobody encrypting: {} s, {} rotations a \
             second.",
            time(seen.storm.noticed * 1e9),
            digits(seen.storm.seconds),
            digits(seen.alone.seconds),
            digits(seen.alone.rate())
        )],
        tables: vec![Table {
            caption: "One encryption".to_owned(),
            head: [""]
                .into_iter()
                .chain(QUANTILES.map(|(name, _)| name))
                .chain(["messages"])
                .map(str::to_owned)
                .collect(),
            rows: vec![row("before the storm", idle), row("during the storm", storm)],
        }],
        plots: vec![Plot {
            name: "storm".to_owned(),
            title: format!("One encryption while {keys} keys rotate"),
            x: "of all calls".to_owned(),
            y: "µs per call".to_owned(),
            kind: Kind::Lines {
                places: QUANTILES.map(|(name, _)| name.to_owned()).to_vec(),
                series: vec![line("during the storm", storm, true), line("before the storm", idle, false)],
            },
        }],
        promises: vec![
            Promise {
                what: format!("rotations in a storm of {keys} keys"),
                limit: Limit::AtLeast(20_000.0),
                unit: "committed/s".to_owned(),
                measured: seen.storm.rate(),
                figures: format!("{keys} in {} s", digits(seen.storm.seconds)),
            },
            Promise {
                what: "the same with nobody encrypting".to_owned(),
                limit: Limit::AtLeast(50_000.0),
                unit: "committed/s".to_owned(),
                measured: seen.alone.rate(),
                figures: format!("{keys} in {} s", digits(seen.alone.seconds)),
            },
            Promise {
                what: "encrypt during the storm, p99".to_owned(),
                limit: Limit::AtMost(2.0),
                unit: "x the idle p99".to_owned(),
                measured: p99.1 / p99.0,
                figures: format!(
                    "{} against {}; p50 {} against {}",
                    time(p99.1),
                    time(p99.0),
                    time(storm.quantile(0.5)),
                    time(idle.quantile(0.5))
                ),
            },
        ],
        absent: Vec::new(),
    }
}
