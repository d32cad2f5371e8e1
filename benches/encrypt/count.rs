//! One loop without anything around it, whose instructions callgrind counts.

use super::abi::{Blob, Kms};

/// `encrypt-64`, `decrypt-4096` and the like, `times` times after a warm-up.
pub fn run(name: &str, times: usize) {
    let (what, size) = name.split_once('-').expect("encrypt-SIZE or decrypt-SIZE");
    let plaintext = vec![3u8; size.parse().expect("a size")];
    let kms = Kms::open(0);
    let key = kms.create_key();
    let (mut out, sealed) = (Blob::new(plaintext.len()), kms.sealed(&key, &plaintext));
    let mut call = || match what {
        "encrypt" => kms.encrypt(&key, &plaintext, &mut out),
        _ => kms.decrypt(&sealed, &mut out),
    };
    for _ in 0..times {
        call();
    }
}
