//! The options of `kms_open`.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::guard::{guard, quietly};
use super::ptr;
use super::status::{KMS_OK, kms_status};
use super::types::{
    KMS_BACKUP_WAIT_MAX_S, kms_anchor_get_fn, kms_anchor_put_fn, kms_clock_fn, kms_event, kms_event_fn, kms_wrap_fn,
};
use crate::clock::CallbackClock;
use crate::crypto::plaintext::Plaintext;
use crate::domain::log::check_label;
use crate::error::{Result, Status};
use crate::service::{Event, Options, passphrase_of};
use crate::store::{ALL_ZEROS, AnchorStore, RootWrapper, WRAPPED_MAX};
use crate::sys::cancel::Uncancelled;
use crate::sys::memory;

/// Options of kms_open. Only one thread at a time may use them; kms_open copies what it needs.
pub struct kms_options_t {
    options: Options,
}

/// A caller's pointer, handed back to his callbacks; he promises that they may run on any thread.
#[derive(Clone, Copy)]
pub struct User(pub *mut c_void);
// SAFETY: never dereferenced by us.
unsafe impl Send for User {}
// SAFETY: never dereferenced by us.
unsafe impl Sync for User {}

impl User {
    pub fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// kms_options_new makes options with the defaults: create off, rotation thread on, busy timeout 5000 ms. Exactly one
/// kms_options_set_root_... must follow: with none or two of them, kms_open fails. It returns NULL if memory is short.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_options_new() -> *mut kms_options_t {
    let mut made = std::ptr::null_mut();
    quietly(|| {
        if memory::headroom().is_ok() {
            made = Box::into_raw(Box::new(kms_options_t { options: Options::new() }));
        }
    });
    made
}

/// kms_options_free frees options and wipes the secrets in them. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_options_free(options: *mut kms_options_t) {
    quietly(|| {
        if !options.is_null() {
            // SAFETY: from kms_options_new, and the caller uses it no more.
            drop(unsafe { Box::from_raw(options) });
        }
    });
}

/// SAFETY: `options` as for `ptr::exclusive`.
unsafe fn set(options: *mut kms_options_t, change: impl FnOnce(Options) -> Options) -> Result<()> {
    // SAFETY: the caller's promise.
    let options = unsafe { ptr::exclusive(options, "options") }?;
    options.options = change(std::mem::take(&mut options.options));
    Ok(())
}

/// A flag of C: 0 or 1.
pub fn flag(value: i32, what: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Status::InvalidArgument.error(format!("{what} must be 0 or 1, not {value}"))),
    }
}

/// kms_options_set_root_key sets a root key of exactly 32 bytes, which opens the keystore. The options copy it into
/// memory that is locked and wiped. 32 zero bytes are refused with KMS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_root_key(
    options: *mut kms_options_t,
    key: *const u8,
    key_len: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let key = ptr::slice(key, key_len, "key")?;
        if key.len() != crate::sys::secret::KEY_LEN {
            return Err(
                Status::InvalidArgument.error(format!("the root key must have exactly 32 bytes, not {}", key.len()))
            );
        }
        if key.iter().all(|byte| *byte == 0) {
            return Err(Status::InvalidArgument.error(ALL_ZEROS));
        }
        set(options, |o| o.root_key(key))
    })
}

/// kms_options_set_root_key_file names a regular file of exactly 32 bytes, not all zero. The file must belong to the
/// process's user or to root. Its group may read it (0440, as for systemd credentials and Kubernetes secrets); others
/// may not. With kms_options_set_create, kms_open makes a missing file together with a missing keystore, with mode
/// 0600.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_root_key_file(options: *mut kms_options_t, path: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let path = ptr::path(path, "path")?;
        if path.is_empty() {
            return Err(
                Status::InvalidArgument.error("the path of the root key file is empty; name a file of 32 bytes")
            );
        }
        set(options, |o| o.root_key_file(path))
    })
}

