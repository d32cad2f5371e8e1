use super::*;
use crate::service::{CreateKey, Keystore, Options};

/// The keys with a date of encryption.
fn dated(kms: &Keystore, keys: &[KeyId]) -> usize {
    let has_date = |key: &&KeyId| kms.key_versions(**key).any(|version| version.unwrap().last_encrypt_date.is_some());
    keys.iter().filter(has_date).count()
}

#[test]
fn a_pass_that_is_interrupted_loses_no_date_however_many_wait() {
    let options = Options::new().root_key(&[7; 32]).rotation_thread(false);
    let kms = Keystore::open("memory:", &options).unwrap();
    let keys = kms.create_keys(&CreateKey::default(), MOST_PENDING + 1).unwrap();
    let (last, most) = keys.split_last().unwrap();
    for key in most {
        kms.encrypt(*key, b"x", &[]).unwrap();
    }
    let interrupted = || {
        kms.encrypt(*last, b"x", &[]).unwrap();
        true
    };
    kms.core().unwrap().record_uses(&interrupted).unwrap();
    kms.tick().unwrap();
    assert_eq!(dated(&kms, most), most.len(), "dates of an interrupted pass are lost");
    // One above the bound is noted when its version is prepared again.
    kms.core().unwrap().cache.touch();
    kms.encrypt(*last, b"x", &[]).unwrap();
    kms.tick().unwrap();
    assert_eq!(dated(&kms, &keys), keys.len());
}
