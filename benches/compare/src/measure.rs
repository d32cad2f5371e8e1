//! Times variants of one task against each other: interleaved, in random order per round, on one pinned thread.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How much to do: a full run, or one that only shows that everything works.
#[derive(Clone, Copy)]
pub struct Effort {
    pub quick: bool,
}

impl Effort {
    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// One way to do the task; runs it the requested number of times.
pub struct Variant<'a> {
    pub name: String,
    pub run: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> Variant<'a> {
    pub fn new(name: impl Into<String>, mut once: impl FnMut() + 'a) -> Self {
        Self::counted(name, move |calls| {
            for _ in 0..calls {
                once();
            }
        })
    }

    pub fn counted(name: impl Into<String>, run: impl FnMut(usize) + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// What was seen of one variant. Times are nanoseconds per call.
#[derive(Clone, Serialize, Deserialize)]
pub struct Timing {
    pub name: String,
    pub minimum: f64,
    pub median: f64,
    /// The median over the rounds of this variant's time divided by the first variant's in the same round.
    pub ratio: f64,
}

/// Runs all variants in random order in each round; the first is the one that ratios refer to.
pub fn interleave(mut variants: Vec<Variant>, rounds: usize, slice: Duration) -> Vec<Timing> {
    let calls: Vec<usize> = variants.iter_mut().map(|v| calibrate(v, slice)).collect();
    let mut times = vec![Vec::with_capacity(rounds); variants.len()];
    let mut order: Vec<usize> = (0..variants.len()).collect();
    let mut random = Random::new();
    for _ in 0..rounds {
        random.shuffle(&mut order);
        for &i in &order {
            let start = thread_time();
            (variants[i].run)(calls[i]);
            times[i].push((thread_time() - start).as_nanos() as f64 / calls[i] as f64);
        }
    }
    let base = times[0].clone();
    let summary = |(variant, times): (Variant, Vec<f64>)| Timing {
        ratio: median(times.iter().zip(&base).map(|(t, b)| t / b)),
        minimum: minimum(times.iter().copied()),
        median: median(times.iter().copied()),
        name: variant.name,
    };
    variants.into_iter().zip(times).map(summary).collect()
}

/// How many calls fill a slice of time; warms the variant up by the way.
fn calibrate(variant: &mut Variant, slice: Duration) -> usize {
    let mut calls = 1;
    loop {
        let start = thread_time();
        (variant.run)(calls);
        let took = thread_time() - start;
        if took >= slice / 4 {
            let wanted = calls as f64 * slice.as_secs_f64() / took.as_secs_f64();
            return (wanted as usize).max(1);
        }
        calls *= 2;
    }
}

/// The CPU time of this thread, which other programs on the machine disturb less than they do the wall clock.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Keeps the calling thread on one CPU, counted from the last one down.
pub fn pin(from_last: usize) {
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        let allowed: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect();
        let cpu = allowed[allowed.len() - 1 - from_last % allowed.len()];
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

pub fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

pub fn minimum(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// Seconds of wall time.
pub fn wall<T>(action: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = action();
    (start.elapsed().as_secs_f64(), result)
}

/// xorshift64*: an order that nothing predicts is all that is asked of it.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize * bound) >> 32
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    pub fn indices(&mut self, count: usize, bound: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(bound) as u32).collect()
    }
}