/// kms_options_set_root_passphrase sets a passphrase of 1 byte to 1 MiB, with any byte values. Argon2id (64 MiB, 3
/// passes) derives a key from it, so kms_open takes a fraction of a second.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_root_passphrase(
    options: *mut kms_options_t,
    passphrase: *const u8,
    passphrase_len: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let passphrase = ptr::slice(passphrase, passphrase_len, "passphrase")?;
        if passphrase.is_empty() {
            return Err(Status::InvalidArgument.error("the passphrase is empty; pass at least 1 byte"));
        }
        let passphrase = passphrase_of(passphrase)?;
        set(options, |o| o.root_passphrase_owned(passphrase))
    })
}

/// kms_options_set_root_callback sets two functions that wrap and unwrap the store root key. Their key stays in an HSM,
/// a TPM or a cloud KMS. The store root key is 32 random bytes, made with the keystore, from which all its sealing keys
/// derive.
///
/// Both must use authenticated symmetric encryption that binds `aad`: an AEAD such as AES-256-GCM. Never use public-key
/// encryption, such as RSA-OAEP. With it, an attacker who can write the keystore's file could wrap a root key that they
/// chose. The program would then open the attacker's keystore. If the device takes no additional data, encrypt `aad` in
/// front of the key, and compare it after decryption.
///
/// The library calls `wrap` when it makes a root slot: in kms_change_root, kms_add_root_slot, and kms_open if it
/// creates the keystore. It then tests `unwrap` on the result, once with another `aad` and once with the same. The
/// other `aad` must fail; if it does not, the call fails with KMS_ROOT_KEY_UNAVAILABLE. kms_open calls `unwrap` for
/// each callback slot until one opens the keystore; a forked child calls neither.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_root_callback(
    options: *mut kms_options_t,
    wrap: kms_wrap_fn,
    unwrap: kms_wrap_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (Some(wrap), Some(unwrap)) = (wrap, unwrap) else {
            return Err(Status::InvalidArgument.error("wrap or unwrap is NULL; pass both functions"));
        };
        set(options, |o| o.root_callback(Arc::new(Callback { wrap, unwrap, user: User(user) })))
    })
}

/// kms_options_set_create sets whether kms_open creates a missing keystore; 0 or 1, off by default. kms_open then makes
/// the root key file too. A key file without its keystore is an error, because the keystore may be lost. Do not combine
/// it with kms_options_set_read_only.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_create(options: *mut kms_options_t, create_if_missing: i32) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let create = flag(create_if_missing, "create_if_missing")?;
        set(options, |o| o.create(create))
    })
}

/// kms_options_set_read_only opens the keystore without ever writing to it, so nothing rotates; 0 or 1, off by default.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_read_only(options: *mut kms_options_t, read_only: i32) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let read_only = flag(read_only, "read_only")?;
        set(options, |o| o.read_only(read_only))
    })
}

/// kms_options_set_rotation_thread sets whether a thread of the library, the rotation thread, rotates due keys; 0 or 1,
/// on by default. Without the thread, call kms_tick regularly. A call that encrypts under an overdue key rotates the
/// key first.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_rotation_thread(options: *mut kms_options_t, on: i32) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let on = flag(on, "on")?;
        set(options, |o| o.rotation_thread(on))
    })
}

/// kms_options_set_busy_timeout_ms sets how long a call waits for other processes before KMS_KEYSTORE_BUSY;
/// milliseconds, 0 to 3600000, 5000 by default.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_busy_timeout_ms(options: *mut kms_options_t, timeout_ms: i64) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let timeout = u64::try_from(timeout_ms).ok().filter(|ms| *ms <= 3_600_000);
        let timeout = timeout.ok_or_else(|| {
            Status::InvalidArgument.error(format!("the busy timeout must be 0 to 3600000 ms, not {timeout_ms}"))
        })?;
        set(options, |o| o.busy_timeout(std::time::Duration::from_millis(timeout)))
    })
}

