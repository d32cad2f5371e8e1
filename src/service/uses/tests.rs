use super::*;
use crate::domain::rotation::Interval;
use crate::service::{CreateKey, Keystore, Options};
use crate::sys::sync::Wake;

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

#[test]
fn a_pass_that_stores_dates_causes_no_other_pass() {
    let kms = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).rotation_thread(false)).unwrap();
    let rotating = CreateKey { rotate_every: Some(Interval::parse("90d").unwrap()), ..CreateKey::default() };
    let key = kms.create_key(&rotating).unwrap();
    kms.encrypt(key, b"x", &[]).unwrap();
    let core = kms.core().unwrap();
    core.alarm.sleep(Duration::ZERO);
    core.pass().unwrap();
    assert_eq!(dated(&kms, &[key]), 1);
    assert_eq!(core.alarm.sleep(Duration::ZERO), Wake::TimedOut);
    // What another thread changes is known at once.
    kms.update_rotation_policy(key, Some(Interval::parse("30d").unwrap())).unwrap();
    assert_eq!(core.alarm.sleep(Duration::ZERO), Wake::Nudged);
}
