use super::*;

/// A pool that buffers whatever the CPU can do.
fn buffered(wipe: bool, hardware: fn() -> Option<u64>) -> NoncePool {
    NoncePool { page: Some(Page::new(wipe).expect("a page")), hardware }
}

/// A CPU word that adds nothing, so that a test sees the buffer alone.
fn constant() -> Option<u64> {
    Some(0)
}

/// The next suffix of the parent and that of a child forked just before.
fn suffixes_after_fork(pool: &mut NoncePool) -> ([u8; SUFFIX], [u8; SUFFIX]) {
    pool.suffix().unwrap();
    let mut pipe = [0; 2];
    // SAFETY: the child makes only system calls and leaves by _exit.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let code = match pool.suffix() {
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
        (*pool.suffix().unwrap().bytes(), theirs)
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
        random::hardware_word().or_else(|| Some(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
    }
    let mut original = buffered(true, word);
    original.suffix().unwrap();
    let mut clone = buffered(true, word);
    let (from, to) = (original.page.as_mut().unwrap().buffer(), clone.page.as_mut().unwrap().buffer());
    to.left = from.left;
    to.slots = from.slots;
    for _ in 0..SLOTS - 1 {
        let (a, b) = (*original.suffix().unwrap().bytes(), *clone.suffix().unwrap().bytes());
        assert_ne!(a[..8], b[..8], "a cloned machine repeats a nonce");
        assert_eq!(a[8..], b[8..], "the buffers were not the same, so the test proves nothing");
    }
}

#[test]
fn used_bytes_are_wiped() {
    let mut pool = buffered(true, constant);
    let suffix = *pool.suffix().unwrap().bytes();
    let buffer = pool.page.as_mut().unwrap().buffer();
    assert_eq!(buffer.left as usize, SLOTS - 1);
    assert_eq!(buffer.slots[SLOTS - 1], [0; SUFFIX]);
    assert!(!buffer.slots.contains(&suffix));
    assert_ne!(buffer.slots[SLOTS - 2], [0; SUFFIX]);
}

#[test]
fn no_suffix_repeats_over_many_refills() {
    for mut pool in [NoncePool::new().unwrap(), buffered(true, constant), NoncePool { page: None, hardware: constant }]
    {
        let mut seen = std::collections::HashSet::new();
        assert!((0..5 * SLOTS).all(|_| seen.insert(*pool.suffix().unwrap().bytes())));
    }
}

#[test]
fn a_failed_draw_never_uses_the_buffer_alone() {
    let mut pool = buffered(true, || None);
    assert_ne!(pool.suffix().unwrap().bytes(), pool.suffix().unwrap().bytes());
    assert_eq!(pool.page.as_mut().unwrap().buffer().left, 0, "the buffer was touched");
}

#[test]
fn a_suffix_is_the_buffers_bytes_and_the_cpus_word() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    assert_eq!(Suffix::new(bytes, 0).bytes(), &bytes);
    let word = u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 9]);
    assert_eq!(Suffix::new(bytes, word).bytes(), &[0, 0, 0, 0, 0, 0, 0, 1, 9, 10, 11, 12]);
}
