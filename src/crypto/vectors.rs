//! Golden blobs: fixed keys, ids, nonces, contexts and plaintexts must always produce the committed bytes.
//!
//! `tests/vectors/blobs.json` is written again with KMS_UPDATE_VECTORS=1; `tests/decoder/open_blobs.py` opens the same
//! file without any code of the library.

use serde_json::{Value, json};

use crate::crypto::blob::{Algorithm, Blob, HEADER, Header, NONCE, OVERHEAD};
use crate::crypto::context::{Aad, Context, ContextSource, bare_aad};
use crate::crypto::xaes::alone::Opener;
use crate::crypto::xaes::{Shared, seal_with_nonce};
use crate::domain::id::{KeyId, VersionId};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/blobs.json");

struct Case {
    name: &'static str,
    context: Vec<(String, String)>,
    /// The plaintext is `unit`, `repeat` times.
    unit: Vec<u8>,
    repeat: usize,
}

fn case(name: &'static str, context: &[(&str, &str)], unit: &[u8], repeat: usize) -> Case {
    let context = context.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Case { name, context, unit: unit.to_vec(), repeat }
}

fn cases() -> Vec<Case> {
    let many: Vec<(String, String)> = (0..12).map(|i| (format!("key {}", (i * 7) % 12), format!("{i}"))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let bytes: Vec<u8> = (0..=255).collect();
    vec![
        case("empty, no context", &[], b"", 0),
        case("one byte", &[], b"x", 1),
        case("a block less one", &[], b"y", 15),
        case("a block", &[], b"y", 16),
        case("a block and one", &[], b"y", 17),
        case("a text", &[], b"4111 1111 1111 1111", 1),
        case("empty with a context", &[("tenant", "42")], b"", 0),
        case("one entry", &[("tenant", "42")], b"4111 1111", 1),
        case("unsorted, with an empty value", &[("z", "1"), ("a", ""), ("Z", "2")], b"text", 1),
        case("the separators of other formats", &[("a", "b&c=d")], b"text", 1),
        case("beyond ASCII", &[("ключ", "naïve"), ("鍵", "🔑")], "größe".as_bytes(), 1),
        case("twelve entries", &many, b"text", 1),
        case("a context above 1 KiB", &[("long", &"v".repeat(3000))], b"text", 1),
        case("100 kB", &[("file", "big")], &bytes, 400),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that differ from case to case and place to place.
fn bytes<const N: usize>(case: usize, salt: usize) -> [u8; N] {
    std::array::from_fn(|i| ((i + 1) * (2 * case + 3) * (salt * 2 + 1) % 251) as u8)
}

fn seal(number: usize, case: &Case) -> Value {
    let (key, key_id, version_id): ([u8; 32], _, _) = (bytes(number, 1), bytes(number, 2), bytes(number, 3));
    let nonce: [u8; NONCE] = bytes(number, 4);
    let mut aad = Aad::new();
    let context = Context::new(case.context.iter().map(|(key, value)| (key.as_str(), value.as_str()))).unwrap();
    context.put(&mut aad).unwrap();
    let header = Header {
        algorithm: Algorithm::Xaes256Gcm,
        context_type: aad.context_type(),
        key: KeyId::from_random(key_id),
        version: VersionId::from_random(version_id),
    };
    let bare = bare_aad(&header.encode());
    let plaintext = case.unit.repeat(case.repeat);
    let mut blob = vec![0; plaintext.len() + OVERHEAD];
    blob[..HEADER].copy_from_slice(&header.encode());
    blob[HEADER..HEADER + NONCE].copy_from_slice(&nonce);
    let aad = aad.bind(&bare, header.context_type);
    seal_with_nonce(&key, &nonce, aad, &plaintext, &mut blob[HEADER + NONCE..]).unwrap();

    let parsed = Blob::parse(&blob).unwrap();
    let mut opened = vec![0; plaintext.len()];
    let mut shared = Shared::new().unwrap();
    Opener::new().unwrap().open(&mut shared, &key, parsed.nonce, aad, parsed.sealed, &mut opened).unwrap();
    assert_eq!(opened, plaintext, "{}", case.name);

    json!({
        "name": case.name,
        "key": hex(&key),
        "key_id": header.key.to_string(),
        "version_id": header.version.to_string(),
        "context": case.context.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "plaintext_unit": hex(&case.unit),
        "plaintext_repeat": case.repeat,
        "blob": hex(&blob),
    })
}

#[test]
fn blobs_keep_their_bytes_for_ever() {
    let found: Vec<Value> = cases().iter().enumerate().map(|(number, case)| seal(number, case)).collect();
    if std::env::var_os("KMS_UPDATE_VECTORS").is_some() {
        std::fs::write(FILE, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let committed: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert_eq!(committed.len(), found.len());
    for (committed, found) in committed.iter().zip(&found) {
        assert!(committed == found, "the bytes of \"{}\" changed", found["name"]);
    }
}
