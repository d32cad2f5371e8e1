use super::*;
use crate::sys::zeroed::IN_CHUNK;

#[test]
fn prefixes_keep_their_numbers_and_start_spent() {
    let mut prefixes = Prefixes::new();
    assert!(prefixes.get(0).is_none());
    for at in 0..3 * IN_CHUNK {
        assert_eq!(prefixes.grow_to(at).unwrap().is_some(), at % IN_CHUNK == 0);
        let prefix = prefixes.get(at).unwrap();
        assert_eq!((prefix.messages, prefix.key), (0, [0; 32]), "a new place is not empty");
        (prefix.messages, prefix.serial) = (1, at as u64);
    }
    assert!((0..3 * IN_CHUNK).all(|at| prefixes.get(at).unwrap().serial == at as u64));
}

#[test]
fn a_forked_child_finds_no_key() {
    let mut prefixes = Prefixes::new();
    prefixes.grow_to(0).unwrap();
    let prefix = prefixes.get(0).unwrap();
    (prefix.messages, prefix.key, prefix.bytes) = (64, [7; 32], [8; PREFIX]);
    // SAFETY: the child only reads memory and leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let empty = prefix.messages == 0 && prefix.key == [0; 32] && prefix.bytes == [0; PREFIX];
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!empty)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "a child holds its parent's derived keys");
    assert_eq!(prefix.key, [7; 32]);
}

#[test]
fn a_wiped_prefix_holds_nothing() {
    let mut prefix = Prefix { bytes: [1; PREFIX], messages: 1, key: [1; 32], plaintext: 1, end: 1, serial: 1 };
    prefix.wipe();
    assert_eq!((prefix.bytes, prefix.messages, prefix.key, prefix.serial), ([0; PREFIX], 0, [0; 32], 0));
}
