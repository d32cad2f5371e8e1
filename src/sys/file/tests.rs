use super::descriptor::is_placeholder;
use super::*;
use std::os::fd::{AsRawFd, FromRawFd};

fn named(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

/// Puts another open file under the number of `file`.
fn take_number(file: &File, other: &std::fs::File) -> std::fs::File {
    // SAFETY: both numbers are open; the new one belongs to who gets it.
    unsafe {
        assert_eq!(libc::dup2(other.as_raw_fd(), file.number()), file.number());
        std::fs::File::from_raw_fd(file.number())
    }
}

#[test]
fn a_file_that_took_the_number_is_neither_used_nor_closed() {
    let (ours, hosts) = (named(b"ours"), named(b"hosts"));
    for same_file in [false, true] {
        let file = File::open_writable(ours.path()).unwrap();
        let path = if same_file { ours.path() } else { hosts.path() };
        let before = std::fs::read(path).unwrap();
        let other = take_number(&file, &std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap());
        let lost = |result: Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        lost(file.write_all_at(b"x", 0));
        lost(file.read_at(&mut [0], 0).map(drop));
        lost(file.facts().map(drop));
        lost(file.sync());
        lost(file.sync_data());
        lost(file.set_mode(0o777));
        lost(file.try_lock().map(drop));
        drop(file);
        assert!(other.metadata().is_ok(), "the host's file was closed");
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
}

#[test]
fn a_number_that_was_closed_is_an_error() {
    let ours = named(b"ours");
    let file = File::open(ours.path()).unwrap();
    drop(take_number(&file, ours.as_file()));
    assert!(explain(&file.read_at(&mut [0], 0).unwrap_err()).contains("the program closed"));
}

#[test]
fn every_descriptor_is_closed_in_a_program_that_is_executed() {
    let ours = named(b"ours");
    let file = File::open(ours.path()).unwrap();
    // SAFETY: fcntl takes any number.
    assert_eq!(unsafe { libc::fcntl(file.number(), libc::F_GETFD) }, libc::FD_CLOEXEC);
}

#[test]
fn a_fifo_is_opened_without_waiting_and_known_for_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let text = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    assert!(!File::open(&path).unwrap().facts().unwrap().is_regular());
}

#[test]
fn a_rename_to_a_new_name_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
    std::fs::write(&from, b"new").unwrap();
    std::fs::write(&to, b"old").unwrap();
    assert_eq!(rename_new(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
    std::fs::remove_file(&to).unwrap();
    rename_new(&from, &to).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), b"new");
}

#[test]
fn an_explanation_says_what_the_system_said() {
    let text = explain(&Error::from_raw_os_error(libc::EMFILE));
    assert!(text.contains("Too many open files") && text.contains("ulimit"), "{text}");
}

#[test]
fn a_standard_stream_that_the_host_opened_again_is_no_placeholder() {
    // SAFETY: a NUL-terminated path; the result is checked, and closed by its owner.
    let placeholder = unsafe { std::fs::File::from_raw_fd(libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC)) };
    assert!(is_placeholder(placeholder.as_raw_fd()));
    let hosts = named(b"");
    // SAFETY: both numbers are open.
    unsafe { libc::dup2(hosts.as_file().as_raw_fd(), placeholder.as_raw_fd()) };
    assert!(!is_placeholder(placeholder.as_raw_fd()));
    assert!(!is_placeholder(-1));
}
