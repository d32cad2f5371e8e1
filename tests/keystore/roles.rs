//! The roles in which this program starts itself.

use crate::role::{self, Role};

const ROLES: &[(&str, Role)] = &[
    ("serve", crate::serve::serve),
    ("hold", crate::serve::hold),
    ("rotate-due", crate::processes::rotate_due),
    ("create-together", crate::processes::create_together),
    ("change", crate::crash::change),
    ("fork", crate::fork::fork_often),
    ("storm", crate::forks::storm),
    ("cloned", crate::forks::cloned),
    #[cfg(kms_faults)]
    ("make-everything", crate::machine_copies::make_everything),
    ("mix", crate::mixed::mix),
    ("replace-beside-writer", crate::journals::replace_beside_writer),
    ("create-always", crate::journals::create_always),
    ("uri", crate::second_path::uri),
    #[cfg(kms_faults)]
    ("stall", crate::stalls::stall),
    ("fork-beside-opening", crate::fork::fork_beside_opening),
    ("fork-at-exit", crate::fork::fork_at_exit),
    ("leave-child", crate::fork::leave_child),
    ("fork-memory", crate::fork::fork_memory),
    ("fork-survey", crate::fork::fork_survey),
    ("low-descriptors", crate::descriptors::low),
    ("become-daemon", crate::descriptors::become_daemon),
    ("encrypt-always", crate::descriptors::encrypt_always),
    ("fork-then-close", crate::descriptors::fork_then_close),
    ("close-beside", crate::descriptors::close_beside),
    ("open-as", crate::owners::open_as),
    ("under-refusals", crate::refusals::under_refusals),
    ("use-always", crate::truncated::use_always),
    ("chain-sigbus", crate::truncated::chain),
    ("chain-sigbus-later", crate::truncated::chain_later),
    ("truncate-in-children", crate::truncated::truncate_in_children),
    ("change-folder", crate::place::change_folder),
];

/// The user that a process of a role is where `KMS_TEST_UNPRIVILEGED` is set and the test is root: nobody.
pub const UNPRIVILEGED: libc::uid_t = 65_534;

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    // SAFETY: takes nothing.
    if std::env::var_os("KMS_TEST_UNPRIVILEGED").is_some() && unsafe { libc::geteuid() } == 0 {
        give_up_root();
    }
    role::play(ROLES, crate::folder::choose(300, 900));
}

fn give_up_root() {
    // SAFETY: no other thread exists yet; ids are numbers, and the list of groups is empty.
    let given_up = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED) == 0
            && libc::setresuid(UNPRIVILEGED, UNPRIVILEGED, UNPRIVILEGED) == 0
    };
    assert!(given_up, "root's rights can't be given up");
}
