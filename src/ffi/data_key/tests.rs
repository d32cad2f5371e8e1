use super::super::open::kms_close;
use super::super::status::{KMS_INVALID_ARGUMENT, KMS_OK};
use super::*;
use crate::domain::key::Origin;
use crate::service::{CreateKey, Keystore, Options, Wrapping};

#[test]
fn two_outputs_of_a_data_key_never_destroy_each_other() {
    let kms = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).rotation_thread(false)).unwrap();
    let id = std::ffi::CString::new(kms.create_key(&CreateKey::default()).unwrap().to_string()).unwrap();
    let external = kms.create_key(&CreateKey { origin: Some(Origin::External), ..CreateKey::default() }).unwrap();
    let public = kms.get_parameters_for_import(&external.to_string(), Wrapping::OaepSha256).unwrap().public_key;
    let handle = kms_t::into_raw(kms);
    let mut memory = [0u8; 1000];
    // The sealed key has 112 bytes, the wrapped one 256.
    for (blob_at, exported_at, expected) in
        [(0, 111, KMS_INVALID_ARGUMENT), (255, 0, KMS_INVALID_ARGUMENT), (0, 112, KMS_OK), (256, 0, KMS_OK)]
    {
        let (mut blob_len, mut exported_len) = (9, 9);
        let start = memory.as_mut_ptr();
        let done = unsafe {
            kms_generate_and_export_data_key(
                handle,
                id.as_ptr(),
                32,
                std::ptr::null(),
                0,
                public.as_ptr(),
                public.len(),
                3,
                start.add(blob_at),
                500,
                &mut blob_len,
                start.add(exported_at),
                500,
                &mut exported_len,
            )
        };
        assert_eq!(done, expected, "blob at {blob_at}, exported at {exported_at}");
        assert_eq!((blob_len, exported_len), if done == KMS_OK { (112, 256) } else { (0, 0) });
    }
    unsafe { kms_close(handle) };
}
