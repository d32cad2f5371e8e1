use super::*;
use crate::crypto::xaes::Input;

fn ready() -> (Ready<VersionId, u32>, std::sync::Arc<Arena>) {
    (Ready::new(), Arena::new())
}

fn id(n: u32) -> VersionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_ne_bytes());
    VersionId::from_bytes(bytes)
}

/// Seals one message under its own key, as a call does.
fn seal(ready: &mut Ready<VersionId, u32>, shared: &mut Shared, n: u32) -> [u8; 12] {
    let (mut nonce, mut sealed) = ([0; 24], [0; 20]);
    let (drawn, input) = (shared.draw(), Input::Apart(b"text"));
    let at = ready.find(&id(n)).unwrap();
    let ReadyEntry { value, prefix, lender } = ready.take(at).unwrap();
    let cipher = lender.lend(prefix.serial).unwrap();
    assert_eq!(*value, n, "another's entry");
    let key = [n as u8; 32];
    cipher.seal(shared, prefix, &key, b"", input, drawn, &mut nonce, &mut sealed).unwrap();
    let (mut opened, mut alone) = ([0; 4], crate::crypto::xaes::alone::Opener::new().unwrap());
    alone.open(shared, &key, &nonce, b"", &sealed, &mut opened).unwrap();
    assert_eq!(&opened, b"text", "sealed under another's key");
    *nonce.first_chunk().unwrap()
}

#[test]
fn a_threads_contexts_are_bounded_and_a_cold_key_keeps_its_prefix() {
    let ((mut ready, arena), mut shared) = (ready(), Shared::new().unwrap());
    let keys = 3 * CONTEXTS as u32;
    (0..keys).for_each(|n| {
        ready.put(&id(n), n, 4 * CONTEXTS, &arena).unwrap();
    });
    let prefixes: Vec<[u8; 12]> = (0..keys).map(|n| seal(&mut ready, &mut shared, n)).collect();
    assert_eq!(ready.ciphers.all.len(), CONTEXTS, "contexts are not bounded");
    for n in (0..keys).chain(0..keys) {
        assert_eq!(seal(&mut ready, &mut shared, n), prefixes[n as usize], "a cold key was derived again");
    }
    assert_eq!(ready.ciphers.all.len(), CONTEXTS);
}

#[test]
fn a_key_that_is_used_often_gets_a_context_of_its_own() {
    let ((mut ready, arena), mut shared) = (ready(), Shared::new().unwrap());
    (0..2 * CONTEXTS as u32).for_each(|n| {
        ready.put(&id(n), n, 4 * CONTEXTS, &arena).unwrap();
        seal(&mut ready, &mut shared, n);
    });
    let hot = 2 * CONTEXTS as u32 - 1;
    // Another between, so that the shared context never has its key.
    for n in 0..ADMISSION + 1 {
        seal(&mut ready, &mut shared, CONTEXTS as u32 + n);
        seal(&mut ready, &mut shared, hot);
    }
    let at = ready.find(&id(hot)).unwrap();
    assert_ne!(*ready.slots.get_marked(at).unwrap().1, 0, "a hot key is set again for each message");
}

#[test]
fn what_an_entry_leaves_is_wiped() {
    let ((mut ready, arena), mut shared) = (ready(), Shared::new().unwrap());
    let at = ready.put(&id(1), 1, CONTEXTS, &arena).unwrap();
    seal(&mut ready, &mut shared, 1);
    assert_eq!(ready.ciphers.all.len(), 1);
    assert_ne!(ready.prefixes.get(at).unwrap().key, [0; 32]);
    ready.remove(&id(1));
    assert_eq!(ready.prefixes.get(at).unwrap().key, [0; 32], "a removed entry's key stays");
    assert!(ready.ciphers.all.is_empty(), "a removed entry's context stays keyed");
    for n in 0..CONTEXTS as u32 + 1 {
        ready.put(&id(n), n, CONTEXTS, &arena).unwrap();
        if n == 0 {
            seal(&mut ready, &mut shared, 0);
        }
    }
    assert!(ready.find(&id(0)).is_none());
    assert_eq!(ready.ciphers.all.len(), 0, "an evicted entry's context stays keyed");
    assert!((0..CONTEXTS).all(|at| ready.prefixes.get(at).unwrap().key == [0; 32]), "an evicted entry's key stays");
}

#[test]
fn names_are_told_apart_in_full() {
    let names: [&[u8]; 5] = [
        b"01234567-aaaa-4aaa-8aaa-aaaa89abcdef",
        b"01234567-bbbb-4aaa-8aaa-aaaa89abcdef",
        b"alias/of-exactly-thirty-six-letters1",
        b"alias/short",
        b"",
    ];
    for (n, name) in names.iter().enumerate() {
        let stored = SealName::of(name);
        assert!(names.iter().enumerate().all(|(other, name)| stored.is(name) == (other == n)));
    }
}

#[test]
fn a_context_that_took_over_the_number_of_another_is_wiped_with_its_entry() {
    let ((mut ready, arena), mut shared) = (ready(), Shared::new().unwrap());
    for n in 1..=2 {
        ready.put(&id(n), n, CONTEXTS, &arena).unwrap();
        seal(&mut ready, &mut shared, n);
    }
    let at = ready.find(&id(2)).unwrap();
    let serial = ready.prefixes.get(at).unwrap().serial;
    ready.remove(&id(1));
    seal(&mut ready, &mut shared, 2);
    ready.remove(&id(2));
    assert!(!ready.ciphers.all.iter().any(|cipher| cipher.has(serial)), "a removed entry's key stays in a context");
}

#[test]
#[cfg_attr(miri, ignore = "there is no kernel that refuses")]
fn an_entry_that_found_no_memory_is_not_found_either() {
    let refused = std::thread::spawn(|| {
        let ((mut ready, arena), mut shared) = (ready(), Shared::new().unwrap());
        // As many as fit in the first mapping.
        for n in 0..256 {
            ready.put(&id(n), n, 4 * CONTEXTS, &arena).unwrap();
        }
        crate::sys::denied::deny(libc::SYS_mmap);
        let refused = ready.put(&id(256), 256, 4 * CONTEXTS, &arena).is_err();
        assert!(ready.find(&id(256)).is_none(), "an entry without a place for its prefix stays");
        seal(&mut ready, &mut shared, 1);
        refused
    });
    assert!(refused.join().unwrap(), "memory was found, so the test proves nothing");
}

#[test]
fn an_entry_takes_two_cache_lines() {
    assert_eq!((Slots::<SealName, Seal>::ENTRY, Slots::<VersionId, Open>::ENTRY), (128, 128));
}