/// kms_options_set_poll_interval_ms sets how often a keystore in a database is asked for changes that other hosts made;
/// milliseconds, 10 to 60000, 1000 by default. The handle obeys such a change, as that a key was disabled, at most this
/// much later, plus the time of a query. The handle has a thread that polls, even without a rotation thread.
///
///     status = kms_options_set_poll_interval_ms(options, 250);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_poll_interval_ms(options: *mut kms_options_t, interval_ms: i64) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let interval = u64::try_from(interval_ms).ok().filter(|ms| (10..=60_000).contains(ms));
        let interval = interval.ok_or_else(|| {
            Status::InvalidArgument.error(format!("the poll interval must be 10 to 60000 ms, not {interval_ms}"))
        })?;
        set(options, |o| o.poll_interval(std::time::Duration::from_millis(interval)))
    })
}

/// kms_options_set_offline_limit_s sets how long keys in memory stay usable while the database of the keystore does not
/// answer; seconds since its last answer, 0 to 2592000, 300 by default. Then every call fails at once, until the
/// database answers. 0 makes calls fail from the first poll without an answer. KMS_EVENT_KEYSTORE_UNAVAILABLE and
/// KMS_EVENT_KEYSTORE_AVAILABLE report the beginning and the end. No call that uses a key in memory waits meanwhile.
///
///     status = kms_options_set_offline_limit_s(options, 60);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_offline_limit_s(options: *mut kms_options_t, limit_s: i64) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let limit = u64::try_from(limit_s).ok().filter(|s| *s <= 2_592_000);
        let limit = limit.ok_or_else(|| {
            Status::InvalidArgument.error(format!("the offline limit must be 0 to 2592000 s, not {limit_s}"))
        })?;
        set(options, |o| o.offline_limit(std::time::Duration::from_secs(limit)))
    })
}

/// kms_options_set_accept_rollback sets whether the handle accepts that the keystore's database lost changes, 0 or 1; off
/// by default. After such a loss, which KMS_EVENT_KEYSTORE_ROLLED_BACK reports, every change fails with
/// KMS_KEYSTORE_ROLLED_BACK, in all processes. An operator who can restore nothing newer opens the keystore once with
/// this option: then all processes continue with what is there. Without a loss it does nothing.
///
///     status = kms_options_set_accept_rollback(options, 1);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_accept_rollback(options: *mut kms_options_t, accept: i32) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let accept = flag(accept, "accept")?;
        set(options, |o| o.accept_rollback(accept))
    })
}

/// kms_options_set_cache_keys sets how many keys, and how many key versions, the handle keeps in memory; at least 1,
/// 32768 by default. Each thread also keeps as many keys ready to encrypt, and as many ready to decrypt.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_cache_keys(options: *mut kms_options_t, keys: usize) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        if keys == 0 {
            return Err(Status::InvalidArgument.error("the cache must keep at least 1 key, not 0"));
        }
        set(options, |o| o.cache_keys(keys))
    })
}

/// kms_options_set_clock sets a function as the clock, for tests: five years of rotations then take a millisecond. A
/// set clock turns the rotation thread off, unless kms_options_set_rotation_thread turns it on.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_clock(
    options: *mut kms_options_t,
    clock: kms_clock_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let clock = clock.ok_or_else(|| Status::InvalidArgument.error("clock is NULL"))?;
        let user = User(user);
        set(options, |o| {
            o.clock(CallbackClock(move || {
                let _uncancelled = Uncancelled::begin();
                clock(user.pointer())
            }))
        })
    })
}

/// kms_options_set_anchor_file names an anchor: a file on another volume that records the newest generation of the
/// keystore. The generation is a number that grows by one with every change. The library then refuses an older copy of
/// the whole keystore with KMS_KEYSTORE_ROLLED_BACK.
///
/// The library makes the file together with the keystore, and writes it after each change, before the call returns. For
/// an existing keystore, and to accept a restored backup, make an empty file. A missing file is KMS_ANCHOR_UNAVAILABLE.
/// A change that fails with that status may have been made.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_anchor_file(options: *mut kms_options_t, path: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let path = ptr::path(path, "path")?;
        if path.is_empty() {
            return Err(
                Status::InvalidArgument.error("the path of the anchor file is empty; name a file on another volume")
            );
        }
        set(options, |o| o.anchor_file(path))
    })
}

