//! Makes the golden keystores of the format that this library writes: `cargo run --example make_fixtures -- FOLDER`.
//!
//! Run once for each format, before its first release, and never again: all future releases must open what is in
//! `tests/fixtures`. The keys that open them are in the open on purpose; nothing real may ever be sealed with them.

use std::path::Path;

use kms::{CreateKey, Interval, Keystore, ManualClock, Options};
use serde_json::{Value, json};

const ROOT_KEY: &[u8; 32] = b"libkms TEST root key, not secret";
const PASSPHRASE: &[u8] = b"libkms TEST passphrase, not secret";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One keystore and what every future release must read from it.
fn make(path: &Path, options: Options) -> kms::Result<Value> {
    let clock = ManualClock::at(1_700_000_000_000);
    let kms = Keystore::open(&path.display().to_string(), &options.create(true).clock(clock.clone()))?;
    let mut keys = Vec::new();
    for number in 0..4 {
        let request = CreateKey {
            description: format!("golden key {number}"),
            rotate_every: (number % 2 == 0).then(|| Interval::parse("90d")).transpose()?,
            ..CreateKey::default()
        };
        let id = kms.create_key(&request)?.to_string();
        kms.create_alias(&id, &format!("alias/golden-{number}"))?;
        kms.tag_resource(&id, &[("number", &number.to_string()), ("empty", "")])?;
        let mut blobs = Vec::new();
        for version in 0..=number {
            clock.advance_seconds(60);
            for (context, plaintext) in
                [(None, String::new()), (Some("42"), format!("plaintext {version} of key {number}"))]
            {
                let pairs: Vec<(&str, &str)> = context.iter().map(|tenant| ("tenant", *tenant)).collect();
                let blob = kms.encrypt(&id, plaintext.as_bytes(), &pairs)?;
                blobs.push(json!({ "blob": hex(&blob), "tenant": context, "plaintext": plaintext }));
            }
            if version < number {
                kms.rotate(&id)?;
            }
        }
        keys.push(
            json!({ "id": id, "alias": format!("alias/golden-{number}"), "versions": number + 1, "blobs": blobs }),
        );
    }
    kms.disable_key(keys.last().and_then(|key| key["id"].as_str()).unwrap_or_default())?;
    Ok(json!(keys))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("say into which folder")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let made = json!({
        "root_key": String::from_utf8_lossy(ROOT_KEY),
        "passphrase": String::from_utf8_lossy(PASSPHRASE),
        "key.db": make(&folder.join("key.db"), Options::new().root_key(ROOT_KEY))?,
        "passphrase.db": make(&folder.join("passphrase.db"), Options::new().root_passphrase(PASSPHRASE))?,
    });
    std::fs::write(folder.join("expected.json"), format!("{made:#}\n"))?;
    for name in ["key.db-gen", "key.db-journal", "passphrase.db-gen", "passphrase.db-journal"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    Ok(())
}
