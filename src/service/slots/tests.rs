use std::collections::HashMap;

use super::*;

/// A key whose hashes collide as much as the test wants.
struct Number(u32);

impl Called<u32> for Number {
    fn of(name: &u32) -> Self {
        Self(*name)
    }
    fn is(&self, name: &u32) -> bool {
        self.0 == *name
    }
    fn hash(name: &u32) -> u32 {
        name % 7 * 3
    }
}

const CAPACITY: usize = 40;

#[test]
fn it_holds_what_a_map_would_and_never_more_than_its_capacity() {
    let (mut slots, mut map) = (Slots::<Number, u32>::new(), HashMap::new());
    let mut word = 12345u32;
    for _ in 0..20_000 {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let name = word >> 16 & 63;
        match (word >> 28, slots.find(&name)) {
            (0..4, found) => {
                assert_eq!(slots.remove(&name).is_some(), found.is_some());
                map.remove(&name);
            }
            (_, None) => {
                let at = slots.put(&name, word, CAPACITY);
                // An eviction took the place of another.
                map.retain(|_, (place, _)| *place != at);
                map.insert(name, (at, word));
            }
            (_, Some(at)) => assert_eq!(map.get(&name), Some(&(at, *slots.get(at).unwrap())), "another's entry"),
        }
        assert!(map.len() <= CAPACITY && slots.len == map.len());
        for name in 0..64 {
            assert_eq!(slots.find(&name), map.get(&name).map(|(at, _)| *at), "{name} was lost or came back");
        }
    }
}

#[test]
fn an_empty_one_finds_nothing() {
    let mut slots = Slots::<Number, u32>::new();
    assert_eq!(slots.find(&1), None);
    assert_eq!(slots.remove(&1), None);
    assert!(slots.get(0).is_none());
}

#[test]
fn the_last_found_is_not_found_once_it_is_gone() {
    let mut slots = Slots::<Number, u32>::new();
    slots.put(&1, 1, CAPACITY);
    assert!(slots.find(&1).is_some());
    slots.remove(&1);
    assert_eq!(slots.find(&1), None);
}
