use super::*;

fn bytes(block: NonNull<u8>, len: usize) -> &'static mut [u8] {
    // SAFETY: as long as the block is.
    unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), len) }
}

/// Sizes around every edge of a class and of a separate mapping.
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

/// Takes and frees blocks of many sizes, each full of its own byte.
fn churn(seed: usize, turns: usize) {
    let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
    for turn in 0..turns {
        let size = 1 + (turn * 7919 + seed * 104_729) % 3000;
        let block = NonNull::new(malloc(size, ptr::null(), 0).cast()).unwrap();
        bytes(block, size).fill(turn as u8);
        held.push((block, size, turn as u8));
        if held.len() > 50 {
            let (block, size, filling) = held.swap_remove(turn % 50);
            assert!(bytes(block, size).iter().all(|byte| *byte == filling), "a block was lent twice");
            // SAFETY: live, freed once.
            unsafe { free(block.as_ptr().cast(), ptr::null(), 0) };
        }
    }
    for (block, ..) in held {
        // SAFETY: live, freed once.
        unsafe { free(block.as_ptr().cast(), ptr::null(), 0) };
    }
}

#[test]
fn threads_never_get_each_others_blocks() {
    std::thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || churn(seed, 20_000)))));
}

#[test]
fn a_child_never_waits_for_a_lock_of_its_parents() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    churn(seed, 100);
                }
            });
        }
        for _ in 0..200 {
            // SAFETY: the child uses the heap alone and leaves at once; the alarm ends one that hangs.
            let status = unsafe {
                let child = libc::fork();
                if child == 0 {
                    libc::alarm(20);
                    let block = malloc(1000, ptr::null(), 0);
                    free(block, ptr::null(), 0);
                    libc::_exit(i32::from(block.is_null()));
                }
                let mut status = -1;
                libc::waitpid(child, &mut status, 0);
                status
            };
            if status != 0 {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(status, 0, "a child hangs in the heap, or gets no memory");
        }
        stop.store(true, Ordering::Relaxed);
    });
}
