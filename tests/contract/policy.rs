//! The rotation policy: its limits, what it reports, when it may be changed, and the effects of a change.

use kms::{CreateKey, Interval, KeyState, Rotation, Status};

use super::support::*;

#[test]
fn an_interval_is_one_second_to_3650_days() {
    for good in [1, 2, 59, 3_600, 604_801, 3650 * DAY] {
        assert_eq!(Interval::from_seconds(good).unwrap().seconds(), good);
    }
    for bad in [0, -1, i64::MIN, 3650 * DAY + 1, i64::MAX] {
        assert_eq!(refused(Interval::from_seconds(bad)), Status::InvalidArgument, "{bad} s");
    }
}

#[test]
fn an_interval_reads_as_seconds_or_with_a_unit_and_prints_as_seconds() {
    for text in ["604800", "604800s", "10080m", "168h", "7d"] {
        let interval = Interval::parse(text).unwrap();
        assert_eq!((interval.seconds(), interval.to_string().as_str()), (604_800, "604800s"), "{text}");
    }
    assert_eq!(Interval::parse("1s").unwrap().to_string(), "1s");
    assert_eq!(Interval::parse("3650d").unwrap().seconds(), 3650 * DAY);
}

#[test]
fn a_text_that_is_no_interval_is_refused() {
    let bad = [
        "",
        "s",
        "d",
        "0",
        "0s",
        "0d",
        "-7d",
        "+7d",
        "07d",
        " 7d",
        "7d ",
        "7 d",
        "7D",
        "7S",
        "7w",
        "7dd",
        "7d7",
        "1.5d",
        "1e3",
        "0x10",
        "3651d",
        "315360001s",
        "9223372036854775807d",
        "9223372036854775808",
        "99999999999999999999999d",
        "７d",
        "7\0d",
        "7d\0",
    ];
    for text in bad {
        assert_eq!(refused(Interval::parse(text)), Status::InvalidArgument, "{text:?}");
    }
}

#[test]
fn automatic_rotation_is_derived_from_the_policy_and_the_state() {
    let kms = memory();
    for (policy_on, key) in [(true, kms.rotating_key(DAY)), (false, kms.plain_key())] {
        let enabled = if policy_on { Rotation::Enabled } else { Rotation::Disabled };
        let paused = if policy_on { Rotation::Suspended } else { Rotation::Disabled };
        assert_eq!(kms.key(&key).automatic_rotation(), enabled);
        kms.disable_key(&key).unwrap();
        assert_eq!(kms.key(&key).automatic_rotation(), paused, "Disabled");
        kms.schedule_key_deletion(&key, 7).unwrap();
        assert_eq!(kms.key(&key).automatic_rotation(), paused, "PendingDeletion");
        kms.cancel_key_deletion(&key).unwrap();
        assert_eq!(kms.key(&key).automatic_rotation(), enabled, "Enabled again");
    }
    assert_eq!(kms.key(&kms.external_key()).automatic_rotation(), Rotation::Disabled);
}

#[test]
fn next_is_last_plus_interval_in_every_state_and_absent_without_a_policy() {
    let kms = memory();
    let (id, plain) = (kms.rotating_key(10 * DAY), kms.plain_key());
    let next = |ms: i64| Some(T0 + ms);
    let shown = |key: &str| kms.key(key).next_rotation().map(|t| t.millis());
    assert_eq!(shown(&id), next(10 * DAY_MS));
    kms.at(3 * DAY_MS);
    kms.rotate(&id).unwrap();
    assert_eq!(shown(&id), next(13 * DAY_MS));
    kms.disable_key(&id).unwrap();
    kms.at(50 * DAY_MS);
    assert_eq!(shown(&id), next(13 * DAY_MS), "while Suspended Next may lie in the past");
    kms.schedule_key_deletion(&id, 30).unwrap();
    assert_eq!(shown(&id), next(13 * DAY_MS));
    for state in [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion] {
        match state {
            KeyState::Disabled => kms.disable_key(&plain).unwrap(),
            KeyState::PendingDeletion => kms.schedule_key_deletion(&plain, 7).unwrap(),
            _ => {}
        }
        assert_eq!((kms.key(&plain).state, shown(&plain)), (state, None));
    }
    assert_eq!(shown(&kms.external_key()), None);
}

#[test]
fn a_policy_made_overdue_by_an_update_rotates_before_the_call_returns() {
    let kms = memory();
    let id = kms.rotating_key(365 * DAY);
    kms.at(100 * DAY_MS);
    let generation = kms.health().unwrap().generation;
    kms.update_rotation_policy(&id, Some(seconds(30 * DAY))).unwrap();
    let key = kms.key(&id);
    assert_eq!(key.version_count(), 2, "it rotates at once, and only once");
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + 100 * DAY_MS);
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + 130 * DAY_MS, "and goes on with the new interval");
    assert_eq!(kms.health().unwrap().generation, generation + 1, "policy and version are one transaction");
    assert_eq!(kms.tick().unwrap().rotated, 0);
}

