//! The structs and constants that C callers fill and read.

#![allow(dead_code, reason = "constants are read by C, through the header")]

use std::ffi::{c_char, c_void};

use super::ptr::Sized32;
use crate::domain::id::TEXT_LEN;
use crate::service::Keystore;

/// Size of a buffer for an id: a UUID of 36 characters and its NUL.
pub const KMS_ID_SIZE: usize = 37;
/// A ciphertext is at most this many bytes longer than its plaintext (80 with today's algorithm).
pub const KMS_MAX_OVERHEAD: usize = 112;

const _: () = assert!(KMS_ID_SIZE == TEXT_LEN + 1);
const _: () = assert!(KMS_MAX_OVERHEAD >= crate::crypto::blob::OVERHEAD + 32);

/// kms_id_size returns KMS_ID_SIZE, for languages without C's macros.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_id_size() -> usize {
    KMS_ID_SIZE
}

/// kms_max_overhead returns KMS_MAX_OVERHEAD, for languages without C's macros.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_max_overhead() -> usize {
    KMS_MAX_OVERHEAD
}

/// The origin of a key's material: the library generates it.
pub const KMS_ORIGIN_KMS: i32 = 0;
/// The user imports it (BYOK).
pub const KMS_ORIGIN_EXTERNAL: i32 = 1;

/// States of a key. Only an Enabled key encrypts and decrypts.
pub const KMS_STATE_ENABLED: i32 = 1;
pub const KMS_STATE_DISABLED: i32 = 2;
pub const KMS_STATE_PENDING_DELETION: i32 = 3;
pub const KMS_STATE_PENDING_IMPORT: i32 = 4;

/// Automatic rotation of a key: off.
pub const KMS_ROTATION_DISABLED: i32 = 0;
/// On.
pub const KMS_ROTATION_ENABLED: i32 = 1;
/// On, but paused because the key is not Enabled.
pub const KMS_ROTATION_SUSPENDED: i32 = 2;

/// One entry of an encryption context: two texts in UTF-8. An empty value is fine, an empty key is not.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_context_entry {
    pub key: *const c_char,
    pub value: *const c_char,
}

/// One record of a batch call; start from KMS_BATCH_RECORD_INIT. Batch calls take an array of records, and the size of
/// one as `record_size`. Callers set the fields from `input` to `out_cap`; the call sets `out_len` and `status`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_batch_record {
    /// The plaintext or the ciphertext.
    pub input: *const u8,
    pub input_len: usize,
    /// The context to encrypt or decrypt with; for kms_reencrypt_batch, the current context of the ciphertext.
    pub context: *const kms_context_entry,
    pub context_count: usize,
    /// For kms_reencrypt_batch, the new context of the ciphertext; otherwise NULL and 0.
    pub destination_context: *const kms_context_entry,
    pub destination_context_count: usize,
    /// The output buffer, under the rules of Output above; NULL asks for the size. It may overlap `input`, but no
    /// memory of another record.
    pub out: *mut u8,
    pub out_cap: usize,
    pub out_len: usize,
    /// The result for this record.
    pub status: super::status::kms_status,
    /// 0.
    pub reserved: i32,
}

/// A label of a key: two texts in UTF-8.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_tag {
    pub name: *const c_char,
    pub value: *const c_char,
}

/// How to create a key; start from KMS_CREATE_KEY_OPTIONS_INIT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_create_key_options {
    pub struct_size: u32,
    /// KMS_ORIGIN_...
    pub origin: i32,
    /// At most 8192 characters; NULL: empty.
    pub description: *const c_char,
    /// 0 or 1.
    pub enable_automatic_rotation: i32,
    /// Seconds, 1 to 315360000 (3650 days); must be 0 while automatic rotation is off.
    pub rotation_interval_s: i64,
}

