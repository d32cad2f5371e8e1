//! Reads and writes a caller's memory; nothing else dereferences a caller's pointer.
//!
//! `(NULL, 0)` is empty, `(NULL, n)` and lengths above `LONGEST` are refused, text must be UTF-8. What can't be
//! checked (that the memory is there) is the caller's promise, stated once in the header's contract.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use crate::error::{Error, Result, Status};

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Status::InvalidArgument.error(text)
}

/// A reference to a caller's object.
///
/// SAFETY: NULL, or valid and unchanged for `'a`.
#[inline]
pub unsafe fn shared<'a, T>(pointer: *const T, what: &'static str) -> Result<&'a T> {
    aligned(pointer, what)?;
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| is_null(what))
}

/// A reference to an object that only this call uses.
///
/// SAFETY: NULL, or valid and not used elsewhere for `'a`.
#[inline]
pub unsafe fn exclusive<'a, T>(pointer: *mut T, what: &'static str) -> Result<&'a mut T> {
    aligned(pointer, what)?;
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| is_null(what))
}

#[inline]
fn aligned<T>(pointer: *const T, what: &'static str) -> Result<()> {
    if pointer.is_aligned() { Ok(()) } else { Err(misaligned(what)) }
}

#[cold]
fn misaligned(what: &'static str) -> Error {
    invalid(format!("{what} is misaligned"))
}

#[cold]
fn is_null(what: &'static str) -> Error {
    invalid(format!("{what} is NULL"))
}

/// What no process has room for: the length is a mistake. Above `isize::MAX` a slice would be undefined, just below it
/// a copy ends the process for want of memory.
pub const LONGEST: usize = if usize::BITS == 64 { 1 << 56 } else { isize::MAX as usize };

/// Checks pointer and length without touching the memory.
#[inline]
pub fn check<T>(pointer: *const T, count: usize, what: &'static str) -> Result<()> {
    let possible = count.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= LONGEST);
    if count == 0 || (!pointer.is_null() && possible) { Ok(()) } else { Err(unchecked(pointer.is_null(), what)) }
}

#[cold]
fn unchecked(is_null: bool, what: &'static str) -> Error {
    invalid(match is_null {
        true => format!("{what} is NULL, but its length is not 0"),
        false => format!("the length of {what} is impossible"),
    })
}

/// An array of the caller.
///
/// SAFETY: empty, or `count` valid elements that don't change for `'a`.
#[inline]
pub unsafe fn slice<'a, T>(pointer: *const T, count: usize, what: &'static str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, count, what)?;
    aligned(pointer, what)?;
    // SAFETY: not NULL, aligned, not too long; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A caller's bytes to be written.
///
/// SAFETY: empty, or `count` writable bytes that nothing else uses for `'a`.
pub unsafe fn slice_mut<'a>(pointer: *mut u8, count: usize, what: &'static str) -> Result<&'a mut [u8]> {
    check(pointer, count, what)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: not NULL, not too long; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

/// A NUL-terminated text.
///
/// SAFETY: NULL, or NUL-terminated and unchanged for `'a`.
#[inline]
pub unsafe fn text<'a>(pointer: *const c_char, what: &'static str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { optional_text(pointer, what) }?.ok_or_else(|| is_null(what))
}

/// The bytes of a NUL-terminated text, not checked to be UTF-8.
///
/// SAFETY: as for `text`.
#[inline]
pub unsafe fn text_bytes<'a>(pointer: *const c_char, what: &'static str) -> Result<&'a [u8]> {
    if pointer.is_null() {
        return Err(is_null(what));
    }
    // SAFETY: not NULL; NUL-terminated by the caller's promise.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// Copies a short ASCII text, as contexts are made of, to the start of `room` while it searches its end; returns its
/// length. `None` for all others, which `text` is for.
///
/// SAFETY: as for `text`.
#[inline]
pub unsafe fn copy_short_text(pointer: *const c_char, room: &mut [u8]) -> Option<usize> {
    const SHORT: usize = 64;
    let room = room.first_chunk_mut::<SHORT>()?;
    if pointer.is_null() {
        return None;
    }
    let mut bits = 0;
    for (len, place) in room.iter_mut().enumerate() {
        // SAFETY: not NULL, and no byte before this one was the NUL.
        let byte = unsafe { pointer.cast::<u8>().add(len).read() };
        if byte == 0 {
            return (bits < 0x80).then_some(len);
        }
        bits |= byte;
        *place = byte;
    }
    None
}

/// A NUL-terminated text, or NULL for none.
///
/// SAFETY: as for `text`.
#[inline]
pub unsafe fn optional_text<'a>(pointer: *const c_char, what: &'static str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; NUL-terminated by the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| invalid(format!("{what} is not UTF-8")))
}

/// A path of a file. What the kernel takes ends at PATH_MAX.
///
/// SAFETY: as for `text`.
pub unsafe fn path<'a>(pointer: *const c_char, what: &'static str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let path = unsafe { text(pointer, what) }?;
    if path.len() >= libc::PATH_MAX as usize + "sqlite:".len() {
        return Err(invalid(format!("{what} is longer than {} bytes", libc::PATH_MAX - 1)));
    }
    Ok(path)
}

