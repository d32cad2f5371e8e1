//! What encrypting a file costs in addition to the cipher: raw AES-256-GCM calls on chunks of 16 KiB in memory, against
//! `encrypt_copy` and `decrypt_copy` in memory, and `encrypt_file` and `decrypt_file` between files on tmpfs, with one thread
//! and with two, in interleaved rounds of one process. A plain copy of the file shows the share of tmpfs.
//!
//! `cargo bench --bench file` runs it; `KMS_BENCH_MIB` sets the size. Each figure is the best of the rounds, by the wall clock,
//! and next to it the processor time of the whole process in the same round.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use kms::{CreateKey, Keystore, Options, file::FileOptions};

#[path = "../encrypt/raw.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod raw;

use raw::Raw;

const CHUNK: usize = 16 * 1024;
const ROUNDS: usize = 7;

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn raw_seal(plain: &[u8]) {
    let (mut cipher, mut out) = (Raw::new(), vec![0; CHUNK + 16]);
    plain.chunks(CHUNK).for_each(|chunk| cipher.seal(black_box(chunk), &mut out[..chunk.len() + 16]));
}

fn raw_open(sealed: &[u8], count: usize) {
    let (mut cipher, mut out) = (Raw::new(), vec![0; CHUNK]);
    (0..count).for_each(|_| cipher.open(black_box(sealed), &mut out));
}

fn two(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(&work);
        work();
    });
}

fn main() {
    let mib: usize = std::env::var("KMS_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(256);
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let path = |name: &str| folder.path().join(name);
    let plain = vec![7u8; mib << 20];
    std::fs::write(path("plain"), &plain).unwrap();
    let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32])).unwrap();
    let key = keystore.create_key(&CreateKey::default()).unwrap();
    let options = |threads| FileOptions::new().threads(threads).replace(true);
    let encrypt = |threads| {
        let _ = keystore.encrypt_file(key, path("plain"), path("sealed"), &[], &options(threads)).unwrap();
    };
    let decrypt = |threads| {
        let _ = keystore.decrypt_file(path("sealed"), path("again"), &[], &options(threads)).unwrap();
    };
    let mut sealed_bytes = Vec::new();
    keystore.encrypt_copy(key, &plain[..], &mut sealed_bytes, &[], &options(1)).unwrap();
    let encrypt_copy = |threads| {
        let _ = keystore.encrypt_copy(key, &plain[..], std::io::sink(), &[], &options(threads)).unwrap();
    };
    let decrypt_copy = |threads| {
        let _ = keystore.decrypt_copy(&sealed_bytes[..], std::io::sink(), &[], &options(threads)).unwrap();
    };
    let (half, count) = (plain.len() / 2, plain.len() / CHUNK);
    let sealed = Raw::new().sealed(&plain[..CHUNK]);

    type Subject<'a> = (&'a str, usize, Box<dyn Fn() + 'a>);
    let subjects: [Subject<'_>; 13] = [
        ("encrypt, raw cipher, 1 thread", 0, Box::new(|| raw_seal(&plain))),
        ("encrypt_copy in memory, 1 thread", 0, Box::new(|| encrypt_copy(1))),
        ("encrypt_file on tmpfs, 1 thread", 0, Box::new(|| encrypt(1))),
        ("encrypt, raw cipher, 2 threads", 3, Box::new(|| two(|| raw_seal(&plain[..half])))),
        ("encrypt_copy in memory, 2 threads", 3, Box::new(|| encrypt_copy(2))),
        ("encrypt_file on tmpfs, 2 threads", 3, Box::new(|| encrypt(2))),
        ("decrypt, raw cipher, 1 thread", 6, Box::new(|| raw_open(&sealed, count))),
        ("decrypt_copy in memory, 1 thread", 6, Box::new(|| decrypt_copy(1))),
        ("decrypt_file on tmpfs, 1 thread", 6, Box::new(|| decrypt(1))),
        ("decrypt, raw cipher, 2 threads", 9, Box::new(|| two(|| raw_open(&sealed, count / 2)))),
        ("decrypt_copy in memory, 2 threads", 9, Box::new(|| decrypt_copy(2))),
        ("decrypt_file on tmpfs, 2 threads", 9, Box::new(|| decrypt(2))),
        (
            "copy on tmpfs, no encryption",
            0,
            Box::new(|| {
                let _ = std::fs::copy(path("plain"), path("copy")).unwrap();
            }),
        ),
    ];
    let mut best = [(f64::MAX, f64::MAX); 13];
    for _ in 0..ROUNDS {
        for (best, (_, _, work)) in best.iter_mut().zip(&subjects) {
            let (wall, cpu) = (Instant::now(), cpu_seconds());
            work();
            *best = (best.0.min(wall.elapsed().as_secs_f64()), best.1.min(cpu_seconds() - cpu));
        }
    }
    println!(
        "{mib} MiB, best of {ROUNDS} rounds\n{:<36} {:>10} {:>12} {:>9} {:>9}",
        "", "MB/s", "CPU ms", "of raw", "CPU"
    );
    for ((name, base, _), (wall, cpu)) in subjects.iter().zip(best) {
        let rate = (mib << 20) as f64 / wall / 1e6;
        println!(
            "{name:<36} {rate:>10.0} {:>12.1} {:>9.2} {:>9.2}",
            cpu * 1e3,
            best[*base].0 / wall,
            cpu / best[*base].1
        );
    }
}
