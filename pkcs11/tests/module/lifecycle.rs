//! Initialization, sessions, login, fork, dlclose: the actions of several components of one process.

use std::ptr;

use kms::{CreateKey, Keystore, Options};

use crate::harness::*;

module_test! {
    fn a_second_initialization_is_refused_and_finalize_ends_everything(folder) {
        drop(keystore(folder));
        let module = Module::load();
        let mut info = unsafe { std::mem::zeroed::<CK_INFO>() };
        assert_eq!(call!(module, C_GetInfo, &mut info), CKR_CRYPTOKI_NOT_INITIALIZED);
        assert_eq!(call!(module, C_Finalize, NO_ARGUMENT), CKR_CRYPTOKI_NOT_INITIALIZED);
        ok(call!(module, C_Initialize, NO_ARGUMENT));
        assert_eq!(call!(module, C_Initialize, NO_ARGUMENT), CKR_CRYPTOKI_ALREADY_INITIALIZED);
        ok(call!(module, C_GetInfo, &mut info));
        assert_eq!((info.cryptokiVersion.major, info.cryptokiVersion.minor), (3, 0));
        let session = module.session();
        assert_eq!(call!(module, C_Finalize, (&raw mut info).cast()), CKR_ARGUMENTS_BAD);
        ok(call!(module, C_Finalize, NO_ARGUMENT));
        let mut found = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
        assert_eq!(call!(module, C_GetSessionInfo, session.handle, &mut found), CKR_CRYPTOKI_NOT_INITIALIZED);
        for _ in 0..20 {
            ok(call!(module, C_Initialize, NO_ARGUMENT));
            assert_eq!(call!(module, C_GetSessionInfo, session.handle, &mut found), CKR_SESSION_HANDLE_INVALID);
            ok(call!(module, C_Finalize, NO_ARGUMENT));
        }
    }
}

unsafe extern "C" fn mutex(_: *mut std::ffi::c_void) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn make_mutex(_: *mut *mut std::ffi::c_void) -> CK_RV {
    CKR_OK
}

module_test! {
    fn initialization_takes_exactly_the_arguments_that_pkcs_11_allows(folder) {
        drop(keystore(folder));
        let module = Module::load();
        let none = CK_C_INITIALIZE_ARGS {
            CreateMutex: None, DestroyMutex: None, LockMutex: None, UnlockMutex: None, flags: 0, pReserved: ptr::null_mut(),
        };
        let all = CK_C_INITIALIZE_ARGS {
            CreateMutex: Some(make_mutex), DestroyMutex: Some(mutex), LockMutex: Some(mutex), UnlockMutex: Some(mutex), ..none
        };
        let mut reserved = 7;
        let cases = [
            (none, CKR_OK),
            (CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..none }, CKR_OK),
            (CK_C_INITIALIZE_ARGS { flags: CKF_LIBRARY_CANT_CREATE_OS_THREADS, ..none }, CKR_OK),
            (CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..all }, CKR_OK),
            (all, CKR_CANT_LOCK),
            (CK_C_INITIALIZE_ARGS { LockMutex: None, ..all }, CKR_ARGUMENTS_BAD),
            (CK_C_INITIALIZE_ARGS { pReserved: (&raw mut reserved).cast(), ..none }, CKR_ARGUMENTS_BAD),
        ];
        for (at, (mut arguments, expected)) in cases.into_iter().enumerate() {
            assert_eq!(call!(module, C_Initialize, (&raw mut arguments).cast()), expected, "case {at}");
            if expected == CKR_OK {
                ok(call!(module, C_Finalize, NO_ARGUMENT));
            }
        }
    }
}

