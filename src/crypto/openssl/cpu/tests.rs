use super::*;

#[test]
fn settings_are_read_as_libcrypto_writes_them() {
    assert_eq!(has_instructions("OPENSSL_ia32cap=0x7efaf3bfffebffff:0x18c05fdef3bfa7eb"), Some(true));
    assert_eq!(has_instructions("OPENSSL_ia32cap=0x0000000000000400:0x0000000000000000 env:0"), Some(false));
    assert_eq!(has_instructions("OPENSSL_ia32cap=0x0200000000000000"), Some(false), "AES-NI alone");
    assert_eq!(has_instructions("OPENSSL_armcap=0x7d"), Some(true));
    assert_eq!(has_instructions("OPENSSL_armcap=0x1 env:1"), Some(false));
    assert_eq!(has_instructions("OPENSSL_ppccap=0x7d"), None);
    assert_eq!(has_instructions(""), None);
}

/// Fails after an update of OpenSSL: check the length of OPENSSL_ia32cap_P in its crypto/cryptlib.h, then raise KNOWN.
#[cfg(feature = "vendored")]
#[test]
fn the_built_in_openssl_is_the_release_whose_words_are_known() {
    assert!(knows_capabilities());
}
