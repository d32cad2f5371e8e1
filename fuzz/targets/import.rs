//! Changed import tokens, wrapped material and public keys: refused, or the material that the key always had.
#![no_main]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use kms::{CreateKey, KeyState, Origin, Status, Time, Wrapping};
use libfuzzer_sys::fuzz_target;
use libkms_fuzz::blameless;
use libkms_fuzz::edit::{Edit, apply};
use libkms_fuzz::memory::{BEGINNING, Memory};

#[derive(Debug, Arbitrary)]
enum Step {
    /// Which key, whose wrapped material and whose token, each changed.
    Import {
        key: u8,
        wrapped: u8,
        wrapped_edits: Vec<Edit>,
        token: u8,
        token_edits: Vec<Edit>,
        expires: Option<i32>,
    },
    Raw {
        key: u8,
        material: Material,
        expires: Option<i32>,
    },
    Delete {
        key: u8,
    },
    Forward {
        seconds: u32,
    },
    Back,
    Export {
        which: u8,
        edits: Vec<Edit>,
        wrapping: u8,
        number_of_bytes: u16,
    },
    ExportBytes {
        public_key: Vec<u8>,
        wrapping: u8,
    },
}

#[derive(Debug, Arbitrary)]
enum Material {
    Own,
    OfAnother,
    Bytes(Vec<u8>),
}

const WRAPPINGS: [Wrapping; 3] = [Wrapping::Pkcs1V15, Wrapping::OaepSha1, Wrapping::OaepSha256];
const EXECUTIONS: u32 = 20_000;
const TOKEN_SECONDS: i64 = 24 * 3600;

/// An EXTERNAL key whose material is always known, and all that its import takes.
struct Imported {
    key: String,
    material: Vec<u8>,
    blob: Vec<u8>,
    public_key: Vec<u8>,
    token: Vec<u8>,
    wrapped: Vec<u8>,
    /// When the material in the keystore is refused, and whether it is present.
    expires: Option<i64>,
    present: bool,
}

struct State {
    memory: Memory,
    ours: String,
    keys: Vec<Imported>,
}

impl State {
    fn new() -> Self {
        let memory = Memory::new();
        let kms = &memory.kms;
        let ours = kms.create_key(&CreateKey::default()).expect("a key can be made").to_string();
        let external = CreateKey { origin: Some(Origin::External), ..Default::default() };
        let keys = WRAPPINGS.map(|wrapping| {
            let key = kms.create_key(&external).expect("a key can be made").to_string();
            let import = kms.get_parameters_for_import(&key, wrapping).expect("import parameters can be made");
            // A data key exported for the import's public key is wrapped material that this program knows.
            let (data_key, wrapped) = kms
                .generate_and_export_data_key(&ours, 32, &[], &import.public_key, wrapping)
                .expect("a data key can be exported");
            let material = kms.decrypt(&data_key, &[]).expect("a data key opens").to_vec();
            kms.import_key_material(&key, &wrapped, &import.token, None).expect("material can be imported");
            let blob = kms.encrypt(&key, b"text", &[]).expect("an Enabled key encrypts");
            let (public_key, token) = (import.public_key, import.token);
            Imported { key, material, blob, public_key, token, wrapped, expires: None, present: true }
        });
        Self { memory, ours, keys: keys.into() }
    }

