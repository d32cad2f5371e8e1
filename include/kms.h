/* libkms: an embedded key management service.
 *
 * A program opens a keystore, creates customer master keys (CMKs), and encrypts under them. The library rotates each key on
 * its schedule, and every old ciphertext stays readable.
 *
 *     kms_options_t *options = kms_options_new();
 *     kms_options_set_root_key_file(options, "root.key");         // made with the keystore if neither exists
 *     kms_options_set_create(options, 1);
 *     kms_open("keys.db", options, &kms);                         // check the status of every call
 *     kms_options_free(options);
 *     kms_create_key(kms, NULL, key_id);                          // char key_id[KMS_ID_SIZE]
 *     kms_encrypt(kms, key_id, text, text_len, NULL, 0, blob, sizeof blob, &blob_len);
 *     kms_rotate(kms, key_id, NULL);
 *     kms_decrypt(kms, blob, blob_len, NULL, 0, text, sizeof text, &text_len);
 *     kms_close(kms);
 *
 * The following holds for every function:
 *
 * Status     Functions return KMS_OK (0), or a status that states why they failed. Branch on the status; kms_last_error
 *            returns a text for people. Treat an unknown status as a failure. A call that fails has changed nothing;
 *            Keystore, below, lists the exceptions.
 * Threads    All threads may use one kms_t at once, without locks. Only one thread at a time may use a kms_options_t.
 *            kms_last_error describes the last call of the calling thread.
 * Text       Key ids, aliases, paths and descriptions are UTF-8, terminated by NUL.
 * Data       Data is a pointer and a length. (NULL, 0) is empty; NULL with another length is KMS_INVALID_ARGUMENT.
 * NULL       Unless documented otherwise, a NULL pointer is KMS_INVALID_ARGUMENT. A misaligned pointer is either
 *            accepted, or refused with KMS_INVALID_ARGUMENT.
 * Output     Callers pass a buffer `out` of `out_cap` bytes. The call stores the length of the result in `*out_len`. If
 *            `out` is NULL, the call only stores the exact size in `*out_len` and returns KMS_OK. It still checks
 *            arguments, existence and state first. If `out_cap` is too small, the call stores the size, leaves `out`
 *            untouched, and returns KMS_BUFFER_TOO_SMALL. After any other failure, `*out_len` is 0 and `out` holds no
 *            plaintext. Such a failure leaves `out` untouched, except in two cases, in which the library zeroes it. In
 *            the first case, a plaintext of more than 4096 bytes was not authentic. In the second, `out` overlapped a
 *            plaintext whose encryption failed (KMS_INTERNAL, KMS_RANDOM_FAILED).
 * Structs    Initialise a struct with its INIT macro, if it has one; the macro also sets `struct_size`. The program
 *            then also works with later versions of the library, whose structs may be longer. Three mistakes are
 *            KMS_INVALID_ARGUMENT: a size below that of this release, a size above 4096, and bytes other than zero
 *            beyond the library's own struct.
 * Flags      A flag is an int32_t, 0 or 1. Any other value is KMS_INVALID_ARGUMENT, as is an unknown value of an
 *            enumeration.
 * Keys       `key` accepts a key id or "alias/NAME"; `key_id` accepts a key id only, and refuses an alias with
 *            KMS_UNSUPPORTED_ALIAS. A call that accepts an id or an alias also accepts its resource name:
 *            "acs:kms:local:libkms:key/ID" or "acs:kms:local:libkms:alias/NAME". A text that is not a well-formed id is
 *            KMS_KEY_NOT_FOUND, and an empty text is KMS_INVALID_ARGUMENT.
 * Service    Keys, states, rotation and status codes follow Alibaba Cloud KMS (API 2016-01-20, "classic CMK"), which
 *            this header calls the service. kms_call runs each operation by the service's name for it: kms_rotate is
 *            CreateKeyVersion.
 * Order      A call checks its arguments first, then that the key exists, then the key's kind (imported material,
 *            service-managed), then its state.
 * Limits     A plaintext, context or description that is too long is KMS_LIMIT_EXCEEDED. Any other number out of its
 *            range is KMS_INVALID_ARGUMENT.
 * Keystore   A call that reads or changes the keystore can also fail with KMS_KEYSTORE_IO, KMS_KEYSTORE_BUSY,
 *            KMS_KEYSTORE_UNAVAILABLE, KMS_KEYSTORE_CORRUPT or KMS_KEYSTORE_REPLACED. On a handle that was opened read-only, a change fails with
 *            KMS_KEYSTORE_READ_ONLY, before anything else about the key is checked. With an anchor
 *            (kms_options_set_anchor_file), changes can also fail with KMS_ANCHOR_UNAVAILABLE and
 *            KMS_KEYSTORE_ROLLED_BACK. A change that fails with KMS_KEYSTORE_IO, KMS_KEYSTORE_UNAVAILABLE or
 *            KMS_ANCHOR_UNAVAILABLE may have been made: read the keystore before you repeat it.
 * Memory     If memory is short for an allocation whose size a caller or a file chooses, the call fails with
 *            KMS_OUT_OF_MEMORY. The call checks limits before it copies anything. A failed small allocation ends the
 *            process, as in any Rust code. Each call therefore first makes sure that 60 KiB are available; each
 *            transaction and each thread's first call require 2 MiB. Otherwise the call fails with KMS_OUT_OF_MEMORY.
 *            Two things can still end the process: another thread that takes this memory meanwhile, and a kernel that
 *            kills processes instead of refusing memory (overcommit).
 * Stack      A call needs at most 128 KiB of stack, plus what the program's callbacks use.
 * Callbacks  A callback runs while the library holds no lock. It may call any function except kms_close on its own
 *            handle. It must not throw or longjmp. A child that is forked in a callback must not return from it.
 * fork       A forked child may use its parent's handle, and close it. On first use in the child, the library makes a
 *            new connection, randomness and rotation thread for it. Calls on a "memory:" keystore return KMS_FORKED in
 *            the child. Do not fork in a signal handler that may have interrupted a call of the library. All three
 *            handlers of pthread_atfork (prepare, parent, child) may use the library.
 * Cancel     A thread that is cancelled (pthread_cancel) during a call ends after the call has returned. The library
 *            disables cancellation during the call and its callbacks; callbacks must not enable it. Asynchronous
 *            cancellation is not supported.
 * Signals    The library installs one signal handler, for SIGBUS, when the process opens its first keystore file. It
 *            claims only faults on the pages of PATH-gen, the generation file beside the keystore, which another
 *            program may truncate. It passes all other faults to the action that it replaced. A handler that the
 *            program installs later must chain to the one that it replaces. A thread that calls the library must not
 *            block SIGBUS. Otherwise truncating PATH-gen can end the process. The library's own threads block every
 *            other signal.
 * Files      The library never uses the file descriptors 0 to 2, and exec closes those that it uses. Between calls, a
 *            program may close descriptors that it does not know (closefrom): the next call reopens what it needs. A
 *            call that runs at that moment can fail with KMS_KEYSTORE_IO. Keystore, key file and anchor must belong to
 *            the process's user or to root. Do not copy files over those of an open keystore: see
 *            docs/keystore-format.md.
 * Misuse     Closing a handle twice, using it afterwards, or closing it while a call on it runs is undefined
 *            behaviour.
 */

#ifndef KMS_H
#define KMS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define KMS_MUST_USE __attribute__((warn_unused_result))
#else
#define KMS_MUST_USE
#endif

/* The first value of each struct: every field, in order. */
#define KMS_CREATE_KEY_OPTIONS_INIT \
    { (uint32_t)sizeof(kms_create_key_options), KMS_ORIGIN_KMS, NULL, 0, 0 }
