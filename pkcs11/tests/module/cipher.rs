//! Each mechanism: its output and its refusals, in one part and in several.

use kms::CreateKey;

use crate::harness::*;

const TEXT: &[u8] = b"4111 1111 1111 1111";

module_test! {
    fn a_blob_is_the_librarys_own_and_opens_there(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        let sealed = session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, TEXT).unwrap();
        assert_eq!(&*keystore.decrypt(&sealed, &[]).unwrap(), TEXT);
        let own = keystore.encrypt(key, TEXT, &[]).unwrap();
        assert_eq!(session.decrypt(&mut mechanism(CKM_KMS_BLOB), handle, &own).unwrap(), TEXT);

        let mut aad = *b"\x00tenant\xff";
        let mut parameters = gcm(&mut [], &mut aad, 128);
        let mut how = mechanism_with(CKM_KMS_BLOB, &mut parameters);
        let sealed = session.encrypt(&mut how, handle, TEXT).unwrap();
        assert_eq!(&*keystore.decrypt(&sealed, &[("pkcs11.aad", "0074656e616e74ff")]).unwrap(), TEXT);
        assert_eq!(session.decrypt(&mut how, handle, &sealed).unwrap(), TEXT);
        assert_eq!(session.decrypt(&mut mechanism(CKM_KMS_BLOB), handle, &sealed), Err(CKR_ENCRYPTED_DATA_INVALID));

        let other = session.key(keystore.create_key(&CreateKey::default()).unwrap());
        assert_eq!(session.decrypt(&mut how, other, &sealed), Err(CKR_ENCRYPTED_DATA_INVALID), "a blob of another key");
        let session_key = session.create(&[1; 32]);
        assert_eq!(session.encrypt(&mut how, session_key, TEXT), Err(CKR_KEY_TYPE_INCONSISTENT));
        assert_eq!(session.decrypt(&mut how, handle, &sealed[..70]), Err(CKR_ENCRYPTED_DATA_LEN_RANGE));
    }
}

module_test! {
    fn gcm_opens_under_each_version_and_refuses_what_was_altered(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        let mut kept = Vec::new();
        for (iv_len, tag_bits) in [(12, 128), (16, 128), (12, 96), (13, 104)] {
            let iv = vec![iv_len as u8; iv_len];
            let (mut own, mut aad) = (iv.clone(), *b"aad");
            let mut parameters = gcm(&mut own, &mut aad, tag_bits);
            let sealed = session.encrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), handle, TEXT).unwrap();
            assert_eq!(sealed.len(), TEXT.len() + tag_bits as usize / 8);
            assert_eq!(own, iv, "a caller's IV stays");
            kept.push((iv, tag_bits, sealed));
            keystore.rotate(key).unwrap();
        }
        for (iv, tag_bits, sealed) in &kept {
            let (mut iv, mut aad) = (iv.clone(), *b"aad");
            let mut parameters = gcm(&mut iv, &mut aad, *tag_bits);
            let mut how = mechanism_with(CKM_AES_GCM, &mut parameters);
            assert_eq!(session.decrypt(&mut how, handle, sealed).unwrap(), TEXT);
            let mut altered = sealed.clone();
            altered[3] ^= 1;
            assert_eq!(session.decrypt(&mut how, handle, &altered), Err(CKR_ENCRYPTED_DATA_INVALID));
            assert_eq!(session.decrypt(&mut how, handle, &sealed[..11]), Err(CKR_ENCRYPTED_DATA_LEN_RANGE));
        }
    }
}

module_test! {
    fn an_iv_of_zeros_is_drawn_by_the_module_and_read_back(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut iv = [0; 12];
            let mut parameters = gcm(&mut iv, &mut [], 128);
            let mut how = mechanism_with(CKM_AES_GCM, &mut parameters);
            let sealed = session.encrypt(&mut how, handle, TEXT).unwrap();
            assert_eq!(session.decrypt(&mut how, handle, &sealed).unwrap(), TEXT, "with the IV that was written");
            assert_ne!(iv, [0; 12]);
            seen.push(iv);
        }
        assert_ne!(seen[0], seen[1]);
        // A session key takes what it is given.
        let own = session.create(&[1; 32]);
        let mut iv = [0; 12];
        let mut parameters = gcm(&mut iv, &mut [], 128);
        session.encrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), own, TEXT).unwrap();
        assert_eq!(iv, [0; 12]);
    }
}

