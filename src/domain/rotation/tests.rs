use super::*;
use crate::domain::id::{KeyId, VersionId};
use crate::domain::key::{Key, Origin};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// A key created at 0 that rotates every `seconds`.
fn key(seconds: i64) -> Key {
    let policy = Some(Interval::from_seconds(seconds).unwrap());
    let mut key = Key::new(KeyId::from_bytes([1; 16]), Origin::Kms, String::new(), policy, at(0));
    key.promote(VersionId::from_bytes([2; 16]), at(0));
    key
}

#[test]
fn an_interval_is_seconds_or_an_integer_with_a_unit() {
    for (text, seconds) in
        [("7d", 604_800), ("604800s", 604_800), ("2h", 7_200), ("3m", 180), ("1", 1), ("3650d", 3650 * DAY)]
    {
        assert_eq!(Interval::parse(text).map(Interval::seconds), Ok(seconds), "{text}");
    }
    assert_eq!(Interval::parse("7d").unwrap().to_string(), "604800s");
}

#[test]
fn an_interval_of_another_form_or_size_is_refused() {
    for text in [
        "",
        "d",
        "0",
        "0s",
        "01d",
        "+1d",
        "-1d",
        "1 d",
        " 1d",
        "1D",
        "1w",
        "1dd",
        "3651d",
        "99999999999999999999d",
        "1.5h",
    ] {
        assert_eq!(Interval::parse(text).unwrap_err().status(), Status::InvalidArgument, "{text:?}");
    }
    assert!(Interval::from_seconds(0).is_err() && Interval::from_seconds(3650 * DAY + 1).is_err());
}

#[test]
fn next_is_last_plus_interval_always() {
    let mut key = key(90 * DAY);
    assert_eq!(key.next_rotation(), Some(at(90 * DAY)));
    key.state = KeyState::Disabled;
    assert_eq!(key.next_rotation(), Some(at(90 * DAY)), "reported while Suspended");
    key.policy = None;
    assert_eq!(key.next_rotation(), None);
}

#[test]
fn automatic_rotation_is_derived_from_policy_and_state() {
    let mut key = key(DAY);
    assert_eq!(key.automatic_rotation(), Rotation::Enabled);
    for state in [KeyState::Disabled, KeyState::PendingDeletion, KeyState::PendingImport] {
        key.state = state;
        assert_eq!(key.automatic_rotation(), Rotation::Suspended);
    }
    key.policy = None;
    assert_eq!(key.automatic_rotation(), Rotation::Disabled, "off stays off in any state");
}

#[test]
fn a_key_is_due_from_the_instant_of_next_and_only_while_enabled() {
    let mut key = key(DAY);
    assert_eq!(key.schedule().status(Time::from_millis(DAY * 1000 - 1)), RotationStatus::NotDue);
    assert_eq!(key.schedule().status(at(DAY)), RotationStatus::Due);
    key.state = KeyState::Disabled;
    assert_eq!(key.schedule().status(at(DAY)), RotationStatus::NotDue);
}

#[test]
fn missed_intervals_are_one_rotation() {
    let mut key = key(DAY);
    assert_eq!(key.schedule().status(at(100 * DAY)), RotationStatus::Due);
    key.promote(VersionId::from_bytes([3; 16]), at(100 * DAY));
    assert_eq!(key.schedule().status(at(100 * DAY)), RotationStatus::NotDue, "no catch-up burst");
    assert_eq!(key.next_rotation(), Some(at(101 * DAY)));
    assert_eq!(key.version_count(), 2);
}

#[test]
fn a_clock_stepped_back_rotates_nothing_early() {
    let mut key = key(90 * DAY);
    assert_eq!(key.schedule().status(at(-365 * DAY)), RotationStatus::FutureLast);
    key.future_noticed = Some(at(-365 * DAY));
    assert_eq!(key.schedule().status(at(0)), RotationStatus::NoteVoid, "the clock is right again");
    key.future_noticed = None;
    assert_eq!(key.schedule().status(at(89 * DAY)), RotationStatus::NotDue);
    assert_eq!(key.schedule().status(at(90 * DAY)), RotationStatus::Due);
}

#[test]
fn a_last_rotation_in_the_future_rotates_one_interval_after_it_was_noticed() {
    let mut key = key(7 * DAY);
    let glitch = at(5 * 365 * DAY);
    key.promote(VersionId::from_bytes([3; 16]), glitch);
    assert_eq!(key.schedule().status(at(10 * DAY)), RotationStatus::FutureLast);
    key.future_noticed = Some(at(10 * DAY));
    assert_eq!(key.schedule().status(at(16 * DAY)), RotationStatus::NotDue);
    assert_eq!(key.schedule().status(at(17 * DAY)), RotationStatus::Due);
    assert_eq!(key.next_look(), Some(at(17 * DAY)), "the ticker is told so");
}

#[test]
fn a_last_rotation_a_little_in_the_future_rotates_one_interval_after_it_was_noticed() {
    let mut key = key(60);
    key.promote(VersionId::from_bytes([3; 16]), at(10));
    key.future_noticed = Some(at(0));
    assert_eq!(key.schedule().status(at(59)), RotationStatus::NotDue);
    assert_eq!(key.schedule().status(at(60)), RotationStatus::Due);
}

#[test]
fn no_clock_value_overflows() {
    let mut key = key(3650 * DAY);
    for millis in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        key.promote(VersionId::from_bytes([9; 16]), Time::from_millis(millis));
        for noticed in [None, Some(Time::from_millis(millis)), Some(Time::from_millis(i64::MIN))] {
            key.future_noticed = noticed;
            for now in [i64::MIN, 0, i64::MAX] {
                let _ = key.schedule().status(Time::from_millis(now));
            }
        }
    }
}
