//! The memory of callers: each pointer is checked and read or written here.
//!
//! A pointer that is not null is the caller's promise that it names what PKCS#11 says; that is all that can be known.

use std::ffi::c_void;
use std::slice;

use cryptoki_sys::*;
use kms::internal::AesMode;

use crate::attribute::Template;
use crate::fail::{Fail, Result};
use crate::mechanism::{CKM_KMS_BLOB, Gcm, Mechanism, offers};
use crate::operation::{Output, Written};

const BAD: Fail = Fail(CKR_ARGUMENTS_BAD);
const BAD_PARAMETER: Fail = Fail(CKR_MECHANISM_PARAM_INVALID);
/// Attributes in one template.
const MOST_ATTRIBUTES: CK_ULONG = 256;
/// Bytes of one attribute, of AAD.
const MOST_BYTES: CK_ULONG = 1 << 20;

fn in_bounds(len: CK_ULONG, size: usize) -> Result<usize> {
    let len = usize::try_from(len).map_err(|_| BAD)?;
    match len.checked_mul(size).is_some_and(|bytes| isize::try_from(bytes).is_ok()) {
        true => Ok(len),
        false => Err(BAD),
    }
}

/// # Safety
/// `data` is null, or readable for `len` values as long as the result lives.
pub unsafe fn slice<'a, T>(data: *const T, len: CK_ULONG) -> Result<&'a [T]> {
    let len = in_bounds(len, size_of::<T>())?;
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(BAD),
        // SAFETY: the caller's promise; the length is in bounds.
        (false, _) => Ok(unsafe { slice::from_raw_parts(data, len) }),
    }
}

/// # Safety
/// `data` is null, or writable for `len` values as long as the result lives.
pub unsafe fn slice_mut<'a, T>(data: *mut T, len: CK_ULONG) -> Result<&'a mut [T]> {
    let len = in_bounds(len, size_of::<T>())?;
    match (data.is_null(), len) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(BAD),
        // SAFETY: the caller's promise; the length is in bounds.
        (false, _) => Ok(unsafe { slice::from_raw_parts_mut(data, len) }),
    }
}

/// # Safety
/// `place` is null, or writable for a value.
pub unsafe fn write<T>(place: *mut T, value: T) -> Result<()> {
    if place.is_null() {
        return Err(BAD);
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(value) };
    Ok(())
}

/// Copies a list by the two-call convention: null asks for the count.
///
/// # Safety
/// `count` is null or a live count; `list` is null or writable for as many values as it says.
pub unsafe fn write_list<T: Copy>(values: &[T], list: *mut T, count: *mut CK_ULONG) -> Result<()> {
    // SAFETY: null or live.
    let room = *unsafe { count.as_ref() }.ok_or(BAD)?;
    // SAFETY: not null, as it was just read.
    unsafe { write(count, values.len() as CK_ULONG)? };
    if list.is_null() {
        return Ok(());
    }
    if room < values.len() as CK_ULONG {
        return Err(Fail(CKR_BUFFER_TOO_SMALL));
    }
    // SAFETY: the caller's promise; the list has room.
    unsafe { slice_mut(list, values.len() as CK_ULONG)? }.copy_from_slice(values);
    Ok(())
}

/// An input that stays readable while the output is written: copied where they overlap.
///
/// # Safety
/// As for [`slice`]; `out` and `out_len` are as for [`result`].
pub unsafe fn input(
    data: *const u8,
    len: CK_ULONG,
    out: *const u8,
    out_len: *const CK_ULONG,
    copy: &mut zeroize::Zeroizing<Vec<u8>>,
) -> Result<&[u8]> {
    // SAFETY: the caller's promise.
    let data = unsafe { slice(data, len)? };
    // SAFETY: null or live.
    let room = unsafe { out_len.as_ref() }.map_or(0, |room| *room as usize);
    let (start, end) = (data.as_ptr() as usize, data.as_ptr() as usize + data.len());
    let overlaps = !out.is_null() && start < (out as usize).saturating_add(room) && (out as usize) < end;
    if !overlaps {
        return Ok(data);
    }
    copy.try_reserve_exact(data.len()).map_err(|_| Fail(CKR_HOST_MEMORY))?;
    copy.extend_from_slice(data);
    Ok(copy)
}

