//! Slots, sessions and object handles: what the module knows between two calls, behind one lock.
//!
//! The lock is held for a few map operations and never while the library is called. So a fork waits for it only briefly
//! (`ffi::fork` locks it before a fork and unlocks it in parent and child), and no call waits for another's cipher.
//! A child continues with what the parent had, until it calls C_Initialize.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;
use kms::{KeyId, Keystore, VersionId};

use crate::attribute::SessionObject;
use crate::config::{Config, SlotConfig};
use crate::fail::{Fail, Result};
use crate::hash::Digest;
use crate::operation::Operation;
use crate::search::Search;

static STATE: Mutex<Option<State>> = Mutex::new(None);
/// Whether this process inherited the state from its parent: C_Initialize then starts over.
static INHERITED: AtomicBool = AtomicBool::new(false);
/// Sessions and objects are numbered together, and the process uses no number twice: after C_Finalize and C_Initialize, a session
/// that one thread still has must not be the new one of another.
static LAST_HANDLE: AtomicUsize = AtomicUsize::new(0);

fn next_handle() -> CK_ULONG {
    LAST_HANDLE.fetch_add(1, Ordering::Relaxed) as CK_ULONG + 1
}

pub struct State {
    pub slots: Vec<Slot>,
    sessions: BTreeMap<CK_SESSION_HANDLE, Session>,
    objects: BTreeMap<CK_OBJECT_HANDLE, Object>,
    may_start_threads: bool,
}

pub struct Slot {
    pub config: SlotConfig,
    /// None while no user is logged in to a slot that needs a PIN.
    pub keystore: Option<Arc<Keystore>>,
    pub logged_in: bool,
    handles: HashMap<TokenId, CK_OBJECT_HANDLE>,
}

pub struct Session {
    pub slot: usize,
    pub writable: bool,
    pub search: Option<Search>,
    pub encrypt: Option<Operation>,
    pub decrypt: Option<Operation>,
    pub digest: Option<Digest>,
}

/// What a token object represents: a customer master key, or one version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId {
    pub key: KeyId,
    pub version: Option<VersionId>,
}

#[derive(Clone)]
pub enum Object {
    Token {
        slot: usize,
        token: TokenId,
    },
    /// A key that lives as long as its session.
    Session {
        session: CK_SESSION_HANDLE,
        slot: usize,
        key: Arc<SessionObject>,
    },
}

/// What most calls need of a session.
#[derive(Clone)]
pub struct Access {
    pub slot: usize,
    pub writable: bool,
    /// None while no user is logged in to a slot that needs a PIN.
    pub keystore: Option<Arc<Keystore>>,
    pub needs_pin: bool,
    /// Whether versions are objects.
    pub versions: bool,
}

pub fn lock() -> MutexGuard<'static, Option<State>> {
    // A panic was caught at the boundary; each section leaves the maps whole.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called in a forked child.
pub fn note_fork() {
    INHERITED.store(true, Ordering::Relaxed);
}

/// Runs `body` on the state; CKR_CRYPTOKI_NOT_INITIALIZED without one. `body` must not call the library.
pub fn with<R>(body: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
    match &mut *lock() {
        Some(state) => body(state),
        None => Err(Fail(CKR_CRYPTOKI_NOT_INITIALIZED)),
    }
}

pub fn is_initialized() -> bool {
    lock().is_some() && !INHERITED.load(Ordering::Relaxed)
}

/// Makes the state. Keystores that need no PIN are opened here; a text for the log says which one could not be.
pub fn initialize(config: Config, may_start_threads: bool) -> std::result::Result<(), (Fail, String)> {
    let mut slots = Vec::new();
    for config in config.slots {
        let keystore = match config.needs_pin() {
            true => None,
            false => {
                let opened = open(&config, None, may_start_threads);
                Some(opened.map_err(|error| (Fail(CKR_DEVICE_ERROR), format!("slot {}: {error}", config.label)))?)
            }
        };
        slots.push(Slot { config, keystore, logged_in: false, handles: HashMap::new() });
    }
    let (sessions, objects) = (BTreeMap::new(), BTreeMap::new());
    let made = State { slots, sessions, objects, may_start_threads };
    let mut state = lock();
    if state.is_some() && !INHERITED.swap(false, Ordering::Relaxed) {
        drop(state);
        return Err((Fail(CKR_CRYPTOKI_ALREADY_INITIALIZED), "another thread has initialized the module".into()));
    }
    let before = state.replace(made);
    drop(state);
    // Closing keystores takes time; no call waits for it.
    drop(before);
    Ok(())
}

