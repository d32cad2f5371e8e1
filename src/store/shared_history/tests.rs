use super::*;
use crate::store::shard::Shards;

/// The states of a shard in the order of changes, each with what its description names.
fn chain(seed: u8, len: i64) -> Vec<(State, Vec<u8>)> {
    let state = |at: i64| State::new(at, [seed.wrapping_add(at as u8); 32]);
    let names = |at: i64| (1..=at.min(32)).flat_map(|before| state(at - before).mac()[..8].to_vec()).collect();
    (0..len).map(|at| (state(at), names(at))).collect()
}

fn head(generation: i64) -> Head {
    Head { shard: Shard::FIRST, generation, destroyed: 0, renamed: 0 }
}

fn see(history: &mut SharedHistory, begun: &mut Beginning, found: &(State, Vec<u8>)) -> bool {
    history.see(begun, found.0, head(found.0.generation()), Some(&found.1))
}

fn commit(history: &mut SharedHistory, begun: &Beginning, made: &(State, Vec<u8>)) {
    history.committed(begun, made.0, head(made.0.generation()));
}

/// A history whose newest state is the one at `at`.
fn known(states: &[(State, Vec<u8>)], at: usize) -> SharedHistory {
    let mut history = SharedHistory::default();
    let mut begun = history.begin(0);
    assert!(!see(&mut history, &mut begun, &states[at]));
    history
}

#[test]
fn a_state_of_before_anothers_commit_is_no_loss_and_sets_nothing_back() {
    let states = chain(0, 10);
    let mut history = known(&states, 5);
    let (mut reader, writer) = (history.begin(0), history.begin(0));
    commit(&mut history, &writer, &states[6]);
    assert!(!see(&mut history, &mut reader, &states[5]), "an earlier moment is taken for a loss");
    assert!(history.is_at(Shard::FIRST, &states[6].0), "an earlier moment sets the newest state back");
    assert_eq!(reader.breaks, history.begin(0).breaks);
}

#[test]
fn what_another_transaction_committed_may_be_found_before_it_is_recorded() {
    let states = chain(0, 10);
    let mut history = known(&states, 5);
    let (mut first, mut second) = (history.begin(0), history.begin(0));
    assert!(!see(&mut history, &mut first, &states[5]));
    // The first has committed; the second finds that, and commits too.
    assert!(!see(&mut history, &mut second, &states[6]));
    commit(&mut history, &second, &states[7]);
    commit(&mut history, &first, &states[6]);
    assert!(history.is_at(Shard::FIRST, &states[7].0), "a late record sets the newest state back");
}

#[test]
fn a_state_older_than_what_was_known_before_is_a_loss_that_is_reported_once() {
    let states = chain(0, 10);
    let mut history = known(&states, 5);
    let (mut first, mut second) = (history.begin(0), history.begin(0));
    assert!(see(&mut history, &mut first, &states[4]), "a loss is not noticed");
    // An operator may have accepted it meanwhile.
    assert!(!see(&mut history, &mut second, &states[4]), "a loss is reported twice");
    assert!(first.breaks > 0 && second.breaks > first.breaks);
    let mut later = history.begin(0);
    assert!(!see(&mut history, &mut later, &states[4]));
    assert!(see(&mut history, &mut later, &states[3]), "a second loss is not noticed");
}

#[test]
fn another_history_is_noticed_by_a_transaction_of_any_moment() {
    let (ours, theirs) = (chain(0, 10), chain(100, 10));
    let mut history = known(&ours, 5);
    let mut begun = history.begin(0);
    assert!(see(&mut history, &mut begun, &theirs[5]), "the same generation of another history");
    let mut history = known(&ours, 5);
    let (mut begun, mut other) = (history.begin(0), history.begin(0));
    assert!(!see(&mut history, &mut other, &ours[8]));
    assert!(see(&mut history, &mut begun, &theirs[6]), "an earlier moment of another history");
}

