//! A real file system that is full, and one that turns read-only: a small tmpfs, where the test may mount one.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use kms::{Keystore, ManualClock, Options, Status};

use crate::scene::{Keys, Prepared, ROOT, Start, T0, operation, operations, status};

/// A mounted tmpfs; unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None` where mounting is not allowed, which only `CI=root` counts as a failure.
    fn of(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        match mount(folder.path(), 0, &format!("size={bytes},mode=700")) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                assert_ne!(std::env::var("CI").as_deref(), Ok("root"), "mounting a tmpfs failed: {error}");
                println!("not tried: mounting a tmpfs needs root ({error})");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount_read_only(&self, read_only: bool) {
        let flags = libc::MS_REMOUNT | if read_only { libc::MS_RDONLY } else { 0 };
        mount(self.path(), flags, "").unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves room for this many pages of 4 KiB.
    fn fill_up_to(&self, free_pages: usize) {
        std::fs::remove_file(self.filler()).ok();
        let path = CString::new(self.path().to_str().unwrap()).unwrap();
        // SAFETY: a NUL-terminated path, and plain data that statvfs fills.
        let free = unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            assert_eq!(libc::statvfs(path.as_ptr(), &mut found), 0);
            (found.f_bfree * found.f_bsize) as usize / 4096
        };
        std::fs::write(self.filler(), vec![0xff; 4096 * (free - free_pages)]).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = CString::new(self.path().to_str().unwrap()).unwrap();
        // SAFETY: a NUL-terminated path.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

fn mount(folder: &Path, flags: libc::c_ulong, data: &str) -> std::io::Result<()> {
    let (path, data) = (CString::new(folder.to_str().unwrap()).unwrap(), CString::new(data).unwrap());
    // SAFETY: NUL-terminated strings.
    let done = unsafe { libc::mount(c"tmpfs".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), flags, data.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn open(folder: &Path) -> kms::Result<Keystore> {
    let options = Options::new().root_key(&ROOT).clock(ManualClock::at(T0));
    Keystore::open(folder.join("keys.db").to_str().unwrap(), &options)
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn a_full_disk_costs_no_data_and_stops_no_encryption() {
    let Some(mount) = Mount::of(512 << 10) else { return };
    let (mut tried, mut refused, mut done) = (0, 0, 0);
    for operation in operations().into_iter().filter(|operation| operation.at == T0 && operation.start == Start::Open) {
        let prepared = Prepared::new(operation);
        tried += 1;
        for free in 0..40 {
            std::fs::remove_file(mount.filler()).ok();
            for name in ["keys.db", "keys.db-journal", "keys.db-gen"] {
                std::fs::remove_file(mount.path().join(name)).ok();
            }
            prepared.copy_to(mount.path());
            let kms = prepared.operation.open(mount.path()).unwrap();
            let keys = Keys::of(&kms);
            kms.encrypt(&keys["steady"], b"x", &[]).unwrap();
            mount.fill_up_to(free);
            let name = prepared.operation.name;
            let result = (prepared.operation.act)(&kms, &keys);
            let sealed = kms.encrypt(&keys["steady"], b"y", &[]);
            assert_eq!(status(&sealed), None, "{name}: encryption with a cached key stops on a full disk");
            if let Err(error) = &result {
                assert_eq!(error.status(), Status::KeystoreIo, "{name}, {free} pages free: {error}");
                assert!(error.to_string().contains("disk is full"), "{name}: {error}");
            }
            std::fs::remove_file(mount.filler()).unwrap();
            let seen = prepared.look(&kms);
            assert_eq!(prepared.violation(&seen, result.is_ok()), None, "{name}, {free} pages free");
            if result.is_err() {
                assert!(seen.unwrap() == prepared.before, "{name}, {free} pages free: half done");
                refused += 1;
                (prepared.operation.act)(&kms, &keys).unwrap();
            } else {
                done += 1;
            }
            drop(kms);
            let kms = prepared.operation.open(mount.path()).unwrap();
            assert_eq!(*kms.decrypt(&sealed.unwrap(), &[]).unwrap(), *b"y", "{name}: a blob is lost");
            if result.is_ok() {
                break;
            }
        }
    }
    println!("{refused} changes refused by a full disk, {done} with just enough room");
    assert!(refused > tried && 2 * done > tried, "the disk was hardly full for {tried} operations");
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn a_disk_that_turns_read_only_costs_no_data_and_stops_no_encryption() {
    let Some(mount) = Mount::of(512 << 10) else { return };
    let prepared = Prepared::new(operation("rotate"));
    prepared.copy_to(mount.path());
    let kms = open(mount.path()).unwrap();
    let keys = Keys::of(&kms);
    kms.encrypt(&keys["steady"], b"x", &[]).unwrap();
    // A file open for writing would keep the file system from turning read-only.
    drop(kms);
    mount.remount_read_only(true);
    let options = Options::new().root_key(&ROOT).clock(ManualClock::at(T0));
    let kms = open(mount.path()).unwrap();
    let sealed = kms.encrypt(&keys["steady"], b"y", &[]).unwrap();
    let refused = kms.rotate(&keys["plain"]);
    assert!(
        matches!(status(&refused), Some(Status::KeystoreReadOnly | Status::KeystoreIo)),
        "a change on a read-only disk: {refused:?}"
    );
    assert_eq!(prepared.violation(&prepared.look(&kms), false), None);
    let path = mount.path().join("keys.db");
    let reader = Keystore::open(path.to_str().unwrap(), &options.read_only(true)).unwrap();
    assert_eq!(*reader.decrypt(&sealed, &[]).unwrap(), *b"y");
    // Handles of one process lock through one descriptor, which is for reading only as long as it is open.
    drop(reader);
    mount.remount_read_only(false);
    let again = kms.rotate(&keys["plain"]);
    assert_eq!(status(&again), None, "the handle doesn't notice that the disk can be written again");
    drop(kms);
    let seen = prepared.look(&open(mount.path()).unwrap());
    assert_eq!(prepared.violation(&seen, true), None);
}