/// Runs a call that writes into a buffer of the caller's by the two-call convention.
///
/// # Safety
/// `out_len` is null or a live length; `out` is null or writable for as many bytes as it says.
pub unsafe fn result(
    out: *mut u8,
    out_len: *mut CK_ULONG,
    call: impl FnOnce(Output<'_>) -> Result<Written>,
) -> Result<()> {
    // SAFETY: null or live.
    let room = *unsafe { out_len.as_ref() }.ok_or(BAD)?;
    let output = match out.is_null() {
        true => Output::Size,
        // SAFETY: the caller's promise.
        false => Output::Buffer(unsafe { slice_mut(out, room)? }),
    };
    let (len, answer) = match call(output)? {
        Written::Size(len) | Written::Done(len) => (len, Ok(())),
        Written::TooSmall(len) => (len, Err(Fail(CKR_BUFFER_TOO_SMALL))),
    };
    // SAFETY: not null, as it was just read.
    unsafe { write(out_len, len as CK_ULONG)? };
    answer
}

/// # Safety
/// `attributes` is null or readable for `count` attributes, whose values are readable for their lengths.
pub unsafe fn template(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template> {
    if count > MOST_ATTRIBUTES {
        return Err(BAD);
    }
    let mut template = Template::default();
    // SAFETY: the caller's promise.
    for attribute in unsafe { slice(attributes, count)? } {
        if attribute.ulValueLen > MOST_BYTES {
            return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID));
        }
        // SAFETY: the caller's promise.
        let value = unsafe { slice(attribute.pValue.cast::<u8>(), attribute.ulValueLen)? };
        template.push(attribute.type_, value.to_vec())?;
    }
    Ok(template)
}

/// The type of a mechanism that takes no parameter, if it is offered for the purpose.
///
/// # Safety
/// `mechanism` is null or live.
pub unsafe fn mechanism_type(mechanism: *const CK_MECHANISM, purpose: CK_FLAGS) -> Result<CK_MECHANISM_TYPE> {
    // SAFETY: null or live.
    let given = unsafe { mechanism.as_ref() }.ok_or(BAD)?;
    match (offers(given.mechanism, purpose), given.ulParameterLen) {
        (false, _) => Err(Fail(CKR_MECHANISM_INVALID)),
        (true, 0) => Ok(given.mechanism),
        (true, _) => Err(BAD_PARAMETER),
    }
}

/// A mechanism with its parameters, if it is offered for the purpose.
///
/// # Safety
/// `mechanism` is null or live, and its parameter is readable for its length, as are the parts that it names.
pub unsafe fn mechanism(mechanism: *const CK_MECHANISM, purpose: CK_FLAGS) -> Result<Mechanism> {
    // SAFETY: null or live.
    let given = unsafe { mechanism.as_ref() }.ok_or(BAD)?;
    if !offers(given.mechanism, purpose) {
        return Err(Fail(CKR_MECHANISM_INVALID));
    }
    // SAFETY: the caller's promise.
    let parameter = || unsafe { slice(given.pParameter.cast::<u8>(), given.ulParameterLen) }.map_err(|_| BAD_PARAMETER);
    let none = || match parameter()? {
        [] => Ok(()),
        _ => Err(BAD_PARAMETER),
    };
    match given.mechanism {
        CKM_KMS_BLOB if given.pParameter.is_null() => Ok(Mechanism::Blob { aad: Vec::new() }),
        CKM_KMS_BLOB => {
            // SAFETY: the caller's promise.
            let parameters = unsafe { gcm(given)? };
            if parameters.ulIvLen != 0 {
                return Err(BAD_PARAMETER);
            }
            // SAFETY: the caller's promise.
            Ok(Mechanism::Blob { aad: unsafe { aad(&parameters)? }.to_vec() })
        }
        CKM_AES_GCM => {
            // SAFETY: the caller's promise.
            let parameters = unsafe { gcm(given)? };
            // SAFETY: the caller's promise.
            let (iv, aad) = unsafe { (slice(parameters.pIv, parameters.ulIvLen), aad(&parameters)?) };
            Gcm::new(iv.map_err(|_| BAD_PARAMETER)?, aad, parameters.ulTagBits).map(Mechanism::Gcm)
        }
        CKM_AES_KEY_WRAP => none().map(|()| Mechanism::KeyWrap { padded: false }),
        CKM_AES_KEY_WRAP_PAD | CKM_AES_KEY_WRAP_KWP => none().map(|()| Mechanism::KeyWrap { padded: true }),
        CKM_AES_ECB => none().and_then(|()| Mechanism::stream(AesMode::Ecb, &[])),
        CKM_AES_CBC => Mechanism::stream(AesMode::Cbc, parameter()?),
        CKM_AES_CBC_PAD => Mechanism::stream(AesMode::CbcPadded, parameter()?),
        CKM_AES_CTR => {
            // SAFETY: the caller's promise.
            let counter = unsafe { typed::<CK_AES_CTR_PARAMS>(given)? };
            // A shorter counter would wrap around earlier than libcrypto's, which has the whole block.
            match counter.ulCounterBits {
                1..=128 => Mechanism::stream(AesMode::Ctr, &counter.cb),
                _ => Err(BAD_PARAMETER),
            }
        }
        _ => Err(Fail(CKR_MECHANISM_INVALID)),
    }
}

