//! Whether the machine that has the keystore answers, and what follows when it does not.
//!
//! Each poll is an answer or none. Without an answer, keys in memory stay usable for a limited time; then every call fails at
//! once, until a poll is answered. Calls wait for none of that: the rotation thread polls.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::Core;
use super::event::{Event, EventKind};
use crate::error::{Error, Result, Status};
use crate::sys::{clocks, fault};

/// How far a host's clock may be from the database's.
const CLOCK_DIFFERENCE_MS: i64 = 2000;

pub(super) struct Presence {
    /// How long keys in memory stay usable without an answer.
    limit_ms: i64,
    /// Coarse time at which the last poll that was answered began.
    answered_at: AtomicI64,
    /// Coarse time at which the last poll began.
    asked_at: AtomicI64,
    /// Whether a change was announced since then.
    pub is_hinted: AtomicBool,
    is_away: AtomicBool,
    refuses: AtomicBool,
    is_clock_wrong: AtomicBool,
    was_rolled_back: AtomicBool,
    pub polls: AtomicU64,
    /// How often the keystore became unavailable.
    pub absences: AtomicU64,
}

impl Presence {
    pub fn new(limit: Duration) -> Self {
        Self {
            limit_ms: i64::try_from(limit.as_millis()).unwrap_or(i64::MAX),
            answered_at: AtomicI64::new(clocks::coarse_ms()),
            asked_at: AtomicI64::new(clocks::coarse_ms()),
            is_hinted: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            is_clock_wrong: AtomicBool::new(false),
            was_rolled_back: AtomicBool::new(false),
            polls: AtomicU64::new(0),
            absences: AtomicU64::new(0),
        }
    }

    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    pub fn is_clock_wrong(&self) -> bool {
        self.is_clock_wrong.load(Ordering::Relaxed)
    }

    pub fn asked_ms_ago(&self) -> i64 {
        clocks::coarse_ms().saturating_sub(self.asked_at.load(Ordering::Relaxed))
    }

    /// How old what is known of the keystore may be.
    pub fn age_ms(&self) -> i64 {
        clocks::coarse_ms().saturating_sub(self.answered_at.load(Ordering::Relaxed))
    }

    /// Fails once keys in memory are no longer usable.
    pub fn check(&self) -> Result<()> {
        match self.refuses.load(Ordering::Acquire) {
            true => Err(Status::KeystoreUnavailable.error(format!(
                "the database has not answered for more than {} s, the limit for keys in memory; check the server",
                self.limit_ms / 1000
            ))),
            false => Ok(()),
        }
    }
}

/// Whether a failed poll means that the server did not answer. A keystore that was replaced or is busy did.
fn is_absence(error: &Error) -> bool {
    !matches!(
        error.status(),
        Status::KeystoreReplaced | Status::KeystoreRolledBack | Status::KeystoreBusy | Status::Forked
    )
}

impl Core {
    /// Asks the keystore for changes. On another machine, also records whether it answers, and its clock.
    pub(super) fn poll(&self) -> Result<()> {
        if !self.store.is_remote() {
            return self.catch_up();
        }
        let begun = clocks::coarse_ms();
        // Before it is asked: what is announced from here on may be missing in the answer.
        self.presence.is_hinted.store(false, Ordering::Relaxed);
        self.presence.asked_at.store(begun, Ordering::Relaxed);
        self.refuse_if_late();
        let looked = self.look();
        match &looked {
            Ok(()) => {
                self.answered(begun);
                self.follow_rollback()?;
                // One that another process made, or that cannot be made now, is made with a later poll.
                let _ = self.store.keep_checkpoint();
            }
            Err(error) if is_absence(error) => self.unanswered(error),
            Err(_) => {}
        }
        looked
    }

    /// Whether this host may continue a count of time. It always may continue its own of this boot, by its boot clock. In
    /// a database, another host may have counted before, so this host's clock must agree with the database's.
    pub(super) fn may_continue(&self, is_of_another_boot: bool) -> bool {
        !is_of_another_boot
            || !self.store.is_remote()
            || !self.is_clock_wrong()
            || fault::wanted("KMS_FAULT_CLOCKS_UNCOMPARED")
    }

    fn is_clock_wrong(&self) -> bool {
        self.store.server_clock().ahead_ms().saturating_abs() > CLOCK_DIFFERENCE_MS
    }

    fn answered(&self, begun: i64) {
        let presence = &self.presence;
        presence.polls.fetch_add(1, Ordering::Relaxed);
        presence.answered_at.store(begun, Ordering::Relaxed);
        presence.refuses.store(false, Ordering::Release);
        if presence.is_away.swap(false, Ordering::Relaxed) {
            self.emit(&Event::new(EventKind::KeystoreAvailable, self.clock.wall()));
        }
        let is_wrong = self.is_clock_wrong();
        if presence.is_clock_wrong.swap(is_wrong, Ordering::Relaxed) != is_wrong && is_wrong {
            self.emit(&Event::new(EventKind::HostClockWrong, self.clock.wall()));
        }
    }

    /// Reports that the database went back, and which versions are lost as far as this handle knows them.
    fn follow_rollback(&self) -> Result<()> {
        let is_rolled_back = self.store.is_rolled_back();
        if self.presence.was_rolled_back.swap(is_rolled_back, Ordering::Relaxed) == is_rolled_back || !is_rolled_back {
            return Ok(());
        }
        let event = |kind| {
            let event = Event::new(kind, self.clock.wall());
            Event { status: Some(Status::KeystoreRolledBack), ..event }
        };
        self.emit(&event(EventKind::KeystoreRolledBack));
        for (key, version) in self.cache.take_dropped()? {
            let is_there = self.store.read(|view| match view.key(&key)? {
                None => Ok(false),
                Some(stored) => {
                    Ok(stored.records.tombstone(&version).is_some() || view.material(&stored, &version)?.is_some())
                }
            });
            if matches!(is_there, Ok(false)) {
                self.emit(&event(EventKind::VersionLost).of_key(key).of_version(Some(version)));
            }
        }
        Ok(())
    }

    fn unanswered(&self, error: &Error) {
        if !self.presence.is_away.swap(true, Ordering::Relaxed) {
            self.presence.absences.fetch_add(1, Ordering::Relaxed);
            self.emit(&Event::new(EventKind::KeystoreUnavailable, self.clock.wall()).because(error));
        }
        self.refuse_if_late();
    }

    /// Has every call fail from now on where the last answer is too old.
    fn refuse_if_late(&self) {
        let presence = &self.presence;
        if presence.is_away()
            && presence.age_ms() >= presence.limit_ms
            && !presence.refuses.swap(true, Ordering::AcqRel)
        {
            // Each thread checks again before its next use of a key, and is refused there.
            self.cache.uncover();
        }
    }
}
