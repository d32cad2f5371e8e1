//! The ciphertext blob: its bytes, which version opens it, and the detection of any damage.

use kms::{Result, Status};

use super::support::*;

const PLAINTEXT: &[u8] = b"4111 1111 1111 1111";
const CONTEXTS: [&[(&str, &str)]; 2] = [&[], &[("tenant", "42")]];

#[test]
fn a_blob_is_80_bytes_longer_than_its_plaintext() {
    let kms = memory();
    let id = kms.plain_key();
    for len in [0, 1, 15, 16, 17, 31, 32, 255, 4095, 4096, 4097, 65_536, 1 << 20] {
        let plaintext: Vec<u8> = (0..len).map(|i| i as u8).collect();
        for context in CONTEXTS {
            let blob = kms.encrypt(&id, &plaintext, context).unwrap();
            assert_eq!(blob.len(), len + 80, "{len} bytes");
            assert_eq!(kms.decrypt(&blob, context).unwrap().as_slice(), plaintext, "{len} bytes");
        }
    }
}

#[test]
fn the_fixed_bytes_are_the_documented_ones() {
    let kms = memory();
    let id = kms.plain_key();
    for (context, kind) in CONTEXTS.into_iter().zip([0, 2]) {
        let blob = kms.encrypt(&id, PLAINTEXT, context).unwrap();
        assert_eq!(blob[..8], [0x8B, 0x4B, 0x4D, 0x53, 1, 1, kind, 0]);
        assert_eq!(blob[8..24], *kms.key(&id).id.as_bytes());
        assert_eq!(blob[24..40], *kms.primary(&id).as_bytes());
        assert!(!blob.windows(4).any(|w| w == &PLAINTEXT[..4]), "the plaintext shows through");
        let info = kms.inspect(&blob).unwrap();
        assert_eq!((info.algorithm, info.context_type, info.is_primary), (1, i32::from(kind), true));
        assert_eq!((info.key.to_string(), info.version), (id.clone(), kms.primary(&id)));
    }
}

#[test]
fn no_two_messages_share_a_nonce() {
    let kms = memory();
    let id = kms.plain_key();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20_000 {
        let blob = kms.encrypt(&id, b"same", &[]).unwrap();
        assert!(seen.insert(blob[40..64].to_vec()), "a nonce was repeated");
    }
}

#[test]
fn no_two_threads_share_a_nonce() {
    let kms = memory();
    let id = kms.plain_key();
    let nonces = std::thread::scope(|scope| {
        let encrypt =
            || (0..3000).map(|_| kms.encrypt(&id, b"same", &[]).unwrap()[40..64].to_vec()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(encrypt)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(nonces.iter().collect::<std::collections::HashSet<_>>().len(), nonces.len());
}

#[test]
fn decrypt_uses_the_version_in_the_blob_never_another() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blobs = Vec::new();
    for number in 0..5u8 {
        blobs.push((kms.primary(&id), kms.encrypt(&id, &[number], &[]).unwrap()));
        kms.rotate(&id).unwrap();
    }
    for (version, blob) in &blobs {
        let info = kms.inspect(blob).unwrap();
        assert_eq!((info.version, info.is_primary), (*version, false));
    }
    for (number, (_, blob)) in blobs.iter().enumerate() {
        assert_eq!(kms.decrypt(blob, &[]).unwrap().as_slice(), [number as u8]);
        for (other, _) in &blobs {
            let mut moved = blob.clone();
            moved[24..40].copy_from_slice(other.as_bytes());
            if moved != *blob {
                assert_eq!(refused(kms.decrypt(&moved, &[])), Status::AuthenticationFailed);
            }
        }
    }
}

#[test]
fn an_unknown_version_is_an_error_never_a_trial_of_others() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, PLAINTEXT, &[]).unwrap();
    blob[24..40].copy_from_slice(kms::VersionId::from_random([9; 16]).as_bytes());
    assert_eq!(all_readers(&kms, &id, &blob, &[]), [Status::KeyVersionNotFound; 3]);
}

