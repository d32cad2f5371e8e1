//! A process killed (SIGKILL) before, within and after each call that writes, of each operation.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::calls::{Kind, Plan, Watch, When};
use crate::role;
use crate::scene::{Keys, Operation, Prepared, Start, eventually, is_long, operation, operations};
use crate::together::each;

/// Around which calls a process dies.
const WHENS: &[(&str, When, Option<Kind>)] = &[
    ("before", When::Before, None),
    ("within", When::Within, Some(Kind::Write)),
    // The last one lets the lock go: the change is committed and not announced.
    ("after locking", When::After, Some(Kind::Lock)),
];
/// The state before the next call equals the state after the last one, except for memory.
const LONG: &[(&str, When, Option<Kind>)] = &[("after", When::After, None)];

/// Role. Argument: the operation. Forks a child for each write point, which dies there, and checks what it left.
pub fn kill_each(arguments: &[String]) {
    let prepared = Prepared::new(operation(&arguments[0]));
    let name = prepared.operation.name;
    let (mut kills, mut committed) = (0, 0);
    for (text, when, only) in WHENS.iter().chain(if is_long() { LONG } else { &[] }) {
        for point in 1.. {
            let folder = prepared.copy();
            let plan = Plan::Kill { at: point, when: *when, only: *only };
            let (killed, acknowledged) = die_at(&prepared.operation, &folder, plan);
            let seen = prepared.look_at(&folder);
            let violation = prepared.violation(&seen, acknowledged);
            assert_eq!(violation, None, "{name}, killed {text} write point {point}");
            if matches!(prepared.operation.start, Start::Nothing(_)) {
                let left = temporary_names(folder.path());
                assert!(left.is_empty(), "{name}, killed {text} write point {point}: the next creation left {left:?}");
            }
            if !killed {
                assert!(acknowledged, "{name} neither ended nor was killed");
                break;
            }
            kills += 1;
            let changes = prepared.before != prepared.after;
            committed += usize::from(changes && !acknowledged && seen.unwrap() == prepared.after);
        }
    }
    assert!(kills > 0, "{name}: no fault fired");
    println!("{kills} {committed}");
}

/// The names that only an unfinished creation needs; one of them may be a second name of a root key file.
fn temporary_names(folder: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".kms-new")).collect()
}

/// Whether the child was killed by the fault, and whether it had acknowledged.
pub fn die_at(operation: &Operation, folder: &tempfile::TempDir, plan: Plan) -> (bool, bool) {
    let acknowledged = shared_flag();
    let killed = in_child(|| {
        let watch = Watch::over(folder.path());
        let kms = if operation.start == Start::Open {
            let kms = operation.open(folder.path()).unwrap();
            let keys = Keys::of(&kms);
            watch.plan(plan);
            (operation.act)(&kms, &keys).unwrap();
            kms
        } else {
            watch.plan(plan);
            operation.open(folder.path()).unwrap()
        };
        acknowledged.store(true, Ordering::SeqCst);
        drop(kms);
    });
    (killed, acknowledged.swap(false, Ordering::SeqCst))
}

/// Whether a child that does this was killed by the fault; it must not fail by itself.
pub fn in_child(work: impl FnOnce()) -> bool {
    // SAFETY: this process has one thread; the library promises to work in the child.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for a child of this process.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            assert!(killed || status == 0, "the child failed by itself: {status:#x}");
            killed
        }
    }
}

/// A flag in memory that parent and children share.
fn shared_flag() -> &'static AtomicBool {
    static PLACE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    let place = *PLACE.get_or_init(|| {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh page; the result is checked.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, kind, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        page as usize
    });
    // SAFETY: the page is never unmapped, and zero is a valid AtomicBool.
    unsafe { &*(place as *const AtomicBool) }
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn killed_at_any_write_point_each_operation_is_done_or_not_begun() {
    let tried = each(operations(), |operation| {
        let output = role::command("kill-each").arg(operation.name).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", operation.name);
        let told = String::from_utf8(output.stdout).unwrap();
        let (kills, committed) = told.trim().split_once(' ').unwrap();
        (kills.parse::<usize>().unwrap(), committed.parse::<usize>().unwrap())
    });
    let (kills, committed) = tried.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!(
        "{} operations, {kills} kills; after {committed} the change was there without an acknowledgement",
        tried.len()
    );
    assert!(kills > 50 * tried.len(), "only {kills} kills");
    assert!(committed > tried.len(), "hardly a kill fell between commit and acknowledgement");
}

#[test]
#[ignore = "a campaign of minutes, of make test-all"]
fn what_a_process_committed_and_never_announced_is_seen_all_the_same() {
    let prepared = Prepared::new(operation("disable"));
    let mut unannounced = 0;
    for point in 1.. {
        let folder = prepared.copy();
        // Another process's view: it stays open.
        let observer = prepared.operation.open(folder.path()).unwrap();
        let key = Keys::of(&observer)["plain"].to_owned();
        observer.encrypt(&key, b"x", &[]).unwrap();
        let output = role::command("die-after-lock")
            .args([folder.path().to_str().unwrap(), prepared.operation.name, &point.to_string()])
            .output()
            .unwrap();
        let killed = output.status.signal() == Some(libc::SIGKILL);
        let committed = prepared.operation.open(folder.path()).unwrap().encrypt(&key, b"x", &[]).is_err();
        if killed && committed && observer.encrypt(&key, b"x", &[]).is_ok() {
            unannounced += 1;
            let disabled = || observer.encrypt(&key, b"x", &[]).is_err();
            // The poll is one second long; the rest is for slow machines.
            assert!(eventually(Duration::from_secs(5), disabled), "a change that was not announced is never seen");
        }
        if !killed {
            break;
        }
    }
    assert!(unannounced > 0, "no process died between commit and announcement");
}

/// Role. Arguments: the folder, the operation, and after which of its lock calls to die.
pub fn die_after_lock(arguments: &[String]) {
    let (folder, operation) = (std::path::Path::new(&arguments[0]), operation(&arguments[1]));
    let watch = Watch::over(folder);
    let kms = operation.open(folder).unwrap();
    let keys = Keys::of(&kms);
    watch.plan(Plan::Kill { at: arguments[2].parse().unwrap(), when: When::After, only: Some(Kind::Lock) });
    (operation.act)(&kms, &keys).unwrap();
}