#define KMS_KEY_METADATA_INIT \
    { (uint32_t)sizeof(kms_key_metadata), 0, 0, 0, { 0 }, { 0 }, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define KMS_KEY_VERSION_INIT \
    { (uint32_t)sizeof(kms_key_version), 0, { 0 }, 0, 0, 0, 0, 0, 0, 0 }
#define KMS_BATCH_RECORD_INIT \
    { NULL, 0, NULL, 0, NULL, 0, NULL, 0, 0, 0, 0 }
#define KMS_BLOB_INFO_INIT \
    { (uint32_t)sizeof(kms_blob_info), 0, 0, 0, { 0 }, { 0 } }
#define KMS_FILE_OPTIONS_INIT \
    { (uint32_t)sizeof(kms_file_options), 0, 0, NULL, NULL }
#define KMS_FILE_INFO_INIT \
    { (uint32_t)sizeof(kms_file_info), 0, { 0 }, { 0 }, { 0 }, 0, 0 }
#define KMS_HEALTH_INFO_INIT \
    { (uint32_t)sizeof(kms_health_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

// Size of a buffer for an id: a UUID of 36 characters and its NUL.
#define KMS_ID_SIZE 37

// A ciphertext is at most this many bytes longer than its plaintext (80 with today's algorithm).
#define KMS_MAX_OVERHEAD 112

// The origin of a key's material: the library generates it.
#define KMS_ORIGIN_KMS 0

// The user imports it (BYOK).
#define KMS_ORIGIN_EXTERNAL 1

// States of a key. Only an Enabled key encrypts and decrypts.
#define KMS_STATE_ENABLED 1

#define KMS_STATE_DISABLED 2

#define KMS_STATE_PENDING_DELETION 3

#define KMS_STATE_PENDING_IMPORT 4

// Automatic rotation of a key: off.
#define KMS_ROTATION_DISABLED 0

// On.
#define KMS_ROTATION_ENABLED 1

// On, but paused because the key is not Enabled.
#define KMS_ROTATION_SUSPENDED 2

// States of a version; the state of its key is checked first. An Enabled version decrypts, and the primary version
// also encrypts.
#define KMS_VERSION_ENABLED 1

// A Disabled version decrypts nothing until it is enabled again.
#define KMS_VERSION_DISABLED 2

// The version decrypts nothing, as if Disabled, and will be destroyed.
#define KMS_VERSION_PENDING_DELETION 3

// The version's key material was destroyed; its id and number remain.
#define KMS_VERSION_DESTROYED 4

// Size of the header of an encrypted file, in bytes.
#define KMS_FILE_HEADER_SIZE 8192

// Size of the `start` that kms_decrypt_stream takes, in bytes: the header and the beginning of the body.
#define KMS_FILE_START_SIZE 8248

// Padding for wrapping key material or a data key with an RSA-2048 public key: PKCS#1 v1.5.
#define KMS_WRAPPING_PKCS1_V1_5 1

// OAEP with SHA-1 and MGF1 with SHA-1.
#define KMS_WRAPPING_OAEP_SHA_1 2

// OAEP with SHA-256 and MGF1 with SHA-256.
#define KMS_WRAPPING_OAEP_SHA_256 3

// Kinds of events. A key has a new version, which is its primary now.
#define KMS_EVENT_ROTATED 1

// A due rotation could not be stored. Encryption continues under the old primary, and the rotation is tried again.
#define KMS_EVENT_ROTATION_FAILED 2

// A key and all its material were destroyed.
#define KMS_EVENT_KEY_DESTROYED 3

// A key's waiting period is over and its deletion date is reached. A second confirmation, at least an hour later,
// destroys the key.
#define KMS_EVENT_DELETION_DUE 4

// The creation date of a key's newest version lies in the future: a clock is or was wrong.
#define KMS_EVENT_CLOCK_SUSPECT 5

// A key's row in the keystore is damaged or was altered.
#define KMS_EVENT_KEY_DAMAGED 6

// The rotation thread has stopped; every further call fails with KMS_POISONED.
#define KMS_EVENT_THREAD_STOPPED 7

// Imported material has expired and was erased; the key waits for it to be imported again.
#define KMS_EVENT_MATERIAL_EXPIRED 8

// The keystore's file was replaced or removed, or overwritten with a copy that has another history of changes. If that
// history is the newer one, the handle continues with it; otherwise kms_health reports KMS_HEALTH_KEYSTORE_REPLACED.
#define KMS_EVENT_KEYSTORE_REPLACED 9

// A version's waiting period is over and its deletion date is reached. A second confirmation, at least an hour later,
// destroys the version.
#define KMS_EVENT_VERSION_DELETION_DUE 10

// A version's key material was destroyed, after kms_schedule_key_version_deletion.
#define KMS_EVENT_VERSION_DESTROYED 11

// A due rotation waits until a recorded backup has the key's newest version (kms_options_set_require_backup). Each
// handle reports it once for each key.
#define KMS_EVENT_ROTATION_WAITS_FOR_BACKUP 13

// A key rotated although no recorded backup has its former version: the longest wait of kms_options_set_require_backup
// is over.
#define KMS_EVENT_ROTATED_WITHOUT_BACKUP 14

// The database of the keystore does not answer; the status is the reason. Keys in memory stay usable for the offline
// limit (kms_options_set_offline_limit_s).
#define KMS_EVENT_KEYSTORE_UNAVAILABLE 15

// The database of the keystore answers again.
#define KMS_EVENT_KEYSTORE_AVAILABLE 16

// This host's clock differs by more than 2 s from the clock of the database, which decides what is due.
#define KMS_EVENT_HOST_CLOCK_WRONG 17

// The keystore's database lost changes that were seen before, as after a failover or a restored backup. Changes fail
// with KMS_KEYSTORE_ROLLED_BACK until an operator accepts the loss (kms_options_set_accept_rollback).
#define KMS_EVENT_KEYSTORE_ROLLED_BACK 18

// The database lost this key version, which the handle had in memory. What was encrypted under it cannot be decrypted.
#define KMS_EVENT_VERSION_LOST 19

// A wait for kms_options_set_require_backup that suits most programs, in seconds: 7 days.
#define KMS_BACKUP_WAIT_DEFAULT_S 604800

// The longest wait of kms_options_set_require_backup, in seconds: 30 days.
#define KMS_BACKUP_WAIT_MAX_S 2592000

// Key bytes may be swapped out: raise RLIMIT_MEMLOCK.
#define KMS_HEALTH_MEMORY_NOT_LOCKED 1

// The handle sees other processes' changes within 100 ms instead of at its next call.
#define KMS_HEALTH_POLLING 2

// The last pass of the rotation thread, over everything that is due, failed; the thread tries again.
#define KMS_HEALTH_ROTATION_FAILING 4

// The keystore was opened read-only: nothing rotates.
#define KMS_HEALTH_READ_ONLY 8

// No thread rotates: call kms_tick.
#define KMS_HEALTH_NO_ROTATION_THREAD 16

// A bug stopped the rotation thread; every other call fails with KMS_POISONED.
#define KMS_HEALTH_THREAD_STOPPED 32

// OpenSSL's cipher contexts, which hold keys, lie in ordinary memory that may be swapped out or dumped. The OpenSSL is
// the system's, or the program used it before the library did.
#define KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED 64

// The keystore's path names another file, an older copy, or nothing. Changes and encryption fail with
// KMS_KEYSTORE_REPLACED until the keystore is back at its path.
#define KMS_HEALTH_KEYSTORE_REPLACED 128

// The keystore may be in use through a second path; a crash would then damage it. Its file has several names (hard
// links), or the kernel does not report whether the file alone is mounted. Use one path, and mount folders.
#define KMS_HEALTH_PATH_UNVERIFIED 256

// The rotation thread could not start, because the process or its user has too many threads. Meanwhile, calls rotate
// the overdue keys that they use, and kms_tick does everything that is due. Every 5 seconds, a call tries again to
// start the thread.
#define KMS_HEALTH_THREAD_NOT_STARTED 512

// The rotation thread made no progress for 10 seconds: a clock, a disk or another process holds it up.
#define KMS_HEALTH_THREAD_STALLED 1024

// The event callback is too slow: it missed `events_dropped` events.
#define KMS_HEALTH_EVENTS_DROPPED 2048

// The CPU lacks fast instructions for AES-GCM or random numbers, or OpenSSL is kept from using them. Encryption is
// slower, and a copy of the running machine may repeat nonces: see docs/security.md, "Copies of a running machine".
#define KMS_HEALTH_SLOW_CPU 4096

// The database of the keystore does not answer. Keys in memory stay usable for the offline limit.
#define KMS_HEALTH_KEYSTORE_UNAVAILABLE 8192

// This host's clock differs by more than 2 s from the clock of the database: correct it.
#define KMS_HEALTH_HOST_CLOCK_WRONG 16384

// The keystore's database lost changes. Changes fail with KMS_KEYSTORE_ROLLED_BACK until an operator accepts the loss.
#define KMS_HEALTH_ROLLED_BACK 32768

// Kinds of roots, which open a keystore. A root key of 32 bytes, which the program passes or a file holds.
#define KMS_ROOT_KEY 1

#define KMS_ROOT_PASSPHRASE 2

#define KMS_ROOT_CALLBACK 3

// The maximum number of root slots in a keystore. A root slot is a copy of the store root key, wrapped under one root.
#define KMS_MAX_ROOT_SLOTS 8

// An encrypted file that is open for reading. Thread-safe: share one between all threads. It may be used in a forked child,
// and after kms_close.
typedef struct kms_file_t kms_file_t;

// Options of kms_open. Only one thread at a time may use them; kms_open copies what it needs.
typedef struct kms_options_t kms_options_t;

// A file that is encrypted or decrypted in pieces. Only one thread at a time may use it. Threads may use it after
// kms_close, but a forked child may not (KMS_FORKED).
typedef struct kms_stream_t kms_stream_t;

// A survey: a count of blobs by key and version. Only one thread at a time may use it. In a forked child, every call
// except kms_survey_free fails with KMS_FORKED. After kms_close, kms_survey_unreadable and kms_survey_free still work;
// every other call fails with KMS_INVALID_ARGUMENT.
typedef struct kms_survey_t kms_survey_t;

// An open keystore. Thread-safe: share one between all threads. `const kms_t *` in a function means that threads may
// share the handle.
typedef struct kms_t kms_t;

// The result of a call: KMS_OK, or why it failed. Statuses are grouped by hundreds: 1xx arguments, 2xx existence, 3xx
// state and kind of the key, 4xx cryptography, 5xx keystore, 6xx files, 9xx internal. Numbers are never reused; treat
// an unknown one as a failure.
typedef int32_t kms_status;

// Wrap or unwrap the store root key outside of the library, with authenticated symmetric encryption: see
// kms_options_set_root_callback.
//
// Write at most `out_cap` bytes (16384) to `out` and their number to `out_len`. Return KMS_OK, or any other status to
// refuse. `aad` (additional authenticated data) is a text of at most 128 bytes, without NUL, that names the purpose
// and the keystore. `wrap` must authenticate `aad` together with `input`; `unwrap` must fail unless `aad` is the same.
// `aad_len` is 0 for a root slot of keystore format 1, which authenticated no such data.
typedef kms_status (*kms_wrap_fn)(void *user,
                                  const uint8_t *input,
                                  size_t input_len,
                                  const uint8_t *aad,
                                  size_t aad_len,
                                  uint8_t *out,
                                  size_t out_cap,
                                  size_t *out_len);

// Return the time in Unix milliseconds, UTC.
typedef int64_t (*kms_clock_fn)(void *user);

// Read the last record of the anchor (see kms_options_set_anchor_callback). Write it to `out` and its length to
// `out_len`; the length is 0 if there is no record yet. Return KMS_OK, or any other status to refuse.
typedef kms_status (*kms_anchor_get_fn)(void *user, uint8_t *out, size_t out_cap, size_t *out_len);

// Store the anchor's record durably, in place of the previous one. The record holds no secret. Return KMS_OK once it
// is durable.
typedef kms_status (*kms_anchor_put_fn)(void *user, const uint8_t *record, size_t record_len);

// A notification about keys, caused by a call or by the clock. It is valid only during the callback.
typedef struct kms_event {
    uint32_t struct_size;
    // KMS_EVENT_...
    int32_t kind;
    // The reason, for kinds that are failures; otherwise KMS_OK.
    kms_status status;
    // NULL if the event concerns no single key.
    const char *key_id;
    const char *version_id;
    // Unix milliseconds, UTC.
    int64_t time_ms;
    // For KMS_EVENT_KEY_DESTROYED and KMS_EVENT_VERSION_DESTROYED, the waiting time that the library counted, in
    // milliseconds; otherwise 0.
    int64_t waited_ms;
} kms_event;

// Receive events one at a time, in order, while the library holds no lock. The callback may call any function except
// kms_close.
//
// If the rotation thread is on, a separate thread delivers the events, so a callback that blocks delays only other
// events. Up to 1024 events wait. The library drops further ones, and kms_health counts them. kms_close waits up to 5
// seconds for their delivery, then drops the rest. It does not end a callback that still runs, so `user` must stay
// valid until the callback returns. Without the rotation thread, or while no thread can start, the call that causes an
// event delivers it before the call returns. A forked child receives its own events only.
typedef void (*kms_event_fn)(void *user, const struct kms_event *event);

// How to create a key; start from KMS_CREATE_KEY_OPTIONS_INIT.
typedef struct kms_create_key_options {
    uint32_t struct_size;
    // KMS_ORIGIN_...
    int32_t origin;
    // At most 8192 characters; NULL: empty.
    const char *description;
    // 0 or 1.
    int32_t enable_automatic_rotation;
    // Seconds, 1 to 315360000 (3650 days); must be 0 while automatic rotation is off.
    int64_t rotation_interval_s;
} kms_create_key_options;

// The metadata of a key; start from KMS_KEY_METADATA_INIT. Dates are Unix milliseconds, UTC; 0 means none.
typedef struct kms_key_metadata {
    uint32_t struct_size;
    // KMS_STATE_...
    int32_t state;
    // KMS_ORIGIN_...
    int32_t origin;
    // KMS_ROTATION_...
    int32_t automatic_rotation;
    char key_id[KMS_ID_SIZE];
    // The version that encrypts; empty while the key waits for its import.
    char primary_version_id[KMS_ID_SIZE];
    uint64_t version_count;
    // Seconds; 0: no policy.
    int64_t rotation_interval_s;
    int64_t creation_date_ms;
    // When the newest version was created.
    int64_t last_rotation_date_ms;
    // The last rotation plus the interval; may lie in the past while rotation is suspended.
    int64_t next_rotation_date_ms;
    // When the key will be destroyed; only while its deletion is pending.
    int64_t delete_date_ms;
    // When imported material expires: calls then refuse it, and the library erases it.
    int64_t material_expire_date_ms;
    // 1 if the key is protected from deletion.
    int32_t deletion_protection;
    // 1 if the key is service-managed (kms_create_service_key).
    int32_t service_managed;
} kms_key_metadata;

// Receive one key at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_key_fn)(void *user, const struct kms_key_metadata *key);

// One entry of an encryption context: two texts in UTF-8. An empty value is fine, an empty key is not.
typedef struct kms_context_entry {
    const char *key;
    const char *value;
} kms_context_entry;

// What kms_inspect reports about a ciphertext (a blob); start from KMS_BLOB_INFO_INIT.
typedef struct kms_blob_info {
    uint32_t struct_size;
    // 1: XAES-256-GCM.
    int32_t algorithm;
    // 0: encrypted without a context, 2: with one.
    int32_t context_type;
    // 1 if the version is the primary of `key_id` now; if 0, kms_reencrypt encrypts under the primary. An alias may
    // have moved since: compare `key_id` with the key that the alias names.
    int32_t is_primary;
    char key_id[KMS_ID_SIZE];
    char version_id[KMS_ID_SIZE];
} kms_blob_info;

// One record of a batch call; start from KMS_BATCH_RECORD_INIT. Batch calls take an array of records, and the size of
// one as `record_size`. Callers set the fields from `input` to `out_cap`; the call sets `out_len` and `status`.
typedef struct kms_batch_record {
    // The plaintext or the ciphertext.
    const uint8_t *input;
    size_t input_len;
    // The context to encrypt or decrypt with; for kms_reencrypt_batch, the current context of the ciphertext.
    const struct kms_context_entry *context;
    size_t context_count;
    // For kms_reencrypt_batch, the new context of the ciphertext; otherwise NULL and 0.
    const struct kms_context_entry *destination_context;
    size_t destination_context_count;
    // The output buffer, under the rules of Output above; NULL asks for the size. It may overlap `input`, but no
    // memory of another record.
    uint8_t *out;
    size_t out_cap;
    size_t out_len;
    // The result for this record.
    kms_status status;
    // 0.
    int32_t reserved;
} kms_batch_record;

// One version of a key, and the number of blobs of a survey that it encrypted. It is valid only during the callback.
typedef struct kms_survey_count {
    uint32_t struct_size;
    // 1 if this version encrypts.
    int32_t is_primary;
    char key_id[KMS_ID_SIZE];
    char version_id[KMS_ID_SIZE];
    // 1 for the oldest version; numbers are never reused.
    uint64_t number;
    // KMS_VERSION_...
    int32_t state;
    // 0.
    int32_t reserved;
    // The number of blobs; 0 means that no blob of the survey needs this version.
    uint64_t count;
} kms_survey_count;

// Receive one version of a survey at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_survey_count_fn)(void *user, const struct kms_survey_count *count);

// Receive the number of source bytes whose output is written so far. The call reports progress repeatedly, on its own
// thread. Return KMS_OK to continue. Any other status ends the call, which then fails with that status and leaves no
// output. If the number is no status, the call fails with KMS_FILE_IO.
typedef kms_status (*kms_progress_fn)(void *user, uint64_t done);

// Options of kms_encrypt_file and kms_decrypt_file; start from KMS_FILE_OPTIONS_INIT.
typedef struct kms_file_options {
    uint32_t struct_size;
    // The number of threads that work on the file, the calling one included: 1 to 256. 0 means one per CPU, at most 4.
    int32_t threads;
    // 0 or 1. 1 replaces an existing target in one step, once the output is complete.
    int32_t replace;
    // NULL: none.
    kms_progress_fn progress;
    // Passed to `progress`.
    void *progress_user;
} kms_file_options;

// What kms_inspect_file reports about an encrypted file; start from KMS_FILE_INFO_INIT.
typedef struct kms_file_info {
    uint32_t struct_size;
    // 1 if the version is the primary of `key_id` now; if 0, kms_reencrypt_file re-encrypts the file under the
    // primary.
    int32_t is_primary;
    char key_id[KMS_ID_SIZE];
    char version_id[KMS_ID_SIZE];
    // Random; kms_reencrypt_file keeps it.
    uint8_t file_id[16];
    // How often the header was written: 1 after encryption, one more after each re-encryption.
    uint64_t sequence;
    // Bytes.
    uint64_t plaintext_len;
} kms_file_info;

// Read an encrypted file from `offset`. Write at most `out_cap` bytes to `out` and their number to `out_len`. Fewer
// bytes are fine; 0 means the end of the file. Return KMS_OK, or any other status to refuse.
//
// The function runs on the thread of the reading call, so several threads may run it at once.
typedef kms_status (*kms_read_at_fn)(void *user,
                                     uint64_t offset,
                                     uint8_t *out,
                                     size_t out_cap,
                                     size_t *out_len);

// One version of a key; start from KMS_KEY_VERSION_INIT.
typedef struct kms_key_version {
    uint32_t struct_size;
    // 1 if this version encrypts.
    int32_t is_primary;
    char version_id[KMS_ID_SIZE];
    // 1 for the oldest version; numbers are never reused.
    uint64_t number;
    // Unix milliseconds, UTC, as the other dates; 0: none.
    int64_t creation_date_ms;
    // KMS_VERSION_...
    int32_t state;
    // 0.
    int32_t reserved;
    // When the version will be destroyed; only while its deletion is pending.
    int64_t delete_date_ms;
    // The start of the day on which the version last encrypted, and last decrypted; 0 means that no use was recorded.
    // The rotation thread, kms_tick or kms_close writes these dates. A read-only handle records no uses, and a crash may
    // lose the uses of its last second.
    int64_t last_encrypt_date_ms;
    int64_t last_decrypt_date_ms;
} kms_key_version;

// Receive one version at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_version_fn)(void *user, const struct kms_key_version *version);

// Receive one alias and its key at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_alias_fn)(void *user, const char *alias, const char *key_id);

// A label of a key: two texts in UTF-8.
typedef struct kms_tag {
    const char *name;
    const char *value;
} kms_tag;

// Receive one tag at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_tag_fn)(void *user, const struct kms_tag *tag);

// What kms_health reports; start from KMS_HEALTH_INFO_INIT. Counters start when this handle is opened.
typedef struct kms_health_info {
    uint32_t struct_size;
    // KMS_HEALTH_... bits; 0 means that all is well.
    uint32_t flags;
    uint64_t rotations;
    uint64_t rotation_failures;
    uint64_t keys_destroyed;
    // Keys in memory now.
    uint64_t keys_cached;
    // The keystore's generation, a number that grows by one with every change, by any process.
    uint64_t generation;
    // Events that the callback did not receive, because more than 1024 waited for it.
    uint64_t events_dropped;
    // Versions destroyed by kms_schedule_key_version_deletion.
    uint64_t versions_destroyed;
    // How often the database was asked for changes, and answered; 0 for other keystores.
    uint64_t polls;
    // How often the database became unavailable.
    uint64_t absences;
    // How often the database was seen to have lost changes.
    uint64_t rollbacks;
    // How long ago the last answered poll began, in milliseconds.
    uint64_t age_ms;
    // How far this host's clock is ahead of the database's, in milliseconds; negative if it is behind.
    int64_t clock_ahead_ms;
} kms_health_info;

// Receive one fault of the keystore at a time. `key_id` names the affected key, or is NULL if the fault concerns no
// single key. `status` is what uses of the damaged part fail with, and `text` is for people. Return 0 to continue, or
// any other value to end the check.
typedef int32_t (*kms_visit_fault_fn)(void *user,
                                      const char *key_id,
                                      kms_status status,
                                      const char *text);

// A root slot: one root that opens the keystore. It is valid only during the callback.
typedef struct kms_root_slot {
    uint32_t struct_size;
    // KMS_ROOT_...
    int32_t kind;
    char slot_id[KMS_ID_SIZE];
    // Unix milliseconds, UTC; 0 for a slot of keystore format 1.
    int64_t creation_date_ms;
    // NULL if it has none.
    const char *label;
    // 1 if this root opened this handle.
    int32_t opened_this_handle;
    // 0.
    int32_t reserved;
} kms_root_slot;

// Receive one root slot at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_root_slot_fn)(void *user, const struct kms_root_slot *slot);

// An entry of the change log: one change of the keystore, or one management call that was refused. It is valid only
// during the callback.
typedef struct kms_logged_change {
    uint32_t struct_size;
    // KMS_OK for a change; the status of the failure for a refused call.
    kms_status status;
    // The keystore's generation after this entry; the next entry has the next number.
    uint64_t generation;
    // The random id of the entry.
    char change_id[KMS_ID_SIZE];
    // Unix milliseconds, UTC.
    int64_t time_ms;
    // Milliseconds since the machine started, time asleep included.
    int64_t boot_ms;
    // The actor, who made the change: the process, its real user and the file name of its program ("" if the kernel
    // hides it). `actor` is the label of kms_options_set_actor, or NULL.
    uint32_t process_id;
    uint32_t user_id;
    const char *program;
    const char *actor;
    // The name of the action, as in docs/actions.md. The clock causes RotateKeyAuto, DeleteKey, DeleteKeyVersion,
    // DeleteExpiredKeyMaterial and RecordDates, and the end of a handle RecordRefusals. The PKCS#11 module causes
    // ReserveMessages, a logical copy CopyKeystore.
    const char *action;
    // NULL unless the entry is about one key.
    const char *key_id;
    // NULL unless the entry is about one version.
    const char *version_id;
    // How many keys the change concerned; for CutChanges, how many entries it removed.
    uint64_t count;
    // The number of refused calls of the same handle before this entry that have no entry.
    uint64_t refusals_omitted;
    // The waiting time of a destroyed key or version that the library counted, in milliseconds; otherwise 0.
    int64_t waited_ms;
    // The keyed hash (MAC) over this entry and `previous_mac`, the MAC of the previous entry.
    uint8_t mac[32];
    uint8_t previous_mac[32];
} kms_logged_change;

// Receive one entry of the change log at a time. Return 0 to continue, or any other value to end the list.
typedef int32_t (*kms_visit_change_fn)(void *user, const struct kms_logged_change *change);

#define KMS_OK 0

#define KMS_INVALID_ARGUMENT 100

#define KMS_MISSING_PARAMETER 101

// The call stored the size that the output needs, and did nothing else.
#define KMS_BUFFER_TOO_SMALL 102

#define KMS_UNKNOWN_ACTION 103

// The call takes a key id, but the caller passed an alias.
#define KMS_UNSUPPORTED_ALIAS 104

#define KMS_LIMIT_EXCEEDED 105

// Some records of a batch failed: each record has its own status.
#define KMS_BATCH_PARTIAL 106

#define KMS_KEY_NOT_FOUND 200

#define KMS_KEY_VERSION_NOT_FOUND 201

#define KMS_ALIAS_NOT_FOUND 202

#define KMS_ALIAS_ALREADY_EXISTS 203

#define KMS_REJECTED_DISABLED 300

#define KMS_REJECTED_PENDING_DELETION 301

#define KMS_REJECTED_PENDING_IMPORT 302

// The key's state doesn't allow this change of state.
#define KMS_STATE_MODIFIED_FAILED 303

// The operation is not for this kind of key: imported material and service-managed keys don't rotate.
#define KMS_UNSUPPORTED_OPERATION 304

#define KMS_UNSUPPORTED_ORIGIN 305

#define KMS_DELETION_PROTECTED 306

// The version that encrypted the ciphertext is disabled: see kms_enable_key_version.
#define KMS_KEY_VERSION_DISABLED 307

// The version that encrypted the ciphertext was destroyed, by kms_schedule_key_version_deletion. This is final.
#define KMS_KEY_VERSION_DESTROYED 308

// The data is not a ciphertext of this library, or is truncated.
#define KMS_MALFORMED_CIPHERTEXT 400

// The ciphertext was modified, or the context differs from the one that it was encrypted with.
#define KMS_AUTHENTICATION_FAILED 401

#define KMS_INVALID_KEY_MATERIAL 402

#define KMS_INVALID_IMPORT_TOKEN 403

#define KMS_EXPIRED_IMPORT_TOKEN 404

#define KMS_WRONG_ROOT_KEY 500

#define KMS_NOT_A_KEYSTORE 501

#define KMS_KEYSTORE_TOO_NEW 502

// Part of the keystore was altered or damaged. Keys that the text of kms_last_error does not name still work.
#define KMS_KEYSTORE_CORRUPT 503

#define KMS_KEYSTORE_IO 504

#define KMS_KEYSTORE_READ_ONLY 505

// Another process held the keystore for longer than the busy timeout.
#define KMS_KEYSTORE_BUSY 506

#define KMS_KEYSTORE_NOT_FOUND 507

// Another file, or none, is at the keystore's path now. Nothing was written.
#define KMS_KEYSTORE_REPLACED 508

// The root callback failed; or the root key file is missing, unreadable, another user's, accessible to others, of the
// wrong size or all zeros.
#define KMS_ROOT_KEY_UNAVAILABLE 509

// The whole keystore was replaced by an older copy than the one that its anchor recorded.
#define KMS_KEYSTORE_ROLLED_BACK 510

// The anchor is missing, damaged or of another keystore, or its callback failed.
#define KMS_ANCHOR_UNAVAILABLE 511

// The path is a second path to the keystore: another name of the file, or a mount of the file alone. Open the keystore
// by its first path, or mount its folder.
#define KMS_KEYSTORE_SECOND_PATH 512

// The keystore has no root slot of this id: see kms_list_root_slots.
#define KMS_ROOT_SLOT_NOT_FOUND 515

// This root opens the keystore already. Nothing was changed.
#define KMS_ROOT_SLOT_EXISTS 516

// The database that holds the keystore cannot be reached, is starting or stopping, or did not answer in time.
#define KMS_KEYSTORE_UNAVAILABLE 517

// A caller's file could not be read or written, or changed while it was read. The text of kms_last_error names it.
#define KMS_FILE_IO 600

// The target exists, and the call may not replace it.
#define KMS_FILE_EXISTS 601

#define KMS_INTERNAL 900

// A panic (a bug) inside the library was caught; close the handle.
#define KMS_POISONED 901

// A forked child cannot use a `memory:` keystore, a stream or a survey.
#define KMS_FORKED 902

// The kernel returned no randomness.
#define KMS_RANDOM_FAILED 903

// The call needs more memory than the process may have. A change may have been made only if the call can also fail
// with KMS_KEYSTORE_IO.
#define KMS_OUT_OF_MEMORY 904

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// kms_options_new makes options with the defaults: create off, rotation thread on, busy timeout 5000 ms. Exactly one
// kms_options_set_root_... must follow: with none or two of them, kms_open fails. It returns NULL if memory is short.
KMS_MUST_USE
struct kms_options_t *kms_options_new(void);

// kms_options_free frees options and wipes the secrets in them. NULL is fine.
void kms_options_free(struct kms_options_t *options);

// kms_options_set_root_key sets a root key of exactly 32 bytes, which opens the keystore. The options copy it into
// memory that is locked and wiped. 32 zero bytes are refused with KMS_INVALID_ARGUMENT.
KMS_MUST_USE
kms_status kms_options_set_root_key(struct kms_options_t *options,
                                    const uint8_t *key,
                                    size_t key_len);

// kms_options_set_root_key_file names a regular file of exactly 32 bytes, not all zero. The file must belong to the
// process's user or to root. Its group may read it (0440, as for systemd credentials and Kubernetes secrets); others
// may not. With kms_options_set_create, kms_open makes a missing file together with a missing keystore, with mode
// 0600.
KMS_MUST_USE
kms_status kms_options_set_root_key_file(struct kms_options_t *options,
                                         const char *path);

// kms_options_set_root_passphrase sets a passphrase of 1 byte to 1 MiB, with any byte values. Argon2id (64 MiB, 3
// passes) derives a key from it, so kms_open takes a fraction of a second.
KMS_MUST_USE
kms_status kms_options_set_root_passphrase(struct kms_options_t *options,
                                           const uint8_t *passphrase,
                                           size_t passphrase_len);

// kms_options_set_root_callback sets two functions that wrap and unwrap the store root key. Their key stays in an HSM,
// a TPM or a cloud KMS. The store root key is 32 random bytes, made with the keystore, from which all its sealing keys
// derive.
//
// Both must use authenticated symmetric encryption that binds `aad`: an AEAD such as AES-256-GCM. Never use public-key
// encryption, such as RSA-OAEP. With it, an attacker who can write the keystore's file could wrap a root key that they
// chose. The program would then open the attacker's keystore. If the device takes no additional data, encrypt `aad` in
// front of the key, and compare it after decryption.
//
// The library calls `wrap` when it makes a root slot: in kms_change_root, kms_add_root_slot, and kms_open if it
// creates the keystore. It then tests `unwrap` on the result, once with another `aad` and once with the same. The
// other `aad` must fail; if it does not, the call fails with KMS_ROOT_KEY_UNAVAILABLE. kms_open calls `unwrap` for
// each callback slot until one opens the keystore; a forked child calls neither.
KMS_MUST_USE
kms_status kms_options_set_root_callback(struct kms_options_t *options,
                                         kms_wrap_fn wrap,
                                         kms_wrap_fn unwrap,
                                         void *user);

// kms_options_set_create sets whether kms_open creates a missing keystore; 0 or 1, off by default. kms_open then makes
// the root key file too. A key file without its keystore is an error, because the keystore may be lost. Do not combine
// it with kms_options_set_read_only.
KMS_MUST_USE
kms_status kms_options_set_create(struct kms_options_t *options,
                                  int32_t create_if_missing);

// kms_options_set_read_only opens the keystore without ever writing to it, so nothing rotates; 0 or 1, off by default.
KMS_MUST_USE
kms_status kms_options_set_read_only(struct kms_options_t *options,
                                     int32_t read_only);

// kms_options_set_rotation_thread sets whether a thread of the library, the rotation thread, rotates due keys; 0 or 1,
// on by default. Without the thread, call kms_tick regularly. A call that encrypts under an overdue key rotates the
// key first.
KMS_MUST_USE
kms_status kms_options_set_rotation_thread(struct kms_options_t *options,
                                           int32_t on);

// kms_options_set_busy_timeout_ms sets how long a call waits for other processes before KMS_KEYSTORE_BUSY;
// milliseconds, 0 to 3600000, 5000 by default.
KMS_MUST_USE
kms_status kms_options_set_busy_timeout_ms(struct kms_options_t *options,
                                           int64_t timeout_ms);

// kms_options_set_poll_interval_ms sets how often a keystore in a database is asked for changes that other hosts made;
// milliseconds, 10 to 60000, 1000 by default. The handle obeys such a change, as that a key was disabled, at most this
// much later, plus the time of a query. The handle has a thread that polls, even without a rotation thread.
//
//     status = kms_options_set_poll_interval_ms(options, 250);
KMS_MUST_USE
kms_status kms_options_set_poll_interval_ms(struct kms_options_t *options,
                                            int64_t interval_ms);

// kms_options_set_offline_limit_s sets how long keys in memory stay usable while the database of the keystore does not
// answer; seconds since its last answer, 0 to 2592000, 300 by default. Then every call fails at once, until the
// database answers. 0 makes calls fail from the first poll without an answer. KMS_EVENT_KEYSTORE_UNAVAILABLE and
// KMS_EVENT_KEYSTORE_AVAILABLE report the beginning and the end. No call that uses a key in memory waits meanwhile.
//
//     status = kms_options_set_offline_limit_s(options, 60);
KMS_MUST_USE
kms_status kms_options_set_offline_limit_s(struct kms_options_t *options,
                                           int64_t limit_s);

// kms_options_set_accept_rollback sets whether the handle accepts that the keystore's database lost changes, 0 or 1; off
// by default. After such a loss, which KMS_EVENT_KEYSTORE_ROLLED_BACK reports, every change fails with
// KMS_KEYSTORE_ROLLED_BACK, in all processes. An operator who can restore nothing newer opens the keystore once with
// this option: then all processes continue with what is there. Without a loss it does nothing.
//
//     status = kms_options_set_accept_rollback(options, 1);
KMS_MUST_USE
kms_status kms_options_set_accept_rollback(struct kms_options_t *options,
                                           int32_t accept);

// kms_options_set_cache_keys sets how many keys, and how many key versions, the handle keeps in memory; at least 1,
// 32768 by default. Each thread also keeps as many keys ready to encrypt, and as many ready to decrypt.
KMS_MUST_USE
kms_status kms_options_set_cache_keys(struct kms_options_t *options,
                                      size_t keys);

// kms_options_set_clock sets a function as the clock, for tests: five years of rotations then take a millisecond. A
// set clock turns the rotation thread off, unless kms_options_set_rotation_thread turns it on.
KMS_MUST_USE
kms_status kms_options_set_clock(struct kms_options_t *options,
                                 kms_clock_fn clock,
                                 void *user);

// kms_options_set_anchor_file names an anchor: a file on another volume that records the newest generation of the
// keystore. The generation is a number that grows by one with every change. The library then refuses an older copy of
// the whole keystore with KMS_KEYSTORE_ROLLED_BACK.
//
// The library makes the file together with the keystore, and writes it after each change, before the call returns. For
// an existing keystore, and to accept a restored backup, make an empty file. A missing file is KMS_ANCHOR_UNAVAILABLE.
// A change that fails with that status may have been made.
KMS_MUST_USE
kms_status kms_options_set_anchor_file(struct kms_options_t *options,
                                       const char *path);

// kms_options_set_anchor_callback sets two functions that store the anchor's record of 104 bytes, for example in a TPM
// or a remote service. See kms_options_set_anchor_file. The library calls `get` in kms_open and before each change,
// and `put` after each change. Calls from several threads and processes may arrive out of order; the anchor then lags
// behind by the changes that they made.
KMS_MUST_USE
kms_status kms_options_set_anchor_callback(struct kms_options_t *options,
                                           kms_anchor_get_fn get,
                                           kms_anchor_put_fn put,
                                           void *user);

// kms_options_set_anchor_strict sets whether the anchor of a keystore in a database holds each change of this handle
// before its call returns, 0 or 1; off by default. Without it the anchor holds a checkpoint that is at most 10 s old.
// Set it in all programs that change the keystore. Their changes then follow one another, each with one more round trip
// to the server. The anchor of a keystore in a file holds each change in any case.
// kms_open fails with KMS_INVALID_ARGUMENT when it is on and no anchor is set.
//
//     status = kms_options_set_anchor_strict(options, 1);
KMS_MUST_USE
kms_status kms_options_set_anchor_strict(struct kms_options_t *options,
                                         int32_t strict);

// kms_options_set_require_backup makes a due rotation wait until a recorded backup has the key's newest version, for
// at most `longest_wait_s` seconds. 0, the default, means no wait; KMS_BACKUP_WAIT_DEFAULT_S suits most programs;
// KMS_BACKUP_WAIT_MAX_S is the maximum. A lost disk then costs at most what was encrypted under one version of each
// key. After the longest wait, the key rotates without a backup and reports KMS_EVENT_ROTATED_WITHOUT_BACKUP.
//
// kms_backup records its backups beside the keystore, in PATH-backups. Set the option in each process, because a
// process without it rotates what is due. kms_rotate never waits. kms_open refuses the option for `memory:`
// (KMS_INVALID_ARGUMENT).
//
//     status = kms_options_set_require_backup(options, KMS_BACKUP_WAIT_DEFAULT_S);
KMS_MUST_USE
kms_status kms_options_set_require_backup(struct kms_options_t *options,
                                          int64_t longest_wait_s);

// kms_options_set_actor sets a label that the change log stores with each change of the handle: a user, a job or a
// part of the program. The label has at most 255 bytes, else KMS_LIMIT_EXCEEDED. It must not be empty or contain
// control characters. The keystore stores it unencrypted. Without a label, entries name only the process, its user and
// its program.
//
//     kms_options_set_actor(options, "nightly job");
KMS_MUST_USE
kms_status kms_options_set_actor(struct kms_options_t *options,
                                 const char *label);

// kms_options_set_event_callback sets a function that receives events: rotations, destroyed keys, and failures of
// clocks and disks. kms_event_fn states which thread calls it.
KMS_MUST_USE
kms_status kms_options_set_event_callback(struct kms_options_t *options,
                                          kms_event_fn callback,
                                          void *user);

// kms_version returns the library's version, such as "0.1.0".
KMS_MUST_USE const char *kms_version(void);

// kms_open opens the keystore at `location` and stores its handle in `out`, or NULL on failure. `location` is a path,
// "sqlite:PATH", "memory:", or a database: "postgres://[USER@]HOST[:PORT]/DATABASE[?SETTING=VALUE][#KEYSTORE]", with
// libpq's settings, PG* variables and password file. A "memory:" keystore is new at each open and lives as long as its
// handle. No error text and no event has the password of a location.
//
// Fails with KMS_KEYSTORE_NOT_FOUND, KMS_NOT_A_KEYSTORE, KMS_KEYSTORE_TOO_NEW, KMS_KEYSTORE_CORRUPT,
// KMS_WRONG_ROOT_KEY, KMS_ROOT_KEY_UNAVAILABLE, KMS_KEYSTORE_IO, KMS_KEYSTORE_UNAVAILABLE or KMS_KEYSTORE_BUSY, and
// then has changed nothing.
// Fails with KMS_MISSING_PARAMETER if no root was set, and with KMS_INVALID_ARGUMENT if two were set or `location` is
// malformed, or a database in a build without the feature `postgres`.
KMS_MUST_USE
kms_status kms_open(const char *location,
                    const struct kms_options_t *options,
                    struct kms_t **out);

// kms_close stops the rotation thread, stores the last-used dates that wait, wipes all key material and frees the handle.
// NULL is fine. It waits for no lock of another process; a clock and an anchor that were set may still be called.
//
// No other call on the handle may be running, on any thread, and none may follow. Do not call it from a callback.
void kms_close(struct kms_t *kms);

// kms_create_key makes a customer master key and stores its id in `key_id`, KMS_ID_SIZE bytes. With `options` NULL,
// the library generates the key material, and automatic rotation is off.
//
// The key is Enabled and has its first version; with KMS_ORIGIN_EXTERNAL it waits for the import of its material. When
// the call returns KMS_OK, the key is on disk. Fails with KMS_UNSUPPORTED_OPERATION for an EXTERNAL key with automatic
// rotation.
KMS_MUST_USE
kms_status kms_create_key(const struct kms_t *kms,
                          const struct kms_create_key_options *options,
                          char *key_id);

// kms_create_keys makes `count` customer master keys, 1 to 1000, with the same options. It stores their ids in
// `key_ids`, an array of `count` times KMS_ID_SIZE bytes. The call makes all keys or none; when it returns KMS_OK, all
// are on disk. It costs little more than to make one key. It otherwise behaves as kms_create_key.
KMS_MUST_USE
kms_status kms_create_keys(const struct kms_t *kms,
                           const struct kms_create_key_options *options,
                           size_t count,
                           char *key_ids);

// kms_describe_key stores a key's metadata in `out`. `key` is a key id or "alias/NAME".
//
// Works in every state of the key. Fails with KMS_KEY_NOT_FOUND or KMS_ALIAS_NOT_FOUND.
KMS_MUST_USE
kms_status kms_describe_key(const struct kms_t *kms,
                            const char *key,
                            struct kms_key_metadata *out);

// kms_list_keys passes at most `limit` keys to `visit`, in the order of their ids, until `visit` returns a value other
// than 0. The list begins after `after_key_id`, or at the start if that is NULL. To continue a list, pass the last id
// seen.
//
// Fails with KMS_KEY_NOT_FOUND if `after_key_id` is not a well-formed id; the key itself may no longer exist.
//
// The list may or may not contain keys that are created or destroyed meanwhile. The call skips a damaged key, and then
// fails with KMS_KEYSTORE_CORRUPT at its end. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_list_keys(const struct kms_t *kms,
                         const char *after_key_id,
                         size_t limit,
                         kms_visit_key_fn visit,
                         void *user);

// kms_enable_key makes a Disabled key Enabled; an Enabled one stays so. If its rotation became overdue meanwhile, the
// key rotates before the call returns.
//
// Fails with KMS_STATE_MODIFIED_FAILED in another state.
KMS_MUST_USE
kms_status kms_enable_key(const struct kms_t *kms,
                          const char *key_id);

// kms_disable_key makes an Enabled key Disabled. Each process refuses to encrypt or decrypt under the key, from its
// next call, until the key is enabled again.
//
// Fails with KMS_STATE_MODIFIED_FAILED while its deletion or import is pending.
KMS_MUST_USE
kms_status kms_disable_key(const struct kms_t *kms,
                           const char *key_id);

// kms_schedule_key_deletion starts a waiting period of 7 to 366 days, after which the key and everything encrypted
// under it are lost. Until then kms_cancel_key_deletion cancels the deletion.
//
// A clock can be wrong, so the library destroys the key only after two conditions hold. First, the waiting period must
// have passed on the machine's boot clock, which nobody can set. After a reboot, the library adds the wall-clock time
// since its last pass, at most a day. A pass is one run over everything that is due, by the rotation thread or
// kms_tick. Second, two passes, at least an hour apart, must find by the wall clock that the deletion date is reached.
// A wrong clock can delay a destruction, and hasten it by at most a day. A clock of kms_options_set_clock serves as
// both clocks.
//
// Fails with KMS_STATE_MODIFIED_FAILED if its deletion is pending already.
KMS_MUST_USE
kms_status kms_schedule_key_deletion(const struct kms_t *kms,
                                     const char *key_id,
                                     int32_t waiting_period_days);

// kms_cancel_key_deletion cancels the pending deletion of a key. The key becomes Enabled, from any former state; an
// EXTERNAL key without material becomes PendingImport. If its rotation became overdue meanwhile, the key rotates
// before the call returns.
//
// Fails with KMS_STATE_MODIFIED_FAILED in another state.
KMS_MUST_USE
kms_status kms_cancel_key_deletion(const struct kms_t *kms,
                                   const char *key_id);

// kms_update_key_description replaces a key's whole description; at most 8192 characters, "" to delete it. Fails with
// KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_update_key_description(const struct kms_t *kms,
                                      const char *key_id,
                                      const char *description);

// kms_get_key_description stores a key's description in `out`, without a terminating NUL. `key` is a key id or
// "alias/NAME".
KMS_MUST_USE
kms_status kms_get_key_description(const struct kms_t *kms,
                                   const char *key,
                                   uint8_t *out,
                                   size_t out_cap,
                                   size_t *out_len);

// kms_set_deletion_protection turns deletion protection on (1) or off (0): while it is on, kms_schedule_key_deletion
// and kms_schedule_key_version_deletion fail with KMS_DELETION_PROTECTED. Protection does not stop a version deletion
// that is already pending: cancel that deletion. `description` states the reason; NULL means none. Fails with
// KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_set_deletion_protection(const struct kms_t *kms,
                                       const char *key_id,
                                       int32_t enable,
                                       const char *description);

