//! A keystore with its configuration, a process for each test, and short names for the calls of PKCS#11.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

pub use cryptoki_sys::*;
use kms::{KeyId, Keystore, Options};

pub const PASSPHRASE: &str = "correct horse battery staple";
pub const CKM_KMS_BLOB: CK_MECHANISM_TYPE = 0xCB4D_5301;

/// The folder of a test, in the process that runs it.
const FOLDER: &str = "KMS_PKCS11_TEST";

/// Runs `body` in a separate process, because the module's state belongs to the process.
pub fn isolated(test: &str, environment: &[(&str, &str)], body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let name = test.split_once("::").unwrap().1;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder.path())
        .env("KMS_PKCS11_CONF", folder.path().join("pkcs11.toml"))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{}\n{text}", output.status);
}

/// A test in a separate process and folder.
macro_rules! module_test {
    ($(#[$meta:meta])* fn $name:ident($folder:ident $(, $variable:literal = $value:literal)*) $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            let test = concat!(module_path!(), "::", stringify!($name));
            $crate::harness::isolated(test, &[$(($variable, $value)),*], |$folder| $body);
        }
    };
}
pub(crate) use module_test;

/// Writes a configuration that only its owner may write.
pub fn configure(folder: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("pkcs11.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

pub fn slot(folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!(
        "[[slot]]\nlabel = \"cards\"\nkeystore = \"{folder}/keys.db\"\nroot_key_file = \"{folder}/root.key\"\n{more}\n"
    )
}

/// The keystore of a slot with a key file, opened by the library itself, and its configuration.
pub fn keystore(folder: &Path) -> Keystore {
    keystore_with(folder, Options::new())
}

/// The same with other options, such as a manual clock.
pub fn keystore_with(folder: &Path, options: Options) -> Keystore {
    configure(folder, &slot(folder, ""));
    let options = options.root_key_file(folder.join("root.key")).create(true);
    Keystore::open(folder.join("keys.db").to_str().unwrap(), &options).unwrap()
}

pub fn module_path() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libkms_pkcs11.so")
}

/// The loaded module.
#[derive(Clone, Copy)]
pub struct Module(pub &'static CK_FUNCTION_LIST_3_0);

// SAFETY: an immutable table of functions.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

macro_rules! call {
    ($module:expr, $name:ident $(, $argument:expr)*) => {
        // SAFETY: each test passes the arguments that PKCS#11 requires, or invalid ones that it must refuse.
        unsafe { ($module.0.$name.unwrap())($($argument),*) }
    };
}
pub(crate) use call;

#[track_caller]
pub fn ok(answer: CK_RV) {
    assert_eq!(answer, CKR_OK, "CKR {answer:#x}");
}

pub fn symbol<T: Copy>(name: &std::ffi::CStr) -> T {
    let path = std::ffi::CString::new(module_path().to_str().unwrap()).unwrap();
    // SAFETY: terminated names; the symbol is a function of the type that the caller asks for.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null(), "{}", std::ffi::CStr::from_ptr(libc::dlerror()).to_string_lossy());
        let found = libc::dlsym(library, name.as_ptr());
        assert!(!found.is_null(), "{name:?} is not exported");
        std::mem::transmute_copy(&found)
    }
}

impl Module {
    pub fn load() -> Self {
        let get: unsafe extern "C" fn(*mut u8, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV =
            symbol(c"C_GetInterface");
        let mut interface = ptr::null_mut();
        // SAFETY: null asks for the newest interface.
        ok(unsafe { get(ptr::null_mut(), ptr::null_mut(), &mut interface, 0) });
        // SAFETY: the newest is that of 3.0.
        Self(unsafe { &*(*interface).pFunctionList.cast() })
    }

    pub fn initialized() -> Self {
        let module = Self::load();
        ok(call!(module, C_Initialize, ptr::null_mut()));
        module
    }

    pub fn session(self) -> Session {
        let mut handle = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        ok(call!(self, C_OpenSession, 0, flags, ptr::null_mut(), None, &mut handle));
        Session { module: self, handle }
    }
}

#[derive(Clone, Copy)]
pub struct Session {
    pub module: Module,
    pub handle: CK_SESSION_HANDLE,
}

pub fn attribute<T: ?Sized>(kind: CK_ATTRIBUTE_TYPE, value: &T) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: ptr::from_ref(value).cast_mut().cast(),
        ulValueLen: size_of_val(value) as CK_ULONG,
    }
}

