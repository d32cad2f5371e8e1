use super::*;

const HOUR: i64 = 3_600_000;
const BOOT: [u8; 16] = [1; 16];
const OTHER_BOOT: [u8; 16] = [2; 16];

fn look(wall: i64, boot: [u8; 16], since_boot_ms: i64) -> Now {
    Now { wall: Time::from_millis(wall), boot, since_boot_ms }
}

fn due_at_zero(confirmation: Option<Now>) -> Deadline {
    Deadline { date: Time::from_millis(0), confirmation }
}

#[test]
fn the_first_confirmation_destroys_nothing_however_late() {
    assert_eq!(due_at_zero(None).status(&look(-1, BOOT, 0)), DeadlineStatus::Wait);
    assert_eq!(due_at_zero(None).status(&look(i64::MAX, BOOT, i64::MAX)), DeadlineStatus::Confirmed);
}

#[test]
fn the_second_confirmation_comes_an_hour_later_by_the_clock_of_the_same_boot() {
    let confirmed = due_at_zero(Some(look(0, BOOT, 500)));
    assert_eq!(
        confirmed.status(&look(100 * HOUR, BOOT, 500 + HOUR - 1)),
        DeadlineStatus::Wait,
        "the wall clock may lie"
    );
    assert_eq!(confirmed.status(&look(1, BOOT, 500 + HOUR)), DeadlineStatus::Act);
}

#[test]
fn after_a_reboot_it_takes_an_hour_of_wall_time_with_an_hour_of_uptime() {
    let confirmed = due_at_zero(Some(look(0, BOOT, 500)));
    assert_eq!(confirmed.status(&look(HOUR, OTHER_BOOT, HOUR - 1)), DeadlineStatus::Wait, "the machine just came up");
    assert_eq!(confirmed.status(&look(HOUR - 1, OTHER_BOOT, HOUR)), DeadlineStatus::Wait);
    assert_eq!(confirmed.status(&look(HOUR, OTHER_BOOT, HOUR)), DeadlineStatus::Act);
}

#[test]
fn a_look_that_finds_the_key_not_due_erases_the_confirmation() {
    let confirmed = due_at_zero(Some(look(50 * HOUR, BOOT, 0)));
    assert_eq!(confirmed.status(&look(-1, BOOT, 10 * HOUR)), DeadlineStatus::Refuted);
}

#[test]
fn no_clock_value_overflows() {
    for first in [i64::MIN, 0, i64::MAX] {
        for second in [i64::MIN, 0, i64::MAX] {
            let _ = due_at_zero(Some(look(first, BOOT, first))).status(&look(second, BOOT, second));
            let _ = due_at_zero(Some(look(first, BOOT, first))).status(&look(second, OTHER_BOOT, second));
        }
    }
}