#[test]
fn a_transaction_of_before_a_loss_does_not_undo_what_followed() {
    let states = chain(0, 10);
    let mut history = known(&states, 5);
    let (mut before, mut after) = (history.begin(0), history.begin(0));
    assert!(see(&mut history, &mut after, &states[3]));
    assert!(!see(&mut history, &mut before, &states[5]), "it was begun before");
    assert!(history.is_at(Shard::FIRST, &states[3].0));
    assert!(before.breaks < after.breaks, "what it read passes for the present history");
    commit(&mut history, &before, &states[6]);
    assert!(history.is_at(Shard::FIRST, &states[3].0));
}

fn head_at(shard: Shard, generation: i64) -> Head {
    Head { shard, ..head(generation) }
}

#[test]
fn a_loss_of_two_shards_is_reported_once_though_they_are_found_apart() {
    let states = chain(0, 60);
    let other = Shards::new(64).unwrap().all().nth(1).unwrap();
    let mut history = known(&states, 50);
    let see_other = |history: &mut SharedHistory, begun: &mut Beginning, at: usize| {
        history.see(begun, states[at].0, head_at(other, at as i64), Some(&states[at].1))
    };
    let mut begun = history.begin(0);
    assert!(!see_other(&mut history, &mut begun, 50));
    // One transaction reads the first shard only. The other reads both, and began before.
    let (mut poll, mut change) = (history.begin(0), history.begin(0));
    assert!(see(&mut history, &mut change, &states[40]));
    assert!(!see(&mut history, &mut poll, &states[40]) && !see_other(&mut history, &mut poll, 40));
    assert_eq!(poll.breaks, UNPLACED);
    // An operator may have accepted it meanwhile.
    let mut later = history.begin(0);
    assert!(!see_other(&mut history, &mut later, 40), "a loss is reported twice");
    assert_eq!(later.breaks, change.breaks);
    let mut last = history.begin(0);
    assert!(see_other(&mut history, &mut last, 39), "a second loss is not noticed");
}

#[test]
fn of_two_that_find_too_many_changes_one_alone_begins_another_history() {
    let states = chain(0, 60);
    let mut history = known(&states, 5);
    let (mut first, mut second) = (history.begin(0), history.begin(0));
    assert!(!see(&mut history, &mut first, &states[50]) && first.breaks == 1);
    assert!(!see(&mut history, &mut second, &states[49]));
    assert_eq!(second.breaks, UNPLACED, "an earlier moment passes for a later history");
    assert!(history.is_at(Shard::FIRST, &states[50].0) && history.begin(0).breaks == 1);
}

#[test]
fn an_earlier_moment_after_too_many_changes_begins_no_other_history() {
    let states = chain(0, 60);
    let mut history = known(&states, 5);
    let mut earlier = history.begin(0);
    for at in [30, 55] {
        let mut begun = history.begin(0);
        assert!(!see(&mut history, &mut begun, &states[at]) && begun.breaks == 0);
    }
    assert!(!see(&mut history, &mut earlier, &states[50]));
    assert_eq!(earlier.breaks, UNPLACED, "an earlier moment passes for another history");
    assert!(history.is_at(Shard::FIRST, &states[55].0) && history.begin(0).breaks == 0);
}

#[test]
fn what_begins_another_history_is_earlier_in_no_shard() {
    let states = chain(0, 60);
    let other = Shards::new(64).unwrap().all().nth(1).unwrap();
    for is_break_first in [false, true] {
        let mut history = known(&states, 5);
        let mut reader = history.begin(0);
        let writer = history.begin(0);
        history.committed(&writer, states[6].0, head_at(other, 6));
        let see_other = |history: &mut SharedHistory, begun: &mut Beginning| {
            assert!(!history.see(begun, states[5].0, head_at(other, 5), Some(&states[5].1)));
        };
        if !is_break_first {
            see_other(&mut history, &mut reader);
        }
        assert!(!see(&mut history, &mut reader, &states[50]));
        if is_break_first {
            see_other(&mut history, &mut reader);
        }
        assert_eq!(reader.breaks, UNPLACED, "it sets a shard back");
    }
}
