//! `Debug` of a public type shows no secret.

use std::fmt::Debug;

use kms::{Keystore, Options, Record, ReencryptItem};

use super::support::*;

const SECRET: &str = "hunter2 hunter2 hunter2 hunter2!";

/// As text, and as the numbers that a byte slice prints.
fn shows_no_secret(what: &str, value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!text.contains("hunter2"), "{what}: {text}");
        let numbers: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(!numbers.contains("104,117,110,116"), "{what}: {text}");
        assert!(!numbers.contains("68,75,6e,74"), "{what}: {text}");
    }
}

#[test]
fn no_debug_output_holds_a_secret() {
    let kms = memory();
    let key = kms.plain_key();
    let context = [("password", SECRET)];
    let blob = kms.encrypt(&key, SECRET.as_bytes(), &context).unwrap();
    shows_no_secret("Plaintext", &kms.decrypt(&blob, &context).unwrap());
    shows_no_secret("Record", &Record { data: SECRET.as_bytes(), context: &context });
    let item = ReencryptItem { blob: &blob, source_context: &context, destination_context: &context };
    shows_no_secret("ReencryptItem", &item);
    shows_no_secret("KeyRef", &kms::KeyRef::from(SECRET));
    shows_no_secret("Options, key", &Options::new().root_key(SECRET.as_bytes()));
    let options = Options::new().root_passphrase(SECRET.as_bytes());
    shows_no_secret("Options, passphrase", &options);
    shows_no_secret("Keystore", &Keystore::open("memory:", &options).unwrap());
    shows_no_secret("Error", &kms.describe_key(SECRET).unwrap_err());
    shows_no_secret("CallFailed", &kms.call("DescribeKey", &format!("{{\"KeyId\": \"{SECRET}\"}}")).unwrap_err());
}
