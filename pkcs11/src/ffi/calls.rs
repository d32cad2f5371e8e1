//! The functions of PKCS#11 that do something. Their contracts are PKCS#11's; `docs/pkcs11.md` says what is special.

#![allow(clippy::missing_safety_doc, reason = "the contract of every function is that of PKCS#11")]
#![allow(non_snake_case, reason = "the names are PKCS#11's")]

use std::ffi::c_void;
use std::path::PathBuf;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::guard::guard;
use super::{fork, log, ptr};
use crate::attribute::Made;
use crate::cipher;
use crate::config::{Config, DEFAULT_PATH};
use crate::fail::{Fail, Result};
use crate::operation::{Direction, Output, Written};
use crate::{digest, mechanism, object, pin, state};

const BAD: Fail = Fail(CKR_ARGUMENTS_BAD);

/// A text as PKCS#11 has it: padded with blanks, not terminated.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    // A cut must not leave half a character.
    let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    for (place, byte) in field.iter_mut().zip(text.bytes().take(end)) {
        *place = byte;
    }
    field
}

const MANUFACTURER: &str = "libkms";

fn library_version() -> CK_VERSION {
    let mut parts = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap_or(0));
    CK_VERSION { major: parts.next().unwrap_or(0), minor: parts.next().unwrap_or(0) }
}

pub unsafe extern "C" fn C_Initialize(args: *mut c_void) -> CK_RV {
    guard(|| {
        // SAFETY: the contract of the function.
        let flags = unsafe { ptr::initialize_args(args)? };
        if state::is_initialized() {
            return Err(Fail(CKR_CRYPTOKI_ALREADY_INITIALIZED));
        }
        fork::register();
        let config = Config::read(&configuration(), effective_user()).map_err(|text| {
            log::error(&text);
            Fail(CKR_GENERAL_ERROR)
        })?;
        let may_start_threads = flags & CKF_LIBRARY_CANT_CREATE_OS_THREADS == 0;
        state::initialize(config, may_start_threads).map_err(|(fail, text)| {
            log::error(&text);
            fail
        })
    })
}

unsafe extern "C" {
    /// From the C library; the crate libc lacks it.
    fn secure_getenv(name: *const std::ffi::c_char) -> *mut std::ffi::c_char;
}

/// Where the configuration is. A program with more rights than its user doesn't believe its environment.
fn configuration() -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: a terminated name; the value is copied before anything may change it.
    let value = unsafe {
        let value = secure_getenv(c"KMS_PKCS11_CONF".as_ptr());
        if value.is_null() { None } else { Some(std::ffi::CStr::from_ptr(value).to_owned()) }
    };
    match value {
        Some(path) => PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())),
        None => PathBuf::from(DEFAULT_PATH),
    }
}

fn effective_user() -> u32 {
    // SAFETY: takes nothing and never fails.
    unsafe { libc::geteuid() }
}

pub unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    guard(|| if reserved.is_null() { state::finalize() } else { Err(BAD) })
}

pub unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    guard(|| {
        state::with(|_| Ok(()))?;
        let found = CK_INFO {
            cryptokiVersion: CK_VERSION { major: 3, minor: 0 },
            manufacturerID: padded(MANUFACTURER),
            flags: 0,
            libraryDescription: padded("PKCS#11 module of libkms"),
            libraryVersion: library_version(),
        };
        // SAFETY: the contract of the function.
        unsafe { ptr::write(info, found) }
    })
}

pub unsafe extern "C" fn C_GetSlotList(_present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    guard(|| {
        let slots = state::with(|state| Ok((0..state.slots.len() as CK_SLOT_ID).collect::<Vec<_>>()))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::write_list(&slots, list, count) }
    })
}

pub unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    guard(|| {
        let keystore = state::with(|state| Ok(state.slot(slot)?.config.keystore.display().to_string()))?;
        let found = CK_SLOT_INFO {
            slotDescription: padded(&format!("libkms {keystore}")),
            manufacturerID: padded(MANUFACTURER),
            flags: CKF_TOKEN_PRESENT,
            hardwareVersion: CK_VERSION { major: 0, minor: 0 },
            firmwareVersion: library_version(),
        };
        // SAFETY: the contract of the function.
        unsafe { ptr::write(info, found) }
    })
}

