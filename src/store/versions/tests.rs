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

#[test]
fn records_are_found_by_their_mac_alone_and_bounded() {
    let of = |count: u64| {
        let records = (1..=count).map(crate::domain::version::VersionRecord::new).collect();
        Arc::new(VersionRecords::in_order(records).unwrap())
    };
    let mut versions = Versions::default();
    versions.keep_records([1; 32], &of(3));
    assert_eq!(versions.records(&[1; 32]), Some(of(3)));
    assert_eq!(versions.records(&[2; 32]), None);
    for mac in 2..20 {
        versions.keep_records([mac; 32], &of(RECORDS as u64 / 4));
        let kept: usize = versions.records.values().map(|records| records.all().len()).sum();
        assert!(kept <= RECORDS && versions.total_records >= kept, "{kept} of {RECORDS}");
    }
    versions.keep_records([99; 32], &of(RECORDS as u64 + 1));
    assert_eq!(versions.records(&[99; 32]), None);
}
