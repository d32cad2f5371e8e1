//! Any sequence of calls and clock moves: every ciphertext still opens unless its key was deleted, and a key has exactly
//! one primary.
#![no_main]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use kms::{CreateKey, Interval, KeyState, Origin, Record, Status, Time};
use libfuzzer_sys::fuzz_target;
use libkms_fuzz::blameless;
use libkms_fuzz::memory::Memory;

#[derive(Debug, Arbitrary)]
enum Step {
    Create { rotating: Option<u32>, external: bool },
    Encrypt { key: u8, text: Vec<u8>, tenant: bool, by_alias: bool },
    EncryptBatch { key: u8, count: u8 },
    DataKey { key: u8, size: u16 },
    Reencrypt { blob: u8, key: u8, tenant: bool },
    Decrypt { blob: u8 },
    Rotate { key: u8, by_alias: bool },
    Policy { key: u8, every: Option<u32> },
    Enable { key: u8 },
    Disable { key: u8 },
    ScheduleDeletion { key: u8, days: u16 },
    CancelDeletion { key: u8 },
    Protect { key: u8, on: bool },
    Import { key: u8, expires: Option<u32> },
    DeleteMaterial { key: u8 },
    MoveAlias { key: u8 },
    Describe { key: u8, text: String },
    Tag { key: u8, name: String, value: String },
    Tick,
    Forward { seconds: u32 },
    Days { days: u16 },
    Back { seconds: u32 },
}

const EXECUTIONS: u32 = 100;
const STEPS: usize = 64;
const KEYS: usize = 8;
const ALIAS: &str = "alias/moving";

struct Made {
    id: String,
    external: bool,
    /// The earliest time at which a deletion that was asked for may happen.
    deletable: Option<i64>,
    versions: u64,
}

struct Sealed {
    key: usize,
    blob: Vec<u8>,
    text: Vec<u8>,
    tenant: bool,
}

struct Play<'a> {
    memory: &'a Memory,
    keys: Vec<Made>,
    blobs: Vec<Sealed>,
    aliased: Option<usize>,
}

fn context(tenant: bool) -> &'static [(&'static str, &'static str)] {
    if tenant { &[("tenant", "42")] } else { &[] }
}

fn interval(seconds: u32) -> Option<Interval> {
    Interval::from_seconds(i64::from(seconds).clamp(1, 3650 * 86_400)).ok()
}

/// Each key's own material, so that it can come back.
fn material(key: usize) -> [u8; 32] {
    [key as u8 + 1; 32]
}

