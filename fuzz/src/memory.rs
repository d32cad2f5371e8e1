//! A keystore in memory that is made again after some hundred executions, before its keys slow it down.

use kms::{Keystore, ManualClock, Options};

pub const BEGINNING: i64 = 1_700_000_000_000;

pub struct Memory {
    pub kms: Keystore,
    pub clock: ManualClock,
    executions: u32,
}

impl Memory {
    pub fn new() -> Self {
        let clock = ManualClock::at(BEGINNING);
        let options = Options::new().root_key(&[7; 32]).clock(clock.clone());
        Self { kms: Keystore::open("memory:", &options).expect("a keystore in memory opens"), clock, executions: 0 }
    }

    /// Whether it has served `enough` executions; counts this one.
    pub fn is_worn(&mut self, enough: u32) -> bool {
        self.executions += 1;
        self.executions > enough
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}
