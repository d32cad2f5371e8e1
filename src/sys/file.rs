//! Opens files, and is the only place that does: every descriptor is close-on-exec, at least 3, and verified before use.
//!
//! Descriptors 0 to 2 are the host's, even where it closed them: what it logs to a closed stderr would land in our file.
//! A host may also close descriptors that it does not know (`closefrom`, when it becomes a daemon) and open its own files
//! under the same numbers. A [`File`] therefore remembers its (device, inode) and a mark, which is the file offset: all
//! reading and writing is by `pread` and `pwrite`, so only this very open file has it. A descriptor that is no longer ours
//! is reported as EBADF; it is neither read, written, locked nor closed.

mod descriptor;

use std::ffi::{CString, OsStr, c_int};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{fault, large, random};
use descriptor::{checked, facts, interrupted_or_failed};

pub use descriptor::{moved_up, open};

/// Which file this is, by any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(path: &Path) -> Result<Self> {
        std::fs::metadata(path).map(|found| Self::from(&found))
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(found: &std::fs::Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// What `fstat` reports.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub id: FileId,
    pub len: u64,
    pub mode: u32,
    pub owner: u32,
    /// When the content was changed last: seconds and nanoseconds.
    pub modified: (i64, i64),
}

impl Facts {
    pub fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    pub fn is_folder(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// How an open file is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub id: FileId,
    /// The file offset; `None` where the file can't seek, or other code moves it.
    pub mark: Option<i64>,
}

impl Identity {
    /// The identity of the unmarked file that is open under this number.
    #[cfg(feature = "postgres")]
    pub fn unmarked(descriptor: c_int) -> Result<Self> {
        Ok(Self { id: facts(descriptor)?.id, mark: None })
    }

    /// Whether `descriptor` still is this open file.
    pub fn is_at(&self, descriptor: c_int) -> bool {
        trusted()
            || (facts(descriptor).is_ok_and(|f| f.id == self.id) && self.mark.is_none_or(|m| m == offset(descriptor)))
    }

    /// The same by the mark alone, where there is one: one system call, and another file has it once in 2^30 times.
    pub fn is_marked_at(&self, descriptor: c_int) -> bool {
        match self.mark {
            Some(mark) => trusted() || offset(descriptor) == mark,
            None => self.is_at(descriptor),
        }
    }
}

fn trusted() -> bool {
    fault::wanted("KMS_FAULT_DESCRIPTORS_TRUSTED")
}

fn offset(descriptor: c_int) -> i64 {
    // SAFETY: lseek takes any number, and moves nothing here.
    unsafe { large::lseek(descriptor, 0, libc::SEEK_CUR) }
}

/// An open file.
#[derive(Debug)]
pub struct File {
    descriptor: c_int,
    identity: Identity,
}

impl File {
    /// Opens for reading. Does not wait for a writer where the path is a FIFO.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, libc::O_RDONLY | libc::O_NONBLOCK, 0)
    }

    pub fn open_writable(path: &Path) -> Result<Self> {
        Self::open_with(path, libc::O_RDWR | libc::O_NONBLOCK, 0)
    }

    /// Makes a file that must not exist.
    pub fn create_new(path: &Path, mode: u32) -> Result<Self> {
        Self::open_with(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode)
    }

    /// Makes a file without a name in a folder, which vanishes with the process until [`File::link_new`] names it. Not
    /// every file system has such files, and naming one needs /proc.
    pub fn create_unnamed(folder: &Path, mode: u32) -> Result<Self> {
        let file = Self::open_with(folder, libc::O_RDWR | libc::O_TMPFILE, mode)?;
        match FileId::of(&file.by_number()) {
            Ok(found) if found == file.id() => Ok(file),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Name an unnamed file; the name must be free.
    pub fn link_new(&self, path: &Path) -> Result<()> {
        self.verified()?;
        let (from, to) = (text(&self.by_number())?, text(path)?);
        let here = libc::AT_FDCWD;
        // SAFETY: two NUL-terminated paths.
        checked(unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) })
    }

    fn by_number(&self) -> std::path::PathBuf {
        format!("/proc/self/fd/{}", self.descriptor).into()
    }

    fn open_with(path: &Path, flags: c_int, mode: u32) -> Result<Self> {
        Self::marked(open(&text(path)?, flags, mode)?)
    }

