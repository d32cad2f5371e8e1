use std::cell::Cell;

use sha3::Shake128;
use sha3::digest::{ExtendableOutput, Update, XofReader};

use super::alone::{Opener, Sealer};
use super::*;
use crate::crypto::openssl::cmac;
use crate::sys::random;

const KEY: [u8; 32] = [1; 32];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn sealed(key: &[u8; 32], nonce: &[u8; NONCE], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plaintext.len() + TAG];
    seal_with_nonce(key, nonce, aad, plaintext, &mut out).unwrap();
    out
}

fn opened(key: &[u8; 32], nonce: &[u8; NONCE], aad: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![0; text.len() - TAG];
    Opener::new()?.open(&mut Shared::new()?, key, nonce, aad, text, &mut out)?;
    Ok(out)
}

/// The two cases of C2SP XAES-256-GCM with every intermediate value.
#[test]
fn the_published_vectors_hold_with_all_intermediates() {
    struct Case {
        key: u8,
        l: &'static str,
        k1: &'static str,
        kx: &'static str,
        aad: &'static [u8],
        sealed: &'static str,
    }
    let cases = [
        Case {
            key: 1,
            l: "7298caa565031eadc6ce23d23ea66378",
            k1: "e531954aca063d5b8d9c47a47d4cc6f0",
            kx: "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
            aad: b"",
            sealed: "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        },
        Case {
            key: 3,
            l: "91c08762876dccf9ba204a33768fa5fe",
            k1: "23810ec50edb99f374409466ed1f4b7b",
            kx: "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
            aad: b"c2sp.org/XAES-256-GCM",
            sealed: "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        },
    ];
    let nonce: [u8; NONCE] = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
    let (prefix, suffix) = split(&nonce);
    assert_eq!((prefix, suffix), (b"ABCDEFGHIJKL", b"MNOPQRSTUVWX"));
    assert_eq!(message(1, prefix).to_vec(), hex("000158004142434445464748494a4b4c"));
    assert_eq!(message(2, prefix).to_vec(), hex("000258004142434445464748494a4b4c"));
    for case in cases {
        let key = [case.key; 32];
        let mut block = Block::new().unwrap();
        block.set_key(&key).unwrap();
        let mut l = [0; 16];
        block.encrypt(&mut l).unwrap();
        assert_eq!(l.to_vec(), hex(case.l));
        assert_eq!(subkey(&mut block).unwrap().to_vec(), hex(case.k1));
        assert_eq!(derive(&mut block, &key, prefix).unwrap().to_vec(), hex(case.kx));
        assert_eq!(sealed(&key, &nonce, case.aad, b"XAES-256-GCM"), hex(case.sealed));
        assert_eq!(opened(&key, &nonce, case.aad, &hex(case.sealed)).unwrap(), b"XAES-256-GCM");
    }
}

/// The accumulated test of C2SP XAES-256-GCM; the figures below 10,000 only locate a first mismatch.
#[test]
fn the_accumulated_hash_holds_over_10_000_iterations() {
    let mut random = Shake128::default().finalize_xof();
    let mut bytes = |len: usize| {
        let mut bytes = vec![0; len];
        random.read(&mut bytes);
        bytes
    };
    let mut hash = Shake128::default();
    for iteration in 1..=10_000 {
        let key: [u8; 32] = bytes(32).try_into().unwrap();
        let nonce: [u8; NONCE] = bytes(NONCE).try_into().unwrap();
        let len = bytes(1)[0];
        let plaintext = bytes(len.into());
        let len = bytes(1)[0];
        let aad = bytes(len.into());
        let text = sealed(&key, &nonce, &aad, &plaintext);
        hash.update(&text);
        assert_eq!(opened(&key, &nonce, &aad, &text).unwrap(), plaintext);
        let expected = match iteration {
            1 => "10bccc12c34609fdbcd30aeb64ed8454a31101cec7890b3fbe16b783abb037de",
            10 => "960fb0b76a656d46b1bdb884471a87f14b6ea874cf53d26d7eec3ec9ae9e5be3",
            100 => "95c433ee0b434b8917ff03bd33e52462878d16f3114981b7f3cd92e1f1f7d358",
            1000 => "38c6fbcf7bca138bc25efe1d514669df716abcd23b269e244e706484fb302ef7",
            10_000 => "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939",
            _ => continue,
        };
        let mut found = [0; 32];
        hash.clone().finalize_xof().read(&mut found);
        assert_eq!(found.to_vec(), hex(expected), "after {iteration} iterations");
    }
}

#[test]
fn the_200_generated_cases_hold() {
    let text = include_str!("../../../tests/vectors/xaes-256-gcm-first200-generated.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 200);
    for case in &cases {
        let field = |name: &str| hex(case[name].as_str().unwrap());
        let (key, nonce) = (field("key").try_into().unwrap(), field("nonce").try_into().unwrap());
        let derived = derive(&mut Block::new().unwrap(), &key, split(&nonce).0).unwrap();
        assert_eq!(derived.to_vec(), field("subkey"), "{}", case["i"]);
        assert_eq!(sealed(&key, &nonce, &field("aad"), &field("msg")), field("ct"), "{}", case["i"]);
        assert_eq!(opened(&key, &nonce, &field("aad"), &field("ct")).unwrap(), field("msg"));
    }
}

#[test]
fn ten_thousand_random_cases_agree_with_an_independent_implementation() {
    use xaes_256_gcm::aead::{Aead, KeyInit, Payload};
    let mut shared = Shared::new().unwrap();
    for case in 0..10_000u32 {
        let key: [u8; 32] = random::array().unwrap();
        let [a, b, c, d]: [u8; 4] = random::array().unwrap();
        let mut plaintext = vec![0; usize::from(a) + if case % 100 == 0 { usize::from(b) * 64 } else { 0 }];
        let mut aad = vec![0; usize::from(c) / (1 + usize::from(d) % 8)];
        random::fill(&mut plaintext).unwrap();
        random::fill(&mut aad).unwrap();
        let theirs = xaes_256_gcm::Xaes256Gcm::new(&key.into());

        let mut out = vec![0; plaintext.len() + NONCE + TAG];
        let mut sealer = Sealer::new().unwrap();
        sealer.seal(&mut shared, &key, &aad, Input::Apart(&plaintext), &mut out).unwrap();
        let (nonce, text) = out.split_first_chunk::<NONCE>().unwrap();
        let found = theirs.decrypt(&(*nonce).into(), Payload { msg: text, aad: &aad }).unwrap();
        assert_eq!(found, plaintext, "they can't open ours, case {case}");

        let nonce: [u8; NONCE] = random::array().unwrap();
        let text = theirs.encrypt(&nonce.into(), Payload { msg: &plaintext, aad: &aad }).unwrap();
        assert_eq!(opened(&key, &nonce, &aad, &text).unwrap(), plaintext, "we can't open theirs, case {case}");
    }
}

/// NIST SP 800-108r1 §4.1 with AES-CMAC, a 16-bit counter, label "X" and the prefix as context.
#[test]
fn the_derivation_is_the_counter_mode_kdf_of_sp_800_108() {
    for _ in 0..100 {
        let (key, prefix) = (random::array().unwrap(), random::array().unwrap());
        let half = |counter: u8| cmac(&key, &[&[0, counter], b"X", &[0], &prefix]).unwrap();
        let derived = derive(&mut Block::new().unwrap(), &key, &prefix).unwrap();
        assert_eq!(derived.to_vec(), [half(1), half(2)].concat());
    }
}

thread_local!(static NOW: Cell<u64> = const { Cell::new(1000) });

/// A shared state whose clock the test sets.
fn timed() -> Shared {
    Shared { seconds: || NOW.get(), ..Shared::new().unwrap() }
}

/// Seals `len` bytes in place, proves that they open, and returns the prefix used.
fn prefix_of(sealer: &mut Sealer, shared: &mut Shared, len: usize) -> [u8; PREFIX] {
    let mut out = vec![0; len + NONCE + TAG];
    sealer.seal(shared, &KEY, b"aad", Input::InPlace, &mut out).unwrap();
    let (nonce, text) = out.split_first_chunk::<NONCE>().unwrap();
    if len < 1 << 20 {
        assert_eq!(opened(&KEY, nonce, b"aad", text).unwrap(), vec![0; len]);
    }
    *split(nonce).0
}

#[test]
fn a_prefix_serves_at_most_64_messages() {
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), timed());
    let first = prefix_of(&mut sealer, &mut shared, 3);
    assert!((1..64).all(|_| prefix_of(&mut sealer, &mut shared, 3) == first));
    let second = prefix_of(&mut sealer, &mut shared, 0);
    assert_ne!(second, first, "the 65th message used the same prefix");
    assert!((1..64).all(|_| prefix_of(&mut sealer, &mut shared, 0) == second));
    assert_ne!(prefix_of(&mut sealer, &mut shared, 0), second);
}

#[test]
fn a_prefix_serves_at_most_64_mebibytes() {
    const MIB: usize = 1 << 20;
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), timed());
    let first = prefix_of(&mut sealer, &mut shared, 60 * MIB);
    assert_eq!(prefix_of(&mut sealer, &mut shared, 4 * MIB), first, "exactly 64 MiB are allowed");
    let second = prefix_of(&mut sealer, &mut shared, 1);
    assert_ne!(second, first);
    assert_ne!(prefix_of(&mut sealer, &mut shared, 64 * MIB), second);
    let own = prefix_of(&mut sealer, &mut shared, 64 * MIB + 1);
    assert_ne!(prefix_of(&mut sealer, &mut shared, 0), own, "a longer message shares its prefix");
}

