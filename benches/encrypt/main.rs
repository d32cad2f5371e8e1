//! What a call costs in addition to the cipher: kms_encrypt and kms_decrypt through the C ABI against raw EVP calls on
//! the same OpenSSL, in one process, in interleaved rounds.
//!
//! Times are nanoseconds of the thread's own CPU clock, minimum and median of the rounds. A ratio is the median of the
//! rounds' ratios, next to that of the minima.
//!
//! `cargo bench --bench encrypt` runs it, with `-- only=one` (`threads`, `many`, `survey`) a part: a first look, where `make bench`
//! takes long.

use std::ffi::CStr;
use std::hint::black_box;

#[path = "../../tests/c_abi/keystore.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod keystore;
mod raw;
#[path = "../../tests/c_abi/types.rs"]
#[allow(dead_code, reason = "as above")]
mod types;

use keystore::Keystore;
use raw::Raw;
use types::{CONTEXT, OVERHEAD};

const ROUNDS: usize = 41;

fn cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// One thing that is measured: its name and what is called `calls` times a round.
struct Subject<'a> {
    name: String,
    limit: Option<f64>,
    call: Box<dyn FnMut(usize) + 'a>,
    rounds: Vec<f64>,
}

fn subject<'a>(name: &str, limit: impl Into<Option<f64>>, call: impl FnMut(usize) + 'a) -> Subject<'a> {
    Subject { name: name.into(), limit: limit.into(), call: Box::new(call), rounds: Vec::new() }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures all, the first being what the others are compared with.
fn compare(title: &str, calls: usize, mut subjects: Vec<Subject<'_>>) {
    for subject in &mut subjects {
        (subject.call)(calls / 4);
    }
    for round in 0..ROUNDS {
        let count = subjects.len();
        for turn in 0..count {
            let subject = &mut subjects[(turn + round) % count];
            let start = cpu_ns();
            (subject.call)(calls);
            subject.rounds.push((cpu_ns() - start) / calls as f64);
        }
    }
    println!("\n{title:<44} {:>8} {:>8}   {:>6} {:>6}   at most", "min ns", "med ns", "of min", "of med");
    let base = subjects[0].rounds.clone();
    for subject in &subjects {
        let least = |rounds: &[f64]| rounds.iter().copied().fold(f64::MAX, f64::min);
        let ratios = subject.rounds.iter().zip(&base).map(|(own, base)| own / base).collect();
        println!(
            "{:<44} {:>8.1} {:>8.1}   {:>6.2} {:>6.2}   {}",
            subject.name,
            least(&subject.rounds),
            median(subject.rounds.clone()),
            least(&subject.rounds) / least(&base),
            median(ratios),
            subject.limit.map_or(String::new(), |limit| format!("{limit:.2}")),
        );
    }
}

/// Room for a message of that size, sealed or opened.
fn room(size: usize) -> Vec<u8> {
    vec![0; size + OVERHEAD]
}

#[inline]
fn encrypt(kms: &Keystore, key: &CStr, text: &[u8], out: &mut [u8]) {
    kms.encrypt(key, text, &CONTEXT, out);
}

#[inline]
fn decrypt(kms: &Keystore, blob: &[u8], out: &mut [u8]) {
    kms.decrypt(blob, &CONTEXT, out);
}

fn one_key() {
    let kms = Keystore::in_memory(0);
    let key = kms.create_key();
    kms.create_alias(&key, c"alias/bench");
    for size in [64usize, 1024, 4096, 65_536, 1 << 20] {
        let plaintext = vec![3u8; size];
        let (mut a, mut b, mut c, mut d, mut e) = (room(size), room(size), room(size), room(size), room(size));
        let (mut raw_seal, mut raw_open) = (Raw::new(), Raw::new());
        let sealed_raw = raw_seal.sealed(&plaintext);
        let sealed = kms.sealed(&key, &plaintext, &CONTEXT);
        // Each thread has its own nonce prefix, and of 97 in turn none is the last one seen.
        let sealed_elsewhere =
            |_| std::thread::scope(|scope| scope.spawn(|| kms.sealed(&key, &plaintext, &CONTEXT)).join().unwrap());
        let unseen: Vec<Vec<u8>> = (0..97).map(sealed_elsewhere).collect();
        let calls = (2_000_000 / (size + 200)).clamp(30, 4000);
        let large = size >= 65_536;
        let limit = |small: f64| if large { Some(1.05) } else { (size == 64).then_some(small) };
        compare(
            &format!("encrypt, {size} B"),
            calls,
            vec![
                subject("raw EVP, key kept", None, |n| {
                    (0..n).for_each(|_| raw_seal.seal(black_box(&plaintext), &mut a))
                }),
                subject("by key id", limit(1.6), |n| (0..n).for_each(|_| encrypt(&kms, &key, &plaintext, &mut b))),
                subject("by alias", limit(1.65), |n| {
                    (0..n).for_each(|_| encrypt(&kms, c"alias/bench", &plaintext, &mut c))
                }),
            ],
        );
        compare(
            &format!("decrypt, {size} B"),
            calls,
            vec![
                subject("raw EVP, key kept", None, |n| {
                    (0..n).for_each(|_| raw_open.open(black_box(&sealed_raw), &mut a))
                }),
                subject("prefix seen", limit(1.4), |n| (0..n).for_each(|_| decrypt(&kms, &sealed, &mut d))),
                subject("prefix never seen", limit(2.6), |n| {
                    (0..n).for_each(|at| decrypt(&kms, &unseen[at % unseen.len()], &mut e))
                }),
            ],
        );
    }
}

