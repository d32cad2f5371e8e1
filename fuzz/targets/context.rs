//! Any encryption context: bound in any order, by the typed call and by JSON alike, and to no other map.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms::{CreateKey, Status};
use libfuzzer_sys::fuzz_target;
use libkms_fuzz::memory::Memory;
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
struct Input {
    entries: Vec<(String, String)>,
    order: u8,
    other: Other,
}

/// Another context, mostly one that would have the same bytes if a length or a border were forgotten.
#[derive(Debug, Arbitrary)]
enum Other {
    Any(Vec<(String, String)>),
    Without(u8),
    With(String, String),
    BorderMoved(u8),
    Swapped(u8),
    ValueAppended(u8, String),
}

type Pairs = Vec<(String, String)>;

fn other(entries: &Pairs, how: Other) -> Pairs {
    let mut all = entries.clone();
    let at = |which: u8| usize::from(which) % entries.len().max(1);
    match how {
        Other::Any(any) => return any,
        Other::With(key, value) => all.push((key, value)),
        _ if all.is_empty() => {}
        Other::Without(which) => drop(all.remove(at(which))),
        Other::BorderMoved(which) => {
            let (key, value) = &mut all[at(which)];
            if let Some(last) = key.pop() {
                value.insert(0, last);
            }
        }
        Other::Swapped(which) => {
            let (key, value) = &mut all[at(which)];
            std::mem::swap(key, value);
        }
        Other::ValueAppended(which, text) => all[at(which)].1.push_str(&text),
    }
    all
}

fn borrowed(pairs: &Pairs) -> Vec<(&str, &str)> {
    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The map that it is, or why it must be refused.
fn map(pairs: &Pairs) -> Result<BTreeMap<&str, &str>, Status> {
    let map: BTreeMap<&str, &str> = borrowed(pairs).into_iter().collect();
    let nul = pairs.iter().any(|(key, value)| key.contains('\0') || value.contains('\0'));
    if nul || map.len() < pairs.len() || map.contains_key("") {
        return Err(Status::InvalidArgument);
    }
    let encoded: usize = 2 + pairs.iter().map(|(key, value)| 4 + key.len() + value.len()).sum::<usize>();
    if encoded > 8192 { Err(Status::LimitExceeded) } else { Ok(map) }
}

static STATE: LazyLock<(Memory, String)> = LazyLock::new(|| {
    let memory = Memory::new();
    let key = memory.kms.create_key(&CreateKey::default()).expect("a key can be made").to_string();
    (memory, key)
});

fn call(action: &str, request: Value) -> Result<Value, Status> {
    match STATE.0.kms.call(action, &request.to_string()) {
        Ok(text) => Ok(serde_json::from_str(&text).expect("a response is JSON")),
        Err(failed) => Err(failed.error.status()),
    }
}

fuzz_target!(|input: Input| {
    let (Memory { kms, .. }, key) = &*STATE;
    let Input { entries, order, other: how } = input;
    let wanted = map(&entries);
    let made = kms.encrypt(key, b"text", &borrowed(&entries));
    match (&made, &wanted) {
        (Err(error), Err(status)) => assert_eq!(error.status(), *status, "{entries:?}"),
        (Ok(_), Ok(_)) => {}
        _ => panic!("a context is judged otherwise: {entries:?}, {wanted:?}, {made:?}"),
    }
    let other = other(&entries, how);
    let (Ok(blob), Ok(wanted)) = (made, wanted) else { return };

    let mut turned = borrowed(&entries);
    turned.rotate_left(usize::from(order) % entries.len().max(1));
    if order % 2 == 1 {
        turned.reverse();
    }
    assert!(kms.decrypt(&blob, &turned).is_ok_and(|text| *text == *b"text"), "the order counts: {turned:?}");

    let opened = kms.decrypt(&blob, &borrowed(&other)).map(drop).map_err(|error| error.status());
    match map(&other) {
        Ok(found) if found == wanted => assert_eq!(opened, Ok(()), "the same map is refused: {other:?}"),
        Err(Status::InvalidArgument) => assert_eq!(opened, Err(Status::InvalidArgument), "{other:?}"),
        // The limit on the size binds who encrypts.
        _ => assert_eq!(opened, Err(Status::AuthenticationFailed), "another map opens it: {entries:?}, {other:?}"),
    }

    let request = json!({"CiphertextBlob": STANDARD.encode(&blob), "EncryptionContext": wanted});
    let response = call("Decrypt", request).expect("JSON has the same context");
    assert_eq!(response["Plaintext"], STANDARD.encode(b"text"));
    let text = serde_json::to_string(&wanted).expect("a map of texts is JSON");
    let request = json!({"KeyId": key, "Plaintext": STANDARD.encode(b"json"), "EncryptionContext": text});
    let response = call("Encrypt", request).expect("JSON takes the same context");
    let blob = STANDARD.decode(response["CiphertextBlob"].as_str().expect("a text")).expect("Base64");
    assert!(kms.decrypt(&blob, &turned).is_ok_and(|text| *text == *b"json"), "JSON has another context: {text}");
});
