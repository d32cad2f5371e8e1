//! Processes in which the library has worked with keys, and the test's knowledge of these keys.

use std::io::Write;
use std::path::Path;

use kms::{Keystore, Options};

use crate::keys::Known;
use crate::mask::{bytes, hex, mask};
use crate::worker::Worker;

#[derive(Clone, Copy)]
pub enum Root {
    Key,
    File,
    Passphrase,
}

/// A process that has used keys of each kind and still has its handle open; the known part of these keys.
pub fn work(folder: &Path, root: Root, environment: &[(&str, &str)]) -> (Worker, Known) {
    let mut known = Known::default();
    let chosen: Vec<[u8; 32]> = (0..5).map(|_| random()).collect();
    let [root_key, wrapped, imported @ ..] = chosen.as_slice() else { unreachable!() };
    known.add("root key", *root_key);
    let file = folder.join("root.key");
    let kind = match root {
        Root::Key => "key",
        Root::Passphrase => "passphrase",
        Root::File => {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).open(&file).unwrap().write_all(root_key).unwrap();
            // A key file without its keystore is refused, so that one is made here.
            let made = Options::new().root_key(root_key).create(true);
            drop(Keystore::open(folder.join("keys.db").to_str().unwrap(), &made).unwrap());
            "file"
        }
    };
    let masked: Vec<String> = [root_key].into_iter().chain(imported).map(|key| mask(key)).collect();
    let mut arguments = vec![folder.to_str().unwrap(), kind];
    arguments.extend(masked.iter().map(String::as_str));
    let mut user = Worker::start_with("work", &arguments, environment);

    let public_key = hear_bytes(&mut user, "wrap");
    let public_key = <rsa::PublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(&public_key).unwrap();
    user.say(&hex(&public_key.oaep_encrypt::<rsa::sha2::Sha256>(wrapped).unwrap()));
    let externals = imported.iter().chain([wrapped]);
    for (number, key) in externals.enumerate() {
        let name = format!("imported material {number}");
        known.add(&name, *key);
        let blob = hear_bytes(&mut user, "blob");
        known.add_blob(&name, key, &blob);
    }
    (0..Known::OWN_BLOBS).for_each(|_| known.add_own_blob(hear_bytes(&mut user, "own")));
    assert_eq!(user.hear(), "open");
    (user, known)
}

/// A process that has used keys, none of them known outside, and still has its handle open.
pub fn plain(folder: &Path, environment: &[(&str, &str)]) -> Worker {
    let mut user = Worker::start_with("plain", &[folder.to_str().unwrap(), &mask(&random())], environment);
    assert_eq!(user.hear(), "open");
    user
}

/// A process in which two handles of a keystore have used imported material that one of them then deleted.
pub fn delete(folder: &Path, environment: &[(&str, &str)]) -> (Worker, Known) {
    let (root, imported) = (random(), random());
    let arguments = [folder.to_str().unwrap(), &mask(&root), &mask(&imported)];
    let mut user = Worker::start_with("delete", &arguments, environment);
    let mut known = Known::default();
    known.add("imported material", imported);
    known.add_blob("the one", &imported, &hear_bytes(&mut user, "blob"));
    known.add_blob("the other", &imported, &hear_bytes(&mut user, "blob"));
    assert_eq!(user.hear(), "used");
    (user, known)
}

fn hear_bytes(user: &mut Worker, word: &str) -> Vec<u8> {
    let line = user.hear();
    let (first, digits) = line.split_once(' ').unwrap_or((&line, ""));
    assert_eq!(first, word);
    bytes(digits)
}

fn random() -> [u8; 32] {
    let mut key = [0; 32];
    // SAFETY: writes into an array of that length.
    assert_eq!(unsafe { libc::getrandom(key.as_mut_ptr().cast(), key.len(), 0) }, 32);
    key
}