module_test! {
    fn parameters_that_weaken_a_master_key_are_refused(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        let own = session.create(&[1; 32]);
        for (iv_len, tag_bits) in [(11, 128), (17, 128), (12, 88), (12, 100), (12, 136), (0, 128), (129, 128)] {
            let mut iv = vec![1; iv_len];
            let mut parameters = gcm(&mut iv, &mut [], tag_bits);
            let mut how = mechanism_with(CKM_AES_GCM, &mut parameters);
            let answer = session.encrypt(&mut how, handle, TEXT);
            assert_eq!(answer, Err(CKR_MECHANISM_PARAM_INVALID), "{iv_len} {tag_bits}");
        }
        let mut iv = [0u8; 16];
        for kind in [CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_ECB] {
            let mut how = if kind == CKM_AES_ECB { mechanism(kind) } else { mechanism_with(kind, &mut iv) };
            assert_eq!(session.encrypt(&mut how, handle, &[0; 16]), Err(CKR_MECHANISM_INVALID), "{kind:#x}");
            assert!(session.encrypt(&mut how, own, &[0; 16]).is_ok());
        }
        assert_eq!(session.encrypt(&mut mechanism(CKM_AES_GCM), handle, TEXT), Err(CKR_MECHANISM_PARAM_INVALID));
        assert_eq!(session.encrypt(&mut mechanism(CKM_AES_CBC), own, TEXT), Err(CKR_MECHANISM_PARAM_INVALID));
        assert_eq!(session.encrypt(&mut mechanism(CKM_RSA_PKCS), own, TEXT), Err(CKR_MECHANISM_INVALID));
        assert_eq!(session.encrypt(&mut mechanism(CKM_SHA256), own, TEXT), Err(CKR_MECHANISM_INVALID));
        // The parameters of drafts, without ulIvBits.
        let (mut iv, tag) = ([9u8; 12], 128u64);
        let mut old = [iv.as_mut_ptr() as u64, 12, 0, 0, tag];
        let mut how = mechanism_with(CKM_AES_GCM, &mut old);
        let sealed = session.encrypt(&mut how, handle, TEXT).unwrap();
        let mut parameters = gcm(&mut iv, &mut [], 128);
        assert_eq!(session.decrypt(&mut mechanism_with(CKM_AES_GCM, &mut parameters), handle, &sealed).unwrap(), TEXT);
    }
}

module_test! {
    fn every_mechanism_works_in_parts_of_any_size_and_in_place(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let (token, own) = (session.key(key), session.create(&[3; 24]));
        let text: Vec<u8> = (0..96).collect();
        let mut iv = [5u8; 16];
        let mut gcm_iv = [6; 12];
        let mut parameters = gcm(&mut gcm_iv, &mut [], 128);
        let mut counter = CK_AES_CTR_PARAMS { ulCounterBits: 64, cb: [7; 16] };
        let mut cases = [
            (mechanism(CKM_KMS_BLOB), token),
            (mechanism_with(CKM_AES_GCM, &mut parameters), token),
            (mechanism_with(CKM_AES_GCM, &mut parameters), own),
            (mechanism(CKM_AES_KEY_WRAP), token),
            (mechanism(CKM_AES_KEY_WRAP), own),
            (mechanism(CKM_AES_KEY_WRAP_PAD), token),
            (mechanism(CKM_AES_ECB), own),
            (mechanism_with(CKM_AES_CBC, &mut iv), own),
            (mechanism_with(CKM_AES_CBC_PAD, &mut iv), own),
            (mechanism_with(CKM_AES_CTR, &mut counter), own),
        ];
        for (how, key) in &mut cases {
            for size in [1, 15, 16, 17, 96] {
                let sealed = session.in_parts(true, how, *key, &text, size);
                assert_eq!(session.decrypt(how, *key, &sealed).unwrap(), text, "{:#x} sealed by {size}", how.mechanism);
                assert_eq!(session.in_parts(false, how, *key, &sealed, size), text, "{:#x} by {size}", how.mechanism);
                if how.mechanism != CKM_KMS_BLOB {
                    assert_eq!(session.encrypt(how, *key, &text).unwrap(), sealed, "{:#x} by {size}", how.mechanism);
                }
            }
            let mut buffer = [text.clone(), vec![0; 96]].concat();
            let mut len = 192;
            ok(call!(module, C_EncryptInit, session.handle, how, *key));
            let start = buffer.as_mut_ptr();
            ok(call!(module, C_Encrypt, session.handle, start, 96, start, &mut len));
            assert_eq!(session.decrypt(how, *key, &buffer[..len as usize]).unwrap(), text, "{:#x} in place", how.mechanism);
        }
    }
}

