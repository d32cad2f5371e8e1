use super::*;
use crate::store::sealing::Sealing;

/// A chain of states, each with what its description names, from `from` on; `seed` sets one history apart from others.
fn chain(from: &[(State, Vec<u8>)], len: usize, seed: u8) -> Vec<(State, Vec<u8>)> {
    let mut sealing = Sealing::new(&[1; 32], [2; 16]).unwrap();
    let mut all = from.to_vec();
    while all.len() < len {
        let generation = 100 + all.len() as i64;
        let first = sealing.first_meta(generation, &[], None).unwrap();
        let mut meta = sealing.check_meta(&first).unwrap();
        meta.renamed = i64::from(seed);
        if let Some((before, names)) = all.last() {
            meta.recent = Some(names.clone());
            meta.recent = Some(next(&meta, before.mac(), 0));
        }
        let names = meta.recent.clone().unwrap_or_default();
        all.push((State::of(&sealing.meta_row(meta).unwrap()), names));
    }
    all
}

fn seen(before: &State, now: &(State, Vec<u8>)) -> (Step, u64) {
    let mut history = History::default();
    assert_eq!(history.see(Shard::FIRST, *before, None), Step::On, "the first that is seen is believed");
    let step = history.see(Shard::FIRST, now.0, Some(&now.1));
    (step, history.breaks)
}

#[test]
fn changes_on_top_are_told_from_another_history() {
    let ours = chain(&[], 100, 0);
    let theirs = chain(&ours[..50], 100, 1);
    for (at, (known, _)) in ours.iter().enumerate() {
        for (later, found) in ours.iter().enumerate() {
            let expected = match later.checked_sub(at) {
                None => (Step::Older, 0),
                Some(0..=NAMED) => (Step::On, 0),
                Some(_) => (Step::Unknown, 1),
            };
            assert_eq!(seen(known, found), expected, "{at} to {later}");
        }
        for (later, found) in theirs.iter().enumerate().skip(50) {
            let expected = match later.checked_sub(at) {
                None => (Step::Older, 0),
                Some(0..=NAMED) if at < 50 => (Step::On, 0),
                Some(0..=NAMED) => (Step::Other, 1),
                Some(_) => (Step::Unknown, 1),
            };
            assert_eq!(seen(known, found), expected, "{at} to {later} of the other");
        }
    }
}

#[test]
fn without_names_nothing_is_proven() {
    let ours = chain(&[], 3, 0);
    let mut history = History::default();
    history.see(Shard::FIRST, ours[0].0, None);
    assert_eq!(history.see(Shard::FIRST, ours[0].0, None), Step::On);
    assert_eq!(history.see(Shard::FIRST, ours[1].0, None), Step::Unknown);
    assert_eq!(history.see(Shard::FIRST, ours[0].0, None), Step::Older);
    assert_eq!(history.see(Shard::FIRST, ours[1].0, None), Step::On, "an older copy is not what is known");
    history.committed(Shard::FIRST, ours[2].0);
    assert_eq!((history.see(Shard::FIRST, ours[2].0, None), history.breaks), (Step::On, 1));
}

#[test]
fn a_transaction_of_several_generations_continues_what_was_before() {
    let ours = chain(&[], 50, 0);
    let (last, names) = ours.last().unwrap();
    let mut sealing = Sealing::new(&[1; 32], [2; 16]).unwrap();
    for skipped in [0, 1, 7, 31, 32, 500] {
        let first = sealing.first_meta(last.generation() + skipped + 1, &[], None).unwrap();
        let mut meta = sealing.check_meta(&first).unwrap();
        meta.recent = Some(names.clone());
        meta.recent = Some(next(&meta, last.mac(), skipped));
        let names = meta.recent.clone().unwrap();
        assert!(names.len() <= NAMED * NAME && names_first(&names, last.mac()));
        let after = (State::of(&sealing.meta_row(meta).unwrap()), names);
        for (known, _) in &ours {
            let expected = match usize::try_from(after.0.generation() - known.generation()).unwrap() {
                0..=NAMED => (Step::On, 0),
                _ => (Step::Unknown, 1),
            };
            assert_eq!(seen(known, &after), expected, "{skipped} skipped");
        }
        // Of another history, in a generation that was skipped.
        let other = chain(&ours, 51, 1).pop().unwrap().0;
        let is_other = seen(&other, &after).0 != Step::On;
        assert!(is_other, "{skipped} skipped");
    }
}
