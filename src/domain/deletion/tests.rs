use super::*;

const HOUR: i64 = 3_600_000;
const BOOT: [u8; 16] = [1; 16];
const OTHER_BOOT: [u8; 16] = [2; 16];

fn at(wall: i64, boot: [u8; 16], since_boot_ms: i64) -> Now {
    Now { wall: Time::from_millis(wall), boot, since_boot_ms }
}

fn week() -> Deletion {
    Deletion::schedule(&at(0, BOOT, 500), 7).unwrap()
}

fn counted(at_last: &Now, now: &Now) -> i64 {
    let mut deletion = Deletion::schedule(at_last, 7).unwrap();
    deletion.count(now);
    deletion.waiting.unwrap().counted_ms
}

#[test]
fn the_waiting_period_is_7_to_366_days() {
    assert_eq!(week().date, Time::from_millis(7 * DAY_MS));
    let now = at(0, BOOT, 0);
    assert!(Deletion::schedule(&now, 366).is_ok());
    for days in [i32::MIN, -1, 0, 6, 367, i32::MAX] {
        assert_eq!(Deletion::schedule(&now, days).unwrap_err().status(), Status::InvalidArgument, "{days}");
    }
}

#[test]
fn the_wall_clock_counts_nothing_within_a_boot() {
    let start = at(0, BOOT, 500);
    assert_eq!(counted(&start, &at(9000 * DAY_MS, BOOT, 500 + HOUR)), HOUR);
    assert_eq!(counted(&start, &at(-9000 * DAY_MS, BOOT, 500 + HOUR)), HOUR);
}

#[test]
fn a_reboot_adds_at_most_a_day_and_never_a_negative_amount() {
    let start = at(0, BOOT, 50 * DAY_MS);
    for (wall, expected) in [(5 * HOUR, 5 * HOUR), (DAY_MS, DAY_MS), (9000 * DAY_MS, DAY_MS), (-1, 0), (i64::MIN, 0)] {
        assert_eq!(counted(&start, &at(wall, OTHER_BOOT, 1)), expected, "{wall}");
    }
}

/// As on a board without a battery, whose clock is right only once it has reached a time server.
#[test]
fn a_wall_clock_that_swings_between_boots_adds_at_most_a_day_in_all() {
    let behind = at(-9000 * DAY_MS, BOOT, HOUR);
    let mut deletion = Deletion::schedule(&behind, 7).unwrap();
    for boot in 2..100 {
        let wall = if boot % 2 == 0 { 0 } else { -9000 * DAY_MS };
        deletion.count(&at(wall, [boot; 16], 1));
    }
    assert_eq!(deletion.waiting.unwrap().counted_ms, DAY_MS);
}

#[test]
fn what_the_boot_clock_counted_is_not_counted_by_the_wall_clock_again() {
    let mut deletion = Deletion::schedule(&at(0, BOOT, 0), 7).unwrap();
    deletion.count(&at(HOUR, OTHER_BOOT, 1));
    // A boot with a wall clock that is behind, then one with a right clock, ten hours later.
    deletion.count(&at(-9000 * DAY_MS, [3; 16], 1));
    deletion.count(&at(-9000 * DAY_MS + 10 * HOUR, [3; 16], 1 + 10 * HOUR));
    deletion.count(&at(11 * HOUR, [4; 16], 1));
    assert_eq!(deletion.waiting.unwrap().counted_ms, 11 * HOUR);
}

#[test]
fn a_boot_clock_that_steps_back_neither_adds_nor_is_stored() {
    let start = at(0, BOOT, 10 * DAY_MS);
    let back = at(HOUR, BOOT, DAY_MS);
    assert_eq!(counted(&start, &back), 0);
    assert!(!Deletion::schedule(&start, 7).unwrap().counts(&back), "else it would count the way there again");
}