// kms_create_service_key stores the id of a service-managed key in `key_id`, KMS_ID_SIZE bytes, and makes the key on
// first use. `name` names the part of the program that the key is for; its alias is alias/acs/NAME. The key encrypts
// like any other, but keeps its only version and can't be deleted.
KMS_MUST_USE
kms_status kms_create_service_key(const struct kms_t *kms,
                                  const char *name,
                                  char *key_id);

// kms_encrypt encrypts under the primary version of `key`, a key id or "alias/NAME". The ciphertext names its key and
// version. It is 80 bytes longer than the plaintext, and at most KMS_MAX_OVERHEAD bytes longer in any version of the
// library.
//
// The plaintext has at most 1 GiB; it may be empty. `context` is a map of at most 8192 bytes, encoded, which the
// ciphertext does not contain. Decryption needs the same entries, in any order. `out` may equal or overlap the
// plaintext. Fails with KMS_KEY_NOT_FOUND, KMS_REJECTED_..., KMS_LIMIT_EXCEEDED.
KMS_MUST_USE
kms_status kms_encrypt(const struct kms_t *kms,
                       const char *key,
                       const uint8_t *plaintext,
                       size_t plaintext_len,
                       const struct kms_context_entry *context,
                       size_t context_count,
                       uint8_t *out,
                       size_t out_cap,
                       size_t *out_len);