pub unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    guard(|| {
        let (config, (sessions, writable)) = state::with(|state| {
            let config = state.slot(slot)?.config.clone();
            Ok((config, state.count_sessions(slot as usize)))
        })?;
        let mut flags = CKF_RNG | CKF_TOKEN_INITIALIZED;
        if config.needs_pin() {
            flags |= CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED;
        }
        if config.read_only {
            flags |= CKF_WRITE_PROTECTED;
        }
        let unknown = CK_ULONG::MAX;
        let found = CK_TOKEN_INFO {
            label: padded(&config.label),
            manufacturerID: padded(MANUFACTURER),
            model: padded("keystore"),
            serialNumber: padded(&serial(&config.keystore)),
            flags,
            ulMaxSessionCount: CK_EFFECTIVELY_INFINITE,
            ulSessionCount: sessions,
            ulMaxRwSessionCount: CK_EFFECTIVELY_INFINITE,
            ulRwSessionCount: writable,
            ulMaxPinLen: pin::MOST_BYTES as CK_ULONG,
            ulMinPinLen: CK_ULONG::from(config.needs_pin()),
            ulTotalPublicMemory: unknown,
            ulFreePublicMemory: unknown,
            ulTotalPrivateMemory: unknown,
            ulFreePrivateMemory: unknown,
            hardwareVersion: CK_VERSION { major: 0, minor: 0 },
            firmwareVersion: library_version(),
            utcTime: padded(""),
        };
        // SAFETY: the contract of the function.
        unsafe { ptr::write(info, found) }
    })
}

/// Sixteen digits that name the keystore's path: one that needs a PIN is known only by that.
fn serial(keystore: &std::path::Path) -> String {
    use sha2::Digest;
    use std::os::unix::ffi::OsStrExt;
    let hash = sha2::Sha256::digest(keystore.as_os_str().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.slot(slot).map(drop))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::write_list(&mechanism::list(), list, count) }
    })
}

pub unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.slot(slot).map(drop))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::write(info, mechanism::info(kind)?) }
    })
}

pub unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _application: *mut c_void,
    _notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.slot(slot).map(drop))?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(Fail(CKR_SESSION_PARALLEL_NOT_SUPPORTED));
        }
        if session.is_null() {
            return Err(BAD);
        }
        let handle = state::with(|state| state.open_session(slot, flags & CKF_RW_SESSION != 0))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::write(session, handle) }
    })
}

pub unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    guard(|| state::with(|state| state.close_session(session)).map(drop))
}

pub unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    guard(|| {
        for session in state::with(|state| state.sessions_of(slot))? {
            // One that another thread has just closed is closed.
            drop(state::with(|state| Ok(state.close_session(session)))?);
        }
        Ok(())
    })
}

pub unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    guard(|| {
        let (slot, writable, logged_in) = state::with(|state| {
            let found = state.session(session)?;
            let (slot, writable) = (found.slot, found.writable);
            Ok((slot, writable, state.slot_of(session)?.logged_in))
        })?;
        let found = CK_SESSION_INFO {
            slotID: slot as CK_SLOT_ID,
            state: match (writable, logged_in) {
                (false, false) => CKS_RO_PUBLIC_SESSION,
                (false, true) => CKS_RO_USER_FUNCTIONS,
                (true, false) => CKS_RW_PUBLIC_SESSION,
                (true, true) => CKS_RW_USER_FUNCTIONS,
            },
            flags: CKF_SERIAL_SESSION | if writable { CKF_RW_SESSION } else { 0 },
            ulDeviceError: 0,
        };
        // SAFETY: the contract of the function.
        unsafe { ptr::write(info, found) }
    })
}

pub unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    len: CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        state::log_in(session, user, unsafe { ptr::slice(pin, len)? })
    })
}

pub unsafe extern "C" fn C_SetPIN(
    session: CK_SESSION_HANDLE,
    old: *mut CK_UTF8CHAR,
    old_len: CK_ULONG,
    new: *mut CK_UTF8CHAR,
    new_len: CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        unsafe { pin::change(session, ptr::slice(old, old_len)?, ptr::slice(new, new_len)?) }
    })
}

pub unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    guard(|| state::log_out(session))
}