#[test]
fn a_version_of_another_key_is_an_error() {
    let kms = memory();
    let (mine, other) = (kms.plain_key(), kms.plain_key());
    let blob = kms.encrypt(&mine, PLAINTEXT, &[]).unwrap();
    let other_blob = kms.encrypt(&other, PLAINTEXT, &[]).unwrap();
    kms.decrypt(&other_blob, &[]).unwrap();
    let mut version_swapped = blob.clone();
    version_swapped[24..40].copy_from_slice(&other_blob[24..40]);
    let mut key_swapped = blob.clone();
    key_swapped[8..24].copy_from_slice(&other_blob[8..24]);
    for forged in [&version_swapped, &key_swapped] {
        assert_eq!(all_readers(&kms, &mine, forged, &[]), [Status::KeyVersionNotFound; 3]);
    }
    let mut both_swapped = blob.clone();
    both_swapped[8..40].copy_from_slice(&other_blob[8..40]);
    assert_eq!(refused(kms.decrypt(&both_swapped, &[])), Status::AuthenticationFailed);
}

/// The answers of decrypt, re-encrypt and inspect to a blob that none of them may accept.
fn all_readers(kms: &TestKeystore, destination: &str, blob: &[u8], context: &[(&str, &str)]) -> [Status; 3] {
    let moved = kms.reencrypt(blob, context, Some(destination.into()), &[]);
    [refused(kms.decrypt(blob, context)), refused(moved), refused(kms.inspect(blob))]
}

#[test]
fn every_truncation_is_refused() {
    let kms = memory();
    let id = kms.plain_key();
    for context in CONTEXTS {
        let blob = kms.encrypt(&id, PLAINTEXT, context).unwrap();
        for len in 0..blob.len() {
            let cut = &blob[..len];
            if len < 80 {
                assert_eq!(all_readers(&kms, &id, cut, context), [Status::MalformedCiphertext; 3], "{len} bytes");
            } else {
                assert_eq!(refused(kms.decrypt(cut, context)), Status::AuthenticationFailed, "{len} bytes");
                assert_eq!(refused(kms.reencrypt(cut, context, Some((&id).into()), &[])), Status::AuthenticationFailed);
            }
        }
    }
}

#[test]
fn anything_appended_is_refused() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, PLAINTEXT, &[]).unwrap();
    for _ in 0..40 {
        blob.push(0);
        assert_eq!(refused(kms.decrypt(&blob, &[])), Status::AuthenticationFailed);
    }
}

#[test]
fn every_flipped_bit_is_refused_with_the_status_of_its_field() {
    let kms = memory();
    let id = kms.plain_key();
    for context in CONTEXTS {
        let blob = kms.encrypt(&id, PLAINTEXT, context).unwrap();
        for bit in 0..blob.len() * 8 {
            let mut bad = blob.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                6 if matches!(bad[6], 0 | 2) => Status::AuthenticationFailed,
                0..8 => Status::MalformedCiphertext,
                8..24 => Status::KeyNotFound,
                24..40 => Status::KeyVersionNotFound,
                _ => Status::AuthenticationFailed,
            };
            assert_eq!(refused(kms.decrypt(&bad, context)), expected, "byte {} bit {}", bit / 8, bit % 8);
            assert_eq!(
                refused(kms.reencrypt(&bad, context, Some((&id).into()), &[])),
                expected,
                "byte {} bit {}",
                bit / 8,
                bit % 8
            );
            let inspected: Result<_> = kms.inspect(&bad);
            if expected != Status::AuthenticationFailed {
                assert_eq!(refused(inspected), expected, "inspect, byte {} bit {}", bit / 8, bit % 8);
            } else {
                inspected.expect("inspect authenticates nothing");
            }
        }
    }
}

#[test]
fn what_is_not_a_blob_is_malformed() {
    let kms = memory();
    let id = kms.plain_key();
    let text = "this is a line of text, and long enough to be a blob: ".repeat(3);
    for garbage in [text.as_bytes(), &[0; 200], &[0xFF; 200], b"", b"\x8BKMS"] {
        assert_eq!(all_readers(&kms, &id, garbage, &[]), [Status::MalformedCiphertext; 3]);
    }
}

#[test]
fn the_reserved_algorithm_is_refused() {
    let kms = memory();
    let id = kms.plain_key();
    let mut blob = kms.encrypt(&id, PLAINTEXT, &[]).unwrap();
    blob[5] = 2;
    assert_eq!(all_readers(&kms, &id, &blob, &[]), [Status::MalformedCiphertext; 3]);
}

#[test]
fn a_blob_of_another_keystore_is_a_key_not_found() {
    let (here, there) = (memory(), memory());
    let blob = there.encrypt(&there.plain_key(), PLAINTEXT, &[]).unwrap();
    assert_eq!(all_readers(&here, &here.plain_key(), &blob, &[]), [Status::KeyNotFound; 3]);
}
