//! No key remains in the process's memory once a handle is closed, and no core dump of an open handle contains one. The
//! search is external, in the memory of another process in which the library works (`roles.rs`).
//!
//! Only the library itself can put the searched bytes into that process. The process receives keys masked, and wipes
//! them once it has passed them on. In debug builds, as here, more copies are made than in a release. With the system's
//! OpenSSL there is nothing to try: its memory is ordinary, and `kms_health` says so.

#![cfg(feature = "vendored")]

mod dump;
mod keys;
mod limit;
mod mask;
#[path = "../process/role.rs"]
mod role;
mod roles;
mod scan;
mod user;
#[path = "../process/worker.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod worker;

use keys::Known;
use scan::{Found, Memory};
use user::Root;
use worker::Worker;

fn close(mut user: Worker) -> Worker {
    user.say("close");
    assert_eq!(user.hear(), "closed");
    user
}

fn told(found: &[Found]) -> String {
    found.iter().map(|found| format!("\n  {found}")).collect()
}

fn nothing_is_left(root: Root) {
    let folder = tempfile::tempdir().unwrap();
    let (user, mut known) = user::work(folder.path(), root, &[]);
    known.add_own(&Memory::of(user.pid()));
    let user = close(user);
    let left = Memory::of(user.pid()).find(&known.patterns());
    assert!(left.is_empty(), "a key outlived its handle:{}", told(&left));
}

#[test]
fn no_key_is_left_after_close() {
    nothing_is_left(Root::Key);
}

#[test]
fn no_key_is_left_after_close_of_a_keystore_with_a_key_file() {
    nothing_is_left(Root::File);
}

#[test]
fn no_key_is_left_after_close_of_a_keystore_with_a_passphrase() {
    nothing_is_left(Root::Passphrase);
}

/// Also the proof that the search finds keys where they are.
#[test]
fn while_a_handle_is_open_its_keys_are_in_locked_memory_that_no_dump_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (user, mut known) = user::work(folder.path(), Root::Key, &[]);
    let memory = Memory::of(user.pid());
    let own = known.add_own(&memory);
    assert_eq!(
        own,
        Known::OWN_BLOBS,
        "a version that encrypted isn't found in locked memory, so the search proves nothing"
    );
    let found = memory.find(&known.patterns());
    for name in known.in_use() {
        assert!(found.iter().any(|found| found.name == name), "{name} is nowhere, so the search proves nothing");
    }
    let open: Vec<Found> = found.into_iter().filter(|found| found.dumped).collect();
    assert!(open.is_empty(), "a key lies where a core dump shows it:{}", told(&open));
    if limit::is_generous() {
        let found = memory.find(&known.patterns());
        let swapped: Vec<Found> = found.into_iter().filter(|found| !found.locked).collect();
        assert!(swapped.is_empty(), "a key lies in memory that isn't locked:{}", told(&swapped));
    }
}

/// libcrypto's expanded keys begin with the key, so each key exists at least twice: in the library's and in libcrypto's
/// memory.
#[test]
fn libcryptos_contexts_are_in_that_memory_too() {
    let folder = tempfile::tempdir().unwrap();
    let (user, known) = user::work(folder.path(), Root::Key, &[]);
    let found = Memory::of(user.pid()).find(&known.patterns());
    let name = known.message_key();
    let places = found.iter().filter(|found| found.name == name).count();
    assert!(places >= 2, "the message key is only in {places} places; where is the cipher context keyed with it?");
}

/// Covers every secret: also the store root key, keys derived from it, round keys and hash tables.
#[test]
fn nothing_that_was_in_memory_for_secrets_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let user = user::plain(folder.path(), &[]);
    let was = Memory::of(user.pid()).random();
    assert!(was.len() > 1000, "hardly anything is in memory for secrets: {}", was.len());
    let user = close(user);
    let left = Memory::of(user.pid()).find(&was);
    assert!(left.is_empty(), "of {}, {} are left:{}", was.len(), left.len(), told(&left));
}

fn after_deletion(environment: &[(&str, &str)]) -> Vec<Found> {
    let folder = tempfile::tempdir().unwrap();
    let (mut user, known) = user::delete(folder.path(), environment);
    let before = Memory::of(user.pid()).find(&known.patterns());
    assert!(before.len() >= 4, "the material isn't found while it is used, so the test proves nothing");
    user.say("delete");
    assert_eq!(user.hear(), "deleted");
    Memory::of(user.pid()).find(&known.patterns())
}

#[test]
fn deleted_material_is_in_no_handle_after_its_next_call() {
    let left = after_deletion(&[]);
    assert!(left.is_empty(), "deleted material is still in memory:{}", told(&left));
}

#[cfg(kms_faults)]
#[test]
fn without_wiping_deleted_material_stays() {
    let left = after_deletion(&[("KMS_FAULT_UNWIPED", "1")]);
    assert!(!left.is_empty(), "nothing is left without wiping either, so the other test proves nothing");
}

#[cfg(kms_faults)]
#[test]
fn with_the_stack_not_swept_keys_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let (user, mut known) = user::work(folder.path(), Root::Key, &[("KMS_FAULT_UNSWEPT", "1")]);
    known.add_own(&Memory::of(user.pid()));
    // Before the handle is closed: closing stores the days of uses, and this work overwrites much of the stack.
    let left = Memory::of(user.pid()).find(&known.patterns());
    let on_stack = left.iter().any(|found| found.is_on_stack());
    assert!(on_stack, "nothing is left on the stack either, so the other tests prove nothing:{}", told(&left));
}

#[cfg(kms_faults)]
#[test]
fn without_the_advice_a_dump_would_hold_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (user, known) = user::work(folder.path(), Root::Key, &[("KMS_FAULT_DUMPED", "1")]);
    let found = Memory::of(user.pid()).find(&known.patterns());
    assert!(found.iter().any(|found| found.dumped), "the search can't tell what a dump holds");
}