/// kms_options_set_anchor_callback sets two functions that store the anchor's record of 104 bytes, for example in a TPM
/// or a remote service. See kms_options_set_anchor_file. The library calls `get` in kms_open and before each change,
/// and `put` after each change. Calls from several threads and processes may arrive out of order; the anchor then lags
/// behind by the changes that they made.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_anchor_callback(
    options: *mut kms_options_t,
    get: kms_anchor_get_fn,
    put: kms_anchor_put_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let (Some(get), Some(put)) = (get, put) else {
            return Err(Status::InvalidArgument.error("get or put is NULL; pass both functions"));
        };
        set(options, |o| o.anchor_callback(Arc::new(AnchorCallback { get, put, user: User(user) })))
    })
}

/// kms_options_set_anchor_strict sets whether the anchor of a keystore in a database holds each change of this handle
/// before its call returns, 0 or 1; off by default. Without it the anchor holds a checkpoint that is at most 10 s old.
/// Set it in all programs that change the keystore. Their changes then follow one another, each with one more round trip
/// to the server. The anchor of a keystore in a file holds each change in any case.
/// kms_open fails with KMS_INVALID_ARGUMENT when it is on and no anchor is set.
///
///     status = kms_options_set_anchor_strict(options, 1);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_anchor_strict(options: *mut kms_options_t, strict: i32) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let strict = flag(strict, "strict")?;
        set(options, |o| o.anchor_strict(strict))
    })
}

/// kms_options_set_require_backup makes a due rotation wait until a recorded backup has the key's newest version, for
/// at most `longest_wait_s` seconds. 0, the default, means no wait; KMS_BACKUP_WAIT_DEFAULT_S suits most programs;
/// KMS_BACKUP_WAIT_MAX_S is the maximum. A lost disk then costs at most what was encrypted under one version of each
/// key. After the longest wait, the key rotates without a backup and reports KMS_EVENT_ROTATED_WITHOUT_BACKUP.
///
/// kms_backup records its backups beside the keystore, in PATH-backups. Set the option in each process, because a
/// process without it rotates what is due. kms_rotate never waits. kms_open refuses the option for `memory:`
/// (KMS_INVALID_ARGUMENT).
///
///     status = kms_options_set_require_backup(options, KMS_BACKUP_WAIT_DEFAULT_S);
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_require_backup(
    options: *mut kms_options_t,
    longest_wait_s: i64,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let longest = u64::try_from(longest_wait_s).ok().filter(|s| *s <= KMS_BACKUP_WAIT_MAX_S.cast_unsigned());
        let longest = longest.ok_or_else(|| {
            Status::InvalidArgument
                .error(format!("a rotation may wait 0 to {KMS_BACKUP_WAIT_MAX_S} s for a backup, not {longest_wait_s}"))
        })?;
        set(options, |o| o.require_backup(std::time::Duration::from_secs(longest)))
    })
}

/// kms_options_set_actor sets a label that the change log stores with each change of the handle: a user, a job or a
/// part of the program. The label has at most 255 bytes, else KMS_LIMIT_EXCEEDED. It must not be empty or contain
/// control characters. The keystore stores it unencrypted. Without a label, entries name only the process, its user and
/// its program.
///
///     kms_options_set_actor(options, "nightly job");
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_actor(options: *mut kms_options_t, label: *const c_char) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let label = ptr::text(label, "label")?;
        check_label(label)?;
        set(options, |o| o.actor(label))
    })
}

