//! Keys rotate while programs encrypt; everything opens, and nothing is restarted.

use std::time::{Duration, Instant};

use kms::{CreateKey, Interval};

use crate::harness::*;

module_test! {
    fn everything_opens_while_the_key_rotates_every_second(folder) {
        let keystore = keystore(folder);
        let every = Some(Interval::parse("1s").unwrap());
        let key = keystore.create_key(&CreateKey { rotate_every: every, ..CreateKey::default() }).unwrap();
        drop(keystore);
        // The module's own thread rotates.
        let module = Module::initialized();
        let seconds = if std::env::var_os("KMS_LONG").is_some() { 60 } else { 8 };
        let until = Instant::now() + Duration::from_secs(seconds);
        std::thread::scope(|scope| {
            for thread in 0..3u8 {
                scope.spawn(move || {
                    let session = module.session();
                    let handle = session.key(key);
                    let mut kept = Vec::new();
                    let mut round = 0u64;
                    while Instant::now() < until {
                        round += 1;
                        let text = [&[thread][..], &round.to_be_bytes()].concat();
                        let mut iv = [0; 12];
                        let mut parameters = gcm(&mut iv, &mut [], 128);
                        let mut how = mechanism_with(CKM_AES_GCM, &mut parameters);
                        let sealed = session.encrypt(&mut how, handle, &text).unwrap();
                        let blob = session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, &text).unwrap();
                        let wrapped = session.encrypt(&mut mechanism(CKM_AES_KEY_WRAP_PAD), handle, &text).unwrap();
                        kept.push((iv, sealed, blob, wrapped));
                        let (iv, sealed, blob, wrapped) = &kept[round as usize * 7919 % kept.len()];
                        let mut iv: [u8; 12] = *iv;
                        let mut parameters = gcm(&mut iv, &mut [], 128);
                        let opened = session.decrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), handle, sealed);
                        let opened = opened.expect("a message of an old version");
                        let others = [(CKM_KMS_BLOB, blob), (CKM_AES_KEY_WRAP_PAD, wrapped)];
                        for (kind, sealed) in others {
                            assert_eq!(session.decrypt(&mut mechanism(kind), handle, sealed), Ok(opened.clone()));
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    for (iv, sealed, ..) in &mut kept {
                        let mut parameters = gcm(iv, &mut [], 128);
                        session.decrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), handle, sealed).unwrap();
                    }
                });
            }
        });
        ok(call!(module, C_Finalize, NO_ARGUMENT));
        let keystore = crate::harness::keystore(folder);
        let versions = keystore.describe_key(key).unwrap().version_count();
        assert!(versions >= seconds - 2, "{versions} versions in {seconds} s");
    }
}