#[test]
fn a_prefix_serves_at_most_60_seconds() {
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), timed());
    let first = prefix_of(&mut sealer, &mut shared, 1);
    NOW.set(1059);
    assert_eq!(prefix_of(&mut sealer, &mut shared, 1), first);
    NOW.set(1060);
    let second = prefix_of(&mut sealer, &mut shared, 1);
    assert_ne!(second, first);
    NOW.set(1000);
    assert_ne!(prefix_of(&mut sealer, &mut shared, 1), second, "a clock that went back keeps a prefix");
}

#[test]
fn every_message_has_a_suffix_of_its_own() {
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), Shared::new().unwrap());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2000 {
        let mut out = [0; NONCE + TAG];
        sealer.seal(&mut shared, &KEY, b"", Input::InPlace, &mut out).unwrap();
        assert!(seen.insert(out[..NONCE].to_vec()));
    }
}

#[test]
fn no_two_messages_of_a_prefix_have_one_number() {
    if crate::sys::random::cpu::quick_word().is_none() {
        return;
    }
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), Shared::new().unwrap());
    let mut numbers = std::collections::HashMap::<_, std::collections::HashSet<_>>::new();
    // The largest has its own prefix, or ends one.
    for len in (0..200).map(|i| if i % 100 == 70 { PREFIX_BYTES as usize + 1 } else { 0 }) {
        let mut out = vec![0; len + NONCE + TAG];
        sealer.seal(&mut shared, &KEY, b"", Input::InPlace, &mut out).unwrap();
        assert!(numbers.entry(out[..PREFIX].to_vec()).or_default().insert(out[NONCE - 4..NONCE].to_vec()));
    }
    assert!(numbers.values().any(|of_one| of_one.len() > 40), "no prefix served twice, so the test proves nothing");
}

