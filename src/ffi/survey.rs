//! Surveys: count blobs by key and version.

use std::ffi::c_void;
use std::sync::{Arc, Weak};

use super::batch::RecordArray;
use super::guard::{guard, quietly};
use super::open::{handle, kms_t, weak};
use super::ptr;
use super::status::kms_status;
use super::types::{id_text, kms_batch_record, kms_survey_count, kms_visit_survey_count_fn};
use crate::error::{Result, Status};
use crate::service::{SurveyCount, Tally};

/// A survey: a count of blobs by key and version. Only one thread at a time may use it. In a forked child, every call
/// except kms_survey_free fails with KMS_FORKED. After kms_close, kms_survey_unreadable and kms_survey_free still work;
/// every other call fails with KMS_INVALID_ARGUMENT.
pub struct kms_survey_t {
    keystore: Weak<kms_t>,
    tally: Tally,
}

impl kms_survey_t {
    fn open(&mut self) -> Result<(Arc<kms_t>, &mut Tally)> {
        self.tally.check_process()?;
        let kms = self.keystore.upgrade();
        let closed = || Status::InvalidArgument.error("the keystore of the survey was closed; free the survey");
        Ok((kms.ok_or_else(closed)?, &mut self.tally))
    }
}

/// kms_begin_survey begins to count blobs by key and version, and stores the survey in `out`, or NULL on failure. A
/// survey shows which versions no blob needs any more. Free it with kms_survey_free.
///
///     kms_begin_survey(kms, &survey);
///     while (next_row(&blob, &blob_len)) {
///         kms_survey_add(survey, blob, blob_len);
///     }
///     kms_survey_counts(survey, print, NULL);
///     kms_survey_free(survey);
///
/// A survey reads headers, as kms_inspect does; it decrypts and authenticates nothing. It keeps no part of the blobs.
/// Its memory grows only with the number of different versions.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_begin_survey(kms: *const kms_t, out: *mut *mut kms_survey_t) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        let tally = Tally::begin(handle(kms)?)?;
        let survey = kms_survey_t { keystore: weak(kms)?, tally };
        *out = Box::into_raw(Box::new(survey));
        Ok(())
    })
}

/// kms_survey_add counts one blob, or an encrypted file by its first KMS_FILE_HEADER_SIZE bytes. It works in every state of the
/// key.
///
/// After KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND and KMS_KEY_VERSION_NOT_FOUND, the survey has counted the blob as
/// unreadable (kms_survey_unreadable). After any other failure, it has not counted the blob.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_survey_add(survey: *mut kms_survey_t, blob: *const u8, blob_len: usize) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (kms, tally) = ptr::exclusive(survey, "survey")?.open()?;
        tally.add(kms.keystore(), ptr::slice(blob, blob_len, "blob")?).map(drop)
    })
}

/// kms_survey_add_batch counts the `input` of `count` records, each as kms_survey_add does. `record_size` is
/// sizeof(kms_batch_record).
///
/// `out_len` becomes 0; contexts and `out` are not used. It returns what kms_encrypt_batch does: KMS_BATCH_PARTIAL if
/// the `status` of any record is not KMS_OK.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_survey_add_batch(
    survey: *mut kms_survey_t,
    records: *mut kms_batch_record,
    record_size: usize,
    count: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let records = RecordArray::new(records, record_size, count)?;
        let (kms, tally) = records.all(ptr::exclusive(survey, "survey").and_then(|survey| survey.open()))?;
        records
            .each(|record, _| tally.add(kms.keystore(), ptr::slice(record.input, record.input_len, "input")?).map(drop))
    })
}

/// kms_survey_counts passes every version of each counted key to `visit`, until `visit` returns a value other than 0.
/// Keys come in the order of their ids, versions newest first. Versions and their states are the current ones.
///
/// No blob of the survey needs a version that is not the primary and has a `count` of 0. The list leaves out keys
/// without a counted blob. Callers may add more blobs afterwards. Fails with KMS_KEY_NOT_FOUND if a key was destroyed
/// since it was counted. No lock is held while `visit` runs.
///
///     static int32_t print(void *user, const kms_survey_count *found) {
///         (void)user;
///         return printf("%s %" PRIu64 " %" PRIu64 "\n", found->key_id, found->number, found->count) < 0;
///     }
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_survey_counts(
    survey: *mut kms_survey_t,
    visit: kms_visit_survey_count_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        // `visit` may call the survey: it is borrowed no more by then, and the keystore neither.
        let counts = {
            let (kms, tally) = ptr::exclusive(survey, "survey")?.open()?;
            if visit.is_none() {
                return Err(Status::InvalidArgument.error("visit is NULL"));
            }
            tally.counts(kms.keystore())?
        };
        let Some(visit) = visit else { return Ok(()) };
        let _ = counts.iter().all(|count| visit(user, &shown(count)) == 0);
        Ok(())
    })
}

/// kms_survey_unreadable stores how many blobs the survey could not count by version. `malformed` counts inputs that
/// are no blobs, `unknown_key` blobs of a key that the keystore lacks. `unknown_version` counts blobs of a missing
/// version of one of its keys. Each may be NULL.
///
/// Examine such blobs before you destroy a version: they may belong to another keystore, or be damaged.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_survey_unreadable(
    survey: *mut kms_survey_t,
    malformed: *mut u64,
    unknown_key: *mut u64,
    unknown_version: *mut u64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        for out in [malformed, unknown_key, unknown_version] {
            ptr::write_if(out, 0);
        }
        let tally = &ptr::exclusive(survey, "survey")?.tally;
        tally.check_process()?;
        let found = tally.unreadable();
        ptr::write_if(malformed, found.malformed);
        ptr::write_if(unknown_key, found.unknown_key);
        ptr::write_if(unknown_version, found.unknown_version);
        Ok(())
    })
}

/// kms_survey_free frees a survey. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_survey_free(survey: *mut kms_survey_t) {
    quietly(|| {
        if !survey.is_null() {
            // SAFETY: from kms_begin_survey, and the caller uses it no more.
            drop(unsafe { Box::from_raw(survey) });
        }
    });
}

fn shown(found: &SurveyCount) -> kms_survey_count {
    kms_survey_count {
        struct_size: size_of::<kms_survey_count>() as u32,
        is_primary: i32::from(found.version.is_primary),
        key_id: id_text(found.key),
        version_id: id_text(found.version.id),
        number: found.version.number,
        state: found.version.state as i32,
        reserved: 0,
        count: found.count,
    }
}
