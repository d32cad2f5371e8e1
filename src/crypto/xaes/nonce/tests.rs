use super::*;

/// A pool that buffers on any CPU.
fn buffered(wipe: bool, hardware: fn() -> Option<u64>) -> NoncePool {
    NoncePool { page: Some(WipedPage::new(wipe).expect("a page")), generator: Generator::new(), hardware, kept: None }
}

/// A CPU word that adds nothing, so that a test sees the buffer alone.
fn constant() -> Option<u64> {
    Some(0)
}

/// The next suffix of the parent and that of a child forked just before.
fn suffixes_after_fork(pool: &mut NoncePool) -> ([u8; SUFFIX], [u8; SUFFIX]) {
    pool.suffix(1).unwrap();
    let mut pipe = [0; 2];
    // SAFETY: the child makes only system calls and leaves by _exit.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let code = match pool.suffix(1) {
                Ok(suffix) => libc::write(pipe[1], suffix.bytes().as_ptr().cast(), SUFFIX) != SUFFIX as isize,
                Err(_) => true,
            };
            libc::_exit(code.into());
        }
        let mut theirs = [0; SUFFIX];
        assert_eq!(libc::read(pipe[0], theirs.as_mut_ptr().cast(), SUFFIX), SUFFIX as isize);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "the child failed");
        libc::close(pipe[0]);
        libc::close(pipe[1]);
        (*pool.suffix(1).unwrap().bytes(), theirs)
    }
}

#[test]
fn a_forked_child_never_repeats_its_parent() {
    // The CPU adds nothing here: the wiped page alone must make the difference.
    let (ours, theirs) = suffixes_after_fork(&mut buffered(true, constant));
    assert_ne!(ours, theirs, "the buffer survived the fork");
    let (ours, theirs) = suffixes_after_fork(&mut NoncePool::new().unwrap());
    assert_ne!(ours, theirs);
}

#[test]
fn without_the_wipe_a_forked_child_would_repeat_its_parent() {
    let (ours, theirs) = suffixes_after_fork(&mut buffered(false, constant));
    assert_eq!(ours, theirs, "the fork test can't fail, so it proves nothing");
}

#[test]
fn a_cloned_buffer_never_repeats_a_suffix() {
    // A counter stands in for a CPU without RDRAND: what counts is that the word is drawn during the call.
    fn word() -> Option<u64> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        cpu::quick_word().or_else(|| Some(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
    }
    let mut original = buffered(true, word);
    original.suffix(1).unwrap();
    let mut clone = buffered(true, word);
    *clone.page.as_mut().unwrap().get() = *original.page.as_mut().unwrap().get();
    for _ in 0..SLOTS - 2 {
        let (a, b) = (*original.suffix(1).unwrap().bytes(), *clone.suffix(1).unwrap().bytes());
        assert_ne!(a[..8], b[..8], "a cloned machine repeats a nonce");
    }
    // With a CPU that adds nothing, nonces repeat.
    let mut clone = buffered(true, constant);
    original.hardware = constant;
    *clone.page.as_mut().unwrap().get() = *original.page.as_mut().unwrap().get();
    let (a, b) = (original.suffix(1).unwrap(), clone.suffix(1).unwrap());
    assert_eq!(a.bytes(), b.bytes(), "the buffers were not the same, so the test proves nothing");
}

#[test]
fn used_bytes_are_wiped() {
    let mut pool = buffered(true, constant);
    let used = u64::from_ne_bytes(*pool.suffix(1).unwrap().bytes().first_chunk().unwrap());
    let buffer = pool.page.as_mut().unwrap().get();
    assert_eq!(buffer.left as usize, SLOTS - 1);
    assert_eq!(buffer.slots[SLOTS - 1], 0);
    assert!(!buffer.slots.contains(&used));
    assert_ne!(buffer.slots[SLOTS - 2], 0);
}

#[test]
fn no_suffix_repeats_over_many_refills() {
    for mut pool in [
        NoncePool::new().unwrap(),
        buffered(true, constant),
        NoncePool { page: None, generator: None, hardware: constant, kept: None },
    ] {
        let mut seen = std::collections::HashSet::new();
        assert!((0..5 * SLOTS).all(|_| seen.insert(*pool.suffix(1).unwrap().bytes())));
    }
}

#[test]
fn a_failed_draw_never_uses_the_buffer_alone() {
    let mut pool = buffered(true, || None);
    assert_ne!(pool.suffix(1).unwrap().bytes(), pool.suffix(1).unwrap().bytes());
    assert_eq!(pool.page.as_mut().unwrap().get().left, 0, "the buffer was touched");
}

#[test]
fn a_suffix_is_random_and_tells_its_message() {
    let random = u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
    let number = u32::from_ne_bytes([9, 10, 11, 12]);
    let mut suffix = Suffix::ZERO;
    suffix.store(random, number);
    assert_eq!(suffix.bytes(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut pool = buffered(true, cpu::quick_word);
    let (one, other) = (*pool.suffix(7).unwrap().bytes(), *pool.suffix(6).unwrap().bytes());
    assert_ne!(one[..8], other[..8]);
    if cpu::quick_word().is_some() {
        assert_eq!((one[8..].to_vec(), other[8..].to_vec()), (7u32.to_ne_bytes().into(), 6u32.to_ne_bytes().into()));
    }
}

#[test]
fn a_call_of_many_messages_never_repeats_a_suffix_and_draws_anew_for_the_next() {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    fn counting() -> Option<u64> {
        Some(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
    let mut pool = buffered(true, counting);
    let drawn = || NEXT.load(std::sync::atomic::Ordering::Relaxed);
    let mut seen = std::collections::HashSet::new();
    for call in 0..3 {
        let before = drawn();
        pool.begin_call();
        assert!((0..2 * SLOTS).all(|_| seen.insert(*pool.suffix(1).unwrap().bytes())), "call {call} repeats a suffix");
        assert_eq!(drawn(), before + 1, "a call draws for each of its messages");
        pool.draw_again();
        pool.end_call();
        assert_eq!(drawn(), before + 2);
    }
    // Outside of such a call each message has its own word.
    pool.draw_again();
    let before = drawn();
    pool.suffix(1).unwrap();
    pool.suffix(1).unwrap();
    assert_eq!(drawn(), before + 2);
}