/// A parameter of this type, copied: callers need not align it.
///
/// # Safety
/// The parameter is null, or readable for its length.
unsafe fn typed<T: Copy>(given: &CK_MECHANISM) -> Result<T> {
    if given.pParameter.is_null() || given.ulParameterLen as usize != size_of::<T>() {
        return Err(BAD_PARAMETER);
    }
    // SAFETY: readable for the size of a T by the caller's promise.
    Ok(unsafe { given.pParameter.cast::<T>().read_unaligned() })
}

/// The parameters of GCM as drafts of PKCS#11 2.40 had them, which some programs still pass.
#[repr(C)]
#[derive(Clone, Copy)]
struct GcmWithoutIvBits {
    iv: *mut CK_BYTE,
    iv_len: CK_ULONG,
    aad: *mut CK_BYTE,
    aad_len: CK_ULONG,
    tag_bits: CK_ULONG,
}

/// # Safety
/// As for [`typed`].
unsafe fn gcm(given: &CK_MECHANISM) -> Result<CK_GCM_PARAMS> {
    if given.ulParameterLen as usize != size_of::<GcmWithoutIvBits>() {
        // SAFETY: the caller's promise.
        return unsafe { typed(given) };
    }
    // SAFETY: the caller's promise.
    let old = unsafe { typed::<GcmWithoutIvBits>(given)? };
    let GcmWithoutIvBits { iv, iv_len, aad, aad_len, tag_bits } = old;
    Ok(CK_GCM_PARAMS { pIv: iv, ulIvLen: iv_len, ulIvBits: 0, pAAD: aad, ulAADLen: aad_len, ulTagBits: tag_bits })
}

/// # Safety
/// The AAD is readable for its length.
unsafe fn aad<'a>(parameters: &CK_GCM_PARAMS) -> Result<&'a [u8]> {
    if parameters.ulAADLen > MOST_BYTES {
        return Err(BAD_PARAMETER);
    }
    // SAFETY: the caller's promise.
    unsafe { slice(parameters.pAAD, parameters.ulAADLen) }.map_err(|_| BAD_PARAMETER)
}

/// Writes an IV that the module drew over the zeros that the caller passed.
///
/// # Safety
/// `mechanism` was read by [`mechanism`] and its IV is writable.
pub unsafe fn write_iv(mechanism: *const CK_MECHANISM, iv: Option<[u8; 12]>) -> Result<()> {
    let Some(iv) = iv else { return Ok(()) };
    // SAFETY: null or live.
    let given = unsafe { mechanism.as_ref() }.ok_or(BAD)?;
    // SAFETY: the caller's promise; GCM had an IV of 12 bytes.
    unsafe { slice_mut(gcm(given)?.pIv, iv.len() as CK_ULONG)? }.copy_from_slice(&iv);
    Ok(())
}

/// Writes one attribute's value, or why it has none, as C_GetAttributeValue answers.
///
/// # Safety
/// The value is null, or writable for its length.
pub unsafe fn write_attribute(attribute: &mut CK_ATTRIBUTE, value: Result<Vec<u8>>) -> Result<()> {
    let value = match value {
        Ok(value) => zeroize::Zeroizing::new(value),
        Err(fail) => {
            attribute.ulValueLen = CK_ULONG::MAX;
            return Err(fail);
        }
    };
    let room = std::mem::replace(&mut attribute.ulValueLen, value.len() as CK_ULONG);
    if attribute.pValue.is_null() {
        return Ok(());
    }
    if room < value.len() as CK_ULONG {
        attribute.ulValueLen = CK_ULONG::MAX;
        return Err(Fail(CKR_BUFFER_TOO_SMALL));
    }
    // SAFETY: the caller's promise.
    unsafe { slice_mut(attribute.pValue.cast::<u8>(), value.len() as CK_ULONG)? }.copy_from_slice(&value);
    Ok(())
}

/// # Safety
/// `args` is null, or a live CK_C_INITIALIZE_ARGS.
pub unsafe fn initialize_args(args: *const c_void) -> Result<CK_FLAGS> {
    // SAFETY: the caller's promise.
    let Some(args) = (unsafe { args.cast::<CK_C_INITIALIZE_ARGS>().as_ref() }) else { return Ok(CKF_OS_LOCKING_OK) };
    if !args.pReserved.is_null() {
        return Err(BAD);
    }
    let given =
        [args.CreateMutex.is_some(), args.DestroyMutex.is_some(), args.LockMutex.is_some(), args.UnlockMutex.is_some()];
    match given {
        [false, false, false, false] => Ok(args.flags),
        // The system's locks are the only ones that are used.
        [true, true, true, true] if args.flags & CKF_OS_LOCKING_OK == 0 => Err(Fail(CKR_CANT_LOCK)),
        [true, true, true, true] => Ok(args.flags),
        _ => Err(BAD),
    }
}

/// Run by Miri, too (ci/stages/unit.sh).
#[cfg(test)]
mod tests;
