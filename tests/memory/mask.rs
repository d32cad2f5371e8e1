//! Keys on their way to another process: masked, so that it holds them only once it unmasks them.

use zeroize::Zeroizing;

const MASK: u8 = 0xa5;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

pub fn mask(key: &[u8]) -> String {
    hex(&key.iter().map(|byte| byte ^ MASK).collect::<Vec<_>>())
}

/// A key in the clear; wiped when it has been handed over.
pub fn unmask(masked: &str) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(bytes(masked));
    key.iter_mut().for_each(|byte| *byte ^= MASK);
    key
}
