use super::*;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

/// Runs `body` in a forked child and returns the bytes it wrote.
fn in_child(body: impl FnOnce(&mut std::fs::File)) -> Vec<u8> {
    let mut ends = [0; 2];
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    let mut write = unsafe { std::fs::File::from_raw_fd(ends[1]) };
    let mut read = unsafe { std::fs::File::from_raw_fd(ends[0]) };
    if pid == 0 {
        body(&mut write);
        unsafe { libc::_exit(0) };
    }
    drop(write);
    let mut bytes = Vec::new();
    read.read_to_end(&mut bytes).unwrap();
    let mut status = 0;
    unsafe { libc::waitpid(pid, &mut status, 0) };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child died");
    bytes
}

#[test]
fn a_child_has_another_epoch_and_its_parent_keeps_its_own() {
    let before = epoch();
    let child = in_child(|out| out.write_all(&epoch().to_le_bytes()).unwrap());
    assert_ne!(child, before.to_le_bytes());
    assert_eq!(epoch(), before);
}

#[test]
fn a_child_makes_its_own_value_once() {
    let value = PerProcess::new(1u64);
    let out = in_child(|out| {
        for _ in 0..2 {
            let got = value.get(|old| Ok(old + 1)).unwrap();
            out.write_all(&got.to_le_bytes()).unwrap();
        }
    });
    assert_eq!(out, [2u64.to_le_bytes(), 2u64.to_le_bytes()].concat());
    assert_eq!(*value.get(|_| panic!("the parent rebuilds nothing")).unwrap(), 1);
}

#[test]
fn a_child_closes_the_descriptors_that_carry_locks() {
    let named = tempfile::NamedTempFile::new().unwrap();
    let file = File::open(named.path()).unwrap();
    let _registered = ClosedInChild::register(&file).unwrap();
    let fd = file.number();
    let out = in_child(|out| {
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        out.write_all(&[u8::from(open)]).unwrap();
    });
    assert_eq!(out, [0], "a child keeps its parent's lock");
    assert!(unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0, "the parent keeps its descriptor");
}

#[test]
fn a_child_leaves_a_file_that_took_the_number_of_one_with_locks() {
    let [named, hosts] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
    let file = File::open(named.path()).unwrap();
    let _registered = ClosedInChild::register(&file).unwrap();
    let fd = file.number();
    assert_eq!(unsafe { libc::dup2(hosts.as_file().as_raw_fd(), fd) }, fd);
    let out = in_child(|out| {
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        out.write_all(&[u8::from(open)]).unwrap();
    });
    assert_eq!(out, [1], "a child closed its host's file");
    drop(file);
    assert!(unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0, "the host's file was closed");
    unsafe { libc::close(fd) };
}

#[test]
fn a_fork_waits_for_the_gate_and_the_child_passes_it() {
    epoch();
    let out = std::thread::scope(|scope| {
        let (entered, wait) = std::sync::mpsc::channel();
        scope.spawn(move || {
            gate(|| {
                entered.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
            });
        });
        wait.recv().unwrap();
        in_child(|out| gate(|| out.write_all(b"through").unwrap()))
    });
    assert_eq!(out, b"through");
    gate(|| gate(|| ()));
}
