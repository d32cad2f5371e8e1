//! What the hot path avoids: it allocates nothing, and asks the kernel only for randomness. Memory that a thread keeps
//! for it is wiped with the thread or the handle.
//!
//! The allocator of this program counts, and so do the memory functions that it installs in libcrypto.

#[path = "../c_abi/keystore.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod keystore;
mod memory;
mod syscalls;
#[path = "../c_abi/types.rs"]
mod types;

use std::ffi::{CStr, CString};

use keystore::Keystore;
use types::{CONTEXT, Record};

/// Calls of each kind; several turns of the prefixes and of the nonce buffer.
const CALLS: usize = 10_000;

/// With a context and without.
fn both_kinds_of_call(keystore: &Keystore, key: &CStr, out: &mut [u8], blob: &mut [u8]) {
    for context in [CONTEXT.as_slice(), &[]] {
        let sealed = keystore.encrypt(key, &[7; 64], context, blob);
        let opened = keystore.decrypt(&blob[..sealed], context, out);
        assert_eq!(&out[..opened], [7; 64]);
    }
}

/// What `calls` allocate in this thread: the least of three attempts. The rotation thread may change the keystore
/// during one of them, as when it stores dates of last use, and then a call takes note of the change. A call that
/// allocates by itself does so in each attempt.
fn allocated(mut calls: impl FnMut()) -> (u64, u64) {
    let attempts = std::array::from_fn::<_, 3, _>(|_| {
        let before = memory::allocations();
        calls();
        let after = memory::allocations();
        (after.0 - before.0, after.1 - before.1)
    });
    attempts.into_iter().min().unwrap_or_default()
}

#[test]
fn encrypting_and_decrypting_allocate_nothing() {
    memory::watch_libcrypto();
    let keystore = Keystore::in_memory(0);
    let keys: Vec<_> = (0..3).map(|_| keystore.create_key()).collect();
    let (mut out, mut blob) = (vec![0; 200], vec![0; 200]);
    keys.iter().for_each(|key| both_kinds_of_call(&keystore, key, &mut out, &mut blob));
    let counted = allocated(|| {
        for n in 0..CALLS {
            both_kinds_of_call(&keystore, &keys[n % keys.len()], &mut out, &mut blob);
        }
    });
    assert_eq!(counted, (0, 0), "the hot path allocates (ours, libcrypto's)");
    let before = memory::allocations();
    let keystore = Keystore::in_memory(0);
    both_kinds_of_call(&keystore, &keystore.create_key(), &mut out, &mut blob);
    let after = memory::allocations();
    assert!(after.0 > before.0 && after.1 > before.1, "the counters count nothing, so the test proves nothing");
}

#[test]
fn more_keys_than_contexts_allocate_nothing_either() {
    memory::watch_libcrypto();
    let keystore = Keystore::in_memory(0);
    let keys: Vec<_> = (0..600).map(|_| keystore.create_key()).collect();
    let (mut out, mut blob) = (vec![0; 200], vec![0; 200]);
    keys.iter().for_each(|key| both_kinds_of_call(&keystore, key, &mut out, &mut blob));
    let counted = allocated(|| {
        for n in 0..CALLS {
            both_kinds_of_call(&keystore, &keys[n * 7 % keys.len()], &mut out, &mut blob);
        }
    });
    assert_eq!(counted, (0, 0), "a cold key allocates (ours, libcrypto's)");
}

#[test]
fn a_batch_into_the_callers_buffers_allocates_nothing() {
    memory::watch_libcrypto();
    let keystore = Keystore::in_memory(0);
    let key = keystore.create_key();
    let plaintext = [7u8; 64];
    let mut buffers = vec![[0u8; 200]; 50];
    let mut records: Vec<Record> = buffers.iter_mut().map(|buffer| Record::new(&plaintext, &mut buffer[..])).collect();
    keystore.encrypt_batch(&key, &mut records);
    let counted = allocated(|| (0..CALLS / 50).for_each(|_| keystore.encrypt_batch(&key, &mut records)));
    assert_eq!(counted, (0, 0), "a batch allocates (ours, libcrypto's)");
}