/// kms_options_set_event_callback sets a function that receives events: rotations, destroyed keys, and failures of
/// clocks and disks. kms_event_fn states which thread calls it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_options_set_event_callback(
    options: *mut kms_options_t,
    callback: kms_event_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let callback = callback.ok_or_else(|| Status::InvalidArgument.error("callback is NULL"))?;
        let user = User(user);
        set(options, |o| o.on_event(move |event| tell(callback, user, event)))
    })
}

fn tell(callback: unsafe extern "C" fn(*mut c_void, *const kms_event), user: User, event: &Event) {
    let key = event.key.map(super::types::id_text);
    let version = event.version.map(super::types::id_text);
    let event = kms_event {
        struct_size: size_of::<kms_event>() as u32,
        kind: event.kind as i32,
        status: event.status.map_or(KMS_OK, |status| status as i32),
        key_id: key.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
        version_id: version.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
        time_ms: event.time.millis(),
        waited_ms: event.waited_ms,
    };
    // SAFETY: the caller's function, with his pointer and a struct that lives through the call.
    unsafe { callback(user.pointer(), &event) };
}

/// kms_open copies what it needs, and so does this.
///
/// SAFETY: as for `ptr::shared`.
pub unsafe fn copied(options: *const kms_options_t) -> Result<Options> {
    // SAFETY: the caller's promise.
    Ok(unsafe { ptr::shared(options, "options") }?.options.clone())
}

struct AnchorCallback {
    get: unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> kms_status,
    put: unsafe extern "C" fn(*mut c_void, *const u8, usize) -> kms_status,
    user: User,
}

/// Room for a record of a later version.
const ANCHOR_MAX: usize = 256;

impl AnchorStore for AnchorCallback {
    fn get(&self) -> Result<Vec<u8>> {
        let (mut out, mut len) = (memory::zeroed(ANCHOR_MAX)?, 0usize);
        // SAFETY: the caller's function, with his pointer and buffers that live through the call.
        let status = unsafe { (self.get)(self.user.pointer(), out.as_mut_ptr(), out.len(), &mut len) };
        if status != KMS_OK || len > out.len() {
            return Err(Status::AnchorUnavailable.error(format!(
                "the anchor's get callback failed with status {status}, or returned more than it may; check it"
            )));
        }
        out.truncate(len);
        Ok(out)
    }

    fn put(&self, record: &[u8]) -> Result<()> {
        // SAFETY: the caller's function, with his pointer and bytes that live through the call.
        match unsafe { (self.put)(self.user.pointer(), record.as_ptr(), record.len()) } {
            KMS_OK => Ok(()),
            status => Err(Status::AnchorUnavailable
                .error(format!("the change was made, but the anchor's put callback failed with status {status}; the next change anchors it"))),
        }
    }
}

type WrapFn =
    unsafe extern "C" fn(*mut c_void, *const u8, usize, *const u8, usize, *mut u8, usize, *mut usize) -> kms_status;

struct Callback {
    wrap: WrapFn,
    unwrap: WrapFn,
    user: User,
}

impl Callback {
    fn call(&self, function: WrapFn, name: &str, input: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(memory::zeroed(WRAPPED_MAX)?);
        let mut len = 0usize;
        let (user, room) = (self.user.pointer(), out.len());
        // SAFETY: the caller's function, with their pointer and buffers that live through the call.
        let status = unsafe {
            function(user, input.as_ptr(), input.len(), aad.as_ptr(), aad.len(), out.as_mut_ptr(), room, &mut len)
        };
        let refused = |why: String| Status::RootKeyUnavailable.error(format!("the {name} callback {why}"));
        if status != KMS_OK {
            return Err(refused(format!("failed with status {status}")));
        }
        if len == 0 || len > WRAPPED_MAX {
            return Err(refused("returned no result or one that is too long".into()));
        }
        out.truncate(len);
        Ok(out)
    }
}

impl RootWrapper for Callback {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        self.call(self.wrap, "wrap", root, aad).map(|wrapped| wrapped.to_vec())
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Plaintext> {
        self.call(self.unwrap, "unwrap", wrapped, aad).map(Plaintext::new)
    }
}
