use super::*;

#[test]
fn an_alias_is_the_prefix_and_1_to_255_plain_characters() {
    for good in ["alias/a", "alias/A-b_c/9", &format!("alias/{}", "x".repeat(255))] {
        assert!(check(good).is_ok(), "{good}");
    }
    for bad in
        ["", "a", "alias/", "Alias/a", "alias/a b", "alias/\u{e9}", "alias/a.b", &format!("alias/{}", "x".repeat(256))]
    {
        assert_eq!(check(bad).unwrap_err().status(), Status::InvalidArgument, "{bad}");
    }
}

#[test]
fn the_longest_alias_has_the_bytes_that_are_said() {
    let longest = format!("{PREFIX}{}", "x".repeat(MAX_BYTES - PREFIX.len()));
    assert!(check(&longest).is_ok() && check(&format!("{longest}x")).is_err());
}

#[test]
fn users_do_not_make_service_aliases() {
    for reserved in ["alias/acs", "alias/acs/oss", "alias/acsx"] {
        assert!(check(reserved).is_ok() && check_users(reserved).is_err(), "{reserved}");
    }
    assert_eq!(of_service("oss"), Ok("alias/acs/oss".to_owned()));
    assert!(of_service("").is_err() && of_service("a b").is_err());
}
