use super::*;
use crate::error::Status;

#[test]
fn what_no_machine_has_is_refused() {
    const HUGE: usize = isize::MAX as usize / 2;
    let refused = |done: Result<()>| assert_eq!(done.unwrap_err().status(), Status::OutOfMemory);
    refused(zeroed(HUGE).map(drop));
    refused(zeroed(usize::MAX).map(drop));
    refused(list::<u64>(usize::MAX).map(drop));
    refused(reserve(&mut vec![0u8; 3], HUGE));
    refused(headroom_of(HUGE));
}

#[test]
fn what_is_given_is_what_was_asked_for() {
    headroom().unwrap();
    headroom_of(TRANSACTION).unwrap();
    assert_eq!(zeroed(0).unwrap(), Vec::<u8>::new());
    assert_eq!(zeroed(70_000).unwrap(), vec![0; 70_000]);
    assert_eq!(copy(b"some bytes").unwrap(), b"some bytes");
    assert_eq!(text("a text").unwrap(), "a text");
    assert!(list::<u32>(9).unwrap().capacity() >= 9);
}
