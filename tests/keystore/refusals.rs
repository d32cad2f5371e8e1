//! Refusals by the operating system: the library takes another way, or names the system's error and the next step.

use kms::{CreateKey, Keystore, Options};

use crate::folder::{Folder, quiet};
use crate::worker::{Worker, heard};

/// From here on the calling thread gets `error` for a system call, where one of its arguments is `value`.
fn refuse(call: libc::c_long, argument: Option<(u32, libc::c_int)>, error: libc::c_int) {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (at, value) = argument.unwrap_or((0, 0));
    let mut filter = vec![step(load, 0, 0, 0), step(compare, 0, if argument.is_some() { 3 } else { 1 }, call as u32)];
    if argument.is_some() {
        filter.push(step(load, 0, 0, 16 + 8 * at));
        filter.push(step(compare, 0, 1, value as u32));
    }
    filter.push(step(end, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32));
    filter.push(step(end, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives through the call, which copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

fn refuse_by_name(what: &str) {
    match what {
        "links" => refuse(libc::SYS_linkat, None, libc::EPERM),
        "renames" => refuse(libc::SYS_renameat2, None, libc::EINVAL),
        "ofd" => {
            refuse(libc::SYS_fcntl, Some((1, libc::F_OFD_SETLK)), libc::EINVAL);
            refuse(libc::SYS_fcntl, Some((1, libc::F_OFD_GETLK)), libc::EINVAL);
        }
        "reads" => refuse(libc::SYS_pread64, None, libc::EIO),
        "writes" => refuse(libc::SYS_pwrite64, None, libc::EIO),
        "syncs" => {
            refuse(libc::SYS_fsync, None, libc::EIO);
            refuse(libc::SYS_fdatasync, None, libc::EIO);
        }
        "descriptors" => {
            // SAFETY: a valid limit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: 3, rlim_max: 3 }) }, 0);
        }
        "nothing" => {}
        other => panic!("{other}"),
    }
}

/// Opens or creates a keystore under refusals, one list before the open and one after it, and prints the result.
pub fn under_refusals(arguments: &[String]) {
    let [folder, before, after] = arguments else { panic!("three arguments") };
    assert_eq!(heard().as_deref(), Some("go"));
    before.split(',').for_each(refuse_by_name);
    let path = |name: &str| format!("{folder}/{name}");
    let options = Options::new().root_key_file(path("root.key")).rotation_thread(false).create(true);
    let opened = Keystore::open(&path("keys.db"), &options);
    after.split(',').for_each(refuse_by_name);
    match opened.and_then(|kms| kms.create_key(&CreateKey::default())) {
        Ok(_) => println!("made"),
        Err(e) => println!("{:?}: {e}", e.status()),
    }
}

fn answer(folder: &Folder, before: &str, after: &str) -> String {
    answer_with(folder, before, after, &[])
}

fn answer_with(folder: &Folder, before: &str, after: &str, environment: &[(&str, &str)]) -> String {
    let path = folder.path("keys.db").parent().unwrap().to_str().unwrap().to_owned();
    Worker::start_with("under-refusals", &[&path, before, after], environment).ask("go")
}

fn made() -> Folder {
    let folder = Folder::new();
    assert_eq!(answer(&folder, "nothing", "nothing"), "made");
    folder
}

#[test]
fn a_file_system_without_hard_links_can_have_keystores() {
    let folder = Folder::new();
    assert_eq!(answer(&folder, "links", "nothing"), "made");
    let names: Vec<String> = folder.snapshot().into_keys().filter(|name| name.contains(".kms-new")).collect();
    assert!(names.is_empty(), "left behind: {names:?}");
    assert_eq!(answer(&folder, "links", "nothing"), "made", "and opened again");
    let folder = Folder::new();
    let text = answer(&folder, "links,renames", "nothing");
    assert!(
        text.contains("neither links") && text.contains("Operation not permitted") && text.contains("ext4"),
        "{text}"
    );
    assert!(folder.snapshot().is_empty(), "left behind: {:?}", folder.snapshot().keys());
}

#[cfg(kms_faults)]
#[test]
fn without_the_second_way_it_has_none() {
    let folder = Folder::new();
    let text = answer_with(&folder, "links", "nothing", &[("KMS_FAULT_LINKS_ONLY", "1")]);
    assert!(text.contains("Operation not permitted"), "{text}");
    assert!(folder.snapshot().is_empty(), "left behind: {:?}", folder.snapshot().keys());
}

#[test]
fn a_text_says_what_the_system_said_and_what_to_do() {
    for (before, after, parts) in [
        ("ofd", "nothing", ["KeystoreIo: the keystore can't be locked: Invalid argument", "use a local one"]),
        ("nothing", "reads", ["KeystoreIo: ", "Input/output error (os error 5); check the disk"]),
        ("nothing", "writes", ["KeystoreIo: ", "Input/output error (os error 5); check the disk"]),
        ("nothing", "syncs", ["KeystoreIo: ", "Input/output error (os error 5); check the disk"]),
        ("descriptors", "nothing", [": ", "Too many open files (os error 24); raise the limit"]),
        ("nothing", "descriptors", ["KeystoreIo: ", "Too many open files (os error 24); raise the limit"]),
    ] {
        let text = answer(&made(), before, after);
        println!("{before} | {after}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{before} | {after}: {text}");
    }
}

#[test]
fn a_failed_creation_leaves_nothing() {
    struct OneWay;
    impl kms::root::RootWrapper for OneWay {
        fn wrap(&self, root: &[u8], _: &[u8]) -> kms::Result<Vec<u8>> {
            Ok(root.to_vec())
        }
        fn unwrap(&self, _: &[u8], _: &[u8]) -> kms::Result<kms::Plaintext> {
            Ok(vec![0; 32].into())
        }
    }
    let folder = Folder::new();
    let anchor = folder.path("anchor");
    let far = folder.path("no such folder/root.key");
    let broken: [(&str, Options); 3] = [
        ("a callback that doesn't unwrap", Options::new().root_callback(std::sync::Arc::new(OneWay))),
        ("a key file's folder is missing", Options::new().root_key_file(&far)),
        ("a root key file's path is a folder", Options::new().root_key_file(folder.path(""))),
    ];
    for (what, options) in broken {
        for options in [options.clone(), options.anchor_file(&anchor)] {
            assert!(Keystore::open(&folder.store(), &options.rotation_thread(false).create(true)).is_err(), "{what}");
            assert!(folder.snapshot().is_empty(), "{what}: left behind: {:?}", folder.snapshot().keys());
        }
    }
    let elsewhere = folder.path("no such folder/anchor");
    assert!(Keystore::open(&folder.store(), &quiet().anchor_file(&elsewhere).create(true)).is_err());
    assert!(folder.snapshot().is_empty(), "the anchor's folder is missing: {:?}", folder.snapshot().keys());
    // An empty anchor that the user made stays.
    std::fs::write(&anchor, []).unwrap();
    let options = Options::new().root_key_file(&far).anchor_file(&anchor).rotation_thread(false).create(true);
    assert!(Keystore::open(&folder.store(), &options).is_err());
    assert_eq!(folder.snapshot().len(), 1, "the user's anchor was removed");
}

#[test]
fn a_root_that_was_not_changed_leaves_no_key_file() {
    let folder = Folder::new();
    let kms = folder.create();
    let other = folder.sqlite();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = folder.snapshot().len();
    let path = folder.path("new.key");
    drop(kms);
    let kms = Keystore::open(&folder.store(), &quiet().busy_timeout(std::time::Duration::from_millis(50))).unwrap();
    let refused = kms.change_root(&Options::new().root_key_file(&path).create(true));
    assert_eq!(crate::folder::status(refused), Some(kms::Status::KeystoreBusy));
    assert!(!path.exists(), "a key file that opens nothing is left");
    assert_eq!(folder.snapshot().len(), before);
    other.execute_batch("ROLLBACK").unwrap();
    kms.change_root(&Options::new().root_key_file(&path).create(true)).unwrap();
    assert!(path.exists());
}