// kms_decrypt decrypts a ciphertext under the key version that encrypted it. `context` must be the map it was
// encrypted with.
//
// Fails with KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND, KMS_KEY_VERSION_NOT_FOUND, KMS_REJECTED_...; with
// KMS_AUTHENTICATION_FAILED if ciphertext or context were changed. `out` may equal or overlap the ciphertext; a failed
// call then leaves the ciphertext intact. A query of the size (`out` NULL) authenticates nothing.
KMS_MUST_USE
kms_status kms_decrypt(const struct kms_t *kms,
                       const uint8_t *blob,
                       size_t blob_len,
                       const struct kms_context_entry *context,
                       size_t context_count,
                       uint8_t *out,
                       size_t out_cap,
                       size_t *out_len);

// kms_reencrypt decrypts a ciphertext and encrypts the plaintext under the primary version of `destination_key`, a key
// id or "alias/NAME". NULL means the key that encrypted the ciphertext. The plaintext doesn't leave the library, and
// the nonce is always fresh.
//
// The call checks the source key, then the destination key, before it decrypts anything. `out` may overlap `blob`.
// Fails as kms_decrypt and kms_encrypt do.
KMS_MUST_USE
kms_status kms_reencrypt(const struct kms_t *kms,
                         const uint8_t *blob,
                         size_t blob_len,
                         const struct kms_context_entry *source_context,
                         size_t source_context_count,
                         const char *destination_key,
                         const struct kms_context_entry *destination_context,
                         size_t destination_context_count,
                         uint8_t *out,
                         size_t out_cap,
                         size_t *out_len);

