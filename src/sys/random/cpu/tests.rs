use std::cell::Cell;

use super::*;

#[test]
fn a_word_is_never_a_constant() {
    if let Some(first) = word() {
        assert!((0..100).filter_map(|_| word()).all(|word| word != first));
    }
    assert_eq!(quick_word().is_some(), speed() == Speed::Quick);
}

#[test]
fn a_broken_or_absent_generator_is_refused() {
    assert_eq!(measure(|| None), Speed::None);
    assert_eq!(measure(|| Some(u64::MAX)), Speed::None);
    assert_eq!(measure(|| Some(7)), Speed::None);
}

#[test]
fn a_slow_generator_is_known_from_a_quick_one() {
    let count = Cell::new(0);
    let next = || {
        count.set(count.get() + 1);
        Some(count.get())
    };
    assert_eq!(measure(next), Speed::Quick);
    let slow = || {
        let start = Instant::now();
        while start.elapsed().as_nanos() < 4 * QUICK_NS {}
        next()
    };
    assert_eq!(measure(slow), Speed::Slow);
}
