use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The figures are those of pyca/cryptography: KBKDFCMAC(AES, CounterMode, 32, 4, 4, BeforeFixed, label, context, None).
#[test]
fn subkeys_agree_with_an_independent_implementation() {
    let root = std::array::from_fn(|i| i as u8);
    let rows = derive(&root, "rows", b"").unwrap();
    assert_eq!(hex(&*rows), "a8d309b5e67a0c4bd393e30d62af0a5d8a542c94372591c02acf90cbc748dadc");
    let mac = derive(&root, "row mac", b"0123456789abcdef").unwrap();
    assert_eq!(hex(&*mac), "7c4ef8661625db16e5d22154055b8babda82651711ddf9e34187864903c12b99");
}

#[test]
fn root_label_and_context_each_change_the_subkey() {
    let base = derive(&[1; 32], "label", b"context").unwrap();
    assert_ne!(base, derive(&[2; 32], "label", b"context").unwrap());
    assert_ne!(base, derive(&[1; 32], "labe", b"lcontext").unwrap());
    assert_ne!(base, derive(&[1; 32], "label", b"").unwrap());
    assert_eq!(base, derive(&[1; 32], "label", b"context").unwrap());
}

#[test]
fn a_label_that_could_be_taken_for_a_context_is_refused() {
    assert_eq!(derive(&[1; 32], "a\0b", b"").unwrap_err().status(), Status::Internal);
}
