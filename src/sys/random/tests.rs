use std::cell::Cell;

use super::*;

#[test]
fn kernel_bytes_fill_every_length_and_differ() {
    for len in [0, 1, 12, 255, 256, 257, 4096, 1 << 20] {
        let mut bytes = vec![0; len];
        fill(&mut bytes).unwrap();
        if len >= 12 {
            assert!(bytes.windows(12).next_back().unwrap().iter().any(|&byte| byte != 0), "the end of {len} is empty");
        }
    }
    assert_ne!(array::<32>().unwrap(), array::<32>().unwrap());
}

#[test]
fn a_hardware_word_is_never_a_constant() {
    if let Some(first) = hardware_word() {
        assert!((0..100).filter_map(|_| hardware_word()).all(|word| word != first));
    }
}

#[test]
fn a_broken_or_absent_generator_is_refused() {
    assert!(!is_quick(|| None));
    assert!(!is_quick(|| Some(u64::MAX)));
    assert!(!is_quick(|| Some(7)));
}

#[test]
fn a_slow_generator_is_refused_and_a_quick_one_taken() {
    let count = Cell::new(0);
    let next = || {
        count.set(count.get() + 1);
        Some(count.get())
    };
    assert!(is_quick(next));
    assert!(!is_quick(|| {
        let start = Instant::now();
        while start.elapsed().as_nanos() < 4 * QUICK_NS {}
        next()
    }));
}
