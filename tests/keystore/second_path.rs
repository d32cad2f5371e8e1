//! One keystore is used through one path: another name of its file, or a mount of the file alone, is refused or
//! flagged.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kms::{Keystore, Status};

use crate::folder::{Folder, new_key, quiet, status, versions};

/// That both kinds of handles are refused, with a text that names `names`.
#[track_caller]
fn refused(path: &Path, names: &[&Path]) {
    for options in [quiet(), quiet().read_only(true), quiet().create(true)] {
        let error = Keystore::open(path.to_str().unwrap(), &options).map(drop).expect_err("a second path is opened");
        assert_eq!(error.status(), Status::KeystoreSecondPath, "{error}");
        for name in names {
            assert!(error.to_string().contains(name.to_str().unwrap()), "{} is not named: {error}", name.display());
        }
    }
}

/// Whether health flags a possible second path.
fn flagged(kms: &Keystore) -> bool {
    kms.health().unwrap().path_unverified
}

#[test]
fn a_second_name_is_refused_and_the_first_goes_on() {
    let (folder, other) = (Folder::new(), Folder::new());
    let kms = folder.create();
    let key = new_key(&kms, None);
    for link in [other.path("keys.db"), folder.path("link.db")] {
        std::fs::hard_link(folder.store(), &link).unwrap();
        refused(&link, &[&link, Path::new(&folder.store())]);
        kms.rotate(&key).unwrap();
        assert!(!flagged(&kms) && !flagged(&folder.open()), "a backup tool's link is held against the owner");
        folder.open().rotate(&key).unwrap();
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(versions(&kms, &key).len(), 5);
}

#[test]
fn a_keystore_can_be_moved() {
    let (folder, other, third) = (Folder::new(), Folder::new(), Folder::new());
    let key = new_key(&folder.create(), None);
    std::fs::rename(folder.store(), other.store()).unwrap();
    let kms = other.open();
    assert!(!flagged(&kms));
    kms.rotate(&key).unwrap();
    // As some tools move: a second name, then the first is removed.
    std::fs::hard_link(other.store(), third.store()).unwrap();
    drop(kms);
    std::fs::remove_file(other.store()).unwrap();
    assert!(!flagged(&third.open()));
    // Moved, while a backup tool's link is elsewhere: until one path is used, nothing shows which of the two is in use.
    let link = folder.path("backup.db");
    std::fs::hard_link(third.store(), &link).unwrap();
    std::fs::rename(third.store(), third.path("moved.db")).unwrap();
    let moved = third.path("moved.db");
    let kms = Keystore::open(moved.to_str().unwrap(), &quiet()).unwrap();
    let by_link = Keystore::open(link.to_str().unwrap(), &quiet()).unwrap();
    assert!(flagged(&kms) && flagged(&by_link), "two paths, and no flag");
    kms.rotate(&key).unwrap();
    assert!(!flagged(&kms));
    assert_eq!(status(by_link.rotate(&key)), Some(Status::KeystoreSecondPath), "both paths write");
    refused(&link, &[&link, &moved]);
    kms.rotate(&key).unwrap();
}

#[test]
fn a_copy_is_a_keystore_of_its_own() {
    let (folder, other) = (Folder::new(), Folder::new());
    let kms = folder.create();
    let key = new_key(&kms, None);
    kms.backup(other.path("keys.db")).unwrap();
    let copy = other.open();
    assert!(!flagged(&copy));
    copy.rotate(&key).unwrap();
    std::fs::hard_link(other.store(), other.path("link.db")).unwrap();
    refused(&other.path("link.db"), &[Path::new(&other.store())]);
}

fn mount(from: &Path, to: &Path, flags: libc::c_ulong) -> std::io::Result<()> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    // SAFETY: C strings; the other arguments may be null with these flags.
    match unsafe { libc::mount(from.as_ptr(), to.as_ptr(), std::ptr::null(), flags, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// In a mount namespace of this thread alone, if the user may make one.
fn may_mount() -> bool {
    // SAFETY: concerns this thread alone.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    let may = unshared && mount(Path::new("none"), Path::new("/"), libc::MS_REC | libc::MS_PRIVATE).is_ok();
    if !may {
        println!("not tried: mounting needs root ({})", std::io::Error::last_os_error());
    }
    may
}

#[test]
fn a_file_that_is_mounted_alone_is_refused() {
    std::thread::spawn(|| {
        let (folder, container) = (Folder::new(), Folder::new());
        let key = new_key(&folder.create(), None);
        if !may_mount() {
            return;
        }
        let inside = container.path("keys.db");
        std::fs::write(&inside, b"").unwrap();
        mount(Path::new(&folder.store()), &inside, libc::MS_BIND).unwrap();
        refused(&inside, &[&inside, Path::new("mount its folder")]);
        assert!(!container.path("keys.db-gen").exists() && !container.path("keys.db-journal").exists());
        let kms = folder.open();
        assert!(!flagged(&kms));
        kms.rotate(&key).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn a_folder_may_be_mounted_many_times() {
    std::thread::spawn(|| {
        let (folder, container) = (Folder::new(), Folder::new());
        let kms = folder.create();
        let key = new_key(&kms, None);
        if !may_mount() {
            return;
        }
        mount(&folder.path(""), &container.path(""), libc::MS_BIND).unwrap();
        let inside = container.open();
        for _ in 0..3 {
            inside.encrypt(&key, b"x", &[]).unwrap();
            kms.disable_key(&key).unwrap();
            assert_eq!(status(inside.encrypt(&key, b"x", &[])), Some(Status::RejectedDisabled));
            inside.enable_key(&key).unwrap();
            kms.encrypt(&key, b"x", &[]).unwrap();
            assert!(!flagged(&kms) && !flagged(&inside));
        }
        // Also with a backup tool's link.
        std::fs::hard_link(folder.store(), folder.path("link.db")).unwrap();
        assert!(!flagged(&folder.open()) && !flagged(&container.open()));
        refused(&container.path("link.db"), &[]);
        std::fs::remove_file(folder.path("link.db")).unwrap();
        drop((kms, inside));
        let target = CString::new(container.path("").as_os_str().as_bytes()).unwrap();
        // SAFETY: a C string.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    })
    .join()
    .unwrap();
}

/// What SQLite would play into the next file at that path.
#[test]
fn a_journal_of_a_former_file_is_refused_by_name() {
    for suffix in ["-journal", "-wal"] {
        let folder = Folder::new();
        let source = Folder::new();
        let kms = source.create();
        let leftover = folder.path(&format!("keys.db{suffix}"));
        std::fs::write(&leftover, b"what a crash left").unwrap();
        let before = folder.snapshot();
        let options = [
            quiet().create(true),
            quiet().create(true).anchor_file(folder.path("anchor")),
            kms::Options::new().root_key_file(folder.path("root.key")).rotation_thread(false).create(true),
        ];
        let mut answers =
            Vec::from_iter(options.iter().map(|options| Keystore::open(&folder.store(), options).map(drop)));
        answers.push(kms.backup(folder.store()));
        answers.push(Keystore::open("memory:", &quiet()).unwrap().backup(folder.store()));
        for answer in answers {
            let error = answer.expect_err("a journal of a former file is adopted");
            assert_eq!(error.status(), Status::KeystoreIo, "{error}");
            assert!(error.to_string().contains(leftover.to_str().unwrap()), "{error}");
        }
        assert!(folder.snapshot() == before, "a refused creation left something");
        // An empty journal proves nothing; SQLite leaves it after each change.
        std::fs::write(&leftover, b"").unwrap();
        let key = new_key(&folder.create(), None);
        folder.open().encrypt(&key, b"x", &[]).unwrap();
        std::fs::write(source.path(&format!("copy.db{suffix}")), b"").unwrap();
        kms.backup(source.path("copy.db")).unwrap();
        Keystore::open(source.path("copy.db").to_str().unwrap(), &quiet()).unwrap().verify(|_| true).unwrap();
    }
}

#[test]
fn a_write_ahead_log_beside_a_keystore_is_named() {
    let folder = Folder::new();
    drop(folder.create());
    let log = folder.path("keys.db-wal");
    std::fs::write(&log, b"another program's").unwrap();
    for options in [quiet(), quiet().create(true), quiet().read_only(true)] {
        let error = Keystore::open(&folder.store(), &options).err().unwrap();
        assert_eq!(error.status(), Status::KeystoreIo, "{error}");
        assert!(error.to_string().contains(&format!("{} is beside the keystore", log.display())), "{error}");
    }
    std::fs::remove_file(log).unwrap();
    new_key(&folder.open(), None);
}

/// On overlayfs a file that is first written to becomes another file, which a mapping made before doesn't see.
#[test]
fn a_read_only_handle_on_a_layer_of_an_image_sees_changes() {
    std::thread::spawn(|| {
        let (image, merged) = (Folder::new(), Folder::new());
        let key = new_key(&image.create(), None);
        if !may_mount() {
            return;
        }
        let (upper, work) = (Folder::without_a_disk(), "work");
        for name in ["upper", work] {
            std::fs::create_dir(upper.path(name)).unwrap();
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            image.path("").display(),
            upper.path("upper").display(),
            upper.path(work).display()
        );
        let [name, target, layers] =
            ["overlay", merged.path("").to_str().unwrap(), &layers].map(|text| CString::new(text).unwrap());
        let data = layers.as_ptr().cast();
        // SAFETY: C strings.
        if unsafe { libc::mount(name.as_ptr(), target.as_ptr(), name.as_ptr(), 0, data) } != 0 {
            println!("not tried: no overlayfs ({})", std::io::Error::last_os_error());
            return;
        }
        let reader = Keystore::open(&merged.store(), &quiet().read_only(true)).unwrap();
        assert!(reader.health().unwrap().polling);
        reader.encrypt(&key, b"x", &[]).unwrap();
        merged.open().disable_key(&key).unwrap();
        let started = std::time::Instant::now();
        while reader.encrypt(&key, b"x", &[]).is_ok() {
            assert!(started.elapsed().as_secs() < 3, "the change is never seen");
        }
        drop(reader);
        // SAFETY: a C string.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    })
    .join()
    .unwrap();
}

/// SQLite reads `file:` at the start of a name as a URI, which may choose other locks or another file.
#[test]
fn a_path_is_never_taken_for_a_uri() {
    let folder = Folder::new();
    let told = crate::worker::Worker::start("uri", &[folder.path("").to_str().unwrap()]).finish();
    assert_eq!(told, ["file:keys.db?vfs=unix-none", "file:copy.db?mode=memory"].map(String::from));
}

/// Role. Argument: a folder to work in.
pub fn uri(arguments: &[String]) {
    std::env::set_current_dir(&arguments[0]).unwrap();
    let kms = Keystore::open("file:keys.db?vfs=unix-none", &quiet().create(true)).unwrap();
    let key = new_key(&kms, None);
    kms.backup("file:copy.db?mode=memory").unwrap();
    drop(kms);
    for name in ["file:keys.db?vfs=unix-none", "file:copy.db?mode=memory"] {
        let kms = Keystore::open(name, &quiet()).unwrap();
        kms.encrypt(&key, b"x", &[]).unwrap();
        if Path::new(name).exists() {
            println!("{name}");
        }
    }
}
