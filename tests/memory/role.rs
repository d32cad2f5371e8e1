//! A process in which the library works with keys: this test binary again.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use kms::{CreateKey, Kms, Options, Origin, Wrapping};
use zeroize::Zeroizing;

use crate::keys::Known;

/// Keys are told under this, so that the other process holds them only once it has asked for them.
const MASK: u8 = 0xa5;
/// In ordinary memory: what a search through a dump must find.
pub const MARKER: [u8; 32] = *b"ordinary memory, found in a dump";

#[derive(Clone, Copy)]
pub enum Root {
    Key,
    File,
    Passphrase,
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Ok(role) = std::env::var("KMS_TEST_ROLE") else { return };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // SAFETY: alarm takes any number.
    unsafe { libc::alarm(120) };
    let done = std::panic::catch_unwind(|| match role.as_str() {
        "work" => work(&arguments),
        "delete" => delete(&arguments),
        "plain" => plain(&arguments),
        _ => crate::limit::measure(&arguments),
    });
    std::process::exit(if done.is_ok() { 0 } else { 101 });
}

/// The process, killed if it is still there when dropped.
pub struct User {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl User {
    pub fn start(role: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .env("KMS_TEST_ROLE", role)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    /// A process that has used keys of each kind and still has its handle open; what is known of them.
    pub fn work(folder: &Path, root: Root, environment: &[(&str, &str)]) -> (Self, Known) {
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
                drop(Kms::open(folder.join("keys.db").to_str().unwrap(), &made).unwrap());
                "file"
            }
        };
        let masked: Vec<String> = [root_key].into_iter().chain(imported).map(|key| mask(key)).collect();
        let mut arguments = vec![folder.to_str().unwrap(), kind];
        arguments.extend(masked.iter().map(String::as_str));
        let mut user = Self::start("work", &arguments, environment);

        let public_key = user.hear_bytes("wrap");
        let public_key = <rsa::PublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(&public_key).unwrap();
        user.say(&hex(&public_key.oaep_encrypt::<rsa::sha2::Sha256>(wrapped).unwrap()));
        let externals = imported.iter().chain([wrapped]);
        for (number, key) in externals.enumerate() {
            let name = format!("imported material {number}");
            known.add(&name, *key);
            let blob = user.hear_bytes("blob");
            known.add_blob(&name, key, &blob);
        }
        (0..Known::OWN_BLOBS).for_each(|_| known.add_own_blob(user.hear_bytes("own")));
        assert_eq!(user.hear(), "open");
        (user, known)
    }

    /// A process that has used keys, none of them told, and still has its handle open.
    pub fn plain(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut user = Self::start("plain", &[folder.to_str().unwrap(), &mask(&random())], environment);
        assert_eq!(user.hear(), "open");
        user
    }

