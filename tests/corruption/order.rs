//! Cells whose order on their page an attacker changed who can write the file: SQLite's search then fails, and finds
//! another row than the requested one, or none.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use kms::{CreateKey, Interval, Keystore, ManualClock, Origin, Status, Time};

use crate::aliased::{aliased, destroy, held, new_key, opened};
use crate::bytes::{Outcome, in_parallel, judge};
use crate::pages::{Page, only_page, orders, pages};
use crate::sample::{Kept, Place, Sample, T0, faults, long, quiet, step};

#[test]
fn an_alias_never_names_another_key_whatever_the_order_of_rows() {
    let sample = aliased(&[0, 1, 2, 3]);
    let page = only_page(&sample.bytes, "alias");
    let place = Place::new();
    let key = |number: usize| sample.keys[number % sample.keys.len()].as_str();
    let now: Vec<(&str, Option<&str>)> =
        sample.aliases.iter().map(|(alias, number)| (alias.as_str(), Some(key(*number)))).collect();
    let refused = |result: kms::Result<()>, what: &str| match result.map_err(|error| error.status()) {
        Ok(()) => false,
        Err(Status::KeystoreCorrupt) => true,
        Err(status) => panic!("{what} says {status:?}"),
    };
    let mut failed = 0;
    for order in orders(page.cells()).into_iter().step_by(step()) {
        let bytes = page.ordered(&sample.bytes, &order);
        place.put(&bytes);
        failed += held(&opened(&place).0, &now, &format!("rows {order:?}"));
        for at in 0..now.len() {
            let what = format!("rows {order:?}, moving {}", now[at].0);
            place.put(&bytes);
            let (kms, _) = opened(&place);
            let mut then = now.clone();
            if !refused(kms.update_alias(key(at + 1), now[at].0), &what) {
                then[at].1 = Some(key(at + 1));
            }
            held(&kms, &then, &what);
            drop(kms);
            held(&opened(&place).0, &then, &format!("{what}, opened again"));

            let what = format!("rows {order:?}, deleting {}", now[at].0);
            place.put(&bytes);
            let (kms, _) = opened(&place);
            let mut then = now.clone();
            if !refused(kms.delete_alias(now[at].0), &what) {
                then[at].1 = None;
            }
            held(&kms, &then, &what);
            drop(kms);
            held(&opened(&place).0, &then, &format!("{what}, opened again"));
        }
    }
    assert!(failed > 0, "no order of the rows led a search astray");
}

#[test]
fn a_key_never_shows_or_takes_along_another_keys_alias() {
    let sample = aliased(&[0, 1, 1, 2]);
    let page = only_page(&sample.bytes, "alias_key");
    let place = Place::new();
    let mut led_astray = 0;
    for order in orders(page.cells()).into_iter().step_by(step()) {
        let bytes = page.ordered(&sample.bytes, &order);
        place.put(&bytes);
        let (kms, _) = opened(&place);
        let mut failed = 0;
        for (number, id) in sample.keys.iter().enumerate() {
            let own: Vec<&str> =
                sample.aliases.iter().filter(|(_, key)| *key == number).map(|(alias, _)| alias.as_str()).collect();
            let mut listed = Vec::new();
            let done = kms.list_aliases(Some(id), None, usize::MAX, |alias, key| {
                assert_eq!(key.to_string(), *id, "index {order:?}: {alias} is shown as another key's");
                listed.push(alias.to_owned());
                true
            });
            let status = done.err().map(|error| error.status());
            assert!(
                listed.iter().all(|alias| own.contains(&alias.as_str())),
                "index {order:?}: key {number} shows {listed:?} as its own, which are {own:?}"
            );
            assert!(matches!(status, None | Some(Status::KeystoreCorrupt)), "index {order:?}: a list says {status:?}");
            failed += usize::from(listed != own);
        }
        assert!(failed == 0 || faults(&kms).1.is_some(), "index {order:?}: lists fail, but verify finds nothing");
        led_astray += failed;
        drop(kms);
        for (doomed, id) in sample.keys.iter().enumerate() {
            let what = format!("index {order:?}, key {doomed} destroyed");
            place.put(&bytes);
            let (kms, clock) = opened(&place);
            let done = destroy(&kms, &clock, id);
            assert!(matches!(done, Ok(()) | Err(Status::KeystoreCorrupt)), "{what}: {done:?}");
            let gone = kms.describe_key(id).is_err_and(|error| error.status() == Status::KeyNotFound);
            let others = sample.aliases.iter().filter(|(_, key)| *key != doomed);
            let others: Vec<_> =
                others.map(|(alias, key)| (alias.as_str(), Some(sample.keys[*key].as_str()))).collect();
            held(&kms, &others, &what);
            if gone {
                let own = sample.aliases.iter().filter(|(_, key)| *key == doomed);
                held(&kms, &own.map(|(alias, _)| (alias.as_str(), None)).collect::<Vec<_>>(), &what);
            }
        }
    }
    assert!(led_astray > 0, "no order of the index led a list astray");
}

