use super::*;

#[test]
fn a_label_is_short_printable_text() {
    assert_eq!(check_label("nightly batch, Zürich"), Ok(()));
    assert_eq!(check_label(&"x".repeat(ACTOR_BYTES)), Ok(()));
    let status = |label: &str| check_label(label).map_err(|error| error.status());
    assert_eq!(status(&"x".repeat(ACTOR_BYTES + 1)), Err(Status::LimitExceeded));
    for label in ["", "two\nlines", "tab\t", "nul\0", "\u{85}", "\u{1b}[31m"] {
        assert_eq!(status(label), Err(Status::InvalidArgument), "{label:?}");
    }
}

#[test]
fn no_two_actions_have_one_name() {
    let names: std::collections::HashSet<_> = ChangeAction::ALL.iter().map(|action| action.name()).collect();
    assert_eq!(names.len(), ChangeAction::ALL.len());
}
