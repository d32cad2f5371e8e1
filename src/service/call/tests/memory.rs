//! Secrets in a request leave nothing in the library's memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use super::{ok, open};
use crate::Keystore;

const MASK: u8 = 0x5A;

/// A secret that is in memory only masked. Its Base64 has `+` and `/`, which some programs escape.
struct Secret(Vec<u8>);

impl Secret {
    fn new(number: u8) -> Self {
        let random: [u8; 32] = crate::sys::random::array().unwrap();
        let mut bytes = Zeroizing::new(random);
        bytes[..6].copy_from_slice(&[0xFB, 0xEF, 0xBF, 0xFF, 0xFF, number]);
        Self(bytes.iter().map(|byte| byte ^ MASK).collect())
    }

    fn text(&self) -> Zeroizing<String> {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(self.0.iter().map(|byte| byte ^ MASK).collect());
        Zeroizing::new(STANDARD.encode(&*bytes))
    }

    /// How often the bytes or their Base64 occur in writable memory.
    fn copies(&self) -> usize {
        let text: Vec<u8> = self.text().bytes().map(|byte| byte ^ MASK).collect();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        // In pieces that overlap by less than a part, so that no part is counted twice.
        const PIECE: usize = 1 << 20;
        const OVERLAP: u64 = 15;
        let (mut found, mut buffer) = (0, vec![0; PIECE]);
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            let mut at = start;
            while at + OVERLAP < end {
                let length = PIECE.min((end - at) as usize);
                let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
                // The allocator writes over the first bytes of what is freed.
                for part in [&self.0[16..32], &text[26..42]] {
                    found += occurrences(&buffer[..read], part);
                }
                at += (read as u64).saturating_sub(OVERLAP).max(1);
            }
        }
        buffer.zeroize();
        found
    }
}

/// How often a masked text stands in a buffer.
fn occurrences(mut buffer: &[u8], masked: &[u8]) -> usize {
    let mut found = 0;
    loop {
        // SAFETY: reads the buffer only.
        let at = unsafe { libc::memchr(buffer.as_ptr().cast(), i32::from(masked[0] ^ MASK), buffer.len()) };
        if at.is_null() {
            return found;
        }
        buffer = &buffer[at.addr() - buffer.as_ptr().addr()..];
        found += usize::from(buffer.len() >= 16 && buffer.iter().zip(masked).all(|(a, b)| a ^ MASK == *b));
        buffer = &buffer[1..];
    }
}

/// Calls with a secret in the place of `$`, as it is and with its signs escaped; the request is wiped.
#[track_caller]
fn leaves_nothing(kms: &Keystore, action: &str, request: &serde_json::Value) {
    for (number, escapes) in [None, Some(["\\/", "\\u002b"]), Some(["\\u002F", "\\u002B"])].into_iter().enumerate() {
        let secret = Secret::new(number as u8);
        let mut text = secret.text();
        if let Some([slash, plus]) = escapes {
            let escaped = Zeroizing::new(text.replace('/', slash));
            text = Zeroizing::new(escaped.replace('+', plus));
        }
        let (head, tail) = request.to_string().split_once('$').map(|(h, t)| (h.to_owned(), t.to_owned())).unwrap();
        let mut whole = Zeroizing::new(String::with_capacity(head.len() + text.len() + tail.len()));
        for part in [head.as_str(), &text, &tail] {
            whole.push_str(part);
        }
        match kms.call(action, &whole) {
            Ok(mut response) => response.zeroize(),
            Err(failed) => panic!("{action}: {}", failed.body),
        }
        drop((whole, text));
        assert_eq!(secret.copies(), 0, "{action}, escapes {escapes:?}: a secret is left");
    }
}

#[test]
fn no_secret_of_a_request_is_left_in_memory() {
    let (kms, _) = open();
    let key = ok(&kms, "CreateKey", json!({}))["KeyMetadata"]["KeyId"].clone();
    let kept = Secret::new(9);
    let here = kept.text();
    assert!(kept.copies() > 0, "the search finds nothing");
    drop(here);
    leaves_nothing(&kms, "Encrypt", &json!({ "KeyId": key, "Plaintext": "$" }));
    leaves_nothing(&kms, "EncryptBatch", &json!({ "KeyId": key, "Records": [{ "Plaintext": "$" }] }));
    leaves_nothing(&kms, "ChangeRoot", &json!({ "RootKey": "$" }));
    leaves_nothing(&kms, "ChangeRoot", &json!({ "RootPassphrase": "$" }));
}
