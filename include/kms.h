/* libkms: an embedded key management service.
 *
 * A program opens a keystore, creates customer master keys (CMKs), and encrypts under them. The library rotates each key on
 * its schedule, and every old ciphertext stays readable.
 *
 *     kms_options_t *options = kms_options_new();
 *     kms_options_set_root_key_file(options, "root.key");         // made with the keystore if neither is there
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
 * Status     Functions return KMS_OK (0) or the reason of the failure. Branch on the status; kms_last_error has a text
 *            for people. Treat an unknown status as a failure. A call that fails has changed nothing (exceptions: see
 *            Keystore).
 * Threads    All threads may use one kms_t at once, without locks. Options are for one thread at a time.
 *            kms_last_error is about the calling thread.
 * Text       Key ids, aliases, paths and descriptions are UTF-8, terminated by NUL.
 * Data       A pointer and a length. (NULL, 0) is empty; NULL with another length is KMS_INVALID_ARGUMENT.
 * NULL       Unless documented otherwise, a NULL pointer is KMS_INVALID_ARGUMENT. A pointer that is not aligned for
 *            its type is KMS_INVALID_ARGUMENT too, or is used as it is.
 * Output     Callers bring the buffer: `out`, `out_cap`, `out_len`. With `out` NULL, the call returns KMS_OK and the
 *            exact size in `*out_len`, after the same checks of arguments, existence and state, and does nothing else.
 *            If `out_cap` is too small, the call returns KMS_BUFFER_TOO_SMALL and the size in `*out_len`, and `out` is
 *            untouched. After any other failure `*out_len` is 0 and `out` holds no plaintext. `out` is then untouched,
 *            with two exceptions in which it is zeroed: more than 4096 bytes turned out not to be authentic, or a
 *            plaintext that it overlapped could not be encrypted (KMS_INTERNAL, KMS_RANDOM_FAILED).
 * Structs    Begin with `struct_size`; start from the INIT macro, which sets it. Then a program works with later
 *            versions of the library, whose structs may be longer. KMS_INVALID_ARGUMENT: a size below that of this
 *            release or above 4096, or bytes beyond the library's own struct that are not zero.
 * Flags      int32_t: 0 or 1. Any other value is KMS_INVALID_ARGUMENT, as is an unknown value of an enumeration.
 * Keys       `key` is a key id or "alias/NAME"; `key_id` is a key id only (an alias there: KMS_UNSUPPORTED_ALIAS).
 *            Where an id or an alias is accepted, so is its resource name: "acs:kms:local:libkms:key/ID" or
 *            "acs:kms:local:libkms:alias/NAME". A text that cannot be an id is the id of no key: KMS_KEY_NOT_FOUND. An
 *            empty one is KMS_INVALID_ARGUMENT.
 * Service    Keys, states, rotation and status codes follow Alibaba Cloud KMS (API 2016-01-20, "classic CMK"), called
 *            the service here. kms_call has its operations by its names: kms_rotate is CreateKeyVersion.
 * Order      Arguments are checked first, then the existence of the key, then its kind, then its state.
 * Limits     A plaintext, context or description that is too long is KMS_LIMIT_EXCEEDED. Any other number out of its
 *            range is KMS_INVALID_ARGUMENT.
 * Keystore   A call that reads or changes the keystore can also fail with KMS_KEYSTORE_IO, KMS_KEYSTORE_BUSY,
 *            KMS_KEYSTORE_CORRUPT or KMS_KEYSTORE_REPLACED. On a handle that was opened read-only, a change fails with
 *            KMS_KEYSTORE_READ_ONLY, before anything else about the key is checked. With an anchor, changes can also
 *            fail with KMS_ANCHOR_UNAVAILABLE and KMS_KEYSTORE_ROLLED_BACK. After KMS_KEYSTORE_IO or
 *            KMS_ANCHOR_UNAVAILABLE a change may stand all the same: read the keystore before you repeat it.
 * Memory     An allocation whose size a caller or a file chooses fails with KMS_OUT_OF_MEMORY, and limits are checked
 *            before anything is copied. A failed small allocation ends the process, as in any Rust code. So each call
 *            first makes sure that 60 KiB are available, and each transaction and each thread's first call 2 MiB;
 *            otherwise it fails with KMS_OUT_OF_MEMORY. Two things can still end the process: another thread that
 *            takes this memory meanwhile, and a kernel that kills instead of refusing (overcommit).
 * Stack      A call needs at most 128 KiB of stack, besides what the program's callbacks take.
 * Callbacks  Run with no lock of the library held, and may call anything but kms_close on their own handle. They must
 *            not throw or longjmp. A child that was forked in one must not return from it.
 * fork       A child may use its parent's handle, and close it. It makes its own connection, randomness and rotation
 *            thread on first use. A "memory:" keystore returns KMS_FORKED there. Do not fork in a signal handler that
 *            may have interrupted a call of the library. Handlers of pthread_atfork may use the library, in all three
 *            places.
 * Cancel     A thread that is cancelled (pthread_cancel) during a call ends after the call has returned. Cancellation
 *            is disabled meanwhile, in callbacks too, which must not enable it. Asynchronous cancellation is not
 *            supported.
 * Signals    The library installs one handler, for SIGBUS, when the first keystore in a file is opened. It claims
 *            faults on the pages of PATH-gen alone, which another program may truncate, and passes all others to the
 *            action that it replaced. A handler that the program installs later must chain to the one that it
 *            replaces, and a thread that calls the library must not block SIGBUS. Otherwise truncating PATH-gen can
 *            end the process. The library's own threads block every other signal.
 * Files      The library's descriptors are never 0 to 2 and are closed in an executed program. Between calls, a
 *            program may close descriptors that it does not know (closefrom): the next call opens what it needs again.
 *            A call that runs meanwhile can fail with KMS_KEYSTORE_IO. Keystore, key file and anchor must belong to
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
    { (uint32_t)sizeof(kms_health_info), 0, 0, 0, 0, 0, 0, 0, 0 }

// Size of a buffer for an id: a UUID of 36 characters and its NUL.
#define KMS_ID_SIZE 37

// A ciphertext is at most this many bytes longer than its plaintext (80 with today's algorithm).
#define KMS_MAX_OVERHEAD 112

// Where a key's material comes from: made by the library.
#define KMS_ORIGIN_KMS 0

// Imported by the user (BYOK).
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

// States of a version. The state of the key comes first. Enabled: it decrypts, and the primary also encrypts.
#define KMS_VERSION_ENABLED 1

// It decrypts nothing until it is enabled again.
#define KMS_VERSION_DISABLED 2

// As Disabled, and it will be destroyed.
#define KMS_VERSION_PENDING_DELETION 3

// Its key material is gone; the id and the number remain.
#define KMS_VERSION_DESTROYED 4

// Size of the header of an encrypted file, in bytes.
#define KMS_FILE_HEADER_SIZE 8192

// Size of what kms_decrypt_stream takes first: the header, and the start of the body.
#define KMS_FILE_START_SIZE 8248

// How material or a data key is wrapped with an RSA-2048 public key: PKCS#1 v1.5.
#define KMS_WRAPPING_PKCS1_V1_5 1

// OAEP with SHA-1 and MGF1 with SHA-1.
#define KMS_WRAPPING_OAEP_SHA_1 2

// OAEP with SHA-256 and MGF1 with SHA-256.
#define KMS_WRAPPING_OAEP_SHA_256 3

// Kinds of events. A key has a new version, which is its primary now.
#define KMS_EVENT_ROTATED 1

// A due rotation could not be stored. Encryption continues under the old primary, and the rotation is tried again.
#define KMS_EVENT_ROTATION_FAILED 2

// A key and all its material are gone.
#define KMS_EVENT_KEY_DESTROYED 3

// A key's waiting period is over and its deletion date is reached; it is destroyed when that is confirmed in an hour.
#define KMS_EVENT_DELETION_DUE 4

// A key's newest version was created in the future: a clock is or was wrong.
#define KMS_EVENT_CLOCK_SUSPECT 5

// A key's row in the keystore is damaged or was altered.
#define KMS_EVENT_KEY_DAMAGED 6

// The rotation thread has stopped; every further call fails with KMS_POISONED.
#define KMS_EVENT_THREAD_STOPPED 7

// Imported material has expired and was erased; the key waits for it to be imported again.
#define KMS_EVENT_MATERIAL_EXPIRED 8

// The keystore's file was replaced or removed, or overwritten with another history of the keystore. Where that history is
// the newer one, the handle continues with it; otherwise KMS_HEALTH_KEYSTORE_REPLACED is set.
#define KMS_EVENT_KEYSTORE_REPLACED 9

// A version's waiting period is over and its deletion date is reached; it is destroyed when that is confirmed in an hour.
#define KMS_EVENT_VERSION_DELETION_DUE 10

// A version's key material is gone: kms_schedule_key_version_deletion.
#define KMS_EVENT_VERSION_DESTROYED 11

// A due rotation waits until a recorded backup has the key's newest version (kms_options_set_require_backup). Reported once
// for each key of a handle.
#define KMS_EVENT_ROTATION_WAITS_FOR_BACKUP 13

// A key rotated although no recorded backup has its former version: it had waited as long as
// kms_options_set_require_backup lets it.
#define KMS_EVENT_ROTATED_WITHOUT_BACKUP 14

// The wait of kms_options_set_require_backup that suits most, in seconds: 7 days.
#define KMS_BACKUP_WAIT_DEFAULT_S 604800

// The longest wait of kms_options_set_require_backup, in seconds: 30 days.
#define KMS_BACKUP_WAIT_MAX_S 2592000

// Key bytes may be swapped out: raise RLIMIT_MEMLOCK.
#define KMS_HEALTH_MEMORY_NOT_LOCKED 1

// Other processes' changes are seen within 100 ms instead of at the next call.
#define KMS_HEALTH_POLLING 2

// The rotation thread's last pass failed; it tries again.
#define KMS_HEALTH_ROTATION_FAILING 4

// The keystore was opened read-only: nothing rotates.
#define KMS_HEALTH_READ_ONLY 8

// No thread rotates: call kms_tick.
#define KMS_HEALTH_NO_ROTATION_THREAD 16

// The rotation thread died of a bug; every other call fails with KMS_POISONED.
#define KMS_HEALTH_THREAD_STOPPED 32

// Cipher contexts, which hold keys, lie in ordinary memory that may be swapped out or dumped: OpenSSL is the system's,
// or served the program before the library.
#define KMS_HEALTH_CIPHER_MEMORY_UNPROTECTED 64

// The keystore's path names another file, an older copy, or nothing. Changes and encryption fail with
// KMS_KEYSTORE_REPLACED until the keystore is back at its path.
#define KMS_HEALTH_KEYSTORE_REPLACED 128

// The keystore may be in use through a second path, where a crash would damage it: its file has several names (hard
// links), or the kernel does not report whether it is mounted as a single file. Use one path, and mount folders.
#define KMS_HEALTH_PATH_UNVERIFIED 256

// The rotation thread could not be started, because the process or its user has too many. Calls rotate the overdue keys
// that they use, kms_tick does what is due, and a call tries to start the thread again every 5 seconds.
#define KMS_HEALTH_THREAD_NOT_STARTED 512

// The rotation thread made no progress for 10 seconds: a clock, a disk or another process holds it up.
#define KMS_HEALTH_THREAD_STALLED 1024

// The event callback is too slow: it did not receive `events_dropped` events.
#define KMS_HEALTH_EVENTS_DROPPED 2048

// The CPU has no quick instructions for AES-GCM or for random numbers, or OpenSSL is kept from using them. Encryption is
// slower, and a copy of the running machine may repeat nonces: see docs/security.md, "Copies of a running machine".
#define KMS_HEALTH_SLOW_CPU 4096

// What opens a keystore: a root key of 32 bytes, passed or from a file.
#define KMS_ROOT_KEY 1

#define KMS_ROOT_PASSPHRASE 2

#define KMS_ROOT_CALLBACK 3

// Most root slots of a keystore.
#define KMS_MAX_ROOT_SLOTS 8

// An encrypted file that is open for reading. Thread-safe: share one between all threads. It may be used in a forked child,
// and after kms_close.
typedef struct kms_file_t kms_file_t;

// Options of kms_open. Used by one thread at a time; kms_open copies what it needs.
typedef struct kms_options_t kms_options_t;

// A file that is encrypted or decrypted in pieces. For one thread at a time. It may be used after kms_close, but not in a
// forked child: KMS_FORKED.
typedef struct kms_stream_t kms_stream_t;

// A count of blobs by key and version. For one thread at a time. It belongs to the process that began it: in a forked child,
// every call but kms_survey_free fails with KMS_FORKED. After kms_close, kms_survey_unreadable and kms_survey_free still
// work; every other call fails with KMS_INVALID_ARGUMENT.
typedef struct kms_survey_t kms_survey_t;

// An open keystore. Thread-safe: share one between all threads. `const` on it means that it may be shared.
typedef struct kms_t kms_t;

// The outcome of a call: KMS_OK, or why it failed. Grouped by hundreds: 1xx arguments, 2xx existence, 3xx state and
// kind of the key, 4xx cryptography, 5xx keystore, 6xx files, 9xx internal. Numbers are never reused; treat an unknown one as a
// failure.
typedef int32_t kms_status;

// Wraps or unwraps the root key outside of the library, by authenticated symmetric encryption: see
// kms_options_set_root_callback.
//
// Writes at most `out_cap` bytes (16384) to `out` and their number to `out_len`, and returns KMS_OK, or any other status to
// refuse. `aad` is text without NUL of at most 128 bytes that names purpose and keystore. `wrap` authenticates it
// together with `input`; `unwrap` fails unless it is the same. `aad_len` is 0 for a slot that keystore format 1 made,
// which bound nothing.
typedef kms_status (*kms_wrap_fn)(void *user,
                                  const uint8_t *input,
                                  size_t input_len,
                                  const uint8_t *aad,
                                  size_t aad_len,
                                  uint8_t *out,
                                  size_t out_cap,
                                  size_t *out_len);

// Returns the time in Unix milliseconds, UTC.
typedef int64_t (*kms_clock_fn)(void *user);

// Reads the anchor's last record: writes it to `out` and its length to `out_len`, 0 if there is none yet.
// Returns KMS_OK, or any other status to refuse.
typedef kms_status (*kms_anchor_get_fn)(void *user, uint8_t *out, size_t out_cap, size_t *out_len);

// Keeps the anchor's record for good, in place of the one before. It holds no secret. Returns KMS_OK once it is safe.
typedef kms_status (*kms_anchor_put_fn)(void *user, const uint8_t *record, size_t record_len);

// Something that happened to the keys, whether the clock did it or a call. Valid during the callback only.
typedef struct kms_event {
    uint32_t struct_size;
    // KMS_EVENT_...
    int32_t kind;
    // Why, for the kinds that are failures; else KMS_OK.
    kms_status status;
    // NULL where the event is about no single key.
    const char *key_id;
    const char *version_id;
    // Unix milliseconds, UTC.
    int64_t time_ms;
    // With KMS_EVENT_KEY_DESTROYED and KMS_EVENT_VERSION_DESTROYED: how long the key or the version waited for its
    // destruction, as the library counted; else 0.
    int64_t waited_ms;
} kms_event;

// Receives one event after the other, in order, with no lock of the library held. It may call anything but kms_close.
//
// With the rotation thread, a separate thread delivers the events, so a function that blocks delays only other events. Up
// to 1024 wait; further ones are dropped, and kms_health counts them. kms_close waits up to 5 seconds for their delivery;
// then it drops the rest. It does not end a function that still runs, so `user` must stay valid until that returns. Without
// the rotation thread, or while no thread can be started, the thread of the call that made an event delivers it, before
// that call returns. A forked child receives its own events only.
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

// What a key is; start from KMS_KEY_METADATA_INIT. Dates are Unix milliseconds, UTC; 0: none.
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
    // When imported material is refused and then erased.
    int64_t material_expire_date_ms;
    // 1 if the key is protected from deletion.
    int32_t deletion_protection;
    // 1 if the key is service-managed.
    int32_t service_managed;
} kms_key_metadata;

// Shown one key at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_key_fn)(void *user, const struct kms_key_metadata *key);

// One entry of an encryption context: two texts in UTF-8. An empty value is fine, an empty key is not.
typedef struct kms_context_entry {
    const char *key;
    const char *value;
} kms_context_entry;

// What a ciphertext says about itself; start from KMS_BLOB_INFO_INIT.
typedef struct kms_blob_info {
    uint32_t struct_size;
    // 1: XAES-256-GCM.
    int32_t algorithm;
    // 0: encrypted without a context, 2: with one.
    int32_t context_type;
    // 1 if the version is the primary of `key_id` now; 0: re-encrypt moves it there. An alias may name another key by now:
    // compare `key_id` with what it names.
    int32_t is_primary;
    char key_id[KMS_ID_SIZE];
    char version_id[KMS_ID_SIZE];
} kms_blob_info;

// One record of a batch call, in an array whose element size is passed with it; start from KMS_BATCH_RECORD_INIT. `input`
// to `out_cap` are yours, `out_len` and `status` are set by the call.
typedef struct kms_batch_record {
    // The plaintext or the ciphertext.
    const uint8_t *input;
    size_t input_len;
    // To encrypt or decrypt with; for kms_reencrypt_batch, the context that the ciphertext has.
    const struct kms_context_entry *context;
    size_t context_count;
    // For kms_reencrypt_batch, the context that the ciphertext is to get; otherwise NULL and 0.
    const struct kms_context_entry *destination_context;
    size_t destination_context_count;
    // By the rules of Output: NULL asks for the size, and it may overlap `input`, but nothing of another record.
    uint8_t *out;
    size_t out_cap;
    size_t out_len;
    // What became of this record.
    kms_status status;
    // 0.
    int32_t reserved;
} kms_batch_record;

// One version of a key, and how many blobs of a survey are under it. Valid during the callback only.
typedef struct kms_survey_count {
    uint32_t struct_size;
    // 1 if this version encrypts.
    int32_t is_primary;
    char key_id[KMS_ID_SIZE];
    char version_id[KMS_ID_SIZE];
    // 1 for the oldest; never reused.
    uint64_t number;
    // KMS_VERSION_...
    int32_t state;
    // 0.
    int32_t reserved;
    // Blobs; 0: none of the survey needs this version.
    uint64_t count;
} kms_survey_count;

// Shown one version of a survey at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_survey_count_fn)(void *user, const struct kms_survey_count *count);

// Receives the number of bytes of the source whose output has been written, again and again, on the thread of the call.
// Returns KMS_OK, or the status that the call is to fail with: it then leaves no output. KMS_FILE_IO stands for a number
// that is no status.
typedef kms_status (*kms_progress_fn)(void *user, uint64_t done);

// How kms_encrypt_file and kms_decrypt_file work; start from KMS_FILE_OPTIONS_INIT.
typedef struct kms_file_options {
    uint32_t struct_size;
    // Threads that work during the call, the calling one included: 1 to 256. 0: one per CPU, at most 4.
    int32_t threads;
    // 0 or 1: replace an existing target, in one step, once the output is complete.
    int32_t replace;
    // NULL: none.
    kms_progress_fn progress;
    // Passed to `progress`.
    void *progress_user;
} kms_file_options;

// What the header of an encrypted file says; start from KMS_FILE_INFO_INIT.
typedef struct kms_file_info {
    uint32_t struct_size;
    // 1 if the version is the primary of `key_id` now; 0: kms_reencrypt_file moves the file there.
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

// Reads an encrypted file from `offset` on: writes at most `out_cap` bytes to `out` and their number to `out_len`. Fewer
// bytes are fine, and 0 is the end of the file. Returns KMS_OK, or any other status to refuse.
//
// It runs on the thread of the call that reads, so on several at once where several threads read.
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
    // 1 for the oldest; never reused.
    uint64_t number;
    // Unix milliseconds, UTC, as the other dates; 0: none.
    int64_t creation_date_ms;
    // KMS_VERSION_...
    int32_t state;
    // 0.
    int32_t reserved;
    // When the version will be destroyed; only while its deletion is pending.
    int64_t delete_date_ms;
    // The start of the day on which the version was last used to encrypt, and to decrypt; 0: no use was recorded. Written
    // by the rotation thread, kms_tick or kms_close. A read-only handle records none, and a crash may lose those of its last second.
    int64_t last_encrypt_date_ms;
    int64_t last_decrypt_date_ms;
} kms_key_version;

// Shown one version at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_version_fn)(void *user, const struct kms_key_version *version);

// Shown one alias and its key at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_alias_fn)(void *user, const char *alias, const char *key_id);

// A label of a key: two texts in UTF-8.
typedef struct kms_tag {
    const char *name;
    const char *value;
} kms_tag;

// Shown one tag at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_tag_fn)(void *user, const struct kms_tag *tag);

// A keystore's condition; start from KMS_HEALTH_INFO_INIT. Counts are of this handle since it was opened.
typedef struct kms_health_info {
    uint32_t struct_size;
    // KMS_HEALTH_... bits; 0: all is well.
    uint32_t flags;
    uint64_t rotations;
    uint64_t rotation_failures;
    uint64_t keys_destroyed;
    // Keys in memory now.
    uint64_t keys_cached;
    // Grows by one with every change of the keystore, by any process.
    uint64_t generation;
    // Events that the callback did not receive, because more than 1024 waited for it.
    uint64_t events_dropped;
    // Versions destroyed by a deletion of their own.
    uint64_t versions_destroyed;
} kms_health_info;

// Shown one fault of the keystore at a time: a key's id, or NULL where it is about no single key, the status that uses
// of it fail with, and a text for people. A return value other than 0 ends the walk.
typedef int32_t (*kms_visit_fault_fn)(void *user,
                                      const char *key_id,
                                      kms_status status,
                                      const char *text);

// One root that opens the keystore. Valid during the callback only.
typedef struct kms_root_slot {
    uint32_t struct_size;
    // KMS_ROOT_...
    int32_t kind;
    char slot_id[KMS_ID_SIZE];
    // Unix milliseconds, UTC; 0 if keystore format 1 made the slot.
    int64_t creation_date_ms;
    // NULL if it has none.
    const char *label;
    // 1 if this handle was opened by it.
    int32_t opened_this_handle;
    // 0.
    int32_t reserved;
} kms_root_slot;

// Shown one root slot at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_root_slot_fn)(void *user, const struct kms_root_slot *slot);

// An entry of the change log: one change of the keystore, or one management call that was refused. Valid during the callback
// only.
typedef struct kms_logged_change {
    uint32_t struct_size;
    // KMS_OK for a change; for a refused call what it failed with.
    kms_status status;
    // The generation that the entry made; the next entry has the next one.
    uint64_t generation;
    // The random id of the entry.
    char change_id[KMS_ID_SIZE];
    // Unix milliseconds, UTC.
    int64_t time_ms;
    // Milliseconds since the machine started, time asleep included.
    int64_t boot_ms;
    // The actor: the process, its real user, the file name of its program ("" where the kernel does not show it), and the
    // label of kms_options_set_actor (NULL: none).
    uint32_t process_id;
    uint32_t user_id;
    const char *program;
    const char *actor;
    // The name of the action, as docs/actions.md has it. By the clock: RotateKeyAuto, DeleteKey, DeleteKeyVersion,
    // DeleteExpiredKeyMaterial, RecordDates.
    const char *action;
    // NULL unless the entry is about one key.
    const char *key_id;
    // NULL unless the entry is about one version.
    const char *version_id;
    // How many keys the change concerned; for CutChanges, how many entries it removed.
    uint64_t count;
    // Refused calls of the same handle before this entry that have no entry of their own.
    uint64_t refusals_omitted;
    // How long a destroyed key or version waited for its destruction, as the library counted; else 0.
    int64_t waited_ms;
    // The keyed hash of this entry and of `previous_mac`, which is the `mac` of the entry before.
    uint8_t mac[32];
    uint8_t previous_mac[32];
} kms_logged_change;

// Shown one entry of the change log at a time; a return value other than 0 ends the list.
typedef int32_t (*kms_visit_change_fn)(void *user, const struct kms_logged_change *change);

#define KMS_OK 0

#define KMS_INVALID_ARGUMENT 100

#define KMS_MISSING_PARAMETER 101

// The size that is needed was stored; nothing was done.
#define KMS_BUFFER_TOO_SMALL 102

#define KMS_UNKNOWN_ACTION 103

// The call takes a key id, and an alias was passed.
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

// Not for this kind of key: imported material and service-managed keys don't rotate.
#define KMS_UNSUPPORTED_OPERATION 304

#define KMS_UNSUPPORTED_ORIGIN 305

#define KMS_DELETION_PROTECTED 306

// The version that encrypted the ciphertext is disabled: see kms_enable_key_version.
#define KMS_KEY_VERSION_DISABLED 307

// The version that encrypted the ciphertext was destroyed, by kms_schedule_key_version_deletion. This is final.
#define KMS_KEY_VERSION_DESTROYED 308

// Not a ciphertext of this library, or cut off.
#define KMS_MALFORMED_CIPHERTEXT 400

// The ciphertext was changed, or the context is not the one it was encrypted with.
#define KMS_AUTHENTICATION_FAILED 401

#define KMS_INVALID_KEY_MATERIAL 402

#define KMS_INVALID_IMPORT_TOKEN 403

#define KMS_EXPIRED_IMPORT_TOKEN 404

#define KMS_WRONG_ROOT_KEY 500

#define KMS_NOT_A_KEYSTORE 501

#define KMS_KEYSTORE_TOO_NEW 502

// Something in the keystore was changed or damaged. Keys that the text does not name still work.
#define KMS_KEYSTORE_CORRUPT 503

#define KMS_KEYSTORE_IO 504

#define KMS_KEYSTORE_READ_ONLY 505

// Another process held the keystore for longer than the busy timeout.
#define KMS_KEYSTORE_BUSY 506

#define KMS_KEYSTORE_NOT_FOUND 507

// Another file stands at the keystore's path now, or none. Nothing was written.
#define KMS_KEYSTORE_REPLACED 508

// The root key file is missing, unreadable, another user's, open to others, of the wrong size or all zeros, or the callback
// failed.
#define KMS_ROOT_KEY_UNAVAILABLE 509

// An older copy of the whole keystore was put in the place of the one that its anchor knows.
#define KMS_KEYSTORE_ROLLED_BACK 510

// The anchor is missing, damaged or of another keystore, or its callback failed.
#define KMS_ANCHOR_UNAVAILABLE 511

// The path is a second one to the keystore: another name of the file, or a mount of the file alone. Open it by its first
// path, or mount its folder.
#define KMS_KEYSTORE_SECOND_PATH 512

// The keystore has no root slot of this id: see kms_list_root_slots.
#define KMS_ROOT_SLOT_NOT_FOUND 515

// This root opens the keystore already. Nothing was changed.
#define KMS_ROOT_SLOT_EXISTS 516

// A file of the caller's could not be read or written, or changed while it was read. The text names it.
#define KMS_FILE_IO 600

// The target exists, and the call may not replace it.
#define KMS_FILE_EXISTS 601

#define KMS_INTERNAL 900

// A panic inside the library was stopped here; close the handle.
#define KMS_POISONED 901

// A memory: keystore does not survive a fork.
#define KMS_FORKED 902

// The kernel returned no randomness.
#define KMS_RANDOM_FAILED 903

// The call needs more memory than the process may have. A change may have been made only where KMS_KEYSTORE_IO is possible
// too.
#define KMS_OUT_OF_MEMORY 904

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// kms_options_new makes options with the defaults: create off, rotation thread on, busy timeout 5000 ms. Exactly one
// kms_options_set_root_... must follow: with none or two of them, kms_open fails. NULL if memory is short.
KMS_MUST_USE
struct kms_options_t *kms_options_new(void);

// kms_options_free frees options and wipes the secrets in them. NULL is fine.
void kms_options_free(struct kms_options_t *options);

// kms_options_set_root_key sets a root key of exactly 32 bytes, which opens the keystore. It is copied into memory
// that is locked and wiped. 32 zero bytes are refused with KMS_INVALID_ARGUMENT.
KMS_MUST_USE
kms_status kms_options_set_root_key(struct kms_options_t *options,
                                    const uint8_t *key,
                                    size_t key_len);

// kms_options_set_root_key_file names a regular file of exactly 32 bytes, not all zero. It must belong to the process's user or to root; its
// group may read it (0440, as systemd credentials and Kubernetes secrets are), others may not. With kms_options_set_create, a
// missing file is made together with a missing keystore, with mode 0600.
KMS_MUST_USE
kms_status kms_options_set_root_key_file(struct kms_options_t *options,
                                         const char *path);

// kms_options_set_root_passphrase sets a passphrase of 1 byte to 1 MiB, of any bytes, which Argon2id (64 MiB, 3 passes) makes a key of:
// kms_open then takes a fraction of a second.
KMS_MUST_USE
kms_status kms_options_set_root_passphrase(struct kms_options_t *options,
                                           const uint8_t *passphrase,
                                           size_t passphrase_len);

// kms_options_set_root_callback lets two functions wrap and unwrap the root key with a key that stays in an HSM, a TPM or
// a cloud KMS.
//
// Both must use authenticated symmetric encryption that binds `aad`: an AEAD such as AES-256-GCM. Never use public-key
// encryption, such as RSA-OAEP: an attacker who can write the keystore's file could encrypt a root key of their own with
// the public key, and the program would open their keystore. Where the device takes no additional data, encrypt
// `aad` before the key, and compare it after decryption.
//
// `wrap` is called when a slot is made: by kms_open that creates, kms_change_root and kms_add_root_slot. `unwrap` then
// tries the result, once with another aad, which must fail (KMS_ROOT_KEY_UNAVAILABLE if it doesn't), and once with the
// same. kms_open calls `unwrap` for each callback slot until one opens the keystore; a forked child calls neither.
KMS_MUST_USE
kms_status kms_options_set_root_callback(struct kms_options_t *options,
                                         kms_wrap_fn wrap,
                                         kms_wrap_fn unwrap,
                                         void *user);

// kms_options_set_create decides whether kms_open makes a keystore that isn't there; 0 or 1, off by default. A root key
// file is made with it; a key file that is there without its keystore is an error, as the keystore may be lost. Not
// together with read_only.
KMS_MUST_USE
kms_status kms_options_set_create(struct kms_options_t *options,
                                  int32_t create_if_missing);

// kms_options_set_read_only opens the keystore without ever writing to it, so nothing rotates; 0 or 1, off by default.
KMS_MUST_USE
kms_status kms_options_set_read_only(struct kms_options_t *options,
                                     int32_t read_only);

// kms_options_set_rotation_thread decides whether a thread of the library rotates keys; 0 or 1, on by default. Without
// it, call kms_tick from time to time; encrypting under an overdue key rotates it first.
KMS_MUST_USE
kms_status kms_options_set_rotation_thread(struct kms_options_t *options,
                                           int32_t on);

// kms_options_set_busy_timeout_ms sets how long a call waits for other processes before KMS_KEYSTORE_BUSY;
// milliseconds, 0 to 3600000, 5000 by default.
KMS_MUST_USE
kms_status kms_options_set_busy_timeout_ms(struct kms_options_t *options,
                                           int64_t timeout_ms);

// kms_options_set_cache_keys sets how many keys, and how many key versions, are kept in memory; at least 1, 32768 by
// default. Each thread also keeps as many keys ready to encrypt, and as many ready to decrypt.
KMS_MUST_USE
kms_status kms_options_set_cache_keys(struct kms_options_t *options,
                                      size_t keys);

// kms_options_set_clock sets a function as the clock, for tests: five years of rotations take a millisecond. It turns the rotation thread off unless kms_options_set_rotation_thread turns it on.
KMS_MUST_USE
kms_status kms_options_set_clock(struct kms_options_t *options,
                                 kms_clock_fn clock,
                                 void *user);

// kms_options_set_anchor_file names a file, on another volume than the keystore, that holds the newest generation of it:
// an older copy of the whole keystore, put back in its place, is then refused with KMS_KEYSTORE_ROLLED_BACK.
//
// It is written after each change and before the call returns, and made together with the keystore. For a keystore that
// is there already, and to accept a restored backup, make the file empty. Without it: KMS_ANCHOR_UNAVAILABLE. A change
// that fails with that status may have been made.
KMS_MUST_USE
kms_status kms_options_set_anchor_file(struct kms_options_t *options,
                                       const char *path);

// kms_options_set_anchor_callback lets two functions keep the anchor's record of 104 bytes: a TPM, a remote service. See
// kms_options_set_anchor_file. `get` is called at kms_open and before each change, `put` after each change. Calls of
// several threads and processes may overtake each other, which leaves the anchor behind by what they were changing.
KMS_MUST_USE
kms_status kms_options_set_anchor_callback(struct kms_options_t *options,
                                           kms_anchor_get_fn get,
                                           kms_anchor_put_fn put,
                                           void *user);

// kms_options_set_require_backup lets a due rotation wait until a recorded backup has the newest version of the key, at
// most `longest_wait_s`, in seconds: 0, the default, for no wait; KMS_BACKUP_WAIT_DEFAULT_S suits most; at most
// KMS_BACKUP_WAIT_MAX_S. So a lost disk costs at most what was encrypted under one version of each key. After the wait the
// key rotates all the same, with KMS_EVENT_ROTATED_WITHOUT_BACKUP.
//
// kms_backup records its backups beside the keystore, in PATH-backups. Set the option in each process: one without it
// rotates what is due. kms_rotate never waits. kms_open refuses it for `memory:` (KMS_INVALID_ARGUMENT).
//
//     status = kms_options_set_require_backup(options, KMS_BACKUP_WAIT_DEFAULT_S);
KMS_MUST_USE
kms_status kms_options_set_require_backup(struct kms_options_t *options,
                                          int64_t longest_wait_s);

// kms_options_set_actor sets a label for the change log, which has it with each change that the handle makes: a user, a job
// or a program's part. At most 255 bytes, else KMS_LIMIT_EXCEEDED; not empty and without control characters. It is stored in
// the clear. Without it, entries have the process, its user and the program alone.
//
//     kms_options_set_actor(options, "nightly job");
KMS_MUST_USE
kms_status kms_options_set_actor(struct kms_options_t *options,
                                 const char *label);

// kms_options_set_event_callback sets a function that receives events: rotations, destroyed keys, and failures of clocks
// and disks. kms_event_fn states on which thread.
KMS_MUST_USE
kms_status kms_options_set_event_callback(struct kms_options_t *options,
                                          kms_event_fn callback,
                                          void *user);

// kms_version returns the library's version, such as "0.1.0".
KMS_MUST_USE const char *kms_version(void);

// kms_open opens the keystore at `location` and stores its handle in `out`, or NULL on failure. `location` is a path,
// "sqlite:PATH", or "memory:" for a keystore that lives as long as its handle and is new at each open.
//
// Fails with KMS_KEYSTORE_NOT_FOUND, KMS_NOT_A_KEYSTORE, KMS_KEYSTORE_TOO_NEW, KMS_KEYSTORE_CORRUPT,
// KMS_WRONG_ROOT_KEY, KMS_ROOT_KEY_UNAVAILABLE, KMS_KEYSTORE_IO or KMS_KEYSTORE_BUSY, and then has changed nothing;
// with KMS_MISSING_PARAMETER if no root key was set, KMS_INVALID_ARGUMENT if two were, or the location is no path.
KMS_MUST_USE
kms_status kms_open(const char *location,
                    const struct kms_options_t *options,
                    struct kms_t **out);

// kms_close stops the rotation thread, stores the last-used dates that wait, wipes all key material and frees the handle.
// NULL is fine. It waits for no lock of another process; a clock and an anchor that were set may still be called.
//
// No other call on the handle may be running, on any thread, and none may follow. Not from a callback.
void kms_close(struct kms_t *kms);

// kms_create_key makes a customer master key and stores its id in `key_id`, KMS_ID_SIZE bytes. `options` may be NULL:
// material of the library's own, no automatic rotation.
//
// The key is Enabled and has its first version; with KMS_ORIGIN_EXTERNAL it waits for its import. When this returns
// KMS_OK the key is on disk. Fails with KMS_UNSUPPORTED_OPERATION for an EXTERNAL key with automatic rotation.
KMS_MUST_USE
kms_status kms_create_key(const struct kms_t *kms,
                          const struct kms_create_key_options *options,
                          char *key_id);

// kms_create_keys makes `count` customer master keys alike, 1 to 1000, and stores their ids in `key_ids`, an array of so
// many times KMS_ID_SIZE bytes. All of them are made, and on disk when this returns KMS_OK, or none; it costs little more
// than to make one. Otherwise as kms_create_key.
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

// kms_list_keys shows at most `limit` keys to `visit`, in the order of their ids, beginning after `after_key_id`
// (NULL: from the start), until `visit` returns another value than 0. To continue a list, pass the last id seen.
//
// Fails with KMS_KEY_NOT_FOUND if `after_key_id` can't be an id; a key of that id need not exist any more.
//
// Keys created or destroyed meanwhile may or may not be seen. A damaged key is passed over, and the call then fails
// with KMS_KEYSTORE_CORRUPT at its end. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_list_keys(const struct kms_t *kms,
                         const char *after_key_id,
                         size_t limit,
                         kms_visit_key_fn visit,
                         void *user);

// kms_enable_key makes a Disabled key Enabled; an Enabled one stays so. If its rotation became overdue meanwhile, it
// rotates before this returns.
//
// Fails with KMS_STATE_MODIFIED_FAILED in another state.
KMS_MUST_USE
kms_status kms_enable_key(const struct kms_t *kms,
                          const char *key_id);

// kms_disable_key makes an Enabled key Disabled: nothing is encrypted or decrypted under it until it is enabled again,
// by any process, from its next call on.
//
// Fails with KMS_STATE_MODIFIED_FAILED while its deletion or import is pending.
KMS_MUST_USE
kms_status kms_disable_key(const struct kms_t *kms,
                           const char *key_id);

// kms_schedule_key_deletion starts a waiting period of 7 to 366 days, after which the key and everything encrypted
// under it are lost. Until then kms_cancel_key_deletion cancels the deletion.
//
// A clock can be wrong, so two conditions must hold before the key is destroyed. The waiting period must have been counted
// by the clock of the machine's boot, which nobody can set: a reboot adds the time since the last pass by the wall clock,
// at most a day. Then two passes, at least an hour apart, must find by the wall clock that the key's date is reached. A wrong clock can
// delay a destruction, and hasten it by at most a day. A clock of kms_options_set_clock counts as both.
//
// Fails with KMS_STATE_MODIFIED_FAILED if its deletion is pending already.
KMS_MUST_USE
kms_status kms_schedule_key_deletion(const struct kms_t *kms,
                                     const char *key_id,
                                     int32_t waiting_period_days);

// kms_cancel_key_deletion returns a key whose deletion is pending to Enabled, from any former state; an EXTERNAL key
// without material to PendingImport. If its rotation became overdue meanwhile, it rotates before this returns.
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
// and kms_schedule_key_version_deletion fail with KMS_DELETION_PROTECTED. A version whose deletion is pending already is
// destroyed all the same unless that is cancelled. `description` says why; NULL: nothing. Fails with
// KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_set_deletion_protection(const struct kms_t *kms,
                                       const char *key_id,
                                       int32_t enable,
                                       const char *description);

// kms_create_service_key stores the id of the key of a named part of the program in `key_id`, KMS_ID_SIZE bytes; makes
// the key on first use. Its alias is alias/acs/NAME. It encrypts like any other, but has one version for life and can't
// be deleted.
KMS_MUST_USE
kms_status kms_create_service_key(const struct kms_t *kms,
                                  const char *name,
                                  char *key_id);

// kms_encrypt encrypts under the primary version of `key`, a key id or "alias/NAME". The ciphertext is 80 bytes longer
// than the plaintext (KMS_MAX_OVERHEAD in any version of the library), and names its key and version.
//
// At most 1 GiB; an empty plaintext is fine. `context` is a map that must be passed again to decrypt, in any order, at
// most 8192 bytes encoded; it isn't stored. `out` may equal or overlap the plaintext. Fails with KMS_KEY_NOT_FOUND,
// KMS_REJECTED_..., KMS_LIMIT_EXCEEDED.
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

// kms_decrypt decrypts a ciphertext under the very version of the key that encrypted it. `context` must be the map it
// was encrypted with.
//
// Fails with KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND, KMS_KEY_VERSION_NOT_FOUND, KMS_REJECTED_...; with
// KMS_AUTHENTICATION_FAILED if ciphertext or context were changed. `out` may equal or overlap the ciphertext, which
// then survives a failure. A query of the size (`out` NULL) authenticates nothing.
KMS_MUST_USE
kms_status kms_decrypt(const struct kms_t *kms,
                       const uint8_t *blob,
                       size_t blob_len,
                       const struct kms_context_entry *context,
                       size_t context_count,
                       uint8_t *out,
                       size_t out_cap,
                       size_t *out_len);

// kms_reencrypt moves a ciphertext to the primary version of `destination_key`, a key id or "alias/NAME"; NULL: of the
// key that it is under. The plaintext doesn't leave the library, and the nonce is always fresh.
//
// Checks the source key, then the destination, before anything is decrypted. `out` may overlap `blob`. Fails as
// kms_decrypt and kms_encrypt do.
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

// kms_inspect returns which key and version a ciphertext is under, and whether that version is still the primary.
// Nothing is decrypted or authenticated.
//
// Works in every state of the key. Fails with KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND or
// KMS_KEY_VERSION_NOT_FOUND.
KMS_MUST_USE
kms_status kms_inspect(const struct kms_t *kms,
                       const uint8_t *blob,
                       size_t blob_len,
                       struct kms_blob_info *out);

// kms_encrypt_batch encrypts `count` records under the primary version of `key` (a key id or "alias/NAME"): all of them
// under the same version, also when the key rotates meanwhile. `record_size` is sizeof(kms_batch_record).
//
// Each record is treated as by kms_encrypt, independently of the others, and has its own `status` and `out_len`. Returns
// KMS_OK if every record is, else KMS_BATCH_PARTIAL. What is about the whole call, such as KMS_KEY_NOT_FOUND or
// KMS_REJECTED_..., is returned and is every record's status too; only after KMS_INVALID_ARGUMENT about `records` itself
// they are as they were.
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
// Each record is treated as by kms_decrypt, independently of the others; the keys may differ. Returns as
// kms_encrypt_batch does.
KMS_MUST_USE
kms_status kms_decrypt_batch(const struct kms_t *kms,
                             struct kms_batch_record *records,
                             size_t record_size,
                             size_t count);

// kms_reencrypt_batch moves `count` ciphertexts to the primary version of `destination_key` (a key id or "alias/NAME"), all
// of them to the same. With NULL, each moves to the newest version of the key that it is under. `record_size` is
// sizeof(kms_batch_record).
//
// Each record is treated as by kms_reencrypt, independently of the others; but a destination is checked first, once.
// Returns as kms_encrypt_batch does.
KMS_MUST_USE
kms_status kms_reencrypt_batch(const struct kms_t *kms,
                               const char *destination_key,
                               struct kms_batch_record *records,
                               size_t record_size,
                               size_t count);

// kms_begin_survey begins to count blobs by key and version, and stores the survey in `out`, or NULL on failure. It shows
// which versions nothing needs any more. Free it with kms_survey_free.
//
//     kms_begin_survey(kms, &survey);
//     while (next_row(&blob, &blob_len)) {
//         kms_survey_add(survey, blob, blob_len);
//     }
//     kms_survey_counts(survey, print, NULL);
//     kms_survey_free(survey);
//
// A survey reads headers, as kms_inspect does: nothing is decrypted or authenticated. It keeps nothing of the blobs. Its
// memory grows with the number of different versions only.
KMS_MUST_USE
kms_status kms_begin_survey(const struct kms_t *kms,
                            struct kms_survey_t **out);

// kms_survey_add counts one blob, or an encrypted file by its first KMS_FILE_HEADER_SIZE bytes. It works in every state of the
// key.
//
// KMS_MALFORMED_CIPHERTEXT, KMS_KEY_NOT_FOUND and KMS_KEY_VERSION_NOT_FOUND: the blob is counted as unreadable
// (kms_survey_unreadable). After any other failure it is not counted.
KMS_MUST_USE
kms_status kms_survey_add(struct kms_survey_t *survey,
                          const uint8_t *blob,
                          size_t blob_len);

// kms_survey_add_batch counts the `input` of `count` records, each as kms_survey_add does. `record_size` is
// sizeof(kms_batch_record).
//
// `out_len` becomes 0; contexts and `out` are not used. Returns as kms_encrypt_batch does: KMS_BATCH_PARTIAL if the `status`
// of any record is not KMS_OK.
KMS_MUST_USE
kms_status kms_survey_add_batch(struct kms_survey_t *survey,
                                struct kms_batch_record *records,
                                size_t record_size,
                                size_t count);

// kms_survey_counts shows every version of each key that occurred to `visit`, keys by id and versions newest first, until
// `visit` returns another value than 0. Versions and their states are those of now.
//
// Nothing in the survey needs a version with a `count` of 0 that is not the primary. A key that did not occur is not shown.
// More blobs may be added afterwards. Fails with KMS_KEY_NOT_FOUND if a key was destroyed since it was counted. No lock is held
// while `visit` runs.
//
//     static int32_t print(void *user, const kms_survey_count *found) {
//         (void)user;
//         return printf("%s %" PRIu64 " %" PRIu64 "\n", found->key_id, found->number, found->count) < 0;
//     }
KMS_MUST_USE
kms_status kms_survey_counts(struct kms_survey_t *survey,
                             kms_visit_survey_count_fn visit,
                             void *user);

// kms_survey_unreadable stores how many blobs could not be counted by version: `malformed` are no blobs, `unknown_key` are
// under a key that the keystore does not have, `unknown_version` under such a version of one of its keys. Each may be NULL.
//
// Find out what they are before a version is destroyed: they may belong to another keystore, or be damaged.
KMS_MUST_USE
kms_status kms_survey_unreadable(struct kms_survey_t *survey,
                                 uint64_t *malformed,
                                 uint64_t *unknown_key,
                                 uint64_t *unknown_version);

// kms_survey_free frees a survey. NULL is fine.
void kms_survey_free(struct kms_survey_t *survey);

// kms_generate_data_key makes a random key of `number_of_bytes` (1 to 1024) for the program to encrypt with itself, and
// encrypts it under the primary version of `key`. Store `blob` beside your data; kms_decrypt returns the key.
//
// `plaintext` has room for `number_of_bytes`, or is NULL: then only the encrypted form is returned. With `blob` NULL the
// size of the encrypted form is stored and no key is made. The two buffers must not overlap. Fails as kms_encrypt does.
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

// kms_generate_and_export_data_key makes a data key that only the holder of an RSA-2048 private key can read: `blob` is
// the key encrypted under `key`, `exported` the key wrapped with `public_key` (a SubjectPublicKeyInfo in DER; 256 bytes
// out). With `blob` or `exported` NULL, both sizes are stored and no key is made. The two must not overlap.
//
// At most 190, 214 or 245 bytes fit, by `wrapping` (KMS_WRAPPING_...): KMS_LIMIT_EXCEEDED. Fails as kms_encrypt does.
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

// kms_export_data_key decrypts a data key and wraps it with an RSA-2048 public key (a SubjectPublicKeyInfo in DER), without
// showing it; 256 bytes out. Fails as kms_decrypt does.
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
// The target appears complete, synced, with the mode of the source, or not at all; it is 8 KiB and about 0.1 % longer.
// `options` may be NULL. `context` must be passed again to decrypt; it may not have the key "kms:file". The state of the
// key counts at the beginning. Fails as kms_encrypt does; with KMS_FILE_IO if a file cannot be read or written, is not a
// regular file, or changed meanwhile; with KMS_FILE_EXISTS if the target exists and `replace` is 0.
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
// The target appears when every byte is authenticated, synced, with the mode of the source, or not at all. Fails as
// kms_decrypt does, with KMS_MALFORMED_CIPHERTEXT also for a file that was cut off; with KMS_FILE_IO and KMS_FILE_EXISTS
// as kms_encrypt_file does.
KMS_MUST_USE
kms_status kms_decrypt_file(const struct kms_t *kms,
                            const char *source,
                            const char *target,
                            const struct kms_context_entry *context,
                            size_t context_count,
                            const struct kms_file_options *options,
                            uint64_t *plaintext_len);

// kms_reencrypt_file moves an encrypted file to the primary version of `destination_key`, a key id or "alias/NAME"; NULL:
// of the key that it is under. `changed` receives 1 if anything had to be done, else 0; it may be NULL.
//
// Only the header is rewritten, in place, whatever the size of the file; the context stays. A call that was interrupted
// leaves a file that opens; call it again. Fails as kms_reencrypt does; with KMS_FILE_IO if the file cannot be read or
// written, or another process re-encrypts it.
KMS_MUST_USE
kms_status kms_reencrypt_file(const struct kms_t *kms,
                              const char *path,
                              const struct kms_context_entry *context,
                              size_t context_count,
                              const char *destination_key,
                              int32_t *changed);

// kms_inspect_file returns which key and version protect an encrypted file, and the length of its plaintext. Nothing is
// decrypted or authenticated.
//
// Works in every state of the key. Fails as kms_inspect does; with KMS_FILE_IO if the file cannot be read.
KMS_MUST_USE
kms_status kms_inspect_file(const struct kms_t *kms,
                            const char *path,
                            struct kms_file_info *out);

// kms_is_encrypted_file finds out whether the first bytes of a file are those of an encrypted file: `is_encrypted` receives
// 1 or 0. `start` should have KMS_FILE_HEADER_SIZE bytes; with fewer, a file that was re-encrypted may be missed.
KMS_MUST_USE
kms_status kms_is_encrypted_file(const uint8_t *start,
                                 size_t start_len,
                                 int32_t *is_encrypted);

// kms_open_file opens an encrypted file for reading at any place, and stores it in `out`, or NULL on failure. Free it with
// kms_file_close.
//
//     kms_open_file(kms, "big.iso.kms", NULL, 0, &file);
//     kms_file_size(file, &size);
//     kms_file_read(file, size / 2, buffer, sizeof buffer, &read_len);
//     kms_file_close(file);
//
// Opening authenticates the length of the file; each read authenticates the chunks that it touches, of 16 KiB each. The
// state of the key counts now. Fails as kms_decrypt_file does.
KMS_MUST_USE
kms_status kms_open_file(const struct kms_t *kms,
                         const char *path,
                         const struct kms_context_entry *context,
                         size_t context_count,
                         struct kms_file_t **out);

// kms_open_file_callback opens an encrypted file of `file_len` bytes that lies anywhere: `read_at` reads from it, now and
// during kms_file_read. `user` must stay valid until kms_file_close.
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

// kms_file_read reads plaintext from byte `offset` on, until `buffer` is full or the file ends, and stores in `read_len` how
// much it read: 0 at the end and behind it.
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
// The outputs of kms_stream_update and kms_stream_finish, one after the other, are the file, as kms_encrypt_file would write
// it. The state of the key counts now. Fails as kms_encrypt does.
KMS_MUST_USE
kms_status kms_encrypt_stream(const struct kms_t *kms,
                              const char *key,
                              const struct kms_context_entry *context,
                              size_t context_count,
                              struct kms_stream_t **out);

// kms_decrypt_stream begins to decrypt a file in pieces. `start` is its first KMS_FILE_START_SIZE bytes; kms_stream_update
// takes the rest. It stores the stream in `out`, or NULL on failure.
//
// Each chunk of 16 KiB is authenticated before its plaintext is put out. Whether the file is complete is known only when
// kms_stream_finish succeeds: discard the output if it does not. The state of the key counts now. Fails as kms_decrypt
// does.
KMS_MUST_USE
kms_status kms_decrypt_stream(const struct kms_t *kms,
                              const uint8_t *start,
                              size_t start_len,
                              const struct kms_context_entry *context,
                              size_t context_count,
                              struct kms_stream_t **out);

// kms_stream_update encrypts or decrypts the next piece, of any length, and puts out what is complete.
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
// An `out` of input_len + input_len / 1024 + 32768 bytes is always large enough; with `out` NULL nothing is taken. The two
// must not overlap. Fails with KMS_AUTHENTICATION_FAILED for a modified chunk, with KMS_LIMIT_EXCEEDED above 4 PiB; `out` is
// then zeroed. After a failure other than KMS_BUFFER_TOO_SMALL or one of arguments, free the stream and discard its output.
KMS_MUST_USE
kms_status kms_stream_update(struct kms_stream_t *stream,
                             const uint8_t *input,
                             size_t input_len,
                             uint8_t *out,
                             size_t out_cap,
                             size_t *out_len);

// kms_stream_finish puts out the end of the file, of at most 32768 bytes. Without it, an encrypted file is cut off, and a
// decrypted one is not known to be complete. The stream then only remains to be freed.
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

// kms_rotate (CreateKeyVersion in the service) makes a new version of `key` (a key id or "alias/NAME") and promotes it to
// primary: new encryptions use it, and old ciphertexts still decrypt. Its id is stored in `version_id`, KMS_ID_SIZE bytes,
// unless that is NULL.
//
// Allowed whether or not a policy is on; the next automatic rotation is counted from now. Two calls make two versions.
// Fails with KMS_REJECTED_..., KMS_UNSUPPORTED_OPERATION for imported material.
KMS_MUST_USE
kms_status kms_rotate(const struct kms_t *kms,
                      const char *key,
                      char *version_id);

// kms_update_rotation_policy turns automatic rotation on (`enable` 1) with an interval of 1 to 315360000 seconds, or
// off (0; the interval must then be 0). The interval counts from the creation of the newest version; if that makes the
// key overdue, it rotates before this returns.
//
// Fails with KMS_REJECTED_... unless the key is Enabled, also when turning rotation off; with
// KMS_UNSUPPORTED_OPERATION for imported material.
KMS_MUST_USE
kms_status kms_update_rotation_policy(const struct kms_t *kms,
                                      const char *key_id,
                                      int32_t enable,
                                      int64_t interval_s);

// kms_tick does all that is due now: rotations, and the destruction of keys whose deletion date was seen twice. For
// programs without the rotation thread. The number of rotated keys is stored in `rotated`, unless that is NULL.
KMS_MUST_USE
kms_status kms_tick(const struct kms_t *kms,
                    size_t *rotated);

// kms_list_key_versions shows at most `limit` versions of `key` (a key id or "alias/NAME") to `visit`, newest first,
// with numbers below `before_number` (0: from the newest), until `visit` returns another value than 0. To continue a
// list, pass the last number seen.
//
// Works in every state of the key. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_list_key_versions(const struct kms_t *kms,
                                 const char *key,
                                 uint64_t before_number,
                                 size_t limit,
                                 kms_visit_version_fn visit,
                                 void *user);

// kms_describe_key_version stores what is known of one version of `key` (a key id or "alias/NAME") in `out`. Fails with
// KMS_KEY_VERSION_NOT_FOUND.
KMS_MUST_USE
kms_status kms_describe_key_version(const struct kms_t *kms,
                                    const char *key,
                                    const char *version_id,
                                    struct kms_key_version *out);

// kms_disable_key_version makes a version that is not the primary refuse decryption, with KMS_KEY_VERSION_DISABLED, until
// kms_enable_key_version. This is the reversible trial before a deletion. Other processes see it on their next call.
// Disabling a Disabled version is KMS_OK.
//
// Fails with KMS_STATE_MODIFIED_FAILED for the primary and while a deletion is pending, KMS_KEY_VERSION_DESTROYED,
// KMS_UNSUPPORTED_OPERATION for imported material and service-managed keys, KMS_REJECTED_PENDING_DELETION while the
// deletion of the key is pending, KMS_KEY_VERSION_NOT_FOUND.
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
// The period is counted as in kms_schedule_key_deletion. After it, what the version encrypted can't be decrypted any more
// (KMS_KEY_VERSION_DESTROYED): move it with kms_reencrypt first. The version's id and number remain in lists. Fails with
// KMS_STATE_MODIFIED_FAILED unless the version is Disabled, KMS_DELETION_PROTECTED, and as kms_disable_key_version does.
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

// kms_create_alias makes `alias`, "alias/" and 1 to 255 letters, digits, _, / or -, another name of a key. A key may
// have many.
//
// Fails with KMS_ALIAS_ALREADY_EXISTS, with KMS_STATE_MODIFIED_FAILED while the key's deletion is pending, with
// KMS_INVALID_ARGUMENT for another form or a name that begins with alias/acs.
KMS_MUST_USE
kms_status kms_create_alias(const struct kms_t *kms,
                            const char *key_id,
                            const char *alias);

// kms_update_alias moves an alias to another key. Encryption by the alias uses that key from the next call on; old
// ciphertexts still decrypt under theirs.
//
// Fails with KMS_ALIAS_NOT_FOUND, with KMS_REJECTED_PENDING_DELETION while the new key's deletion is pending.
KMS_MUST_USE
kms_status kms_update_alias(const struct kms_t *kms,
                            const char *key_id,
                            const char *alias);

// kms_delete_alias deletes an alias; its key is untouched. Fails with KMS_ALIAS_NOT_FOUND.
KMS_MUST_USE kms_status kms_delete_alias(const struct kms_t *kms, const char *alias);

// kms_list_aliases shows at most `limit` aliases to `visit`, in the order of their names, beginning after
// `after_alias` (NULL: from the start), of the key `key_id` or of all (NULL), until `visit` returns another value than
// 0. No lock is held while it runs.
KMS_MUST_USE
kms_status kms_list_aliases(const struct kms_t *kms,
                            const char *key_id,
                            const char *after_alias,
                            size_t limit,
                            kms_visit_alias_fn visit,
                            void *user);

// kms_tag_resource sets tags of a key; a name that it has already gets the new value. A key has at most 10; a name has
// 1 to 128, a value at most 256 characters of a-z A-Z 0-9 / _ - . + = @ :
//
// Fails with KMS_LIMIT_EXCEEDED above 10, with KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_tag_resource(const struct kms_t *kms,
                            const char *key_id,
                            const struct kms_tag *tags,
                            size_t tag_count);

// kms_untag_resource removes tags of a key by name; a name that it doesn't have is passed over. Fails with
// KMS_REJECTED_PENDING_DELETION.
KMS_MUST_USE
kms_status kms_untag_resource(const struct kms_t *kms,
                              const char *key_id,
                              const char *const *names,
                              size_t name_count);

// kms_list_resource_tags shows a key's tags to `visit`, in the order of their names, until it returns another value than
// 0. Works in every state of the key.
KMS_MUST_USE
kms_status kms_list_resource_tags(const struct kms_t *kms,
                                  const char *key_id,
                                  kms_visit_tag_fn visit,
                                  void *user);

// kms_get_parameters_for_import returns the parameters for an import into an EXTERNAL key: a public key (RSA-2048, a
// SubjectPublicKeyInfo in DER) that wraps the 32 bytes, and a token to pass with them. Both are valid for this key,
// several times, for 24 hours; `*expires_ms` is when that ends, unless `expires_ms` is NULL.
//
// Each output follows the rule for outputs; both buffers must be large enough, 512 and 2048 bytes are. Works in every
// state of the key. Fails with KMS_UNSUPPORTED_ORIGIN.
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

// kms_import_key_material imports 32 bytes of material, wrapped as kms_get_parameters_for_import was asked to. `expires_s` is
// when it is to be refused, and then erased: Unix seconds, not after the year 9999, 0 for never. A key waiting for
// material is Enabled then.
//
// Only the identical material is ever accepted again, also after it was deleted or has expired. Fails with
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

// kms_import_raw_key_material imports 32 bytes of material that this program has in the clear; otherwise as
// kms_import_key_material.
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

// kms_call carries out an operation by the name of its action ("Encrypt") with JSON: `request_json` is an object of the
// action's parameters (NULL or "": none), and `*response_json` becomes the response, to be freed with kms_string_free. On
// failure it is an error body (HttpStatus, Code, Message, RequestId), or NULL if not even that could be made.
//
// Names, parameters and errors are those of Alibaba Cloud KMS (API 2016-01-20), "the service" of this header; actions that
// it lacks are in the same style. docs/actions.md has the parameters of each, and the action ListActions returns them.
//
// Plaintext is the Base64 of the bytes, both ways. A parameter that the action doesn't know is KMS_INVALID_ARGUMENT; an
// unknown action KMS_UNKNOWN_ACTION. A batch returns KMS_OK also where records failed: each record has its own Code. Secrets
// in a request are wiped from the library's memory, not from yours.
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

// kms_health stores flags that weaken a promise, and counters, in `out`.
KMS_MUST_USE kms_status kms_health(const struct kms_t *kms, struct kms_health_info *out);

// kms_verify checks every row of the keystore: that it is authentic, the newest copy and found by each index, that
// none is missing and none was added, and that all key material can be unsealed. Finally it checks that each page of the
// file belongs to one table or index, or is free. KMS_OK only if all is well; KMS_KEYSTORE_CORRUPT after showing each
// fault to `visit`, which may be NULL.
//
// It may run beside everything else: it reads rows for a few milliseconds at a time. What another process makes meanwhile
// may be left out. Changes wait for the check of the pages, which takes below 1 s for 100,000 keys. A fork waits for a
// small part of it. No lock is held while `visit` runs.
KMS_MUST_USE
kms_status kms_verify(const struct kms_t *kms,
                      kms_visit_fault_fn visit,
                      void *user);

// kms_backup writes a snapshot of the keystore to a new file at `path`: complete and synced, or not at all. A file that is
// there is never replaced (KMS_KEYSTORE_IO). Changes by any process wait until all is read, at most the busy timeout, then
// fail with KMS_KEYSTORE_BUSY. Other calls go on, and a fork waits for 256 KiB of the copy at most. A `memory:` keystore is
// copied by its only connection, so there other calls that need it wait too.
//
// The pages of the copy are checked as by kms_verify: of a keystore whose pages contradict each other no copy is left
// (KMS_KEYSTORE_CORRUPT). The rows are not: run kms_verify for them.
//
// The backup is recorded beside the keystore, in PATH-backups, for kms_options_set_require_backup and `kms status`. Where
// that fails, as in a folder that is read-only, the backup is good all the same.
//
// The copy is a keystore, opened by what opens this one now. To restore it, copy it to the keystore's path while no
// handle is open, and remove PATH-journal if a crash left one. What was
// encrypted under versions made since can't be decrypted then.
KMS_MUST_USE
kms_status kms_backup(const struct kms_t *kms,
                      const char *path);

// kms_change_root makes the root of `options` the only one that opens the keystore: all root slots are replaced by one.
// Open handles keep working. Of the options, the root counts, and kms_options_set_create for a key file that isn't there.
//
// The new root is tried before anything is changed. Nothing is sealed again, so it takes no longer for many keys; copies
// of the file made before are still opened by the old roots. After a failure that may have changed the keystore (see
// Keystore above), keep both roots until you know which one opens it.
//
// Fails with KMS_ROOT_SLOT_EXISTS if the root opens the keystore already. A callback may be the same as before: its key
// may have been rotated outside, and the root key is wrapped again by it.
KMS_MUST_USE
kms_status kms_change_root(const struct kms_t *kms,
                           const struct kms_options_t *options);

// kms_add_root_slot lets the root of `options` open the keystore too, beside those that do: a recovery key beside a
// passphrase. A keystore has at most 8 root slots, of any kind. The id of the new one is stored in `slot_id`, KMS_ID_SIZE
// bytes, unless that is NULL.
//
// `label` is a name for the list, at most 255 bytes; NULL: none. It is stored in the clear. As for kms_change_root, the
// root is tried first, nothing is sealed again, and kms_options_set_create makes a missing key file.
//
// Fails with KMS_ROOT_SLOT_EXISTS if the root opens the keystore already, with KMS_LIMIT_EXCEEDED for a ninth slot or too
// long a label.
KMS_MUST_USE
kms_status kms_add_root_slot(const struct kms_t *kms,
                             const struct kms_options_t *options,
                             const char *label,
                             char *slot_id);

// kms_remove_root_slot removes a root slot: its root opens the keystore no more. Open handles keep working, also one that
// was opened by it. Copies of the file made before are still opened by it.
//
// Fails with KMS_ROOT_SLOT_NOT_FOUND, and with KMS_UNSUPPORTED_OPERATION for the last slot.
KMS_MUST_USE
kms_status kms_remove_root_slot(const struct kms_t *kms,
                                const char *slot_id);

// kms_list_root_slots shows each root slot to `visit`, in the order in which they were added, until `visit` returns
// another value than 0. No lock is held while it runs.
KMS_MUST_USE
kms_status kms_list_root_slots(const struct kms_t *kms,
                               kms_visit_root_slot_fn visit,
                               void *user);

// kms_list_changes shows at most `limit` entries of the change log to `visit`, oldest first, until `visit` returns another
// value than 0: of the key `key_id` (NULL: of all), from `from_ms` on (0: from the oldest), before `to_ms` (0: up to the
// newest), after the generation `after_generation` (0: from the oldest). Times are Unix milliseconds, UTC.
//
// Each committed change of the keystore has one entry. Management calls that were refused have one each, up to 10 a second
// for each handle. Encryption and decryption are not logged. To continue a list, pass the generation of the last entry seen.
// The key need not exist any more.
//
// The log is checked as it is read: KMS_KEYSTORE_CORRUPT if an entry was altered, moved or removed. No lock is held while
// `visit` runs. May be called concurrently on one handle.
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

// kms_cut_changes removes the entries of the change log that are older than `before_ms` (Unix milliseconds, UTC) and stores
// their number in `removed` (may be NULL). The rest of the log continues from a checkpoint, and the cut has an entry.
//
// Entries are removed from the oldest on, up to the first that is not older. Export them first. KMS_KEYSTORE_CORRUPT: the
// log was altered, so it is not cut. A long log is cut in several transactions, so a failed call may have removed some.
//
//     kms_cut_changes(kms, (int64_t)(time(NULL) - 365 * 86400) * 1000, NULL);
KMS_MUST_USE
kms_status kms_cut_changes(const struct kms_t *kms,
                           int64_t before_ms,
                           uint64_t *removed);

// kms_status_name returns the constant's name, such as "KMS_REJECTED_DISABLED". It is never NULL, for any number, and
// always valid.
KMS_MUST_USE
const char *kms_status_name(kms_status status);

// kms_status_code returns the service's code, such as "Rejected.Disabled", or one in the same style where the service
// has none. It is never NULL, for any number, and always valid.
KMS_MUST_USE
const char *kms_status_code(kms_status status);

// kms_last_error copies the text of the calling thread's last failed call into `buf`, cut to `cap` bytes with a
// terminating NUL, and returns its full length without NUL; 0 if the last call succeeded.
//
// The text is for people and logs: it says what to do, and never holds plaintext or key bytes. Branch on the status.
// `buf` may be NULL when `cap` is 0.
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