#[test]
fn a_tag_is_set_and_removed_as_it_is_said_whatever_the_order_of_rows() {
    let place = Place::new();
    let kms = Keystore::open(&place.store(), &quiet().create(true)).unwrap();
    let keys: Vec<String> = (0..3).map(|_| new_key(&kms)).collect();
    // Enough rows that a search for one of a key's tags may be led elsewhere than the search for the first of them.
    let some = |names: &[&'static str]| names.iter().map(|name| (*name, "1")).collect::<Vec<_>>();
    let held = [some(&["a", "b", "c", "d", "e"]), some(&["a", "b", "c"]), some(&["a", "b", "c"])];
    for (key, tags) in keys.iter().zip(&held) {
        kms.tag_resource(key, tags).unwrap();
    }
    drop(kms);
    let whole = place.bytes();
    let page = only_page(&whole, "tag");
    let mut broken = Vec::new();
    let mut tried = 0;
    let swaps = (0..page.cells()).flat_map(|one| (0..one).map(move |other| (one, other)));
    for (one, other) in swaps.step_by(step()) {
        let mut order: Vec<usize> = (0..page.cells()).collect();
        order.swap(one, other);
        let bytes = page.ordered(&whole, &order);
        for name in ["a", "b", "c", "d"] {
            for value in [Some("2"), None] {
                tried += 1;
                place.put(&bytes);
                let (kms, _) = opened(&place);
                let done = match value {
                    Some(value) => kms.tag_resource(&keys[1], &[(name, value)]),
                    None => kms.untag_resource(&keys[1], &[name]),
                };
                let mut then = held.clone();
                if done.is_ok() {
                    then[1].retain(|(old, _)| *old != name);
                    then[1].extend(value.map(|value| (name, value)));
                    then[1].sort_unstable();
                }
                let mut answers = vec![done];
                for (key, then) in keys.iter().zip(&then) {
                    answers.push(kms.list_resource_tags(key).map(|tags| {
                        let tags: Vec<_> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                        if tags != *then {
                            broken.push(format!("rows {order:?}, {name} to {value:?}: {tags:?} instead of {then:?}"));
                        }
                    }));
                }
                let statuses: Vec<_> =
                    answers.into_iter().filter_map(|answer| answer.err().map(|error| error.status())).collect();
                if statuses.iter().any(|status| *status != Status::KeystoreCorrupt) {
                    broken.push(format!("rows {order:?}, {name} to {value:?}: {statuses:?}"));
                }
                if !statuses.is_empty() && faults(&kms).1.is_none() {
                    broken.push(format!("rows {order:?}, {name} to {value:?}: errors, but verify finds nothing"));
                }
            }
        }
    }
    broken.iter().for_each(|text| println!("{text}"));
    assert_eq!(broken.len(), 0, "changes of tags that went astray, of {tried}");
}

/// More of everything than the common sample has: pages in the inside of trees, entries in each index.
fn rich() -> &'static Sample {
    static MADE: OnceLock<Sample> = OnceLock::new();
    MADE.get_or_init(make)
}

/// Keys of `rich` that nothing is due for; the first `ENABLED` may be destroyed.
const STEADY: usize = 6;
const ENABLED: usize = 5;
/// A key of `rich` that may be changed.
const CHANGED: usize = 10;

