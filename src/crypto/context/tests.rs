use super::*;

fn context<'a>(entries: &[(&'a str, &'a str)]) -> Result<Context<'a>> {
    Context::new(entries.iter().copied())
}

fn encoded(entries: &[(&str, &str)]) -> Vec<u8> {
    let (context, mut bytes) = (context(entries).unwrap(), Vec::new());
    context.encode(|part| bytes.extend_from_slice(part));
    assert_eq!(bytes.len(), context.encoded_len());
    bytes
}

fn refused(entries: &[(&str, &str)]) -> String {
    let error = context(entries).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    error.to_string()
}

#[test]
fn the_encoding_has_its_golden_bytes() {
    assert_eq!(encoded(&[("a", "b")]), b"\0\x01\0\x01a\0\x01b");
    assert_eq!(encoded(&[("tenant", "42"), ("a", "")]), b"\0\x02\0\x01a\0\0\0\x06tenant\0\x0242");
    assert_eq!(encoded(&[("ключ", "é")]), "\0\x01\0\x08ключ\0\x02é".as_bytes());
    assert_eq!(encoded(&[]), b"");
}

#[test]
fn the_order_of_entries_does_not_matter() {
    let names: Vec<String> = (0..20).map(|i| format!("k{i}")).collect();
    for count in [2, 7, 8, 9, 20] {
        let mut entries: Vec<(&str, &str)> = names.iter().take(count).map(|name| (name.as_str(), "v")).collect();
        let first = encoded(&entries);
        entries.reverse();
        assert_eq!(encoded(&entries), first);
        entries.rotate_left(count / 2);
        assert_eq!(encoded(&entries), first);
    }
}

#[test]
fn keys_are_sorted_by_their_bytes() {
    // By bytes "Z" < "a" < "é"; a locale would say otherwise.
    assert_eq!(encoded(&[("é", ""), ("a", ""), ("Z", "")]), "\0\x03\0\x01Z\0\0\0\x01a\0\0\0\x02é\0\0".as_bytes());
    assert_eq!(encoded(&[("ab", ""), ("a", "")]), b"\0\x02\0\x01a\0\0\0\x02ab\0\0");
}

#[test]
fn no_two_contexts_have_one_encoding() {
    let all = [
        encoded(&[("a", "b&c=d")]),
        encoded(&[("a", "b"), ("c", "d")]),
        encoded(&[("ab", "c")]),
        encoded(&[("a", "bc")]),
        encoded(&[("a", "b"), ("c", "")]),
        encoded(&[("a", ""), ("c", "b")]),
        encoded(&[]),
    ];
    assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
}

#[test]
fn what_other_languages_could_not_give_again_is_refused() {
    let texts = [
        refused(&[("", "v")]),
        refused(&[("k", "1"), ("x", ""), ("k", "2")]),
        refused(&[("k\0", "")]),
        refused(&[("k", &"x".repeat(65_536))]),
    ];
    assert_eq!(texts.iter().collect::<std::collections::HashSet<_>>().len(), texts.len());
    refused(&[("k", "\0")]);
    refused(&[(&"x".repeat(65_536), "")]);
    context(&[(&"x".repeat(65_535), &"y".repeat(65_535)), ("k", "")]).unwrap();
}

#[test]
fn at_most_65535_entries_are_taken() {
    let names: Vec<String> = (0..65_536).map(|i| i.to_string()).collect();
    let entries: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(encoded(&entries[..65_535])[..2], [0xFF, 0xFF]);
    refused(&entries);
}

#[test]
fn the_limit_is_of_the_encoding_and_only_when_asked() {
    let fits = "x".repeat(limits::CONTEXT_BYTES - 2 - 4 - 1);
    assert_eq!(context(&[("k", &fits)]).unwrap().encoded_len(), limits::CONTEXT_BYTES);
    context(&[("k", &fits)]).unwrap().check_limit().unwrap();
    let over = fits + "x";
    let error = context(&[("k", &over)]).unwrap().check_limit().unwrap_err();
    assert_eq!(error.status(), Status::LimitExceeded);
    context(&[]).unwrap().check_limit().unwrap();
}

#[test]
fn the_type_says_whether_there_is_a_context() {
    let mut aad = Aad::new();
    for (entries, expected) in [(&[("a", "")][..], ContextType::Map), (&[], ContextType::None)] {
        context(entries).unwrap().put(&mut aad).unwrap();
        assert_eq!(aad.context_type(), expected);
        entries.put(&mut aad).unwrap();
        assert_eq!(aad.context_type(), expected);
    }
}

#[test]
fn the_aad_is_header_length_context_and_zeros_to_16() {
    let header = [0x8B; HEADER];
    let mut aad = Aad::new();
    let value = "v".repeat(2000);
    // The same memory is used for all, long ones first, so that a rest of one would show in the next.
    for entries in
        [&[("key", value.as_str())][..], &[("k", &value[..100])], &[("a", "b"), ("c", "d")], &[("k", "")], &[]]
    {
        let context = context(entries).unwrap();
        let mut expected = header.to_vec();
        expected.extend_from_slice(&(context.encoded_len() as u64).to_be_bytes());
        expected.extend_from_slice(&encoded(entries));
        expected.resize(expected.len().next_multiple_of(16), 0);
        let context_type = if entries.is_empty() { ContextType::None } else { ContextType::Map };
        crate::crypto::blob::set_context_type(expected.first_chunk_mut().unwrap(), context_type);
        context.put(&mut aad).unwrap();
        assert_eq!(aad.bind(&bare_aad(&header), context_type), expected);
        entries.put(&mut aad).unwrap();
        assert_eq!(
            aad.bind(&bare_aad(&header), context_type),
            expected,
            "straight from the caller's memory it differs"
        );
    }
    assert_eq!(aad.bind(&bare_aad(&header), ContextType::None).len(), 48);
}

#[test]
fn entries_that_come_in_their_order_and_others_make_the_same_aad() {
    let names: Vec<String> = (0..20).map(|i| format!("k{i:02}")).collect();
    let (mut one, mut other) = (Aad::new(), Aad::new());
    for count in [1, 2, 9, 20] {
        let mut entries: Vec<(&str, &str)> = names.iter().take(count).map(|name| (name.as_str(), "v")).collect();
        entries.put(&mut one).unwrap();
        entries.reverse();
        entries.put(&mut other).unwrap();
        let header = [1; HEADER];
        assert_eq!(one.bind(&bare_aad(&header), ContextType::Map), other.bind(&bare_aad(&header), ContextType::Map));
    }
}

#[test]
fn what_is_refused_leaves_no_context_of_the_message_before() {
    let mut aad = Aad::new();
    for wrong in [
        &[("", "v")][..],
        &[("a", "1"), ("a", "2")],
        &[("b", ""), ("a", ""), ("b", "")],
        &[("a\0", "")],
        &[("a", "\0")],
    ] {
        [("tenant", "42")].put(&mut aad).unwrap();
        assert_eq!(wrong.put(&mut aad).unwrap_err().status(), Status::InvalidArgument);
        assert_eq!(aad.context_type(), ContextType::None);
    }
}

#[test]
fn the_aad_leaves_the_stack_only_above_one_kibibyte() {
    let header = [0; HEADER];
    for len in 900..1100 {
        let value = "v".repeat(len);
        let context = context(&[("k", &value)]).unwrap();
        let mut aad = Aad::new();
        context.put(&mut aad).unwrap();
        let bytes = aad.bind(&bare_aad(&header), ContextType::Map).len();
        assert_eq!(aad.heap.is_empty(), bytes <= 1024, "{bytes}");
    }
}
