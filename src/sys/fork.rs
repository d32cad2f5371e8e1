//! Notices that the process was forked, keeps library calls and fork apart, and rebuilds per-process state in a child.
//!
//! Detection is a word in a page that the kernel wipes in a child (MADV_WIPEONFORK), which also sees a raw `clone`,
//! besides `pthread_atfork`; never getpid, which repeats in a new pid namespace. A child takes no lock that existed
//! before: it makes new state and leaks what it inherited.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, Ordering};

use super::exit;
use super::fault;
use super::file::{File, FileId, Identity};
use super::sync::{Gate, Pass, ShutGate};
use crate::error::{Result, Status};

static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
static LAST_EPOCH: AtomicU64 = AtomicU64::new(0);
static GATE: Gate = Gate::new();
/// Whether a fork is in progress, so that the handlers of the host need not read [`SHUT`] at every call.
static FORKING: AtomicBool = AtomicBool::new(false);
/// Whether the kernel promised to wipe the page of [`WORD`] in a child.
static WIPED: AtomicBool = AtomicBool::new(false);
/// The word at the last fork. A child that still finds it there was promised too much: qemu-user accepts the advice and
/// wipes nothing.
static AT_FORK: AtomicU64 = AtomicU64::new(0);

/// Descriptors that a child closes: an open file description's lock belongs to parent and child together, so a child
/// that kept one would keep its dead parent's lock.
static INHERITED: [Inherited; 1024] = [const { Inherited::new() }; 1024];

/// One of them, and how it is recognised: the host may have closed it and opened another file under its number.
struct Inherited {
    /// The epoch in the upper half, the number plus one in the lower; zero is free, [`TAKEN`] is being filled.
    stored: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
    /// Zero for none.
    mark: AtomicI64,
}

const TAKEN: u64 = 0xffff_ffff;

impl Inherited {
    const fn new() -> Self {
        Self { stored: AtomicU64::new(0), device: AtomicU64::new(0), inode: AtomicU64::new(0), mark: AtomicI64::new(0) }
    }

    fn fill(&self, identity: Identity, stored: u64) {
        let Identity { id, mark } = identity;
        self.device.store(id.device, Ordering::Relaxed);
        self.inode.store(id.inode, Ordering::Relaxed);
        self.mark.store(mark.unwrap_or(0), Ordering::Relaxed);
        self.stored.store(stored, Ordering::Release);
    }

    fn identity(&self) -> Identity {
        let id = FileId { device: self.device.load(Ordering::Relaxed), inode: self.inode.load(Ordering::Relaxed) };
        Identity { id, mark: Some(self.mark.load(Ordering::Relaxed)).filter(|mark| *mark != 0) }
    }
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Never dropped with its thread: a function registered by `atexit` may fork, and runs after that.
    static SHUT: RefCell<Option<ManuallyDrop<ShutGate>>> = const { RefCell::new(None) };
    /// The pass of a [`long_gate`]; likewise.
    static LONG: RefCell<Option<ManuallyDrop<Passed>>> = const { RefCell::new(None) };
}

/// A number that differs between a process and the process it was forked from. One atomic load.
#[inline]
pub fn epoch() -> u64 {
    let word = word();
    let epoch = word.load(Ordering::Relaxed);
    if epoch != 0 { epoch } else { new_epoch(word) }
}

#[inline]
fn word() -> &'static AtomicU64 {
    let word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        return set_up();
    }
    // SAFETY: once set, WORD points to a page that is never unmapped.
    unsafe { &*word }
}

#[cold]
fn new_epoch(word: &AtomicU64) -> u64 {
    let next = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            // After a raw `clone` no handler has done it; after a fork there is nothing left to do.
            close_inherited(next);
            GATE.after_fork();
            next
        }
        Err(others) => others,
    }
}

/// Maps the page and registers the handlers. A fork may happen at any moment of this call, so it never waits: of
/// several threads, or of a parent and its child, the first to finish wins.
#[cold]
fn set_up() -> &'static AtomicU64 {
    // SAFETY: an anonymous mapping of one page; the result is checked.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let made: *mut AtomicU64 = if page == libc::MAP_FAILED {
        // Without the page, pthread_atfork alone remains.
        Box::into_raw(Box::new(AtomicU64::new(0)))
    } else {
        if !unnoticed() {
            // SAFETY: the page was just mapped; where the kernel refuses, pthread_atfork alone remains.
            let wiped = unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) } == 0;
            WIPED.store(wiped, Ordering::Relaxed);
        }
        page.cast()
    };
    match WORD.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            // SAFETY: the handlers are `extern "C"` functions of this library, which is never unloaded.
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
            // SAFETY: just published; never unmapped.
            unsafe { &*made }
        }
        Err(others) => {
            if page != libc::MAP_FAILED {
                // SAFETY: no other code has seen this page.
                unsafe { libc::munmap(page, 4096) };
            }
            // SAFETY: published by another thread; never unmapped.
            unsafe { &*others }
        }
    }
}

