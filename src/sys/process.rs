//! The identity of this process.

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

/// The name of the user whose rights the process has.
#[cfg(feature = "postgres")]
pub fn user_name() -> Option<String> {
    let mut room = vec![0; 4096];
    let mut found = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut result = std::ptr::null_mut();
    // SAFETY: the places that the call fills, and their lengths. The name is in `room`, and is terminated.
    unsafe {
        let code =
            libc::getpwuid_r(libc::geteuid(), found.as_mut_ptr(), room.as_mut_ptr(), room.len(), &raw mut result);
        if code != 0 || result.is_null() {
            return None;
        }
        std::ffi::CStr::from_ptr((*result).pw_name).to_str().ok().map(str::to_owned)
    }
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
