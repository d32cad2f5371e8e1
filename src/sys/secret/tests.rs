use super::*;

#[test]
fn a_secret_takes_its_key_and_wipes_both_places() {
    let arena = Arena::new();
    let mut key = [7; KEY_LEN];
    let secret = arena.keep(&mut key).unwrap();
    assert_eq!(key, [0; KEY_LEN], "the original is wiped");
    assert_eq!(secret.expose(), &[7; KEY_LEN]);
    let address: *const [u8; KEY_LEN] = secret.expose();
    drop(secret);
    // SAFETY: the arena still maps the chunk.
    assert_eq!(unsafe { address.read() }, [0; KEY_LEN], "the place is wiped");
}

#[test]
fn places_are_reused_and_never_shared() {
    let arena = Arena::new();
    let secrets: Vec<_> = (0..2000u32)
        .map(|n| {
            let mut key = [0; KEY_LEN];
            key[..4].copy_from_slice(&n.to_le_bytes());
            arena.keep(&mut key).unwrap()
        })
        .collect();
    for (n, secret) in secrets.iter().enumerate() {
        assert_eq!(secret.expose()[..4], u32::try_from(n).unwrap().to_le_bytes());
    }
}

#[test]
fn debug_shows_no_bytes() {
    let secret = Arena::new().keep(&mut [0xab; KEY_LEN]).unwrap();
    assert_eq!(format!("{secret:?}"), "Secret");
}