module_test! {
    fn a_configuration_that_is_missing_broken_or_writable_by_others_is_refused(folder) {
        use std::os::unix::fs::PermissionsExt;
        drop(keystore(folder));
        let module = Module::load();
        let path = folder.join("pkcs11.toml");
        let good = std::fs::read_to_string(&path).unwrap();
        let refused = |expected| assert_eq!(call!(module, C_Initialize, NO_ARGUMENT), expected);

        for mode in [0o620, 0o602, 0o666] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            refused(CKR_GENERAL_ERROR);
        }
        let bad = [
            String::new(), "slot".into(), good.replace("label", "lable"), good.replace("\"cards\"", "\"\""),
            good.replace("keys.db", "nothing.db").replace("keystore = \"/", "keystore = \""), format!("{good}{good}"),
            format!("{good}rotate_every = \"soon\""), format!("{good}deletion_days = 1"), format!("{good}trial_versions = 0"),
            "x".repeat(2 << 20),
        ];
        for text in bad {
            configure(folder, &text);
            refused(CKR_GENERAL_ERROR);
        }
        configure(folder, &good.replace("keys.db", "nothing.db"));
        refused(CKR_DEVICE_ERROR);
        std::fs::remove_file(&path).unwrap();
        refused(CKR_GENERAL_ERROR);
        std::fs::create_dir(&path).unwrap();
        refused(CKR_GENERAL_ERROR);
        std::fs::remove_dir(&path).unwrap();
        let pipe = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a terminated path.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        refused(CKR_GENERAL_ERROR);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("pkcs11.toml", &path).unwrap();
        refused(CKR_GENERAL_ERROR);
        std::fs::remove_file(&path).unwrap();
        configure(folder, &good);
        // SAFETY: takes nothing, and takes a terminated path.
        if unsafe { libc::geteuid() == 0 && libc::chown(pipe.as_ptr(), 12_345, 0) == 0 } {
            refused(CKR_GENERAL_ERROR);
            std::fs::remove_file(&path).unwrap();
            configure(folder, &good);
        }
        refused(CKR_OK);
    }
}