/// A key source that can refuse, and counts how often it was asked.
struct Source {
    refuses: Cell<bool>,
    asked: Cell<u32>,
}

impl KeySource for Source {
    fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
        self.asked.set(self.asked.get() + 1);
        if self.refuses.get() { Err(Status::KeyVersionNotFound.error("gone")) } else { user(&KEY) }
    }
}

#[test]
fn a_failed_renewal_never_seals_under_the_old_prefix() {
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), timed());
    let source = Source { refuses: Cell::new(false), asked: Cell::new(0) };
    let mut out = [0; 4 + NONCE + TAG];
    let mut seal = |refuses: bool| {
        source.refuses.set(refuses);
        sealer.seal(&mut shared, &source, b"", Input::Apart(b"text"), &mut out)
    };
    seal(false).unwrap();
    NOW.set(NOW.get() + 60);
    for _ in 0..3 {
        assert_eq!(seal(true).unwrap_err().status(), Status::KeyVersionNotFound);
    }
    NOW.set(NOW.get() - 30);
    assert!(seal(true).is_err(), "a spent prefix came back");
    seal(false).unwrap();
    seal(true).unwrap();
    assert_eq!(source.asked.get(), 6, "the key is asked for at renewals only");
}

#[test]
fn a_key_source_that_lends_nothing_is_refused() {
    struct Silent;
    impl KeySource for Silent {
        fn lend(&self, _: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
            Ok(())
        }
    }
    let (mut shared, mut out) = (Shared::new().unwrap(), [0; NONCE + TAG]);
    assert!(Sealer::new().unwrap().seal(&mut shared, &Silent, b"", Input::InPlace, &mut out).is_err());
    assert!(Opener::new().unwrap().open(&mut shared, &Silent, &[0; NONCE], b"", &[0; TAG], &mut []).is_err());
}

