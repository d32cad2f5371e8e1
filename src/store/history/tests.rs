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
            meta.recent = Some(next(&meta, before.mac()));
        }
        let names = meta.recent.clone().unwrap_or_default();
        all.push((State::of(&sealing.meta_row(meta).unwrap()), names));
    }
    all
}

fn seen(before: &State, now: &(State, Vec<u8>)) -> (Step, u64) {
    let mut history = History::default();
    assert_eq!(history.see(*before, None), Step::On, "the first that is seen is believed");
    let step = history.see(now.0, Some(&now.1));
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
    history.see(ours[0].0, None);
    assert_eq!(history.see(ours[0].0, None), Step::On);
    assert_eq!(history.see(ours[1].0, None), Step::Unknown);
    assert_eq!(history.see(ours[0].0, None), Step::Older);
    assert_eq!(history.see(ours[1].0, None), Step::On, "an older copy is not what is known");
    history.committed(ours[2].0);
    assert_eq!((history.see(ours[2].0, None), history.breaks), (Step::On, 1));
}