/// The metadata of a key; start from KMS_KEY_METADATA_INIT. Dates are Unix milliseconds, UTC; 0 means none.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_key_metadata {
    pub struct_size: u32,
    /// KMS_STATE_...
    pub state: i32,
    /// KMS_ORIGIN_...
    pub origin: i32,
    /// KMS_ROTATION_...
    pub automatic_rotation: i32,
    pub key_id: [c_char; KMS_ID_SIZE],
    /// The version that encrypts; empty while the key waits for its import.
    pub primary_version_id: [c_char; KMS_ID_SIZE],
    pub version_count: u64,
    /// Seconds; 0: no policy.
    pub rotation_interval_s: i64,
    pub creation_date_ms: i64,
    /// When the newest version was created.
    pub last_rotation_date_ms: i64,
    /// The last rotation plus the interval; may lie in the past while rotation is suspended.
    pub next_rotation_date_ms: i64,
    /// When the key will be destroyed; only while its deletion is pending.
    pub delete_date_ms: i64,
    /// When imported material expires: calls then refuse it, and the library erases it.
    pub material_expire_date_ms: i64,
    /// 1 if the key is protected from deletion.
    pub deletion_protection: i32,
    /// 1 if the key is service-managed (kms_create_service_key).
    pub service_managed: i32,
}

/// States of a version; the state of its key is checked first. An Enabled version decrypts, and the primary version
/// also encrypts.
pub const KMS_VERSION_ENABLED: i32 = 1;
/// A Disabled version decrypts nothing until it is enabled again.
pub const KMS_VERSION_DISABLED: i32 = 2;
/// The version decrypts nothing, as if Disabled, and will be destroyed.
pub const KMS_VERSION_PENDING_DELETION: i32 = 3;
/// The version's key material was destroyed; its id and number remain.
pub const KMS_VERSION_DESTROYED: i32 = 4;

/// One version of a key; start from KMS_KEY_VERSION_INIT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_key_version {
    pub struct_size: u32,
    /// 1 if this version encrypts.
    pub is_primary: i32,
    pub version_id: [c_char; KMS_ID_SIZE],
    /// 1 for the oldest version; numbers are never reused.
    pub number: u64,
    /// Unix milliseconds, UTC, as the other dates; 0: none.
    pub creation_date_ms: i64,
    /// KMS_VERSION_...
    pub state: i32,
    /// 0.
    pub reserved: i32,
    /// When the version will be destroyed; only while its deletion is pending.
    pub delete_date_ms: i64,
    /// The start of the day on which the version last encrypted, and last decrypted; 0 means that no use was recorded.
    /// The rotation thread, kms_tick or kms_close writes these dates. A read-only handle records no uses, and a crash may
    /// lose the uses of its last second.
    pub last_encrypt_date_ms: i64,
    pub last_decrypt_date_ms: i64,
}

/// One version of a key, and the number of blobs of a survey that it encrypted. It is valid only during the callback.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_survey_count {
    pub struct_size: u32,
    /// 1 if this version encrypts.
    pub is_primary: i32,
    pub key_id: [c_char; KMS_ID_SIZE],
    pub version_id: [c_char; KMS_ID_SIZE],
    /// 1 for the oldest version; numbers are never reused.
    pub number: u64,
    /// KMS_VERSION_...
    pub state: i32,
    /// 0.
    pub reserved: i32,
    /// The number of blobs; 0 means that no blob of the survey needs this version.
    pub count: u64,
}

/// What kms_inspect reports about a ciphertext (a blob); start from KMS_BLOB_INFO_INIT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_blob_info {
    pub struct_size: u32,
    /// 1: XAES-256-GCM.
    pub algorithm: i32,
    /// 0: encrypted without a context, 2: with one.
    pub context_type: i32,
    /// 1 if the version is the primary of `key_id` now; if 0, kms_reencrypt encrypts under the primary. An alias may
    /// have moved since: compare `key_id` with the key that the alias names.
    pub is_primary: i32,
    pub key_id: [c_char; KMS_ID_SIZE],
    pub version_id: [c_char; KMS_ID_SIZE],
}

