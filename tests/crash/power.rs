//! Power lost after each write, sync and change of a name, of each operation, on a disk that keeps any part of what was
//! not synced.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::calls::{Entry, Watch};
use crate::disk::{Chance, Disk, Ignored, LOSSES, Loss, none_ignored};
use crate::scene::{Atomic, Keys, Prepared, Start, folder, is_long, operations, scaled};
use crate::together::each;

/// One run of an operation: the disk before it, and all that it wrote.
struct Recorded {
    prepared: Prepared,
    disk: Disk,
    log: Vec<Entry>,
}

fn record(prepared: Prepared) -> Recorded {
    let folder = prepared.copy();
    let disk = Disk::of(folder.path());
    let watch = Watch::over(folder.path());
    watch.record();
    let operation = &prepared.operation;
    let kms = operation.open(folder.path()).unwrap();
    if operation.start == Start::Open {
        (operation.act)(&kms, &Keys::of(&kms)).unwrap();
    }
    watch.acknowledged();
    drop(kms);
    let log = watch.log();
    drop(watch);
    Recorded { prepared, disk, log }
}

/// What was found wrong, and in how many images.
#[derive(Default)]
struct Found {
    images: usize,
    /// Moments at which power was lost.
    steps: usize,
    violations: Vec<String>,
    /// How many images held the complete change, and how many nothing of it.
    whole: usize,
    none: usize,
}

/// What to lose at one moment: of everything one, and of the others `rounds` by turns.
fn losses(moment: usize, rounds: usize) -> impl Iterator<Item = (Loss, usize)> {
    let others = (0..rounds).map(move |round| (LOSSES[1 + (moment * rounds + round) % (LOSSES.len() - 1)], round));
    std::iter::once((LOSSES[0], 0)).chain(others)
}

/// Loses power after each step, in up to `rounds` ways more than losing everything; no disk twice.
fn lose_power(recorded: &Recorded, rounds: usize, ignored: Ignored, stop_at_first: bool) -> Found {
    let mut found = Found::default();
    let (mut disk, mut acknowledged, mut tried) = (recorded.disk.clone(), false, HashSet::new());
    let prepared = &recorded.prepared;
    for (step, entry) in recorded.log.iter().enumerate() {
        acknowledged |= matches!(entry, Entry::Acknowledged);
        if !disk.take(entry, ignored) && !matches!(entry, Entry::Acknowledged) {
            continue;
        }
        found.steps += 1;
        for (loss, round) in losses(found.steps, rounds) {
            let seed = (step * 1000 + round) as u64;
            let image = disk.lose_power(loss, &mut Chance(seed));
            let mut hasher = DefaultHasher::new();
            (&image, acknowledged).hash(&mut hasher);
            if !tried.insert(hasher.finish()) {
                continue;
            }
            let folder = folder();
            image.put_into(folder.path());
            let seen = prepared.look_at(&folder);
            found.images += 1;
            if let Some(violation) = prepared.violation(&seen, acknowledged) {
                let name = prepared.operation.name;
                found.violations.push(format!(
                    "{name}: power lost after step {step} of {}, {loss:?}, seed {seed}: {violation}",
                    recorded.log.len()
                ));
                if stop_at_first {
                    return found;
                }
            }
            if let Ok(seen) = seen {
                found.whole += usize::from(seen == prepared.after);
                found.none += usize::from(seen == prepared.before);
            }
        }
    }
    found
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn power_lost_at_any_moment_leaves_each_operation_done_or_not_begun() {
    let (images, steps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found = each(operations(), |operation| {
        let found = lose_power(&record(Prepared::new(operation)), scaled(4, 200), none_ignored, true);
        images.fetch_add(found.images, Ordering::Relaxed);
        steps.fetch_add(found.steps, Ordering::Relaxed);
        assert_eq!(found.violations, Vec::<String>::new());
        assert!(found.whole > 0 && found.none > 0, "power was never lost before, or never after the change");
    });
    let (images, steps) = (images.into_inner(), steps.into_inner());
    println!("{} operations, {steps} moments, {images} different disks", found.len());
    assert!(steps > 15 * found.len() && images > steps, "hardly anything was tried");
}

/// How many operations show a violation on a disk that ignores some syncs; a few are enough to see it.
fn caught(ignored: Ignored) -> (usize, usize) {
    let some = operations()
        .into_iter()
        .filter(|operation| operation.start == Start::Open && operation.atomic == Atomic::Whole);
    let found = each(some.step_by(if is_long() { 1 } else { 5 }).collect(), |operation| {
        let found = lose_power(&record(Prepared::new(operation)), scaled(6, 50), ignored, true);
        usize::from(!found.violations.is_empty())
    });
    (found.iter().sum(), found.len())
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn without_its_syncs_the_journal_does_not_protect() {
    let (broken, of) = caught(|name| name.ends_with("-journal"));
    println!("the journal's syncs ignored: a violation in {broken} of {of} operations");
    assert!(broken * 2 > of, "the test of power losses doesn't notice an unsynced journal");
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn without_the_stores_syncs_acknowledged_changes_are_lost() {
    let (broken, of) = caught(|name| name.ends_with("keys.db"));
    println!("the store's syncs ignored: a violation in {broken} of {of} operations");
    assert!(broken * 2 > of, "the test of power losses doesn't notice an unsynced store");
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn without_any_sync_nothing_is_safe() {
    let (broken, of) = caught(|_| true);
    println!("all syncs ignored, as with synchronous=OFF: a violation in {broken} of {of} operations");
    assert!(broken * 2 > of, "the test of power losses doesn't notice that nothing is synced");
}
