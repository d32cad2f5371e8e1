use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The figures are those of pyca/cryptography: KBKDFCMAC(AES, CounterMode, 32, 4, 4, BeforeFixed, label, version id, None).
#[test]
fn subkeys_of_a_version_agree_with_an_independent_implementation() {
    let key = std::array::from_fn(|i| i as u8);
    let version = VersionId::from_bytes(std::array::from_fn(|i| i as u8));
    let gcm = derive(&key, Family::Gcm, &version).unwrap();
    assert_eq!(hex(&*gcm), "a86319df50ba2efbac3609dac49596e708d7b825cf47980645c88a127433824e");
    let wrap = derive(&key, Family::KeyWrap, &version).unwrap();
    assert_eq!(hex(&*wrap), "d39a8a4a490d468795109904d05c8f269d7deb95189d74dd2f426ff49edb226c");
    assert_ne!(*gcm, key, "a subkey is never the version's key");
}
