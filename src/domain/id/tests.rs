use super::*;

#[test]
fn an_id_prints_and_parses_as_a_version_4_uuid() {
    let id = KeyId::from_random([0xff; 16]);
    assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(id.text().as_slice(), id.to_string().as_bytes());
    assert_eq!(KeyId::parse(&id.to_string()), Some(id));
    assert_eq!(KeyId::parse(&id.to_string().to_uppercase()), Some(id));
}

#[test]
fn only_the_hyphenated_form_is_an_id() {
    for text in [
        "",
        "ffffffff-ffff-4fff-bfff-fffffffffff",
        "ffffffffffff4fffbfffffffffffffff",
        "{ffffffff-ffff-4fff-bfff-ffffffffffff}",
        "gfffffff-ffff-4fff-bfff-ffffffffffff",
        "ffffffff-ffff-4fff-bfff-ffffffffffff ",
    ] {
        assert_eq!(KeyId::parse(text), None, "{text:?}");
    }
}
