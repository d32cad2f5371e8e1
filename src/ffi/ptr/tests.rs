use super::*;
use std::ptr::{null, null_mut};

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Old {
    struct_size: u32,
    a: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct New {
    struct_size: u32,
    a: i32,
    b: i64,
}

// SAFETY: integers only, the size first.
unsafe impl Sized32 for Old {
    const FIRST_SIZE: usize = 8;
}
// SAFETY: integers only, the size first.
unsafe impl Sized32 for New {
    const FIRST_SIZE: usize = 8;
}

#[test]
fn null_with_length_0_is_empty_and_with_another_an_error() {
    unsafe {
        assert_eq!(slice::<u8>(null(), 0, "x").unwrap(), &[0u8; 0]);
        assert_eq!(slice::<u8>(null(), 1, "x").unwrap_err().status(), Status::InvalidArgument);
        let byte = 7u8;
        assert_eq!(slice(&byte, 1, "x").unwrap(), &[7]);
        assert!(slice(&byte, usize::MAX, "x").is_err(), "longer than any object");
        assert!(slice(&byte, isize::MAX as usize + 1, "x").is_err());
        let words = [0u64; 2];
        assert!(slice(words.as_ptr().cast::<u8>().add(1).cast::<u64>(), 1, "x").is_err(), "misaligned");
        assert!(slice(words.as_ptr(), usize::MAX / 4, "x").is_err(), "the size in bytes overflows");
    }
}

#[test]
fn text_is_utf_8_and_ends_with_nul() {
    unsafe {
        assert_eq!(text(c"key".as_ptr(), "x").unwrap(), "key");
        assert!(text(null(), "x").is_err());
        assert_eq!(optional_text(null(), "x").unwrap(), None);
        assert!(text(c"\xff".as_ptr(), "x").is_err());
    }
}

#[test]
fn a_text_is_cut_between_characters_and_always_terminated() {
    for (cap, expected) in [(1, ""), (2, "a"), (3, "a"), (4, "aß"), (9, "aßc")] {
        let mut buf = [0x7fu8; 10];
        unsafe { write_text(buf.as_mut_ptr().cast(), cap, "aßc") };
        let end = buf.iter().position(|b| *b == 0).unwrap();
        assert_eq!(std::str::from_utf8(&buf[..end]).unwrap(), expected, "cap {cap}");
        assert_eq!(buf[9], 0x7f, "written beyond the buffer");
    }
    unsafe { write_text(null_mut(), 5, "x") };
}

#[test]
fn a_struct_of_an_older_caller_is_read_and_written_within_its_size() {
    let mut old = Old { struct_size: 8, a: 3 };
    unsafe {
        let read: New = read_struct(std::ptr::from_ref(&old).cast(), "x").unwrap();
        assert_eq!(read, New { struct_size: 8, a: 3, b: 0 });
        let new = New { struct_size: 16, a: 5, b: 9 };
        write_struct(std::ptr::from_mut(&mut old).cast(), "x", &new).unwrap();
    }
    assert_eq!(old, Old { struct_size: 8, a: 5 }, "its size stays its own");
}

#[test]
fn a_struct_of_a_newer_caller_is_fine_while_its_new_fields_are_zero() {
    let mut new = New { struct_size: 16, a: 3, b: 0 };
    unsafe {
        let pointer: *mut Old = std::ptr::from_mut(&mut new).cast();
        assert_eq!(read_struct(pointer, "x").unwrap().a, 3);
        check_struct(pointer, "x").unwrap();
    }
    new.b = 1;
    unsafe {
        let pointer: *mut Old = std::ptr::from_mut(&mut new).cast();
        assert_eq!(read_struct(pointer, "x").unwrap_err().status(), Status::InvalidArgument);
        assert!(write_struct(pointer, "x", &Old { struct_size: 8, a: 4 }).is_err());
    }
    assert_eq!(new.a, 3, "a refused struct is untouched");
}

#[test]
fn a_struct_that_is_null_or_too_small_is_refused() {
    unsafe {
        assert!(read_struct::<Old>(null(), "x").is_err());
        for struct_size in [0, 1, 7] {
            assert!(read_struct(&Old { struct_size, a: 0 }, "x").is_err());
        }
    }
}

#[test]
fn overlap_is_about_shared_bytes() {
    let bytes = [0u8; 8];
    let at = |n: usize| &raw const bytes[n];
    assert!(overlap(at(0), 4, at(3), 1) && overlap(at(3), 1, at(0), 4) && overlap(at(2), 2, at(2), 2));
    assert!(!overlap(at(0), 4, at(4), 4) && !overlap(at(0), 0, at(0), 8) && !overlap(at(4), 4, at(0), 4));
    for [a, a_len, b, b_len] in (0..8usize.pow(4)).map(|n| [n % 8, n / 8 % 8, n / 64 % 8, n / 512]) {
        let shared = (a..a + a_len).any(|byte| (b..b + b_len).contains(&byte));
        assert_eq!(overlap(at(a), a_len, at(b), b_len), shared, "{a_len} bytes at {a} and {b_len} at {b}");
        if a_len > 0 && b_len > 0 {
            assert_eq!(checked_overlap(at(a), a_len, at(b), b_len), shared, "{a_len} bytes at {a} and {b_len} at {b}");
        }
    }
    for (overlap, longest) in [(overlap as fn(_, _, _, _) -> _, usize::MAX), (checked_overlap, isize::MAX as usize)] {
        assert!(overlap(at(0), longest, at(7), longest) && overlap(at(7), longest, at(0), longest));
        assert!(!overlap(at(7), isize::MAX as usize, at(0), 7) && !overlap(at(0), 7, at(7), isize::MAX as usize));
    }
}

#[test]
fn bytes_are_written_where_the_caller_says() {
    let mut buf = [1u8, 2, 3, 4];
    unsafe {
        write_bytes(buf.as_mut_ptr().add(1), &[9, 9]);
        let mut value = 0u32;
        write_if(&raw mut value, 5);
        write_if(null_mut::<u32>(), 5);
        assert_eq!((buf, value), ([1, 9, 9, 4], 5));
    }
}
