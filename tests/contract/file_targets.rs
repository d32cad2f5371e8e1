//! Existing files at the target of a file operation, and the report about one that fails or stops.

use std::sync::atomic::{AtomicU64, Ordering};

use kms::{Status, file::FileOptions};

use crate::file_world::{CHUNK, data, world};

#[test]
fn an_existing_target_is_kept_unless_asked() {
    let world = world();
    let (source, target) = (world.put("plain", b"new"), world.put("target", b"precious"));
    let keep = FileOptions::new();
    let refused = world.kms.encrypt_file(&world.key, &source, &target, &[], &keep).unwrap_err();
    assert_eq!(refused.status(), Status::FileExists);
    assert!(refused.text().contains("target exists"));
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    let replace = FileOptions::new().replace(true);
    world.kms.encrypt_file(&world.key, &source, &target, &[], &replace).unwrap();
    let refused = world.kms.decrypt_file(&target, &source, &[], &keep).unwrap_err();
    assert_eq!(refused.status(), Status::FileExists);
    // A file may be replaced by its own result.
    world.kms.decrypt_file(&target, &target, &[], &replace).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"new");
    let folder = world.path("folder");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(
        world.kms.decrypt_file(&target, &folder, &[], &replace).unwrap_err().status(),
        Status::MalformedCiphertext
    );
    assert_eq!(
        world.kms.encrypt_file(&world.key, &target, &folder, &[], &replace).unwrap_err().status(),
        Status::FileExists
    );
    world.no_leftovers();
}

#[test]
fn mode_bits_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    for mode in [0o600, 0o640, 0o755, 0o444, 0o4755] {
        let source = world.put(&format!("plain {mode:o}"), b"x");
        std::fs::set_permissions(&source, PermissionsExt::from_mode(mode)).unwrap();
        let (sealed, opened) = (world.path(&format!("sealed {mode:o}")), world.path(&format!("opened {mode:o}")));
        world.kms.encrypt_file(&world.key, &source, &sealed, &[], &FileOptions::new()).unwrap();
        world.kms.decrypt_file(&sealed, &opened, &[], &FileOptions::new()).unwrap();
        for path in [sealed, opened] {
            let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode & 0o777, "{path:?}");
        }
    }
}

#[test]
fn a_source_that_changes_meanwhile_is_refused() {
    let world = world();
    let source = world.put("log", &data(40 * CHUNK));
    let target = world.path("sealed");
    let change = |_| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(&source)
            .map(|mut file| {
                std::io::Write::write_all(&mut file, b"more").unwrap();
            })
            .unwrap();
        Ok(())
    };
    let options = FileOptions::new().threads(1).progress(&change);
    let refused = world.kms.encrypt_file(&world.key, &source, &target, &[], &options).unwrap_err();
    assert_eq!(refused.status(), Status::FileIo);
    assert!(refused.text().contains("changed while it was read"), "{refused}");
    let kernel = world.kms.encrypt_file(&world.key, "/proc/self/status", &target, &[], &FileOptions::new());
    assert_eq!(kernel.unwrap_err().status(), Status::FileIo);
    assert!(!target.exists());
    world.no_leftovers();
}

#[test]
fn progress_counts_to_the_end_and_can_stop() {
    let world = world();
    let len = 100 * CHUNK + 7;
    let source = world.put("plain", &data(len));
    let last = AtomicU64::new(0);
    let count = |done| {
        assert!(done > last.swap(done, Ordering::Relaxed));
        Ok(())
    };
    let options = FileOptions::new().threads(1).progress(&count);
    world.kms.encrypt_file(&world.key, &source, world.path("a"), &[], &options).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), len as u64);
    let stop = |_| Err(kms::Error::new(Status::Internal, "stopped by the user"));
    for threads in [1, 3] {
        let options = FileOptions::new().threads(threads).progress(&stop);
        let stopped = world.kms.encrypt_file(&world.key, &source, world.path("b"), &[], &options).unwrap_err();
        assert_eq!(stopped.text(), "stopped by the user");
        let stopped = world.kms.encrypt_copy(&world.key, &data(len)[..], Vec::new(), &[], &options).unwrap_err();
        assert_eq!(stopped.text(), "stopped by the user");
    }
    assert!(!world.path("b").exists());
    world.no_leftovers();
}

#[test]
fn failures_of_files_name_the_file() {
    let world = world();
    let absent = world.path("absent");
    let error = world.kms.encrypt_file(&world.key, &absent, world.path("x"), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(error.status(), Status::FileIo);
    assert!(error.text().contains("absent"), "{error}");
    let error = world.kms.encrypt_file(&world.key, world.folder.path(), world.path("x"), &[], &FileOptions::new());
    assert_eq!(error.unwrap_err().status(), Status::FileIo);
    let source = world.put("plain", b"x");
    let error = world.kms.encrypt_file(&world.key, &source, absent.join("x"), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(error.status(), Status::FileIo);
    let error = world.kms.decrypt_file(&source, world.path("x"), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(error.status(), Status::MalformedCiphertext);
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = world.kms.encrypt_copy(&world.key, &data(1 << 20)[..], Full, &[], &FileOptions::new()).unwrap_err();
    assert!(error.text().contains("free some space"), "{error}");
}
