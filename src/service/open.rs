//! How a keystore is opened: the options, and what a handle is made of.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use zeroize::Zeroizing;

use super::backup::{BackupWait, check_backup_wait};
use super::cache::DEFAULT_KEYS;
use super::delivery::Delivery;
use super::event::{Event, EventHandler};
use super::{Core, Inner, Keystore};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::{Now, Time};
use crate::domain::{limits, log};
use crate::error::{Error, Result, Status};
use crate::store::{
    ALL_ZEROS, ActorName, Anchor, AnchorStore, Location, Root, RootWrapper, ServerClock, Settings, Store,
};
use crate::sys::fork::PerProcess;
use crate::sys::secret::{Arena, KEY_LEN};
use crate::sys::{memory, process, stack, waiting};

/// The options of [`Keystore::open`]. Exactly one root key must be set.
///
/// ```no_run
/// use kms::{Keystore, Options};
///
/// # fn main() -> kms::Result<()> {
/// let keystore = Keystore::open("keys.db", &Options::new().root_key_file("root.key").create(true))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Options {
    roots: Vec<Root>,
    invalid: Option<Error>,
    create: bool,
    read_only: bool,
    rotation_thread: Option<bool>,
    busy_timeout: Duration,
    cache_keys: usize,
    clock: Arc<dyn Clock>,
    events: Option<EventHandler>,
    anchor: Option<Anchor>,
    anchor_strict: bool,
    actor: Option<String>,
    backup_wait: Duration,
    poll: Duration,
    offline_limit: Duration,
    accept_rollback: bool,
}

/// Shows no root key and no passphrase.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("create", &self.create)
            .field("read_only", &self.read_only)
            .field("rotation_thread", &self.rotation_thread)
            .field("busy_timeout", &self.busy_timeout)
            .field("cache_keys", &self.cache_keys)
            .field("anchor", &self.anchor)
            .field("anchor_strict", &self.anchor_strict)
            .field("actor", &self.actor)
            .field("backup_wait", &self.backup_wait)
            .field("poll", &self.poll)
            .field("offline_limit", &self.offline_limit)
            .field("accept_rollback", &self.accept_rollback)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            invalid: None,
            create: false,
            read_only: false,
            rotation_thread: None,
            busy_timeout: Duration::from_secs(5),
            cache_keys: DEFAULT_KEYS,
            clock: Arc::new(SystemClock),
            events: None,
            anchor: None,
            anchor_strict: false,
            actor: None,
            backup_wait: Duration::ZERO,
            poll: Duration::from_secs(1),
            offline_limit: Duration::from_secs(300),
            accept_rollback: false,
        }
    }
}