// kms_inspect reports which key and version encrypted a ciphertext, and whether that version is still the primary. It
// decrypts and authenticates nothing.
//
// Works in every state of the key. Fails with KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND or
// KMS_KEY_VERSION_NOT_FOUND.
KMS_MUST_USE
kms_status kms_inspect(const struct kms_t *kms,
                       const uint8_t *blob,
                       size_t blob_len,
                       struct kms_blob_info *out);

// kms_encrypt_batch encrypts `count` records under the primary version of `key` (a key id or "alias/NAME"). All
// records use the same version, even if the key rotates meanwhile. `record_size` is sizeof(kms_batch_record).
//
// The call treats each record as kms_encrypt does, independently of the others, and sets its `status` and `out_len`.
// It returns KMS_OK if every `status` is KMS_OK, otherwise KMS_BATCH_PARTIAL. A failure of the whole call, such as
// KMS_KEY_NOT_FOUND or KMS_REJECTED_..., is returned and becomes the status of every record. Only KMS_INVALID_ARGUMENT
// about `records` itself leaves the records unchanged.
//
// Records must not share memory that the call writes.
KMS_MUST_USE
kms_status kms_encrypt_batch(const struct kms_t *kms,
                             const char *key,
                             struct kms_batch_record *records,
                             size_t record_size,
                             size_t count);

// kms_decrypt_batch decrypts `count` records, each under the version that it names. `record_size` is
// sizeof(kms_batch_record).
//
// The call treats each record as kms_decrypt does, independently of the others; the keys may differ. It returns what
// kms_encrypt_batch does.
KMS_MUST_USE
kms_status kms_decrypt_batch(const struct kms_t *kms,
                             struct kms_batch_record *records,
                             size_t record_size,
                             size_t count);

// kms_reencrypt_batch re-encrypts `count` ciphertexts under the primary version of `destination_key` (a key id or
// "alias/NAME"), all under the same version. With NULL, each is re-encrypted under the primary version of the key that
// encrypted it. `record_size` is sizeof(kms_batch_record).
//
// The call treats each record as kms_reencrypt does, independently of the others, but checks a destination key first,
// once. It returns what kms_encrypt_batch does.
KMS_MUST_USE
kms_status kms_reencrypt_batch(const struct kms_t *kms,
                               const char *destination_key,
                               struct kms_batch_record *records,
                               size_t record_size,
                               size_t count);

// kms_begin_survey begins to count blobs by key and version, and stores the survey in `out`, or NULL on failure. A
// survey shows which versions no blob needs any more. Free it with kms_survey_free.
//
//     kms_begin_survey(kms, &survey);
//     while (next_row(&blob, &blob_len)) {
//         kms_survey_add(survey, blob, blob_len);
//     }
//     kms_survey_counts(survey, print, NULL);
//     kms_survey_free(survey);
//
// A survey reads headers, as kms_inspect does; it decrypts and authenticates nothing. It keeps no part of the blobs.
// Its memory grows only with the number of different versions.
KMS_MUST_USE
kms_status kms_begin_survey(const struct kms_t *kms,
                            struct kms_survey_t **out);