/// Size of the header of an encrypted file, in bytes.
pub const KMS_FILE_HEADER_SIZE: usize = 8192;
/// Size of the `start` that kms_decrypt_stream takes, in bytes: the header and the beginning of the body.
pub const KMS_FILE_START_SIZE: usize = 8248;

const _: () = assert!(KMS_FILE_HEADER_SIZE == Keystore::FILE_HEADER_BYTES);
const _: () = assert!(KMS_FILE_START_SIZE == Keystore::FILE_START_BYTES);

/// kms_file_header_size returns KMS_FILE_HEADER_SIZE, for languages without C's macros.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_file_header_size() -> usize {
    KMS_FILE_HEADER_SIZE
}

/// kms_file_start_size returns KMS_FILE_START_SIZE, for languages without C's macros.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_file_start_size() -> usize {
    KMS_FILE_START_SIZE
}

/// Options of kms_encrypt_file and kms_decrypt_file; start from KMS_FILE_OPTIONS_INIT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_file_options {
    pub struct_size: u32,
    /// The number of threads that work on the file, the calling one included: 1 to 256. 0 means one per CPU, at most 4.
    pub threads: i32,
    /// 0 or 1. 1 replaces an existing target in one step, once the output is complete.
    pub replace: i32,
    /// NULL: none.
    pub progress: kms_progress_fn,
    /// Passed to `progress`.
    pub progress_user: *mut c_void,
}

/// What kms_inspect_file reports about an encrypted file; start from KMS_FILE_INFO_INIT.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_file_info {
    pub struct_size: u32,
    /// 1 if the version is the primary of `key_id` now; if 0, kms_reencrypt_file re-encrypts the file under the
    /// primary.
    pub is_primary: i32,
    pub key_id: [c_char; KMS_ID_SIZE],
    pub version_id: [c_char; KMS_ID_SIZE],
    /// Random; kms_reencrypt_file keeps it.
    pub file_id: [u8; 16],
    /// How often the header was written: 1 after encryption, one more after each re-encryption.
    pub sequence: u64,
    /// Bytes.
    pub plaintext_len: u64,
}

/// Padding for wrapping key material or a data key with an RSA-2048 public key: PKCS#1 v1.5.
pub const KMS_WRAPPING_PKCS1_V1_5: i32 = 1;
/// OAEP with SHA-1 and MGF1 with SHA-1.
pub const KMS_WRAPPING_OAEP_SHA_1: i32 = 2;
/// OAEP with SHA-256 and MGF1 with SHA-256.
pub const KMS_WRAPPING_OAEP_SHA_256: i32 = 3;

