//! Many records in one call.

use std::ffi::c_char;

use super::crypt::{RawContext, context, copied_blob};
use super::guard::guard;
use super::open::{handle, kms_t};
use super::out::{MoveOut, OpenOut, Out, SealOut};
use super::ptr;
use super::status::{KMS_INTERNAL, KMS_OK, kms_status};
use super::types::{kms_batch_record, kms_context_entry};
use crate::error::{Error, Result, Status};
use crate::service::KeptContext;

/// The size of the first release's record, which was for 64 bits alone.
const FIRST_SIZE: usize = if cfg!(target_pointer_width = "64") { 80 } else { size_of::<kms_batch_record>() };
const _: () = assert!(size_of::<kms_batch_record>() == FIRST_SIZE);

/// A caller's array of records, whose elements may be longer or no longer than ours.
pub struct RecordArray {
    start: *mut u8,
    stride: usize,
    count: usize,
}

impl RecordArray {
    /// Checks the array, and marks every record as not reached.
    ///
    /// SAFETY: empty, or `count` records of `stride` bytes that only this call uses.
    pub unsafe fn new(records: *mut kms_batch_record, stride: usize, count: usize) -> Result<Self> {
        let invalid = |text: &'static str| Err(Status::InvalidArgument.error(text));
        if stride < FIRST_SIZE || !stride.is_multiple_of(align_of::<kms_batch_record>()) {
            return invalid("record_size is not the size of a kms_batch_record");
        }
        let bytes = count.checked_mul(stride).filter(|bytes| *bytes <= ptr::LONGEST);
        let Some(bytes) = bytes else { return invalid("the number of records is impossible") };
        ptr::check(records, bytes.min(1), "records")?;
        if count > 0 && !records.is_aligned() {
            return invalid("records is misaligned");
        }
        let records = Self { start: records.cast(), stride, count };
        for at in 0..count {
            // SAFETY: the caller's promise.
            if !unsafe { records.is_known(at) } {
                return invalid("a record uses fields that this version of the library does not know");
            }
        }
        for at in 0..count {
            // SAFETY: as above.
            unsafe { records.finish(at, KMS_INTERNAL, 0) };
        }
        Ok(records)
    }

    /// SAFETY: `at` is below `count`, as for the two below.
    unsafe fn record(&self, at: usize) -> *mut kms_batch_record {
        // SAFETY: inside the caller's array, whose start and stride are aligned.
        unsafe { self.start.add(at * self.stride).cast() }
    }

    unsafe fn is_known(&self, at: usize) -> bool {
        // SAFETY: the record is there and as long as the stride says.
        unsafe {
            let record = self.record(at);
            let beyond = record.cast::<u8>().add(FIRST_SIZE);
            (*record).reserved == 0 && (0..self.stride - FIRST_SIZE).all(|at| beyond.add(at).read() == 0)
        }
    }

    unsafe fn finish(&self, at: usize, status: kms_status, out_len: usize) {
        // SAFETY: the record is there.
        unsafe {
            let record = self.record(at);
            (&raw mut (*record).status).write(status);
            (&raw mut (*record).out_len).write(out_len);
        }
    }

    /// Call `body` with each record and a place for its size; store the outcome. Fails if any record did.
    ///
    /// SAFETY: as for `new`.
    pub unsafe fn each(&self, mut body: impl FnMut(&kms_batch_record, &mut usize) -> Result<()>) -> Result<()> {
        let (mut failed, mut first) = (0, None);
        for at in 0..self.count {
            // SAFETY: the record is there; it is copied, so that nothing of the caller's is borrowed.
            let record = unsafe { self.record(at).read() };
            let mut out_len = 0;
            let status = match body(&record, &mut out_len) {
                Ok(()) => KMS_OK,
                Err(error) => {
                    failed += 1;
                    let status = error.status() as kms_status;
                    first.get_or_insert((at, error));
                    status
                }
            };
            // SAFETY: as above.
            unsafe { self.finish(at, status, out_len) };
        }
        match first {
            None => Ok(()),
            Some((at, error)) => Err(Status::BatchPartial
                .error(format!("{failed} of {} records failed; the first is record {at}: {error}", self.count))),
        }
    }

    /// What fails the whole call is every record's status too.
    ///
    /// SAFETY: as for `new`.
    pub unsafe fn all<R>(&self, done: Result<R>) -> Result<R> {
        done.inspect_err(|error: &Error| {
            for at in 0..self.count {
                // SAFETY: the record is there.
                unsafe { self.finish(at, error.status() as kms_status, 0) };
            }
        })
    }
}

