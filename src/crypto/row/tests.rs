use super::*;

const KEY: [u8; 32] = [5; 32];

#[test]
fn a_row_is_xaes_and_opens_with_its_key_and_aad_only() {
    let mut rows = RowCipher::new(&KEY).unwrap();
    for len in [0, 1, 32, 1000] {
        let plaintext = vec![3; len];
        let sealed = rows.seal(b"row 7", &plaintext, [len as u8; NONCE]).unwrap();
        let mut expected = vec![0; len + TAG];
        xaes::seal_with_nonce(&KEY, &[len as u8; NONCE], b"row 7", &plaintext, &mut expected).unwrap();
        assert_eq!(sealed[..NONCE], [len as u8; NONCE]);
        assert_eq!(sealed[NONCE..], expected);
        assert_eq!(*rows.open(b"row 7", &sealed).unwrap(), plaintext);
        assert_eq!(*open_once(&KEY, b"row 7", &sealed).unwrap(), plaintext);
        for refused in [rows.open(b"row 8", &sealed), open_once(&[6; 32], b"row 7", &sealed)] {
            assert_eq!(refused.unwrap_err().status(), Status::AuthenticationFailed);
        }
    }
}

#[test]
fn a_truncated_row_is_not_authentic() {
    let sealed = seal_once(&KEY, b"", b"secret").unwrap();
    assert_eq!(*open_once(&KEY, b"", &sealed).unwrap(), b"secret");
    for len in 0..sealed.len() {
        assert_eq!(open_once(&KEY, b"", &sealed[..len]).unwrap_err().status(), Status::AuthenticationFailed);
    }
}

#[test]
fn two_seals_of_one_text_differ() {
    assert_ne!(seal_once(&KEY, b"", b"secret").unwrap(), seal_once(&KEY, b"", b"secret").unwrap());
}