    /// A process in which two handles of a keystore have used imported material that one of them then deleted.
    pub fn delete(folder: &Path, environment: &[(&str, &str)]) -> (Self, Known) {
        let (root, imported) = (random(), random());
        let arguments = [folder.to_str().unwrap(), &mask(&root), &mask(&imported)];
        let mut user = Self::start("delete", &arguments, environment);
        let mut known = Known::default();
        known.add("imported material", imported);
        known.add_blob("the one", &imported, &user.hear_bytes("blob"));
        known.add_blob("the other", &imported, &user.hear_bytes("blob"));
        assert_eq!(user.hear(), "used");
        (user, known)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    pub fn hear(&mut self) -> String {
        self.output.next().expect("the process has nothing more to say").unwrap()
    }

    fn hear_bytes(&mut self, word: &str) -> Vec<u8> {
        let line = self.hear();
        let (first, digits) = line.split_once(' ').unwrap_or((&line, ""));
        assert_eq!(first, word);
        bytes(digits)
    }

    /// Waits for the end that it came to by itself.
    pub fn end(mut self) {
        self.child.wait().unwrap();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn random() -> [u8; 32] {
    let mut key = [0; 32];
    // SAFETY: writes into an array of that length.
    assert_eq!(unsafe { libc::getrandom(key.as_mut_ptr().cast(), key.len(), 0) }, 32);
    key
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn mask(key: &[u8]) -> String {
    hex(&key.iter().map(|byte| byte ^ MASK).collect::<Vec<_>>())
}

/// A key in the clear; wiped when it has been handed over.
fn unmask(masked: &str) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(bytes(masked));
    key.iter_mut().for_each(|byte| *byte ^= MASK);
    key
}

fn say(word: &str, blob: &[u8]) {
    println!("{word} {}", hex(blob));
}

fn hear() -> String {
    std::io::stdin().lines().next().unwrap().unwrap()
}

fn open(folder: &str, kind: &str, root: &str) -> Kms {
    let options = Options::new().create(true);
    let options = match kind {
        "key" => options.root_key(&unmask(root)),
        "file" => options.root_key_file(format!("{folder}/root.key")),
        _ => options.root_passphrase(&unmask(root)),
    };
    Kms::open(&format!("{folder}/keys.db"), &options).unwrap()
}

fn external(kms: &Kms) -> String {
    kms.create_key(&CreateKey { origin: Some(Origin::External), ..CreateKey::default() }).unwrap().to_string()
}

fn plain(arguments: &[String]) {
    let [folder, root] = arguments else { unreachable!() };
    let kms = open(folder, "key", root);
    for _ in 0..10 {
        let key = kms.create_key(&CreateKey::default()).unwrap().to_string();
        let blob = kms.encrypt(&key, b"", &[]).unwrap();
        kms.rotate(&key).unwrap();
        kms.decrypt(&blob, &[]).unwrap();
        kms.decrypt(&kms.encrypt(&key, b"", &[]).unwrap(), &[]).unwrap();
    }
    println!("open");
    hear();
    drop(kms);
    println!("closed");
    hear();
}

fn delete(arguments: &[String]) {
    let [folder, root, material] = arguments else { unreachable!() };
    let kms = [open(folder, "key", root), open(folder, "key", root)];
    let key = external(&kms[0]);
    kms[0].import_raw_key_material(&key, &unmask(material), None).unwrap();
    let other = kms[0].create_key(&CreateKey::default()).unwrap().to_string();
    let use_key = |kms: &Kms, key: &str| {
        let blob = kms.encrypt(key, b"", &[]).unwrap();
        kms.decrypt(&blob, &[]).unwrap();
        blob
    };
    for kms in &kms {
        use_key(kms, &other);
        say("blob", &use_key(kms, &key));
    }
    println!("used");
    hear();
    kms[0].delete_key_material(&key).unwrap();
    kms.iter().for_each(|kms| drop(use_key(kms, &other)));
    println!("deleted");
    hear();
}

fn work(arguments: &[String]) {
    let [folder, kind, root, imported @ ..] = arguments else { unreachable!() };
    let marker = std::hint::black_box(MARKER.to_vec());
    if let Ok(place) = std::env::var("KMS_TEST_DUMPS") {
        std::env::set_current_dir(place).unwrap();
        let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: reads a struct of ours.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &all) }, 0);
    }
    let kms = Arc::new(open(folder, kind, root));

    let wrapped = external(&kms);
    let needed = kms.get_parameters_for_import(&wrapped, Wrapping::OaepSha256).unwrap();
    say("wrap", &needed.public_key);
    kms.import_key_material(&wrapped, &bytes(&hear()), &needed.token, None).unwrap();
    let mut keys: Vec<String> = imported
        .iter()
        .map(|material| {
            let key = external(&kms);
            kms.import_raw_key_material(&key, &unmask(material), None).unwrap();
            key
        })
        .collect();
    keys.push(wrapped);
    for key in &keys {
        let blob = kms.encrypt(key, b"", &[]).unwrap();
        kms.decrypt(&blob, &[]).unwrap();
        say("blob", &blob);
    }

    let made = kms.create_key(&CreateKey::default()).unwrap().to_string();
    let other = kms.create_key(&CreateKey::default()).unwrap().to_string();
    let mut own = vec![kms.encrypt(&made, b"", &[]).unwrap()];
    kms.rotate(&made).unwrap();
    own.push(kms.encrypt(&made, b"", &[]).unwrap());
    let (_, data_key) = kms.generate_data_key(&made, 32, &[]).unwrap();
    kms.decrypt(&data_key, &[]).unwrap();
    own.push(kms.reencrypt(&data_key, &[], &other, &[]).unwrap());
    own.push(data_key);
    own.push(kms.generate_data_key_without_plaintext(&other, 32, &[]).unwrap());
    own.push(kms.encrypt(&other, b"", &[]).unwrap());
    own.iter().for_each(|blob| drop(kms.decrypt(blob, &[]).unwrap()));
    own.iter().for_each(|blob| say("own", blob));

    // One thread that is gone when the handle is closed, and one that waits.
    keys.push(made);
    let use_all = |kms: &Kms| {
        keys.iter().for_each(|key| drop(kms.decrypt(&kms.encrypt(key, b"", &[]).unwrap(), &[]).unwrap()));
    };
    std::thread::scope(|scope| drop(scope.spawn(|| use_all(&kms))));
    let (all, theirs) = (keys.clone(), Arc::clone(&kms));
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        all.iter().for_each(|key| drop(theirs.decrypt(&theirs.encrypt(key, b"", &[]).unwrap(), &[]).unwrap()));
        drop(theirs);
        done.send(()).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(60));
    });
    is_done.recv().unwrap();

    println!("open");
    if hear() == "abort" {
        // SAFETY: ends the process.
        unsafe { libc::abort() };
    }
    drop(Arc::into_inner(kms).expect("a thread still has the handle"));
    println!("closed");
    hear();
    drop(marker);
}