    /// Takes a descriptor that is already open and marks it.
    pub fn marked(descriptor: c_int) -> Result<Self> {
        let mut file = Self::unmarked(descriptor)?;
        let mark = random::array().map_or(0, u32::from_ne_bytes);
        let mark = i64::from(mark >> 2 | 1);
        // SAFETY: lseek takes any number; the result is checked. A folder's offset is not ours to choose.
        if facts(descriptor)?.is_regular() && unsafe { large::lseek(descriptor, mark, libc::SEEK_SET) } == mark {
            file.identity.mark = Some(mark);
        }
        Ok(file)
    }

    /// Takes a descriptor that is already open and whose offset others move.
    pub fn unmarked(descriptor: c_int) -> Result<Self> {
        match facts(descriptor) {
            Ok(found) => Ok(Self { descriptor, identity: Identity { id: found.id, mark: None } }),
            Err(e) => {
                // SAFETY: the caller handed the descriptor over.
                unsafe { libc::close(descriptor) };
                Err(e)
            }
        }
    }

    pub fn id(&self) -> FileId {
        self.identity.id
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The number, which may refer to another file by now: verify it with [`File::verified`] before use.
    pub fn number(&self) -> c_int {
        self.descriptor
    }

    /// The descriptor, if it still is this file; otherwise EBADF.
    pub fn verified(&self) -> Result<c_int> {
        match self.identity.is_at(self.descriptor) {
            true => Ok(self.descriptor),
            false => Err(Error::from_raw_os_error(libc::EBADF)),
        }
    }

    pub fn facts(&self) -> Result<Facts> {
        facts(self.verified()?)
    }

    /// Reads until `bytes` is full or the file ends; returns how much was read.
    pub fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<usize> {
        let descriptor = self.verified()?;
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let offset = at.saturating_add(done as u64).try_into().unwrap_or(i64::MAX);
            // SAFETY: `rest` is writable for its length.
            match unsafe { large::pread(descriptor, rest.as_mut_ptr().cast(), rest.len(), offset) } {
                0 => break,
                n => match usize::try_from(n) {
                    Ok(n) => done += n,
                    Err(_) => interrupted_or_failed()?,
                },
            }
        }
        Ok(done)
    }

    pub fn write_all_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        let descriptor = self.verified()?;
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let offset = at.saturating_add(done as u64).try_into().unwrap_or(i64::MAX);
            // SAFETY: `rest` is readable for its length.
            match unsafe { large::pwrite(descriptor, rest.as_ptr().cast(), rest.len(), offset) } {
                0 => return Err(ErrorKind::WriteZero.into()),
                n => match usize::try_from(n) {
                    Ok(n) => done += n,
                    Err(_) => interrupted_or_failed()?,
                },
            }
        }
        Ok(())
    }

    pub fn sync(&self) -> Result<()> {
        let descriptor = self.verified()?;
        // SAFETY: fsync takes any number; it was just verified.
        checked(unsafe { libc::fsync(descriptor) })
    }

    /// Syncs the content, and of the metadata what is needed to read it.
    pub fn sync_data(&self) -> Result<()> {
        let descriptor = self.verified()?;
        // SAFETY: fdatasync takes any number; it was just verified.
        checked(unsafe { libc::fdatasync(descriptor) })
    }

    /// Sets the mode, ignoring the umask.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        let descriptor = self.verified()?;
        // SAFETY: fchmod takes any number; it was just verified.
        checked(unsafe { libc::fchmod(descriptor, mode) })
    }

    /// Takes the space for `len` bytes, without making the file longer. Where the file system can't, nothing is done.
    pub fn reserve(&self, len: u32) -> Result<()> {
        let descriptor = self.verified()?;
        // SAFETY: fallocate takes any number; it was just verified.
        let done = checked(unsafe { large::fallocate(descriptor, libc::FALLOC_FL_KEEP_SIZE, 0, len.into()) });
        match done {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EIO)) => Err(e),
            _ => Ok(()),
        }
    }

    /// Takes a write lock on the whole file for this open file description; false if another one has a lock.
    pub fn try_hold(&self) -> Result<bool> {
        match self.ofd(libc::F_OFD_SETLK, libc::F_WRLCK) {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Releases what [`File::try_hold`] took.
    pub fn release(&self) -> Result<()> {
        self.ofd(libc::F_OFD_SETLK, libc::F_UNLCK).map(drop)
    }

    /// Whether another open file description has the lock of [`File::try_hold`].
    pub fn is_held_elsewhere(&self) -> Result<bool> {
        Ok(self.ofd(libc::F_OFD_GETLK, libc::F_RDLCK)?.l_type != libc::F_UNLCK as libc::c_short)
    }

    fn ofd(&self, command: c_int, kind: c_int) -> Result<large::flock> {
        let descriptor = self.verified()?;
        // SAFETY: flock is plain data for which all zeroes is valid: from the start, of any length. fcntl takes any number.
        unsafe {
            let mut lock: large::flock = std::mem::zeroed();
            lock.l_type = kind as libc::c_short;
            checked(large::fcntl(descriptor, command, &raw mut lock)).map(|()| lock)
        }
    }

    /// Takes the exclusive lock of flock(2); false if another process has it.
    pub fn try_lock(&self) -> Result<bool> {
        let descriptor = self.verified()?;
        // SAFETY: flock takes any number; it was just verified.
        match checked(unsafe { libc::flock(descriptor, libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let Ok(descriptor) = self.verified() {
            // SAFETY: the descriptor is ours and is not used again.
            unsafe { libc::close(descriptor) };
        }
    }
}

fn text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::from(ErrorKind::InvalidInput))
}

/// Call `each` with the names in the folder of `path`. Its descriptor may be below 3, where a write fails and harms nothing.
pub fn each_name_beside(path: &Path, mut each: impl FnMut(&OsStr)) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder)? {
        each(&entry?.file_name());
    }
    Ok(())
}

