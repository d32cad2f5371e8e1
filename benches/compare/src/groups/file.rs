//! The command on one large file, compared with the raw cipher, a plain copy, age and openssl enc.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::bench::{Bench, COMMAND};
use crate::cipher::{Cipher, TAG};
use crate::evp::{Evp, Habit};
use crate::measure::{minimum, wall};
use crate::section::{Limit, Promise, Section, Table, digits, size};

/// A chunk of the file format.
const CHUNK: usize = 16 << 10;
/// What the raw cipher reads again and again: as much as a thread of the command has at a time.
const PIECE: usize = 256 << 10;
/// A cache line.
const LINE: usize = 64;

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    /// User and system time of the process.
    cpu: f64,
    /// MiB that were in memory at once; none of what runs in this process.
    memory: Option<f64>,
}

type Run<'a> = Box<dyn Fn() -> Result<Cost, String> + 'a>;

struct Subject<'a> {
    name: &'static str,
    run: Run<'a>,
    costs: Vec<Cost>,
}

impl Subject<'_> {
    fn best(&self) -> Cost {
        Cost {
            seconds: minimum(self.costs.iter().map(|cost| cost.seconds)),
            cpu: minimum(self.costs.iter().map(|cost| cost.cpu)),
            memory: self.costs.iter().filter_map(|cost| cost.memory).reduce(f64::max),
        }
    }
}