/// Stores a value, if the caller wants it.
///
/// SAFETY: NULL, or valid for a write.
pub unsafe fn write_if<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() {
        // SAFETY: not NULL; writable by the caller's promise; perhaps misaligned.
        unsafe { pointer.write_unaligned(value) };
    }
}

/// Copies bytes to a caller's buffer.
///
/// SAFETY: `to` is valid for `bytes.len()` bytes of writing; it may overlap `bytes`.
pub unsafe fn write_bytes(to: *mut u8, bytes: &[u8]) {
    // SAFETY: the caller's promise; `copy` allows overlap.
    unsafe { std::ptr::copy(bytes.as_ptr(), to, bytes.len()) };
}

/// Copies a text and its NUL to a buffer of `cap` bytes, cut between characters where it doesn't fit.
///
/// SAFETY: `cap` writable bytes at `to`.
pub unsafe fn write_text(to: *mut c_char, cap: usize, text: &str) {
    if to.is_null() || cap == 0 {
        return;
    }
    let mut len = text.len().min(cap - 1);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: `len + 1 <= cap` bytes are written.
    unsafe {
        std::ptr::copy(text.as_ptr(), to.cast(), len);
        to.add(len).write(0);
    }
}

/// A struct whose first field is `uint32_t struct_size`, and which may grow at its end.
///
/// # Safety
///
/// `repr(C)`, starts with a `u32`, and every bit pattern is a valid value (integers,
/// raw pointers and optional functions only, of which a caller passes none but functions).
pub unsafe trait Sized32: Copy {
    /// The size of the first release's struct.
    const FIRST_SIZE: usize;
}

/// Above it a `struct_size` is a mistake, mostly memory that wasn't initialised; reading that many bytes might leave the
/// caller's memory. A later release's struct has to stay below.
const LONGEST_STRUCT: usize = 4096;

/// The size of a caller's struct; bytes beyond the library's own struct must be zero.
///
/// SAFETY: NULL, or a struct that is as long as it says.
unsafe fn struct_size<T: Sized32>(pointer: *const T, what: &'static str) -> Result<usize> {
    if pointer.is_null() {
        return Err(invalid(format!("{what} is NULL")));
    }
    // SAFETY: not NULL; every such struct starts with its size.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    if size < T::FIRST_SIZE {
        return Err(invalid(format!("struct_size of {what} is too small; start from its INIT macro")));
    }
    if size > LONGEST_STRUCT {
        return Err(invalid(format!("struct_size of {what} is too large; start from its INIT macro")));
    }
    for at in size_of::<T>()..size {
        // SAFETY: the caller says that his struct is `size` bytes long.
        if unsafe { pointer.cast::<u8>().add(at).read() } != 0 {
            return Err(invalid(format!("{what} uses fields that this version of the library does not know")));
        }
    }
    Ok(size)
}

/// Reads a caller's struct; fields that he doesn't know are zero.
///
/// SAFETY: as for `struct_size`.
pub unsafe fn read_struct<T: Sized32>(pointer: *const T, what: &'static str) -> Result<T> {
    // SAFETY: the caller's promise.
    let size = unsafe { struct_size(pointer, what) }?;
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the smaller of both sizes is inside both; every bit pattern is a valid T.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast(), size.min(size_of::<T>()));
        Ok(value.assume_init())
    }
}

/// Writes a caller's struct, but not its `struct_size`.
///
/// SAFETY: as for `struct_size`, and writable.
pub unsafe fn write_struct<T: Sized32>(pointer: *mut T, what: &'static str, value: &T) -> Result<()> {
    const OWN: usize = size_of::<u32>();
    // SAFETY: the caller's promise.
    let size = unsafe { struct_size(pointer, what) }?;
    let from: *const u8 = std::ptr::from_ref(value).cast();
    // SAFETY: the smaller of both sizes is inside both, and both are larger than `struct_size` itself.
    unsafe {
        std::ptr::copy_nonoverlapping(from.add(OWN), pointer.cast::<u8>().add(OWN), size.min(size_of::<T>()) - OWN);
    }
    Ok(())
}

/// Whether a caller's struct could be written, before anything is done.
///
/// SAFETY: as for `struct_size`.
pub unsafe fn check_struct<T: Sized32>(pointer: *const T, what: &'static str) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { struct_size(pointer, what) }.map(drop)
}

/// Whether two ranges of bytes share any. The lengths may be what no memory has.
#[inline]
pub fn overlap(a: *const u8, a_len: usize, b: *const u8, b_len: usize) -> bool {
    let (a, b) = (a.addr(), b.addr());
    // One of them begins inside of the other.
    a_len > 0 && b_len > 0 && (a.wrapping_sub(b) < b_len || b.wrapping_sub(a) < a_len)
}

/// The same in one comparison, of ranges that are not empty and have at most `isize::MAX` bytes, so their lengths have a sum.
#[inline]
pub fn checked_overlap(a: *const u8, a_len: usize, b: *const u8, b_len: usize) -> bool {
    // The last byte of `a` is neither before `b` nor too far behind it.
    a.addr().wrapping_add(a_len - 1).wrapping_sub(b.addr()) < a_len + b_len - 1
}

#[cfg(test)]
mod tests;
