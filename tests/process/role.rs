//! Roles: a test program, started again as another process, plays a role instead of running its tests.

use std::process::Command;

const NAME: &str = "KMS_TEST_ROLE";

/// What a process does that was started in a role, with its arguments.
pub type Role = fn(&[String]);

/// This program again, to be started in `role`.
pub fn command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(NAME, role);
    command
}

/// If this process was started in a role, plays it and ends, after at most this number of seconds. Called from
/// `.init_array`, before `main`, so that a role has no thread of the test harness beside it.
pub fn play(roles: &[(&str, Role)], seconds: u32) {
    let Ok(name) = std::env::var(NAME) else { return };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // No role outlives its test by much.
    // SAFETY: alarm takes any number.
    unsafe { libc::alarm(seconds) };
    let done = std::panic::catch_unwind(|| {
        let (_, role) = roles.iter().find(|(known, _)| *known == name).expect("no such role");
        role(&arguments);
    });
    std::process::exit(if done.is_ok() { 0 } else { 101 });
}