/// Continues in a child as if it were its parent, for the test that shows what would repeat then.
fn unnoticed() -> bool {
    fault::wanted("KMS_FAULT_FORK_UNNOTICED")
}

extern "C" fn before_fork() {
    let word = WORD.load(Ordering::Acquire);
    if !word.is_null() {
        // SAFETY: WORD points to a page that is never unmapped.
        AT_FORK.store(unsafe { (*word).load(Ordering::Relaxed) }, Ordering::Relaxed);
    }
    if fault::wanted("KMS_FAULT_NO_FORK_GATE") {
        return;
    }
    shut();
}

fn shut() {
    let shut = GATE.shut();
    FORKING.store(true, Ordering::Relaxed);
    SHUT.with(|cell| *cell.borrow_mut() = Some(ManuallyDrop::new(shut)));
}

/// Opens the gate if this thread has shut it.
fn open() -> bool {
    let shut = SHUT.with(|cell| cell.borrow_mut().take());
    if shut.is_some() {
        FORKING.store(false, Ordering::Relaxed);
    }
    shut.map(ManuallyDrop::into_inner).is_some()
}

extern "C" fn after_fork_in_parent() {
    open();
}

/// The gate, open for a call that a fork handler of the host makes, and then shut again.
///
/// Handlers that were registered before ours run while this thread keeps the gate shut. It must not merely pass: another
/// thread may wait at the gate and hold what the call needs.
pub struct Reopened(bool);

#[inline]
pub fn reopen() -> Reopened {
    // This thread sees what it stored itself; seeing what others store costs a check.
    Reopened(FORKING.load(Ordering::Relaxed) && !fault::wanted("KMS_FAULT_NOT_REOPENED_IN_FORK") && open())
}

impl Drop for Reopened {
    fn drop(&mut self) {
        if self.0 {
            shut();
        }
    }
}

/// Closes the descriptors that were registered before `epoch`.
fn close_inherited(epoch: u64) {
    for slot in &INHERITED {
        let stored = slot.stored.load(Ordering::Acquire);
        if stored != 0 && stored != TAKEN && stored >> 32 < epoch & 0xffff_ffff {
            let (descriptor, identity) = ((stored & 0xffff_ffff) as i32 - 1, slot.identity());
            slot.stored.store(0, Ordering::Relaxed);
            if identity.is_at(descriptor) {
                // SAFETY: this descriptor is ours and unused in the child.
                unsafe { libc::close(descriptor) };
            }
        }
    }
}

extern "C" fn after_fork_in_child() {
    let word = WORD.load(Ordering::Acquire);
    if !word.is_null() && !unnoticed() {
        // SAFETY: WORD points to a page that is never unmapped.
        let word = unsafe { &*word };
        // In a wiped page another number is the child's own: a handler of the host has used the library before this one.
        if !WIPED.load(Ordering::Relaxed) || word.load(Ordering::Relaxed) == AT_FORK.load(Ordering::Relaxed) {
            word.store(0, Ordering::Relaxed);
        }
        if word.load(Ordering::Relaxed) == 0 {
            // Here the child has one thread, so no other thread can open files while the inherited ones are closed.
            new_epoch(word);
        }
    }
    open();
}

