use super::*;

#[test]
fn texts_are_the_same_only_if_each_byte_is() {
    let text: [u8; 36] = std::array::from_fn(|at| at as u8);
    assert!(is_same(&text, &text.clone()));
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut other = text;
            other[at] ^= 1 << bit;
            assert!(!is_same(&text, &other) && !is_same(&other, &text), "byte {at} is not compared");
        }
    }
}