pub unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        if object.is_null() {
            return Err(BAD);
        }
        // SAFETY: the contract of the function.
        unsafe { ptr::write(object, object::create(session, &ptr::template(attributes, count)?)?) }
    })
}

pub unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    copy: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        if copy.is_null() {
            return Err(BAD);
        }
        // SAFETY: the contract of the function.
        unsafe { ptr::write(copy, object::copy(session, object, &ptr::template(attributes, count)?)?) }
    })
}

pub unsafe extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    guard(|| object::destroy(session, object))
}

pub unsafe extern "C" fn C_GetObjectSize(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    size: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        object::show(session, object, false)?;
        // SAFETY: the contract of the function.
        unsafe { ptr::write(size, CK_ULONG::MAX) }
    })
}

pub unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        let attributes = unsafe { ptr::slice_mut(attributes, count)? };
        let with_names = attributes.iter().any(|attribute| attribute.type_ == CKA_LABEL);
        let shown = object::show(session, object, with_names)?;
        let mut done = Ok(());
        for attribute in attributes {
            // SAFETY: the contract of the function.
            let one = unsafe { ptr::write_attribute(attribute, shown.attribute(attribute.type_)) };
            done = done.and(one);
        }
        done
    })
}

pub unsafe extern "C" fn C_SetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        object::change(session, object, &unsafe { ptr::template(attributes, count)? })
    })
}

pub unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        object::find_init(session, unsafe { ptr::template(attributes, count)? })
    })
}

pub unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        if count.is_null() || (objects.is_null() && room > 0) {
            return Err(BAD);
        }
        let found = object::find(session, usize::try_from(room).unwrap_or(usize::MAX))?;
        // SAFETY: the contract of the function; no more are found than there is room for.
        unsafe {
            ptr::slice_mut(objects, found.len() as CK_ULONG)?.copy_from_slice(&found);
            ptr::write(count, found.len() as CK_ULONG)
        }
    })
}

pub unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    guard(|| object::find_final(session))
}

/// # Safety
/// As for C_EncryptInit.
unsafe fn init(
    session: CK_SESSION_HANDLE,
    direction: Direction,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    purpose: CK_FLAGS,
) -> Result<()> {
    if mechanism.is_null() {
        return cipher::cancel(session, direction);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let iv = cipher::init(session, direction, ptr::mechanism(mechanism, purpose), key)?;
        ptr::write_iv(mechanism, iv)
    }
}

type Process = fn(CK_SESSION_HANDLE, Direction, &[u8], Output<'_>) -> Result<Written>;

/// # Safety
/// As for C_Encrypt.
unsafe fn process(
    session: CK_SESSION_HANDLE,
    direction: Direction,
    process: Process,
    (data, len): (*const u8, CK_ULONG),
    out: *mut u8,
    out_len: *mut CK_ULONG,
) -> Result<()> {
    let mut copy = Zeroizing::new(Vec::new());
    // SAFETY: the caller's promise.
    let called = unsafe {
        ptr::input(data, len, out, out_len, &mut copy)
            .and_then(|input| ptr::result(out, out_len, |out| process(session, direction, input, out)))
    };
    if called == Err(BAD) {
        // A wrong argument ends the operation, as every failure does.
        cipher::cancel(session, direction)?;
    }
    called
}

pub unsafe extern "C" fn C_EncryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { init(session, Direction::Encrypt, mechanism, key, CKF_ENCRYPT) })
}

pub unsafe extern "C" fn C_Encrypt(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { process(session, Direction::Encrypt, cipher::whole, (data, len), out, out_len) })
}

pub unsafe extern "C" fn C_EncryptUpdate(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { process(session, Direction::Encrypt, cipher::part, (data, len), out, out_len) })
}

pub unsafe extern "C" fn C_EncryptFinal(
    session: CK_SESSION_HANDLE,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::result(out, out_len, |out| cipher::finish(session, Direction::Encrypt, out)) }
    })
}

pub unsafe extern "C" fn C_DecryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { init(session, Direction::Decrypt, mechanism, key, CKF_DECRYPT) })
}

pub unsafe extern "C" fn C_Decrypt(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { process(session, Direction::Decrypt, cipher::whole, (data, len), out, out_len) })
}

