use super::*;

#[test]
fn slots_are_bounded_and_find_what_they_hold() {
    let mut slots: Slots<u32, u32> = Slots::new();
    for n in 0..10 * CONTEXTS as u32 {
        slots.put(n, n + 1);
        assert_eq!(slots.get(&n), Some(&mut (n + 1)), "just put");
        assert!(slots.entries.len() <= CONTEXTS && slots.index.len() == slots.entries.len());
    }
    let held: Vec<u32> = slots.entries.iter().map(|(k, _)| *k).collect();
    for key in held {
        assert_eq!(slots.get(&key), Some(&mut (key + 1)));
    }
}

#[test]
fn a_removed_slot_is_gone_and_the_others_stay() {
    let mut slots: Slots<u32, u32> = Slots::new();
    (0..5).for_each(|n| slots.put(n, n));
    slots.remove(&1);
    assert_eq!(slots.get(&1), None);
    for n in [0, 2, 3, 4] {
        assert_eq!(slots.get(&n), Some(&mut { n }));
    }
}
