//! A cache far smaller than the keystore changes nothing but speed.

use crate::folder::{Folder, new_key, quiet};

#[test]
fn more_keys_than_the_cache_holds_all_work() {
    let folder = Folder::without_a_disk();
    drop(folder.create());
    let kms = kms::Keystore::open(&folder.store(), &quiet().cache_keys(10)).unwrap();
    let keys: Vec<String> = (0..1000).map(|_| new_key(&kms, None)).collect();
    let blobs: Vec<Vec<u8>> = keys.iter().map(|key| kms.encrypt(key, key.as_bytes(), &[]).unwrap()).collect();
    for key in keys.iter().step_by(3) {
        kms.rotate(key).unwrap();
    }
    for (key, blob) in keys.iter().zip(&blobs).rev() {
        assert_eq!(*kms.decrypt(blob, &[]).unwrap(), *key.as_bytes());
        let again = kms.reencrypt(blob, &[], Some(key.into()), &[]).unwrap();
        assert!(kms.inspect(&again).unwrap().is_primary);
    }
    assert!(kms.health().unwrap().keys_cached <= 10);
}