pub fn run(bench: &Bench) -> Result<Section, String> {
    let bytes: usize = bench.effort.pick(4 << 30, 64 << 20);
    let rounds = bench.effort.pick(5, 2);
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let folder = folder.map_err(|e| format!("a temporary folder: {e}"))?;
    let at = folder.path();
    let mut section = Section { title: "Files".to_owned(), ..Section::default() };

    let program = fs::canonicalize(bench.folder.join(COMMAND)).map_err(|e| format!("{COMMAND}: {e}"))?;
    let kms = |arguments: &[&str]| command(at, &program, arguments);
    spend(&mut kms(&["init", "--root-key-file", "root.key"]))?;
    spend(&mut kms(&["key", "create", "bench"]))?;
    make_file(&at.join("plain"), bytes)?;
    spend(&mut kms(&["encrypt", "plain", "-o", "sealed.kms"]))?;

    // A new output each time: replacing one would also measure how its pages are freed.
    let to_new = move |output: &'static str, mut command: Command| -> Result<Cost, String> {
        let _ = fs::remove_file(at.join(output));
        spend(&mut command)
    };
    let mut subjects = vec![
        subject("raw AES-256-GCM in memory, 1 thread", move || raw(bench, bytes, 1)),
        subject("raw AES-256-GCM in memory, 2 threads", move || raw(bench, bytes, 2)),
        subject("raw AES-256-GCM, file to file, 1 thread", move || raw_file(bench, at, bytes, 1)),
        subject("raw AES-256-GCM, file to file, 2 threads", move || raw_file(bench, at, bytes, 2)),
        subject("cp", move || to_new("out", command(at, Path::new("cp"), &["plain", "out"]))),
    ];
    for (name, verb, input, threads) in [
        ("kms encrypt, 1 thread", "encrypt", "plain", "1"),
        ("kms encrypt, 2 threads", "encrypt", "plain", "2"),
        ("kms decrypt, 1 thread", "decrypt", "sealed.kms", "1"),
        ("kms decrypt, 2 threads", "decrypt", "sealed.kms", "2"),
    ] {
        subjects.push(subject(name, move || to_new("out", kms(&[verb, input, "-o", "out", "--threads", threads]))));
    }
    match spend(&mut command(at, Path::new("age-keygen"), &["-o", "age.key"])) {
        Ok(_) => {
            let encrypt = ["-e", "-i", "age.key", "-o", "sealed.age", "plain"];
            subjects
                .push(subject("age, encrypt", move || to_new("sealed.age", command(at, Path::new("age"), &encrypt))));
            let decrypt = ["-d", "-i", "age.key", "-o", "out", "sealed.age"];
            subjects.push(subject("age, decrypt", move || to_new("out", command(at, Path::new("age"), &decrypt))));
        }
        Err(why) => section.absent.push(format!("age: {why}")),
    }
    let enc = ["enc", "-aes-256-ctr", "-pbkdf2", "-pass", "file:root.key", "-in", "plain", "-out", "out"];
    match spend(&mut command(at, Path::new("openssl"), &["version"])) {
        Ok(_) => subjects.push(subject("openssl enc -aes-256-ctr, no tag", move || {
            to_new("out", command(at, Path::new("openssl"), &enc))
        })),
        Err(why) => section.absent.push(format!("openssl enc: {why}")),
    }

    // In turn, so that what disturbs one round disturbs all of them.
    for _ in 0..rounds {
        for subject in &mut subjects {
            let cost = (subject.run)().map_err(|why| format!("{}: {why}", subject.name))?;
            subject.costs.push(cost);
        }
    }
    let of = |name: &str| subjects.iter().find(|subject| subject.name == name).map(Subject::best);
    let missing = || "a subject is missing".to_owned();
    let raw = of("raw AES-256-GCM in memory, 1 thread").ok_or_else(missing)?;
    let raw_file = of("raw AES-256-GCM, file to file, 1 thread").ok_or_else(missing)?;
    let raw_two = of("raw AES-256-GCM, file to file, 2 threads").ok_or_else(missing)?;
    let (one, two) =
        (of("kms encrypt, 1 thread").ok_or_else(missing)?, of("kms encrypt, 2 threads").ok_or_else(missing)?);

    let gigabytes = bytes as f64 / 1e9;
    section.text.push(format!(
        "A file of {} on {}, each command a process of its own, in turn; cells are the best of {rounds} runs. The raw cipher \
         seals chunks of 16 KiB: in memory, those of one buffer; file to file, as a loop of pread, seal and pwrite over \
         pieces of 256 KiB. A copy on tmpfs alone costs more than the cipher.",
        size(bytes),
        if shm.is_dir() { "tmpfs" } else { "a disk" }
    ));
    section.tables.push(Table {
        caption: "Rate by wall time, processor time of all threads, memory".to_owned(),
        head: ["", "GB/s", "of raw", "CPU s", "of raw", "MiB"].map(str::to_owned).to_vec(),
        rows: subjects
            .iter()
            .map(|subject| {
                let best = subject.best();
                vec![
                    subject.name.to_owned(),
                    digits(gigabytes / best.seconds),
                    digits(raw.seconds / best.seconds),
                    digits(best.cpu),
                    digits(best.cpu / raw.cpu),
                    best.memory.map_or_else(String::new, digits),
                ]
            })
            .collect(),
    });
    let rates =
        |a: Cost, b: Cost| format!("{} and {} GB/s", digits(gigabytes / a.seconds), digits(gigabytes / b.seconds));
    let faster = |(what, a): (&str, Cost), (than, b): (&str, Cost), least| {
        promise(
            &format!("rate of {what}"),
            Limit::AtLeast(least),
            &format!("x {than}"),
            b.seconds / a.seconds,
            rates(a, b),
        )
    };
    let (one, two) = (("kms encrypt, 1 thread", one), ("kms encrypt, 2 threads", two));
    section.promises = vec![
        faster(one, ("raw AES-256-GCM in memory, 1 thread", raw), 0.8),
        faster(one, ("raw AES-256-GCM, file to file, 1 thread", raw_file), 0.8),
        faster(two, ("raw AES-256-GCM, file to file, 2 threads", raw_two), 0.8),
        faster(two, ("that of 1 thread", one.1), 1.8),
        promise(
            "memory of kms encrypt",
            Limit::AtMost(64.0),
            "MiB",
            two.1.memory.unwrap_or(f64::NAN),
            "two threads".to_owned(),
        ),
    ];
    Ok(section)
}

fn subject<'a>(name: &'static str, run: impl Fn() -> Result<Cost, String> + 'a) -> Subject<'a> {
    Subject { name, run: Box::new(run), costs: Vec::new() }
}

fn promise(what: &str, limit: Limit, unit: &str, measured: f64, figures: String) -> Promise {
    Promise { what: what.to_owned(), limit, unit: unit.to_owned(), measured, figures }
}

/// A program in the folder, without the settings of the user who runs the bench.
fn command(folder: &Path, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for name in
        ["KMS_KEYSTORE", "KMS_ROOT_KEY_FILE", "KMS_ROOT_PASSPHRASE_FILE", "KMS_CONFIG", "KMS_KEY", "KMS_ANCHOR_FILE"]
    {
        command.env_remove(name);
    }
    command
}

