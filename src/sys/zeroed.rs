//! Values in separate mappings, which are zeros at first and which a forked child finds zeroed.
//!
//! * [`WipedPage`]: one value on a page.
//! * [`LockedValues`]: many values by number, in locked memory.

use std::ptr::NonNull;

use super::fault;
use super::locked::Chunk;
use crate::error::Result;

/// A type for which zeros are a valid value; [`zeroed!`] declares one.
///
/// # Safety
/// Every byte of it may be zero.
pub unsafe trait Zeroed {}

// SAFETY: zeros are a valid number.
unsafe impl Zeroed for u8 {}
// SAFETY: as above.
unsafe impl Zeroed for u32 {}
// SAFETY: as above.
unsafe impl Zeroed for u64 {}
// SAFETY: each element is valid as zeros.
unsafe impl<T: Zeroed, const N: usize> Zeroed for [T; N] {}

/// Declares a struct for which zeros are a valid value, because they are valid for each of its fields.
macro_rules! zeroed {
    ($(#[$outer:meta])* $vis:vis struct $name:ident {
        $($(#[$inner:meta])* $field_vis:vis $field:ident: $kind:ty,)*
    }) => {
        $(#[$outer])*
        $vis struct $name {
            $($(#[$inner])* $field_vis $field: $kind,)*
        }

        const _: () = {
            const fn is_zeroed<T: $crate::sys::zeroed::Zeroed>() {}
            $(is_zeroed::<$kind>();)*
        };

        // SAFETY: each field is valid as zeros; padding may be anything.
        unsafe impl $crate::sys::zeroed::Zeroed for $name {}
    };
}
pub(crate) use zeroed;

const PAGE: usize = 4096;

/// A value on a private page that a forked child finds zeroed and a core dump leaves out.
pub struct WipedPage<T: Zeroed>(NonNull<T>);

// SAFETY: the page belongs to this value alone; nothing about a mapping is tied to a thread.
unsafe impl<T: Zeroed + Send> Send for WipedPage<T> {}

impl<T: Zeroed> WipedPage<T> {
    /// None where the kernel maps no page or can't wipe it. `wipe` is off only in the test that shows the danger.
    pub fn new(wipe: bool) -> Option<Self> {
        const { assert!(size_of::<T>() <= PAGE && align_of::<T>() <= PAGE && !std::mem::needs_drop::<T>()) };
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if address == libc::MAP_FAILED {
            return None;
        }
        let page = Self(NonNull::new(address.cast())?);
        // SAFETY: the range is the mapping just made.
        if wipe && unsafe { libc::madvise(address, PAGE, libc::MADV_WIPEONFORK) } != 0 {
            return None;
        }
        // Best effort.
        // SAFETY: as above.
        unsafe { libc::madvise(address, PAGE, libc::MADV_DONTDUMP) };
        Some(page)
    }

    #[inline]
    pub fn get(&mut self) -> &mut T {
        // SAFETY: the mapping is page-aligned, large enough, lives as long as `self`, is lent once, and holds zeros or
        // what was written through such a borrow.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Zeroed> Drop for WipedPage<T> {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping that `new` made, and nothing borrows it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE) };
    }
}

/// Values in one mapping.
pub const IN_CHUNK: usize = 256;

/// Values by number, in locked memory that a forked child finds zeroed. Its user wipes them before it is dropped.
pub struct LockedValues<T: Zeroed> {
    chunks: Vec<Chunk>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Zeroed> LockedValues<T> {
    pub const fn new() -> Self {
        const { assert!(align_of::<T>() <= PAGE) };
        Self { chunks: Vec::new(), kind: std::marker::PhantomData }
    }

    #[inline]
    pub fn get(&mut self, at: usize) -> Option<&mut T> {
        let chunk = self.chunks.get(at / IN_CHUNK)?;
        let start: NonNull<T> = chunk.start().cast();
        // SAFETY: the number stays below those of the chunk, which is page-aligned and lives as long as `self`, lent
        // once; zeros, as at first and after a fork, are a valid value.
        Some(unsafe { start.add(at % IN_CHUNK).as_mut() })
    }

    /// Lets the CPU fetch a value that will be needed soon.
    #[inline]
    #[cfg_attr(not(all(target_arch = "x86_64", not(miri))), allow(unused_variables, reason = "only x86-64 prefetches"))]
    pub fn prefetch(&self, at: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(chunk) = self.chunks.get(at / IN_CHUNK) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
            // SAFETY: inside the chunk; a prefetch touches nothing that a program could see.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(chunk.start().as_ptr().cast::<T>().add(at % IN_CHUNK).cast());
            }
        }
    }

    /// Makes room for one more than `at`; returns the chunk that was added.
    pub fn grow_to(&mut self, at: usize) -> Result<Option<&Chunk>> {
        if at / IN_CHUNK < self.chunks.len() {
            return Ok(None);
        }
        let chunk = Chunk::map(IN_CHUNK * size_of::<T>())?;
        if !fault::wanted("KMS_FAULT_FORK_UNNOTICED") {
            // Where the kernel can't, the child has a copy that it never uses: its handle makes new state.
            chunk.wipe_on_fork();
        }
        self.chunks.push(chunk);
        Ok(self.chunks.last())
    }

    pub fn len(&self) -> usize {
        self.chunks.len() * IN_CHUNK
    }
}