pub fn finalize() -> Result<()> {
    let before = lock().take();
    INHERITED.store(false, Ordering::Relaxed);
    before.map(drop).ok_or(Fail(CKR_CRYPTOKI_NOT_INITIALIZED))
}

pub fn open(config: &SlotConfig, pin: Option<&[u8]>, may_start_threads: bool) -> kms::Result<Arc<Keystore>> {
    let location = format!("sqlite:{}", config.keystore.display());
    Keystore::open(&location, &config.options(pin, may_start_threads)).map(Arc::new)
}

impl State {
    pub fn slot(&mut self, id: CK_SLOT_ID) -> Result<&mut Slot> {
        usize::try_from(id).ok().and_then(|at| self.slots.get_mut(at)).ok_or(Fail(CKR_SLOT_ID_INVALID))
    }

    pub fn session(&mut self, handle: CK_SESSION_HANDLE) -> Result<&mut Session> {
        self.sessions.get_mut(&handle).ok_or(Fail(CKR_SESSION_HANDLE_INVALID))
    }

    pub fn slot_of(&mut self, handle: CK_SESSION_HANDLE) -> Result<&mut Slot> {
        let at = self.session(handle)?.slot;
        self.slots.get_mut(at).ok_or(Fail(CKR_SESSION_HANDLE_INVALID))
    }

    pub fn access(&mut self, handle: CK_SESSION_HANDLE) -> Result<Access> {
        let Session { slot, writable, .. } = *self.session(handle)?;
        let found = self.slot_of(handle)?;
        let SlotConfig { versions, .. } = found.config;
        Ok(Access { slot, writable, keystore: found.keystore.clone(), needs_pin: found.config.needs_pin(), versions })
    }

    pub const fn may_start_threads(&self) -> bool {
        self.may_start_threads
    }

    /// Sessions of a slot, and how many of them may write.
    pub fn count_sessions(&self, slot: usize) -> (CK_ULONG, CK_ULONG) {
        let of_slot = || self.sessions.values().filter(|session| session.slot == slot);
        (of_slot().count() as CK_ULONG, of_slot().filter(|session| session.writable).count() as CK_ULONG)
    }

    pub fn open_session(&mut self, slot: CK_SLOT_ID, writable: bool) -> Result<CK_SESSION_HANDLE> {
        if self.slot(slot)?.config.read_only && writable {
            return Err(Fail(CKR_TOKEN_WRITE_PROTECTED));
        }
        let handle = next_handle();
        let slot = slot as usize;
        let session = Session { slot, writable, search: None, encrypt: None, decrypt: None, digest: None };
        self.sessions.insert(handle, session);
        Ok(handle)
    }

    /// Closes a session with its objects. The last one of a slot logs out: returned is what must be dropped without the lock.
    pub fn close_session(&mut self, handle: CK_SESSION_HANDLE) -> Result<(Session, Option<Arc<Keystore>>)> {
        let closed = self.sessions.remove(&handle).ok_or(Fail(CKR_SESSION_HANDLE_INVALID))?;
        self.objects.retain(|_, object| !matches!(object, Object::Session { session, .. } if *session == handle));
        let is_last = !self.sessions.values().any(|session| session.slot == closed.slot);
        let keystore = if is_last { self.log_out(closed.slot) } else { None };
        Ok((closed, keystore))
    }

    pub fn sessions_of(&mut self, slot: CK_SLOT_ID) -> Result<Vec<CK_SESSION_HANDLE>> {
        self.slot(slot)?;
        let at = slot as usize;
        Ok(self.sessions.iter().filter(|(_, session)| session.slot == at).map(|(handle, _)| *handle).collect())
    }

    /// Ends the login of a slot, and its private session keys. A keystore that needs a PIN is closed, and the handles of its keys
    /// end.
    fn log_out(&mut self, slot: usize) -> Option<Arc<Keystore>> {
        let found = self.slots.get_mut(slot)?;
        found.logged_in = false;
        let needs_pin = found.config.needs_pin();
        self.objects.retain(
            |_, object| !matches!(object, Object::Session { slot: of, key, .. } if *of == slot && key.is(CKA_PRIVATE)),
        );
        if !needs_pin {
            return None;
        }
        self.slots.get_mut(slot)?.handles.clear();
        self.objects.retain(|_, object| !matches!(object, Object::Token { slot: of, .. } if *of == slot));
        self.slots.get_mut(slot)?.keystore.take()
    }

