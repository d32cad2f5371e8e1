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

#[test]
fn a_buffer_for_files_begins_at_a_cache_line() {
    for len in [0, 1, 63, 64, 65, 16_400, 262_144, 262_400] {
        let mut buffer = FileBuffer::new(len).unwrap();
        assert_eq!(buffer.len(), len);
        assert_eq!(buffer.as_ptr().addr() % LINE, 0);
        buffer.fill(7);
        assert!(buffer.iter().all(|byte| *byte == 7));
    }
    assert_eq!(FileBuffer::new(usize::MAX).map(drop).unwrap_err().status(), Status::OutOfMemory);
}
