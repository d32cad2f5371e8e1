//! Any sequence of PKCS#11 calls, in-process through the function list: an answer to each, no byte outside of a buffer, and
//! what was encrypted opens again.
#![no_main]

use std::cell::RefCell;
use std::ffi::c_void;
use std::path::PathBuf;
use std::ptr;

use arbitrary::Arbitrary;
use cryptoki_sys::*;
use kms::{CreateKey, Keystore, Options};
// Links the module's three functions.
use kms_pkcs11 as _;
use libfuzzer_sys::fuzz_target;

/// CKM_KMS_BLOB.
const BLOB: CK_MECHANISM_TYPE = 0xCB4D_5301;
const CALLS: usize = 40;

const KINDS: [CK_ATTRIBUTE_TYPE; 24] = [
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_ID,
    CKA_KEY_TYPE,
    CKA_VALUE,
    CKA_VALUE_LEN,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_MODIFIABLE,
    CKA_COPYABLE,
    CKA_DESTROYABLE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_START_DATE,
    CKA_CHECK_VALUE,
    CKA_UNIQUE_ID,
    CKA_LOCAL,
    CKA_TRUSTED,
    CKA_KEY_GEN_MECHANISM,
    CKA_MODULUS,
];
const MECHANISMS: [CK_MECHANISM_TYPE; 14] = [
    BLOB,
    CKM_AES_GCM,
    CKM_AES_KEY_WRAP,
    CKM_AES_KEY_WRAP_PAD,
    CKM_AES_KEY_WRAP_KWP,
    CKM_AES_CBC,
    CKM_AES_CBC_PAD,
    CKM_AES_ECB,
    CKM_AES_CTR,
    CKM_AES_KEY_GEN,
    CKM_GENERIC_SECRET_KEY_GEN,
    CKM_SHA256,
    CKM_SHA_1,
    CKM_RSA_PKCS,
];

#[derive(Arbitrary, Debug)]
enum Value {
    Number(u64),
    Flag(bool),
    Bytes(Vec<u8>),
    /// The label of the key that exists before the first call, or of one of its versions.
    Label(bool),
    Null(u8),
}

#[derive(Arbitrary, Debug)]
struct Attribute {
    kind: u8,
    value: Value,
}

#[derive(Arbitrary, Debug)]
enum Parameter {
    None,
    Bytes(Vec<u8>),
    Gcm { iv: Vec<u8>, zeros: bool, aad: Vec<u8>, tag_bits: u8, null_iv: bool },
}

#[derive(Arbitrary, Debug)]
struct How {
    kind: u8,
    parameter: Parameter,
}

#[derive(Arbitrary, Debug)]
enum Call {
    Initialize,
    Finalize,
    Info(u8),
    OpenSession { slot: u8, flags: u8 },
    CloseSession(u8),
    CloseAll(u8),
    SessionInfo(u8),
    Login(u8, u8, Vec<u8>),
    Logout(u8),
    SetPin(u8, Vec<u8>, Vec<u8>),
    FindInit(u8, Vec<Attribute>),
    Find(u8, u8),
    FindFinal(u8),
    Read(u8, u8, Vec<Attribute>),
    Set(u8, u8, Vec<Attribute>),
    Size(u8, u8),
    Generate(u8, How, Vec<Attribute>),
    GenerateUsual { session: u8, token: bool },
    Create(u8, Vec<Attribute>),
    CreateUsual(u8, [u8; 32]),
    Copy(u8, u8, Vec<Attribute>),
    Destroy(u8, u8),
    Init { decrypts: bool, session: u8, object: u8, how: How },
    Whole { decrypts: bool, session: u8, data: Vec<u8>, room: Option<u8> },
    Update { decrypts: bool, session: u8, data: Vec<u8>, room: Option<u8> },
    Final { decrypts: bool, session: u8, room: Option<u8> },
    DigestInit(u8, How),
    Digest { session: u8, data: Vec<u8>, room: Option<u8> },
    DigestUpdate(u8, Vec<u8>),
    DigestFinal(u8, Option<u8>),
    Wrap { session: u8, how: How, wrapping: u8, key: u8, room: Option<u8> },
    Unwrap { session: u8, how: How, unwrapping: u8, wrapped: Vec<u8>, template: Vec<Attribute> },
    Random(u8, u8),
    Cancel(u8, u8),
    SignInit(u8, How, u8),
    RoundTrip { session: u8, object: u8, gcm: bool, text: Vec<u8> },
    Rotate,
}

