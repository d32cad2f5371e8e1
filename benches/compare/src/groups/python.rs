//! What Python programs use: runs `benches/python/compare.py` under an interpreter that has the peers.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::bench::Bench;
use crate::section::{Bar, Kind, Limit, Plot, Promise, Section, Table, digits, size, time};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/compare.py");

#[derive(Deserialize)]
struct Seen {
    python: String,
    versions: Vec<String>,
    sizes: Vec<Size>,
    absent: Vec<String>,
}

/// Empty where the peer refuses messages of that size.
#[derive(Deserialize)]
struct Timing {
    name: String,
    minimum: Option<f64>,
    median: Option<f64>,
    /// To the first of the list.
    ratio: Option<f64>,
    /// The time of libkms as a part of this one's.
    libkms: Option<f64>,
}

#[derive(Deserialize)]
struct Size {
    bytes: usize,
    encrypt: Vec<Timing>,
    decrypt: Vec<Timing>,
}

pub fn run(bench: &Bench) -> Result<Section, String> {
    let title = "From Python".to_owned();
    let Some(python) = bench.python.as_ref().filter(|python| python.exists()) else {
        let absent = vec!["no Python interpreter with the peers".to_owned()];
        return Ok(Section { title, absent, ..Section::default() });
    };
    let mut command = Command::new(python);
    command.arg(Path::new(SCRIPT));
    if bench.effort.quick {
        command.arg("--quick");
    }
    let output = command.output().map_err(|e| format!("{}: {e}", python.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let seen: Seen = serde_json::from_slice(&output.stdout).map_err(|e| format!("{SCRIPT}: {e}"))?;
    let first = seen.sizes.first().ok_or("no sizes")?;
    let base = first.encrypt.first().ok_or("no variants")?.name.clone();

    let head = || [String::new()].into_iter().chain(seen.sizes.iter().map(|s| size(s.bytes))).collect::<Vec<_>>();
    let table = |what: &str, pick: fn(&Size) -> &Vec<Timing>| {
        let cell = |timing: &Timing| match (timing.minimum, timing.median, timing.ratio) {
            (Some(minimum), Some(median), Some(ratio)) => {
                format!("{} / {} · {}", time(minimum), time(median), digits(ratio))
            }
            _ => "too large for it".to_owned(),
        };
        let row = |i: usize| {
            let cells = seen.sizes.iter().map(|size| cell(&pick(size)[i]));
            [pick(first)[i].name.clone()].into_iter().chain(cells).collect()
        };
        Table {
            caption: format!("{what}, minimum / median · times as long as {base}"),
            head: head(),
            rows: (0..pick(first).len()).map(row).collect(),
        }
    };
    let bar = |timing: &Timing| {
        timing.median.map(|median| Bar {
            name: timing.name.clone(),
            value: median / 1e3,
            label: time(median),
            ours: timing.name.starts_with("libkms"),
        })
    };
    let mut bars: Vec<Bar> = first.encrypt.iter().filter_map(bar).collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    Ok(Section {
        title,
        text: vec![format!(
            "{}, with {}. A call with the object that holds the key made before; `bytes` in and out. MultiFernet and \
             the `Fernet` tokens in it are Base64 of AES-128-CBC with HMAC and have no authenticated data. moto is the \
             usual stand-in for AWS KMS in tests; aws-encryption-sdk makes a data key per message, under a raw AES key \
             that it holds; asherah keeps its keys in memory with a static master key.",
            seen.python,
            seen.versions.join(", ")
        )],
        tables: vec![table("Encrypt", |size| &size.encrypt), table("Decrypt", |size| &size.decrypt)],
        plots: vec![Plot {
            name: "python".to_owned(),
            title: format!("Encrypt {} from Python", size(first.bytes)),
            x: "µs per message".to_owned(),
            y: String::new(),
            kind: Kind::Bars(bars),
        }],
        promises: promises(&seen.sizes),
        absent: seen.absent,
    })
}

/// What encrypts and decrypts as a program would: with a nonce for each message, and a process's own keys.
const RIVALS: [&str; 4] = [RANDOM_NONCE, "tink", "asherah", "MultiFernet of 2 keys"];
const RANDOM_NONCE: &str = "cryptography AESGCM, os.urandom nonce";

fn promises(sizes: &[Size]) -> Vec<Promise> {
    let at = |bytes: usize| sizes.iter().find(|size| size.bytes == bytes);
    let promise = |what: &str, limit: f64, timings: &[Timing], name: &str| {
        let find = |name: &str| timings.iter().find(|timing| timing.name == name);
        let (ours, theirs) = (find("libkms")?, find(name)?);
        Some(Promise {
            what: format!("Python, {what}"),
            limit: Limit::AtMost(limit),
            unit: format!("of the time of {name}"),
            measured: theirs.libkms?,
            figures: format!("{} against {}", time(ours.median?), time(theirs.median?)),
        })
    };
    let mut all = Vec::new();
    if let Some(small) = at(64) {
        all.extend(RIVALS.iter().filter_map(|name| promise("encrypt 64 B", 0.3, &small.encrypt, name)));
        all.extend(promise("decrypt 64 B", 0.6, &small.decrypt, RANDOM_NONCE));
    }
    if let Some(large) = at(65536) {
        let share =
            |name: &&&str| large.encrypt.iter().find(|t| t.name == **name).and_then(|t| t.libkms).unwrap_or(0.0);
        let fastest = RIVALS.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
        all.extend(fastest.and_then(|name| promise("encrypt 64 KiB, the fastest", 0.9, &large.encrypt, name)));
    }
    all
}
