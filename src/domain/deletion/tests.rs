use super::*;

#[test]
fn the_waiting_period_is_7_to_366_days() {
    let now = Time::from_millis(0);
    assert_eq!(schedule(now, 7).unwrap().date, Time::from_millis(7 * 86_400_000));
    assert!(schedule(now, 366).is_ok());
    for days in [i32::MIN, -1, 0, 6, 367, i32::MAX] {
        assert_eq!(schedule(now, days).unwrap_err().status(), Status::InvalidArgument, "{days}");
    }
}
