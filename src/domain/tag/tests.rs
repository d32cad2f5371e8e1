use super::*;

#[test]
fn tags_have_the_services_sizes_and_characters() {
    assert!(check_name("a").is_ok() && check_name(&"x".repeat(128)).is_ok() && check_name("a/_-.+=@:9Z").is_ok());
    assert!(check_value("").is_ok() && check_value(&"x".repeat(256)).is_ok());
    for bad in ["", " ", "a b", "\u{e9}", &"x".repeat(129)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
    assert!(check_value(&"x".repeat(257)).is_err() && check_value("a,b").is_err());
}