#[test]
fn a_confirmed_date_destroys_nothing_before_the_period_is_counted() {
    let mut deletion = week();
    assert_eq!(
        deletion.status(&at(8 * DAY_MS, BOOT, 500 + 7 * DAY_MS - 1)),
        DeadlineStatus::Wait,
        "no first confirmation"
    );
    deletion.confirmation = Some(at(7 * DAY_MS, BOOT, HOUR));
    assert_eq!(deletion.status(&at(8 * DAY_MS, BOOT, 500 + 7 * DAY_MS - 1)), DeadlineStatus::Wait);
    assert_eq!(deletion.status(&at(8 * DAY_MS, BOOT, 500 + 7 * DAY_MS)), DeadlineStatus::Act);
}

#[test]
fn a_counted_period_destroys_nothing_before_the_date_is_confirmed() {
    let mut deletion = week();
    deletion.count(&at(0, BOOT, 500 + 400 * DAY_MS));
    assert_eq!(deletion.status(&at(7 * DAY_MS - 1, BOOT, 500 + 400 * DAY_MS)), DeadlineStatus::Wait);
    assert_eq!(deletion.status(&at(7 * DAY_MS, BOOT, 500 + 400 * DAY_MS)), DeadlineStatus::Confirmed);
}

#[test]
fn a_deletion_of_format_1_waits_the_shortest_period_from_the_first_look() {
    let first = at(100 * DAY_MS, BOOT, DAY_MS);
    let mut deletion = Deletion { date: Time::from_millis(0), confirmation: Some(at(0, BOOT, 0)), waiting: None };
    assert_eq!(deletion.status(&first), DeadlineStatus::Wait);
    assert!(deletion.counts(&first));
    deletion.count(&first);
    assert_eq!(deletion.status(&at(200 * DAY_MS, BOOT, 8 * DAY_MS - 1)), DeadlineStatus::Wait);
    assert_eq!(deletion.status(&at(200 * DAY_MS, BOOT, 8 * DAY_MS)), DeadlineStatus::Act);
}

#[test]
fn a_look_is_due_each_hour_until_the_period_is_counted() {
    let mut deletion = week();
    assert_eq!(deletion.next_look(), Time::from_millis(HOUR));
    deletion.count(&at(5 * DAY_MS, BOOT, 7 * DAY_MS));
    assert_eq!(deletion.next_look(), Time::from_millis(5 * DAY_MS + 500), "the last 500 ms");
    deletion.count(&at(5 * DAY_MS + 500, BOOT, 500 + 7 * DAY_MS));
    assert_eq!(deletion.next_look(), Time::from_millis(7 * DAY_MS), "counted: the date is next");
    deletion.confirmation = Some(at(7 * DAY_MS, BOOT, 9 * DAY_MS));
    assert_eq!(deletion.next_look(), Time::from_millis(7 * DAY_MS + HOUR));
}

#[test]
fn a_look_soon_after_another_stores_nothing() {
    let deletion = week();
    assert!(!deletion.counts(&at(5000 * DAY_MS, BOOT, 500 + COUNT_AT_LEAST_MS - 1)));
    assert!(deletion.counts(&at(-5000 * DAY_MS, BOOT, 500 + COUNT_AT_LEAST_MS)));
    assert!(deletion.counts(&at(0, OTHER_BOOT, 1)), "a reboot is always stored, so that it counts once");
}

#[test]
fn no_clock_value_overflows() {
    for first in [i64::MIN, 0, i64::MAX] {
        let mut deletion = Deletion::schedule(&at(first, BOOT, first), 366).unwrap();
        for second in [i64::MIN, 0, i64::MAX] {
            for boot in [BOOT, OTHER_BOOT] {
                let now = at(second, boot, second);
                let _ = (deletion.status(&now), deletion.counts(&now), deletion.counted_ms(&now), deletion.next_look());
                deletion.count(&now);
            }
        }
    }
}

#[test]
fn what_is_counted_starts_at_nothing_and_grows_with_the_boot_clock() {
    let mut deletion = week();
    assert_eq!(deletion.counted_ms(&at(0, BOOT, 500)), 0);
    assert_eq!(deletion.counted_ms(&at(0, BOOT, 500 + HOUR)), HOUR);
    deletion.waiting = None;
    assert_eq!(deletion.counted_ms(&at(0, BOOT, 500 + HOUR)), 0, "of a deletion of format 1 nothing is known");
}
