//! SoftHSM2 through PKCS#11: a session key, AES-GCM by C_Encrypt and C_Decrypt.

use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_FALSE, CK_FUNCTION_LIST, CK_GCM_PARAMS, CK_KEY_TYPE, CK_MECHANISM, CK_OBJECT_CLASS,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TRUE, CKA_CLASS, CKA_DECRYPT, CKA_ENCRYPT, CKA_KEY_TYPE,
    CKA_TOKEN, CKA_VALUE, CKF_OS_LOCKING_OK, CKF_RW_SESSION, CKF_SERIAL_SESSION, CKK_AES, CKM_AES_GCM, CKO_SECRET_KEY,
    CKR_OK, CKU_USER,
};

use crate::cipher::{AAD, Cipher, KEY, Nonce, TAG};
use crate::dynamic::Object;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &[u8] = b"123456";

/// An initialised token; its files are in a folder that is removed with it.
pub struct Token {
    functions: &'static CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    _folder: tempfile::TempDir,
}

unsafe impl Sync for Token {}

macro_rules! call {
    ($token:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $token.$name {
            Some(function) => checked(stringify!($name), unsafe { function($($argument),*) }),
            None => Err(concat!("SoftHSM2 has no ", stringify!($name)).to_owned()),
        }
    };
}

fn checked(name: &str, result: CK_RV) -> Result<(), String> {
    if result == CKR_OK { Ok(()) } else { Err(format!("{name} failed with {result:#x}")) }
}

impl Token {
    /// Once in a process: PKCS#11 is initialised with it.
    pub fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let configuration = folder.path().join("softhsm2.conf");
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", folder.path().display());
        fs::write(&configuration, text).map_err(|e| e.to_string())?;
        // No other thread of this process runs yet.
        unsafe { std::env::set_var("SOFTHSM2_CONF", &configuration) };

        let object = Object::open(&module())?;
        let list = object.address(c"C_GetFunctionList").ok_or("no function C_GetFunctionList")?;
        let mut functions: *mut CK_FUNCTION_LIST = null_mut();
        unsafe {
            let list: unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV = std::mem::transmute(list);
            checked("C_GetFunctionList", list(&mut functions))?;
        }
        let functions = unsafe { &*functions };
        let mut arguments = cryptoki_sys::CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..Default::default() };
        call!(functions, C_Initialize((&raw mut arguments).cast()))?;

        let label = [b' '; 32];
        let first = first_slot(functions)?;
        call!(functions, C_InitToken(first, PIN.as_ptr().cast_mut(), PIN.len() as _, label.as_ptr().cast_mut()))?;
        // The token moves to its own slot.
        let slot = first_slot(functions)?;
        let token = Self { functions, slot, _folder: folder };
        let session = token.open_session()?;
        call!(functions, C_Login(session, cryptoki_sys::CKU_SO, PIN.as_ptr().cast_mut(), PIN.len() as _))?;
        call!(functions, C_InitPIN(session, PIN.as_ptr().cast_mut(), PIN.len() as _))?;
        call!(functions, C_Logout(session))?;
        call!(functions, C_Login(session, CKU_USER, PIN.as_ptr().cast_mut(), PIN.len() as _))?;
        Ok(token)
    }

    fn open_session(&self) -> Result<CK_SESSION_HANDLE, String> {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        call!(self.functions, C_OpenSession(self.slot, flags, null_mut(), None, &mut session))?;
        Ok(session)
    }

    /// A session with its key.
    pub fn session(&self) -> Result<Session, String> {
        let session = self.open_session()?;
        let mut class: CK_OBJECT_CLASS = CKO_SECRET_KEY;
        let mut kind: CK_KEY_TYPE = CKK_AES;
        let (mut yes, mut no): (CK_BBOOL, CK_BBOOL) = (CK_TRUE, CK_FALSE);
        let mut value = KEY;
        let mut template = [
            attribute(CKA_CLASS, &mut class),
            attribute(CKA_KEY_TYPE, &mut kind),
            attribute(CKA_TOKEN, &mut no),
            attribute(CKA_ENCRYPT, &mut yes),
            attribute(CKA_DECRYPT, &mut yes),
            attribute(CKA_VALUE, &mut value),
        ];
        let mut key = 0;
        let count = template.len() as _;
        call!(self.functions, C_CreateObject(session, template.as_mut_ptr(), count, &mut key))?;
        Ok(Session { functions: self.functions, session, key, nonce: Nonce::default() })
    }
}

fn module() -> PathBuf {
    std::env::var_os("SOFTHSM2_MODULE").map_or_else(|| Path::new(MODULE).to_owned(), PathBuf::from)
}

fn first_slot(functions: &CK_FUNCTION_LIST) -> Result<CK_SLOT_ID, String> {
    let mut slots = [0; 8];
    let mut count = slots.len() as _;
    call!(functions, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count))?;
    if count == 0 { Err("SoftHSM2 has no slot".to_owned()) } else { Ok(slots[0]) }
}

fn attribute<T>(kind: cryptoki_sys::CK_ATTRIBUTE_TYPE, value: &mut T) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE { type_: kind, pValue: (&raw mut *value).cast(), ulValueLen: size_of::<T>() as _ }
}

pub struct Session {
    functions: &'static CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    nonce: Nonce,
}

unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = call!(self.functions, C_CloseSession(self.session));
    }
}

fn parameters(nonce: &[u8; 12]) -> CK_GCM_PARAMS {
    CK_GCM_PARAMS {
        pIv: nonce.as_ptr().cast_mut(),
        ulIvLen: 12,
        ulIvBits: 96,
        pAAD: AAD.as_ptr().cast_mut(),
        ulAADLen: AAD.len() as _,
        ulTagBits: TAG as u64 as cryptoki_sys::CK_ULONG * 8,
    }
}

fn mechanism(parameters: &mut CK_GCM_PARAMS) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw mut *parameters).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as _,
    }
}

impl Cipher for Session {
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) {
        let mut parameters = parameters(self.nonce.next());
        let mut mechanism = mechanism(&mut parameters);
        let mut len = out.len() as _;
        let (text, size) = (plaintext.as_ptr().cast_mut(), plaintext.len() as _);
        call!(self.functions, C_EncryptInit(self.session, &mut mechanism, self.key)).expect("SoftHSM2");
        call!(self.functions, C_Encrypt(self.session, text, size, out.as_mut_ptr(), &mut len)).expect("SoftHSM2");
    }

    fn open(&mut self, sealed: &[u8], out: &mut [u8]) {
        let mut parameters = parameters(self.nonce.last());
        let mut mechanism = mechanism(&mut parameters);
        let mut len = out.len() as _;
        let (text, size) = (sealed.as_ptr().cast_mut(), sealed.len() as _);
        call!(self.functions, C_DecryptInit(self.session, &mut mechanism, self.key)).expect("SoftHSM2");
        call!(self.functions, C_Decrypt(self.session, text, size, out.as_mut_ptr(), &mut len)).expect("SoftHSM2");
    }
}