/// Runs a process, and says what it took.
fn spend(command: &mut Command) -> Result<Cost, String> {
    let (seconds, ended) = wall(|| -> Result<_, String> {
        let child = command.spawn().map_err(|e| format!("not started: {e}"))?;
        let mut status = 0;
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // Instead of `wait`, which does not say what the process took.
        let waited = unsafe { libc::wait4(child.id().cast_signed(), &mut status, 0, &mut usage) };
        if waited < 0 { Err(std::io::Error::last_os_error().to_string()) } else { Ok((status, usage)) }
    });
    let (status, usage) = ended?;
    if status != 0 {
        return Err(format!("{:?} failed: {}", command.get_args().collect::<Vec<_>>(), ExitStatus::from_raw(status)));
    }
    let time = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    Ok(Cost { seconds, cpu, memory: Some(usage.ru_maxrss as f64 / 1024.0) })
}

/// Seals as many bytes as the file has, on `threads` threads of this process.
fn raw(bench: &Bench, bytes: usize, threads: usize) -> Result<Cost, String> {
    let crypto = bench.vendored;
    on_threads(threads, || {
        let (mut cipher, plain, mut out) = (Evp::new(&crypto, Habit::KeyKept), vec![7; PIECE], vec![0; CHUNK + TAG]);
        for _ in 0..bytes / PIECE / threads {
            plain.chunks(CHUNK).for_each(|chunk| cipher.seal(black_box(chunk), &mut out));
        }
        Ok(())
    })
}

/// What `work` costs on `threads` threads of this process.
fn on_threads(threads: usize, work: impl Fn() -> std::io::Result<()> + Sync) -> Result<Cost, String> {
    let timed = || {
        let start = crate::measure::thread_time();
        work().map(|()| (crate::measure::thread_time() - start).as_secs_f64()).map_err(|e| e.to_string())
    };
    let (seconds, spent) = wall(|| {
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(timed)).collect();
            let mine = timed();
            others
                .into_iter()
                .fold(mine, |sum, other| Ok(sum? + other.join().map_err(|_| "a thread died".to_owned())??))
        })
    });
    Ok(Cost { seconds, cpu: spent?, memory: None })
}

/// Seals the plain file into another with `threads` threads of this process: what any command has to do at least.
fn raw_file(bench: &Bench, folder: &Path, bytes: usize, threads: usize) -> Result<Cost, String> {
    const PIECE_SEALED: usize = PIECE / CHUNK * (CHUNK + TAG);
    let path = folder.join("out");
    let _ = fs::remove_file(&path);
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let (input, output) =
        (fs::File::open(folder.join("plain")).map_err(failed)?, fs::File::create_new(&path).map_err(failed)?);
    let crypto = bench.vendored;
    let next = AtomicUsize::new(0);
    on_threads(threads, || {
        // From a cache line on: some CPUs read files into other addresses at a quarter of the speed.
        let (mut plain, mut sealed) = (vec![0; PIECE + LINE], vec![0; PIECE_SEALED + LINE]);
        let (plain, sealed) = (from_line(&mut plain, PIECE), from_line(&mut sealed, PIECE_SEALED));
        let mut cipher = Evp::new(&crypto, Habit::KeyKept);
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= bytes / PIECE {
                return Ok(());
            }
            input.read_exact_at(plain, (piece * PIECE) as u64)?;
            for (chunk, out) in plain.chunks(CHUNK).zip(sealed.chunks_mut(CHUNK + TAG)) {
                cipher.seal(black_box(chunk), out);
            }
            output.write_all_at(sealed, (piece * PIECE_SEALED) as u64)?;
        }
    })
}

fn from_line(bytes: &mut [u8], len: usize) -> &mut [u8] {
    let start = bytes.as_ptr().align_offset(LINE);
    &mut bytes[start..start + len]
}

fn make_file(path: &Path, bytes: usize) -> Result<(), String> {
    use std::io::Write;
    let mut file = fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let piece = vec![7; 1 << 20];
    (0..bytes >> 20).try_for_each(|_| file.write_all(&piece)).map_err(|e| format!("{}: {e}", path.display()))
}