// kms_survey_add counts one blob, or an encrypted file by its first KMS_FILE_HEADER_SIZE bytes. It works in every state of the
// key.
//
// After KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND and KMS_KEY_VERSION_NOT_FOUND, the survey has counted the blob as
// unreadable (kms_survey_unreadable). After any other failure, it has not counted the blob.
KMS_MUST_USE
kms_status kms_survey_add(struct kms_survey_t *survey,
                          const uint8_t *blob,
                          size_t blob_len);

// kms_survey_add_batch counts the `input` of `count` records, each as kms_survey_add does. `record_size` is
// sizeof(kms_batch_record).
//
// `out_len` becomes 0; contexts and `out` are not used. It returns what kms_encrypt_batch does: KMS_BATCH_PARTIAL if
// the `status` of any record is not KMS_OK.
KMS_MUST_USE
kms_status kms_survey_add_batch(struct kms_survey_t *survey,
                                struct kms_batch_record *records,
                                size_t record_size,
                                size_t count);

// kms_survey_counts passes every version of each counted key to `visit`, until `visit` returns a value other than 0.
// Keys come in the order of their ids, versions newest first. Versions and their states are the current ones.
//
// No blob of the survey needs a version that is not the primary and has a `count` of 0. The list leaves out keys
// without a counted blob. Callers may add more blobs afterwards. Fails with KMS_KEY_NOT_FOUND if a key was destroyed
// since it was counted. No lock is held while `visit` runs.
//
//     static int32_t print(void *user, const kms_survey_count *found) {
//         (void)user;
//         return printf("%s %" PRIu64 " %" PRIu64 "\n", found->key_id, found->number, found->count) < 0;
//     }
KMS_MUST_USE
kms_status kms_survey_counts(struct kms_survey_t *survey,
                             kms_visit_survey_count_fn visit,
                             void *user);

// kms_survey_unreadable stores how many blobs the survey could not count by version. `malformed` counts inputs that
// are no blobs, `unknown_key` blobs of a key that the keystore lacks. `unknown_version` counts blobs of a missing
// version of one of its keys. Each may be NULL.
//
// Examine such blobs before you destroy a version: they may belong to another keystore, or be damaged.
KMS_MUST_USE
kms_status kms_survey_unreadable(struct kms_survey_t *survey,
                                 uint64_t *malformed,
                                 uint64_t *unknown_key,
                                 uint64_t *unknown_version);

// kms_survey_free frees a survey. NULL is fine.
void kms_survey_free(struct kms_survey_t *survey);

// kms_generate_data_key makes a data key: a random key of `number_of_bytes` (1 to 1024) with which the program itself
// encrypts. `blob` receives the data key, encrypted under the primary version of `key`. Store `blob` beside the data;
// kms_decrypt returns the data key.
//
// `plaintext` has room for `number_of_bytes`, or is NULL to return only the encrypted form. With `blob` NULL, the call
// stores the size of the encrypted form and makes no key. The two buffers must not overlap. Fails as kms_encrypt does.
KMS_MUST_USE
kms_status kms_generate_data_key(const struct kms_t *kms,
                                 const char *key,
                                 size_t number_of_bytes,
                                 const struct kms_context_entry *context,
                                 size_t context_count,
                                 uint8_t *plaintext,
                                 uint8_t *blob,
                                 size_t blob_cap,
                                 size_t *blob_len);

// kms_generate_and_export_data_key makes a data key for the holder of an RSA-2048 private key, and returns no
// plaintext. `blob` receives the data key encrypted under `key`. `exported` receives it wrapped with `public_key` (a
// SubjectPublicKeyInfo in DER), in 256 bytes. With `blob` or `exported` NULL, the call stores both sizes and makes no
// key. The two buffers must not overlap.
//
// `wrapping` (KMS_WRAPPING_...) limits the data key to 245 bytes (PKCS1), 214 (OAEP SHA-1) or 190 (OAEP SHA-256), else
// KMS_LIMIT_EXCEEDED. Fails as kms_encrypt does.
KMS_MUST_USE
kms_status kms_generate_and_export_data_key(const struct kms_t *kms,
                                            const char *key,
                                            size_t number_of_bytes,
                                            const struct kms_context_entry *context,
                                            size_t context_count,
                                            const uint8_t *public_key,
                                            size_t public_key_len,
                                            int32_t wrapping,
                                            uint8_t *blob,
                                            size_t blob_cap,
                                            size_t *blob_len,
                                            uint8_t *exported,
                                            size_t exported_cap,
                                            size_t *exported_len);

// kms_export_data_key decrypts a data key and wraps it with an RSA-2048 public key (a SubjectPublicKeyInfo in DER). It
// returns 256 wrapped bytes and no plaintext. Fails as kms_decrypt does.
KMS_MUST_USE
kms_status kms_export_data_key(const struct kms_t *kms,
                               const uint8_t *blob,
                               size_t blob_len,
                               const struct kms_context_entry *context,
                               size_t context_count,
                               const uint8_t *public_key,
                               size_t public_key_len,
                               int32_t wrapping,
                               uint8_t *out,
                               size_t out_cap,
                               size_t *out_len);

// kms_encrypt_file encrypts a file of any size under the primary version of `key`, a key id or "alias/NAME", in constant
// memory. `plaintext_len` receives the length of the source in bytes; it may be NULL.
//
//     kms_encrypt_file(kms, key_id, "big.iso", "big.iso.kms", NULL, 0, NULL, NULL);
//     kms_rotate(kms, key_id, NULL);
//     kms_decrypt_file(kms, "big.iso.kms", "again.iso", NULL, 0, NULL, NULL);
//
// The target appears complete and synced, with the mode of the source, or not at all. It is longer than the source by
// 8 KiB and about 0.1 %. `options` may be NULL. `context` must be passed again to decrypt; it must not contain an
// entry "kms:file". The call checks the state of the key only at its beginning. Fails as kms_encrypt does. Fails with
// KMS_FILE_IO if a file cannot be read or written, is not a regular file, or changed meanwhile. Fails with
// KMS_FILE_EXISTS if the target exists and `replace` is 0.
KMS_MUST_USE
kms_status kms_encrypt_file(const struct kms_t *kms,
                            const char *key,
                            const char *source,
                            const char *target,
                            const struct kms_context_entry *context,
                            size_t context_count,
                            const struct kms_file_options *options,
                            uint64_t *plaintext_len);

// kms_decrypt_file decrypts a file that kms_encrypt_file or a stream wrote. `plaintext_len` receives the length of the
// plaintext in bytes; it may be NULL.
//
// The target appears once every byte is authenticated and synced, with the mode of the source, or not at all. Fails as
// kms_decrypt does; a truncated file is KMS_MALFORMED_CIPHERTEXT too. Fails with KMS_FILE_IO and KMS_FILE_EXISTS as
// kms_encrypt_file does.
KMS_MUST_USE
kms_status kms_decrypt_file(const struct kms_t *kms,
                            const char *source,
                            const char *target,
                            const struct kms_context_entry *context,
                            size_t context_count,
                            const struct kms_file_options *options,
                            uint64_t *plaintext_len);

// kms_reencrypt_file re-encrypts a file under the primary version of `destination_key`, a key id or "alias/NAME"; NULL
// means the key that encrypted it. `changed` receives 1 if the file had to change, else 0; it may be NULL.
//
// It rewrites only the header, in place, for a file of any size; the context stays. An interrupted call leaves a file
// that still decrypts; repeat the call. Fails as kms_reencrypt does; with KMS_FILE_IO if the file cannot be read or
// written, or another process re-encrypts it.
KMS_MUST_USE
kms_status kms_reencrypt_file(const struct kms_t *kms,
                              const char *path,
                              const struct kms_context_entry *context,
                              size_t context_count,
                              const char *destination_key,
                              int32_t *changed);

// kms_inspect_file reports which key and version protect an encrypted file, and the length of its plaintext. It
// decrypts and authenticates nothing.
//
// Works in every state of the key. Fails as kms_inspect does; with KMS_FILE_IO if the file cannot be read.
KMS_MUST_USE
kms_status kms_inspect_file(const struct kms_t *kms,
                            const char *path,
                            struct kms_file_info *out);

// kms_is_encrypted_file checks whether the first bytes of a file are those of an encrypted file: `is_encrypted`
// receives 1 or 0. `start` should have KMS_FILE_HEADER_SIZE bytes; with fewer, the call may not recognise a
// re-encrypted file.
KMS_MUST_USE
kms_status kms_is_encrypted_file(const uint8_t *start,
                                 size_t start_len,
                                 int32_t *is_encrypted);

// kms_open_file opens an encrypted file for random access, and stores it in `out`, or NULL on failure. Free it with
// kms_file_close.
//
//     kms_open_file(kms, "big.iso.kms", NULL, 0, &file);
//     kms_file_size(file, &size);
//     kms_file_read(file, size / 2, buffer, sizeof buffer, &read_len);
//     kms_file_close(file);
//
// This call authenticates the length of the file; each read authenticates the chunks of 16 KiB that it touches. Only
// this call checks the state of the key. Fails as kms_decrypt_file does.
KMS_MUST_USE
kms_status kms_open_file(const struct kms_t *kms,
                         const char *path,
                         const struct kms_context_entry *context,
                         size_t context_count,
                         struct kms_file_t **out);

// kms_open_file_callback opens an encrypted file of `file_len` bytes in any storage: `read_at` reads it, during this
// call and kms_file_read. `user` must stay valid until kms_file_close.
//
// Fails as kms_open_file does; with KMS_FILE_IO if `read_at` fails, or reports more bytes than it had room for.
KMS_MUST_USE
kms_status kms_open_file_callback(const struct kms_t *kms,
                                  kms_read_at_fn read_at,
                                  void *user,
                                  uint64_t file_len,
                                  const struct kms_context_entry *context,
                                  size_t context_count,
                                  struct kms_file_t **out);

// kms_file_size returns the length of the plaintext of an open file in bytes.
KMS_MUST_USE kms_status kms_file_size(const struct kms_file_t *file, uint64_t *size);

// kms_file_read reads plaintext from byte `offset` until `buffer` is full or the file ends. `read_len` receives the
// number of bytes read; it is 0 at and beyond the end of the file.
//
// Fails with KMS_AUTHENTICATION_FAILED for a modified chunk, KMS_MALFORMED_CIPHERTEXT for a file that became shorter, or
// KMS_FILE_IO; `read_len` is then 0, and `buffer` holds no plaintext.
KMS_MUST_USE
kms_status kms_file_read(const struct kms_file_t *file,
                         uint64_t offset,
                         uint8_t *buffer,
                         size_t buffer_len,
                         size_t *read_len);

// kms_file_close closes an open file, and wipes its keys. NULL is fine. No other call on it may be running.
void kms_file_close(struct kms_file_t *file);

// kms_encrypt_stream begins to encrypt a file in pieces, under the primary version of `key`, a key id or "alias/NAME". It
// stores the stream in `out`, or NULL on failure.
//
// The outputs of kms_stream_update and kms_stream_finish, concatenated, are the file that kms_encrypt_file would
// write. Only this call checks the state of the key. Fails as kms_encrypt does.
KMS_MUST_USE
kms_status kms_encrypt_stream(const struct kms_t *kms,
                              const char *key,
                              const struct kms_context_entry *context,
                              size_t context_count,
                              struct kms_stream_t **out);

// kms_decrypt_stream begins to decrypt a file in pieces. `start` is its first KMS_FILE_START_SIZE bytes; kms_stream_update
// takes the rest. It stores the stream in `out`, or NULL on failure.
//
// The stream authenticates each chunk of 16 KiB before it writes the plaintext of the chunk. Only kms_stream_finish
// shows that the file is complete: discard the output if it fails. Only this call checks the state of the key. Fails
// as kms_decrypt does.
KMS_MUST_USE
kms_status kms_decrypt_stream(const struct kms_t *kms,
                              const uint8_t *start,
                              size_t start_len,
                              const struct kms_context_entry *context,
                              size_t context_count,
                              struct kms_stream_t **out);

