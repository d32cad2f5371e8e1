//! Flipped bytes, swapped pages and cut files.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kms::Status;

use crate::sample::{Place, Sample, faults, long, sample, step};

/// The statuses that an open of a damaged file may return.
fn may_refuse(status: Status) -> bool {
    matches!(status, Status::KeystoreCorrupt | Status::NotAKeystore | Status::KeystoreTooNew | Status::WrongRootKey)
}

/// The outcome of one damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing reads the damaged bytes.
    Harmless,
    /// Each use works, and `verify` finds it.
    Latent,
    /// Some keys are refused, others work.
    Some,
    /// Each key is refused.
    All,
    NotOpened,
}

/// Opens a damaged keystore, uses all of it, and checks the promises. `owner`: the key whose bytes were damaged.
pub fn judge(sample: &Sample, place: &Place, bytes: &[u8], owner: Option<usize>, what: &str) -> Outcome {
    place.put(bytes);
    let kms = match place.open() {
        Ok(kms) => kms,
        Err(error) => {
            assert!(may_refuse(error.status()), "{what}: opening says {:?}: {error}", error.status());
            assert!(owner.is_none(), "{what}: one key's bytes keep the keystore from being opened: {error}");
            return Outcome::NotOpened;
        }
    };
    let failures = sample.failures(&kms);
    for (number, use_, status) in &failures {
        assert_eq!(*status, Status::KeystoreCorrupt, "{what}: {use_} of key {number}");
    }
    let (found, verdict) = faults(&kms);
    assert_eq!(found.is_empty(), verdict.is_none(), "{what}: {found:?}, but {verdict:?}");
    if verdict.is_none() {
        assert_eq!(failures, [], "{what}: verify finds nothing");
        return Outcome::Harmless;
    }
    assert_eq!(verdict, Some(Status::KeystoreCorrupt), "{what}");
    if let Some(owner) = owner {
        let id = &sample.keys[owner].id;
        assert!(found.iter().any(|(key, _)| key.as_ref() == Some(id)), "{what}: verify names {found:?}, not {id}");
        for (number, use_, _) in &failures {
            assert!(
                *number == owner || *number == usize::MAX,
                "{what}: {use_} of key {number} fails, though the damage is key {owner}'s"
            );
        }
    }
    let harmed: std::collections::BTreeSet<usize> = failures.iter().map(|(number, ..)| *number).collect();
    let keys = (0..sample.keys.len()).filter(|number| harmed.contains(number)).count();
    match keys {
        0 => Outcome::Latent,
        n if n == sample.keys.len() => Outcome::All,
        _ => {
            // A key that is unharmed can also be changed.
            if let Some(number) = (0..4).find(|number| !harmed.contains(number))
                && owner.is_some()
            {
                kms.rotate(&sample.keys[number].id).unwrap_or_else(|e| panic!("{what}: rotating key {number}: {e}"));
            }
            Outcome::Some
        }
    }
}

/// The bytes of rows that belong to one key alone: from `first` to the end of `last` in the file.
fn owned(sample: &Sample) -> BTreeMap<usize, usize> {
    let place = Place::new();
    place.put(&sample.bytes);
    let sqlite = place.sqlite();
    let mut owned = BTreeMap::new();
    let find = |bytes: &[u8], from: usize| {
        sample.bytes[from..].windows(bytes.len()).position(|window| window == bytes).map(|at| from + at)
    };
    for (number, kept) in sample.keys.iter().enumerate() {
        let id = kms::KeyId::parse(&kept.id).unwrap();
        let (row, mac): (i64, Vec<u8>) = sqlite
            .query_row("SELECT row, mac FROM key WHERE id = ?", [id.as_bytes().as_slice()], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })
            .unwrap();
        // A row's bytes are one piece, its id near the front and its MAC at the end.
        let end = find(&mac, 0).unwrap() + mac.len();
        let mut at = 0;
        while let Some(found) = find(id.as_bytes(), at).filter(|found| *found < end) {
            at = found + 1;
        }
        assert!(at > 0 && end - at < 700, "the row of key {number} was not found in the file");
        owned.extend((at - 1..end).map(|byte| (byte, number)));
        let mut statement = sqlite.prepare("SELECT sealed FROM material WHERE key_row = ?").unwrap();
        for sealed in statement.query_map([row], |r| r.get::<_, Vec<u8>>(0)).unwrap() {
            let sealed = sealed.unwrap();
            let start = find(&sealed, 0).expect("material was not found in the file");
            owned.extend((start..start + sealed.len()).map(|byte| (byte, number)));
        }
    }
    owned
}

