//! Random sequences of all operations, compared at every step with an independent model written from the documentation.
//!
//! `rules` has the tables, `reference` the model, `operations` and `sequences` the random input; the rest
//! compares a keystore with the model. KMS_MODEL_SEQUENCES sets the number of sequences, KMS_MODEL_SEED selects them.

mod answers;
mod carry_out;
mod carry_out_data;
mod carry_out_data_json;
mod carry_out_json;
mod compare;
mod keystore;
mod operations;
mod play;
mod reference;
mod rows;
mod rules;
mod sequences;
mod values;
mod wrapping;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::operations::Sequence;
use self::play::{Tried, play};
use self::rules::{MATRIX, Refusal, Rules, State};

/// Whether the run is a campaign: `make test-all` sets `KMS_FULL=1`.
fn is_full() -> bool {
    std::env::var_os("KMS_FULL").is_some_and(|value| value != "0")
}

fn default_sequences() -> u64 {
    if is_full() { 10_000 } else { 500 }
}

/// The number of sequences from one seed.
const BATCH: u64 = 100;

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn runner(seed: u64, count: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: count as u32, failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Plays `count` sequences from one seed; a disagreement comes with the shortest sequence that still shows it.
fn batch(seed: u64, count: u64, tried: &Mutex<Tried>) -> Result<(), String> {
    let result = runner(seed, count).run(&sequences::sequence(), |sequence| {
        let one = play(&sequence, &Rules::default()).map_err(TestCaseError::fail)?;
        *tried.lock().unwrap() += one;
        Ok(())
    });
    result.map_err(|failure| format!("{failure}\nto repeat: KMS_MODEL_SEED={seed} KMS_MODEL_SEQUENCES={count}"))
}

#[test]
fn random_sequences_answer_and_end_as_the_model_says() {
    let (sequences, seed) = (asked("KMS_MODEL_SEQUENCES", default_sequences()), asked("KMS_MODEL_SEED", 1));
    let batches = sequences.div_ceil(BATCH);
    let next = AtomicU64::new(0);
    let tried = Mutex::new(Tried::default());
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= batches {
                return None;
            }
            let count = BATCH.min(sequences - number * BATCH);
            if let Err(failure) = batch(seed + number, count, &tried) {
                next.store(batches, Ordering::Relaxed);
                return Some(failure);
            }
        };
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    println!("{:?}", tried.lock().unwrap());
    assert!(failures.is_empty(), "keystore and model disagree:\n{}", failures.join("\n\n"));
}

/// One rule broken, and its name.
type Broken = (String, Rules);

fn broken(name: &str, change: impl FnOnce(&mut Rules)) -> Broken {
    let mut rules = Rules::default();
    change(&mut rules);
    (name.to_owned(), rules)
}

/// Each rule that is a number or a yes or no, wrong by as little as it can be.
fn broken_rules() -> Vec<Broken> {
    vec![
        broken("the shortest interval", |rules| rules.interval = 2..=*rules.interval.end()),
        broken("the longest interval", |rules| rules.interval = 1..=*rules.interval.end() - 1),
        broken("the shortest window of deletion", |rules| rules.deletion_window_days = 6..=366),
        broken("the longest window of deletion", |rules| rules.deletion_window_days = 7..=367),
        broken("an hour between two confirmations", |rules| rules.confirmations_apart += 1),
        broken("one confirmation is enough", |rules| rules.confirmations_apart = 0),
        broken("how many tags", |rules| rules.tags = 11),
        broken("how long a description", |rules| rules.description_characters -= 1),
        broken("how large a context", |rules| rules.context_bytes -= 1),
        broken("the shortest data key", |rules| rules.data_key_bytes = 0..=1024),
        broken("the longest data key", |rules| rules.data_key_bytes = 1..=1023),
        broken("overdue rotates at once", |rules| rules.overdue_rotates_at_once = false),
        broken("encrypting rotates first", |rules| rules.encrypting_rotates_first = false),
        broken("rotating moves the schedule", |rules| rules.rotating_moves_the_schedule = false),
        broken("aliases go with their key", |rules| rules.aliases_go_with_their_key = false),
        broken("only the identical material", |rules| rules.only_the_identical_material = false),
        broken(NOTICED_LAST, |rules| rules.import_leaves_a_disabled_key_disabled = false),
        broken("protection off forgets why", |rules| rules.turning_protection_off_forgets_why = false),
        broken("expiry counts at once", |rules| rules.expiry_counts_at_once = false),
    ]
}

/// Each cell of the matrix, the other way round.
fn broken_cells() -> Vec<Broken> {
    let mut all = Vec::new();
    for (row, (name, verdicts)) in MATRIX.into_iter().enumerate() {
        for (column, verdict) in verdicts.into_iter().enumerate() {
            let other = if verdict.is_none() { Some(Refusal::StateModifiedFailed) } else { None };
            let cell = format!("{name:?} while {:?}", State::ALL[column]);
            all.push(broken(&cell, |rules| rules.matrix[row].1[column] = other));
        }
    }
    all
}

/// Reports each broken model that passes all of this number of sequences.
fn all_are_noticed(broken: Vec<Broken>) {
    const ENOUGH: usize = 3000;
    let mut runner = runner(1, 0);
    let mut sequence = || sequences::sequence().new_tree(&mut runner).unwrap().current();
    // RSA and disks are slow and unrelated to these rules.
    let sequences: Vec<Sequence> = (0..ENOUGH).map(|_| Sequence { rsa_keys: 0, file: false, ..sequence() }).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut missed = Vec::new();
        while let Some((name, rules)) = broken.get(next.fetch_add(1, Ordering::Relaxed)) {
            match sequences.iter().position(|sequence| play(sequence, rules).is_err()) {
                Some(place) => println!("{name}: noticed by sequence {}", place + 1),
                None => missed.push(name.clone()),
            }
        }
        missed
    };
    let missed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(missed.is_empty(), "{ENOUGH} sequences don't notice a model that is wrong in: {missed:?}");
}

/// It takes as many sequences as all the others together, so only a campaign waits for it.
const NOTICED_LAST: &str = "import leaves Disabled";

/// Every twelfth rule, all of them with KMS_FULL.
#[test]
fn a_model_with_one_rule_broken_does_not_pass() {
    let mut rules = broken_rules();
    if !is_full() {
        rules.retain(|(name, _)| name != NOTICED_LAST);
        rules = rules.into_iter().step_by(12).collect();
    }
    all_are_noticed(rules);
}

/// Every 186th cell, every 40th with KMS_FULL, all of them with KMS_LONG.
#[test]
fn a_model_with_one_cell_of_the_matrix_broken_does_not_pass() {
    let step = match std::env::var_os("KMS_LONG") {
        Some(_) => 1,
        None if is_full() => 40,
        None => 186,
    };
    all_are_noticed(broken_cells().into_iter().step_by(step).collect());
}
