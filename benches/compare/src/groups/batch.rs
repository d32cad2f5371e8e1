//! Many records in one call, compared with one call per record.

use std::ffi::{c_char, c_void};
use std::hint::black_box;
use std::time::Duration;

use crate::bench::Bench;
use crate::cipher::{Cipher, TAG};
use crate::evp::{Evp, Habit};
use crate::kms::Keystore;
use crate::measure::{Timing, Variant, interleave, pin};
use crate::section::{Kind, Limit, Plot, Promise, Section, Series, Table, count, digits, size, time};
use crate::types::{OVERHEAD, Record};

const SIZES: [usize; 3] = [64, 4 << 10, 64 << 10];
const COUNTS: [usize; 4] = [1, 16, 256, 1024];
/// libkms, after raw EVP.
const NAMES: [&str; 4] =
    ["kms_encrypt, a call a record", "kms_encrypt_batch", "kms_decrypt, a call a record", "kms_decrypt_batch"];
/// The place of `kms_encrypt_batch` among the timings.
const BATCH: usize = 2;

type EncryptBatch = unsafe extern "C" fn(*const c_void, *const c_char, *mut Record, usize, usize) -> i32;
type DecryptBatch = unsafe extern "C" fn(*const c_void, *mut Record, usize, usize) -> i32;

pub fn run(bench: &Bench) -> Result<Section, String> {
    let mut section = Section { title: "Batches".to_owned(), ..Section::default() };
    let find = |name| bench.library.object.address(name);
    let (Some(encrypt), Some(decrypt)) = (find(c"kms_encrypt_batch"), find(c"kms_decrypt_batch")) else {
        section.absent.push("this libkms has no kms_encrypt_batch".to_owned());
        return Ok(section);
    };
    // As kms.h declares them.
    let encrypt: EncryptBatch = unsafe { std::mem::transmute(encrypt) };
    let decrypt: DecryptBatch = unsafe { std::mem::transmute(decrypt) };
    pin(0);
    section.text.push(
        "One key; each record has a buffer of its own, which the caller keeps. All ways do the same records in turn, raw EVP \
         too, which only encrypts; a time is that of one record."
            .to_owned(),
    );
    let head = || {
        [String::new()]
            .into_iter()
            .chain(COUNTS.map(|n| format!("{} {}", count(n), if n == 1 { "record" } else { "records" })))
            .collect()
    };
    for bytes in SIZES {
        let all: Vec<Vec<Timing>> =
            COUNTS.iter().map(|&records| measure(bench, encrypt, decrypt, bytes, records)).collect::<Result<_, _>>()?;
        let cell = |timing: &Timing| format!("{} / {}", digits(timing.minimum), digits(timing.median));
        section.tables.push(Table {
            caption: format!("Records of {}: ns per record, minimum / median", size(bytes)),
            head: head(),
            rows: (0..all[0].len())
                .map(|i| [all[0][i].name.clone()].into_iter().chain(all.iter().map(|t| cell(&t[i]))).collect())
                .collect(),
        });
        if bytes == SIZES[0] {
            let series = |i: usize| Series {
                name: all[0][i].name.clone(),
                values: all.iter().map(|timings| Some(timings[i].median)).collect(),
                ours: all[0][i].name.ends_with("batch"),
            };
            section.plots.push(Plot {
                name: "batch".to_owned(),
                title: format!("Records of {} in one call", size(bytes)),
                x: "records".to_owned(),
                y: "ns per record".to_owned(),
                kind: Kind::Lines {
                    places: COUNTS.map(count).to_vec(),
                    series: (0..all[0].len()).map(series).collect(),
                },
            });
            if let Some((timings, records)) = all.last().zip(COUNTS.last()) {
                let (raw, batch) = (&timings[0], &timings[BATCH]);
                section.promises.push(Promise {
                    what: format!("encrypt, {}, a record of {} in a call", size(bytes), count(*records)),
                    limit: Limit::AtMost(1.15),
                    unit: "x raw EVP, key kept".to_owned(),
                    measured: batch.ratio,
                    figures: format!("{} against {}", time(batch.median), time(raw.median)),
                });
            }
        }
    }
    Ok(section)
}

/// One input and one output each.
struct Records {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    records: Vec<Record>,
}

impl Records {
    fn new(inputs: Vec<Vec<u8>>) -> Self {
        let mut outputs: Vec<Vec<u8>> = inputs.iter().map(|input| vec![0; input.len() + OVERHEAD]).collect();
        let records = inputs.iter().zip(&mut outputs).map(|(input, output)| Record::new(input, output)).collect();
        Self { inputs, outputs, records }
    }
}

fn measure(
    bench: &Bench,
    encrypt: EncryptBatch,
    decrypt: DecryptBatch,
    bytes: usize,
    count: usize,
) -> Result<Vec<Timing>, String> {
    let kms = Keystore::memory(bench.library, 0)?;
    let kms = &kms;
    let key = kms.create_key(0)?;
    let key = &key;
    let texts = || vec![vec![3u8; bytes]; count];
    let blobs = || texts().iter().map(|text| kms.blob(key, text)).collect();
    let mut singly = Records::new(texts());
    let mut together = Records::new(texts());
    let mut back_singly = Records::new(blobs());
    let mut back_together = Records::new(blobs());
    let mut raw = Evp::new(&bench.vendored, Habit::KeyKept);
    let (raw_texts, mut sealed) = (texts(), vec![vec![0; bytes + TAG]; count]);
    let variants = vec![
        Variant::new(format!("{}, key kept", bench.vendored.version()), move || {
            for (input, output) in raw_texts.iter().zip(&mut sealed) {
                raw.seal(black_box(input), black_box(output));
            }
        }),
        Variant::new(NAMES[0], move || {
            for (input, output) in singly.inputs.iter().zip(&mut singly.outputs) {
                kms.encrypt(key.as_ptr(), black_box(input), black_box(output));
            }
        }),
        Variant::new(NAMES[1], move || {
            let records = &mut together.records;
            let status = unsafe {
                encrypt(kms.handle(), key.as_ptr(), records.as_mut_ptr(), size_of::<Record>(), records.len())
            };
            assert_eq!(status, 0, "kms_encrypt_batch");
        }),
        Variant::new(NAMES[2], move || {
            for (input, output) in back_singly.inputs.iter().zip(&mut back_singly.outputs) {
                kms.decrypt(black_box(input), black_box(output));
            }
        }),
        Variant::new(NAMES[3], move || {
            let records = &mut back_together.records;
            let status = unsafe { decrypt(kms.handle(), records.as_mut_ptr(), size_of::<Record>(), records.len()) };
            assert_eq!(status, 0, "kms_decrypt_batch");
        }),
    ];
    let mut timings =
        interleave(variants, bench.effort.pick(31, 5), Duration::from_micros(bench.effort.pick(3000, 300)));
    for timing in &mut timings {
        timing.minimum /= count as f64;
        timing.median /= count as f64;
    }
    Ok(timings)
}