/// Kinds of events. A key has a new version, which is its primary now.
pub const KMS_EVENT_ROTATED: i32 = 1;
/// A due rotation could not be stored. Encryption continues under the old primary, and the rotation is tried again.
pub const KMS_EVENT_ROTATION_FAILED: i32 = 2;
/// A key and all its material were destroyed.
pub const KMS_EVENT_KEY_DESTROYED: i32 = 3;
/// A key's waiting period is over and its deletion date is reached. A second confirmation, at least an hour later,
/// destroys the key.
pub const KMS_EVENT_DELETION_DUE: i32 = 4;
/// The creation date of a key's newest version lies in the future: a clock is or was wrong.
pub const KMS_EVENT_CLOCK_SUSPECT: i32 = 5;
/// A key's row in the keystore is damaged or was altered.
pub const KMS_EVENT_KEY_DAMAGED: i32 = 6;
/// The rotation thread has stopped; every further call fails with KMS_POISONED.
pub const KMS_EVENT_THREAD_STOPPED: i32 = 7;
/// Imported material has expired and was erased; the key waits for it to be imported again.
pub const KMS_EVENT_MATERIAL_EXPIRED: i32 = 8;
/// The keystore's file was replaced or removed, or overwritten with a copy that has another history of changes. If that
/// history is the newer one, the handle continues with it; otherwise kms_health reports KMS_HEALTH_KEYSTORE_REPLACED.
pub const KMS_EVENT_KEYSTORE_REPLACED: i32 = 9;
/// A version's waiting period is over and its deletion date is reached. A second confirmation, at least an hour later,
/// destroys the version.
pub const KMS_EVENT_VERSION_DELETION_DUE: i32 = 10;
/// A version's key material was destroyed, after kms_schedule_key_version_deletion.
pub const KMS_EVENT_VERSION_DESTROYED: i32 = 11;
/// A due rotation waits until a recorded backup has the key's newest version (kms_options_set_require_backup). Each
/// handle reports it once for each key.
pub const KMS_EVENT_ROTATION_WAITS_FOR_BACKUP: i32 = 13;
/// A key rotated although no recorded backup has its former version: the longest wait of kms_options_set_require_backup
/// is over.
pub const KMS_EVENT_ROTATED_WITHOUT_BACKUP: i32 = 14;
/// The database of the keystore does not answer; the status is the reason. Keys in memory stay usable for the offline
/// limit (kms_options_set_offline_limit_s).
pub const KMS_EVENT_KEYSTORE_UNAVAILABLE: i32 = 15;
/// The database of the keystore answers again.
pub const KMS_EVENT_KEYSTORE_AVAILABLE: i32 = 16;
/// This host's clock differs by more than 2 s from the clock of the database, which decides what is due.
pub const KMS_EVENT_HOST_CLOCK_WRONG: i32 = 17;
/// The keystore's database lost changes that were seen before, as after a failover or a restored backup. Changes fail
/// with KMS_KEYSTORE_ROLLED_BACK until an operator accepts the loss (kms_options_set_accept_rollback).
pub const KMS_EVENT_KEYSTORE_ROLLED_BACK: i32 = 18;
/// The database lost this key version, which the handle had in memory. What was encrypted under it cannot be decrypted.
pub const KMS_EVENT_VERSION_LOST: i32 = 19;

/// A wait for kms_options_set_require_backup that suits most programs, in seconds: 7 days.
pub const KMS_BACKUP_WAIT_DEFAULT_S: i64 = 604_800;
/// The longest wait of kms_options_set_require_backup, in seconds: 30 days.
pub const KMS_BACKUP_WAIT_MAX_S: i64 = 2_592_000;

/// A notification about keys, caused by a call or by the clock. It is valid only during the callback.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_event {
    pub struct_size: u32,
    /// KMS_EVENT_...
    pub kind: i32,
    /// The reason, for kinds that are failures; otherwise KMS_OK.
    pub status: super::status::kms_status,
    /// NULL if the event concerns no single key.
    pub key_id: *const c_char,
    pub version_id: *const c_char,
    /// Unix milliseconds, UTC.
    pub time_ms: i64,
    /// For KMS_EVENT_KEY_DESTROYED and KMS_EVENT_VERSION_DESTROYED, the waiting time that the library counted, in
    /// milliseconds; otherwise 0.
    pub waited_ms: i64,
}

/// Key bytes may be swapped out: raise RLIMIT_MEMLOCK.
pub const KMS_HEALTH_MEMORY_NOT_LOCKED: u32 = 1;
/// The handle sees other processes' changes within 100 ms instead of at its next call.
pub const KMS_HEALTH_POLLING: u32 = 2;
/// The last pass of the rotation thread, over everything that is due, failed; the thread tries again.
pub const KMS_HEALTH_ROTATION_FAILING: u32 = 4;
/// The keystore was opened read-only: nothing rotates.
pub const KMS_HEALTH_READ_ONLY: u32 = 8;
/// No thread rotates: call kms_tick.
pub const KMS_HEALTH_NO_ROTATION_THREAD: u32 = 16;
/// A bug stopped the rotation thread; every other call fails with KMS_POISONED.
pub const KMS_HEALTH_THREAD_STOPPED: u32 = 32;
/// OpenSSL's cipher contexts, which hold keys, lie in ordinary memory that may be swapped out or dumped. The OpenSSL is
/// the system's, or the program used it before the library did.
pub const KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED: u32 = 64;
/// The keystore's path names another file, an older copy, or nothing. Changes and encryption fail with
/// KMS_KEYSTORE_REPLACED until the keystore is back at its path.
pub const KMS_HEALTH_KEYSTORE_REPLACED: u32 = 128;
/// The keystore may be in use through a second path; a crash would then damage it. Its file has several names (hard
/// links), or the kernel does not report whether the file alone is mounted. Use one path, and mount folders.
pub const KMS_HEALTH_PATH_UNVERIFIED: u32 = 256;