/// Templates and mechanisms with the memory that they point to.
struct Template {
    values: Vec<Vec<u8>>,
    attributes: Vec<CK_ATTRIBUTE>,
}

impl Template {
    fn new(from: Vec<Attribute>) -> Self {
        let kinds: Vec<_> =
            from.iter().map(|one| KINDS.get(one.kind as usize).copied().unwrap_or(one.kind.into())).collect();
        let nulls: Vec<_> = from.iter().map(|one| matches!(one.value, Value::Null(_))).collect();
        let mut values: Vec<Vec<u8>> = from
            .into_iter()
            .map(|one| match one.value {
                Value::Number(number) => number.to_ne_bytes().to_vec(),
                Value::Flag(flag) => vec![flag.into()],
                Value::Bytes(bytes) => bytes,
                Value::Label(of_version) => {
                    if of_version {
                        b"cards@1".to_vec()
                    } else {
                        b"cards".to_vec()
                    }
                }
                Value::Null(len) => vec![0; len.into()],
            })
            .collect();
        let attributes = kinds
            .into_iter()
            .zip(nulls)
            .zip(&mut values)
            .map(|((kind, null), value)| CK_ATTRIBUTE {
                type_: kind,
                pValue: if null { ptr::null_mut() } else { value.as_mut_ptr().cast() },
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect();
        Self { values, attributes }
    }

    fn parts(&mut self) -> (*mut CK_ATTRIBUTE, CK_ULONG) {
        (self.attributes.as_mut_ptr(), self.attributes.len() as CK_ULONG)
    }
}

struct Mechanism {
    raw: CK_MECHANISM,
    _gcm: Option<Box<CK_GCM_PARAMS>>,
    _memory: [Vec<u8>; 2],
}

impl Mechanism {
    fn new(how: How) -> Self {
        let kind = MECHANISMS.get(how.kind as usize).copied().unwrap_or(how.kind.into());
        let mut raw = CK_MECHANISM { mechanism: kind, pParameter: ptr::null_mut(), ulParameterLen: 0 };
        let (mut gcm, mut memory) = (None, [Vec::new(), Vec::new()]);
        match how.parameter {
            Parameter::None => {}
            Parameter::Bytes(bytes) => {
                memory[0] = bytes;
                // Any bytes may be the parameter of these alone: others hold pointers.
                if !matches!(kind, BLOB | CKM_AES_GCM) {
                    raw.pParameter = memory[0].as_mut_ptr().cast();
                    raw.ulParameterLen = memory[0].len() as CK_ULONG;
                }
            }
            Parameter::Gcm { iv, zeros, aad, tag_bits, null_iv } => {
                memory = [if zeros { vec![0; 12] } else { iv }, aad];
                let [iv, aad] = &mut memory;
                let made = gcm.insert(Box::new(CK_GCM_PARAMS {
                    pIv: if null_iv { ptr::null_mut() } else { iv.as_mut_ptr() },
                    ulIvLen: iv.len() as CK_ULONG,
                    ulIvBits: 0,
                    pAAD: aad.as_mut_ptr(),
                    ulAADLen: aad.len() as CK_ULONG,
                    ulTagBits: tag_bits.into(),
                }));
                raw.pParameter = ptr::from_mut(&mut **made).cast();
                raw.ulParameterLen = size_of::<CK_GCM_PARAMS>() as CK_ULONG;
            }
        }
        Self { raw, _gcm: gcm, _memory: memory }
    }
}

struct Fuzzed {
    folder: tempfile::TempDir,
    /// The keystore that each execution begins with.
    bytes: Vec<u8>,
    list: &'static CK_FUNCTION_LIST_3_0,
}

struct Handles {
    sessions: Vec<CK_SESSION_HANDLE>,
    objects: Vec<CK_OBJECT_HANDLE>,
}

fn pick(known: &[CK_ULONG], at: u8) -> CK_ULONG {
    known.get(usize::from(at) % (known.len() + 1)).copied().unwrap_or(at.into())
}

macro_rules! call {
    ($fuzzed:expr, $name:ident $(, $argument:expr)*) => {
        // SAFETY: live memory of the lengths that are passed.
        unsafe { $fuzzed.list.$name.expect("a whole list")($($argument),*) }
    };
}

impl Fuzzed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.db");
        let root = folder.path().join("root.key");
        let options = Options::new().root_key_file(&root).create(true).rotation_thread(false);
        let keystore = Keystore::open(path.to_str().expect("UTF-8"), &options).expect("a keystore");
        let key = keystore.create_key(&CreateKey::default()).expect("a key");
        keystore.create_alias(key, "alias/cards").expect("an alias");
        keystore.rotate(key).expect("a version");
        drop(keystore);
        let text =
            format!("[[slot]]\nlabel = \"cards\"\nkeystore = {path:?}\nroot_key_file = {root:?}\nversions = true\n");
        let config = folder.path().join("pkcs11.toml");
        std::fs::write(&config, text).expect("a configuration");
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("KMS_PKCS11_CONF", &config) };
        let mut interface = ptr::null_mut();
        // SAFETY: null asks for the newest interface, which is that of 3.0.
        let list = unsafe {
            let answer = C_GetInterface(ptr::null_mut(), ptr::null_mut(), &mut interface, 0);
            assert_eq!(answer, CKR_OK);
            &*(*interface).pFunctionList.cast()
        };
        Self { bytes: std::fs::read(&path).expect("a keystore"), folder, list }
    }

    fn keystore(&self) -> PathBuf {
        self.folder.path().join("keys.db")
    }

    fn initialize(&self) -> CK_RV {
        let mut arguments = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            // What a thread does is not of this execution alone.
            flags: CKF_LIBRARY_CANT_CREATE_OS_THREADS,
            pReserved: ptr::null_mut(),
        };
        call!(self, C_Initialize, (&raw mut arguments).cast())
    }

    fn begin(&self) -> Handles {
        std::fs::write(self.keystore(), &self.bytes).expect("a keystore");
        for beside in ["keys.db-gen", "keys.db-journal"] {
            let _ = std::fs::remove_file(self.folder.path().join(beside));
        }
        assert_eq!(self.initialize(), CKR_OK);
        let mut handles = Handles { sessions: Vec::new(), objects: Vec::new() };
        self.run(Call::OpenSession { slot: 0, flags: 6 }, &mut handles);
        self.run(Call::FindInit(0, Vec::new()), &mut handles);
        self.run(Call::Find(0, 9), &mut handles);
        self.run(Call::FindFinal(0), &mut handles);
        assert_eq!(handles.objects.len(), 3, "a key and two versions");
        handles
    }

    /// Calls with a buffer of exactly `room` bytes, or with none.
    fn output(room: Option<u8>, call: impl FnOnce(*mut u8, *mut CK_ULONG) -> CK_RV) -> CK_RV {
        let mut buffer = vec![0xAA; room.unwrap_or(0).into()].into_boxed_slice();
        let mut len = buffer.len() as CK_ULONG;
        let out = if room.is_some() { buffer.as_mut_ptr() } else { ptr::null_mut() };
        let answer = call(out, &mut len);
        if answer == CKR_OK && room.is_some() {
            assert!(len <= buffer.len() as CK_ULONG, "more was written than there is room for");
        }
        if answer == CKR_BUFFER_TOO_SMALL {
            assert!(len > buffer.len() as CK_ULONG && buffer.iter().all(|byte| *byte == 0xAA), "a refused buffer");
        }
        answer
    }

    fn run(&self, one: Call, handles: &mut Handles) {
        let session = |at| pick(&handles.sessions, at);
        let object = |at| pick(&handles.objects, at);
        let (mut made, mut opened) = (None, None);
        let answer = match one {
            Call::Initialize => self.initialize(),
            Call::Finalize => call!(self, C_Finalize, ptr::null_mut()),
            Call::Info(what) => self.info(what),
            Call::OpenSession { slot, flags } => {
                let mut handle = 0;
                let answer = call!(self, C_OpenSession, slot.into(), flags.into(), ptr::null_mut(), None, &mut handle);
                opened = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::CloseSession(at) => call!(self, C_CloseSession, session(at)),
            Call::CloseAll(slot) => call!(self, C_CloseAllSessions, slot.into()),
            Call::SessionInfo(at) => {
                let mut info = std::mem::MaybeUninit::uninit();
                call!(self, C_GetSessionInfo, session(at), info.as_mut_ptr())
            }
            Call::Login(at, user, mut pin) => {
                call!(self, C_Login, session(at), user.into(), pin.as_mut_ptr(), pin.len() as CK_ULONG)
            }
            Call::Logout(at) => call!(self, C_Logout, session(at)),
            Call::SetPin(at, mut old, mut new) => {
                let (old_len, new_len) = (old.len() as CK_ULONG, new.len() as CK_ULONG);
                call!(self, C_SetPIN, session(at), old.as_mut_ptr(), old_len, new.as_mut_ptr(), new_len)
            }
            Call::FindInit(at, template) => {
                let mut template = Template::new(template);
                let (attributes, count) = template.parts();
                call!(self, C_FindObjectsInit, session(at), attributes, count)
            }
            Call::Find(at, room) => {
                let (mut found, mut count) = (vec![0; room.into()], 0);
                let answer = call!(self, C_FindObjects, session(at), found.as_mut_ptr(), room.into(), &mut count);
                if answer == CKR_OK {
                    assert!(count <= room.into());
                    found.truncate(count as usize);
                    found.retain(|handle| !handles.objects.contains(handle));
                    handles.objects.extend(found);
                }
                answer
            }
            Call::FindFinal(at) => call!(self, C_FindObjectsFinal, session(at)),
            Call::Read(at, of, template) => {
                let mut template = Template::new(template);
                let (attributes, count) = template.parts();
                let answer = call!(self, C_GetAttributeValue, session(at), object(of), attributes, count);
                for (attribute, value) in template.attributes.iter().zip(&template.values) {
                    let len = attribute.ulValueLen;
                    assert!(attribute.pValue.is_null() || len == CK_ULONG::MAX || len <= value.len() as CK_ULONG);
                }
                answer
            }
            Call::Set(at, of, template) => {
                let mut template = Template::new(template);
                let (attributes, count) = template.parts();
                call!(self, C_SetAttributeValue, session(at), object(of), attributes, count)
            }
            Call::Size(at, of) => {
                let mut size = 0;
                call!(self, C_GetObjectSize, session(at), object(of), &mut size)
            }
            Call::Generate(at, how, template) => {
                let (mut how, mut template, mut handle) = (Mechanism::new(how), Template::new(template), 0);
                let (attributes, count) = template.parts();
                let answer = call!(self, C_GenerateKey, session(at), &mut how.raw, attributes, count, &mut handle);
                made = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::GenerateUsual { session: at, token } => {
                let mut how = Mechanism::new(How { kind: 9, parameter: Parameter::None });
                let usual = [(1, Value::Flag(token)), (7, Value::Number(32))];
                let mut template =
                    Template::new(usual.into_iter().map(|(kind, value)| Attribute { kind, value }).collect());
                let ((attributes, count), mut handle) = (template.parts(), 0);
                let answer = call!(self, C_GenerateKey, session(at), &mut how.raw, attributes, count, &mut handle);
                made = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::Create(at, template) => {
                let (mut template, mut handle) = (Template::new(template), 0);
                let (attributes, count) = template.parts();
                let answer = call!(self, C_CreateObject, session(at), attributes, count, &mut handle);
                made = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::CreateUsual(at, value) => {
                let usual = [
                    (0, Value::Number(CKO_SECRET_KEY)),
                    (5, Value::Number(CKK_AES)),
                    (6, Value::Bytes(value.to_vec())),
                ];
                let mut template =
                    Template::new(usual.into_iter().map(|(kind, value)| Attribute { kind, value }).collect());
                let ((attributes, count), mut handle) = (template.parts(), 0);
                let answer = call!(self, C_CreateObject, session(at), attributes, count, &mut handle);
                made = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::Copy(at, of, template) => {
                let (mut template, mut handle) = (Template::new(template), 0);
                let (attributes, count) = template.parts();
                let answer = call!(self, C_CopyObject, session(at), object(of), attributes, count, &mut handle);
                made = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::Destroy(at, of) => call!(self, C_DestroyObject, session(at), object(of)),
            Call::Init { decrypts, session: at, object: of, how } => {
                let mut how = Mechanism::new(how);
                match decrypts {
                    true => call!(self, C_DecryptInit, session(at), &mut how.raw, object(of)),
                    false => call!(self, C_EncryptInit, session(at), &mut how.raw, object(of)),
                }
            }
            Call::Whole { decrypts, session: at, mut data, room } => Self::output(room, |out, len| {
                let (data_len, data) = (data.len() as CK_ULONG, data.as_mut_ptr());
                match decrypts {
                    true => call!(self, C_Decrypt, session(at), data, data_len, out, len),
                    false => call!(self, C_Encrypt, session(at), data, data_len, out, len),
                }
            }),
            Call::Update { decrypts, session: at, mut data, room } => Self::output(room, |out, len| {
                let (data_len, data) = (data.len() as CK_ULONG, data.as_mut_ptr());
                match decrypts {
                    true => call!(self, C_DecryptUpdate, session(at), data, data_len, out, len),
                    false => call!(self, C_EncryptUpdate, session(at), data, data_len, out, len),
                }
            }),
            Call::Final { decrypts, session: at, room } => Self::output(room, |out, len| match decrypts {
                true => call!(self, C_DecryptFinal, session(at), out, len),
                false => call!(self, C_EncryptFinal, session(at), out, len),
            }),
            Call::DigestInit(at, how) => call!(self, C_DigestInit, session(at), &mut Mechanism::new(how).raw),
            Call::Digest { session: at, mut data, room } => Self::output(room, |out, len| {
                call!(self, C_Digest, session(at), data.as_mut_ptr(), data.len() as CK_ULONG, out, len)
            }),
            Call::DigestUpdate(at, mut data) => {
                call!(self, C_DigestUpdate, session(at), data.as_mut_ptr(), data.len() as CK_ULONG)
            }
            Call::DigestFinal(at, room) => {
                Self::output(room, |out, len| call!(self, C_DigestFinal, session(at), out, len))
            }
            Call::Wrap { session: at, how, wrapping, key, room } => {
                let mut how = Mechanism::new(how);
                Self::output(room, |out, len| {
                    call!(self, C_WrapKey, session(at), &mut how.raw, object(wrapping), object(key), out, len)
                })
            }
            Call::Unwrap { session: at, how, unwrapping, mut wrapped, template } => {
                let (mut how, mut template, mut handle) = (Mechanism::new(how), Template::new(template), 0);
                let ((attributes, count), key) = (template.parts(), object(unwrapping));
                let (data, len) = (wrapped.as_mut_ptr(), wrapped.len() as CK_ULONG);
                let how = &mut how.raw;
                let answer = call!(self, C_UnwrapKey, session(at), how, key, data, len, attributes, count, &mut handle);
                made = (answer == CKR_OK).then_some(handle);
                answer
            }
            Call::Random(at, len) => {
                let mut out = vec![0; len.into()];
                call!(self, C_GenerateRandom, session(at), out.as_mut_ptr(), len.into())
            }
            Call::Cancel(at, flags) => call!(self, C_SessionCancel, session(at), CK_FLAGS::from(flags) << 8),
            Call::SignInit(at, how, of) => {
                call!(self, C_SignInit, session(at), &mut Mechanism::new(how).raw, object(of))
            }
            Call::RoundTrip { session: at, object: of, gcm, text } => {
                self.round_trip(session(at), object(of), gcm, text)
            }
            Call::Rotate => {
                // Another process rotates every key.
                let options = Options::new().root_key_file(self.folder.path().join("root.key")).rotation_thread(false);
                let opened = Keystore::open(self.keystore().to_str().expect("UTF-8"), &options).expect("a keystore");
                for key in opened.keys().map(|key| key.expect("a key")) {
                    let _ = opened.rotate(key.id);
                }
                CKR_OK
            }
        };
        // What no caller can bring about; a panic has ended the process already.
        let blameless = ![CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_HOST_MEMORY].contains(&answer);
        assert!(blameless, "CKR {answer:#x}");
        handles.sessions.extend(opened);
        handles.objects.extend(made);
    }

    fn info(&self, what: u8) -> CK_RV {
        let slot = CK_SLOT_ID::from(what / 8);
        match what % 5 {
            0 => call!(self, C_GetInfo, std::mem::MaybeUninit::uninit().as_mut_ptr()),
            1 => call!(self, C_GetSlotInfo, slot, std::mem::MaybeUninit::uninit().as_mut_ptr()),
            2 => call!(self, C_GetTokenInfo, slot, std::mem::MaybeUninit::uninit().as_mut_ptr()),
            3 => {
                let (mut list, mut count) = (vec![0; what.into()], what.into());
                call!(self, C_GetMechanismList, slot, list.as_mut_ptr(), &mut count)
            }
            _ => {
                let kind = MECHANISMS.get(usize::from(what / 5)).copied().unwrap_or_default();
                call!(self, C_GetMechanismInfo, slot, kind, std::mem::MaybeUninit::uninit().as_mut_ptr())
            }
        }
    }

    /// What a key encrypts, it decrypts.
    fn round_trip(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, gcm: bool, mut text: Vec<u8>) -> CK_RV {
        let how = || How {
            kind: u8::from(gcm),
            parameter: match gcm {
                true => {
                    Parameter::Gcm { iv: vec![7; 12], zeros: false, aad: vec![1, 2], tag_bits: 128, null_iv: false }
                }
                false => Parameter::None,
            },
        };
        let (mut sealing, mut opening) = (Mechanism::new(how()), Mechanism::new(how()));
        let (mut sealed, mut len) = (vec![0; text.len() + 80], text.len() as CK_ULONG + 80);
        let answer = call!(self, C_EncryptInit, session, &mut sealing.raw, object);
        if answer != CKR_OK {
            return answer;
        }
        let answer =
            call!(self, C_Encrypt, session, text.as_mut_ptr(), text.len() as CK_ULONG, sealed.as_mut_ptr(), &mut len);
        assert_eq!(answer, CKR_OK, "an operation that began");
        let answer = call!(self, C_DecryptInit, session, &mut opening.raw, object);
        if answer != CKR_OK {
            return answer;
        }
        let (mut opened, mut opened_len) = (vec![0; sealed.len()], sealed.len() as CK_ULONG);
        let answer = call!(self, C_Decrypt, session, sealed.as_mut_ptr(), len, opened.as_mut_ptr(), &mut opened_len);
        assert_eq!((answer, &opened[..opened_len as usize]), (CKR_OK, &*text));
        answer
    }
}

unsafe extern "C" {
    fn C_GetInterface(_: *mut u8, _: *mut CK_VERSION, _: *mut *mut CK_INTERFACE, _: CK_FLAGS) -> CK_RV;
}

thread_local! {
    static FUZZED: RefCell<Option<Fuzzed>> = const { RefCell::new(None) };
}

fuzz_target!(|calls: Vec<Call>| {
    FUZZED.with_borrow_mut(|fuzzed| {
        let fuzzed = fuzzed.get_or_insert_with(Fuzzed::new);
        let mut handles = fuzzed.begin();
        for one in calls.into_iter().take(CALLS) {
            fuzzed.run(one, &mut handles);
        }
        let _ = call!(fuzzed, C_Finalize, ptr::null_mut::<c_void>());
    });
});