/// Runs `body` while no fork can happen: for calls into SQLite, or into OpenSSL where it may lock.
///
/// Never held in a callback, in Argon2 or while waiting for a lock, because a fork waits for it.
pub fn gate<R>(body: impl FnOnce() -> R) -> R {
    // Until the handlers are registered, no fork would wait. Miri has neither.
    if !cfg!(miri) {
        word();
    }
    let outermost = DEPTH.with(|depth| depth.replace(depth.get() + 1)) == 0;
    let _leave = Leave;
    let _pass = outermost.then(pass);
    body()
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// As [`gate`], for a call of seconds that runs [`let_forks_by`] again and again. Inside of another gate forks wait for
/// all of it.
pub fn long_gate<R>(body: impl FnOnce() -> R) -> R {
    struct LongGate;
    impl Drop for LongGate {
        fn drop(&mut self) {
            leave_long();
        }
    }
    if DEPTH.with(Cell::get) != 0 {
        return gate(body);
    }
    if !cfg!(miri) {
        word();
    }
    DEPTH.with(|depth| depth.set(1));
    let _leave = Leave;
    let _end = LongGate;
    enter_long();
    body()
}

/// Lets a fork that waits for the [`long_gate`] of this thread happen now.
pub fn let_forks_by() {
    if leave_long() {
        enter_long();
    }
}

fn enter_long() {
    let passed = ManuallyDrop::new(pass());
    LONG.with(|cell| *cell.borrow_mut() = Some(passed));
}

fn leave_long() -> bool {
    let passed = LONG.with(|cell| cell.borrow_mut().take());
    passed.map(ManuallyDrop::into_inner).is_some()
}

/// Dropped in this order, so that no fork finds a stay begun.
type Passed = (exit::Stay, Pass);

/// The way through the gate, open until it is dropped; never for a thread of the library once `exit` has begun.
fn pass() -> Passed {
    let pass = GATE.pass();
    match exit::Stay::begin() {
        Some(stay) => (stay, pass),
        None => {
            drop(pass);
            exit::park()
        }
    }
}

/// A descriptor that a forked child closes.
#[derive(Debug)]
pub struct ClosedInChild(usize);

impl ClosedInChild {
    pub fn register(file: &File) -> Result<Self> {
        Self::add(file.number(), file.identity())
    }

    /// Likewise a socket: a child that kept it would keep its dead parent's connection, with the locks of a transaction.
    #[cfg(feature = "postgres")]
    pub fn register_socket(socket: &std::net::TcpStream) -> Result<Self> {
        let number = super::socket::number(socket);
        let identity = Identity::unmarked(number)
            .map_err(|e| Status::KeystoreIo.error(format!("the connection to the database was closed: {e}")))?;
        Self::add(number, identity)
    }

    fn add(number: i32, identity: Identity) -> Result<Self> {
        let stored = epoch() << 32 | u64::from(number.cast_unsigned() + 1);
        for (index, slot) in INHERITED.iter().enumerate() {
            if slot.stored.compare_exchange(0, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                slot.fill(identity, stored);
                return Ok(Self(index));
            }
        }
        Err(Status::LimitExceeded.error("1024 keystores are open in this process; close some"))
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        if let Some(slot) = INHERITED.get(self.0) {
            slot.stored.store(0, Ordering::Relaxed);
        }
    }
}

/// A value that a forked child makes again on its first use, from what it inherited.
///
/// The inherited value is leaked in the child: its locks may be held by threads that don't exist there.
#[derive(Debug)]
pub struct PerProcess<T> {
    current: AtomicPtr<EpochNode<T>>,
}

#[derive(Debug)]
struct EpochNode<T> {
    epoch: u64,
    /// Where the epoch of the running process is stored: [`word`].
    word: &'static AtomicU64,
    value: T,
}

impl<T> EpochNode<T> {
    fn boxed(epoch: u64, value: T) -> *mut Self {
        Box::into_raw(Box::new(Self { epoch, word: word(), value }))
    }

    /// Whether it was made in this process. A wiped word is the epoch of none.
    #[inline]
    fn is_ours(&self) -> bool {
        self.word.load(Ordering::Relaxed) == self.epoch
    }
}

impl<T> PerProcess<T> {
    pub fn new(value: T) -> Self {
        Self { current: AtomicPtr::new(EpochNode::boxed(epoch(), value)) }
    }

    /// This process's value; `rebuild` makes it from the parent's in a child.
    #[inline]
    pub fn get(&self, rebuild: impl Fn(&T) -> Result<T>) -> Result<&T> {
        // SAFETY: the pointer is from Box::into_raw and nodes are freed only in Drop.
        let node = unsafe { &*self.current.load(Ordering::Acquire) };
        if node.is_ours() { Ok(&node.value) } else { self.rebuild(node, rebuild) }
    }

    #[cold]
    fn rebuild(&self, inherited: &EpochNode<T>, rebuild: impl Fn(&T) -> Result<T>) -> Result<&T> {
        // Read before: if `rebuild` forks, what it makes is not the child's.
        let epoch = epoch();
        let made = EpochNode::boxed(epoch, rebuild(&inherited.value)?);
        let old = std::ptr::from_ref(inherited).cast_mut();
        match self.current.compare_exchange(old, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: `made` was just published and lives until Drop.
            Ok(_) => Ok(unsafe { &(*made).value }),
            Err(others) => {
                // SAFETY: `made` was never shared, and `others` is a node that lives until Drop.
                unsafe {
                    drop(Box::from_raw(made));
                    Ok(&(*others).value)
                }
            }
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let node = *self.current.get_mut();
        // SAFETY: `&mut self` means that the node is no longer in use; it is from Box::into_raw.
        unsafe {
            if (*node).is_ours() {
                drop(Box::from_raw(node));
            }
        }
    }
}

// SAFETY: hands out `&T` to any thread and drops T where it is dropped itself, like a Box.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

#[cfg(test)]
mod tests;
