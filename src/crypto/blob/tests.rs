use super::*;
use crate::crypto::context::{Aad, Context, ContextSource, bare_aad};
use crate::crypto::xaes::alone::{Opener, Sealer};
use crate::crypto::xaes::{Input, Shared};

fn header() -> Header {
    Header {
        algorithm: Algorithm::Xaes256Gcm,
        context_type: ContextType::None,
        key: KeyId::from_bytes([0x11; 16]),
        version: VersionId::from_bytes([0x22; 16]),
    }
}

/// A well-formed blob whose tag means nothing.
fn blob(header: Header) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&[0x33; NONCE]);
    bytes.extend_from_slice(&[0x44; 5 + TAG]);
    bytes
}

#[test]
fn the_header_has_its_golden_bytes() {
    let mut expected = vec![0x8B, 0x4B, 0x4D, 0x53, 1, 1, 0, 0];
    expected.extend_from_slice(&[0x11; 16]);
    expected.extend_from_slice(&[0x22; 16]);
    assert_eq!(header().encode().to_vec(), expected);
    assert!(String::from_utf8(MAGIC.to_vec()).is_err());
    assert_eq!(OVERHEAD, 80);
}

#[test]
fn what_is_encoded_parses_back() {
    for context_type in [ContextType::None, ContextType::Map] {
        let header = Header { context_type, ..header() };
        let bytes = blob(header);
        let parsed = Blob::parse(&bytes).unwrap();
        assert_eq!(parsed.header, header);
        assert_eq!(parsed.nonce, &[0x33; NONCE]);
        assert_eq!(parsed.sealed, [0x44; 5 + TAG]);
        assert_eq!(parsed.plaintext_len(), 5);
    }
}

#[test]
fn each_way_of_being_malformed_has_its_own_text() {
    let changed = |at: usize, value: u8| {
        let mut bytes = blob(header());
        bytes[at] = value;
        bytes
    };
    let cases = [
        blob(header())[..OVERHEAD - 1].to_vec(),
        changed(0, 0x8A),
        changed(4, 2),
        changed(5, 2),
        changed(5, 3),
        changed(6, 1),
        changed(6, 3),
        changed(7, 1),
    ];
    let texts: std::collections::HashSet<String> = cases
        .iter()
        .map(|bytes| {
            let error = Blob::parse(bytes).unwrap_err();
            assert_eq!(error.status(), Status::MalformedCiphertext);
            error.to_string()
        })
        .collect();
    assert_eq!(texts.len(), cases.len());
    assert!(Blob::parse(&cases[3]).unwrap_err().to_string().contains("newer library"), "02 is reserved");
}

#[test]
fn every_value_of_the_fixed_bytes_but_the_right_ones_is_refused() {
    let right: [&[u8]; 8] = [&[0x8B], &[0x4B], &[0x4D], &[0x53], &[1], &[1], &[0, 2], &[0]];
    for (at, allowed) in right.iter().enumerate() {
        for value in 0..=255 {
            let mut bytes = blob(header());
            bytes[at] = value;
            assert_eq!(Blob::parse(&bytes).is_ok(), allowed.contains(&value), "byte {at} = {value}");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let key = [7; 32];
    let mut shared = Shared::new().unwrap();
    let context = Context::new([("tenant", "42")].into_iter()).unwrap();
    let header = Header { context_type: ContextType::Map, ..header() };
    let mut sealed = vec![0; 20 + OVERHEAD];
    let (head, rest) = sealed.split_at_mut(HEADER);
    head.copy_from_slice(&header.encode());
    let mut aad = Aad::new();
    context.put(&mut aad).unwrap();
    let bare = bare_aad(&header.encode());
    let bound = aad.bind(&bare, ContextType::Map);
    Sealer::new().unwrap().seal(&mut shared, &key, bound, Input::Apart(&[5; 20]), rest).unwrap();

    let mut opener = Opener::new().unwrap();
    let mut open = |bytes: &[u8]| {
        let blob = Blob::parse(bytes)?;
        let mut out = vec![0xAA; blob.plaintext_len()];
        // The caller's context decides: a blob that says it has none is refused by the type or by the tag.
        let bare = bare_aad(&blob.header.encode());
        let bound = aad.bind(&bare, blob.header.context_type);
        let opened = opener.open(&mut shared, &key, blob.nonce, bound, blob.sealed, &mut out);
        assert_eq!(opened.is_err(), out.iter().all(|&byte| byte == 0) && !out.is_empty() || out.is_empty());
        opened.map(|()| out)
    };
    assert_eq!(open(&sealed).unwrap(), [5; 20]);
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let status = open(&changed).unwrap_err().status();
        let expected =
            if bit < 64 && bit != 6 * 8 + 1 { Status::MalformedCiphertext } else { Status::AuthenticationFailed };
        assert_eq!(status, expected, "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(open(&sealed[..len]).is_err(), "{len} bytes are accepted");
    }
    sealed.push(0);
    assert!(open(&sealed).is_err(), "a longer blob is accepted");
}
