use super::*;

#[test]
fn ten_refusals_a_second_are_logged() {
    let refusals = Refusals::default();
    let logged = |now: i64, calls: usize| (0..calls).filter(|_| refusals.may_log(now)).count();
    assert_eq!(logged(50_000, 1000), 10);
    assert_eq!(logged(50_999, 1000), 0);
    assert_eq!(logged(51_000, 3), 3);
    assert_eq!(logged(51_500, 1000), 7);
    assert_eq!(logged(90_000, 1000), 10);
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let state = LogState { base: i64::MAX - 7, before: [1; 32], head: [2; 32] };
    assert_eq!(LogState::of(Some(&state.to_bytes())), Ok(Some(state)));
    assert_eq!(LogState::of(None), Ok(None));
    let status = |bytes: &[u8]| LogState::of(Some(bytes)).map_err(|error| error.status());
    for len in [0, 8, 71, 73] {
        assert_eq!(status(&vec![0; len]), Err(Status::KeystoreCorrupt), "{len} bytes");
    }
}