// kms_stream_update encrypts or decrypts the next piece, of any length, and writes the output that is complete to
// `out`.
//
//     kms_encrypt_stream(kms, key_id, NULL, 0, &stream);
//     while ((len = fread(piece, 1, sizeof piece, source)) > 0) {         // uint8_t piece[65536], out[131072]
//         kms_stream_update(stream, piece, len, out, sizeof out, &out_len);
//         fwrite(out, 1, out_len, target);
//     }
//     kms_stream_finish(stream, out, sizeof out, &out_len);
//     fwrite(out, 1, out_len, target);
//     kms_stream_free(stream);
//
// An `out` of input_len + input_len / 1024 + 32768 bytes is always large enough. With `out` NULL, the stream takes no
// input. `input` and `out` must not overlap. Fails with KMS_AUTHENTICATION_FAILED for a modified chunk, and with
// KMS_LIMIT_EXCEEDED above 4 PiB; `out` is then zeroed. After any failure except KMS_BUFFER_TOO_SMALL or an invalid
// argument, free the stream and discard its output.
KMS_MUST_USE
kms_status kms_stream_update(struct kms_stream_t *stream,
                             const uint8_t *input,
                             size_t input_len,
                             uint8_t *out,
                             size_t out_cap,
                             size_t *out_len);

// kms_stream_finish writes the end of the file, at most 32768 bytes, to `out`. Without this call, an encrypted file is
// truncated, and a decrypted file may be incomplete. After it, free the stream.
//
// Fails with KMS_MALFORMED_CIPHERTEXT if the file was cut off, with KMS_AUTHENTICATION_FAILED if its end was modified; `out`
// is then zeroed.
KMS_MUST_USE
kms_status kms_stream_finish(struct kms_stream_t *stream,
                             uint8_t *out,
                             size_t out_cap,
                             size_t *out_len);

// kms_stream_free frees a stream, finished or not, and wipes its keys. NULL is fine.
void kms_stream_free(struct kms_stream_t *stream);

// kms_rotate (CreateKeyVersion in the service) makes a new version of `key`, a key id or "alias/NAME", and promotes it
// to primary. New encryptions use it, and old ciphertexts still decrypt. `version_id`, KMS_ID_SIZE bytes, receives the
// id of the new version, unless it is NULL.
//
// It works with or without automatic rotation, whose next date is counted from now. Two calls make two versions. Fails
// with KMS_REJECTED_..., and with KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys.
KMS_MUST_USE
kms_status kms_rotate(const struct kms_t *kms,
                      const char *key,
                      char *version_id);

// kms_update_rotation_policy turns automatic rotation on (`enable` 1) with an interval of 1 to 315360000 seconds, or
// off (0; the interval must then be 0). The interval counts from the creation of the newest version; if that makes the
// key overdue, the key rotates before the call returns.
//
// Fails with KMS_REJECTED_... unless the key is Enabled, also when turning rotation off. Fails with
// KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys.
KMS_MUST_USE
kms_status kms_update_rotation_policy(const struct kms_t *kms,
                                      const char *key_id,
                                      int32_t enable,
                                      int64_t interval_s);

// kms_tick does everything that is due now: it rotates keys, and destroys keys and versions whose deletion date has
// two confirmations (see kms_schedule_key_deletion). It is for programs without the rotation thread. `rotated`
// receives the number of rotated keys, unless it is NULL.
KMS_MUST_USE
kms_status kms_tick(const struct kms_t *kms,
                    size_t *rotated);

// kms_list_key_versions passes at most `limit` versions of `key` (a key id or "alias/NAME") to `visit`, newest first,
// until `visit` returns a value other than 0. Their numbers are below `before_number`; 0 begins at the newest. To
// continue a list, pass the last number seen.
//
// Works in every state of the key. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_list_key_versions(const struct kms_t *kms,
                                 const char *key,
                                 uint64_t before_number,
                                 size_t limit,
                                 kms_visit_version_fn visit,
                                 void *user);

// kms_describe_key_version stores the metadata of one version of `key` (a key id or "alias/NAME") in `out`. Fails with
// KMS_KEY_VERSION_NOT_FOUND.
KMS_MUST_USE
kms_status kms_describe_key_version(const struct kms_t *kms,
                                    const char *key,
                                    const char *version_id,
                                    struct kms_key_version *out);

// kms_disable_key_version disables a version that is not the primary: decryption under it fails with
// KMS_KEY_VERSION_DISABLED until kms_enable_key_version. This is the reversible trial before a deletion. Other
// processes see the change on their next call. Disabling a Disabled version is KMS_OK.
//
// Fails with KMS_STATE_MODIFIED_FAILED for the primary, and for a version whose deletion is pending. Fails with
// KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys. Fails with KMS_REJECTED_PENDING_DELETION
// while the deletion of the key is pending. Also fails with KMS_KEY_VERSION_DESTROYED and KMS_KEY_VERSION_NOT_FOUND.
KMS_MUST_USE
kms_status kms_disable_key_version(const struct kms_t *kms,
                                   const char *key_id,
                                   const char *version_id);

// kms_enable_key_version makes a Disabled version decrypt again. Enabling an Enabled version is KMS_OK.
//
// Fails as kms_disable_key_version does.
KMS_MUST_USE
kms_status kms_enable_key_version(const struct kms_t *kms,
                                  const char *key_id,
                                  const char *version_id);

// kms_schedule_key_version_deletion starts the waiting period of 7 to 366 days after which a Disabled version is destroyed.
// Until then it refuses decryption with KMS_KEY_VERSION_DISABLED, and kms_cancel_key_version_deletion cancels.
//
// The period is counted as in kms_schedule_key_deletion. After it, the ciphertexts of the version can no longer be
// decrypted (KMS_KEY_VERSION_DESTROYED): re-encrypt them while the version is Enabled. The version's id and number
// remain in lists. Fails with KMS_STATE_MODIFIED_FAILED unless the version is Disabled, with KMS_DELETION_PROTECTED,
// and as kms_disable_key_version does.
KMS_MUST_USE
kms_status kms_schedule_key_version_deletion(const struct kms_t *kms,
                                             const char *key_id,
                                             const char *version_id,
                                             int32_t waiting_period_days);

// kms_cancel_key_version_deletion cancels the pending deletion of a version, which becomes Disabled.
//
// Fails with KMS_STATE_MODIFIED_FAILED unless the deletion is pending, and as kms_disable_key_version does.
KMS_MUST_USE
kms_status kms_cancel_key_version_deletion(const struct kms_t *kms,
                                           const char *key_id,
                                           const char *version_id);

// kms_create_alias makes `alias` another name of a key; a key may have many. An alias is "alias/" and 1 to 255
// letters, digits, _, / or -.
//
// Fails with KMS_ALIAS_ALREADY_EXISTS, with KMS_STATE_MODIFIED_FAILED while the key's deletion is pending, with
// KMS_INVALID_ARGUMENT for another form or a name that begins with alias/acs.
KMS_MUST_USE
kms_status kms_create_alias(const struct kms_t *kms,
                            const char *key_id,
                            const char *alias);

// kms_update_alias moves an alias to another key. From the next call, encryption by the alias uses that key; old
// ciphertexts still decrypt under the key that encrypted them.
//
// Fails with KMS_ALIAS_NOT_FOUND, with KMS_REJECTED_PENDING_DELETION while the new key's deletion is pending.
KMS_MUST_USE
kms_status kms_update_alias(const struct kms_t *kms,
                            const char *key_id,
                            const char *alias);

// kms_delete_alias deletes an alias; its key is untouched. Fails with KMS_ALIAS_NOT_FOUND.
KMS_MUST_USE kms_status kms_delete_alias(const struct kms_t *kms, const char *alias);

// kms_list_aliases passes at most `limit` aliases of the key `key_id` (NULL: of all keys) to `visit`, in the order of
// their names. The list begins after `after_alias`, or at the start if that is NULL, and ends when `visit` returns a
// value other than 0. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_list_aliases(const struct kms_t *kms,
                            const char *key_id,
                            const char *after_alias,
                            size_t limit,
                            kms_visit_alias_fn visit,
                            void *user);

// kms_tag_resource sets tags of a key; an existing name receives the new value. A key has at most 10 tags. A name has
// 1 to 128 characters, a value at most 256. Both consist of a-z A-Z 0-9 / _ - . + = @ :
//
// Fails with KMS_LIMIT_EXCEEDED above 10, with KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_tag_resource(const struct kms_t *kms,
                            const char *key_id,
                            const struct kms_tag *tags,
                            size_t tag_count);

// kms_untag_resource removes tags of a key by name, and ignores a name that the key doesn't have. Fails with
// KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_untag_resource(const struct kms_t *kms,
                              const char *key_id,
                              const char *const *names,
                              size_t name_count);

// kms_list_resource_tags passes a key's tags to `visit`, in the order of their names, until `visit` returns a value
// other than 0. Works in every state of the key.
KMS_MUST_USE
kms_status kms_list_resource_tags(const struct kms_t *kms,
                                  const char *key_id,
                                  kms_visit_tag_fn visit,
                                  void *user);

// kms_get_parameters_for_import returns the parameters for an import into an EXTERNAL key: a public key that wraps the
// material, and a token to pass with it. The public key is RSA-2048, a SubjectPublicKeyInfo in DER. Both are valid for
// 24 hours, for this key only, and for several imports. `*expires_ms` receives the end of the 24 hours, unless
// `expires_ms` is NULL.
//
// Each output follows the rules of Output above. Both buffers must be large enough: 512 bytes for the public key and
// 2048 for the token are. Works in every state of the key. Fails with KMS_UNSUPPORTED_ORIGIN.
KMS_MUST_USE
kms_status kms_get_parameters_for_import(const struct kms_t *kms,
                                         const char *key_id,
                                         int32_t wrapping,
                                         uint8_t *public_key,
                                         size_t public_key_cap,
                                         size_t *public_key_len,
                                         uint8_t *token,
                                         size_t token_cap,
                                         size_t *token_len,
                                         int64_t *expires_ms);

// kms_import_key_material imports 32 bytes of material, wrapped with the public key and the `wrapping` of
// kms_get_parameters_for_import. `expires_s` is when the material expires: calls then refuse it, and the library
// erases it. It is in Unix seconds, not after the year 9999; 0 means never. A key that waits for material becomes
// Enabled.
//
// The key only ever accepts the identical material again, even after it was deleted or has expired. Fails with
// KMS_INVALID_KEY_MATERIAL, KMS_INVALID_IMPORT_TOKEN, KMS_EXPIRED_IMPORT_TOKEN, KMS_UNSUPPORTED_ORIGIN,
// KMS_STATE_MODIFIED_FAILED while the key's deletion is pending.
KMS_MUST_USE
kms_status kms_import_key_material(const struct kms_t *kms,
                                   const char *key_id,
                                   const uint8_t *wrapped,
                                   size_t wrapped_len,
                                   const uint8_t *token,
                                   size_t token_len,
                                   int64_t expires_s);

// kms_import_raw_key_material imports 32 bytes of unwrapped material. It otherwise behaves as kms_import_key_material.
KMS_MUST_USE
kms_status kms_import_raw_key_material(const struct kms_t *kms,
                                       const char *key_id,
                                       const uint8_t *material,
                                       size_t material_len,
                                       int64_t expires_s);

// kms_delete_key_material erases imported material at once: what it encrypted can't be decrypted until the identical
// material is imported again. Works in every state of the key. Fails with KMS_UNSUPPORTED_ORIGIN.
KMS_MUST_USE
kms_status kms_delete_key_material(const struct kms_t *kms,
                                   const char *key_id);

