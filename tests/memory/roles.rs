//! The roles in which this program starts itself: the library's use of keys there.

use std::sync::Arc;

use kms::{CreateKey, Keystore, Options, Origin, Wrapping};

use crate::mask::{bytes, hex, unmask};
use crate::role::{self, Role};
use crate::worker::heard;

/// A marker in ordinary memory, which a search through a dump must find.
pub const MARKER: [u8; 32] = *b"ordinary memory, found in a dump";

const ROLES: &[(&str, Role)] =
    &[("work", work), ("delete", delete), ("plain", plain), ("limit", crate::limit::measure)];

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    role::play(ROLES, 120);
}

fn say(word: &str, blob: &[u8]) {
    println!("{word} {}", hex(blob));
}

fn open(folder: &str, kind: &str, root: &str) -> Keystore {
    let options = Options::new().create(true);
    let options = match kind {
        "key" => options.root_key(&unmask(root)),
        "file" => options.root_key_file(format!("{folder}/root.key")),
        _ => options.root_passphrase(&unmask(root)),
    };
    Keystore::open(&format!("{folder}/keys.db"), &options).unwrap()
}

fn external(kms: &Keystore) -> String {
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
    heard();
    drop(kms);
    println!("closed");
    heard();
}

fn delete(arguments: &[String]) {
    let [folder, root, material] = arguments else { unreachable!() };
    let kms = [open(folder, "key", root), open(folder, "key", root)];
    let key = external(&kms[0]);
    kms[0].import_raw_key_material(&key, &unmask(material), None).unwrap();
    let other = kms[0].create_key(&CreateKey::default()).unwrap().to_string();
    let use_key = |kms: &Keystore, key: &str| {
        let blob = kms.encrypt(key, b"", &[]).unwrap();
        kms.decrypt(&blob, &[]).unwrap();
        blob
    };
    for kms in &kms {
        use_key(kms, &other);
        say("blob", &use_key(kms, &key));
    }
    println!("used");
    heard();
    kms[0].delete_key_material(&key).unwrap();
    kms.iter().for_each(|kms| drop(use_key(kms, &other)));
    println!("deleted");
    heard();
}

fn work(arguments: &[String]) {
    let [folder, kind, root, imported @ ..] = arguments else { unreachable!() };
    let marker = std::hint::black_box(MARKER.to_vec());
    if let Ok(place) = std::env::var("KMS_TEST_DUMPS") {
        std::env::set_current_dir(place).unwrap();
        let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: reads a local struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &all) }, 0);
    }
    let kms = Arc::new(open(folder, kind, root));

    let wrapped = external(&kms);
    let needed = kms.get_parameters_for_import(&wrapped, Wrapping::OaepSha256).unwrap();
    say("wrap", &needed.public_key);
    kms.import_key_material(&wrapped, &bytes(&heard().unwrap()), &needed.token, None).unwrap();
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
    own.push(kms.reencrypt(&data_key, &[], Some((&other).into()), &[]).unwrap());
    own.push(data_key);
    own.push(kms.generate_data_key_without_plaintext(&other, 32, &[]).unwrap());
    own.push(kms.encrypt(&other, b"", &[]).unwrap());
    own.iter().for_each(|blob| drop(kms.decrypt(blob, &[]).unwrap()));
    own.iter().for_each(|blob| say("own", blob));

    // One thread that is gone when the handle is closed, and one that waits.
    keys.push(made);
    let use_all = |kms: &Keystore| {
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
    if heard().as_deref() == Some("abort") {
        // SAFETY: ends the process.
        unsafe { libc::abort() };
    }
    drop(Arc::into_inner(kms).expect("a thread still has the handle"));
    println!("closed");
    heard();
    drop(marker);
}