module_test! {
    fn the_interfaces_are_those_of_2_40_and_3_0(folder) {
        drop(keystore(folder));
        let list: unsafe extern "C" fn(*mut CK_INTERFACE, *mut CK_ULONG) -> CK_RV = symbol(c"C_GetInterfaceList");
        let one: unsafe extern "C" fn(*mut u8, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV =
            symbol(c"C_GetInterface");
        let old: unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV = symbol(c"C_GetFunctionList");
        // SAFETY: live counts, and lists of the length that they say.
        unsafe {
            let mut count = 0;
            ok(list(ptr::null_mut(), &mut count));
            assert_eq!(count, 2);
            let mut interfaces = [std::mem::zeroed::<CK_INTERFACE>(); 2];
            count = 1;
            assert_eq!(list(interfaces.as_mut_ptr(), &mut count), CKR_BUFFER_TOO_SMALL);
            ok(list(interfaces.as_mut_ptr(), &mut count));
            let version = |interface: &CK_INTERFACE| *interface.pFunctionList.cast::<CK_VERSION>();
            let versions = interfaces.map(|interface| (version(&interface).major, version(&interface).minor));
            assert_eq!(versions, [(3, 0), (2, 40)]);

            let mut functions = ptr::null_mut();
            ok(old(&mut functions));
            assert_eq!(((*functions).version.major, (*functions).version.minor), (2, 40));
            assert_eq!(old(ptr::null_mut()), CKR_ARGUMENTS_BAD);

            let mut found = ptr::null_mut();
            for (name, wanted, flags, expected) in [
                (c"PKCS 11", Some((2, 40)), 0, CKR_OK),
                (c"PKCS 11", Some((3, 0)), CKF_INTERFACE_FORK_SAFE, CKR_OK),
                (c"PKCS 11", Some((3, 1)), 0, CKR_FUNCTION_FAILED),
                (c"Vendor", None, 0, CKR_FUNCTION_FAILED),
                (c"PKCS 11", None, 2, CKR_FUNCTION_FAILED),
            ] {
                let mut version = wanted.map(|(major, minor)| CK_VERSION { major, minor });
                let version = version.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
                assert_eq!(one(name.as_ptr().cast_mut().cast(), version, &mut found, flags), expected, "{wanted:?}");
            }
        }
    }
}

module_test! {
    fn every_function_without_a_use_says_so(folder) {
        drop(keystore(folder));
        let module = Module::load();
        assert_eq!(call!(module, C_SignFinal, 1, ptr::null_mut(), ptr::null_mut()), CKR_CRYPTOKI_NOT_INITIALIZED);
        ok(call!(module, C_Initialize, NO_ARGUMENT));
        let session = module.session().handle;
        assert_eq!(call!(module, C_SignInit, session, &mut mechanism(CKM_AES_CMAC), 1), CKR_FUNCTION_NOT_SUPPORTED);
        assert_eq!(call!(module, C_SignInit, session, ptr::null_mut(), 1), CKR_ARGUMENTS_BAD);
        assert_eq!(call!(module, C_InitToken, 0, ptr::null_mut(), 0, ptr::null_mut()), CKR_FUNCTION_NOT_SUPPORTED);
        assert_eq!(call!(module, C_SeedRandom, session, ptr::null_mut(), 0), CKR_RANDOM_SEED_NOT_SUPPORTED);
        assert_eq!(call!(module, C_GetFunctionStatus, session), CKR_FUNCTION_NOT_PARALLEL);
        assert_eq!(call!(module, C_WaitForSlotEvent, CKF_DONT_BLOCK, ptr::null_mut(), ptr::null_mut()), CKR_NO_EVENT);
        assert_eq!(call!(module, C_WaitForSlotEvent, 0, ptr::null_mut(), ptr::null_mut()), CKR_FUNCTION_NOT_SUPPORTED);
        assert_eq!(call!(module, C_MessageEncryptFinal, session), CKR_FUNCTION_NOT_SUPPORTED);
    }
}

module_test! {
    fn the_pin_is_the_passphrase_and_logout_closes_the_keystore(folder) {
        let path = folder.join("keys.db");
        let options = Options::new().root_passphrase(PASSPHRASE.as_bytes()).create(true);
        let keystore = Keystore::open(path.to_str().unwrap(), &options).unwrap();
        let key = keystore.create_key(&CreateKey::default()).unwrap();
        configure(folder, &format!("[[slot]]\nlabel = \"cards\"\nkeystore = \"{}\"\n", path.display()));
        let module = Module::initialized();
        let session = module.session();
        let login = |user, pin: &str| {
            call!(module, C_Login, session.handle, user, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG)
        };
        let mut token = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
        ok(call!(module, C_GetTokenInfo, 0, &mut token));
        assert_eq!(token.flags & CKF_LOGIN_REQUIRED, CKF_LOGIN_REQUIRED);
        assert!(session.find(&mut []).is_empty(), "nothing is seen before the login");
        assert_eq!(call!(module, C_Logout, session.handle), CKR_USER_NOT_LOGGED_IN);
        assert_eq!(login(CKU_USER, "wrong"), CKR_PIN_INCORRECT);
        assert_eq!(login(CKU_USER, ""), CKR_PIN_INCORRECT);
        assert_eq!(login(CKU_SO, PASSPHRASE), CKR_PIN_INCORRECT);
        assert_eq!(login(17, PASSPHRASE), CKR_USER_TYPE_INVALID);
        ok(login(CKU_USER, PASSPHRASE));
        assert_eq!(login(CKU_USER, PASSPHRASE), CKR_USER_ALREADY_LOGGED_IN);
        let handle = session.key(key);
        assert_eq!(session.read(handle, CKA_PRIVATE).unwrap(), [1]);
        ok(call!(module, C_Logout, session.handle));
        assert_eq!(session.read(handle, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, b""), Err(CKR_KEY_HANDLE_INVALID));
        ok(login(CKU_USER, PASSPHRASE));
        assert_ne!(session.key(key), handle, "handles are never used again");
        // The last session of a token ends its login.
        ok(call!(module, C_CloseAllSessions, 0));
        let session = module.session();
        assert!(session.find(&mut []).is_empty());
    }
}

module_test! {
    fn a_key_file_needs_no_login_and_takes_any_pin(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        assert_eq!(session.read(handle, CKA_PRIVATE).unwrap(), [0]);
        ok(call!(module, C_Login, session.handle, CKU_USER, b"1234".as_ptr().cast_mut(), 4));
        let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
        ok(call!(module, C_GetSessionInfo, session.handle, &mut info));
        assert_eq!(info.state, CKS_RW_USER_FUNCTIONS);
        let (old, new) = (b"1234".as_ptr().cast_mut(), b"5678".as_ptr().cast_mut());
        assert_eq!(call!(module, C_SetPIN, session.handle, old, 4, new, 4), CKR_FUNCTION_NOT_SUPPORTED, "there is no PIN");
        let open = session.create(&[7; 32]);
        let mut template = [attribute(CKA_VALUE_LEN, &32u64), attribute(CKA_PRIVATE, &CK_TRUE)];
        let private = session.generate(&mut template).unwrap();
        ok(call!(module, C_Logout, session.handle));
        assert_eq!(session.read(private, CKA_CLASS), Err(CKR_OBJECT_HANDLE_INVALID), "a private key outlives its login");
        assert_eq!(session.read(open, CKA_VALUE).unwrap(), [7; 32]);
        assert_eq!(session.read(handle, CKA_CLASS).unwrap(), CKO_SECRET_KEY.to_ne_bytes());
    }
}

/// Runs `body` in a forked child; whether it returned true.
fn in_fork(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child ends by _exit.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::alarm(60);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(if matches!(done, Ok(true)) { 0 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        status == 0
    }
}

module_test! {
    fn a_forked_child_goes_on_with_and_without_initialization_while_threads_work(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        let session = module.session();
        let handle = session.key(key);
        let sealed = session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, b"4111 1111").unwrap();
        let opens = |session: Session, handle| {
            session.decrypt(&mut mechanism(CKM_KMS_BLOB), handle, &sealed).unwrap() == b"4111 1111"
                && session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, b"x").is_ok()
        };
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let stop = &stop;
                scope.spawn(move || {
                    let session = module.session();
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        session.encrypt(&mut mechanism(CKM_KMS_BLOB), handle, b"4111 1111").unwrap();
                    }
                });
            }
            // A thousand forks take minutes: those are of the stage pkcs11-check.
            let rounds = if std::env::var_os("KMS_FULL").is_some() { 500 } else { 50 };
            for round in 0..rounds {
                assert!(in_fork(|| opens(session, handle)), "round {round}: the child without C_Initialize");
                let again = in_fork(|| {
                    ok(call!(module, C_Initialize, NO_ARGUMENT));
                    assert_eq!(call!(module, C_Initialize, NO_ARGUMENT), CKR_CRYPTOKI_ALREADY_INITIALIZED);
                    let mut info = unsafe { std::mem::zeroed::<CK_SESSION_INFO>() };
                    assert_eq!(
                        call!(module, C_GetSessionInfo, session.handle, &mut info),
                        CKR_SESSION_HANDLE_INVALID,
                        "the parent's sessions are not the child's"
                    );
                    let session = module.session();
                    opens(session, session.key(key)) && call!(module, C_Finalize, NO_ARGUMENT) == CKR_OK
                });
                assert!(again, "round {round}: the child with C_Initialize");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(opens(session, handle), "the parent's session ended with its child");
    }
}

