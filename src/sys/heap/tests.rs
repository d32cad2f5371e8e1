use super::*;

fn bytes(block: NonNull<u8>, len: usize) -> &'static mut [u8] {
    // SAFETY: as long as the block is.
    unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), len) }
}

/// Sizes around every edge of a class and of a mapping of its own.
fn sizes() -> impl Iterator<Item = usize> {
    (0..140).flat_map(|lines| [lines * LINE + 1, lines * LINE + 47, lines * LINE + 48, lines * LINE + 49])
}

#[test]
fn blocks_are_apart_and_begin_at_a_cache_line() {
    let heaps = Heaps::new();
    let blocks: Vec<_> = sizes().chain(sizes()).map(|size| (heaps.allocate(size).unwrap(), size)).collect();
    for (n, (block, size)) in blocks.iter().enumerate() {
        assert!(block.addr().get().is_multiple_of(LINE));
        bytes(*block, *size).fill(n as u8);
    }
    for (n, (block, size)) in blocks.iter().enumerate() {
        assert!(bytes(*block, *size).iter().all(|byte| *byte == n as u8), "block {n} of {size} overlaps another");
    }
    for (block, _) in blocks {
        // SAFETY: allocated above, freed once.
        unsafe { heaps.free(block) };
    }
}

#[test]
fn a_freed_block_is_wiped_and_lent_again() {
    let heaps = Heaps::new();
    let block = heaps.allocate(1000).unwrap();
    bytes(block, 1000).fill(0xa5);
    // SAFETY: allocated above; its memory is never unmapped.
    unsafe { heaps.free(block) };
    assert!(bytes(block, 1000).iter().all(|byte| *byte == 0), "a freed block still holds what was in it");
    assert_eq!(heaps.allocate(1000), Some(block), "freed blocks are not used again");
}

#[test]
fn a_block_that_grows_keeps_its_bytes_and_leaves_none_behind() {
    let old = malloc(100, ptr::null(), 0);
    let place = NonNull::new(old.cast::<u8>()).unwrap();
    bytes(place, 100).fill(0xa5);
    // SAFETY: a live block.
    let new = unsafe { realloc(old, 5000, ptr::null(), 0) };
    assert_ne!(new, old);
    assert!(bytes(NonNull::new(new.cast()).unwrap(), 100).iter().all(|byte| *byte == 0xa5));
    // The first word may link free blocks.
    assert!(bytes(place, 100).iter().skip(8).all(|byte| *byte == 0), "growing left a copy behind");
    // SAFETY: a live block.
    assert_eq!(unsafe { realloc(new, 4900, ptr::null(), 0) }, new);
    // SAFETY: a live block.
    assert!(unsafe { realloc(new, 0, ptr::null(), 0) }.is_null());
}

#[test]
fn nothing_is_what_is_asked_for_none_or_far_too_much() {
    assert!(malloc(0, ptr::null(), 0).is_null());
    for size in [usize::MAX, usize::MAX - 16, usize::MAX - 100, isize::MAX as usize] {
        assert!(malloc(size, ptr::null(), 0).is_null());
    }
    // SAFETY: null is fine.
    unsafe { free(ptr::null_mut(), ptr::null(), 0) };
}

#[test]
fn what_libcrypto_takes_while_it_starts_is_apart_from_keys() {
    let heaps = Heaps::new();
    STARTS.set(true);
    let table = heaps.allocate(1000).unwrap();
    STARTS.set(false);
    // SAFETY: allocated above.
    unsafe { heaps.free(table) };
    assert_ne!(heaps.allocate(1000), Some(table), "a key would lie in memory that isn't locked");
}

#[test]
fn a_block_of_another_process_is_wiped_but_never_lent() {
    let parent = Heaps::new();
    let block = parent.allocate(1000).unwrap();
    bytes(block, 1000).fill(0xa5);
    let child = Heaps { epoch: parent.epoch + 1, ..Heaps::new() };
    // SAFETY: allocated above.
    unsafe { child.free(block) };
    assert!(bytes(block, 1000).iter().all(|byte| *byte == 0));
    assert_ne!(child.allocate(1000), Some(block), "a child keeps keys in memory that is locked in its parent only");
}