#[test]
fn an_opener_derives_once_for_each_run_of_one_prefix() {
    let source = Source { refuses: Cell::new(false), asked: Cell::new(0) };
    let (mut opener, mut shared) = (Opener::new().unwrap(), Shared::new().unwrap());
    let mut open = |first: u8, last: u8| {
        let mut nonce = [first; NONCE];
        nonce[NONCE - 1] = last;
        let text = sealed(&KEY, &nonce, b"", b"text");
        let mut out = [0; 4];
        opener.open(&mut shared, &source, &nonce, b"", &text, &mut out).unwrap();
        assert_eq!(&out, b"text");
        source.asked.get()
    };
    assert_eq!([open(1, 1), open(1, 2), open(2, 1), open(2, 2), open(1, 1)], [1, 1, 2, 2, 3]);
}

#[test]
fn a_failed_tag_zeroes_the_output() {
    let text = sealed(&KEY, &[0; NONCE], b"", &[9; 5000]);
    let (mut opener, mut shared, mut out) = (Opener::new().unwrap(), Shared::new().unwrap(), [7; 5000]);
    let error = opener.open(&mut shared, &KEY, &[0; NONCE], b"x", &text, &mut out).unwrap_err();
    assert_eq!(error.status(), Status::AuthenticationFailed);
    assert_eq!(out, [0; 5000]);
    opener.open(&mut shared, &KEY, &[0; NONCE], b"", &text, &mut out).unwrap();
    assert_eq!(out, [9; 5000]);
}

#[test]
fn an_output_without_room_for_nonce_and_tag_is_refused() {
    let (mut sealer, mut shared) = (Sealer::new().unwrap(), Shared::new().unwrap());
    for len in 0..NONCE + TAG {
        assert!(sealer.seal(&mut shared, &KEY, b"", Input::InPlace, &mut vec![0; len]).is_err());
    }
    assert!(sealer.seal(&mut shared, &KEY, b"", Input::Apart(b"text"), &mut [0; NONCE + TAG]).is_err());
}

#[test]
fn a_cipher_that_served_others_never_uses_their_keys() {
    let keys: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];
    let mut prefixes = [(); 3].map(|()| Prefix::default());
    let mut ciphers = [(); 2].map(|()| Cipher::new().unwrap());
    let mut shared = Shared::new().unwrap();
    for turn in 0..4000usize {
        let [key, cipher, seals]: [u8; 3] = random::array().unwrap();
        let (which, cipher) = (usize::from(key) % 3, &mut ciphers[usize::from(cipher) % 2]);
        let (key, prefix) = (&keys[which], &mut prefixes[which]);
        if turn % 50 == 0 {
            prefix.wipe();
        }
        let (mut nonce, mut text) = ([0; NONCE], [0; 4 + TAG]);
        if seals % 2 == 0 {
            let drawn = shared.draw();
            cipher.seal(&mut shared, prefix, key, b"", Input::Apart(b"text"), drawn, &mut nonce, &mut text).unwrap();
            assert_eq!(opened(key, &nonce, b"", &text).unwrap(), b"text", "sealed under another's key");
        } else {
            let nonce = [seals % 4; NONCE];
            let (mut plain, text) = ([0; 4], sealed(key, &nonce, b"", b"text"));
            let mut own = Prefix::default();
            cipher.open(&mut shared, &mut own, key, &nonce, b"", &text, &mut plain).unwrap();
            assert_eq!(&plain, b"text");
        }
    }
}

#[test]
fn a_named_key_is_asked_for_once_in_a_row_and_never_taken_for_another() {
    struct Named<'a>(u8, &'a Cell<u32>);
    impl KeySource for Named<'_> {
        fn lend(&self, user: &mut dyn FnMut(&[u8; 32]) -> Result<()>) -> Result<()> {
            self.1.set(self.1.get() + 1);
            user(&[self.0; 32])
        }
        fn name(&self) -> Option<[u8; 16]> {
            Some([self.0; 16])
        }
    }
    let asked = Cell::new(0);
    let mut shared = Shared::new().unwrap();
    for (n, key) in [1, 1, 2, 2, 1].into_iter().enumerate() {
        let nonce = [n as u8; NONCE];
        let (mut plain, text) = ([0; 4], sealed(&[key; 32], &nonce, b"", b"text"));
        Opener::new().unwrap().open(&mut shared, &Named(key, &asked), &nonce, b"", &text, &mut plain).unwrap();
        assert_eq!(&plain, b"text");
    }
    assert_eq!(asked.get(), 3);
}