module_test! {
    fn dlclose_with_and_without_finalize_harms_nothing(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let path = std::ffi::CString::new(module_path().to_str().unwrap()).unwrap();
        for round in 0..6 {
            let module = Module::load();
            let answer = call!(module, C_Initialize, NO_ARGUMENT);
            assert_eq!(answer, if round % 2 == 0 { CKR_OK } else { CKR_CRYPTOKI_ALREADY_INITIALIZED });
            let session = module.session();
            session.encrypt(&mut mechanism(CKM_KMS_BLOB), session.key(key), b"x").unwrap();
            if round % 2 == 1 {
                ok(call!(module, C_Finalize, NO_ARGUMENT));
            }
            // SAFETY: a loaded library, closed as often as it was opened: here and by the harness.
            unsafe {
                let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
                assert_eq!((libc::dlclose(library), libc::dlclose(library)), (0, 0));
            }
        }
    }
}

module_test! {
    fn dlclose_and_finalize_under_load_end_calls_with_an_answer(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let path = std::ffi::CString::new(module_path().to_str().unwrap()).unwrap();
        let module = Module::initialized();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let done = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        // SAFETY: a loaded library, closed as often as it was opened; the harness keeps none open.
                        unsafe {
                            let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
                            assert_eq!(libc::dlclose(library), 0);
                        }
                        match encrypt_once(module, key) {
                            CKR_OK => drop(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                            CKR_CRYPTOKI_NOT_INITIALIZED | CKR_SESSION_HANDLE_INVALID | CKR_OBJECT_HANDLE_INVALID
                            | CKR_KEY_HANDLE_INVALID | CKR_OPERATION_NOT_INITIALIZED => {}
                            answer => panic!("CKR {answer:#x}"),
                        }
                    }
                });
            }
            for _ in 0..100 {
                std::thread::sleep(std::time::Duration::from_millis(5));
                ok(call!(module, C_Finalize, NO_ARGUMENT));
                ok(call!(module, C_Initialize, NO_ARGUMENT));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(done.load(std::sync::atomic::Ordering::Relaxed) > 0, "nothing was encrypted between two initializations");
        assert_eq!(encrypt_once(module, key), CKR_OK);
    }
}

