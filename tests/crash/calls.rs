//! Every system call that touches a watched folder, from SQLite or from the library's file operations.
//!
//! This program defines the C functions themselves, so the linker binds all of its code to them, and the library under
//! test is the ordinary one. A call may be recorded, fail, or be the moment at which the process dies.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a call does. Reading and closing are counted only where faults are injected: they change nothing on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Open,
    Write,
    Sync,
    Truncate,
    Unlink,
    Rename,
    Link,
    Mode,
    Lock,
    Read,
    Close,
}

impl Kind {
    /// Whether it can change the files that other or later processes see.
    pub fn is_write_point(self) -> bool {
        !matches!(self, Self::Read | Self::Close)
    }
}

/// The events in the folder, in order: those that a disk would have to remember.
#[derive(Debug, Clone)]
pub enum Entry {
    Create {
        name: String,
        inode: u64,
    },
    Open {
        name: String,
    },
    Write {
        inode: u64,
        at: u64,
        data: Vec<u8>,
    },
    Truncate {
        inode: u64,
        len: u64,
    },
    Sync {
        inode: u64,
    },
    SyncFolder,
    Link {
        from: String,
        to: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        name: String,
    },
    Failed {
        name: String,
    },
    /// The operation returned, so its caller knows.
    Acknowledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    /// After half of a write.
    Within,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    /// SIGKILL around the write point of this number, counting those of one kind or all.
    Kill {
        at: usize,
        when: When,
        only: Option<Kind>,
    },
    /// From the call of this number on, that one or all fail.
    Fail {
        at: usize,
        errno: c_int,
        for_good: bool,
        only: Option<Kind>,
    },
}

#[derive(Debug)]
struct State {
    plan: Plan,
    recording: bool,
    points: usize,
    fired: usize,
    fired_at: Option<(Kind, String)>,
    log: Vec<Entry>,
}

/// A folder whose calls are watched, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    folder: String,
    state: Mutex<State>,
}

struct Descriptor {
    watch: Arc<Watch>,
    name: String,
    inode: u64,
    is_folder: bool,
}

static WATCHES: Mutex<Vec<Arc<Watch>>> = Mutex::new(Vec::new());
static WATCHING: AtomicUsize = AtomicUsize::new(0);
static DESCRIPTORS: Mutex<Option<HashMap<c_int, Descriptor>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Ends the watch when dropped.
pub struct Watching(Arc<Watch>);

impl std::ops::Deref for Watching {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.0
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        lock(&WATCHES).retain(|watch| !Arc::ptr_eq(watch, &self.0));
        if let Some(open) = lock(&DESCRIPTORS).as_mut() {
            open.retain(|_, descriptor| !Arc::ptr_eq(&descriptor.watch, &self.0));
        }
        WATCHING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Watch {
    /// Watches `folder` from now on; files must be opened afterwards to be seen.
    pub fn over(folder: &Path) -> Watching {
        let folder = folder.canonicalize().unwrap().to_str().unwrap().to_owned();
        let state =
            State { plan: Plan::Nothing, recording: false, points: 0, fired: 0, fired_at: None, log: Vec::new() };
        let watch = Arc::new(Self { folder, state: Mutex::new(state) });
        lock(&WATCHES).push(Arc::clone(&watch));
        WATCHING.fetch_add(1, Ordering::SeqCst);
        Watching(watch)
    }

    /// Restarts the count, with this plan.
    pub fn plan(&self, plan: Plan) {
        let mut state = lock(&self.state);
        (state.plan, state.points, state.fired, state.fired_at) = (plan, 0, 0, None);
    }

    pub fn record(&self) {
        lock(&self.state).recording = true;
    }

    pub fn acknowledged(&self) {
        lock(&self.state).log.push(Entry::Acknowledged);
    }

    pub fn log(&self) -> Vec<Entry> {
        lock(&self.state).log.clone()
    }

    /// How many calls failed as planned.
    pub fn fired(&self) -> usize {
        lock(&self.state).fired
    }

    /// What the first of them was.
    pub fn fired_at(&self) -> Option<(Kind, String)> {
        lock(&self.state).fired_at.clone()
    }

    fn name_of(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.folder.as_str())?;
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
    }

