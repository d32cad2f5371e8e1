use super::*;

#[test]
fn a_call_that_must_not_wait_is_refused_and_nothing_else_is() {
    assert!(allowed().is_ok());
    assert_eq!(without(|| 5), Some(5));
    assert!(without(allowed).is_none());
    assert!(without(|| allowed().is_err()).is_none(), "a refusal counts even if the call continues without it");
    assert!(allowed().is_ok() && !refused(), "it ends with the call");
}

#[test]
fn a_users_function_inside_of_the_call_may_wait() {
    let inner = without(|| {
        assert!(again(|| allowed().is_ok() && !refused()));
        again(|| without(allowed)).is_none()
    });
    assert_eq!(inner, Some(true), "the refusal of an inner call is not the outer one's");
}

#[test]
fn a_panic_restores_what_was_before() {
    let done = std::panic::catch_unwind(|| without(|| panic!("a clock that raises")));
    assert!(done.is_err() && allowed().is_ok());
}