pub unsafe extern "C" fn C_DecryptUpdate(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the contract of the function.
    guard(|| unsafe { process(session, Direction::Decrypt, cipher::part, (data, len), out, out_len) })
}

pub unsafe extern "C" fn C_DecryptFinal(
    session: CK_SESSION_HANDLE,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        unsafe { ptr::result(out, out_len, |out| cipher::finish(session, Direction::Decrypt, out)) }
    })
}

pub unsafe extern "C" fn C_DigestInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        digest::init(session, unsafe { ptr::mechanism_type(mechanism, CKF_DIGEST)? })
    })
}

pub unsafe extern "C" fn C_Digest(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        let digest = digest::take(session)?;
        let before = digest.clone();
        let mut copy = Zeroizing::new(Vec::new());
        // SAFETY: the contract of the function.
        unsafe {
            let data = ptr::input(data, len, out, out_len, &mut copy)?;
            ptr::result(out, out_len, |out| {
                let mut digest = digest;
                if matches!(out, Output::Size) {
                    digest::put_back(session, before);
                    return Ok(Written::Size(digest.len()));
                }
                digest.update(data);
                let written = out.put(&digest.finish());
                if matches!(written, Written::TooSmall(_)) {
                    digest::put_back(session, before);
                }
                Ok(written)
            })
        }
    })
}

pub unsafe extern "C" fn C_DigestUpdate(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, len: CK_ULONG) -> CK_RV {
    guard(|| {
        let mut digest = digest::take(session)?;
        // SAFETY: the contract of the function.
        digest.update(unsafe { ptr::slice(data, len)? });
        digest::put_back(session, digest);
        Ok(())
    })
}

pub unsafe extern "C" fn C_DigestFinal(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, out_len: *mut CK_ULONG) -> CK_RV {
    guard(|| {
        let digest = digest::take(session)?;
        let before = digest.clone();
        // SAFETY: the contract of the function.
        unsafe {
            ptr::result(out, out_len, |out| {
                let written = out.put(&digest.finish());
                if !matches!(written, Written::Done(_)) {
                    digest::put_back(session, before);
                }
                Ok(written)
            })
        }
    })
}

pub unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        if key.is_null() {
            return Err(BAD);
        }
        // SAFETY: the contract of the function.
        unsafe {
            let (kind, template) = (ptr::mechanism_type(mechanism, CKF_GENERATE)?, ptr::template(attributes, count)?);
            ptr::write(key, object::generate(session, kind, &template)?)
        }
    })
}

pub unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        let mut drawn = None;
        // SAFETY: the contract of the function.
        unsafe {
            let given = ptr::mechanism(mechanism, CKF_WRAP)?;
            ptr::result(out, out_len, |out| {
                let (written, iv) = cipher::wrap(session, given, wrapping, key, out)?;
                drawn = iv;
                Ok(written)
            })?;
            ptr::write_iv(mechanism, drawn)
        }
    })
}

pub unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    len: CK_ULONG,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        if key.is_null() {
            return Err(BAD);
        }
        // SAFETY: the contract of the function.
        unsafe {
            let given = ptr::mechanism(mechanism, CKF_UNWRAP)?;
            let template = ptr::template(attributes, count)?;
            let value = cipher::unwrap(session, given, unwrapping, ptr::slice(wrapped, len)?)?;
            ptr::write(key, object::keep(session, value, &template, Made::Unwrapped)?)
        }
    })
}

pub unsafe extern "C" fn C_GenerateRandom(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, len: CK_ULONG) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        // SAFETY: the contract of the function.
        Ok(kms::internal::fill_random(unsafe { ptr::slice_mut(out, len)? })?)
    })
}

pub unsafe extern "C" fn C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> CK_RV {
    guard(|| {
        state::with(|state| state.session(session).map(drop))?;
        if flags & CKF_ENCRYPT != 0 {
            cipher::cancel(session, Direction::Encrypt)?;
        }
        if flags & CKF_DECRYPT != 0 {
            cipher::cancel(session, Direction::Decrypt)?;
        }
        if flags & CKF_DIGEST != 0 {
            state::with(|state| Ok(state.session(session)?.digest.take()))?;
        }
        if flags & CKF_FIND_OBJECTS != 0 {
            drop(state::with(|state| Ok(state.session(session)?.search.take()))?);
        }
        Ok(())
    })
}