impl Options {
    /// Create the default options: `create` off, the rotation thread on, no root key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Set a root key of 32 bytes, which are not all zero.
    pub fn root_key(mut self, key: &[u8]) -> Self {
        let invalid = |text: &'static str| Status::InvalidArgument.error(text);
        let kept = stack::with_stack_wiped(|| match <[u8; KEY_LEN]>::try_from(key).map(Zeroizing::new) {
            Err(_) => Err(invalid("a root key has exactly 32 bytes")),
            Ok(key) if *key == [0; KEY_LEN] => Err(invalid(ALL_ZEROS)),
            Ok(mut key) => Arena::new().keep(&mut key),
        });
        match kept {
            Ok(secret) => self.roots.push(Root::Key(Arc::new(secret))),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Set the path of a root key file: a regular file of exactly 32 bytes that belongs to the user of the process
    /// or to root. Its group may read it, others may not. [`Options::create`] makes it together with the keystore.
    pub fn root_key_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.roots.push(Root::File(path.into()));
        self
    }

    /// Set a root passphrase, which Argon2id stretches (64 MiB, 3 passes: a fraction of a second at open).
    pub fn root_passphrase(mut self, passphrase: &[u8]) -> Self {
        if passphrase.is_empty() {
            self.invalid = Some(Status::InvalidArgument.error("the passphrase is empty; pass at least 1 byte"));
        }
        match passphrase_of(passphrase) {
            Ok(passphrase) => self.root_passphrase_owned(passphrase),
            Err(error) => {
                self.invalid = Some(error);
                self
            }
        }
    }

    pub(crate) fn root_passphrase_owned(mut self, passphrase: Zeroizing<Vec<u8>>) -> Self {
        self.roots.push(Root::Passphrase(Arc::new(passphrase)));
        self
    }

    /// Set a root callback: an HSM, a TPM or a cloud KMS, which is called at open with no lock held.
    ///
    /// It must use authenticated symmetric encryption that binds `aad`, such as AES-256-GCM, with a key that stays
    /// outside. Never use public-key encryption: an attacker who can write the file could encrypt their own
    /// root key and replace the keystore.
    ///
    /// `aad` is text of at most 128 bytes, for this purpose and this keystore. A device without `aad` can encrypt it
    /// before the key and compare it afterwards. When a slot is made, the library checks that the callback unwraps
    /// with the same `aad` and not with another.
    pub fn root_callback(mut self, wrapper: Arc<dyn RootWrapper>) -> Self {
        self.roots.push(Root::Callback(wrapper));
        self
    }

    /// Create the keystore, and its root key file, if there is none. Default: false.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Open the keystore without ever changing its file. Default: false.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Turn the rotation thread on or off. Default: on, unless a clock is set. Without it, call [`Keystore::tick`].
    pub fn rotation_thread(mut self, on: bool) -> Self {
        self.rotation_thread = Some(on);
        self
    }

    /// Set how long a call waits for other processes. Default: 5 s.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Set how many keys, and how many key versions, the cache keeps. Default: 32,768. Each thread keeps as many
    /// that are ready for use.
    pub fn cache_keys(mut self, keys: usize) -> Self {
        self.cache_keys = keys.max(1);
        self
    }

    /// Set a clock, which turns the rotation thread off unless [`Options::rotation_thread`] turns it on.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Set the handler of [`Event`]s: rotations, destroyed keys, failures. It may call the library but must not drop
    /// the keystore.
    ///
    /// With a rotation thread, a further thread calls it with one event after the other. Up to 1024 events wait;
    /// [`Health`](crate::health::Health) counts those that are dropped. Closing waits up to 5 s for it. Without a rotation
    /// thread, the call that made an event calls the handler before it returns.
    pub fn on_event(mut self, handler: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(handler));
        self
    }

