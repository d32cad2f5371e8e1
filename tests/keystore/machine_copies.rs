//! Two copies of a machine, whose kernels return the same random bytes, share no key, id or nonce prefix if the CPU has
//! a random generator, however slow. They share no nonce if it is quick.
//!
//! A copy is simulated: two processes make the same calls, and a fault replaces the kernel's random bytes with a fixed
//! stream.

use std::collections::BTreeMap;

use kms::{CreateKey, Keystore, Options, Origin, Wrapping};

use crate::folder::Folder;
use crate::worker::Worker;

const REPEATS: (&str, &str) = ("KMS_FAULT_KERNEL_RANDOM_REPEATS", "1");
const NONCE: std::ops::Range<usize> = 40..64;
const PREFIX: std::ops::Range<usize> = 40..52;
/// OpenSSL seeds its own generator first, with bytes that this test doesn't repeat.
const FROM_OPENSSL: &[&str] = &["wrapping key"];

/// Names and values of a machine's random output.
type Made = BTreeMap<String, String>;

fn say(name: &str, value: &[u8]) {
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{name}={hex}");
}

/// Creates one of everything in the folder, and prints the results.
pub fn make_everything(arguments: &[String]) {
    let [folder] = arguments else { panic!("a folder") };
    let (store, key_file) = (format!("{folder}/keys.db"), format!("{folder}/root.key"));
    let kms =
        Keystore::open(&store, &Options::new().root_key_file(&key_file).create(true).rotation_thread(false)).unwrap();
    say("root key", &std::fs::read(&key_file).unwrap());
    let key = kms.create_key(&CreateKey::default()).unwrap().to_string();
    say("key id", key.as_bytes());
    say("rotated version", kms.rotate(&key).unwrap().to_string().as_bytes());
    kms.list_key_versions(&key, None, 10, |version, _| {
        say(&format!("version {}", version.number), version.id.to_string().as_bytes());
        true
    })
    .unwrap();
    let (plaintext, blob) = kms.generate_data_key(&key, 64, &[]).unwrap();
    say("data key", &plaintext);
    say("data key's prefix", &blob[PREFIX]);
    for number in 1..=3 {
        let blob = kms.encrypt(&key, b"text", &[]).unwrap();
        say(&format!("prefix of message {number}"), &blob[PREFIX]);
        say(&format!("nonce of message {number}"), &blob[NONCE]);
    }
    let external = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
    let external = kms.create_key(&external).unwrap().to_string();
    let import = kms.get_parameters_for_import(&external, Wrapping::OaepSha256).unwrap();
    say("wrapping key", &import.public_key);
    say("token's nonce", &import.token[1..25]);
    drop(kms);
    let sqlite = rusqlite::Connection::open(&store).unwrap();
    let blob = |sql: &str| sqlite.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    say("keystore's uuid", &blob("SELECT uuid FROM meta"));
    say("slot", &blob("SELECT wrapped FROM slot"));
    say("row's nonce", &blob("SELECT substr(sealed, 1, 24) FROM material ORDER BY number LIMIT 1"));
    say(
        "generation",
        &sqlite.query_row("SELECT generation FROM meta", [], |row| row.get::<_, i64>(0)).unwrap().to_be_bytes(),
    );
}

/// What one copy made, and the other.
fn copies(environment: &[(&str, &str)]) -> [Made; 2] {
    [(); 2].map(|()| {
        let folder = Folder::new();
        let worker = Worker::start_with("make-everything", &[folder.path("").to_str().unwrap()], environment);
        let lines = worker.finish();
        let made: Made =
            lines.iter().map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.into(), b.into())).collect();
        assert!(made.len() > 15, "{made:?}");
        made
    })
}

fn shared([one, other]: &[Made; 2]) -> Vec<&str> {
    one.iter().filter(|(name, value)| other[*name] == **value).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn copies_of_a_machine_share_nothing_where_the_cpu_is_quick() {
    assert_eq!(shared(&copies(&[])), Vec::<&str>::new());
    assert_eq!(shared(&copies(&[REPEATS])), Vec::<&str>::new());
}

#[test]
fn copies_of_a_machine_share_no_key_id_or_prefix_where_the_cpu_is_slow() {
    assert_eq!(shared(&copies(&[REPEATS, ("KMS_FAULT_CPU_RANDOM_SLOW", "1")])), Vec::<&str>::new());
}

/// The two tests above can fail, and the text that nothing is promised here is true.
#[test]
fn copies_of_a_machine_share_keys_where_the_cpu_draws_nothing() {
    for absent in ["KMS_FAULT_CPU_RANDOM_NONE", "KMS_FAULT_CPU_RANDOM_CONSTANT"] {
        let copies = copies(&[REPEATS, (absent, "1")]);
        let shared = shared(&copies);
        // Suffixes contain the time if they contain no random word of the CPU.
        let all = copies[0].keys().filter(|name| !FROM_OPENSSL.contains(&name.as_str()) && !name.starts_with("nonce"));
        let missing: Vec<&String> = all.filter(|name| !shared.contains(&name.as_str())).collect();
        assert_eq!(missing, Vec::<&String>::new(), "{absent}");
    }
}

#[test]
fn a_broken_cpu_takes_nothing_from_the_kernel() {
    for broken in ["KMS_FAULT_CPU_RANDOM_NONE", "KMS_FAULT_CPU_RANDOM_CONSTANT"] {
        assert_eq!(shared(&copies(&[(broken, "1")])), Vec::<&str>::new(), "{broken}");
    }
}
