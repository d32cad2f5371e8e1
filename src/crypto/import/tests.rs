use super::*;
use crate::crypto::openssl::rsa::PublicKey;

fn id(byte: u8) -> KeyId {
    KeyId::from_random([byte; 16])
}

fn cipher(byte: u8) -> RowCipher {
    RowCipher::new(&[byte; 32]).unwrap()
}

fn token(padding: Padding) -> Token {
    Token::issue(id(1), padding, Time::from_millis(1_000_000)).unwrap()
}

#[test]
fn a_sealed_token_opens_as_often_as_one_likes_and_unwraps() {
    for padding in [Padding::Pkcs1V15, Padding::OaepSha1, Padding::OaepSha256] {
        let token = token(padding);
        let sealed = token.seal(&mut cipher(9)).unwrap();
        assert_eq!(sealed.len(), TOKEN);
        let public = PublicKey::from_der(&token.private_key.public_der().unwrap()).unwrap();
        for material in [[3; 32], [4; 32]] {
            let opened = Token::open(&mut cipher(9), &sealed).unwrap();
            assert_eq!((opened.key, opened.id, opened.expires), (token.key, token.id, token.expires));
            assert_eq!(opened.padding, padding);
            let unwrapped = opened.unwrap(&public.wrap(padding, &material).unwrap()).unwrap();
            assert!(unwrapped.is_right() && unwrapped.message[..] == material);
        }
        for len in [0, 16, 31, 33, 64] {
            match token.unwrap(&public.wrap(padding, &vec![3; len]).unwrap()) {
                // Said last, by the caller.
                Ok(found) => assert!(padding == Padding::Pkcs1V15 && !found.is_right(), "{len} bytes"),
                Err(error) => assert_eq!(error.status(), Status::InvalidKeyMaterial, "{len} bytes"),
            }
        }
    }
}

#[test]
fn each_token_is_another() {
    let (one, two) = (token(Padding::OaepSha256), token(Padding::OaepSha256));
    assert_ne!(one.id, two.id);
    assert_ne!(one.private_key.public_der().unwrap(), two.private_key.public_der().unwrap());
    let mut cipher = cipher(9);
    assert_ne!(one.seal(&mut cipher).unwrap(), one.seal(&mut cipher).unwrap(), "a nonce repeats");
    let public = PublicKey::from_der(&one.private_key.public_der().unwrap()).unwrap();
    let wrapped = public.wrap(Padding::OaepSha256, &[3; 32]).unwrap();
    assert_eq!(two.unwrap(&wrapped).err().unwrap().status(), Status::InvalidKeyMaterial);
}

#[test]
fn a_changed_token_is_refused_with_one_text() {
    let mut cipher = cipher(9);
    let sealed = token(Padding::OaepSha1).seal(&mut cipher).unwrap();
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert_eq!(Token::open(&mut cipher, &changed).err().unwrap(), invalid(), "byte {place}");
    }
    for wrong in [&[][..], &sealed[..sealed.len() - 1], &[&sealed[..], &[0]].concat()] {
        assert_eq!(Token::open(&mut cipher, wrong).err().unwrap(), invalid());
    }
    assert_eq!(Token::open(&mut super::tests::cipher(8), &sealed).err().unwrap(), invalid(), "another keystore");
    Token::open(&mut cipher, &sealed).unwrap();
}

#[test]
fn authentic_contents_that_make_no_sense_are_refused() {
    let mut cipher = cipher(9);
    let sealed = token(Padding::OaepSha1).seal(&mut cipher).unwrap();
    let contents = cipher.open(AAD, &sealed[1..]).unwrap();
    let mut reseal = |aad: &[u8], contents: &[u8]| {
        let token = [vec![FORMAT], cipher.seal(aad, contents, random::array().unwrap()).unwrap()].concat();
        Token::open(&mut cipher, &token).map(|_| ())
    };
    reseal(AAD, &contents).unwrap();
    assert_eq!(reseal(b"libkms material", &contents).unwrap_err(), invalid(), "a row passes for a token");
    for algorithm in [0, 4, 255] {
        let mut changed = contents.clone();
        changed[40] = algorithm;
        assert_eq!(reseal(AAD, &changed).unwrap_err(), invalid());
    }
}

#[test]
fn a_token_serves_its_own_key_until_it_expires() {
    let token = token(Padding::OaepSha256);
    let status = |key, now| token.check(&key, Time::from_millis(now)).map_err(|error| error.status());
    assert_eq!(status(id(1), 999_999), Ok(()));
    assert_eq!(status(id(1), i64::MIN), Ok(()));
    assert_eq!(status(id(1), 1_000_000), Err(Status::ExpiredImportToken));
    assert_eq!(status(id(2), 0), Err(Status::InvalidImportToken));
    assert_eq!(status(id(2), 1_000_000), Err(Status::InvalidImportToken));
}

#[test]
fn the_digest_is_of_store_key_and_material() {
    let base = material_digest(&[1; 32], &id(1), &[2; 32]).unwrap();
    assert_eq!(material_digest(&[1; 32], &id(1), &[2; 32]).unwrap(), base);
    for other in [
        material_digest(&[3; 32], &id(1), &[2; 32]),
        material_digest(&[1; 32], &id(2), &[2; 32]),
        material_digest(&[1; 32], &id(1), &[3; 32]),
    ] {
        assert_ne!(other.unwrap(), base);
    }
    let mut mac = Hmac::new(&[1; 32]).unwrap();
    assert_ne!(mac.mac(&[id(1).as_bytes(), &[2; 32]]).unwrap(), base, "the digest has no label");
}
