//! Results in the caller's memory: when the library requests it, and its contents after a failure.

use std::cell::Cell;

use kms::Status;

use super::support::*;

#[test]
fn memory_is_asked_for_once_and_told_the_exact_size() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    for len in [0, 9, 4096, 4097, 100_000] {
        // An overdue key rotates inside the call, which then begins again.
        kms.clock.advance_seconds(2 * DAY);
        let (plaintext, asked) = (vec![b's'; len], Cell::new(0));
        let blob = kms
            .encrypt_into(&id, &plaintext, &[("tenant", "42")], |needed| {
                asked.set(asked.get() + 1);
                assert_eq!(needed, len + 80);
                Ok(vec![0; needed])
            })
            .unwrap();
        assert_eq!(asked.replace(0), 1, "memory for {len} bytes was asked for more than once");
        let opened = kms
            .decrypt_into(&blob, &[("tenant", "42")], |needed| {
                asked.set(asked.get() + 1);
                Ok(vec![0; needed])
            })
            .unwrap();
        assert_eq!((asked.get(), opened), (1, plaintext));
    }
}

#[test]
fn memory_is_not_asked_for_before_all_else_is_checked() {
    let kms = memory();
    let id = kms.plain_key();
    kms.disable_key(&id).unwrap();
    let never = |_| -> kms::Result<Vec<u8>> { panic!("memory was asked for though the key is Disabled") };
    assert_eq!(kms.encrypt_into(&id, b"text", &[], never).unwrap_err().status(), Status::RejectedDisabled);
}

#[test]
fn what_is_refused_by_the_giver_is_the_error_of_the_call() {
    let kms = memory();
    let id = kms.plain_key();
    let refuse = |_| -> kms::Result<Vec<u8>> { Err(Status::BufferTooSmall.error("9 are needed")) };
    let error = kms.encrypt_into(&id, b"text", &[], refuse).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), (Status::BufferTooSmall, "9 are needed"));
}

#[test]
fn memory_holds_no_plaintext_after_a_failure() {
    let kms = memory();
    let id = kms.plain_key();
    for len in [9, 4096, 4097, 100_000] {
        let mut blob = kms.encrypt(&id, &vec![b's'; len], &[]).unwrap();
        *blob.last_mut().unwrap() ^= 1;
        let mut room = vec![0; len];
        let failed = kms.decrypt_into(&blob, &[], |_| Ok(&mut room[..])).unwrap_err();
        assert_eq!(failed.status(), Status::AuthenticationFailed);
        assert!(room.iter().all(|byte| *byte == 0), "{len} bytes: plaintext was left in the caller's memory");
    }
}

#[test]
fn memory_of_another_size_is_an_error_and_not_a_panic() {
    let kms = memory();
    let id = kms.plain_key();
    for len in [9, 5000] {
        let blob = kms.encrypt(&id, &vec![b's'; len], &[]).unwrap();
        for wrong in [0, len - 1, len + 1] {
            let mut memory = vec![0xEE; wrong];
            let opened = kms.decrypt_into(&blob, &[], |_| Ok(&mut memory[..]));
            assert_eq!(opened.unwrap_err().status(), Status::Internal, "{wrong} bytes for {len}");
            assert_eq!(memory, vec![0xEE; wrong], "memory of another size was written to");
        }
        let sealed = kms.encrypt_into(&id, &vec![b's'; len], &[], |needed| Ok(vec![0; needed + 1]));
        assert_eq!(sealed.unwrap_err().status(), Status::Internal);
    }
}

#[test]
fn a_context_that_is_asked_for_binds_as_one_that_is_given() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    let entries = [("z", "1"), ("a", "2")];
    let asked = Cell::new(0);
    let give = |needed| Ok(vec![0; needed]);
    let context = |take: kms::internal::ContextSink<'_>| {
        asked.set(asked.get() + 1);
        take(&entries)
    };
    for overdue in [false, true] {
        if overdue {
            kms.clock.advance_seconds(2 * DAY);
        }
        let blob = kms.encrypt_with_lazy_context(&id, b"text", context, give).unwrap();
        assert_eq!(&*kms.decrypt(&blob, &entries).unwrap(), b"text");
        assert_eq!(kms.decrypt_with_lazy_context(&blob, context, give).unwrap(), b"text");
        assert!(asked.replace(0) >= 2, "the context was not asked for");
        assert_eq!(kms.decrypt(&blob, &[]).unwrap_err().status(), Status::AuthenticationFailed);
    }
}

#[test]
fn a_context_that_gives_nothing_is_empty_and_its_error_is_that_of_the_call() {
    let kms = memory();
    let id = kms.plain_key();
    let give = |needed| Ok(vec![0; needed]);
    kms.encrypt(&id, b"before", &[("tenant", "42")]).unwrap();
    let blob = kms.encrypt_with_lazy_context(&id, b"text", |_| Ok(()), give).unwrap();
    assert_eq!(&*kms.decrypt(&blob, &[]).unwrap(), b"text", "the context of the message before was used");
    let refuse = |_: kms::internal::ContextSink<'_>| Err(Status::InvalidArgument.error("no text"));
    let error = kms.encrypt_with_lazy_context(&id, b"text", refuse, give).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), (Status::InvalidArgument, "no text"));
    let error = kms.decrypt_with_lazy_context(&blob, |take| take(&[("", "")]), give).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
}
