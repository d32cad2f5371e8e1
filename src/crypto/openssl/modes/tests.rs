//! The figures are those of pyca/cryptography.
#![cfg(not(miri))]

use super::*;

const KEY: [u8; 32] = {
    let mut key = [0; 32];
    let mut i = 0;
    while i < 32 {
        key[i] = i as u8;
        i += 1;
    }
    key
};
const TEXT: &[u8] = b"4111 1111 2222 3333";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The stream's output for pieces of `size` bytes.
fn pass(mode: AesMode, encrypts: bool, input: &[u8], size: usize) -> Result<Vec<u8>> {
    let iv = if mode == AesMode::Ecb { &[][..] } else { &KEY[..16] };
    let mut stream = AesStream::new(mode, &KEY[..24], iv, encrypts)?;
    let mut all = Vec::new();
    for piece in input.chunks(size) {
        let mut out = vec![0; piece.len() + AES_BLOCK];
        let written = stream.update(piece, &mut out)?;
        all.extend_from_slice(&out[..written]);
    }
    let mut last = [0; AES_BLOCK];
    let written = stream.finish(&mut last)?;
    all.extend_from_slice(&last[..written]);
    Ok(all)
}

#[test]
fn every_mode_agrees_with_an_independent_implementation_in_pieces_of_any_size() {
    let known = [
        (AesMode::Ecb, &KEY[..], "0060bffe46834bb8da5cf9a61ff220ae93ae3b7f9fc2e8159d05a6a9f5e24f2d"),
        (AesMode::Cbc, &KEY[..], "916251821c73a522c396d627380196071817db150e771c589ed080493de7338b"),
        (AesMode::CbcPadded, TEXT, "19a3d772d6ed4f443972f8fb0eee08da532d0c1948cbde15bd65b08566d24438"),
        (AesMode::Ctr, TEXT, "34518ecf66b27a89eb7ccb942dc0009d1ac450"),
    ];
    for (mode, input, expected) in known {
        for size in [1, 5, 16, 17, 64] {
            let sealed = pass(mode, true, input, size).unwrap();
            assert_eq!(hex(&sealed), expected, "{mode:?} in pieces of {size}");
            assert_eq!(pass(mode, false, &sealed, size).unwrap(), input, "{mode:?} back in pieces of {size}");
        }
    }
}

#[test]
fn wrong_padding_and_incomplete_blocks_are_refused() {
    for (mode, input) in [(AesMode::CbcPadded, &[7; 32][..]), (AesMode::Cbc, TEXT), (AesMode::Ecb, TEXT)] {
        let error = pass(mode, false, input, 64).unwrap_err();
        assert_eq!(error.status(), Status::AuthenticationFailed, "{mode:?}");
    }
    assert!(AesStream::new(AesMode::Cbc, &KEY, &[0; 15], true).is_err(), "an IV that is too short");
    assert!(AesStream::new(AesMode::Cbc, &KEY[..17], &[0; 16], true).is_err(), "a key of no AES");
}

#[test]
fn gcm_takes_ivs_and_tags_of_other_lengths_in_one_context() {
    let mut gcm = AnyGcm::new(&KEY).unwrap();
    for (iv_len, tag_len) in [(12, 16), (16, 16), (12, 12), (1, 4), (128, 16), (16, 13)] {
        let iv: Vec<u8> = (0..iv_len).map(|i| i as u8).collect();
        let parts = GcmParts { iv: &iv, aad: b"aad", tag_len };
        let mut sealed = vec![0; 9 + tag_len];
        gcm.seal(&parts, b"4111 1111", &mut sealed).unwrap();
        if (iv_len, tag_len) == (16, 16) {
            assert_eq!(hex(&sealed), "535d914719d57b19ac0554bc2d5ab3d83a49c745c8a71af6ef");
        }
        let mut opened = [0; 9];
        gcm.open(&parts, &sealed, &mut opened).unwrap();
        assert_eq!(&opened, b"4111 1111");
        *sealed.last_mut().unwrap() ^= 1;
        let error = gcm.open(&parts, &sealed, &mut opened).unwrap_err();
        assert_eq!((error.status(), opened), (Status::AuthenticationFailed, [0; 9]));
    }
    let mut small = AnyGcm::new(&KEY[..16]).unwrap();
    let mut sealed = [0; 25];
    small.seal(&GcmParts { iv: &KEY[..12], aad: b"", tag_len: 16 }, b"4111 1111", &mut sealed).unwrap();
    assert_eq!(hex(&sealed), "a75d96ff462ac6657a5db76d9d16e59f578623ce167eb01f16");
    for bad in [GcmParts { iv: &[], aad: b"", tag_len: 16 }, GcmParts { iv: &KEY, aad: b"", tag_len: 3 }] {
        assert!(small.seal(&bad, b"", &mut vec![0; bad.tag_len]).is_err(), "{bad:?}");
    }
}

/// The second is an example of RFC 5649.
#[test]
fn wrapped_keys_agree_with_an_independent_implementation() {
    let key = unhex("00112233445566778899aabbccddeeff");
    let wrapped = wrap_key(&KEY, false, &key).unwrap();
    assert_eq!(hex(&wrapped), "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7");
    assert_eq!(unwrap_key(&KEY, false, &wrapped).unwrap(), key);

    let wrapping = unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    let key = unhex("c37b7e6492584340bed12207808941155068f738");
    let wrapped = wrap_key(&wrapping, true, &key).unwrap();
    assert_eq!(hex(&wrapped), "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a");
    assert_eq!(unwrap_key(&wrapping, true, &wrapped).unwrap(), key);
}

#[test]
fn keys_that_do_not_fit_are_not_wrapped_and_altered_ones_not_unwrapped() {
    for (padded, len) in [(false, 8), (false, 17), (false, 0), (true, 0), (true, MOST_WRAPPED + 1)] {
        assert!(wrap_key(&KEY, padded, &vec![1; len]).is_err(), "{padded} {len}");
    }
    for padded in [false, true] {
        for len in [16, 24, 32, 64] {
            let mut wrapped = wrap_key(&KEY, padded, &vec![5; len]).unwrap();
            wrapped[3] ^= 1;
            let error = unwrap_key(&KEY, padded, &wrapped).unwrap_err();
            assert_eq!(error.status(), Status::AuthenticationFailed, "{padded} {len}");
            assert!(unwrap_key(&KEY, padded, &wrapped[1..]).is_err());
        }
    }
    // The shortest key with padding takes one block.
    let wrapped = wrap_key(&KEY, true, &[9]).unwrap();
    assert_eq!((wrapped.len(), unwrap_key(&KEY, true, &wrapped).unwrap()), (16, vec![9]));
}
