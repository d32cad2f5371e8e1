//! A panic inside a call stays inside, and the header's constants are the library's.

use super::key::kms_create_key;
use super::open::{kms_close, kms_t};
use super::rotation::kms_rotate;
use super::status::*;
use super::types::KMS_ID_SIZE;
use crate::error::Status;
use crate::service::{Keystore, Options};

#[test]
fn a_panic_inside_a_call_becomes_a_status_and_the_handle_goes_on() {
    let fuse = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let lit = fuse.clone();
    let options = Options::new().root_key(&[7; 32]).rotation_thread(false).on_event(move |_| {
        assert!(!lit.swap(false, std::sync::atomic::Ordering::SeqCst), "a panic inside the library");
    });
    let handle = kms_t::into_raw(Keystore::open("memory:", &options).unwrap());
    let mut key = [0; KMS_ID_SIZE];
    unsafe {
        assert_eq!(kms_create_key(handle, std::ptr::null(), key.as_mut_ptr()), KMS_OK);
        assert_eq!(kms_rotate(handle, key.as_ptr(), std::ptr::null_mut()), KMS_INTERNAL);
        assert_eq!(kms_rotate(handle, key.as_ptr(), std::ptr::null_mut()), KMS_OK, "the handle still works");
        kms_close(handle);
    }
}

#[test]
fn every_exported_function_goes_through_the_guard() {
    let files = [
        "options",
        "open",
        "key",
        "crypt",
        "batch",
        "data_key",
        "rotation",
        "version",
        "alias",
        "tag",
        "import",
        "call",
        "health",
        "backup",
        "root",
        "verify",
        "file",
        "file_reader",
        "stream",
    ];
    let mut seen = 0;
    for file in files {
        let path = format!("{}/src/ffi/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        for function in text.split("#[unsafe(no_mangle)]").skip(1) {
            let body = &function[..function.find("\n}\n").unwrap()];
            let constant = body.contains("-> *const c_char") && !body.contains("unsafe extern");
            assert!(
                body.contains("guard(||") || body.contains("guard_hot(||") || body.contains("quietly(||") || constant,
                "{file}: {body}"
            );
            seen += 1;
        }
    }
    assert!(seen > 45, "only {seen} functions were checked");
}

#[test]
fn the_headers_constants_are_the_librarys_statuses() {
    let header = include_str!("../../include/kms.h");
    let mut defined: Vec<(String, i32)> = header
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("#define ")?.split(' ');
            let (name, number) = (words.next()?, words.next()?.parse().ok()?);
            Some((name.to_owned(), number))
        })
        .filter(|(_, number)| (100..1000).contains(number))
        .filter(|(name, _)| name != "KMS_MAX_OVERHEAD" && !name.ends_with("_SIZE") && !name.starts_with("KMS_HEALTH_"))
        .collect();
    let mut ours: Vec<(String, i32)> = Status::ALL.iter().map(|s| (s.name().to_owned(), *s as i32)).collect();
    defined.sort();
    ours.sort();
    assert_eq!(defined, ours);
}

#[test]
fn a_status_has_a_name_and_a_code_whatever_its_number() {
    let text = |p: *const std::ffi::c_char| unsafe { std::ffi::CStr::from_ptr(p) }.to_str().unwrap();
    for status in Status::ALL {
        assert_eq!(text(kms_status_name(*status as i32)), status.name());
        assert_eq!(text(kms_status_code(*status as i32)), status.code());
    }
    assert_eq!(text(kms_status_name(0)), "KMS_OK");
    for unknown in [-1, 1, 99, 999, i32::MAX, i32::MIN] {
        assert_eq!(text(kms_status_name(unknown)), "KMS_UNKNOWN_STATUS");
        assert!(!text(kms_status_code(unknown)).is_empty());
    }
}
