use super::*;

#[test]
fn bytes_fill_every_length_and_differ() {
    for fill in [fill, fill_from_kernel] {
        for len in [0, 1, 12, 255, 256, 257, 4096, 1 << 20] {
            let mut bytes = vec![0; len];
            fill(&mut bytes).unwrap();
            if len >= 12 {
                assert!(
                    bytes.windows(12).next_back().unwrap().iter().any(|&byte| byte != 0),
                    "the end of {len} is empty"
                );
            }
        }
    }
    assert_ne!(array::<32>().unwrap(), array::<32>().unwrap());
}

#[test]
fn every_byte_is_mixed_with_a_word_of_the_cpu() {
    for len in 0..=40 {
        let mut bytes = vec![0xf0; len];
        mix(&mut bytes, || Some(u64::MAX));
        assert!(bytes.iter().all(|byte| *byte == 0x0f), "of {len} bytes one is as the kernel returned it");
    }
}

#[test]
fn a_broken_generator_takes_nothing_away() {
    let kernel: [u8; 40] = std::array::from_fn(|at| at as u8);
    for broken in [None, Some(u64::MAX), Some(0), Some(0x5555_5555_5555_5555)] {
        let (mut one, mut other) = (kernel, kernel);
        other[39] ^= 1;
        mix(&mut one, || broken);
        mix(&mut other, || broken);
        assert_ne!(one, other, "kernel bytes that differ became equal");
        mix(&mut one, || broken);
        assert_eq!(one, kernel, "mixing lost something");
    }
}

#[test]
fn a_word_that_fails_leaves_the_others_to_be_mixed() {
    let drawn = std::cell::Cell::new(0);
    let mut bytes = [0; 24];
    mix(&mut bytes, || {
        drawn.set(drawn.get() + 1);
        (drawn.get() != 2).then_some(u64::MAX)
    });
    assert!(bytes.iter().enumerate().all(|(at, byte)| (*byte == 0) == (8..16).contains(&at)));
}

#[test]
fn a_suffix_without_the_cpu_carries_the_time() {
    let mut suffixes = [[0; 12]; 2];
    suffixes.iter_mut().for_each(|suffix| fill_suffix(suffix).unwrap());
    assert_ne!(suffixes[0], suffixes[1]);
    assert_ne!(clocks::nanoseconds(), 0);
}
