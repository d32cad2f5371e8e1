use super::*;

/// A shard that went back to an older state, or was edited, is another state, and is read.
#[test]
fn only_the_very_state_that_was_checked_is_not_read_again() {
    let shard = Shard::FIRST;
    let head = Head { shard, generation: 7, destroyed: 0, renamed: 0 };
    let mut kept = Remembered::default();
    assert_eq!(kept.head(shard, &State::new(7, [1; 32])), None);
    kept.keep(State::new(7, [1; 32]), head);
    assert_eq!(kept.head(shard, &State::new(7, [1; 32])), Some(head));
    assert_eq!(kept.head(shard, &State::new(7, [2; 32])), None);
    assert_eq!(kept.head(shard, &State::new(6, [1; 32])), None);
    assert_eq!(kept.head(shard, &State::new(8, [1; 32])), None);
}