/// Makes the names in the folder of `path` durable.
pub fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync()
}

/// Renames to a name that must not exist: the way to publish a file where the file system has no hard links.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (text(from)?, text(to)?);
    let here = libc::AT_FDCWD;
    // SAFETY: two NUL-terminated paths; by number, because musl has no wrapper.
    let done =
        unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if done == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Rename a complete file from its temporary name; the new name must be free.
pub fn publish_new(temporary: &Path, path: &Path) -> Result<()> {
    match rename_new(temporary, path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            // Not every file system can rename without replacing.
            std::fs::hard_link(temporary, path)?;
            std::fs::remove_file(temporary)
        }
        renamed => renamed,
    }
}

/// Whether a file of this owner may hold our secrets or our data: root or this process's user.
pub fn is_trusted_owner(owner: u32) -> bool {
    // SAFETY: geteuid takes nothing and can't fail.
    owner == 0 || owner == unsafe { libc::geteuid() }
}

/// Makes a folder that only this process's user can use, unless something is there.
#[cfg(feature = "postgres")]
pub fn make_private_folder(path: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    let _ = std::fs::DirBuilder::new().mode(0o700).create(path);
}

/// Whether this is a folder that only this process's user or root can use. A link is none: another user could have made it.
#[cfg(feature = "postgres")]
pub fn is_private_folder(path: &Path) -> bool {
    let Ok(facts) = std::fs::symlink_metadata(path) else { return false };
    facts.is_dir() && is_trusted_owner(facts.uid()) && facts.mode() & 0o077 == 0
}

/// What the system said, and the next step where there is one.
pub fn explain(error: &Error) -> String {
    let step = match error.raw_os_error().unwrap_or(0) {
        libc::EMFILE => "raise the limit on open files (ulimit -n)",
        libc::ENFILE => "raise the system's limit on open files (sysctl fs.file-max)",
        libc::EIO => "check the disk and the kernel's log",
        libc::ENOSPC | libc::EDQUOT => "free some space",
        libc::EROFS => "mount the file system for writing, or open the keystore read-only",
        libc::EACCES | libc::EPERM => "check the owner and the permissions of the file and of its folders",
        libc::EBADF => "the program closed this file descriptor; the next call opens the file again",
        libc::ELOOP => "check the symbolic links",
        libc::ENOTDIR => "a part of the path is not a folder",
        libc::ENODEV | libc::ENXIO | libc::ESTALE => "check that the volume is still there",
        libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOLCK => {
            "the file system lacks something; use a local one (ext4, XFS, Btrfs, tmpfs)"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {step}")
}

/// The name that `suffix` makes of a path.
pub fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// What a symbolic link names; it is not followed.
pub fn link_target(path: &Path) -> Option<std::path::PathBuf> {
    std::fs::read_link(path).ok()
}

/// The content of a small text file of the kernel.
pub fn read_text(path: &Path) -> Option<String> {
    let mut bytes = [0; 256];
    let len = File::open(path).and_then(|file| file.read_at(&mut bytes, 0)).ok()?;
    std::str::from_utf8(bytes.get(..len)?).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests;