/// The rotation thread could not start, because the process or its user has too many threads. Meanwhile, calls rotate
/// the overdue keys that they use, and kms_tick does everything that is due. Every 5 seconds, a call tries again to
/// start the thread.
pub const KMS_HEALTH_THREAD_NOT_STARTED: u32 = 512;
/// The rotation thread made no progress for 10 seconds: a clock, a disk or another process holds it up.
pub const KMS_HEALTH_THREAD_STALLED: u32 = 1024;
/// The event callback is too slow: it missed `events_dropped` events.
pub const KMS_HEALTH_EVENTS_DROPPED: u32 = 2048;
/// The CPU lacks fast instructions for AES-GCM or random numbers, or OpenSSL is kept from using them. Encryption is
/// slower, and a copy of the running machine may repeat nonces: see docs/security.md, "Copies of a running machine".
pub const KMS_HEALTH_SLOW_CPU: u32 = 4096;
/// The database of the keystore does not answer. Keys in memory stay usable for the offline limit.
pub const KMS_HEALTH_KEYSTORE_UNAVAILABLE: u32 = 8192;
/// This host's clock differs by more than 2 s from the clock of the database: correct it.
pub const KMS_HEALTH_HOST_CLOCK_WRONG: u32 = 16384;
/// The keystore's database lost changes. Changes fail with KMS_KEYSTORE_ROLLED_BACK until an operator accepts the loss.
pub const KMS_HEALTH_ROLLED_BACK: u32 = 32768;

/// What kms_health reports; start from KMS_HEALTH_INFO_INIT. Counters start when this handle is opened.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_health_info {
    pub struct_size: u32,
    /// KMS_HEALTH_... bits; 0 means that all is well.
    pub flags: u32,
    pub rotations: u64,
    pub rotation_failures: u64,
    pub keys_destroyed: u64,
    /// Keys in memory now.
    pub keys_cached: u64,
    /// The keystore's generation, a number that grows by one with every change, by any process.
    pub generation: u64,
    /// Events that the callback did not receive, because more than 1024 waited for it.
    pub events_dropped: u64,
    /// Versions destroyed by kms_schedule_key_version_deletion.
    pub versions_destroyed: u64,
    /// How often the database was asked for changes, and answered; 0 for other keystores.
    pub polls: u64,
    /// How often the database became unavailable.
    pub absences: u64,
    /// How often the database was seen to have lost changes.
    pub rollbacks: u64,
    /// How long ago the last answered poll began, in milliseconds.
    pub age_ms: u64,
    /// How far this host's clock is ahead of the database's, in milliseconds; negative if it is behind.
    pub clock_ahead_ms: i64,
}

/// Kinds of roots, which open a keystore. A root key of 32 bytes, which the program passes or a file holds.
pub const KMS_ROOT_KEY: i32 = 1;
pub const KMS_ROOT_PASSPHRASE: i32 = 2;
pub const KMS_ROOT_CALLBACK: i32 = 3;

/// The maximum number of root slots in a keystore. A root slot is a copy of the store root key, wrapped under one root.
pub const KMS_MAX_ROOT_SLOTS: usize = 8;