module_test! {
    fn a_session_of_before_finalize_is_not_taken_for_a_new_one(folder) {
        keystore(folder);
        let module = Module::initialized();
        let mut old = 0;
        ok(call!(module, C_OpenSession, 0, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut old));
        ok(call!(module, C_Finalize, NO_ARGUMENT));
        ok(call!(module, C_Initialize, NO_ARGUMENT));
        let mut new = 0;
        ok(call!(module, C_OpenSession, 0, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut new));
        assert_eq!(call!(module, C_CloseSession, old), CKR_SESSION_HANDLE_INVALID);
        ok(call!(module, C_CloseSession, new));
    }
}

/// Opens a session, finds the key and encrypts; the first answer that is not CKR_OK ends it.
fn encrypt_once(module: Module, key: kms::KeyId) -> CK_RV {
    let (mut session, mut object, mut count) = (0, 0, 0);
    let (mut out, mut len) = ([0u8; 128], 128);
    let mut template = attribute(CKA_ID, key.as_bytes());
    let mut how = mechanism(CKM_KMS_BLOB);
    let mut call_all = || -> Result<(), CK_RV> {
        let done = |answer| if answer == CKR_OK { Ok(()) } else { Err(answer) };
        done(call!(module, C_OpenSession, 0, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut session))?;
        done(call!(module, C_FindObjectsInit, session, &mut template, 1))?;
        done(call!(module, C_FindObjects, session, &mut object, 1, &mut count))?;
        done(call!(module, C_FindObjectsFinal, session))?;
        done(call!(module, C_EncryptInit, session, &mut how, object))?;
        done(call!(module, C_Encrypt, session, b"x".as_ptr().cast_mut(), 1, out.as_mut_ptr(), &mut len))?;
        done(call!(module, C_CloseSession, session))
    };
    call_all().err().unwrap_or(CKR_OK)
}