    /// The handle of a token object, made on first sight.
    pub fn token_handle(&mut self, slot: usize, token: TokenId) -> Result<CK_OBJECT_HANDLE> {
        let found = self.slots.get_mut(slot).ok_or(Fail(CKR_SLOT_ID_INVALID))?;
        if let Some(known) = found.handles.get(&token) {
            return Ok(*known);
        }
        let next = next_handle();
        found.handles.insert(token, next);
        self.objects.insert(next, Object::Token { slot, token });
        Ok(next)
    }

    pub fn add_session_object(&mut self, session: CK_SESSION_HANDLE, key: SessionObject) -> Result<CK_OBJECT_HANDLE> {
        let slot = self.session(session)?.slot;
        let handle = next_handle();
        self.objects.insert(handle, Object::Session { session, slot, key: Arc::new(key) });
        Ok(handle)
    }

    /// The session keys that a session of `slot` sees.
    pub fn session_objects(&self, slot: usize) -> Vec<(CK_OBJECT_HANDLE, Arc<SessionObject>)> {
        let visible = self.objects.iter().filter_map(|(handle, object)| match object {
            Object::Session { slot: of, key, .. } if *of == slot => Some((*handle, Arc::clone(key))),
            _ => None,
        });
        let mut keys: Vec<_> = visible.collect();
        keys.sort_unstable_by_key(|(handle, _)| *handle);
        keys
    }

    /// An object of the session's slot.
    pub fn object(&self, slot: usize, handle: CK_OBJECT_HANDLE) -> Option<&Object> {
        self.objects.get(&handle).filter(|object| match object {
            Object::Token { slot: of, .. } | Object::Session { slot: of, .. } => *of == slot,
        })
    }

    pub fn put_session_object(&mut self, handle: CK_OBJECT_HANDLE, changed: SessionObject) {
        if let Some(Object::Session { key, .. }) = self.objects.get_mut(&handle) {
            *key = Arc::new(changed);
        }
    }

    pub fn remove_object(&mut self, handle: CK_OBJECT_HANDLE) {
        if let Some(Object::Token { slot, token }) = self.objects.remove(&handle)
            && let Some(slot) = self.slots.get_mut(slot)
        {
            slot.handles.remove(&token);
        }
    }
}

/// Logs a user in to the slot of a session.
pub fn log_in(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> Result<()> {
    let (config, may_start_threads, slot) = with(|state| {
        let may_start_threads = state.may_start_threads;
        let at = state.session(session)?.slot;
        let slot = state.slot_of(session)?;
        match user {
            CKU_USER => {}
            // A token cannot be administered through PKCS#11.
            CKU_SO => return Err(Fail(CKR_PIN_INCORRECT)),
            CKU_CONTEXT_SPECIFIC => return Err(Fail(CKR_OPERATION_NOT_INITIALIZED)),
            _ => return Err(Fail(CKR_USER_TYPE_INVALID)),
        }
        if slot.logged_in {
            return Err(Fail(CKR_USER_ALREADY_LOGGED_IN));
        }
        // A user who may read the root key file needs no PIN; clients send one nevertheless.
        if !slot.config.needs_pin() {
            slot.logged_in = true;
        }
        Ok((slot.config.clone(), may_start_threads, at))
    })?;
    if !config.needs_pin() {
        return Ok(());
    }
    if pin.is_empty() {
        return Err(Fail(CKR_PIN_INCORRECT));
    }
    // Argon2id takes a fraction of a second, without the lock.
    let opened = open(&config, Some(pin), may_start_threads)?;
    let loser = with(|state| {
        let slot = state.slots.get_mut(slot).ok_or(Fail(CKR_SESSION_HANDLE_INVALID))?;
        if slot.logged_in {
            return Ok(Some(opened));
        }
        slot.logged_in = true;
        slot.keystore = Some(opened);
        Ok(None)
    })?;
    match loser {
        Some(_) => Err(Fail(CKR_USER_ALREADY_LOGGED_IN)),
        None => Ok(()),
    }
}

pub fn log_out(session: CK_SESSION_HANDLE) -> Result<()> {
    let keystore = with(|state| {
        let at = state.session(session)?.slot;
        if !state.slot_of(session)?.logged_in {
            return Err(Fail(CKR_USER_NOT_LOGGED_IN));
        }
        Ok(state.log_out(at))
    })?;
    drop(keystore);
    Ok(())
}