/// A root slot: one root that opens the keystore. It is valid only during the callback.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_root_slot {
    pub struct_size: u32,
    /// KMS_ROOT_...
    pub kind: i32,
    pub slot_id: [c_char; KMS_ID_SIZE],
    /// Unix milliseconds, UTC; 0 for a slot of keystore format 1.
    pub creation_date_ms: i64,
    /// NULL if it has none.
    pub label: *const c_char,
    /// 1 if this root opened this handle.
    pub opened_this_handle: i32,
    /// 0.
    pub reserved: i32,
}

/// An entry of the change log: one change of the keystore, or one management call that was refused. It is valid only
/// during the callback.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kms_logged_change {
    pub struct_size: u32,
    /// KMS_OK for a change; the status of the failure for a refused call.
    pub status: super::status::kms_status,
    /// The keystore's generation after this entry; the next entry has the next number.
    pub generation: u64,
    /// The random id of the entry.
    pub change_id: [c_char; KMS_ID_SIZE],
    /// Unix milliseconds, UTC.
    pub time_ms: i64,
    /// Milliseconds since the machine started, time asleep included.
    pub boot_ms: i64,
    /// The actor, who made the change: the process, its real user and the file name of its program ("" if the kernel
    /// hides it). `actor` is the label of kms_options_set_actor, or NULL.
    pub process_id: u32,
    pub user_id: u32,
    pub program: *const c_char,
    pub actor: *const c_char,
    /// The name of the action, as in docs/actions.md. The clock causes RotateKeyAuto, DeleteKey, DeleteKeyVersion,
    /// DeleteExpiredKeyMaterial and RecordDates, and the end of a handle RecordRefusals. The PKCS#11 module causes
    /// ReserveMessages, a logical copy CopyKeystore.
    pub action: *const c_char,
    /// NULL unless the entry is about one key.
    pub key_id: *const c_char,
    /// NULL unless the entry is about one version.
    pub version_id: *const c_char,
    /// How many keys the change concerned; for CutChanges, how many entries it removed.
    pub count: u64,
    /// The number of refused calls of the same handle before this entry that have no entry.
    pub refusals_omitted: u64,
    /// The waiting time of a destroyed key or version that the library counted, in milliseconds; otherwise 0.
    pub waited_ms: i64,
    /// The keyed hash (MAC) over this entry and `previous_mac`, the MAC of the previous entry.
    pub mac: [u8; 32],
    pub previous_mac: [u8; 32],
}

/// Receive events one at a time, in order, while the library holds no lock. The callback may call any function except
/// kms_close.
///
/// If the rotation thread is on, a separate thread delivers the events, so a callback that blocks delays only other
/// events. Up to 1024 events wait. The library drops further ones, and kms_health counts them. kms_close waits up to 5
/// seconds for their delivery, then drops the rest. It does not end a callback that still runs, so `user` must stay
/// valid until the callback returns. Without the rotation thread, or while no thread can start, the call that causes an
/// event delivers it before the call returns. A forked child receives its own events only.
pub type kms_event_fn = Option<unsafe extern "C" fn(user: *mut c_void, event: *const kms_event)>;

/// Return the time in Unix milliseconds, UTC.
pub type kms_clock_fn = Option<unsafe extern "C" fn(user: *mut c_void) -> i64>;

/// Wrap or unwrap the store root key outside of the library, with authenticated symmetric encryption: see
/// kms_options_set_root_callback.
///
/// Write at most `out_cap` bytes (16384) to `out` and their number to `out_len`. Return KMS_OK, or any other status to
/// refuse. `aad` (additional authenticated data) is a text of at most 128 bytes, without NUL, that names the purpose
/// and the keystore. `wrap` must authenticate `aad` together with `input`; `unwrap` must fail unless `aad` is the same.
/// `aad_len` is 0 for a root slot of keystore format 1, which authenticated no such data.
pub type kms_wrap_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        input: *const u8,
        input_len: usize,
        aad: *const u8,
        aad_len: usize,
        out: *mut u8,
        out_cap: usize,
        out_len: *mut usize,
    ) -> super::status::kms_status,
>;

