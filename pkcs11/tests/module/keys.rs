//! Objects: finding, reading, making, destroying, wrapping.

use kms::{CreateKey, Interval};

use crate::harness::*;

const AES_32: [(CK_ATTRIBUTE_TYPE, CK_ULONG); 1] = [(CKA_VALUE_LEN, 32)];

module_test! {
    fn a_master_key_is_one_object_with_its_first_alias_as_label(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let bare = keystore.create_key(&CreateKey::default()).unwrap();
        for alias in ["alias/cards", "alias/orders"] {
            keystore.create_alias(key, alias).unwrap();
        }
        for _ in 0..3 {
            keystore.rotate(key).unwrap();
        }
        let module = Module::initialized();
        let session = module.session();
        assert_eq!(session.find(&mut []).len(), 2, "versions are hidden");
        let handle = session.by_label("cards");
        assert_eq!(handle.len(), 1);
        assert_eq!(session.by_label("orders"), handle, "any alias finds it");
        assert_eq!(session.key(key), handle[0]);
        assert!(session.by_label("other").is_empty());
        assert!(session.find(&mut [attribute(CKA_ID, &[1u8; 3])]).is_empty());
        assert!(session.find(&mut [attribute(CKA_CLASS, &CKO_PRIVATE_KEY)]).is_empty());
        assert_eq!(session.find(&mut [attribute(CKA_TOKEN, &CK_TRUE), attribute(CKA_ENCRYPT, &CK_TRUE)]).len(), 2);
        let bare_handle = session.by_label(&bare.to_string())[0];
        assert_eq!(session.read(bare_handle, CKA_LABEL).unwrap(), bare.to_string().as_bytes());

        let object = handle[0];
        assert_eq!(session.read(object, CKA_LABEL).unwrap(), b"cards");
        assert_eq!(session.read(object, CKA_ID).unwrap(), key.as_bytes());
        assert_eq!(session.read(object, CKA_VALUE_LEN).unwrap(), 32u64.to_ne_bytes());
        for kind in [CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_TOKEN, CKA_LOCAL] {
            assert_eq!(session.read(object, kind).unwrap(), [1], "{kind:#x}");
        }
        assert_eq!(session.read(object, CKA_EXTRACTABLE).unwrap(), [0]);
        assert_eq!(session.read(object, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
        assert_eq!(session.read(object, CKA_CHECK_VALUE), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        assert_eq!(session.read(object, CKA_MODULUS), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        let mut label = attribute(CKA_LABEL, "new");
        assert_eq!(call!(module, C_SetAttributeValue, session.handle, object, &mut label, 1), CKR_ACTION_PROHIBITED);
    }
}

module_test! {
    fn a_token_key_is_a_master_key_and_its_destruction_waits(folder) {
        let keystore = keystore(folder);
        configure(folder, &slot(folder, "rotate_every = \"90d\"\ndeletion_days = 9"));
        let module = Module::initialized();
        let session = module.session();
        let [(_, len)] = AES_32;
        let make = |label: &str| {
            session.generate(&mut [attribute(CKA_TOKEN, &CK_TRUE), attribute(CKA_VALUE_LEN, &len), attribute(CKA_LABEL, label)])
        };
        let made = make("cards").unwrap();
        let key = keystore.describe_key("alias/cards").unwrap();
        assert_eq!(key.policy, Some(Interval::parse("90d").unwrap()));
        assert_eq!(session.read(made, CKA_ID).unwrap(), key.id.as_bytes());
        assert_eq!(make("cards"), Err(CKR_ATTRIBUTE_VALUE_INVALID), "a label names one key");
        assert_eq!(make("no blanks"), Err(CKR_ATTRIBUTE_VALUE_INVALID));
        let with = |more: CK_ATTRIBUTE| session.generate(&mut [attribute(CKA_TOKEN, &CK_TRUE), attribute(CKA_VALUE_LEN, &len), more]);
        assert_eq!(with(attribute(CKA_EXTRACTABLE, &CK_TRUE)), Err(CKR_TEMPLATE_INCONSISTENT));
        assert_eq!(with(attribute(CKA_ID, &[7u8])), Err(CKR_ATTRIBUTE_READ_ONLY));
        assert_eq!(with(attribute(CKA_VALUE, &[7u8; 32])), Err(CKR_TEMPLATE_INCONSISTENT));
        assert_eq!(with(attribute(CKA_VALUE_LEN, &16u64)), Err(CKR_TEMPLATE_INCONSISTENT));
        let short = session.generate(&mut [attribute(CKA_TOKEN, &CK_TRUE), attribute(CKA_VALUE_LEN, &16u64)]);
        assert_eq!(short, Err(CKR_KEY_SIZE_RANGE));

        let mut read_only = 0;
        ok(call!(module, C_OpenSession, 0, CKF_SERIAL_SESSION, std::ptr::null_mut(), None, &mut read_only));
        assert_eq!(call!(module, C_DestroyObject, read_only, made), CKR_SESSION_READ_ONLY);
        ok(call!(module, C_DestroyObject, session.handle, made));
        assert_eq!(keystore.describe_key(key.id).unwrap().state, kms::KeyState::PendingDeletion);
        assert!(session.by_label("cards").is_empty() && session.find(&mut []).is_empty(), "it is gone for programs");
        assert_eq!(session.read(made, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID));
        // Its name is free again; its ciphertexts stay until the waiting period ends.
        let next = make("cards").unwrap();
        assert_ne!(session.read(next, CKA_ID).unwrap(), key.id.as_bytes());
        keystore.cancel_key_deletion(key.id).unwrap();
        assert_eq!(session.find(&mut []).len(), 2);
    }
}

module_test! {
    fn a_disabled_key_is_found_and_refuses(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        let sealed = session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, b"x").unwrap();
        ok(call!(module, C_EncryptInit, session.handle, &mut mechanism(CKM_KMS_BLOB), handle));
        keystore.disable_key(key).unwrap();
        let (mut out, mut len) = ([0u8; 100], 100);
        let answer = call!(module, C_Encrypt, session.handle, out.as_mut_ptr(), 1, out.as_mut_ptr().wrapping_add(1), &mut len);
        assert_eq!(answer, CKR_KEY_FUNCTION_NOT_PERMITTED, "also between the two calls");
        assert_eq!(session.key(key), handle);
        for kind in [CKM_KMS_BLOB, CKM_AES_KEY_WRAP] {
            assert_eq!(session.encrypt(&mut mechanism(kind), handle, &[0; 16]), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
        }
        assert_eq!(session.decrypt(&mut mechanism(CKM_KMS_BLOB), handle, &sealed), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
        keystore.enable_key(key).unwrap();
        assert_eq!(session.decrypt(&mut mechanism(CKM_KMS_BLOB), handle, &sealed).unwrap(), b"x");
    }
}

module_test! {
    fn session_keys_are_wrapped_and_come_back(folder) {
        let keystore = keystore(folder);
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let (token, own) = (session.key(key), session.create(&[9; 16]));
        let value: Vec<u8> = (0..32).collect();
        let data_key = session.create(&value);
        let (mut iv, mut gcm_iv) = ([4u8; 16], [0; 12]);
        let mut parameters = gcm(&mut gcm_iv, &mut [], 128);
        let mut cases = [
            (mechanism(CKM_AES_KEY_WRAP), token), (mechanism(CKM_AES_KEY_WRAP_PAD), token), (mechanism(CKM_KMS_BLOB), token),
            (mechanism_with(CKM_AES_GCM, &mut parameters), token), (mechanism(CKM_AES_KEY_WRAP), own),
            (mechanism_with(CKM_AES_CBC_PAD, &mut iv), own),
        ];
        for (how, wrapping) in &mut cases {
            let mut len = 0;
            let kind = how.mechanism;
            ok(call!(module, C_WrapKey, session.handle, how, *wrapping, data_key, std::ptr::null_mut(), &mut len));
            let mut wrapped = vec![0; len as usize];
            ok(call!(module, C_WrapKey, session.handle, how, *wrapping, data_key, wrapped.as_mut_ptr(), &mut len));
            keystore.rotate(key).unwrap();
            let mut template = [
                attribute(CKA_CLASS, &CKO_SECRET_KEY), attribute(CKA_KEY_TYPE, &CKK_AES), attribute(CKA_EXTRACTABLE, &CK_TRUE),
            ];
            let mut made = 0;
            let mut unwrap = |wrapped: &mut [u8]| {
                let len = wrapped.len() as CK_ULONG;
                call!(module, C_UnwrapKey, session.handle, how, *wrapping, wrapped.as_mut_ptr(), len, template.as_mut_ptr(), 3, &mut made)
            };
            ok(unwrap(&mut wrapped));
            if kind != CKM_AES_CBC_PAD {
                let mut altered = wrapped.clone();
                altered[9] ^= 1;
                assert_eq!(unwrap(&mut altered), CKR_WRAPPED_KEY_INVALID, "{kind:#x}");
            }
            ok(unwrap(&mut wrapped));
            assert_eq!(session.read(made, CKA_VALUE).unwrap(), value, "{kind:#x}");
        }
        let mut len = 0;
        let wrap = |key, wrapping, len: &mut CK_ULONG| {
            call!(module, C_WrapKey, session.handle, &mut mechanism(CKM_AES_KEY_WRAP), wrapping, key, std::ptr::null_mut(), len)
        };
        assert_eq!(wrap(token, own, &mut len), CKR_KEY_UNEXTRACTABLE, "a master key never leaves");
        let kept = session.generate(&mut [attribute(CKA_VALUE_LEN, &32u64), attribute(CKA_EXTRACTABLE, &CK_FALSE)]).unwrap();
        assert_eq!(wrap(kept, token, &mut len), CKR_KEY_UNEXTRACTABLE);
        assert_eq!(session.read(kept, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
        // A session key ends with its session.
        let other = module.session();
        assert_eq!(other.read(own, CKA_CLASS).unwrap(), CKO_SECRET_KEY.to_ne_bytes());
        ok(call!(module, C_CloseSession, session.handle));
        assert_eq!(other.read(own, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID));
    }
}

module_test! {
    fn versions_are_objects_that_only_decrypt_where_the_configuration_says_so(folder) {
        let clock = kms::ManualClock::at(951_782_400_000);
        let keystore = keystore_with(folder, kms::Options::new().clock(clock.clone()));
        let (key, other) = (keystore.create_key(&CreateKey::default()).unwrap(), keystore.create_key(&CreateKey::default()).unwrap());
        keystore.create_alias(key, "alias/cards").unwrap();
        keystore.create_alias(key, "alias/orders").unwrap();
        configure(folder, &slot(folder, "versions = true"));
        let module = Module::initialized();
        let session = module.session();
        let object = session.by_label("cards")[0];
        let (mut first_iv, mut second_iv) = ([7u8; 12], [7u8; 12]);
        let (mut first_gcm, mut second_gcm) = (gcm(&mut first_iv, &mut [], 128), gcm(&mut second_iv, &mut [], 128));
        let (mut how, mut again) = (mechanism_with(CKM_AES_GCM, &mut first_gcm), mechanism_with(CKM_AES_GCM, &mut second_gcm));
        let mut blob = mechanism(0xCB4D_5301);
        let mut wrap = mechanism(CKM_AES_KEY_WRAP);

        let first = session.encrypt(&mut how, object, b"first").unwrap();
        let first_blob = session.encrypt(&mut blob, object, b"first").unwrap();
        // From the leap day to the first of March.
        clock.advance_seconds(86_400);
        keystore.rotate(key).unwrap();
        let second = session.encrypt(&mut again, object, b"second").unwrap();
        assert_eq!(session.find(&mut []).len(), 5, "two keys, and three versions");
        assert_eq!(session.by_label("cards"), [object], "the label of the key is that of the key alone");
        let (old, new) = (session.by_label("cards@1"), session.by_label("orders@2"));
        assert_eq!((old.len(), new.len()), (1, 1));
        let (old, new) = (old[0], new[0]);
        for label in ["cards@3", "cards@0", "cards@", "cards@x", "@1", "none@1"] {
            assert!(session.by_label(label).is_empty(), "{label}");
        }
        assert_eq!(session.by_label(&format!("{key}@1")), [old]);
        assert_eq!(session.by_label(&format!("{other}@1")).len(), 1);
        let versions: Vec<_> = keystore.key_versions(key).map(|version| version.unwrap()).collect();
        assert_eq!(session.find(&mut [attribute(CKA_ID, versions[0].id.as_bytes())]), [new]);
        assert_eq!(session.find(&mut [attribute(CKA_ID, versions[1].id.as_bytes())]), [old]);
        assert_eq!(session.read(old, CKA_ID).unwrap(), versions[1].id.as_bytes());
        assert_eq!(session.read(old, CKA_LABEL).unwrap(), b"cards@1");
        assert_eq!(session.read(old, CKA_START_DATE).unwrap(), b"20000229");
        assert_eq!(session.read(new, CKA_START_DATE).unwrap(), b"20000301");
        assert_eq!(session.read(object, CKA_START_DATE).unwrap(), b"");
        assert_eq!(session.find(&mut [attribute(CKA_ENCRYPT, &CK_TRUE)]).len(), 2, "only keys encrypt");
        for kind in [CKA_ENCRYPT, CKA_WRAP, CKA_DESTROYABLE, CKA_EXTRACTABLE, CKA_MODIFIABLE] {
            assert_eq!(session.read(new, kind).unwrap(), [0], "{kind:#x}");
        }
        for kind in [CKA_DECRYPT, CKA_UNWRAP, CKA_SENSITIVE, CKA_TOKEN] {
            assert_eq!(session.read(new, kind).unwrap(), [1], "{kind:#x}");
        }
        assert_eq!(session.read(new, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));

        assert_eq!(session.decrypt(&mut how, old, &first).unwrap(), b"first");
        assert_eq!(session.decrypt(&mut again, new, &second).unwrap(), b"second");
        assert_eq!(session.decrypt(&mut how, new, &first), Err(CKR_ENCRYPTED_DATA_INVALID));
        assert_eq!(session.decrypt(&mut blob, old, &first_blob).unwrap(), b"first");
        assert_eq!(session.decrypt(&mut blob, new, &first_blob), Err(CKR_ENCRYPTED_DATA_INVALID));
        for mechanism in [&mut how, &mut blob, &mut wrap] {
            assert_eq!(session.encrypt(mechanism, new, &[1; 16]), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
        }
        assert_eq!(call!(module, C_DestroyObject, session.handle, old), CKR_ACTION_PROHIBITED);
        keystore.disable_key_version(key, &versions[1].id.to_string()).unwrap();
        assert_eq!(session.decrypt(&mut how, old, &first), Err(CKR_KEY_FUNCTION_NOT_PERMITTED));
        assert_eq!(session.by_label("cards@1"), [old], "a disabled version is found");
    }
}

module_test! {
    fn a_session_key_is_copied_and_a_master_key_is_not(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let copy = |object, template: &mut [CK_ATTRIBUTE]| {
            let mut made = 0;
            let count = template.len() as CK_ULONG;
            match call!(module, C_CopyObject, session.handle, object, template.as_mut_ptr(), count, &mut made) {
                CKR_OK => Ok(made),
                answer => Err(answer),
            }
        };
        assert_eq!(copy(session.key(key), &mut []), Err(CKR_ACTION_PROHIBITED));
        assert_eq!(copy(99, &mut []), Err(CKR_OBJECT_HANDLE_INVALID));
        let original = session.create(&[7; 32]);
        let made = copy(original, &mut [attribute(CKA_LABEL, "copy"), attribute(CKA_EXTRACTABLE, &CK_FALSE)]).unwrap();
        assert_ne!(made, original);
        assert_eq!(session.by_label("copy"), [made]);
        assert_eq!(session.read(original, CKA_VALUE).unwrap(), [7; 32]);
        assert_eq!(session.read(made, CKA_VALUE), Err(CKR_ATTRIBUTE_SENSITIVE));
        assert_eq!(copy(made, &mut [attribute(CKA_EXTRACTABLE, &CK_TRUE)]), Err(CKR_ATTRIBUTE_READ_ONLY), "protection stays");
        assert_eq!(copy(made, &mut [attribute(CKA_TOKEN, &CK_TRUE)]), Err(CKR_TEMPLATE_INCONSISTENT));
        assert_eq!(copy(made, &mut [attribute(CKA_TOKEN, &[1u8, 1])]), Err(CKR_ATTRIBUTE_VALUE_INVALID));
        assert_eq!(copy(made, &mut [attribute(CKA_VALUE, &[8u8; 32])]), Err(CKR_ATTRIBUTE_READ_ONLY));
        let fixed = copy(original, &mut [attribute(CKA_DECRYPT, &CK_FALSE), attribute(CKA_MODIFIABLE, &CK_FALSE)]).unwrap();
        assert_eq!(copy(fixed, &mut [attribute(CKA_DECRYPT, &CK_TRUE)]), Err(CKR_ATTRIBUTE_READ_ONLY), "usage that was withheld");
        let mut iv = [1u8; 16];
        let mut how = mechanism_with(CKM_AES_CBC, &mut iv);
        let sealed = session.encrypt(&mut how, original, &[3; 16]).unwrap();
        assert_eq!(session.decrypt(&mut how, made, &sealed).unwrap(), [3; 16]);
        let guarded = session.generate(&mut [attribute(CKA_VALUE_LEN, &32u64), attribute(CKA_WRAP_WITH_TRUSTED, &CK_TRUE)]).unwrap();
        let mut len = 0;
        let mut wrap = mechanism(CKM_AES_KEY_WRAP);
        let null = std::ptr::null_mut();
        let answer = call!(module, C_WrapKey, session.handle, &mut wrap, session.key(key), guarded, null, &mut len);
        assert_eq!(answer, CKR_KEY_NOT_WRAPPABLE, "no key is trusted");
        let last = copy(made, &mut [attribute(CKA_COPYABLE, &CK_FALSE)]).unwrap();
        assert_eq!(copy(last, &mut []), Err(CKR_ACTION_PROHIBITED));
        ok(call!(module, C_DestroyObject, session.handle, original));
        assert_eq!(session.decrypt(&mut how, made, &sealed).unwrap(), [3; 16], "a copy lives by itself");
        let mut size = 0;
        ok(call!(module, C_GetObjectSize, session.handle, made, &mut size));
        assert_eq!(size, CK_ULONG::MAX);
        assert_eq!(call!(module, C_GetObjectSize, session.handle, original, &mut size), CKR_OBJECT_HANDLE_INVALID);
    }
}

module_test! {
    fn session_data_is_kept_found_changed_and_never_a_key(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let create = |template: &mut [CK_ATTRIBUTE]| {
            let mut made = 0;
            let count = template.len() as CK_ULONG;
            match call!(module, C_CreateObject, session.handle, template.as_mut_ptr(), count, &mut made) {
                CKR_OK => Ok(made),
                answer => Err(answer),
            }
        };
        let class = attribute(CKA_CLASS, &CKO_DATA);
        let (label, value) = (attribute(CKA_LABEL, "note"), attribute(CKA_VALUE, b"text".as_slice()));
        let made = create(&mut [class, label, value, attribute(CKA_APPLICATION, "app")]).unwrap();
        assert_eq!(session.find(&mut [class]), [made]);
        assert_eq!(session.find(&mut [label, value]), [made]);
        assert_eq!(session.read(made, CKA_VALUE).unwrap(), b"text");
        assert_eq!(session.read(made, CKA_APPLICATION).unwrap(), b"app");
        assert_eq!(session.read(made, CKA_OBJECT_ID).unwrap(), b"");
        assert_eq!(session.read(made, CKA_KEY_TYPE), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        let change = |mut attribute: CK_ATTRIBUTE| call!(module, C_SetAttributeValue, session.handle, made, &mut attribute, 1);
        ok(change(attribute(CKA_VALUE, b"other".as_slice())));
        assert_eq!(session.read(made, CKA_VALUE).unwrap(), b"other");
        assert_eq!(change(attribute(CKA_CLASS, &CKO_SECRET_KEY)), CKR_ATTRIBUTE_READ_ONLY);
        assert_eq!(change(attribute(CKA_ENCRYPT, &CK_TRUE)), CKR_ATTRIBUTE_TYPE_INVALID);
        assert_eq!(change(attribute(CKA_SENSITIVE, &CK_TRUE)), CKR_ATTRIBUTE_TYPE_INVALID);
        assert_eq!(create(&mut [class, attribute(CKA_TOKEN, &CK_TRUE)]), Err(CKR_TEMPLATE_INCONSISTENT), "a keystore stores keys");
        assert_eq!(create(&mut [class, attribute(CKA_KEY_TYPE, &CKK_AES)]), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        assert_eq!(create(&mut [class, attribute(CKA_PRIVATE, &CK_TRUE)]), Err(CKR_USER_NOT_LOGGED_IN));
        assert_eq!(create(&mut [class, attribute(CKA_PRIVATE, &[1u8, 1])]), Err(CKR_ATTRIBUTE_VALUE_INVALID));

        let mut how = mechanism(CKM_AES_KEY_WRAP);
        assert_eq!(session.encrypt(&mut how, made, &[0; 16]), Err(CKR_KEY_HANDLE_INVALID));
        let (mut len, null) = (0, std::ptr::null_mut());
        let answer = call!(module, C_WrapKey, session.handle, &mut how, session.key(key), made, null, &mut len);
        assert_eq!(answer, CKR_KEY_HANDLE_INVALID);

        let kept = create(&mut [class, attribute(CKA_DESTROYABLE, &CK_FALSE)]).unwrap();
        assert_eq!(call!(module, C_DestroyObject, session.handle, kept), CKR_ACTION_PROHIBITED);
        ok(call!(module, C_DestroyObject, session.handle, made));
        assert_eq!(session.find(&mut [class]), [kept]);
    }
}
