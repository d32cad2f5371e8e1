use super::*;

fn id(number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_ne_bytes());
    id
}

#[test]
fn only_what_was_seen_is_said_to_be_lacking() {
    let mut versions = Versions::default();
    assert!(!versions.lacks(&[1; 32], &id(7)), "a key that was never checked");
    versions.keep([1; 32], vec![9, 3, 5]);
    assert!(versions.lacks(&[1; 32], &id(4)) && versions.lacks(&[1; 32], &id(0)));
    assert!([3, 5, 9].iter().all(|number| !versions.lacks(&[1; 32], &id(*number))), "one that the key has");
    assert!(!versions.lacks(&[2; 32], &id(4)), "another chain");
}

#[test]
fn memory_is_bounded() {
    let mut versions = Versions::default();
    for chain in 0..20 {
        versions.keep([chain; 32], vec![0; LIMIT / 4]);
        let kept: usize = versions.seen.values().map(Vec::len).sum();
        assert!(kept == versions.total && kept <= LIMIT, "{kept} of {LIMIT}");
    }
    versions.keep([99; 32], vec![0; LIMIT + 1]);
    assert!(!versions.seen.contains_key(&[99; 32]));
    versions.keep([19; 32], vec![1]);
    assert_eq!(versions.total, versions.seen.values().map(Vec::len).sum::<usize>());
}
