//! Any action with any JSON: an answer that is JSON, and a key that no request names still works.
//!
//! The input is a script: in each line an action and its request, in which `$K0` to `$K5` represent keys, `$V0` for a
//! version, `$B0` and `$B1` for ciphertexts, `$P` for a public key, and `$T` and `$W` for an import token and its wrapped
//! material.
#![no_main]

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms::{CreateKey, KeyId, Keystore, Origin, Wrapping};
use libfuzzer_sys::fuzz_target;
use libkms_fuzz::blameless;
use libkms_fuzz::memory::{BEGINNING, Memory};
use serde_json::Value;

/// Making RSA keys takes longer than everything else, and keys that stay slow the lists down.
const EXECUTIONS: u32 = 400;
const LINES: usize = 12;

struct State {
    memory: Memory,
    words: Vec<(&'static str, String)>,
    untouched: KeyId,
    blob: Vec<u8>,
}

fn made(kms: &Keystore, origin: Origin) -> KeyId {
    kms.create_key(&CreateKey { origin: Some(origin), ..Default::default() }).expect("a key can be made")
}

impl State {
    fn new() -> Self {
        let memory = Memory::new();
        let kms = &memory.kms;
        let keys = [(); 4].map(|()| made(kms, Origin::Kms));
        let external = [(); 2].map(|()| made(kms, Origin::External));
        let untouched = made(kms, Origin::Kms);
        kms.create_alias(&keys[1].to_string(), "alias/one").expect("an alias can be made");
        kms.import_raw_key_material(&external[1].to_string(), &[9; 32], None).expect("material can be imported");
        kms.rotate(&keys[0].to_string()).expect("a key can be rotated");
        let import = kms
            .get_parameters_for_import(&external[0].to_string(), Wrapping::OaepSha256)
            .expect("import parameters can be made");
        let (data_key, wrapped) = kms
            .generate_and_export_data_key(&keys[0].to_string(), 32, &[], &import.public_key, Wrapping::OaepSha256)
            .expect("a data key can be exported");
        let blob = kms.encrypt(&keys[1].to_string(), b"text", &[("a", "b")]).expect("an Enabled key encrypts");
        let version = kms.describe_key(&keys[0].to_string()).expect("a key").primary.expect("a version").id.to_string();
        let mut words: Vec<(&str, String)> = ["$K0", "$K1", "$K2", "$K3", "$K4", "$K5"]
            .into_iter()
            .zip(keys.iter().chain(&external).map(ToString::to_string))
            .collect();
        words.push(("$V0", version));
        words.extend(
            [("$B0", &data_key), ("$B1", &blob), ("$P", &import.public_key), ("$T", &import.token), ("$W", &wrapped)]
                .map(|(word, bytes)| (word, STANDARD.encode(bytes))),
        );
        let blob = kms.encrypt(&untouched.to_string(), b"untouched", &[]).expect("an Enabled key encrypts");
        Self { memory, words, untouched, blob }
    }

    fn run(&self, script: &str) {
        let kms = &self.memory.kms;
        self.memory.clock.set(BEGINNING);
        for line in script.lines().take(LINES) {
            let (action, request) = line.split_once(' ').unwrap_or((line, ""));
            let mut request = request.to_owned();
            for (word, value) in &self.words {
                request = request.replace(word, value);
            }
            match kms.call(action, &request) {
                Ok(response) => {
                    let response: Value = serde_json::from_str(&response).expect("a response is JSON");
                    assert!(response["RequestId"].is_string(), "a response without its id: {response}");
                }
                Err(failed) => {
                    blameless(&failed.error);
                    let body: Value = serde_json::from_str(&failed.body).expect("an error body is JSON");
                    assert_eq!(body["Code"], failed.error.status().code());
                    assert!(
                        body["HttpStatus"].is_u64() && body["Message"].is_string() && body["RequestId"].is_string()
                    );
                }
            }
        }
        let opened = kms.decrypt(&self.blob, &[]).expect("a key that nobody named still works");
        assert_eq!(*opened, *b"untouched");
        kms.encrypt(&self.untouched.to_string(), b"", &[]).expect("a key that nobody named still works");
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::new());
}

fuzz_target!(|script: &str| {
    STATE.with_borrow_mut(|state| {
        if state.memory.is_worn(EXECUTIONS) {
            *state = State::new();
        }
        state.run(script);
    });
});
