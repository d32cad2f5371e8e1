use super::*;

fn reading(theirs_ms: i64, ours_ms: i64, uncertain_ms: i64) -> ClockReading {
    ClockReading { theirs_ms, ours_ms, since_boot_ms: 0, uncertain_ms }
}

#[test]
fn a_slow_answer_does_not_make_a_clock_wrong() {
    assert_eq!(reading(10_000, 13_000, 2_500).ahead_ms(), 500);
    assert_eq!(reading(13_000, 10_000, 2_500).ahead_ms(), -500);
    assert_eq!(reading(10_000, 13_000, 4_000).ahead_ms(), 0);
    assert_eq!(reading(i64::MIN, i64::MAX, 1).ahead_ms(), i64::MAX - 1);
}

#[test]
fn between_two_polls_the_servers_clock_moves_with_the_boot_clock() {
    let clock = ServerClock::default();
    assert_eq!(clock.wall_ms(), None);
    clock.take(ClockReading {
        theirs_ms: 1_000,
        ours_ms: 0,
        since_boot_ms: clocks::boottime_ms() - 5_000,
        uncertain_ms: 1,
    });
    let wall = clock.wall_ms().unwrap();
    assert!((6_000..60_000).contains(&wall), "{wall}");
}
