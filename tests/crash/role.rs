//! This test binary again, as a process in a role.

/// What a process does that was started for a role, with its arguments.
type Role = fn(&[String]);

const ROLES: &[(&str, Role)] = &[("kill-each", crate::killed::kill_each)];

/// Runs before `main`, so that a role has no thread of the test harness beside it.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Ok(name) = std::env::var("KMS_TEST_ROLE") else { return };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Nobody outlives its test by much.
    // SAFETY: alarm takes any number.
    unsafe { libc::alarm(if crate::scene::is_long() { 7200 } else { 900 }) };
    let done = std::panic::catch_unwind(|| {
        let (_, role) = ROLES.iter().find(|(known, _)| *known == name).expect("no such role");
        role(&arguments);
    });
    std::process::exit(if done.is_ok() { 0 } else { 101 });
}
