//! The changes that time alone makes.

use super::{Model, TickReport};
use crate::rules::Millis;

impl Model {
    /// Every date at which something may begin to be different.
    pub fn dates(&self) -> Vec<Millis> {
        let mut dates = Vec::new();
        for key in self.keys.values() {
            dates.extend(key.last_rotation().zip(key.policy).map(|(last, seconds)| last + seconds * 1000));
            dates.extend(key.last_rotation());
            dates.extend(key.noticed.zip(key.policy).map(|(noticed, seconds)| noticed + seconds * 1000));
            let expiry = key.imported.as_ref().and_then(|imported| imported.expiry);
            for deadline in key.deletion.iter().chain(expiry.iter()) {
                dates.push(deadline.date);
                dates.extend(deadline.confirmed.map(|first| first + self.rules.confirmations_apart));
            }
        }
        dates
    }

    /// All that is due now.
    pub fn tick(&mut self, now: Millis) -> TickReport {
        let mut done = TickReport::default();
        let rules = self.rules.clone();
        let ids: Vec<String> = self.keys.keys().cloned().collect();
        for id in ids {
            let key = self.key(&id);
            if key.look_at_the_schedule(now, &rules) {
                done.rotated += 1;
            }
            let expired = key.imported.as_mut().and_then(|imported| imported.expiry.as_mut());
            if expired.is_some_and(|expiry| expiry.look(now, &rules)) {
                key.erase_material();
            }
            if key.deletion.as_mut().is_some_and(|deletion| deletion.look(now, &rules)) {
                done.destroyed += 1;
                self.keys.remove(&id);
                if rules.aliases_go_with_their_key {
                    self.aliases.retain(|_, key| *key != id);
                }
            }
        }
        done
    }
}
