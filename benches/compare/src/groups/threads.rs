//! One and two threads: how much more work a second one does.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::bench::Bench;
use crate::cipher::{Cipher, TAG};
use crate::evp::{Evp, Habit};
use crate::kms::{Id, Keystore};
use crate::measure::{Random, cpus, median, minimum, pin};
use crate::peers::{AwsLc, Ring};
use crate::section::{Bar, Kind, Limit, Plot, Promise, Section, Table, digits, time};
use crate::softhsm::Token;
use crate::types::OVERHEAD;

const BYTES: usize = 64;
const ENCRYPT: &str = "libkms encrypt, one key";
const DECRYPT: &str = "libkms decrypt, one key";

/// Makes what one thread does, on that thread.
type Worker<'a> = Box<dyn Fn() -> Box<dyn FnMut() + 'a> + Sync + 'a>;

struct Task<'a> {
    name: String,
    worker: Worker<'a>,
    calls: usize,
    one: Vec<f64>,
    two: Vec<f64>,
}

pub fn run(bench: &Bench) -> Result<Section, String> {
    if cpus() < 2 {
        let absent = vec!["two threads: this machine has one CPU".to_owned()];
        return Ok(Section { title: "Two threads".to_owned(), absent, ..Section::default() });
    }
    let token = Token::new();
    let mut absent = Vec::new();
    let kms = Keystore::memory(bench.library, 0)?;
    let ids = (0..1000).map(|_| kms.create_key(0)).collect::<Result<Vec<Id>, _>>()?;
    let text = [3u8; BYTES];
    let blob = kms.blob(&ids[0], &text);
    let vendored = &bench.vendored;

    let mut tasks = vec![
        task(format!("{}, key kept", vendored.version()), sealing(|| Evp::new(vendored, Habit::KeyKept))),
        task(ENCRYPT, worker(|| encrypting(&kms, &ids[..1]))),
        task(
            DECRYPT,
            worker(|| {
                let mut out = [0; BYTES + OVERHEAD];
                let (kms, blob) = (&kms, &blob);
                move || {
                    kms.decrypt(black_box(blob), black_box(&mut out));
                }
            }),
        ),
        task("libkms encrypt, 1,000 keys at random", worker(|| encrypting(&kms, &ids))),
        task("aws-lc-rs", sealing(AwsLc::new)),
        task("ring", sealing(Ring::new)),
    ];
    match &token {
        Ok(token) => tasks.push(task("SoftHSM2 (PKCS#11)", sealing(|| token.session().expect("a session")))),
        Err(why) => absent.push(format!("SoftHSM2: {why}")),
    }

    let rounds = bench.effort.pick(41, 5);
    let slice = bench.effort.pick(10e6, 1e6);
    for task in &mut tasks {
        task.calls = (slice / (measure(task, 1, 2000) / 2000.0)).max(1.0) as usize;
    }
    let mut order: Vec<usize> = (0..2 * tasks.len()).collect();
    let mut random = Random::new();
    for _ in 0..rounds {
        random.shuffle(&mut order);
        for &at in &order {
            let task = &mut tasks[at / 2];
            let took = measure(task, 1 + at % 2, task.calls) / task.calls as f64;
            if at % 2 == 0 { task.one.push(took) } else { task.two.push(took) }
        }
    }
    Ok(section(&tasks, absent))
}

fn task<'a>(name: impl Into<String>, worker: Worker<'a>) -> Task<'a> {
    Task { name: name.into(), worker, calls: 0, one: Vec::new(), two: Vec::new() }
}

fn worker<'a, F: FnMut() + 'a>(make: impl Fn() -> F + Sync + 'a) -> Worker<'a> {
    Box::new(move || Box::new(make()))
}

fn sealing<'a, C: Cipher + 'a>(make: impl Fn() -> C + Sync + 'a) -> Worker<'a> {
    worker(move || {
        let mut cipher = make();
        let mut out = [0; BYTES + TAG];
        move || cipher.seal(black_box(&[3; BYTES]), black_box(&mut out))
    })
}

fn encrypting<'a>(kms: &'a Keystore, ids: &'a [Id]) -> impl FnMut() + 'a {
    let order = Random::new().indices(1 << 12, ids.len());
    let (mut at, mut out) = (0, [0; BYTES + OVERHEAD]);
    move || {
        at = (at + 1) % order.len();
        kms.encrypt(ids[order[at] as usize].as_ptr(), black_box(&[3; BYTES]), black_box(&mut out));
    }
}

/// Nanoseconds from the common start until all of `threads` have made their calls.
fn measure(task: &Task, threads: usize, calls: usize) -> f64 {
    let ready = AtomicUsize::new(0);
    let work = |cpu: usize| {
        pin(cpu);
        let mut once = (task.worker)();
        for _ in 0..1500.min(calls) {
            once();
        }
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < threads {
            spin_loop();
        }
        let start = Instant::now();
        for _ in 0..calls {
            once();
        }
        (start, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|cpu| scope.spawn(move || work(cpu))).collect();
        running.into_iter().map(|thread| thread.join().expect("a worker")).collect()
    });
    let start = times.iter().map(|t| t.0).min().expect("a thread");
    let end = times.iter().map(|t| t.1).max().expect("a thread");
    (end - start).as_nanos() as f64
}

fn section(tasks: &[Task], absent: Vec<String>) -> Section {
    let gain = |task: &Task| median(task.one.iter().zip(&task.two).map(|(one, two)| 2.0 * one / two));
    let best = |task: &Task| 2.0 * minimum(task.one.iter().copied()) / minimum(task.two.iter().copied());
    let promise = |name: &str| {
        let task = tasks.iter().find(|task| task.name == name).expect("a task");
        let (one, two) = (median(task.one.iter().copied()), median(task.two.iter().copied()));
        Promise {
            what: format!("2 threads, {BYTES} B: {name}"),
            limit: Limit::AtLeast(1.95),
            unit: "x the work of one thread".to_owned(),
            measured: gain(task),
            figures: format!(
                "{} against {} per message and thread; raw EVP in the same run {:.2}",
                time(two),
                time(one),
                gain(&tasks[0])
            ),
        }
    };
    Section {
        title: "Two threads".to_owned(),
        text: vec![format!(
            "{BYTES} bytes. Each thread on a CPU of its own, started together, timed by the wall clock until the last \
             has made its calls. The work of two is compared with that of one in the same round; twice as much is the \
             most that can be, and what raw EVP reaches is the most that this machine gives."
        )],
        tables: vec![Table {
            caption: "Two threads against one".to_owned(),
            head: [
                "",
                "one thread: ns per message",
                "two threads: ns per message of each",
                "work, median",
                "of the minima",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: tasks
                .iter()
                .map(|task| {
                    vec![
                        task.name.clone(),
                        digits(median(task.one.iter().copied())),
                        digits(median(task.two.iter().copied())),
                        format!("{:.2}", gain(task)),
                        format!("{:.2}", best(task)),
                    ]
                })
                .collect(),
        }],
        plots: vec![Plot {
            name: "threads".to_owned(),
            title: "Work of two threads, 64 bytes".to_owned(),
            x: "times the work of one thread".to_owned(),
            y: String::new(),
            kind: Kind::Bars(
                tasks
                    .iter()
                    .map(|task| Bar {
                        name: task.name.clone(),
                        value: gain(task),
                        label: format!("{:.2}", gain(task)),
                        ours: task.name.starts_with("libkms"),
                    })
                    .collect(),
            ),
        }],
        promises: vec![promise(ENCRYPT), promise(DECRYPT)],
        absent,
    }
}
