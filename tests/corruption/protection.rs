//! The tests fail once the protection is switched off.

use std::process::Command;

/// Runs one test of this program with the checks of trees, chains and anchors off.
fn fails_unprotected(test: &str) {
    let run = |unprotected: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--test-threads", "1"]);
        if unprotected {
            command.env("KMS_FAULT_UNCHECKED", "1");
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (passed, said) = run(true);
    assert!(said.contains("1 failed"), "{test} was not run: {said}");
    assert!(!passed, "{test} passes without the protection that it is about");
}

#[test]
fn the_tests_fail_without_the_protection() {
    for test in [
        "rows::a_deleted_key_is_never_said_not_to_exist",
        "rows::an_older_copy_of_a_row_is_noticed",
        "rows::an_older_copy_of_a_part_is_noticed",
        "log::an_edited_entry_is_noticed_whatever_its_column",
        "log::entries_removed_moved_added_or_cut_off_are_noticed",
        "log::altered_records_of_versions_are_noticed",
        "anchor::an_older_copy_of_the_whole_keystore_is_refused",
        "anchor::an_older_copy_that_was_changed_to_the_same_generation_is_refused",
    ] {
        fails_unprotected(test);
    }
}
