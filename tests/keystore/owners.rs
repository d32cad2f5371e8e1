//! Only files of the process's user and of root are opened as a keystore.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use kms::{CreateKey, Keystore, Options};

use crate::folder::Folder;
use crate::roles::UNPRIVILEGED;
use crate::worker::Worker;

const STRANGER: u32 = 12_345;

/// Opens and changes a keystore, and prints the result.
pub fn open_as(arguments: &[String]) {
    let [folder] = arguments else { panic!("one argument") };
    let path = |name: &str| format!("{folder}/{name}");
    let options = Options::new().root_key_file(path("root.key")).anchor_file(path("anchor")).rotation_thread(false);
    match Keystore::open(&path("keys.db"), &options).and_then(|kms| kms.create_key(&CreateKey::default())) {
        Ok(_) => println!("changed"),
        Err(e) => println!("{:?}: {e}", e.status()),
    }
}

/// The result for a process that is not root, after `prepare`.
fn heard(prepare: impl Fn(&dyn Fn(&str, u32, u32))) -> String {
    let folder = Folder::new();
    let path = folder.path("");
    let options = Options::new().root_key_file(path.join("root.key")).anchor_file(path.join("anchor"));
    drop(Keystore::open(&folder.store(), &options.rotation_thread(false).create(true)).unwrap());
    let set = |name: &str, owner: u32, mode: u32| {
        let path = folder.path(name);
        chown(&path, Some(owner), Some(UNPRIVILEGED)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set("", UNPRIVILEGED, 0o700);
    for name in ["keys.db", "keys.db-gen", "anchor", "root.key"] {
        set(name, UNPRIVILEGED, 0o600);
    }
    std::fs::remove_file(folder.path("keys.db-journal")).unwrap_or(());
    std::fs::write(folder.path("journal"), [1; 512]).unwrap();
    std::fs::write(folder.path("empty"), []).unwrap();
    prepare(&|name, owner, mode| {
        if let "journal" | "empty" = name {
            std::fs::rename(folder.path(name), folder.path("keys.db-journal")).unwrap();
            return set("keys.db-journal", owner, mode);
        }
        set(name, owner, mode);
    });
    let folder = Path::new(path.to_str().unwrap().trim_end_matches('/')).to_str().unwrap();
    Worker::start_with("open-as", &[folder], &[("KMS_TEST_UNPRIVILEGED", "1")]).hear()
}

#[test]
fn files_of_the_user_and_of_root_are_used_and_no_others() {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        println!("not tried: giving files away needs root");
        return;
    }
    assert_eq!(heard(|_| ()), "changed");
    for mode in [0o440, 0o640, 0o400 | 0o040] {
        assert_eq!(heard(|set| set("root.key", 0, mode)), "changed", "a credential of the service's group");
    }
    assert_eq!(heard(|set| set("keys.db", 0, 0o660)), "changed");
    assert_eq!(heard(|set| set("anchor", 0, 0o660)), "changed");
    assert_eq!(heard(|set| set("empty", STRANGER, 0o666)), "changed", "nothing is read from it");
    for (name, mode, says) in [
        ("root.key", 0o440, "RootKeyUnavailable: the root key file"),
        ("keys.db", 0o666, "KeystoreIo: "),
        ("journal", 0o666, "KeystoreIo: "),
        ("anchor", 0o666, "AnchorUnavailable: the anchor"),
    ] {
        let answer = heard(|set| set(name, STRANGER, mode));
        assert!(answer.starts_with(says) && answer.contains("belongs to user 12345"), "{name}: {answer}");
    }
    for mode in [0o444, 0o460, 0o620, 0o604] {
        let answer = heard(|set| set("root.key", UNPRIVILEGED, mode));
        assert!(answer.contains(&format!("has mode {mode:04o}")) && answer.contains("chmod u=rw,g=r,o="), "{answer}");
    }
    let answer = heard(|set| set("root.key", 0, 0o400));
    assert!(answer.contains("Permission denied") && answer.contains("check the owner"), "{answer}");
}

#[test]
fn a_path_of_another_kind_is_named() {
    for (name, make, says) in [
        (
            "root.key",
            (|path: &Path| std::fs::create_dir(path).unwrap()) as fn(&Path),
            "is a folder; pass the path of a file",
        ),
        ("root.key", make_fifo, "is not a regular file"),
        ("anchor", make_fifo, "is not a regular file"),
        ("keys.db", make_fifo, "is not a libkms keystore"),
    ] {
        let folder = Folder::new();
        let options = Options::new().root_key_file(folder.path("root.key")).anchor_file(folder.path("anchor"));
        drop(Keystore::open(&folder.store(), &options.clone().create(true)).unwrap());
        std::fs::remove_file(folder.path(name)).unwrap();
        make(&folder.path(name));
        let text = Keystore::open(&folder.store(), &options).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(says), "{name}: {text}");
    }
}

fn make_fifo(path: &Path) {
    let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
}

#[test]
fn what_is_not_there_is_named_with_the_next_step() {
    let folder = Folder::new();
    let text = Keystore::open(&folder.store(), &crate::folder::quiet()).err().unwrap().to_string();
    assert_eq!(text, format!("no keystore at {}; pass create to make one", folder.store()));
}