/// Both contexts of a record; the second is refused where it means nothing.
///
/// SAFETY: as for `context`.
unsafe fn no_destination(entries: *const kms_context_entry, count: usize) -> Result<()> {
    if !entries.is_null() || count != 0 {
        return Err(Status::InvalidArgument.error("destination_context is for kms_reencrypt_batch only"));
    }
    Ok(())
}

/// kms_encrypt_batch encrypts `count` records under the primary version of `key` (a key id or "alias/NAME"). All
/// records use the same version, even if the key rotates meanwhile. `record_size` is sizeof(kms_batch_record).
///
/// The call treats each record as kms_encrypt does, independently of the others, and sets its `status` and `out_len`.
/// It returns KMS_OK if every `status` is KMS_OK, otherwise KMS_BATCH_PARTIAL. A failure of the whole call, such as
/// KMS_KEY_NOT_FOUND or KMS_REJECTED_..., is returned and becomes the status of every record. Only KMS_INVALID_ARGUMENT
/// about `records` itself leaves the records unchanged.
///
/// Records must not share memory that the call writes.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_encrypt_batch(
    kms: *const kms_t,
    key: *const c_char,
    records: *mut kms_batch_record,
    record_size: usize,
    count: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let records = RecordArray::new(records, record_size, count)?;
        let named = handle(kms).and_then(|kms| Ok((kms, ptr::text_bytes(key, "key")?)));
        let (kms, key) = records.all(named)?;
        let mut kept = KeptContext::default();
        let done = kms.sealing(key, |sealing| {
            records.each(|record, out_len| {
                let out = Out::new(record.out, record.out_cap, out_len, "out_len")?;
                ptr::check(record.input, record.input_len, "input")?;
                no_destination(record.destination_context, record.destination_context_count)?;
                let context = RawContext::new(record.context, record.context_count, "context")?;
                let mut target = SealOut { out, plaintext: record.input, plaintext_len: record.input_len };
                kept.put(context.entries(), || sealing.put_context(context))?;
                sealing.seal(record.input_len, &mut target)
            })
        });
        records.all(done)?
    })
}

/// kms_decrypt_batch decrypts `count` records, each under the version that it names. `record_size` is
/// sizeof(kms_batch_record).
///
/// The call treats each record as kms_decrypt does, independently of the others; the keys may differ. It returns what
/// kms_encrypt_batch does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_decrypt_batch(
    kms: *const kms_t,
    records: *mut kms_batch_record,
    record_size: usize,
    count: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let records = RecordArray::new(records, record_size, count)?;
        let kms = records.all(handle(kms))?;
        let mut kept = KeptContext::default();
        let done = kms.opening(|opening| {
            records.each(|record, out_len| {
                let out = Out::new(record.out, record.out_cap, out_len, "out_len")?;
                let mut blob = ptr::slice(record.input, record.input_len, "input")?;
                no_destination(record.destination_context, record.destination_context_count)?;
                let context = RawContext::new(record.context, record.context_count, "context")?;
                let apart = !out.overlaps(record.input, record.input_len);
                let copied;
                if !apart {
                    // The output is about to be written over it.
                    copied = copied_blob(blob)?;
                    blob = &copied;
                }
                kept.put(context.entries(), || opening.put_context(context))?;
                opening.open(blob, &mut OpenOut { out, apart })
            })
        });
        records.all(done)?
    })
}

/// kms_reencrypt_batch re-encrypts `count` ciphertexts under the primary version of `destination_key` (a key id or
/// "alias/NAME"), all under the same version. With NULL, each is re-encrypted under the primary version of the key that
/// encrypted it. `record_size` is sizeof(kms_batch_record).
///
/// The call treats each record as kms_reencrypt does, independently of the others, but checks a destination key first,
/// once. It returns what kms_encrypt_batch does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_reencrypt_batch(
    kms: *const kms_t,
    destination_key: *const c_char,
    records: *mut kms_batch_record,
    record_size: usize,
    count: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let records = RecordArray::new(records, record_size, count)?;
        let named = handle(kms).and_then(|kms| Ok((kms, ptr::optional_text(destination_key, "destination_key")?)));
        let (kms, key) = records.all(named)?;
        let done = kms.resealing(key, |sealing| {
            records.each(|record, out_len| {
                let out = Out::new(record.out, record.out_cap, out_len, "out_len")?;
                let blob = ptr::slice(record.input, record.input_len, "input")?;
                let source = context(record.context, record.context_count, "context")?;
                let destination =
                    context(record.destination_context, record.destination_context_count, "destination_context")?;
                let own = out.overlaps(record.input, record.input_len).then(Vec::new);
                let mut target = MoveOut { out, own };
                sealing.reseal(blob, &source, &destination, &mut target)?;
                target.finish();
                Ok(())
            })
        });
        records.all(done)?
    })
}

#[cfg(test)]
mod tests;