fn many_keys(count: usize) {
    let kms = Keystore::in_memory(count.max(32_768));
    let keys: Vec<_> = (0..count).map(|_| kms.create_key()).collect();
    let raw_keys: Vec<[u8; 32]> = (0..count).map(|at| [at as u8 ^ (at >> 8) as u8; 32]).collect();
    let plaintext = [3u8; 64];
    let (mut raw, mut a, mut b, mut c) = (Raw::new(), room(64), room(64), room(64));
    keys.iter().for_each(|key| encrypt(&kms, key, &plaintext, &mut b));
    let blobs: Vec<Vec<u8>> = keys.iter().map(|key| kms.sealed(key, &plaintext, &CONTEXT)).collect();
    blobs.iter().for_each(|blob| decrypt(&kms, blob, &mut c));
    let order: Vec<u32> = {
        let mut word = 88_172_645_463_325_252u64;
        let next = move |_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word % count as u64) as u32
        };
        (0..1 << 18).map(next).collect()
    };
    let walk = |at: &mut usize| {
        *at = (*at + 1) & (order.len() - 1);
        order[*at] as usize
    };
    let (mut first, mut second, mut third) = (0, 77_777, 155_555);
    compare(
        &format!("64 B, {count} keys at random"),
        20_000,
        vec![
            subject("raw EVP, key set for each message", None, |n| {
                (0..n).for_each(|_| {
                    raw.set_key(&raw_keys[walk(&mut first)]);
                    raw.seal(black_box(&plaintext), &mut a)
                })
            }),
            subject("encrypt", (count == 20_000).then_some(1.5), |n| {
                (0..n).for_each(|_| encrypt(&kms, &keys[walk(&mut second)], &plaintext, &mut b))
            }),
            subject("decrypt", None, |n| (0..n).for_each(|_| decrypt(&kms, &blobs[walk(&mut third)], &mut c))),
        ],
    );
}

/// Wall time, because that is what threads save; each pair of rounds is one alone and two at once.
fn two_threads() {
    const CALLS: usize = 200_000;
    let kms = Keystore::in_memory(0);
    let key = kms.create_key();
    let work = || {
        let (plaintext, mut out) = ([3u8; 64], room(64));
        let start = cpu_ns();
        (0..CALLS).for_each(|_| encrypt(&kms, &key, &plaintext, &mut out));
        (cpu_ns() - start) / CALLS as f64
    };
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        alone.push(work());
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            both.push(work());
            both.push(other.join().unwrap());
        });
    }
    let least = |rounds: &[f64]| rounds.iter().copied().fold(f64::MAX, f64::min);
    println!("\n64 B, CPU time of a call: alone {:.1} ns, with a second thread {:.1} ns", least(&alone), least(&both));
    println!(
        "two threads do {:.2} times the work of one (of the medians {:.2}); at least 1.95",
        2.0 * least(&alone) / least(&both),
        2.0 * median(alone.clone()) / median(both.clone())
    );
}

/// Counting blobs by version compared with inspecting each: of one version, and of 400 versions in turn.
fn survey() {
    let options = kms::Options::new().root_key(&[7; 32]).create(true);
    let kms = kms::Keystore::open("memory:", &options).expect("a keystore");
    for versions in [1, 400] {
        let key = kms.create_key(&kms::CreateKey::default()).expect("a key");
        let mut blobs = Vec::new();
        for version in 0..versions {
            if version > 0 {
                kms.rotate(key).expect("a rotation");
            }
            blobs.extend((0..20_000 / versions).map(|_| kms.encrypt(key, &[3; 64], &[]).expect("a blob")));
        }
        // Neighbours are under different versions.
        let stride = 20_000 / versions + 1;
        let blobs: Vec<&Vec<u8>> = (0..20_000).map(|at| &blobs[at * stride % blobs.len()]).collect();
        let mut counts = kms.survey();
        compare(
            &format!("{versions} versions"),
            blobs.len(),
            vec![
                subject("inspect", None, |n| {
                    for blob in blobs.iter().take(n) {
                        let _ = black_box(kms.inspect(black_box(blob)).expect("a blob"));
                    }
                }),
                subject("survey", 1.0, |n| {
                    for blob in blobs.iter().take(n) {
                        let _ = black_box(counts.add(black_box(blob)).expect("a blob"));
                    }
                }),
            ],
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let wanted =
        |name: &str| !arguments.iter().any(|a| a.starts_with("only=")) || arguments.contains(&format!("only={name}"));
    if wanted("one") {
        one_key();
    }
    if wanted("threads") {
        two_threads();
    }
    if wanted("many") {
        [16, 1000, 20_000].into_iter().for_each(many_keys);
    }
    if wanted("survey") {
        survey();
    }
}
