//! Counts this thread's allocations, through Rust's allocator and through libcrypto's memory functions. Tracks
//! libcrypto's larger blocks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};

static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Identifies the thread, since tests run at the same time.
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
    static OURS: Cell<u64> = const { Cell::new(0) };
    static LIBCRYPTOS: Cell<u64> = const { Cell::new(0) };
    /// Whether this thread is inside the account, whose own allocations are not counted.
    static ACCOUNTING: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    if !ACCOUNTING.get() {
        OURS.set(OURS.get() + 1);
    }
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(place, layout, size) }
    }
}

/// This thread's allocations so far: Rust's, libcrypto's.
pub fn allocations() -> (u64, u64) {
    (OURS.get(), LIBCRYPTOS.get())
}

/// A context of AES-GCM with its key schedule is above this, the tables of names around it are below.
const LARGE: usize = 500;

#[derive(Default)]
struct Account {
    next: u64,
    /// Number, size and maker of the live blocks by address.
    live: Option<HashMap<usize, (u64, usize, u64)>>,
    /// Number, and whether anything was left in it.
    freed: Vec<(u64, bool)>,
}

static ACCOUNT: Mutex<Account> = Mutex::new(Account { next: 0, live: None, freed: Vec::new() });

/// Set in a forked child, where a thread that does not exist there may hold the account's lock.
static OFF: AtomicBool = AtomicBool::new(false);

pub fn keep_no_account() {
    OFF.store(true, Ordering::Relaxed);
}

fn account<R>(body: impl FnOnce(&mut Account) -> R) -> R {
    ACCOUNTING.set(true);
    let result = body(&mut ACCOUNT.lock().unwrap());
    ACCOUNTING.set(false);
    result
}

/// Zero is no thread's: at a thread's end its number may no longer be available.
fn this_thread() -> u64 {
    THREAD.try_with(|thread| *thread + 1).unwrap_or(0)
}

fn enter(place: *mut c_void, size: usize) {
    LIBCRYPTOS.set(LIBCRYPTOS.get() + 1);
    if size >= LARGE && !place.is_null() && !OFF.load(Ordering::Relaxed) {
        let thread = this_thread();
        account(|account| {
            account.next += 1;
            let number = account.next;
            account.live.get_or_insert_default().insert(place.addr(), (number, size, thread));
        });
    }
}

fn strike(place: *mut c_void) {
    if OFF.load(Ordering::Relaxed) {
        return;
    }
    account(|account| {
        if let Some((number, size, _)) = account.live.get_or_insert_default().remove(&place.addr()) {
            // SAFETY: libcrypto's block of that size, which is about to be freed.
            let bytes = unsafe { std::slice::from_raw_parts(place.cast::<u8>(), size) };
            let left = bytes.iter().any(|byte| *byte != 0);
            account.freed.push((number, left));
        }
    });
}

unsafe extern "C" fn malloc(size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    let place = unsafe { libc::calloc(1, size) };
    enter(place, size);
    place
}

unsafe extern "C" fn realloc(place: *mut c_void, size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    if !place.is_null() {
        strike(place);
    }
    let place = unsafe { libc::realloc(place, size) };
    enter(place, size);
    place
}

unsafe extern "C" fn free(place: *mut c_void, _: *const c_char, _: c_int) {
    if !place.is_null() {
        strike(place);
        unsafe { libc::free(place) };
    }
}

type Malloc = unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

unsafe extern "C" {
    fn CRYPTO_set_mem_functions(malloc: Malloc, realloc: Realloc, free: Free) -> c_int;
}

/// Installs this program's memory functions in libcrypto, and the library does not replace them. libcrypto accepts them
/// only before its first allocation.
pub fn watch_libcrypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        assert_eq!(unsafe { CRYPTO_set_mem_functions(malloc, realloc, free) }, 1, "libcrypto has allocated already");
    });
}

/// A point in the account.
pub fn mark() -> u64 {
    account(|account| account.next)
}

/// The numbers of the large blocks that libcrypto made in this thread since then and still has.
pub fn live_since(mark: u64) -> Vec<u64> {
    let thread = this_thread();
    account(|account| {
        let live = account.live.get_or_insert_default();
        let own = live.values().filter(|(number, _, maker)| *number > mark && *maker == thread);
        own.map(|(number, _, _)| *number).collect()
    })
}

pub fn all_freed(numbers: &[u64]) -> bool {
    account(|account| numbers.iter().all(|number| account.freed.iter().any(|(freed, _)| freed == number)))
}

pub fn freed_unwiped(numbers: &[u64]) -> usize {
    account(|account| account.freed.iter().filter(|(number, left)| *left && numbers.contains(number)).count())
}