impl Play<'_> {
    fn key(&self, which: u8) -> Option<usize> {
        (!self.keys.is_empty()).then(|| usize::from(which) % self.keys.len())
    }

    fn sealed(&mut self, key: usize, blob: Vec<u8>, text: &[u8], tenant: bool) {
        self.blobs.push(Sealed { key, blob, text: text.to_vec(), tenant });
    }

    fn create(&mut self, rotating: Option<u32>, external: bool) -> kms::Result<()> {
        if self.keys.len() == KEYS {
            return Ok(());
        }
        let origin = Some(if external { Origin::External } else { Origin::Kms });
        let request = CreateKey { origin, rotate_every: rotating.and_then(interval), ..Default::default() };
        let id = self.memory.kms.create_key(&request)?.to_string();
        self.keys.push(Made { id, external, deletable: None, versions: 0 });
        Ok(())
    }

    fn named(&self, key: usize, by_alias: bool) -> (usize, String) {
        match self.aliased {
            Some(aliased) if by_alias => (aliased, ALIAS.to_owned()),
            _ => (key, self.keys[key].id.clone()),
        }
    }

    fn step(&mut self, step: Step) -> Option<kms::Result<()>> {
        let kms = &self.memory.kms;
        let clock = &self.memory.clock;
        Some(match step {
            Step::Create { rotating, external } => self.create(rotating, external),
            Step::Encrypt { key, text, tenant, by_alias } => {
                let (key, name) = self.named(self.key(key)?, by_alias);
                kms.encrypt(&name, &text, context(tenant)).map(|blob| self.sealed(key, blob, &text, tenant))
            }
            Step::EncryptBatch { key, count } => {
                let key = self.key(key)?;
                let records = vec![Record { data: b"batch", context: context(true) }; usize::from(count % 8)];
                kms.encrypt_batch(&self.keys[key].id, &records).map(|all| {
                    for blob in all {
                        self.sealed(key, blob.expect("a good record succeeds"), b"batch", true);
                    }
                })
            }
            Step::DataKey { key, size } => {
                let key = self.key(key)?;
                kms.generate_data_key(&self.keys[key].id, size.into(), &[])
                    .map(|(text, blob)| self.sealed(key, blob, &text, false))
            }
            Step::Reencrypt { blob, key, tenant } => {
                let key = self.key(key)?;
                let blob = self.blobs.get(usize::from(blob) % self.blobs.len().max(1))?;
                let text = blob.text.clone();
                kms.reencrypt(&blob.blob, context(blob.tenant), Some((&self.keys[key].id).into()), context(tenant))
                    .map(|blob| self.sealed(key, blob, &text, tenant))
            }
            Step::Decrypt { blob } => {
                let blob = self.blobs.get(usize::from(blob) % self.blobs.len().max(1))?;
                let opened = kms.decrypt(&blob.blob, context(!blob.tenant));
                assert!(opened.is_err(), "the context doesn't count");
                opened.map(drop)
            }
            Step::Rotate { key, by_alias } => kms.rotate(&self.named(self.key(key)?, by_alias).1).map(drop),
            Step::Policy { key, every } => {
                kms.update_rotation_policy(&self.keys[self.key(key)?].id, every.and_then(interval))
            }
            Step::Enable { key } => kms.enable_key(&self.keys[self.key(key)?].id),
            Step::Disable { key } => kms.disable_key(&self.keys[self.key(key)?].id),
            Step::ScheduleDeletion { key, days } => {
                let key = self.key(key)?;
                let days = i32::from(days % 380);
                let done = kms.schedule_key_deletion(&self.keys[key].id, days);
                if done.is_ok() {
                    self.keys[key].deletable = Some(clock.millis() + i64::from(days) * 86_400_000);
                }
                done
            }
            Step::CancelDeletion { key } => {
                let key = self.key(key)?;
                let done = kms.cancel_key_deletion(&self.keys[key].id);
                if done.is_ok() {
                    self.keys[key].deletable = None;
                }
                done
            }
            Step::Protect { key, on } => {
                kms.set_deletion_protection(&self.keys[self.key(key)?].id, on.then_some("kept"))
            }
            Step::Import { key, expires } => {
                let key = self.key(key)?;
                let expires = expires.map(|seconds| Time::from_millis(clock.millis()).plus_seconds(i64::from(seconds)));
                kms.import_raw_key_material(&self.keys[key].id, &material(key), expires)
            }
            Step::DeleteMaterial { key } => kms.delete_key_material(&self.keys[self.key(key)?].id),
            Step::MoveAlias { key } => {
                let key = self.key(key)?;
                let id = &self.keys[key].id;
                let done = kms.update_alias(id, ALIAS).or_else(|_| kms.create_alias(id, ALIAS));
                if done.is_ok() {
                    self.aliased = Some(key);
                }
                done
            }
            Step::Describe { key, text } => kms.update_key_description(&self.keys[self.key(key)?].id, &text),
            Step::Tag { key, name, value } => kms.tag_resource(&self.keys[self.key(key)?].id, &[(&name, &value)]),
            Step::Tick => kms.tick().map(drop),
            Step::Forward { seconds } => {
                clock.advance_seconds(i64::from(seconds));
                Ok(())
            }
            Step::Days { days } => {
                clock.advance_seconds(i64::from(days % 4000) * 86_400);
                Ok(())
            }
            Step::Back { seconds } => {
                clock.advance_seconds(-i64::from(seconds));
                Ok(())
            }
        })
    }

    /// `latest` is the latest time that the clock has shown.
    fn check(&mut self, latest: i64) {
        let kms = &self.memory.kms;
        let mut states = Vec::new();
        for key in &mut self.keys {
            let found = match kms.describe_key(&key.id) {
                Ok(found) => found,
                Err(error) => {
                    assert_eq!(error.status(), Status::KeyNotFound, "{error}");
                    assert!(key.deletable.is_some_and(|date| date <= latest), "a key vanished");
                    states.push(None);
                    continue;
                }
            };
            states.push(Some(found.state));
            let (mut primaries, mut versions) = (0, 0);
            kms.list_key_versions(&key.id, None, usize::MAX, |_, is_primary| {
                primaries += u64::from(is_primary);
                versions += 1;
                true
            })
            .expect("versions can be listed in every state");
            let expected = u64::from(!key.external || found.primary.is_some());
            assert_eq!(primaries, expected, "not exactly one primary");
            assert!(versions >= key.versions && versions == found.version_count(), "a version was lost");
            key.versions = versions;
        }
        for blob in &self.blobs {
            let opened = kms.decrypt(&blob.blob, context(blob.tenant));
            let wanted = match states[blob.key] {
                Some(KeyState::Enabled) => {
                    let opened = opened.unwrap_or_else(|error| panic!("a ciphertext was lost: {error}"));
                    assert_eq!(*opened, *blob.text, "a wrong plaintext");
                    continue;
                }
                None => Status::KeyNotFound,
                Some(KeyState::Disabled) => Status::RejectedDisabled,
                Some(KeyState::PendingDeletion) => Status::RejectedPendingDeletion,
                Some(KeyState::PendingImport) => Status::RejectedPendingImport,
            };
            assert_eq!(
                opened.map(drop).map_err(|error| error.status()),
                Err(wanted),
                "a key was used in another state"
            );
        }
    }
}

thread_local! {
    static STATE: RefCell<Memory> = RefCell::new(Memory::new());
}

fuzz_target!(|steps: Vec<Step>| {
    STATE.with_borrow_mut(|memory| {
        if memory.is_worn(EXECUTIONS) {
            *memory = Memory::new();
        }
        let _ = memory.kms.delete_alias(ALIAS);
        let mut play = Play { memory, keys: Vec::new(), blobs: Vec::new(), aliased: None };
        let mut latest = play.memory.clock.millis();
        for step in steps.into_iter().take(STEPS) {
            if let Some(Err(error)) = play.step(step) {
                blameless(&error);
            }
            latest = latest.max(play.memory.clock.millis());
        }
        play.check(latest);
        // Keys of later executions need not wait for the rotations of these.
        for key in &play.keys {
            let _ = play.memory.kms.disable_key(&key.id);
        }
    });
});