module_test! {
    fn modes_of_session_keys_agree_with_known_answers(folder) {
        drop(keystore(folder));
        let module = Module::initialized();
        let session = module.session();
        let key: Vec<u8> = (0..24).collect();
        let own = session.create(&key);
        let mut iv: [u8; 16] = std::array::from_fn(|i| i as u8);
        let text: Vec<u8> = (0..32).collect();
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let cbc = session.encrypt(&mut mechanism_with(CKM_AES_CBC, &mut iv), own, &text).unwrap();
        assert_eq!(hex(cbc), "916251821c73a522c396d627380196071817db150e771c589ed080493de7338b");
        let ecb = session.encrypt(&mut mechanism(CKM_AES_ECB), own, &text).unwrap();
        assert_eq!(hex(ecb), "0060bffe46834bb8da5cf9a61ff220ae93ae3b7f9fc2e8159d05a6a9f5e24f2d");
        assert_eq!(session.encrypt(&mut mechanism(CKM_AES_ECB), own, &text[..31]), Err(CKR_DATA_LEN_RANGE));
        let mut how = mechanism_with(CKM_AES_CBC_PAD, &mut iv);
        assert_eq!(session.decrypt(&mut how, own, &[1; 32]), Err(CKR_ENCRYPTED_DATA_INVALID));
    }
}

module_test! {
    fn the_size_of_unpadded_plaintext_is_exact_and_its_rest_waits_for_room(folder) {
        drop(keystore(folder));
        let module = Module::initialized();
        let session = module.session();
        let (own, handle) = (session.create(&[3; 24]), session.handle);
        let mut iv = [5u8; 16];
        let mut how = mechanism_with(CKM_AES_CBC_PAD, &mut iv);
        for size in [16, 17, 31] {
            let text = vec![7u8; size];
            let mut sealed = session.encrypt(&mut how, own, &text).unwrap();
            let (mut out, mut len) = ([0xAAu8; 32], 32);
            ok(call!(module, C_DecryptInit, handle, &mut how, own));
            let sealed_len = sealed.len() as CK_ULONG;
            ok(call!(module, C_DecryptUpdate, handle, sealed.as_mut_ptr(), sealed_len, out.as_mut_ptr(), &mut len));
            assert_eq!(len, 16);
            let rest = size - 16;
            ok(call!(module, C_DecryptFinal, handle, std::ptr::null_mut(), &mut len));
            assert_eq!(len as usize, rest, "the size for {size} bytes");
            if rest > 0 {
                len = rest as CK_ULONG - 1;
                assert_eq!(call!(module, C_DecryptFinal, handle, out[16..].as_mut_ptr(), &mut len), CKR_BUFFER_TOO_SMALL);
                assert_eq!((len as usize, out[16]), (rest, 0xAA), "nothing is written without room");
            }
            ok(call!(module, C_DecryptFinal, handle, out[16..].as_mut_ptr(), &mut len));
            assert_eq!(out[..size], text);
            assert_eq!(call!(module, C_DecryptFinal, handle, out.as_mut_ptr(), &mut len), CKR_OPERATION_NOT_INITIALIZED);
        }
    }
}