    fn step(&mut self, step: Step) {
        let kms = &self.memory.kms;
        let now = self.memory.clock.millis();
        let count = self.keys.len();
        let at = |which: u8| usize::from(which) % count;
        let date = |expires: Option<i32>| expires.map(|seconds| now + i64::from(seconds) * 1000);
        match step {
            Step::Forward { seconds } => self.memory.clock.advance_seconds(i64::from(seconds % 100_000)),
            Step::Back => self.memory.clock.set(BEGINNING),
            Step::Delete { key } => {
                let key = &mut self.keys[at(key)];
                kms.delete_key_material(&key.key).expect("imported material can be deleted");
                key.present = false;
            }
            Step::Import { key, wrapped, wrapped_edits, token, token_edits, expires } => {
                let (mut bytes, mut token_bytes) =
                    (self.keys[at(wrapped)].wrapped.clone(), self.keys[at(token)].token.clone());
                apply(&mut bytes, &wrapped_edits);
                apply(&mut token_bytes, &token_edits);
                let token_is_good = token_bytes == self.keys[at(key)].token && now < BEGINNING + TOKEN_SECONDS * 1000;
                let good = token_is_good && bytes == self.keys[at(key)].wrapped;
                let key = &mut self.keys[at(key)];
                let expires = date(expires);
                let done = kms.import_key_material(&key.key, &bytes, &token_bytes, expires.map(Time::from_millis));
                key.judge(done, good, expires, now);
            }
            Step::Raw { key, material, expires } => {
                let bytes = match material {
                    Material::Own => self.keys[at(key)].material.clone(),
                    Material::OfAnother => self.keys[(at(key) + 1) % count].material.clone(),
                    Material::Bytes(bytes) => bytes,
                };
                let key = &mut self.keys[at(key)];
                let expires = date(expires);
                let done = kms.import_raw_key_material(&key.key, &bytes, expires.map(Time::from_millis));
                key.judge(done, bytes == key.material, expires, now);
            }
            Step::Export { which, edits, wrapping, number_of_bytes } => {
                let original = &self.keys[at(which)].public_key;
                let mut public_key = original.clone();
                apply(&mut public_key, &edits);
                let wrapping = WRAPPINGS[at(wrapping)];
                let made =
                    kms.generate_and_export_data_key(&self.ours, number_of_bytes.into(), &[], &public_key, wrapping);
                match made {
                    Ok((blob, exported)) => {
                        assert!(exported.len() == 256 && kms.decrypt(&blob, &[]).is_ok());
                    }
                    Err(error) => {
                        blameless(&error);
                        let limit = match wrapping {
                            Wrapping::Pkcs1V15 => 245,
                            Wrapping::OaepSha1 => 214,
                            Wrapping::OaepSha256 => 190,
                            _ => unreachable!("{wrapping:?} is new"),
                        };
                        let fits = (1..=limit).contains(&number_of_bytes);
                        assert!(public_key != *original || !fits, "a good public key is refused: {error}");
                    }
                }
            }
            Step::ExportBytes { public_key, wrapping } => {
                let made = kms.generate_and_export_data_key(&self.ours, 32, &[], &public_key, WRAPPINGS[at(wrapping)]);
                if let Err(error) = made {
                    blameless(&error);
                }
            }
        }
        self.check();
    }

    /// A key's material is always the first that was imported.
    fn check(&mut self) {
        let now = self.memory.clock.millis();
        for key in &self.keys {
            let usable = key.present && key.expires.is_none_or(|expires| now < expires);
            let state = self.memory.kms.describe_key(&key.key).expect("a key").state;
            match self.memory.kms.decrypt(&key.blob, &[]) {
                Ok(opened) => {
                    assert_eq!(*opened, *b"text", "a wrong plaintext");
                    assert!(usable && state == KeyState::Enabled, "deleted or expired material was used");
                }
                Err(error) => {
                    assert!(!usable, "material was lost: {error}");
                    assert_eq!(error.status(), Status::RejectedPendingImport, "{error}");
                }
            }
        }
    }
}

impl Imported {
    fn judge(&mut self, done: kms::Result<()>, good: bool, expires: Option<i64>, now: i64) {
        match done {
            Ok(()) => {
                assert!(good, "what was changed was imported");
                assert!(expires.is_none_or(|expires| expires > now), "material that has expired was imported");
                self.present = true;
                self.expires = expires;
            }
            Err(error) => {
                blameless(&error);
                assert!(!good || expires.is_some_and(|expires| expires <= now), "a good import is refused: {error}");
            }
        }
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::new());
}

fuzz_target!(|steps: Vec<Step>| {
    STATE.with_borrow_mut(|state| {
        if state.memory.is_worn(EXECUTIONS) {
            *state = State::new();
        }
        state.memory.clock.set(BEGINNING);
        for key in &mut state.keys {
            let done = state.memory.kms.import_raw_key_material(&key.key, &key.material, None);
            key.judge(done, true, None, BEGINNING);
        }
        steps.into_iter().take(24).for_each(|step| state.step(step));
    });
});
