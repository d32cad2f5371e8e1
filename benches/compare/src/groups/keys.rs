//! Many keys at random: what an access costs when contexts outgrow the caches.

use std::hint::black_box;
use std::time::Duration;

use crate::bench::Bench;
use crate::cipher::{Cipher, TAG};
use crate::evp::{Evp, Habit};
use crate::kms::Keystore;
use crate::measure::{Random, Timing, Variant, interleave, pin};
use crate::peers::AwsLc;
use crate::section::{Kind, Limit, Plot, Promise, Section, Series, Table, count, digits, time};
use crate::types::OVERHEAD;

const COUNTS: [usize; 4] = [1, 16, 1_000, 20_000];
const BYTES: usize = 64;
/// Messages of one pass through the random order; a power of two.
const ORDER: usize = 1 << 16;

const REKEYED: &str = "one context, key set per message";
const ENCRYPT: &str = "libkms encrypt, by key id";
const DECRYPT: &str = "libkms decrypt";

pub fn run(bench: &Bench) -> Result<Section, String> {
    pin(0);
    let all: Vec<Vec<Timing>> = COUNTS.iter().map(|&keys| measure(bench, keys)).collect::<Result<_, _>>()?;
    let most = all.last().expect("some counts");
    let find = |name: &str| most.iter().find(|timing| timing.name.ends_with(name)).expect("a variant");
    let head = || {
        std::iter::once(String::new())
            .chain(COUNTS.map(|n| format!("{} {}", count(n), if n == 1 { "key" } else { "keys" })))
            .collect()
    };
    let table = |caption: &str, cell: &dyn Fn(&Timing) -> String| Table {
        caption: caption.to_owned(),
        head: head(),
        rows: (0..most.len())
            .map(|i| std::iter::once(most[i].name.clone()).chain(all.iter().map(|t| cell(&t[i]))).collect())
            .collect(),
    };
    Ok(Section {
        title: "Many keys at random".to_owned(),
        text: vec![format!(
            "{BYTES} bytes, the same random order of keys for all, one thread. The keystore is in memory, with a cache \
             of {} keys, so that none is read from a disk. Each key has one ciphertext, decrypted again and again.",
            count(cache(COUNTS[3]))
        )],
        tables: vec![
            table("ns per message, minimum / median", &|t| format!("{} / {}", digits(t.minimum), digits(t.median))),
            table(&format!("times as long as {}", most[0].name), &|t| format!("{:.2}", t.ratio)),
        ],
        plots: vec![Plot {
            name: "keys".to_owned(),
            title: "64 bytes under keys at random".to_owned(),
            x: "keys".to_owned(),
            y: "ns per message".to_owned(),
            kind: Kind::Lines {
                places: COUNTS.map(count).to_vec(),
                series: (0..most.len())
                    .map(|i| Series {
                        name: most[i].name.clone(),
                        values: all.iter().map(|timings| Some(timings[i].median)).collect(),
                        ours: most[i].name.starts_with("libkms"),
                    })
                    .collect(),
            },
        }],
        promises: vec![Promise {
            what: format!("encrypt, {BYTES} B, 20,000 keys at random, one thread"),
            limit: Limit::AtMost(1.5),
            unit: "x raw EVP, key set per message".to_owned(),
            measured: find(ENCRYPT).ratio,
            figures: format!("{} against {}", time(find(ENCRYPT).median), time(find(REKEYED).median)),
        }],
        absent: Vec::new(),
    })
}

fn cache(count: usize) -> usize {
    (count * 2).max(10_000)
}

/// Does `once` for key after key in the given order.
fn over<'a>(order: &'a [u32], name: impl Into<String>, mut once: impl FnMut(usize) + 'a) -> Variant<'a> {
    let mut at = 0;
    Variant::counted(name, move |calls| {
        for _ in 0..calls {
            once(order[at & (ORDER - 1)] as usize);
            at += 1;
        }
    })
}

fn measure(bench: &Bench, count: usize) -> Result<Vec<Timing>, String> {
    let count = if bench.effort.quick { count.min(2_000) } else { count };
    let text = [3u8; BYTES];
    let mut random = Random::new();
    let order = random.indices(ORDER, count);
    let order = order.as_slice();
    let keys: Vec<[u8; 32]> = (0..count).map(|_| std::array::from_fn(|_| random.below(256) as u8)).collect();

    let kms = Keystore::memory(bench.library, cache(count))?;
    let ids = (0..count).map(|_| kms.create_key(0)).collect::<Result<Vec<_>, _>>()?;
    let blobs: Vec<Vec<u8>> = ids.iter().map(|id| kms.blob(id, &text)).collect();

    let vendored = &bench.vendored;
    let mut rekeyed = Evp::new(vendored, Habit::KeySet);
    let mut own: Vec<Evp> = keys.iter().map(|key| Evp::with_key(vendored, Habit::KeyKept, key)).collect();
    let mut aws_lc: Vec<AwsLc> = keys.iter().map(AwsLc::with_key).collect();
    let version = vendored.version();

    let (mut out1, mut out2, mut out3) = ([0; BYTES + TAG], [0; BYTES + TAG], [0; BYTES + TAG]);
    let (mut out4, mut out5) = ([0; BYTES + OVERHEAD], [0; BYTES + OVERHEAD]);
    let (kms, ids, blobs, keys) = (&kms, &ids, &blobs, &keys);
    let variants = vec![
        over(order, format!("{version}, {REKEYED}"), move |i| {
            rekeyed.set_key(&keys[i]);
            rekeyed.seal(black_box(&text), black_box(&mut out1));
        }),
        over(order, ENCRYPT, move |i| {
            kms.encrypt(ids[i].as_ptr(), black_box(&text), black_box(&mut out4));
        }),
        over(order, DECRYPT, move |i| {
            kms.decrypt(black_box(&blobs[i]), black_box(&mut out5));
        }),
        over(order, format!("{version}, a context per key"), move |i| {
            own[i].seal(black_box(&text), black_box(&mut out2))
        }),
        over(order, "aws-lc-rs, a context per key", move |i| aws_lc[i].seal(black_box(&text), black_box(&mut out3))),
    ];
    let rounds = bench.effort.pick(41, 5);
    // Long enough to go through the whole order: a shorter slice would see the same few keys again.
    Ok(interleave(variants, rounds, Duration::from_millis(bench.effort.pick(20, 2))))
}