    /// Set the path of an anchor: a file outside of the volume of the keystore that holds its newest generation, so
    /// that an older copy of the whole keystore is refused. It is made with the keystore; for an existing keystore,
    /// make an empty file first.
    pub fn anchor_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.anchor = Some(Anchor::File(path.into()));
        self
    }

    /// Set an anchor whose record the program keeps, as [`Options::anchor_file`] does otherwise. It is called with
    /// no lock held.
    pub fn anchor_callback(mut self, store: Arc<dyn AnchorStore>) -> Self {
        self.anchor = Some(Anchor::Callback(store));
        self
    }

    /// Set whether the anchor of a keystore in a database holds each change of this handle before its call returns. Otherwise it
    /// holds a checkpoint that is at most 10 s old. Changes of all strict handles then follow one another, with one more round
    /// trip each. The anchor of a file holds each change in any case. Default: false.
    pub fn anchor_strict(mut self, strict: bool) -> Self {
        self.anchor_strict = strict;
        self
    }

    /// Set how often a keystore in a database is asked for changes that other hosts made, 10 ms to 60 s. Such a change,
    /// like disabling a key, takes effect here after at most this interval and the time of one query. Default: 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        match (10..=60_000).contains(&interval.as_millis()) {
            true => self.poll = interval,
            false => self.invalid = Some(Status::InvalidArgument.error("a poll interval has 10 ms to 60 s")),
        }
        self
    }

    /// Set how long keys in memory stay usable while the database that has the keystore doesn't answer, counted from the
    /// last answer. Then every call fails at once, until the database answers. Zero: from the first poll that fails. At most
    /// 30 days. Default: 5 minutes.
    pub fn offline_limit(mut self, limit: Duration) -> Self {
        match limit.as_secs() <= 30 * 86_400 {
            true => self.offline_limit = limit,
            false => self.invalid = Some(Status::InvalidArgument.error("an offline limit has at most 30 days")),
        }
        self
    }

    /// Accept that the database of the keystore lost changes: continue with its present state, and have all other
    /// processes do so. For an operator who found that nothing newer can be restored. Default: false.
    pub fn accept_rollback(mut self, accept: bool) -> Self {
        self.accept_rollback = accept;
        self
    }

    /// Set a label for the change log, which names it with each change that the handle makes: a user, a job or a request.
    /// At most 255 bytes of printable text, stored in the clear. Default: none.
    pub fn actor(mut self, label: &str) -> Self {
        match log::check_label(label) {
            Ok(()) => self.actor = Some(label.to_owned()),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Let a due rotation wait, at most `longest`, until a recorded backup has the newest version of the key. So a lost
    /// disk costs at most what was encrypted under one version of each key. After `longest` the key rotates all the
    /// same, with the event [`EventKind::RotatedWithoutBackup`](super::EventKind). Zero, the default: no wait;
    /// [`BACKUP_WAIT_DEFAULT`](super::BACKUP_WAIT_DEFAULT) suits most; at most 30 days.
    ///
    /// Set it in each process that opens the keystore: one without it rotates what is due. [`Keystore::rotate`] never
    /// waits. A `memory:` keystore refuses it.
    pub fn require_backup(mut self, longest: Duration) -> Self {
        match check_backup_wait(longest) {
            Some(error) => self.invalid = Some(error),
            None => self.backup_wait = longest,
        }
        self
    }

    pub(super) fn root(&self) -> Result<&Root> {
        match (&self.invalid, self.roots.as_slice()) {
            (Some(error), _) => Err(error.clone()),
            (None, [root]) => Ok(root),
            (None, []) => {
                Err(Status::MissingParameter.error("no root key; set a key, a file, a passphrase or a callback"))
            }
            (None, _) => Err(Status::InvalidArgument.error("more than one root key was set; set exactly one")),
        }
    }
}

/// A copy of a passphrase, unless it is too long.
pub(crate) fn passphrase_of(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    if bytes.len() > limits::PASSPHRASE_BYTES {
        return Err(Status::LimitExceeded.error("the passphrase is above 1 MiB; use a shorter one, or a key file"));
    }
    memory::copy(bytes).map(Zeroizing::new)
}

impl Options {
    pub(super) fn creates(&self) -> bool {
        self.create
    }
}

impl Keystore {
    /// Open the keystore at `location`: a path, `sqlite:PATH`, `memory:`, or with the feature `postgres` a database,
    /// `postgres://[USER@]HOST[:PORT]/DATABASE[?SETTING=VALUE][#KEYSTORE]` (docs/many-machines.md). Other threads, processes
    /// and hosts may have it open.
    ///
    /// # Errors
    /// * `MissingParameter` without a root key; `InvalidArgument` for more than one, or for a malformed location.
    /// * `KeystoreNotFound` where there is none, without [`Options::create`]; `NotAKeystore`, `KeystoreTooNew`,
    ///   `KeystoreCorrupt`.
    /// * `WrongRootKey`; `RootKeyUnavailable` for a key file or a callback that fails.
    /// * `KeystoreRolledBack` or `AnchorUnavailable` by the anchor; `KeystoreSecondPath` for a file with two paths.
    /// * `KeystoreBusy`, `KeystoreIo`, `KeystoreUnavailable`, `OutOfMemory`, `RandomFailed`.
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn open(location: &str, options: &Options) -> Result<Self> {
        stack::with_stack_wiped(|| Self::open_unwiped(location, options))
    }

    fn open_unwiped(location: &str, options: &Options) -> Result<Self> {
        memory::headroom_of(memory::OPENING)?;
        let root = options.root()?;
        let location = Location::parse(location)?;
        if options.read_only && options.create {
            return Err(Status::InvalidArgument
                .error("a keystore can't be created read-only; set create or read_only, not both"));
        }
        if options.anchor.is_some() && location == Location::Memory {
            return Err(Status::InvalidArgument
                .error("a memory: keystore takes no anchor, as it has no older copies; leave the anchor out"));
        }
        if options.anchor_strict && options.anchor.is_none() {
            return Err(Status::InvalidArgument
                .error("anchor_strict needs an anchor; set an anchor file or callback, or leave anchor_strict out"));
        }
        if !options.backup_wait.is_zero() && location == Location::Memory {
            return Err(Status::InvalidArgument
                .error("a memory: keystore records no backups to wait for; leave require_backup out"));
        }
        let settings = Settings {
            // A keystore in memory exists only through its handle.
            create: options.create || location == Location::Memory,
            location,
            read_only: options.read_only,
            patience: options.busy_timeout,
            poll: options.poll,
            accepts_rollback: options.accept_rollback,
            anchor: options.anchor.clone(),
            is_anchor_strict: options.anchor_strict,
            opened_ms: options.clock.wall().millis(),
            actor: ActorName { program: process::program(log::ACTOR_BYTES), label: options.actor.clone() },
        };
        let arena = Arena::new();
        let place = settings.location.clone();
        let store = Store::open(settings, root, &arena).map_err(|error| place.named(error))?;
        Ok(Self { process: PerProcess::new(Inner::start(store, arena, options.clone())?) })
    }
}

impl Inner {
    /// A handle's state around an open store, with its own ticker where one is wanted.
    pub(super) fn start(store: Store, arena: Arc<Arena>, mut options: Options) -> Result<Self> {
        // A forked child needs the settings again, but never the root.
        options.roots.clear();
        let wanted = options.rotation_thread.unwrap_or(!options.clock.is_manual());
        let wanted = wanted && !store.is_read_only();
        let core = Arc::new_cyclic(|me| Core::new(store, arena, &options, wanted, me.clone()));
        if core.store.is_remote() {
            // So that the clock is known before the first call.
            core.poll()?;
        }
        core.start_ticker();
        Ok(Self { core, options })
    }

    /// The same handle for a forked child.
    pub(super) fn in_child(&self) -> Result<Self> {
        waiting::allowed()?;
        stack::with_stack_wiped(|| {
            memory::headroom_of(memory::OPENING)?;
            let arena = Arena::new();
            let store = self.core.store.reopen_in_child(&arena)?;
            Self::start(store, arena, self.options.clone())
        })
    }
}

/// The clock of the machine that has the keystore; this host's own until it was asked.
struct DatabaseClock(Arc<ServerClock>);

impl Clock for DatabaseClock {
    fn wall(&self) -> Time {
        self.0.wall_ms().map_or_else(|| SystemClock.wall(), Time::from_millis)
    }

    fn now(&self) -> Now {
        Now { wall: self.wall(), ..SystemClock.now() }
    }

    fn is_manual(&self) -> bool {
        false
    }
}

impl Core {
    fn new(store: Store, arena: Arc<Arena>, options: &Options, has_thread: bool, me: Weak<Self>) -> Self {
        // What is due, and each date, goes by one clock for all hosts.
        let clock: Arc<dyn Clock> = match store.is_remote() && !options.clock.is_manual() {
            true => Arc::new(DatabaseClock(Arc::clone(store.server_clock()))),
            false => Arc::clone(&options.clock),
        };
        let polls = store.is_remote();
        let today = (!store.is_read_only()).then(|| options.clock.wall());
        Self {
            uses: super::uses::Uses::new(today),
            cache: super::cache::Cache::new(options.cache_keys),
            news: Arc::new(super::news::NewsThread::of(store.announcements())),
            store,
            arena,
            threads: crate::sys::per_thread::PerThread::new(),
            clock,
            events: options.events.clone().map(|listener| Delivery::to(listener, has_thread)),
            me,
            ticker: super::ticker::Ticker::new(has_thread, polls),
            presence: super::presence::Presence::new(options.offline_limit),
            alarm: crate::sys::sync::Alarm::default(),
            wakes_at: std::sync::atomic::AtomicI64::new(i64::MAX),
            polled_at: std::sync::atomic::AtomicI64::new(crate::sys::clocks::coarse_ms()),
            retry_after: std::sync::atomic::AtomicI64::new(i64::MIN),
            counters: super::health::Counters::default(),
            damaged: crate::sys::sync::Lock::default(),
            held: crate::sys::sync::Lock::default(),
            backup_wait: BackupWait::new(options.backup_wait),
            place: crate::sys::sync::Lock::new((crate::store::Standing::Here, 0)),
        }
    }
}
