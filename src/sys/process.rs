//! Who this process is.

use std::path::Path;

use super::file;

pub fn id() -> u32 {
    std::process::id()
}

/// The real user id.
pub fn user() -> u32 {
    // SAFETY: takes nothing, and can't fail.
    unsafe { libc::getuid() }
}

/// The file name of the program, at most `most` bytes and without control characters; empty where /proc doesn't show it.
pub fn program(most: usize) -> String {
    let path = file::link_target(Path::new("/proc/self/exe")).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut program = String::new();
    for c in name.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if program.len() + c.len_utf8() > most {
            break;
        }
        program.push(c);
    }
    program
}