fn make() -> Sample {
    let place = Place::new();
    let day = 86_400;
    let clock = ManualClock::at(T0 - 9 * day * 1000);
    let kms = Keystore::open(&place.store(), &quiet().create(true).clock(clock.clone())).unwrap();
    let ids: Vec<String> = (0..=CHANGED)
        .map(|number| {
            let external = matches!(number, 8 | 9).then_some(Origin::External);
            let rotate_every = external.is_none().then(|| Interval::parse("90d").unwrap());
            let request = CreateKey { description: format!("key {number}"), rotate_every, origin: external };
            clock.advance_seconds(1);
            kms.create_key(&request).unwrap().to_string()
        })
        .collect();
    for (number, id) in ids.iter().enumerate().skip(8).take(2) {
        let expires = Time::from_millis(T0 - day * 1000 - number as i64);
        kms.import_raw_key_material(id, &[number as u8; 32], Some(expires)).unwrap();
    }
    let mut blobs = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let encrypt = || {
            let text = format!("text of {number}");
            (kms.encrypt(id, text.as_bytes(), &[("round", "x")]).unwrap(), text)
        };
        let mut made = vec![encrypt()];
        for round in 1..[20, 19, 4, 3, 2, 2, 2, 2, 1, 1, 2][number] {
            clock.advance_seconds(1);
            kms.rotate(id).unwrap();
            if matches!(round, 1 | 17) {
                made.push(encrypt());
            }
        }
        blobs.push(made);
    }
    // Neighbours in the order of names are different keys'.
    for number in 0..26 {
        let name = format!("alias/{number:02}-{}", "long-".repeat(30));
        kms.create_alias(&ids[number % ids.len()], &name).unwrap();
    }
    for (number, id) in ids.iter().enumerate() {
        kms.tag_resource(id, &[("team", &format!("t{number}")), ("stage", "test")]).unwrap();
    }
    kms.disable_key(&ids[5]).unwrap();
    for id in &ids[6..8] {
        clock.advance_seconds(1);
        kms.schedule_key_deletion(id, 7).unwrap();
    }
    // What was due by then is seen to be so, once.
    clock.set(T0);
    kms.tick().unwrap();
    drop(kms);
    let kms = place.open().unwrap();
    let keys = ids.iter().zip(blobs).map(|(id, blobs)| Kept::of(&kms, id, blobs)).collect();
    drop(kms);
    Sample { bytes: place.bytes(), older: Vec::new(), keys }.whole(&place)
}

/// Changes a damaged keystore and destroys a key of it; no other key may suffer more than an error.
fn judge_changes(sample: &Sample, place: &Place, (page, order): &(&Page, Vec<usize>), doomed: usize, what: &str) {
    place.put(&page.ordered(&sample.bytes, order));
    let clock = ManualClock::at(T0 + 50_000);
    let Ok(kms) = Keystore::open(&place.store(), &quiet().clock(clock.clone())) else { return };
    let id = &sample.keys[CHANGED].id;
    let changes: [(&str, kms::Result<()>); 6] = [
        ("rotating", kms.rotate(id).map(drop)),
        ("tagging", kms.tag_resource(id, &[("team", "other"), ("x", "y")])),
        ("untagging", kms.untag_resource(id, &["stage"])),
        ("naming", kms.create_alias(id, "alias/another")),
        ("moving an alias", kms.update_alias(id, &sample.keys[CHANGED - 1].alias)),
        ("a new key", kms.create_key(&CreateKey::default()).map(drop)),
    ];
    for (change, result) in changes {
        let status = result.err().map(|error| error.status());
        assert!(matches!(status, None | Some(Status::KeystoreCorrupt)), "{what}: {change} says {status:?}");
    }
    let done = destroy(&kms, &clock, &sample.keys[doomed].id);
    assert!(matches!(done, Ok(()) | Err(Status::KeystoreCorrupt)), "{what}: destroying says {done:?}");
    let others = (0..STEADY).filter(|number| *number != doomed);
    let failures: Vec<_> = others.flat_map(|number| sample.failures_of(&kms, number)).collect();
    for (number, use_, status) in &failures {
        assert_eq!(*status, Status::KeystoreCorrupt, "{what}, changed: {use_} of key {number}");
    }
    let (_, verdict) = faults(&kms);
    assert!(failures.is_empty() || verdict.is_some(), "{what}, changed: {failures:?}, but verify finds nothing");
    let gone = kms.describe_key(&sample.keys[doomed].id).is_err_and(|error| error.status() == Status::KeyNotFound);
    assert!(!gone || !left_over(sample, place, doomed), "{what}: a destroyed key's material is left");
}

