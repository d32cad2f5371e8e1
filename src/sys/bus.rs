//! Catches SIGBUS on the pages of shared words: where another program truncated the mapped file, the page becomes private.
//!
//! The handler claims faults on registered pages alone and passes every other one to the action that it replaced.
//! It takes no lock, allocates nothing and preserves `errno`. A forked child inherits the handler and the table.
//!
//! Nothing happens under a handler that the host installs later and that doesn't chain, nor on a thread that blocks SIGBUS:
//! there the fault does what it did without this file.

use std::ffi::{c_int, c_void};
use std::mem::{MaybeUninit, transmute};
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use super::fault;

/// Bytes of each page.
pub const PAGE: usize = 4096;

/// The registered pages. Zero is free; addresses are aligned, so bit 0 is [`LOST`].
static PAGES: [AtomicUsize; 1024] = [const { AtomicUsize::new(0) }; 1024];
const LOST: usize = 1;

/// The action that the handler replaced. Leaked, because the handler may read it at any time.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// Whether a previous handler with SA_RESETHAND had its one call.
static SPENT: AtomicBool = AtomicBool::new(false);

/// A registered page.
#[derive(Debug)]
pub struct Guarded(&'static AtomicUsize);

impl Guarded {
    /// None where the table is full.
    pub fn register(page: NonNull<u8>) -> Option<Self> {
        let slot = claim(&PAGES, page.as_ptr().expose_provenance())?;
        install();
        Some(Self(slot))
    }

    /// Whether the page became private, filled with zeros.
    pub fn is_lost(&self) -> bool {
        self.0.load(Ordering::Acquire) & LOST != 0
    }

    /// Forgets that. To be called before a file is mapped there: a handler that runs concurrently may replace the new
    /// page too.
    pub fn renew(&self) {
        self.0.fetch_and(!LOST, Ordering::AcqRel);
    }
}

/// To be dropped before the page is unmapped, or the handler would claim the faults of what the host maps there.
impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

fn claim(slots: &[AtomicUsize], page: usize) -> Option<&AtomicUsize> {
    slots.iter().find(|slot| slot.compare_exchange(0, page, Ordering::AcqRel, Ordering::Relaxed).is_ok())
}

/// Installs the handler once in a process. Never waits, because a fork may happen at any moment of this call.
///
/// Never a second time: a host's later handler that chains to this one would be chained to in turn, without end.
fn install() {
    if INSTALLED.load(Ordering::Acquire) || cfg!(miri) || fault::wanted("KMS_FAULT_NO_BUS_HANDLER") {
        return;
    }
    let Some(found) = exchange(None).filter(|found| !is_ours(found)) else { return };
    // Kept before the handler can run.
    let kept = Box::into_raw(Box::new(found));
    if PREVIOUS.compare_exchange(null_mut(), kept, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: `kept` was never shared. Another thread, or the parent of a fork, came first.
        drop(unsafe { Box::from_raw(kept) });
    }
    let mut action = found;
    action.sa_sigaction = on_bus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    // Keeps the mask and the flags that the previous handler may rely on.
    action.sa_flags = found.sa_flags & (libc::SA_NODEFER | libc::SA_RESTART) | libc::SA_SIGINFO | libc::SA_ONSTACK;
    if let Some(replaced) = exchange(Some(&action)) {
        if !is_ours(&replaced) && replaced.sa_sigaction != found.sa_sigaction {
            PREVIOUS.store(Box::into_raw(Box::new(replaced)), Ordering::Release);
        }
        INSTALLED.store(true, Ordering::Release);
    }
}

/// Returns the action of SIGBUS, and sets another one.
fn exchange(action: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both are valid for the call, and NULL sets nothing; all zeroes is a valid sigaction.
    unsafe {
        let done = libc::sigaction(libc::SIGBUS, action.map_or(null(), std::ptr::from_ref), old.as_mut_ptr()) == 0;
        done.then(|| old.assume_init())
    }
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == on_bus as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize
}

extern "C" fn on_bus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a complete siginfo_t; the address is used only where the code says that there is one.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    if code != libc::BUS_ADRERR || !replace(address) {
        chain(code, signal, info, context);
    }
}

/// Makes the page private where `address` is in a registered one, so that the load is repeated and reads zeros.
fn replace(address: usize) -> bool {
    let inside = |slot: &&AtomicUsize| {
        let page = slot.load(Ordering::Acquire) & !LOST;
        page != 0 && address.wrapping_sub(page) < PAGE
    };
    let Some(slot) = PAGES.iter().find(inside) else { return false };
    // Before, for a thread that counts on the private page at once; after, for one that maps a file meanwhile.
    let page = slot.fetch_or(LOST, Ordering::AcqRel) & !LOST;
    // SAFETY: errno is the thread's; the page is ours and reached through an atomic alone, and the result is checked.
    let replaced = unsafe {
        let errno = *libc::__errno_location();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let at = std::ptr::with_exposed_provenance_mut(page);
        let mapped = libc::mmap(at, PAGE, access, kind | libc::MAP_FIXED, -1, 0);
        *libc::__errno_location() = errno;
        mapped != libc::MAP_FAILED
    };
    slot.fetch_or(LOST, Ordering::AcqRel);
    replaced
}

/// Does what would have happened without this handler.
fn chain(code: c_int, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // A fault of this thread, which repeats when the handler returns: BUS_ADRALN to BUS_MCEERR_AR. Otherwise it was
    // sent.
    let repeats = (1..=4).contains(&code);
    // SAFETY: stored before the handler was installed, and never freed.
    let previous = unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() };
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    let flags = previous.map_or(0, |previous| previous.sa_flags);
    if handler == libc::SIG_IGN && !repeats {
        return;
    }
    let spent = flags & libc::SA_RESETHAND != 0 && SPENT.swap(true, Ordering::AcqRel);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN || spent {
        // SAFETY: all zeroes is a valid sigaction: the default.
        exchange(Some(&unsafe { std::mem::zeroed() }));
        if !repeats {
            // SAFETY: takes any signal. It is blocked here, and ends the process as the handler returns.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    // SAFETY: a handler of the host's, of the type that its flags say, called with what the kernel passed.
    unsafe {
        if flags & libc::SA_SIGINFO != 0 {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            transmute::<usize, Handler>(handler)(signal, info, context);
        } else {
            transmute::<usize, extern "C" fn(c_int)>(handler)(signal);
        }
    }
}

#[cfg(test)]
mod tests;