pub fn mechanism(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: ptr::null_mut(), ulParameterLen: 0 }
}

pub fn mechanism_with<T: ?Sized>(kind: CK_MECHANISM_TYPE, parameter: &mut T) -> CK_MECHANISM {
    let len = size_of_val(parameter) as CK_ULONG;
    CK_MECHANISM { mechanism: kind, pParameter: ptr::from_mut(parameter).cast(), ulParameterLen: len }
}

pub fn gcm(iv: &mut [u8], aad: &mut [u8], tag_bits: CK_ULONG) -> CK_GCM_PARAMS {
    CK_GCM_PARAMS {
        pIv: if iv.is_empty() { ptr::null_mut() } else { iv.as_mut_ptr() },
        ulIvLen: iv.len() as CK_ULONG,
        ulIvBits: 0,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
        ulTagBits: tag_bits,
    }
}

impl Session {
    pub fn find(self, template: &mut [CK_ATTRIBUTE]) -> Vec<CK_OBJECT_HANDLE> {
        ok(call!(self.module, C_FindObjectsInit, self.handle, template.as_mut_ptr(), template.len() as CK_ULONG));
        let (mut found, mut all) = ([0; 7], Vec::new());
        loop {
            let mut count = 0;
            ok(call!(self.module, C_FindObjects, self.handle, found.as_mut_ptr(), 7, &mut count));
            all.extend_from_slice(&found[..count as usize]);
            if count == 0 {
                break;
            }
        }
        ok(call!(self.module, C_FindObjectsFinal, self.handle));
        all
    }

    pub fn by_label(self, label: &str) -> Vec<CK_OBJECT_HANDLE> {
        self.find(&mut [attribute(CKA_CLASS, &CKO_SECRET_KEY), attribute(CKA_LABEL, label)])
    }

    pub fn key(self, id: KeyId) -> CK_OBJECT_HANDLE {
        let found = self.find(&mut [attribute(CKA_ID, id.as_bytes())]);
        assert_eq!(found.len(), 1);
        found[0]
    }