/// Whether the file still holds material of a key of the sample.
fn left_over(sample: &Sample, place: &Place, number: usize) -> bool {
    static SEALED: OnceLock<Vec<Vec<Vec<u8>>>> = OnceLock::new();
    let sealed = SEALED.get_or_init(|| {
        let place = Place::new();
        place.put(&sample.bytes);
        let sqlite = place.sqlite();
        let mut statement =
            sqlite.prepare("SELECT sealed FROM material JOIN key ON row = key_row WHERE id = ?").unwrap();
        let mut of = |kept: &Kept| {
            let id = *kms::KeyId::parse(&kept.id).unwrap().as_bytes();
            let rows = statement.query_map([id.as_slice()], |row| row.get(0)).unwrap();
            rows.map(|sealed| sealed.unwrap()).collect()
        };
        sample.keys.iter().map(&mut of).collect()
    });
    let bytes = place.bytes();
    let mut of_key = sealed[number].iter();
    of_key.any(|sealed| bytes.windows(sealed.len()).any(|window| window == *sealed))
}

/// Far longer than any call takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `run`, and returns its panic. A call that doesn't end is stopped by removing the file, so that its next access
/// fails; inside a transaction only the end of the program stops it.
fn ended(place: &Place, what: &str, run: &dyn Fn()) -> Result<(), String> {
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            if waiting.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout) {
                return false;
            }
            place.put(b"");
            if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what}: something never ends, in one transaction");
                std::process::abort();
            }
            true
        });
        let result = catch_unwind(AssertUnwindSafe(run));
        drop(done);
        match (watcher.join().unwrap(), result) {
            (true, _) => Err("something does not end".to_owned()),
            (false, Ok(())) => Ok(()),
            (false, Err(panic)) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        }
    })
}

/// Orders of a page's cells: neighbours in each other's place, one cell in two places, and some at random.
fn damages(page: &Page, numbers: &mut impl FnMut() -> usize) -> Vec<Vec<usize>> {
    let whole: Vec<usize> = (0..page.cells()).collect();
    let mut orders = Vec::new();
    for at in 1..page.cells() {
        let mut order = whole.clone();
        order.swap(at - 1, at);
        orders.push(order);
        let mut order = whole.clone();
        order[at - usize::from(at % 2 == 0)] = at - usize::from(at % 2 == 1);
        orders.push(order);
    }
    let random = match page.cells() {
        0..=2 => 0,
        _ if long() => 20,
        _ => 2,
    };
    for _ in 0..random {
        let mut order = whole.clone();
        for at in 1..order.len() {
            order.swap(at, numbers() % (at + 1));
        }
        orders.push(order);
    }
    orders
}

#[test]
fn cells_in_another_order_are_noticed_or_harmless() {
    let sample = rich();
    let mut state = 1_u64;
    // A generator that needs no seed from outside: each run is the same.
    let mut numbers = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let pages = pages(&sample.bytes);
    let cases: Vec<(&Page, Vec<usize>)> =
        pages.iter().flat_map(|page| damages(page, &mut numbers).into_iter().map(move |order| (page, order))).collect();
    let broken = Mutex::new(Vec::new());
    let tell = |case: usize, what: &str, place: &Place, run: &dyn Fn()| {
        if let Err(text) = ended(place, what, run) {
            broken.lock().unwrap().push((case, format!("{what}: {text}")));
        }
    };
    let counts = in_parallel(cases.len(), |place, case| {
        let (page, order) = &cases[case];
        let bytes = page.ordered(&sample.bytes, order);
        let what = format!("page {} of {} (kind {}), cells {order:?}", page.number, page.of, page.kind);
        tell(case, &what, place, &|| judge_changes(sample, place, &cases[case], case % ENABLED, &what));
        let outcome = Cell::new(Outcome::Latent);
        tell(case, &what, place, &|| outcome.set(judge(sample, place, &bytes, None, &what)));
        outcome.get()
    });
    println!("{} orders of the cells of {} pages: {counts:?}", cases.len(), pages.len());
    let kinds: BTreeMap<u8, usize> =
        pages.iter().filter(|page| page.cells() > 1).fold(BTreeMap::new(), |mut kinds, page| {
            *kinds.entry(page.kind).or_default() += 1;
            kinds
        });
    let mut broken = broken.into_inner().unwrap();
    broken.sort();
    for (_, text) in &broken {
        println!("{text}");
    }
    assert_eq!(broken.len(), 0, "orders of cells that break a promise, of {} tried", cases.len());
    assert!(kinds.contains_key(&10) && kinds.contains_key(&13), "no leaf was tried: {kinds:?}");
    assert!(counts.get(&Outcome::Some).is_some_and(|n| *n * step() > 50), "no order hit a single key: {counts:?}");
}