// kms_call runs an operation by the name of its action, such as "Encrypt", with JSON. `request_json` is an object of
// the action's parameters; NULL or "" means none. `*response_json` receives the response; free it with
// kms_string_free. On failure, the response is an error body (HttpStatus, Code, Message, RequestId), or NULL if the
// library could not make one.
//
// Names, parameters and errors are those of the service, Alibaba Cloud KMS (API 2016-01-20). Actions that the service
// lacks follow the same style. docs/actions.md lists the parameters of each action, and the action ListActions returns
// them.
//
// Plaintext is in Base64, in requests and responses. A parameter that the action doesn't know is KMS_INVALID_ARGUMENT;
// an unknown action is KMS_UNKNOWN_ACTION. A batch returns KMS_OK even if records failed: each record has its own
// Code. The library wipes secrets in a request from its own memory, not from the caller's.
//
// The actions, each with its C function:
//
//   CreateKey                       kms_create_key
//   CreateKeys                      kms_create_keys
//   CreateServiceKey                kms_create_service_key
//   DescribeKey                     kms_describe_key, kms_get_key_description
//   ListKeys                        kms_list_keys
//   EnableKey                       kms_enable_key
//   DisableKey                      kms_disable_key
//   ScheduleKeyDeletion             kms_schedule_key_deletion
//   CancelKeyDeletion               kms_cancel_key_deletion
//   UpdateKeyDescription            kms_update_key_description
//   SetDeletionProtection           kms_set_deletion_protection
//   CreateKeyVersion                kms_rotate
//   UpdateRotationPolicy            kms_update_rotation_policy
//   DescribeKeyVersion              kms_describe_key_version
//   ListKeyVersions                 kms_list_key_versions
//   EnableKeyVersion                kms_enable_key_version
//   DisableKeyVersion               kms_disable_key_version
//   ScheduleKeyVersionDeletion      kms_schedule_key_version_deletion
//   CancelKeyVersionDeletion        kms_cancel_key_version_deletion
//   Tick                            kms_tick
//   Encrypt                         kms_encrypt
//   Decrypt                         kms_decrypt
//   ReEncrypt                       kms_reencrypt
//   EncryptBatch                    kms_encrypt_batch
//   DecryptBatch                    kms_decrypt_batch
//   ReEncryptBatch                  kms_reencrypt_batch
//   Inspect                         kms_inspect
//   GenerateDataKey                 kms_generate_data_key
//   GenerateDataKeyWithoutPlaintext kms_generate_data_key
//   ExportDataKey                   kms_export_data_key
//   GenerateAndExportDataKey        kms_generate_and_export_data_key
//   EncryptFile                     kms_encrypt_file
//   DecryptFile                     kms_decrypt_file
//   ReEncryptFile                   kms_reencrypt_file
//   InspectFile                     kms_inspect_file
//   GetParametersForImport          kms_get_parameters_for_import
//   ImportKeyMaterial               kms_import_key_material
//   ImportRawKeyMaterial            kms_import_raw_key_material
//   DeleteKeyMaterial               kms_delete_key_material
//   CreateAlias                     kms_create_alias
//   UpdateAlias                     kms_update_alias
//   DeleteAlias                     kms_delete_alias
//   ListAliases                     kms_list_aliases
//   ListAliasesByKeyId              kms_list_aliases
//   TagResource                     kms_tag_resource
//   UntagResource                   kms_untag_resource
//   ListResourceTags                kms_list_resource_tags
//   Health                          kms_health
//   Verify                          kms_verify
//   Backup                          kms_backup
//   ChangeRoot                      kms_change_root
//   AddRootSlot                     kms_add_root_slot
//   RemoveRootSlot                  kms_remove_root_slot
//   ListRootSlots                   kms_list_root_slots
//   ListChanges                     kms_list_changes
//   CutChanges                      kms_cut_changes
//   ListActions                     -
KMS_MUST_USE
kms_status kms_call(const struct kms_t *kms,
                    const char *action,
                    const char *request_json,
                    char **response_json);

// kms_string_free wipes and frees a string that kms_call returned. NULL is fine.
void kms_string_free(char *string);

// kms_health reports degraded-operation flags (KMS_HEALTH_...) and counters in `out`.
KMS_MUST_USE kms_status kms_health(const struct kms_t *kms, struct kms_health_info *out);

// kms_verify checks that every row of the keystore is authentic, the newest copy, and found by each index. It also
// checks that no row is missing or was added, and that all key material can be unsealed. Finally it checks that each
// page of the file belongs to one table or index, or is free. It returns KMS_OK only if all is well. Otherwise it
// passes each fault to `visit`, which may be NULL, and returns KMS_KEYSTORE_CORRUPT.
//
// It may run beside all other calls, because it reads rows for a few milliseconds at a time. It may leave out rows
// that another process makes meanwhile. Changes wait for the check of the pages, which takes less than 1 s for 100,000
// keys. A fork waits for a small part of that check. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_verify(const struct kms_t *kms,
                      kms_visit_fault_fn visit,
                      void *user);

// kms_backup writes a snapshot of the keystore to a new file at `path`: complete and synced, or not at all. It never
// replaces an existing file (KMS_KEYSTORE_IO). Changes by any process wait until the whole keystore is read. A change
// that waits longer than the busy timeout fails with KMS_KEYSTORE_BUSY. Other calls continue, and a fork waits for at
// most 256 KiB of the copy. A `memory:` keystore has only one connection, so other calls that need the connection wait
// too.
//
// The call checks the pages of the copy as kms_verify does. If the pages contradict each other, it leaves no copy and
// fails with KMS_KEYSTORE_CORRUPT. It does not check the rows: run kms_verify for that.
//
// The call records the backup in PATH-backups, beside the keystore, for kms_options_set_require_backup and the command
// `kms status`. If that fails, as in a read-only folder, the backup is still good.
//
// Until the copy is complete and recorded, its name is `path` followed by `.kms-new`. If the process is killed, that
// file stays, and the next backup to `path` removes it. While another call writes a backup to `path`, the call waits
// for the busy timeout, then fails with KMS_KEYSTORE_BUSY.
//
// The copy is a keystore, which the roots of this one open. To restore it, copy it to the keystore's path while no
// handle is open, and remove PATH-journal if a crash left one. The restored keystore can't decrypt what was encrypted
// under versions made after the backup.
KMS_MUST_USE
kms_status kms_backup(const struct kms_t *kms,
                      const char *path);

// kms_change_root makes the root of `options` the only one that opens the keystore: one root slot replaces all others.
// A root is a root key, a key file, a passphrase or a callback. Open handles keep working. The call uses only the root
// of `options`, and kms_options_set_create, which makes a missing key file.
//
// The call tests the new root before it changes anything. It seals no key again, so it takes no longer for many keys.
// The old roots still open earlier copies of the file. After a failure that may have changed the keystore (see
// Keystore above), keep both roots until you know which one opens it.
//
// Fails with KMS_ROOT_SLOT_EXISTS if the root opens the keystore already. A callback may be the same as before,
// because its outside key may have rotated; it then wraps the store root key again.
KMS_MUST_USE
kms_status kms_change_root(const struct kms_t *kms,
                           const struct kms_options_t *options);

// kms_add_root_slot lets the root of `options` also open the keystore, such as a recovery key in addition to a
// passphrase. A keystore has at most 8 root slots, of any kind. `slot_id`, KMS_ID_SIZE bytes, receives the id of the
// new slot, unless it is NULL.
//
// `label` names the slot in kms_list_root_slots, with at most 255 bytes; NULL means none. The keystore stores it
// unencrypted. As in kms_change_root, the call tests the root first, seals no key again, and makes a missing key file
// with kms_options_set_create.
//
// Fails with KMS_ROOT_SLOT_EXISTS if the root opens the keystore already, and with KMS_LIMIT_EXCEEDED for a ninth slot
// or a label that is too long.
KMS_MUST_USE
kms_status kms_add_root_slot(const struct kms_t *kms,
                             const struct kms_options_t *options,
                             const char *label,
                             char *slot_id);

// kms_remove_root_slot removes a root slot: its root no longer opens the keystore. Open handles keep working, even
// those that this root opened. The root still opens earlier copies of the file.
//
// Fails with KMS_ROOT_SLOT_NOT_FOUND, and with KMS_UNSUPPORTED_OPERATION for the last slot.
KMS_MUST_USE
kms_status kms_remove_root_slot(const struct kms_t *kms,
                                const char *slot_id);

// kms_list_root_slots passes each root slot to `visit`, in the order in which they were added, until `visit` returns a
// value other than 0. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_list_root_slots(const struct kms_t *kms,
                               kms_visit_root_slot_fn visit,
                               void *user);

// kms_list_changes passes at most `limit` entries of the change log to `visit`, oldest first, until `visit` returns a
// value other than 0. `key_id` selects the entries of one key; NULL selects all. `from_ms` selects entries from that
// time on, `to_ms` entries before that time; 0 means no bound. `after_generation` selects entries of later
// generations; 0 means no bound. Times are Unix milliseconds, UTC.
//
// Each committed change of the keystore has one entry. Each refused management call has one too, up to 10 a second for
// each handle. Encryption and decryption are not logged. To continue a list, pass the generation of the last entry
// seen. The key may no longer exist.
//
// The call checks the log as it reads: it fails with KMS_KEYSTORE_CORRUPT if an entry was altered, moved or removed.
// No lock is held while `visit` runs. May be called concurrently on one handle.
//
//     static int32_t print(void *user, const kms_logged_change *change) {
//         (void)user;
//         return printf("%s %s\n", change->action, change->key_id != NULL ? change->key_id : "") < 0;
//     }
//     kms_list_changes(kms, NULL, 0, 0, 0, SIZE_MAX, print, NULL);
KMS_MUST_USE
kms_status kms_list_changes(const struct kms_t *kms,
                            const char *key_id,
                            int64_t from_ms,
                            int64_t to_ms,
                            uint64_t after_generation,
                            size_t limit,
                            kms_visit_change_fn visit,
                            void *user);

// kms_cut_changes removes the entries of the change log that are older than `before_ms`, in Unix milliseconds, UTC.
// `removed` receives their number; it may be NULL. The rest of the log continues from a checkpoint: the generation and
// MAC of the last removed entry. The log has an entry for the cut.
//
// The call removes entries from the oldest up to the first that is not older. Export them first. If the log was
// altered, the call fails with KMS_KEYSTORE_CORRUPT and does not cut it. A long log is cut in several transactions, so
// a failed call may have removed some.
//
//     kms_cut_changes(kms, (int64_t)(time(NULL) - 365 * 86400) * 1000, NULL);
KMS_MUST_USE
kms_status kms_cut_changes(const struct kms_t *kms,
                           int64_t before_ms,
                           uint64_t *removed);

// kms_status_name returns the constant's name, such as "KMS_REJECTED_DISABLED". For any number, the string is not NULL
// and always valid.
KMS_MUST_USE
const char *kms_status_name(kms_status status);

// kms_status_code returns the service's code, such as "Rejected.Disabled", or one in the same style where the service
// has none. For any number, the string is not NULL and always valid.
KMS_MUST_USE
const char *kms_status_code(kms_status status);

// kms_last_error copies the text of the calling thread's last failed call into `buf`, truncated to `cap` bytes with a
// terminating NUL. It returns the full length of the text without NUL, or 0 if the last call succeeded.
//
// The text is for people and logs: it names the next step, and never contains plaintext or key bytes. Branch on the
// status. `buf` may be NULL when `cap` is 0.
size_t kms_last_error(char *buf,
                      size_t cap);

// kms_id_size returns KMS_ID_SIZE, for languages without C's macros.
KMS_MUST_USE size_t kms_id_size(void);

// kms_max_overhead returns KMS_MAX_OVERHEAD, for languages without C's macros.
KMS_MUST_USE size_t kms_max_overhead(void);

// kms_file_header_size returns KMS_FILE_HEADER_SIZE, for languages without C's macros.
KMS_MUST_USE size_t kms_file_header_size(void);

// kms_file_start_size returns KMS_FILE_START_SIZE, for languages without C's macros.
KMS_MUST_USE size_t kms_file_start_size(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KMS_H */
