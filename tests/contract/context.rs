//! The encryption context: equal maps open, everything else is the one authentication error.

use kms::Status;

use super::support::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn opens(sealed_with: Pairs<'_>, opened_with: Pairs<'_>) -> bool {
    let kms = memory();
    let blob = kms.encrypt(&kms.plain_key(), b"x", sealed_with).unwrap();
    match kms.decrypt(&blob, opened_with) {
        Ok(plaintext) => plaintext.as_slice() == b"x",
        Err(error) => {
            assert_eq!(error.status(), Status::AuthenticationFailed, "{sealed_with:?} opened with {opened_with:?}");
            false
        }
    }
}

#[test]
fn the_order_of_a_context_is_irrelevant() {
    assert!(opens(&[("a", "1"), ("b", "2"), ("c", "3")], &[("c", "3"), ("a", "1"), ("b", "2")]));
    assert!(opens(&[("b", ""), ("aa", "2"), ("é", "3"), ("z", "")], &[("z", ""), ("é", "3"), ("aa", "2"), ("b", "")]));
}

#[test]
fn any_other_context_fails_authentication() {
    let sealed: Pairs<'_> = &[("a", "1"), ("b", "2")];
    let wrong: &[Pairs<'_>] = &[
        &[],
        &[("a", "1")],
        &[("b", "2")],
        &[("a", "1"), ("b", "2"), ("c", "")],
        &[("a", "1"), ("b", "3")],
        &[("a", "1"), ("B", "2")],
        &[("a", "2"), ("b", "1")],
        &[("a", "1"), ("b", "2 ")],
        &[("a", "1b"), ("b", "2")],
        &[("a1", ""), ("b2", "")],
    ];
    assert!(opens(sealed, sealed));
    for context in wrong {
        assert!(!opens(sealed, context), "{context:?} opened {sealed:?}");
    }
}

#[test]
fn a_context_for_a_blob_without_one_is_an_error_never_ignored() {
    assert!(!opens(&[], &[("a", "1")]));
    assert!(!opens(&[], &[("a", "")]));
}

#[test]
fn an_encoding_of_one_map_is_never_that_of_another() {
    assert!(!opens(&[("a", "b&c=d")], &[("a", "b"), ("c", "d")]));
    assert!(!opens(&[("ab", "c")], &[("a", "bc")]));
    assert!(!opens(&[("a", "")], &[("a", " ")]));
    assert!(!opens(&[("é", "1")], &[("e\u{301}", "1")]));
}

#[test]
fn an_empty_map_is_no_context() {
    let kms = memory();
    let blob = kms.encrypt(&kms.plain_key(), b"x", &[]).unwrap();
    assert_eq!(kms.inspect(&blob).unwrap().context_type, 0);
    assert!(opens(&[], &[]));
}

#[test]
fn an_empty_value_is_fine_and_part_of_the_context() {
    assert!(opens(&[("a", "")], &[("a", "")]));
    assert!(!opens(&[("a", "")], &[]));
    assert!(!opens(&[("a", ""), ("b", "")], &[("a", "")]));
}

#[test]
fn a_context_that_no_language_shares_is_an_invalid_argument_everywhere() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[]).unwrap();
    let bad: &[Pairs<'_>] = &[
        &[("", "empty key")],
        &[("", "")],
        &[("a", "1"), ("a", "1")],
        &[("a", "1"), ("b", "2"), ("a", "2")],
        &[("a\0", "1")],
        &[("\0", "1")],
        &[("a", "\0")],
        &[("a", "1\x002")],
    ];
    for context in bad {
        let statuses = [
            refused(kms.encrypt(&id, b"x", context)),
            refused(kms.decrypt(&blob, context)),
            refused(kms.reencrypt(&blob, context, Some((&id).into()), &[])),
            refused(kms.reencrypt(&blob, &[], Some((&id).into()), context)),
            refused(kms.generate_data_key(&id, 32, context)),
            refused(kms.generate_data_key_without_plaintext(&id, 32, context)),
        ];
        assert_eq!(statuses, [Status::InvalidArgument; 6], "{context:?}");
    }
}

#[test]
fn a_context_of_8192_encoded_bytes_seals_and_one_more_is_too_much() {
    let kms = memory();
    let id = kms.plain_key();
    // Two bytes of count, then two of length before the key and two before the value.
    let value = "v".repeat(8192 - 2 - 2 - 1 - 2);
    let fits: Pairs<'_> = &[("k", &value)];
    let blob = kms.encrypt(&id, b"x", fits).unwrap();
    assert_eq!(kms.decrypt(&blob, fits).unwrap().as_slice(), b"x");
    let more = format!("{value}v");
    let too_much: Pairs<'_> = &[("k", &more)];
    let statuses = [
        refused(kms.encrypt(&id, b"x", too_much)),
        refused(kms.generate_data_key(&id, 32, too_much)),
        refused(kms.generate_data_key_without_plaintext(&id, 32, too_much)),
        refused(kms.reencrypt(&blob, fits, Some((&id).into()), too_much)),
    ];
    assert_eq!(statuses, [Status::LimitExceeded; 4]);
}

#[test]
fn many_small_entries_count_with_their_lengths() {
    let kms = memory();
    let id = kms.plain_key();
    let keys: Vec<_> = (0..1024).map(|i| format!("{i:04}")).collect();
    // 2 + 1023 * (2 + 4 + 2) = 8186 bytes fit; 1024 entries are 8194.
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
    let blob = kms.encrypt(&id, b"x", &entries[..1023]).unwrap();
    let backwards: Vec<_> = entries[..1023].iter().rev().copied().collect();
    assert_eq!(kms.decrypt(&blob, &backwards).unwrap().as_slice(), b"x");
    assert_eq!(refused(kms.encrypt(&id, b"x", &entries)), Status::LimitExceeded);
}

#[test]
fn the_limit_binds_when_sealing_only() {
    let kms = memory();
    let id = kms.plain_key();
    let blob = kms.encrypt(&id, b"x", &[("k", "v")]).unwrap();
    let long = "v".repeat(9000);
    assert_eq!(refused(kms.decrypt(&blob, &[("k", &long)])), Status::AuthenticationFailed);
    assert_eq!(refused(kms.reencrypt(&blob, &[("k", &long)], Some((&id).into()), &[])), Status::AuthenticationFailed);
}

#[test]
fn context_is_not_in_the_blob() {
    let kms = memory();
    let blob = kms.encrypt(&kms.plain_key(), b"x", &[("tenant-name", "secret-value")]).unwrap();
    assert_eq!(blob.len(), 81);
    assert!(!blob.windows(6).any(|w| w == b"secret" || w == b"tenant"));
}
