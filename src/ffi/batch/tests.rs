use super::super::key::kms_create_key;
use super::super::open::kms_close;
use super::super::status::{KMS_BATCH_PARTIAL, KMS_RANDOM_FAILED};
use super::super::types::KMS_ID_SIZE;
use super::*;
use crate::service::{Keystore, Options};
use crate::sys::denied::deny;

#[test]
fn a_ciphertext_that_could_not_be_moved_in_its_own_place_is_still_there() {
    let kms = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).rotation_thread(false)).unwrap();
    let handle = kms_t::into_raw(kms);
    let mut key = [0; KMS_ID_SIZE];
    unsafe { assert_eq!(kms_create_key(handle, std::ptr::null(), key.as_mut_ptr()), KMS_OK) };
    let id = key.map(|c| c as u8);
    let id = std::str::from_utf8(&id[..KMS_ID_SIZE - 1]).unwrap();
    let blob = unsafe { super::super::open::handle(handle) }.unwrap().encrypt(id, b"the only copy", &[]).unwrap();
    let address = handle as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            deny(libc::SYS_getrandom);
            assert!(crate::sys::random::array::<1>().is_err(), "the kernel still returns randomness");
            let mut place = blob.clone();
            let mut record = kms_batch_record {
                input: place.as_ptr(),
                input_len: place.len(),
                context: std::ptr::null(),
                context_count: 0,
                destination_context: std::ptr::null(),
                destination_context_count: 0,
                out: place.as_mut_ptr(),
                out_cap: place.len(),
                out_len: 0,
                status: KMS_OK,
                reserved: 0,
            };
            let handle = address as *const kms_t;
            let done = unsafe { kms_reencrypt_batch(handle, key.as_ptr(), &mut record, FIRST_SIZE, 1) };
            assert_eq!((done, record.status), (KMS_BATCH_PARTIAL, KMS_RANDOM_FAILED));
            assert_eq!(record.out_len, 0);
            assert_eq!(place, blob, "a failure has cost the caller his ciphertext");
        });
    });
    unsafe { kms_close(handle) };
}
