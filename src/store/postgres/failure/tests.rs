use super::*;

#[test]
fn each_state_of_the_server_has_the_status_that_says_what_to_do() {
    for (codes, status) in [
        (&["40001", "40P01", "55P03", "57014", "42P06", "42P07", "42710"] as &[&str], Status::KeystoreBusy),
        (
            &["57P01", "57P02", "57P03", "08000", "08006", "08P01", "53300", "53100", "28P01"],
            Status::KeystoreUnavailable,
        ),
        (&["25006"], Status::KeystoreReadOnly),
        (&["42P01", "3F000"], Status::NotAKeystore),
        (&["3D000"], Status::KeystoreNotFound),
        (&["23505"], Status::KeystoreCorrupt),
        (&["42501", "XX000"], Status::KeystoreIo),
    ] {
        for code in codes {
            assert_eq!(explain_code(code, "").status(), status, "SQLSTATE {code}");
        }
    }
    let lacking = explain_code("42501", "permission denied for table key");
    assert!(lacking.text().contains("permission denied for table key"), "the privilege is not named: {lacking}");
    // The server may quote values in its text.
    assert!(!explain_code("22P02", "invalid input: \"secret\"").text().contains("secret"));
}
