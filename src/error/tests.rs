use super::*;
use std::collections::HashSet;

#[test]
fn every_status_has_its_own_number_and_name() {
    let numbers: HashSet<i32> = Status::ALL.iter().map(|s| *s as i32).collect();
    let names: HashSet<&str> = Status::ALL.iter().map(|s| s.name()).collect();
    assert_eq!(numbers.len(), Status::ALL.len(), "a number is used twice");
    assert_eq!(names.len(), Status::ALL.len(), "a name is used twice");
    for status in Status::ALL {
        assert_eq!(Status::from_number(*status as i32), Some(*status));
        assert!(status.name().starts_with("KMS_") && !status.code().is_empty());
    }
    assert_eq!(Status::from_number(0), None, "success is not an error");
}

#[test]
fn an_error_prints_its_text_alone() {
    let error = Status::KeyNotFound.error("no such key");
    assert_eq!(error.to_string(), "no such key");
    assert_eq!(error.status(), Status::KeyNotFound);
}