/// Runs the cases that `step` selects, and counts their outcomes.
pub fn in_parallel(cases: usize, run: impl Fn(&Place, usize) -> Outcome + Sync) -> BTreeMap<Outcome, usize> {
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let place = Place::new();
                loop {
                    let case = next.fetch_add(step(), Ordering::Relaxed);
                    if case >= cases {
                        return;
                    }
                    let outcome = run(&place, case);
                    *counts.lock().unwrap().entry(outcome).or_default() += 1;
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

#[test]
fn a_flipped_byte_is_noticed_or_harmless() {
    let sample = sample();
    let owned = owned(sample);
    // Runs of zeros are mostly the unused middles of pages; a long run of the test tries all.
    let dull = |at: usize| sample.bytes[at.saturating_sub(8)..(at + 8).min(sample.bytes.len())].iter().all(|b| *b == 0);
    let stride = |at: usize| if owned.contains_key(&at) { 11 } else { 19 };
    let tried: Vec<usize> =
        (0..sample.bytes.len()).filter(|at| long() || (at % stride(*at) == 3 && !dull(*at)) || at % 257 == 0).collect();
    let masks: &[u8] = if long() { &[0x01, 0x80, 0x10] } else { &[0x01] };
    let cases = tried.len() * masks.len();
    let counts = in_parallel(cases, |place, case| {
        let at = tried[case / masks.len()];
        let mask = if long() { masks[case % masks.len()] } else { 1 << (case % 8) };
        let mut bytes = sample.bytes.clone();
        bytes[at] ^= mask;
        judge(sample, place, &bytes, owned.get(&at).copied(), &format!("byte {at} ^ {mask:#04x}"))
    });
    println!("{} bytes, {cases} flips: {counts:?}", sample.bytes.len());
    assert!(counts.get(&Outcome::Some).is_some_and(|n| *n * step() > 50), "no flip hit a single key: {counts:?}");
}

pub fn page_size(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[16], bytes[17]]))
}

#[test]
fn swapped_pages_are_noticed() {
    let sample = sample();
    let size = page_size(&sample.bytes);
    let pages = sample.bytes.len() / size;
    let pairs: Vec<(usize, usize)> = (0..pages).flat_map(|a| (a + 1..pages).map(move |b| (a, b))).collect();
    let counts = in_parallel(pairs.len(), |place, case| {
        let (a, b) = pairs[case];
        let mut bytes = sample.bytes.clone();
        bytes[a * size..(a + 1) * size].copy_from_slice(&sample.bytes[b * size..(b + 1) * size]);
        bytes[b * size..(b + 1) * size].copy_from_slice(&sample.bytes[a * size..(a + 1) * size]);
        judge(sample, place, &bytes, None, &format!("pages {a} and {b} swapped"))
    });
    println!("{} pairs of {pages} pages: {counts:?}", pairs.len());
}

#[test]
fn pages_of_an_older_copy_are_noticed() {
    let sample = sample();
    let size = page_size(&sample.bytes);
    let cases: Vec<(usize, usize)> = sample
        .older
        .iter()
        .enumerate()
        .flat_map(|(copy, older)| (0..older.len().min(sample.bytes.len()) / size).map(move |page| (copy, page)))
        .filter(|(copy, page)| {
            let range = page * size..(page + 1) * size;
            sample.older[*copy][range.clone()] != sample.bytes[range]
        })
        .collect();
    let counts = in_parallel(cases.len(), |place, case| {
        let (copy, page) = cases[case];
        let range = page * size..(page + 1) * size;
        let mut bytes = sample.bytes.clone();
        bytes[range.clone()].copy_from_slice(&sample.older[copy][range]);
        judge(sample, place, &bytes, None, &format!("page {page} of the older copy {copy}"))
    });
    println!("{} pages of older copies: {counts:?}", cases.len());
}

#[test]
fn a_cut_file_is_refused() {
    let sample = sample();
    let len = sample.bytes.len();
    let size = page_size(&sample.bytes);
    let lengths: Vec<usize> =
        (0..len).filter(|at| long() || *at < 128 || at % size < 2 || at % size == size - 1 || at % 509 == 0).collect();
    let counts = in_parallel(lengths.len(), |place, case| {
        let outcome = judge(sample, place, &sample.bytes[..lengths[case]], None, &format!("{} bytes", lengths[case]));
        assert_eq!(outcome, Outcome::NotOpened, "a keystore of {} of {len} bytes was opened", lengths[case]);
        outcome
    });
    println!("{} lengths: {counts:?}", lengths.len());
    let place = Place::new();
    for more in [1, size - 1, size, 3 * size] {
        let mut bytes = sample.bytes.clone();
        bytes.resize(len + more, 0xa5);
        let outcome = judge(sample, &place, &bytes, None, &format!("{more} bytes more"));
        assert_eq!(outcome, Outcome::Harmless, "{more} bytes after the end");
    }
}