    pub fn read(self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, CK_RV> {
        let mut asked = CK_ATTRIBUTE { type_: kind, pValue: ptr::null_mut(), ulValueLen: 0 };
        match call!(self.module, C_GetAttributeValue, self.handle, object, &mut asked, 1) {
            CKR_OK => {}
            answer => {
                let of_attribute = matches!(answer, CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID);
                assert!(!of_attribute || asked.ulValueLen == CK_ULONG::MAX);
                return Err(answer);
            }
        }
        let mut value = vec![0u8; asked.ulValueLen as usize];
        asked.pValue = value.as_mut_ptr().cast();
        ok(call!(self.module, C_GetAttributeValue, self.handle, object, &mut asked, 1));
        Ok(value)
    }

    pub fn generate(self, template: &mut [CK_ATTRIBUTE]) -> Result<CK_OBJECT_HANDLE, CK_RV> {
        let (mut made, mut kind) = (0, mechanism(CKM_AES_KEY_GEN));
        let count = template.len() as CK_ULONG;
        match call!(self.module, C_GenerateKey, self.handle, &mut kind, template.as_mut_ptr(), count, &mut made) {
            CKR_OK => Ok(made),
            answer => Err(answer),
        }
    }

    /// A session key of a value that the caller knows.
    pub fn create(self, value: &[u8]) -> CK_OBJECT_HANDLE {
        let mut template =
            [attribute(CKA_CLASS, &CKO_SECRET_KEY), attribute(CKA_KEY_TYPE, &CKK_AES), attribute(CKA_VALUE, value)];
        let mut made = 0;
        ok(call!(self.module, C_CreateObject, self.handle, template.as_mut_ptr(), 3, &mut made));
        made
    }

    pub fn encrypt(self, how: &mut CK_MECHANISM, key: CK_OBJECT_HANDLE, text: &[u8]) -> Result<Vec<u8>, CK_RV> {
        match call!(self.module, C_EncryptInit, self.handle, how, key) {
            CKR_OK => self.one_part(self.module.0.C_Encrypt, text),
            answer => Err(answer),
        }
    }

    pub fn decrypt(self, how: &mut CK_MECHANISM, key: CK_OBJECT_HANDLE, text: &[u8]) -> Result<Vec<u8>, CK_RV> {
        match call!(self.module, C_DecryptInit, self.handle, how, key) {
            CKR_OK => self.one_part(self.module.0.C_Decrypt, text),
            answer => Err(answer),
        }
    }

    /// Asks for the size, tries a buffer that is too small, then calls with enough.
    fn one_part(self, process: CK_C_Encrypt, text: &[u8]) -> Result<Vec<u8>, CK_RV> {
        // SAFETY: the text is only read; `out` has the length that `len` says.
        let pass = |out: *mut u8, len: &mut CK_ULONG| unsafe {
            process.unwrap()(self.handle, text.as_ptr().cast_mut(), text.len() as CK_ULONG, out, len)
        };
        let mut len = 0;
        match pass(ptr::null_mut(), &mut len) {
            CKR_OK => {}
            answer => return Err(answer),
        }
        let mut out = vec![0xAA; len as usize + 1];
        let mut small = 0;
        match pass(out.as_mut_ptr(), &mut small) {
            CKR_OK => {
                out.truncate(small as usize);
                return Ok(out);
            }
            CKR_BUFFER_TOO_SMALL => assert!(small <= len, "a size above the first answer"),
            answer => return Err(answer),
        }
        match pass(out.as_mut_ptr(), &mut len) {
            CKR_OK => {
                assert_eq!(out[len as usize], 0xAA, "nothing is written behind the result");
                out.truncate(len as usize);
                Ok(out)
            }
            answer => Err(answer),
        }
    }

    /// In parts of `size` bytes.
    pub fn in_parts(
        self,
        encrypts: bool,
        how: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        text: &[u8],
        size: usize,
    ) -> Vec<u8> {
        let list = self.module.0;
        let (init, update, end) = match encrypts {
            true => (list.C_EncryptInit, list.C_EncryptUpdate, list.C_EncryptFinal),
            false => (list.C_DecryptInit, list.C_DecryptUpdate, list.C_DecryptFinal),
        };
        let mut all = Vec::new();
        // SAFETY: the text is only read; each output has the length that is passed.
        unsafe {
            ok(init.unwrap()(self.handle, how, key));
            for part in text.chunks(size) {
                let mut out = vec![0; part.len() + 16];
                let mut len = out.len() as CK_ULONG;
                let part_len = part.len() as CK_ULONG;
                ok(update.unwrap()(self.handle, part.as_ptr().cast_mut(), part_len, out.as_mut_ptr(), &mut len));
                all.extend_from_slice(&out[..len as usize]);
            }
            let mut len = 0;
            ok(end.unwrap()(self.handle, ptr::null_mut(), &mut len));
            let mut out = vec![0; len as usize + 1];
            ok(end.unwrap()(self.handle, out.as_mut_ptr(), &mut len));
            all.extend_from_slice(&out[..len as usize]);
        }
        all
    }
}

pub const NO_ARGUMENT: *mut c_void = ptr::null_mut();
