//! The roles in which this program starts itself.

use crate::role::{self, Role};

const ROLES: &[(&str, Role)] = &[
    ("kill-each", crate::killed::kill_each),
    ("die-after-lock", crate::killed::die_after_lock),
    ("leave-each", crate::left::leave_each),
    ("kill-file-each", crate::files::kill_file_each),
    ("kill-upgrade-each", crate::upgrade::kill_upgrade_each),
];

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    role::play(ROLES, if crate::scene::is_long() { 7200 } else { 900 });
}