    /// Makes one call: counts it, follows the plan, then records it. `half` is the call cut in two, for writes.
    fn make(
        &self,
        kind: Kind,
        name: &str,
        call: &mut dyn FnMut() -> isize,
        half: Option<&mut dyn FnMut()>,
        note: &mut dyn FnMut(isize) -> Option<Entry>,
    ) -> isize {
        let mut state = lock(&self.state);
        match state.plan {
            Plan::Kill { at, when, only } if only.map_or(kind.is_write_point(), |only| only == kind) => {
                state.points += 1;
                if state.points == at {
                    match when {
                        When::Before => {}
                        When::Within => half.map_or((), |half| half()),
                        When::After => _ = call(),
                    }
                    die();
                }
            }
            Plan::Fail { at, errno, for_good, only } if only.is_none_or(|only| only == kind) => {
                state.points += 1;
                if state.points == at || (for_good && state.points > at) {
                    state.fired += 1;
                    state.fired_at.get_or_insert_with(|| (kind, name.to_owned()));
                    if state.recording {
                        state.log.push(Entry::Failed { name: name.to_owned() });
                    }
                    // A descriptor is gone even where close fails.
                    if kind == Kind::Close {
                        call();
                    }
                    // SAFETY: errno of this thread.
                    unsafe { *libc::__errno_location() = errno };
                    return -1;
                }
            }
            _ => {}
        }
        let result = call();
        if result >= 0
            && state.recording
            && let Some(entry) = note(result)
        {
            state.log.push(entry);
        }
        result
    }
}

fn die() -> ! {
    // SAFETY: ends this process at once.
    unsafe {
        libc::syscall(libc::SYS_kill, libc::syscall(libc::SYS_getpid), libc::SIGKILL);
        libc::syscall(libc::SYS_exit_group, 99);
    }
    unreachable!("killed")
}

fn watch_of(path: *const c_char) -> Option<(Arc<Watch>, String)> {
    if WATCHING.load(Ordering::SeqCst) == 0 || path.is_null() {
        return None;
    }
    // SAFETY: a path argument of a C function.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    lock(&WATCHES).iter().find_map(|watch| Some((Arc::clone(watch), watch.name_of(path)?)))
}

struct Known {
    watch: Arc<Watch>,
    name: String,
    inode: u64,
    is_folder: bool,
}

fn known(descriptor: c_int) -> Option<Known> {
    if WATCHING.load(Ordering::SeqCst) == 0 {
        return None;
    }
    let open = lock(&DESCRIPTORS);
    let found = open.as_ref()?.get(&descriptor)?;
    Some(Known {
        watch: Arc::clone(&found.watch),
        name: found.name.clone(),
        inode: found.inode,
        is_folder: found.is_folder,
    })
}

fn position(descriptor: c_int) -> u64 {
    // SAFETY: any descriptor number is allowed.
    unsafe { libc::syscall(libc::SYS_lseek, descriptor, 0, libc::SEEK_CUR) }.max(0).cast_unsigned()
}

fn raw_open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: passed on as it came.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

fn opened(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    let Some((watch, name)) = watch_of(path) else { return raw_open(path, flags, mode) };
    // SAFETY: a path argument of a C function.
    let was_there = unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) } == 0;
    let creates = flags & libc::O_CREAT != 0 && !was_there;
    let mut keep = None;
    let result = watch.make(Kind::Open, &name, &mut || raw_open(path, flags, mode) as isize, None, &mut |descriptor| {
        let (inode, _) = inode_of(descriptor as c_int);
        Some(match creates {
            true => Entry::Create { name: name.clone(), inode },
            false => Entry::Open { name: name.clone() },
        })
    }) as c_int;
    if result >= 0 {
        let (inode, is_folder) = inode_of(result);
        keep = lock(&DESCRIPTORS).get_or_insert_default().insert(result, Descriptor { watch, name, inode, is_folder });
    }
    drop(keep);
    result
}