/// Read the last record of the anchor (see kms_options_set_anchor_callback). Write it to `out` and its length to
/// `out_len`; the length is 0 if there is no record yet. Return KMS_OK, or any other status to refuse.
pub type kms_anchor_get_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        out: *mut u8,
        out_cap: usize,
        out_len: *mut usize,
    ) -> super::status::kms_status,
>;

/// Store the anchor's record durably, in place of the previous one. The record holds no secret. Return KMS_OK once it
/// is durable.
pub type kms_anchor_put_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, record: *const u8, record_len: usize) -> super::status::kms_status>;

/// Receive the number of source bytes whose output is written so far. The call reports progress repeatedly, on its own
/// thread. Return KMS_OK to continue. Any other status ends the call, which then fails with that status and leaves no
/// output. If the number is no status, the call fails with KMS_FILE_IO.
pub type kms_progress_fn = Option<unsafe extern "C" fn(user: *mut c_void, done: u64) -> super::status::kms_status>;

/// Read an encrypted file from `offset`. Write at most `out_cap` bytes to `out` and their number to `out_len`. Fewer
/// bytes are fine; 0 means the end of the file. Return KMS_OK, or any other status to refuse.
///
/// The function runs on the thread of the reading call, so several threads may run it at once.
pub type kms_read_at_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        offset: u64,
        out: *mut u8,
        out_cap: usize,
        out_len: *mut usize,
    ) -> super::status::kms_status,
>;

/// Receive one key at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_key_fn = Option<unsafe extern "C" fn(user: *mut c_void, key: *const kms_key_metadata) -> i32>;

/// Receive one alias and its key at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_alias_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, alias: *const c_char, key_id: *const c_char) -> i32>;

/// Receive one tag at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_tag_fn = Option<unsafe extern "C" fn(user: *mut c_void, tag: *const kms_tag) -> i32>;

/// Receive one version at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_version_fn = Option<unsafe extern "C" fn(user: *mut c_void, version: *const kms_key_version) -> i32>;

/// Receive one version of a survey at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_survey_count_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, count: *const kms_survey_count) -> i32>;

/// Receive one root slot at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_root_slot_fn = Option<unsafe extern "C" fn(user: *mut c_void, slot: *const kms_root_slot) -> i32>;

/// Receive one fault of the keystore at a time. `key_id` names the affected key, or is NULL if the fault concerns no
/// single key. `status` is what uses of the damaged part fail with, and `text` is for people. Return 0 to continue, or
/// any other value to end the check.
pub type kms_visit_fault_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        key_id: *const c_char,
        status: super::status::kms_status,
        text: *const c_char,
    ) -> i32,
>;

/// Receive one entry of the change log at a time. Return 0 to continue, or any other value to end the list.
pub type kms_visit_change_fn = Option<unsafe extern "C" fn(user: *mut c_void, change: *const kms_logged_change) -> i32>;

macro_rules! sized {
    ($($name:ident: $first:literal),* $(,)?) => {$(
        // SAFETY: repr(C), the size first, integers, raw pointers and optional functions only.
        unsafe impl Sized32 for $name {
            // The first release was for 64 bits alone.
            const FIRST_SIZE: usize = if cfg!(target_pointer_width = "64") { $first } else { size_of::<$name>() };
        }
        const _: () = assert!(size_of::<$name>() >= <$name>::FIRST_SIZE);
    )*};
}

sized! {
    kms_create_key_options: 32,
    kms_key_metadata: 160,
    kms_key_version: 96,
    kms_blob_info: 92,
    kms_health_info: 104,
    kms_file_options: 32,
    kms_file_info: 120,
}

/// The id as text in a C array.
pub fn id_text(id: impl std::fmt::Display) -> [c_char; KMS_ID_SIZE] {
    let mut text = [0; KMS_ID_SIZE];
    for (to, from) in text.iter_mut().zip(id.to_string().bytes().take(TEXT_LEN)) {
        *to = from as c_char;
    }
    text
}
