//! Real processes for tests: this test binary again, in a role.

use std::ffi::CString;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a process does that was started for a role, with its arguments.
type Role = fn(&[String]);

const ROLES: &[(&str, Role)] = &[
    ("serve", crate::serve::serve),
    ("hold", crate::serve::hold),
    ("rotate-due", crate::processes::rotate_due),
    ("create-together", crate::processes::create_together),
    ("change", crate::crash::change),
    ("fork", crate::fork::fork_often),
    ("storm", crate::forks::storm),
    ("cloned", crate::forks::cloned),
    ("mix", crate::mixed::mix),
    ("fork-beside-opening", crate::fork::fork_beside_opening),
    ("fork-at-exit", crate::fork::fork_at_exit),
    ("leave-child", crate::fork::leave_child),
    ("fork-memory", crate::fork::fork_memory),
    ("change-folder", crate::place::change_folder),
];

/// The user that a process of a role is where `KMS_TEST_UNPRIVILEGED` is set and the test is root: nobody.
pub const UNPRIVILEGED: libc::uid_t = 65_534;

/// Runs before `main`, so that a role has no thread of the test harness beside it.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Ok(name) = std::env::var("KMS_TEST_ROLE") else { return };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // SAFETY: no other thread exists yet.
    if std::env::var_os("KMS_TEST_UNPRIVILEGED").is_some() && unsafe { libc::geteuid() } == 0 {
        // SAFETY: as above; ids are numbers, and the list of groups is empty.
        let given_up = unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED) == 0
                && libc::setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED) == 0
        };
        assert!(given_up, "root's rights can't be given up");
    }
    // Nobody outlives its test by much.
    // SAFETY: alarm takes any number.
    unsafe { libc::alarm(crate::folder::choose(60, 600)) };
    let done = std::panic::catch_unwind(|| {
        let (_, role) = ROLES.iter().find(|(known, _)| *known == name).expect("no such role");
        role(&arguments);
    });
    std::process::exit(if done.is_ok() { 0 } else { 101 });
}

/// A process in a role; killed if it is still there when dropped.
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub fn start(role: &str, arguments: &[&str]) -> Self {
        Self::start_with(role, arguments, &[])
    }

    pub fn start_with(role: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env("KMS_TEST_ROLE", role)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn hear(&mut self) -> String {
        self.try_hear().expect("the process has nothing more to say")
    }

    pub fn try_hear(&mut self) -> Option<String> {
        self.output.next().map(|line| line.unwrap())
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    /// SIGKILL, without listening: a child of its own may keep the pipe open.
    pub fn kill_only(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGKILL, then what it still said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.output.by_ref().map_while(std::io::Result::ok).collect()
    }

    /// Tells it that there is no more to do, then as [`finish`](Self::finish).
    pub fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        self.finish()
    }

    /// What it still says until its end, good or bad.
    #[cfg_attr(not(feature = "faults"), allow(dead_code, reason = "used with a fault only"))]
    pub fn drain(mut self) -> Vec<String> {
        self.output.by_ref().map_while(std::io::Result::ok).collect()
    }

    /// Waits for its end, which must be a good one; returns what it still said.
    pub fn finish(mut self) -> Vec<String> {
        let rest = self.output.by_ref().map(|line| line.unwrap()).collect();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "a process in a role failed: {ended}");
        rest
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line from the test, inside a role; `None` when it has gone.
pub fn heard() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}

/// Forks; the child runs `body`, then ends with 0 where it is true. Killed by SIGALRM when it hangs.
pub fn fork(body: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child runs only what the library promises to work there, then leaves by `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            // SAFETY: plain calls.
            unsafe { libc::alarm(20) };
            let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
            // SAFETY: as above.
            unsafe { libc::_exit(if good { 0 } else { 3 }) }
        }
        child => child,
    }
}

/// Waits for a forked child; its raw status.
pub fn wait_for(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// Another copy of SQLite in this process, where the system has one: opens, reads and closes `path` through it.
pub fn with_other_sqlite(path: &str) -> bool {
    type Open = unsafe extern "C" fn(*const libc::c_char, *mut *mut libc::c_void) -> i32;
    type Exec = unsafe extern "C" fn(
        *mut libc::c_void,
        *const libc::c_char,
        *const libc::c_void,
        *const libc::c_void,
        *const libc::c_void,
    ) -> i32;
    type Close = unsafe extern "C" fn(*mut libc::c_void) -> i32;
    // SAFETY: the three functions have had these signatures for ever; the handle is used by this thread alone.
    unsafe {
        let library = libc::dlopen(c"libsqlite3.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if library.is_null() {
            return false;
        }
        let symbol = |name: &std::ffi::CStr| libc::dlsym(library, name.as_ptr());
        let open: Open = std::mem::transmute(symbol(c"sqlite3_open"));
        let exec: Exec = std::mem::transmute(symbol(c"sqlite3_exec"));
        let close: Close = std::mem::transmute(symbol(c"sqlite3_close"));
        let path = CString::new(path).unwrap();
        let mut handle = std::ptr::null_mut();
        open(path.as_ptr(), &mut handle);
        let null = std::ptr::null();
        exec(handle, c"SELECT count(*) FROM key".as_ptr(), null, null, null);
        close(handle);
    }
    true
}
