//! The clocks that the rules are shown: the system's, or one that a caller drives by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::time::{Now, Time};
use crate::sys::{boot, clocks};

/// A clock of the caller, for [`Options::clock`](crate::Options::clock).
///
/// The library calls it often and from any thread, with no lock or transaction held: it may block, fork, panic or call
/// the library. A keystore with such a clock has no rotation thread unless
/// [`Options::rotation_thread`](crate::Options::rotation_thread) turns it on.
pub trait Clock: Send + Sync {
    /// Return the wall time.
    fn wall(&self) -> Time;

    /// Wall time together with the boot clock, for the rule of two confirmations. A caller's clock is one endless boot,
    /// whose uptime is its wall time.
    #[doc(hidden)]
    fn now(&self) -> Now {
        let wall = self.wall();
        Now { wall, boot: [0; 16], since_boot_ms: wall.millis() }
    }

    /// Whether this is not the system's clock, so that the library must ask it before it takes a lock.
    #[doc(hidden)]
    fn is_manual(&self) -> bool {
        true
    }
}

/// CLOCK_REALTIME and CLOCK_BOOTTIME.
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        Time::from_millis(clocks::realtime_ms())
    }

    fn now(&self) -> Now {
        let (boot, since_boot_ms) = boot::since_boot();
        Now { wall: self.wall(), boot, since_boot_ms }
    }

    fn is_manual(&self) -> bool {
        false
    }
}

/// A clock read from a function.
#[cfg(any(test, feature = "capi"))]
pub struct CallbackClock<F>(pub F);

#[cfg(any(test, feature = "capi"))]
impl<F: Fn() -> i64 + Send + Sync> Clock for CallbackClock<F> {
    fn wall(&self) -> Time {
        Time::from_millis((self.0)())
    }
}

/// A clock for tests, which stands still until it is moved. Clones share their time.
///
/// ```
/// use kms::{CreateKey, Interval, Keystore, ManualClock, Options};
///
/// # fn main() -> kms::Result<()> {
/// let clock = ManualClock::at(1_700_000_000_000);
/// let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]).clock(clock.clone()))?;
/// keystore.create_key(&CreateKey { rotate_every: Some(Interval::parse("1d")?), ..Default::default() })?;
/// clock.advance_seconds(86_400);
/// assert_eq!(keystore.tick()?.rotated, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Create a clock that shows `millis`, Unix milliseconds.
    pub fn at(millis: i64) -> Self {
        Self(Arc::new(AtomicI64::new(millis)))
    }

    /// Set the time, in Unix milliseconds.
    pub fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    /// Move the time forward, or back for a negative number.
    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
    }

    /// Return the time, in Unix milliseconds.
    pub fn millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Time {
        Time::from_millis(self.millis())
    }
}