fn inode_of(descriptor: c_int) -> (u64, bool) {
    // SAFETY: stat is plain data; fstat fills it.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        libc::fstat(descriptor, &mut found);
        (found.st_ino, found.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }
}

fn written(descriptor: c_int, data: *const c_void, len: usize, at: Option<i64>) -> isize {
    let write = |len: usize| -> isize {
        // SAFETY: passed on as it came, at most as long.
        unsafe {
            match at {
                Some(at) => libc::syscall(libc::SYS_pwrite64, descriptor, data, len, at) as isize,
                None => libc::syscall(libc::SYS_write, descriptor, data, len) as isize,
            }
        }
    };
    let Some(Known { watch, name, inode, .. }) = known(descriptor) else { return write(len) };
    let start = at.map_or_else(|| position(descriptor), i64::cast_unsigned);
    watch.make(Kind::Write, &name, &mut || write(len), Some(&mut || _ = write(len / 2)), &mut |written| {
        // SAFETY: that much of the caller's data was just written.
        let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), written as usize) };
        Some(Entry::Write { inode, at: start, data: data.to_vec() })
    })
}

fn simple(
    descriptor: c_int,
    kind: Kind,
    call: &mut dyn FnMut() -> isize,
    entry: impl Fn(u64, bool) -> Option<Entry>,
) -> isize {
    match known(descriptor) {
        Some(Known { watch, name, inode, is_folder }) => {
            watch.make(kind, &name, call, None, &mut |_| entry(inode, is_folder))
        }
        None => call(),
    }
}

fn two_names(kind: Kind, from: *const c_char, to: *const c_char, call: &mut dyn FnMut() -> isize) -> isize {
    let Some((watch, from)) = watch_of(from) else { return call() };
    let to = watch_of(to).map_or(String::new(), |(_, to)| to);
    watch.make(kind, &to, call, None, &mut |_| {
        let (from, to) = (from.clone(), to.clone());
        Some(if kind == Kind::Link { Entry::Link { from, to } } else { Entry::Rename { from, to } })
    })
}

/// The C functions. Variadic ones get their optional argument as a plain one, which is how Linux's C ABIs pass it.
mod c {
    use super::*;

