//! How programs get the functions: C_GetFunctionList (2.40), C_GetInterface and C_GetInterfaceList (3.0). The module exports
//! these three alone.

#![allow(non_snake_case, reason = "the names are PKCS#11's")]

use std::ffi::CStr;

use cryptoki_sys::*;

use super::calls::*;
use super::guard::guard;
use super::ptr;
use super::refused::*;
use crate::fail::Fail;

/// Lists that programs read through mutable pointers, which C has no better type for.
struct Shared<T>(T);

// SAFETY: a static is never written; PKCS#11 forbids it to programs.
unsafe impl<T> Sync for Shared<T> {}

/// A list of the functions of 2.40, and of `more` that a later version has.
macro_rules! functions {
    ($list:ident, $major:literal, $minor:literal $(, $more:ident)* $(,)?) => {
        $list {
            version: CK_VERSION { major: $major, minor: $minor },
            C_Initialize: Some(C_Initialize),
            C_Finalize: Some(C_Finalize),
            C_GetInfo: Some(C_GetInfo),
            C_GetFunctionList: Some(C_GetFunctionList),
            C_GetSlotList: Some(C_GetSlotList),
            C_GetSlotInfo: Some(C_GetSlotInfo),
            C_GetTokenInfo: Some(C_GetTokenInfo),
            C_GetMechanismList: Some(C_GetMechanismList),
            C_GetMechanismInfo: Some(C_GetMechanismInfo),
            C_InitToken: Some(C_InitToken),
            C_InitPIN: Some(C_InitPIN),
            C_SetPIN: Some(C_SetPIN),
            C_OpenSession: Some(C_OpenSession),
            C_CloseSession: Some(C_CloseSession),
            C_CloseAllSessions: Some(C_CloseAllSessions),
            C_GetSessionInfo: Some(C_GetSessionInfo),
            C_GetOperationState: Some(C_GetOperationState),
            C_SetOperationState: Some(C_SetOperationState),
            C_Login: Some(C_Login),
            C_Logout: Some(C_Logout),
            C_CreateObject: Some(C_CreateObject),
            C_CopyObject: Some(C_CopyObject),
            C_DestroyObject: Some(C_DestroyObject),
            C_GetObjectSize: Some(C_GetObjectSize),
            C_GetAttributeValue: Some(C_GetAttributeValue),
            C_SetAttributeValue: Some(C_SetAttributeValue),
            C_FindObjectsInit: Some(C_FindObjectsInit),
            C_FindObjects: Some(C_FindObjects),
            C_FindObjectsFinal: Some(C_FindObjectsFinal),
            C_EncryptInit: Some(C_EncryptInit),
            C_Encrypt: Some(C_Encrypt),
            C_EncryptUpdate: Some(C_EncryptUpdate),
            C_EncryptFinal: Some(C_EncryptFinal),
            C_DecryptInit: Some(C_DecryptInit),
            C_Decrypt: Some(C_Decrypt),
            C_DecryptUpdate: Some(C_DecryptUpdate),
            C_DecryptFinal: Some(C_DecryptFinal),
            C_DigestInit: Some(C_DigestInit),
            C_Digest: Some(C_Digest),
            C_DigestUpdate: Some(C_DigestUpdate),
            C_DigestKey: Some(C_DigestKey),
            C_DigestFinal: Some(C_DigestFinal),
            C_SignInit: Some(C_SignInit),
            C_Sign: Some(C_Sign),
            C_SignUpdate: Some(C_SignUpdate),
            C_SignFinal: Some(C_SignFinal),
            C_SignRecoverInit: Some(C_SignRecoverInit),
            C_SignRecover: Some(C_SignRecover),
            C_VerifyInit: Some(C_VerifyInit),
            C_Verify: Some(C_Verify),
            C_VerifyUpdate: Some(C_VerifyUpdate),
            C_VerifyFinal: Some(C_VerifyFinal),
            C_VerifyRecoverInit: Some(C_VerifyRecoverInit),
            C_VerifyRecover: Some(C_VerifyRecover),
            C_DigestEncryptUpdate: Some(C_DigestEncryptUpdate),
            C_DecryptDigestUpdate: Some(C_DecryptDigestUpdate),
            C_SignEncryptUpdate: Some(C_SignEncryptUpdate),
            C_DecryptVerifyUpdate: Some(C_DecryptVerifyUpdate),
            C_GenerateKey: Some(C_GenerateKey),
            C_GenerateKeyPair: Some(C_GenerateKeyPair),
            C_WrapKey: Some(C_WrapKey),
            C_UnwrapKey: Some(C_UnwrapKey),
            C_DeriveKey: Some(C_DeriveKey),
            C_SeedRandom: Some(C_SeedRandom),
            C_GenerateRandom: Some(C_GenerateRandom),
            C_GetFunctionStatus: Some(C_GetFunctionStatus),
            C_CancelFunction: Some(C_CancelFunction),
            C_WaitForSlotEvent: Some(C_WaitForSlotEvent),
            $($more: Some($more),)*
        }
    };
}

static FUNCTIONS: Shared<CK_FUNCTION_LIST> = Shared(functions!(CK_FUNCTION_LIST, 2, 40));

static FUNCTIONS_3_0: Shared<CK_FUNCTION_LIST_3_0> = Shared(functions!(
    CK_FUNCTION_LIST_3_0,
    3,
    0,
    C_GetInterfaceList,
    C_GetInterface,
    C_LoginUser,
    C_SessionCancel,
    C_MessageEncryptInit,
    C_EncryptMessage,
    C_EncryptMessageBegin,
    C_EncryptMessageNext,
    C_MessageEncryptFinal,
    C_MessageDecryptInit,
    C_DecryptMessage,
    C_DecryptMessageBegin,
    C_DecryptMessageNext,
    C_MessageDecryptFinal,
    C_MessageSignInit,
    C_SignMessage,
    C_SignMessageBegin,
    C_SignMessageNext,
    C_MessageSignFinal,
    C_MessageVerifyInit,
    C_VerifyMessage,
    C_VerifyMessageBegin,
    C_VerifyMessageNext,
    C_MessageVerifyFinal,
));

const NAME: &CStr = c"PKCS 11";

/// The newest first: a program that names no version gets it.
static INTERFACES: Shared<[CK_INTERFACE; 2]> = Shared([
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTIONS_3_0.0).cast_mut().cast(),
        flags: CKF_INTERFACE_FORK_SAFE,
    },
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTIONS.0).cast_mut().cast(),
        flags: CKF_INTERFACE_FORK_SAFE,
    },
]);

/// # Safety
/// As PKCS#11 has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { ptr::write(list, (&raw const FUNCTIONS.0).cast_mut()) })
}

/// # Safety
/// As PKCS#11 has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { ptr::write_list(&INTERFACES.0, list, count) })
}

/// # Safety
/// As PKCS#11 has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    guard(|| {
        // SAFETY: null or terminated, and null or live.
        let (name, version) = unsafe {
            let name = if name.is_null() { NAME } else { CStr::from_ptr(name.cast()) };
            (name, version.as_ref().map(|version| (version.major, version.minor)))
        };
        let fits = |at: usize| match (at, version) {
            (_, None) => true,
            (0, Some(version)) => version == (3, 0),
            (_, Some(version)) => version == (2, 40),
        };
        let found = INTERFACES
            .0
            .iter()
            .enumerate()
            .find(|(at, interface)| name == NAME && fits(*at) && flags & !interface.flags == 0);
        let (_, found) = found.ok_or(Fail(CKR_FUNCTION_FAILED))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::write(interface, (&raw const *found).cast_mut()) }
    })
}