#[test]
fn repeating_the_policy_of_an_overdue_key_rotates_before_the_call_returns() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.at(9 * DAY_MS);
    kms.update_rotation_policy(&id, Some(seconds(DAY))).unwrap();
    assert_eq!(kms.key(&id).version_count(), 2, "the recalculated Next is in the past, so it rotates at once");
}

#[test]
fn turning_rotation_on_for_an_old_key_rotates_at_once() {
    let kms = memory();
    let id = kms.plain_key();
    kms.at(365 * DAY_MS);
    kms.update_rotation_policy(&id, Some(seconds(365 * DAY))).unwrap();
    assert_eq!(kms.key(&id).version_count(), 2, "Next is reached now, to the second");
}

#[test]
fn a_policy_that_is_not_overdue_changes_dates_only() {
    let kms = memory();
    let id = kms.plain_key();
    kms.at(100 * DAY_MS);
    kms.update_rotation_policy(&id, Some(seconds(101 * DAY))).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.version_count(), key.last_rotation().unwrap().millis()), (1, T0), "Last is not touched");
    assert_eq!(key.policy, Some(seconds(101 * DAY)));
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + 101 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    kms.at(101 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 1);
}

#[test]
fn turning_rotation_off_stops_it() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.update_rotation_policy(&id, None).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.automatic_rotation(), key.next_rotation(), key.policy), (Rotation::Disabled, None, None));
    kms.at(100 * DAY_MS);
    assert_eq!(kms.tick().unwrap().rotated, 0);
    kms.encrypt(&id, b"x", &[]).unwrap();
    assert_eq!(kms.key(&id).version_count(), 1);
}

#[test]
fn turning_rotation_off_is_refused_while_disabled() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.disable_key(&id).unwrap();
    assert_eq!(refused(kms.update_rotation_policy(&id, None)), Status::RejectedDisabled);
    assert_eq!(refused(kms.update_rotation_policy(&id, Some(seconds(9)))), Status::RejectedDisabled);
    kms.schedule_key_deletion(&id, 7).unwrap();
    assert_eq!(refused(kms.update_rotation_policy(&id, None)), Status::RejectedPendingDeletion);
    assert_eq!(refused(kms.update_rotation_policy(&id, Some(seconds(9)))), Status::RejectedPendingDeletion);
    kms.cancel_key_deletion(&id).unwrap();
    assert_eq!(kms.key(&id).policy, Some(seconds(DAY)), "the policy is preserved");
}

#[test]
fn a_suspended_key_gets_no_versions() {
    let kms = memory();
    let (disabled, pending) = (kms.rotating_key(DAY), kms.rotating_key(DAY));
    kms.disable_key(&disabled).unwrap();
    kms.schedule_key_deletion(&pending, 366).unwrap();
    for day in 1..=50 {
        kms.at(day * DAY_MS);
        assert_eq!(kms.tick().unwrap().rotated, 0);
    }
    assert_eq!((kms.key(&disabled).version_count(), kms.key(&pending).version_count()), (1, 1));
}

#[test]
fn a_key_overdue_when_it_is_enabled_again_rotates_before_the_call_returns() {
    let kms = memory();
    let id = kms.rotating_key(DAY);
    kms.disable_key(&id).unwrap();
    kms.at(10 * DAY_MS);
    let generation = kms.health().unwrap().generation;
    kms.enable_key(&id).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.state, key.version_count()), (KeyState::Enabled, 2));
    assert_eq!(key.last_rotation().unwrap().millis(), T0 + 10 * DAY_MS);
    assert_eq!(kms.health().unwrap().generation, generation + 1, "state and version are one transaction");
    assert_eq!(kms.tick().unwrap().rotated, 0);
}

#[test]
fn enabling_before_next_keeps_the_schedule() {
    let kms = memory();
    let id = kms.rotating_key(10 * DAY);
    kms.disable_key(&id).unwrap();
    kms.at(4 * DAY_MS);
    kms.enable_key(&id).unwrap();
    let key = kms.key(&id);
    assert_eq!((key.version_count(), key.next_rotation().unwrap().millis()), (1, T0 + 10 * DAY_MS));
}

#[test]
fn a_key_made_with_a_policy_reports_it() {
    let kms = memory();
    let request = CreateKey { rotate_every: Some(seconds(605_800)), description: "orders".into(), origin: None };
    let key = kms.key(&kms.create_key(&request).unwrap().to_string());
    assert_eq!(key.policy.unwrap().to_string(), "605800s");
    assert_eq!((key.description.as_str(), key.state), ("orders", KeyState::Enabled));
    assert_eq!(key.next_rotation().unwrap().millis(), T0 + 605_800_000);
}