    #[unsafe(no_mangle)]
    extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
        opened(path, flags, mode)
    }
    #[unsafe(no_mangle)]
    extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
        opened(path, flags, mode)
    }
    #[unsafe(no_mangle)]
    extern "C" fn write(descriptor: c_int, data: *const c_void, len: usize) -> isize {
        written(descriptor, data, len, None)
    }
    #[unsafe(no_mangle)]
    extern "C" fn pwrite(descriptor: c_int, data: *const c_void, len: usize, at: i64) -> isize {
        written(descriptor, data, len, Some(at))
    }
    #[unsafe(no_mangle)]
    extern "C" fn pwrite64(descriptor: c_int, data: *const c_void, len: usize, at: i64) -> isize {
        written(descriptor, data, len, Some(at))
    }
    #[unsafe(no_mangle)]
    extern "C" fn read(descriptor: c_int, data: *mut c_void, len: usize) -> isize {
        // SAFETY: passed on as it came, here and in the functions below.
        let mut call = || unsafe { libc::syscall(libc::SYS_read, descriptor, data, len) as isize };
        simple(descriptor, Kind::Read, &mut call, |_, _| None)
    }
    #[unsafe(no_mangle)]
    extern "C" fn pread64(descriptor: c_int, data: *mut c_void, len: usize, at: i64) -> isize {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_pread64, descriptor, data, len, at) as isize };
        simple(descriptor, Kind::Read, &mut call, |_, _| None)
    }
    #[unsafe(no_mangle)]
    extern "C" fn pread(descriptor: c_int, data: *mut c_void, len: usize, at: i64) -> isize {
        pread64(descriptor, data, len, at)
    }
    #[unsafe(no_mangle)]
    extern "C" fn fsync(descriptor: c_int) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_fsync, descriptor) as isize };
        simple(descriptor, Kind::Sync, &mut call, |inode, is_folder| {
            Some(if is_folder { Entry::SyncFolder } else { Entry::Sync { inode } })
        }) as c_int
    }
    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(descriptor: c_int) -> c_int {
        fsync(descriptor)
    }
    #[unsafe(no_mangle)]
    extern "C" fn ftruncate(descriptor: c_int, len: i64) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_ftruncate, descriptor, len) as isize };
        simple(descriptor, Kind::Truncate, &mut call, |inode, _| {
            Some(Entry::Truncate { inode, len: len.cast_unsigned() })
        }) as c_int
    }
    #[unsafe(no_mangle)]
    extern "C" fn ftruncate64(descriptor: c_int, len: i64) -> c_int {
        ftruncate(descriptor, len)
    }
    #[unsafe(no_mangle)]
    extern "C" fn fchmod(descriptor: c_int, mode: libc::mode_t) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_fchmod, descriptor, mode) as isize };
        simple(descriptor, Kind::Mode, &mut call, |_, _| None) as c_int
    }
    #[unsafe(no_mangle)]
    extern "C" fn flock(descriptor: c_int, operation: c_int) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_flock, descriptor, operation) as isize };
        simple(descriptor, Kind::Lock, &mut call, |_, _| None) as c_int
    }
    #[unsafe(no_mangle)]
    extern "C" fn fcntl(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_fcntl, descriptor, command, argument) as isize };
        match command {
            libc::F_SETLK | libc::F_GETLK | libc::F_OFD_SETLK | libc::F_OFD_GETLK => {
                simple(descriptor, Kind::Lock, &mut call, |_, _| None) as c_int
            }
            _ => call() as c_int,
        }
    }
    #[unsafe(no_mangle)]
    extern "C" fn fcntl64(descriptor: c_int, command: c_int, argument: *mut c_void) -> c_int {
        fcntl(descriptor, command, argument)
    }
    #[unsafe(no_mangle)]
    extern "C" fn close(descriptor: c_int) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_close, descriptor) as isize };
        if WATCHING.load(Ordering::SeqCst) == 0 {
            return call() as c_int;
        }
        let gone = lock(&DESCRIPTORS).as_mut().and_then(|open| open.remove(&descriptor));
        match gone {
            Some(gone) => gone.watch.make(Kind::Close, &gone.name, &mut call, None, &mut |_| None) as c_int,
            None => call() as c_int,
        }
    }
    #[unsafe(no_mangle)]
    extern "C" fn unlink(path: *const c_char) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as isize };
        let Some((watch, name)) = watch_of(path) else { return call() as c_int };
        watch.make(Kind::Unlink, &name, &mut call, None, &mut |_| Some(Entry::Unlink { name: name.clone() })) as c_int
    }
    #[unsafe(no_mangle)]
    extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
        // SAFETY: as above.
        let mut call =
            || unsafe { libc::syscall(libc::SYS_renameat, libc::AT_FDCWD, from, libc::AT_FDCWD, to) as isize };
        two_names(Kind::Rename, from, to, &mut call) as c_int
    }
    #[unsafe(no_mangle)]
    extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
        linkat(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    }
    #[unsafe(no_mangle)]
    extern "C" fn linkat(a: c_int, from: *const c_char, b: c_int, to: *const c_char, flags: c_int) -> c_int {
        // SAFETY: as above.
        let mut call = || unsafe { libc::syscall(libc::SYS_linkat, a, from, b, to, flags) as isize };
        two_names(Kind::Link, from, to, &mut call) as c_int
    }
}
