use super::*;

#[test]
fn every_length_is_filled() {
    let Some(mut generator) = Generator::new() else { return };
    for len in (0..200).chain([4088, 4096, 100_000]) {
        let mut buf = vec![0; len + 1];
        let (filled, beyond) = buf.split_at_mut(len);
        generator.fill(filled).unwrap();
        assert_eq!(beyond, [0], "a byte too many is written");
        assert!(!filled.ends_with(&[0; 16]), "the end of {len} bytes was left out");
    }
}

#[test]
fn no_eight_bytes_come_twice() {
    let (Some(mut one), Some(mut other)) = (Generator::new(), Generator::new()) else { return };
    let mut seen = std::collections::HashSet::new();
    for generator in [&mut one, &mut other] {
        for _ in 0..2000 {
            let mut bytes = [0; 64];
            generator.fill(&mut bytes).unwrap();
            assert!(bytes.as_chunks::<8>().0.iter().all(|eight| seen.insert(*eight)));
        }
    }
}

#[test]
fn a_forked_child_finds_a_state_without_a_key() {
    let Some(mut generator) = Generator::new() else { return };
    let mut ours = [0; 32];
    generator.fill(&mut ours).unwrap();
    let mut pipe = [0; 2];
    // SAFETY: the child makes only system calls and leaves by _exit.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mut theirs = [0; 32];
            let wiped = std::slice::from_raw_parts(generator.state.as_ptr().cast::<u8>(), generator.size);
            let failed = wiped.iter().any(|byte| *byte != 0) || generator.fill(&mut theirs).is_err();
            libc::_exit((failed || libc::write(pipe[1], theirs.as_ptr().cast(), 32) != 32).into());
        }
        let mut theirs = [0; 32];
        assert_eq!(libc::read(pipe[0], theirs.as_mut_ptr().cast(), 32), 32);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0, "the child found its parent's state");
        libc::close(pipe[0]);
        libc::close(pipe[1]);
        generator.fill(&mut ours).unwrap();
        assert_ne!(ours, theirs);
    }
}
