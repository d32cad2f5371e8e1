//! The kernel's random bytes without a system call, where its vDSO has them (`getrandom`, Linux 6.11).
//!
//! The generator is the kernel's own: it keys a state in our memory, and keys it again whenever it keys itself, which it
//! also does when it learns that the machine was cloned. The state is in a mapping of the kind that the kernel asks
//! for, which a forked child finds zeroed; zeros are a state without a key.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::{fault, random};
use crate::error::Result;

const PAGE: usize = 4096;

type GetRandom = unsafe extern "C" fn(*mut c_void, usize, u32, *mut c_void, usize) -> isize;

/// `struct vgetrandom_opaque_params` of linux/random.h.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    size: u32,
    protection: u32,
    flags: u32,
    reserved: [u32; 13],
}

/// A generator for one caller at a time.
pub struct Generator {
    function: GetRandom,
    state: NonNull<c_void>,
    size: usize,
}

// SAFETY: the state is plain memory without ties to its thread; every use takes `&mut`.
unsafe impl Send for Generator {}

impl Generator {
    /// None where the kernel is too old, hides its vDSO, or maps no memory.
    pub fn new() -> Option<Self> {
        let function = find()?;
        let mut parameters = Parameters::default();
        let place: *mut Parameters = &mut parameters;
        // SAFETY: so asked, with the greatest length, it fills the parameters and does nothing else.
        if unsafe { function(ptr::null_mut(), 0, 0, place.cast(), usize::MAX) } != 0 {
            return None;
        }
        let size = parameters.size as usize;
        let (access, kind) = (i32::try_from(parameters.protection).ok()?, i32::try_from(parameters.flags).ok()?);
        if size == 0 || size > PAGE {
            return None;
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let state = unsafe { libc::mmap(ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if state == libc::MAP_FAILED {
            return None;
        }
        Some(Self { function, state: NonNull::new(state)?, size })
    }

    /// Fills `buf` with kernel randomness; fails as [`random::fill_from_kernel`] does.
    pub fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        if fault::wanted("KMS_FAULT_KERNEL_RANDOM_REPEATS") {
            return random::fill_from_kernel(buf);
        }
        let mut rest = buf;
        while !rest.is_empty() {
            // SAFETY: the range is one live, writable slice; the state is of the size and in the mapping that the kernel
            // asked for, and this call is its only user.
            let written =
                unsafe { (self.function)(rest.as_mut_ptr().cast(), rest.len(), 0, self.state.as_ptr(), self.size) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = rest.get_mut(written..).unwrap_or(&mut []),
                _ => return random::fill_from_kernel(rest),
            }
        }
        Ok(())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, unknown to other code.
        unsafe { libc::munmap(self.state.as_ptr(), PAGE) };
    }
}

// Elsewhere the image may differ: s390x has 64-bit words in its hash table.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
fn find() -> Option<GetRandom> {
    const NAME: &std::ffi::CStr =
        if cfg!(target_arch = "x86_64") { c"__vdso_getrandom" } else { c"__kernel_getrandom" };
    // The auxiliary vector's entry for the vDSO (linux/auxvec.h).
    const AT_SYSINFO_EHDR: libc::c_ulong = 33;
    // SAFETY: only reads what the kernel passed to the program.
    let image = unsafe { libc::getauxval(AT_SYSINFO_EHDR) };
    let image: NonNull<u8> = NonNull::new(ptr::with_exposed_provenance_mut(image as usize))?;
    // SAFETY: the kernel maps a whole ELF image there, which stays for the life of the process; the function under that
    // name is of this type.
    unsafe { symbol(image, NAME).map(|address| std::mem::transmute::<*const u8, GetRandom>(address)) }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
fn find() -> Option<GetRandom> {
    None
}

/// The address of a dynamic symbol of a mapped ELF image.
///
/// # Safety
/// `image` is the start of a whole and valid 64-bit image, mapped for good.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
unsafe fn symbol(image: NonNull<u8>, name: &std::ffi::CStr) -> Option<*const u8> {
    // Tags of the dynamic section (System V ABI, chapter 5).
    const END: u64 = 0;
    const HASH: u64 = 4;
    const STRINGS: u64 = 5;
    const SYMBOLS: u64 = 6;
    // SAFETY: all offsets are the image's own, and it is valid.
    unsafe {
        let header = image.cast::<libc::Elf64_Ehdr>().as_ref();
        let parts = image.add(header.e_phoff as usize).cast::<libc::Elf64_Phdr>();
        let parts = std::slice::from_raw_parts(parts.as_ptr(), header.e_phnum.into());
        let loaded = parts.iter().find(|part| part.p_type == libc::PT_LOAD)?;
        let origin = image.as_ptr().wrapping_add(loaded.p_offset as usize).wrapping_sub(loaded.p_vaddr as usize);
        let dynamic = parts.iter().find(|part| part.p_type == libc::PT_DYNAMIC)?;
        let mut entry = origin.wrapping_add(dynamic.p_vaddr as usize).cast::<[u64; 2]>();
        let (mut hash, mut strings, mut symbols) = (None, None, None);
        loop {
            let [tag, value] = entry.read();
            let place = Some(origin.wrapping_add(value as usize));
            match tag {
                END => break,
                HASH => hash = place,
                STRINGS => strings = place,
                SYMBOLS => symbols = place,
                _ => {}
            }
            entry = entry.add(1);
        }
        // The hash table has the number of symbols.
        let count = hash?.cast::<u32>().add(1).read();
        (0..count as usize).find_map(|at| {
            let symbol = symbols?.cast::<libc::Elf64_Sym>().add(at).read();
            let found = std::ffi::CStr::from_ptr(strings?.add(symbol.st_name as usize).cast());
            (found == name && symbol.st_shndx != 0).then(|| origin.wrapping_add(symbol.st_value as usize).cast_const())
        })
    }
}

#[cfg(test)]
mod tests;
