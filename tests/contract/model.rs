//! Long pseudo-random histories of one key at a time, compared at every step with a few lines that restate the rules.

use kms::{KeyState, Rotation};

use super::support::*;

/// The rules once more, as short as they can be said.
#[derive(Debug, Clone)]
struct Model {
    state: KeyState,
    policy: Option<i64>,
    last: i64,
    versions: u64,
    delete: i64,
    sighted: Option<i64>,
}

impl Model {
    fn next(&self) -> Option<i64> {
        self.policy.map(|interval| self.last + interval * 1000)
    }

    fn rotate(&mut self, now: i64) {
        self.versions += 1;
        self.last = now;
    }

    fn rotate_if_due(&mut self, now: i64) {
        if self.state == KeyState::Enabled && self.next().is_some_and(|next| next <= now) {
            self.rotate(now);
        }
    }

    /// False once the key is gone.
    fn tick(&mut self, now: i64) -> bool {
        self.rotate_if_due(now);
        if self.state == KeyState::PendingDeletion {
            match self.sighted {
                _ if now < self.delete => self.sighted = None,
                None => self.sighted = Some(now),
                Some(first) if now - first >= HOUR_MS => return false,
                Some(_) => {}
            }
        }
        true
    }

    fn automatic(&self) -> Rotation {
        match (self.policy, self.state) {
            (None, _) => Rotation::Disabled,
            (_, KeyState::Enabled) => Rotation::Enabled,
            _ => Rotation::Suspended,
        }
    }
}

/// A small generator (xorshift64*), so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// Plays one history of `steps` operations; the keystore and the model must agree after each.
fn play(seed: u64, steps: usize) -> u64 {
    let kms = memory();
    let mut dice = Dice(seed);
    let mut id = kms.plain_key();
    let fresh =
        |now| Model { state: KeyState::Enabled, policy: None, last: now, versions: 1, delete: 0, sighted: None };
    let mut model = fresh(T0);
    let mut blobs = vec![kms.encrypt(&id, b"0", &[]).unwrap()];
    let mut rotations = 0;
    for step in 0..steps {
        let now = kms.clock.millis();
        let (before, enabled) = (model.versions, model.state == KeyState::Enabled);
        let choice = dice.below(14);
        match choice {
            0..=3 => kms.clock.set(now + [1, HOUR_MS, DAY_MS - 1, DAY_MS, 9 * DAY_MS][dice.below(5) as usize]),
            4 | 5 => {
                kms.tick().unwrap();
                if !model.tick(now) {
                    assert!(kms.describe_key(&id).is_err(), "seed {seed} step {step}: not destroyed");
                    id = kms.plain_key();
                    (model, blobs) = (fresh(now), vec![kms.encrypt(&id, b"0", &[]).unwrap()]);
                    continue;
                }
            }
            6 | 7 => {
                let got = kms.encrypt(&id, b"0", &[]);
                assert_eq!(got.is_ok(), enabled, "seed {seed} step {step}");
                model.rotate_if_due(now);
                blobs.extend(got.ok());
            }
            8 => {
                assert_eq!(kms.rotate(&id).is_ok(), enabled, "seed {seed} step {step}");
                if enabled {
                    model.rotate(now);
                }
            }
            9 | 10 => {
                let choices = [None, Some(1), Some(DAY), Some(10 * DAY)];
                // Never the policy it has: a test of its own in `policy.rs` repeats one.
                let place = choices.iter().position(|policy| *policy == model.policy).unwrap_or(0);
                let policy = choices[(place + 1 + dice.below(3) as usize) % 4];
                assert_eq!(kms.update_rotation_policy(&id, policy.map(seconds)).is_ok(), enabled);
                if enabled {
                    model.policy = policy;
                    model.rotate_if_due(now);
                }
            }
            11 if enabled => {
                kms.disable_key(&id).unwrap();
                model.state = KeyState::Disabled;
            }
            11 if model.state == KeyState::Disabled => {
                kms.enable_key(&id).unwrap();
                model.state = KeyState::Enabled;
                model.rotate_if_due(now);
            }
            12 if model.state != KeyState::PendingDeletion => {
                kms.schedule_key_deletion(&id, 7).unwrap();
                (model.state, model.delete, model.sighted) = (KeyState::PendingDeletion, now + 7 * DAY_MS, None);
            }
            _ if model.state == KeyState::PendingDeletion && dice.below(2) == 0 => {
                kms.cancel_key_deletion(&id).unwrap();
                model.state = KeyState::Enabled;
                model.rotate_if_due(now);
            }
            _ => {}
        }
        rotations += model.versions - before;
        let key = kms.key(&id);
        let got = (key.state, key.version_count(), key.last_rotation().unwrap().millis());
        let place = format!("seed {seed} step {step} choice {choice}: {model:?}");
        assert_eq!(got, (model.state, model.versions, model.last), "{place}");
        assert_eq!(key.next_rotation().map(|t| t.millis()), model.next(), "{place}");
        assert_eq!(key.automatic_rotation(), model.automatic(), "{place}");
        assert_eq!(kms.versions(&id).len() as u64, model.versions, "{place}");
        let blob = &blobs[dice.below(blobs.len() as u64) as usize];
        assert_eq!(kms.decrypt(blob, &[]).is_ok(), model.state == KeyState::Enabled, "{place}");
    }
    rotations
}

#[test]
fn random_histories_follow_the_rules() {
    let rotations: u64 = (1..=60).map(|seed| play(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), 250)).sum();
    assert!(rotations > 1000, "the histories rotated only {rotations} times: they try too little");
}