module_test! {
    fn a_pin_is_changed_and_other_root_slots_stay(folder) {
        let path = folder.join("keys.db");
        let open = |passphrase: &str| {
            let options = Options::new().root_passphrase(passphrase.as_bytes()).rotation_thread(false);
            Keystore::open(path.to_str().unwrap(), &options.create(true)).map_err(|error| error.status())
        };
        let keystore = open(PASSPHRASE).unwrap();
        keystore.add_root_slot(&Options::new().root_key(&[9; 32]), Some("recovery")).unwrap();
        configure(folder, &format!("[[slot]]\nlabel = \"cards\"\nkeystore = \"{}\"\n", path.display()));
        let module = Module::initialized();
        let session = module.session();
        let change = |session, old: &str, new: &str| {
            let (old_len, new_len) = (old.len() as CK_ULONG, new.len() as CK_ULONG);
            call!(module, C_SetPIN, session, old.as_ptr().cast_mut(), old_len, new.as_ptr().cast_mut(), new_len)
        };
        let mut reader = 0;
        ok(call!(module, C_OpenSession, 0, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut reader));
        assert_eq!(change(reader, PASSPHRASE, "new"), CKR_SESSION_READ_ONLY);
        assert_eq!(change(99, PASSPHRASE, "new"), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(change(session.handle, "wrong", "new"), CKR_PIN_INCORRECT);
        assert_eq!(change(session.handle, "", "new"), CKR_PIN_INCORRECT);
        assert_eq!(change(session.handle, PASSPHRASE, ""), CKR_PIN_LEN_RANGE);
        assert_eq!(change(session.handle, PASSPHRASE, &"x".repeat(256)), CKR_PIN_LEN_RANGE);
        ok(change(session.handle, PASSPHRASE, PASSPHRASE));
        assert!(open(PASSPHRASE).is_ok());
        ok(change(session.handle, PASSPHRASE, "another passphrase"));
        assert_eq!(open(PASSPHRASE).map(drop), Err(kms::Status::WrongRootKey));
        let keystore = open("another passphrase").unwrap();
        let labels: Vec<_> = keystore.list_root_slots().unwrap().into_iter().map(|slot| slot.label).collect();
        assert_eq!(labels, [Some("recovery".to_owned()), None]);
        let login = |pin: &str| {
            call!(module, C_Login, session.handle, CKU_USER, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG)
        };
        assert_eq!(login(PASSPHRASE), CKR_PIN_INCORRECT);
        ok(login("another passphrase"));

        // As a crash between its two steps leaves it: both open, and the same call ends it.
        let third = Options::new().root_passphrase(b"third");
        keystore.add_root_slot(&third, None).unwrap();
        ok(change(session.handle, "another passphrase", "third"));
        assert_eq!(open("another passphrase").map(drop), Err(kms::Status::WrongRootKey));
        assert_eq!(open("third").unwrap().list_root_slots().unwrap().len(), 2);
    }
}

module_test! {
    fn sixteen_threads_share_the_module(folder) {
        let key = keystore(folder).create_key(&CreateKey::default()).unwrap();
        let module = Module::initialized();
        std::thread::scope(|scope| {
            for thread in 0..16u8 {
                scope.spawn(move || {
                    for round in 0..50u8 {
                        let session = module.session();
                        let handle = session.key(key);
                        let text = [thread, round, 7];
                        let (mut iv, mut aad) = ([thread + 1; 12], [round; 3]);
                        let mut parameters = gcm(&mut iv, &mut aad, 128);
                        let mut how = mechanism_with(CKM_AES_GCM, &mut parameters);
                        let sealed = session.encrypt(&mut how, handle, &text).unwrap();
                        assert_eq!(session.decrypt(&mut how, handle, &sealed).unwrap(), text);
                        ok(call!(module, C_CloseSession, session.handle));
                    }
                });
            }
        });
        let mut token = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
        ok(call!(module, C_GetTokenInfo, 0, &mut token));
        assert_eq!(token.ulSessionCount, 0);
    }
}