module_test! {
    fn operations_end_as_pkcs_11_says(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let (handle, token) = (session.handle, session.key(key));
        let mut blob = mechanism(CKM_KMS_BLOB);
        let (mut text, mut out, mut len) = ([1u8; 4], [0u8; 100], 100);
        let encrypt = |out: *mut u8, len: *mut CK_ULONG, text: *mut u8, size| call!(module, C_Encrypt, handle, text, size, out, len);
        assert_eq!(encrypt(out.as_mut_ptr(), &mut len, text.as_mut_ptr(), 4), CKR_OPERATION_NOT_INITIALIZED);
        ok(call!(module, C_EncryptInit, handle, &mut blob, token));
        assert_eq!(call!(module, C_EncryptInit, handle, &mut blob, token), CKR_OPERATION_ACTIVE);
        ok(call!(module, C_DecryptInit, handle, &mut blob, token));
        ok(encrypt(out.as_mut_ptr(), &mut len, text.as_mut_ptr(), 4));
        assert_eq!(encrypt(out.as_mut_ptr(), &mut len, text.as_mut_ptr(), 4), CKR_OPERATION_NOT_INITIALIZED);
        // Null cancels; a wrong argument ends.
        ok(call!(module, C_DecryptInit, handle, std::ptr::null_mut(), 0));
        ok(call!(module, C_DecryptInit, handle, &mut blob, token));
        ok(call!(module, C_SessionCancel, handle, CKF_DECRYPT));
        for (data, size, len_of_out) in [(std::ptr::null_mut(), 4, &mut len as *mut _), (text.as_mut_ptr(), 4, std::ptr::null_mut())] {
            ok(call!(module, C_EncryptInit, handle, &mut blob, token));
            assert_eq!(encrypt(out.as_mut_ptr(), len_of_out, data, size), CKR_ARGUMENTS_BAD);
            assert_eq!(encrypt(out.as_mut_ptr(), &mut len, text.as_mut_ptr(), 4), CKR_OPERATION_NOT_INITIALIZED);
        }
        assert_eq!(call!(module, C_EncryptInit, handle, &mut blob, 999), CKR_KEY_HANDLE_INVALID);
        assert_eq!(call!(module, C_EncryptInit, 999, &mut blob, token), CKR_SESSION_HANDLE_INVALID);
    }
}

module_test! {
    fn digests_agree_with_known_answers(folder) {
        drop(keystore(folder));
        let module = Module::initialized();
        let session = module.session().handle;
        let mut text = *b"abc";
        for (kind, start, size) in [
            (CKM_SHA_1, [0xa9, 0x99, 0x3e], 20), (CKM_SHA256, [0xba, 0x78, 0x16], 32), (CKM_SHA512, [0xdd, 0xaf, 0x35], 64),
        ] {
            let (mut out, mut len) = ([0u8; 64], 0);
            let mut how = mechanism(kind);
            ok(call!(module, C_DigestInit, session, &mut how));
            assert_eq!(call!(module, C_DigestInit, session, &mut how), CKR_OPERATION_ACTIVE);
            ok(call!(module, C_Digest, session, text.as_mut_ptr(), 3, std::ptr::null_mut(), &mut len));
            assert_eq!(len, size);
            len = 3;
            assert_eq!(call!(module, C_Digest, session, text.as_mut_ptr(), 3, out.as_mut_ptr(), &mut len), CKR_BUFFER_TOO_SMALL);
            ok(call!(module, C_Digest, session, text.as_mut_ptr(), 3, out.as_mut_ptr(), &mut len));
            assert_eq!(out[..3], start);
            ok(call!(module, C_DigestInit, session, &mut how));
            for byte in &mut text {
                ok(call!(module, C_DigestUpdate, session, byte, 1));
            }
            ok(call!(module, C_DigestFinal, session, std::ptr::null_mut(), &mut len));
            ok(call!(module, C_DigestFinal, session, out.as_mut_ptr(), &mut len));
            assert_eq!(out[..3], start);
        }
        assert_eq!(call!(module, C_DigestInit, session, &mut mechanism(CKM_MD5)), CKR_MECHANISM_INVALID);
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        ok(call!(module, C_GenerateRandom, session, a.as_mut_ptr(), 32));
        ok(call!(module, C_GenerateRandom, session, b.as_mut_ptr(), 32));
        assert_ne!(a, b);
    }
}