#[test]
fn a_threads_contexts_are_freed_and_wiped_at_its_end() {
    memory::watch_libcrypto();
    let keystore = Keystore::in_memory(0);
    let keys: Vec<_> = (0..300).map(|_| keystore.create_key()).collect();
    let kept = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (mut out, mut blob) = (vec![0; 200], vec![0; 200]);
            // libcrypto's own table of errors, which holds no key, is made at the first call.
            both_kinds_of_call(&keystore, &keys[0], &mut out, &mut blob);
            let start = memory::mark();
            keys.iter().for_each(|key| both_kinds_of_call(&keystore, key, &mut out, &mut blob));
            memory::live_since(start)
        });
        thread.join().unwrap()
    });
    assert!(kept.len() > 100, "the thread kept no contexts, so the test proves nothing");
    // The thread's values are dropped a moment after its result arrives.
    for _ in 0..2000 {
        if memory::all_freed(&kept) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(memory::all_freed(&kept), "a context outlived its thread");
    assert_eq!(memory::freed_unwiped(&kept), 0, "a cipher context was freed with its key in it");
}

#[test]
fn closing_a_handle_wipes_every_threads_contexts() {
    memory::watch_libcrypto();
    let keystore = Keystore::in_memory(0);
    let keys: Vec<_> = (0..20).map(|_| keystore.create_key()).collect();
    let (mut out, mut blob) = (vec![0; 200], vec![0; 200]);
    both_kinds_of_call(&keystore, &keys[0], &mut out, &mut blob);
    let start = memory::mark();
    keys.iter().for_each(|key| both_kinds_of_call(&keystore, key, &mut out, &mut blob));
    let kept = memory::live_since(start);
    assert!(kept.len() > 20);
    drop(keystore);
    assert!(memory::all_freed(&kept), "a context outlived its handle");
    assert_eq!(memory::freed_unwiped(&kept), 0, "a cipher context was freed with its key in it");
}

#[test]
fn memory_functions_that_the_program_gave_to_libcrypto_are_told() {
    memory::watch_libcrypto();
    let options = kms::Options::new().root_key(&[9; 32]).create(true);
    let health = kms::Keystore::open("memory:", &options).unwrap().health().unwrap();
    assert!(health.cipher_memory_unprotected, "keys lie in the program's memory for libcrypto, and nobody is told");
}

#[test]
fn a_child_never_uses_its_parents_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let location = CString::new(folder.path().join("keys.db").to_str().unwrap()).unwrap();
    let keystore = Keystore::open(&location, 0);
    let key = keystore.create_key();
    let mut blob = [0u8; 200];
    let prefix = |keystore: &Keystore, blob: &mut [u8]| {
        keystore.encrypt(&key, &[7; 64], &[], blob);
        <[u8; 12]>::try_from(&blob[40..52]).unwrap()
    };
    let first = prefix(&keystore, &mut blob);
    assert_eq!(prefix(&keystore, &mut blob), first, "a prefix serves one message, so the test proves nothing");
    let theirs = syscalls::in_child(|pipe| {
        let theirs = prefix(&keystore, &mut blob);
        pipe.send(&theirs);
    });
    assert_eq!(theirs.status, 0);
    assert_ne!(theirs.bytes, first, "a child goes on with its parent's prefix");
}

#[test]
fn encrypting_and_decrypting_ask_the_kernel_for_nothing_but_randomness() {
    let attempt = || {
        syscalls::in_child(|_| {
            let keystore = Keystore::in_memory(0);
            let key = keystore.create_key();
            let (mut out, mut blob) = (vec![0; 200], vec![0; 200]);
            both_kinds_of_call(&keystore, &key, &mut out, &mut blob);
            syscalls::allow_randomness_only();
            (0..CALLS).for_each(|_| both_kinds_of_call(&keystore, &key, &mut out, &mut blob));
            syscalls::leave();
        })
    };
    // As in `allocated`: a call that waits for the rotation thread may be in one attempt, not in each.
    let statuses: Vec<_> = (0..3).map(|_| attempt().status).collect();
    assert!(statuses.contains(&0), "the hot path made a system call (statuses of waitpid; 31 is SIGSYS): {statuses:?}");
}

#[test]
fn a_system_call_would_be_noticed() {
    let done = syscalls::in_child(|_| {
        syscalls::allow_randomness_only();
        // SAFETY: takes nothing.
        unsafe { libc::getppid() };
        syscalls::leave();
    });
    assert_eq!(done.status & 0x7f, libc::SIGSYS, "the filter lets everything pass, so the other test proves nothing");
}
