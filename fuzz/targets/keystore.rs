//! Any bytes as a keystore's file: refused or opened, never a wrong plaintext, and what works still works.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use kms::{Keystore, Options};
use libfuzzer_sys::{Corpus, fuzz_target};
use libkms_fuzz::edit::{Edit, apply};
use libkms_fuzz::golden::{self, Known};

#[derive(Debug, Arbitrary)]
enum Change {
    Bytes(Vec<Edit>),
    /// From, to, which are numbers of pages.
    Page(u8, u8),
    Swap(u8, u8),
    /// Of a page: offset of a cell's pointer, and what to write there.
    Word(u8, u16, u16),
    /// Of SQLite's header: 100 bytes.
    Header(u8, u32),
    Pages(u8),
    Text(u8),
}

const PAGE: usize = 4096;
/// Texts that mean something to SQLite.
const TEXTS: &[(&str, &str)] = &[
    ("CREATE TABLE", "CREATE VIEW "),
    ("INTEGER", "BLOB   "),
    ("STRICT", "      "),
    ("UNIQUE", "      "),
    ("BLOB", "TEXT"),
];

fn change(file: &mut Vec<u8>, change: &Change) {
    let pages = file.len() / PAGE;
    let page = |number: u8| usize::from(number) % pages.max(1) * PAGE;
    match change {
        Change::Bytes(edits) => apply(file, edits),
        Change::Text(which) => {
            let (from, to) = TEXTS[usize::from(*which) % TEXTS.len()];
            let nth = usize::from(*which) / TEXTS.len();
            let found =
                (0..file.len().saturating_sub(from.len())).filter(|at| file[*at..].starts_with(from.as_bytes()));
            if let Some(at) = found.clone().nth(nth % found.count().max(1)) {
                file[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        _ if pages == 0 => {}
        Change::Page(from, to) => file.copy_within(page(*from)..page(*from) + PAGE, page(*to)),
        Change::Swap(one, other) => {
            for at in 0..PAGE {
                file.swap(page(*one) + at, page(*other) + at);
            }
        }
        Change::Word(number, at, word) => {
            let at = page(*number) + usize::from(*at) % (PAGE - 1);
            file[at..at + 2].copy_from_slice(&word.to_be_bytes());
        }
        Change::Header(at, word) => {
            let at = usize::from(*at) % 97;
            file[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        Change::Pages(count) => file.truncate(page(*count)),
    }
}

static STATE: LazyLock<(tempfile::TempDir, Options, Vec<Known>)> =
    LazyLock::new(|| (golden::folder(), golden::options(), golden::known()));

// The first byte: bit 0 says whether the rest is a file or changes of the golden one, bit 1 opens it for reading only,
// bit 2 changes it afterwards.
fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Some((&how, rest)) = bytes.split_first() else { return Corpus::Reject };
    let mut file = rest.to_vec();
    if how & 1 == 1 {
        let Ok(changes) = Unstructured::new(rest).arbitrary::<Vec<Change>>() else { return Corpus::Reject };
        file = golden::FILE.to_vec();
        changes.iter().take(16).for_each(|one| change(&mut file, one));
    }
    let (folder, options, known) = &*STATE;
    let path = folder.path().join("keys.db");
    for entry in fs::read_dir(folder.path()).expect("the folder can be read") {
        fs::remove_file(entry.expect("an entry").path()).expect("a file of an earlier execution can be removed");
    }
    fs::write(&path, &file).expect("the file can be written");

    let options = options.clone().read_only(how & 2 == 2);
    let Ok(kms) = Keystore::open(path.to_str().expect("a path in UTF-8"), &options) else {
        return Corpus::Keep;
    };
    let verified = kms.verify(|_| true);
    let mut listed = Vec::new();
    let list = kms.list_keys(None, 1000, |key| {
        listed.push(key.id.to_string());
        true
    });
    for one in &listed {
        assert!(known.iter().any(|known| known.key == *one), "a key that nobody made is listed: {one}");
    }
    if verified.is_ok() {
        list.expect("a keystore that verify finds sound is listed");
        assert!(known.iter().all(|known| listed.contains(&known.key)), "a key is missing, and verify finds nothing");
    }
    for one in known {
        match kms.decrypt(&one.blob, &one.context()) {
            Ok(opened) => assert_eq!(*opened, *one.plaintext, "a wrong plaintext"),
            Err(error) => assert!(
                verified.is_err() || error.status() == kms::Status::RejectedDisabled,
                "verify finds nothing, but: {error}"
            ),
        }
    }
    let _ = kms.list_aliases(None, None, 1000, |_, _| true);
    for one in &listed {
        let _ = kms.list_key_versions(one, None, 100, |_, _| true);
        let _ = kms.list_resource_tags(one);
        if how & 4 == 4 {
            let _ = kms.rotate(one);
            if let Ok(blob) = kms.encrypt(one, b"new", &[]) {
                let opened = kms.decrypt(&blob, &[]).expect("what was encrypted just now opens");
                assert_eq!(*opened, *b"new", "a wrong plaintext");
            }
        }
    }
    if how & 4 == 4 {
        let _ = kms.tick();
        for one in known {
            if let Ok(opened) = kms.decrypt(&one.blob, &one.context()) {
                assert_eq!(*opened, *one.plaintext, "a wrong plaintext after a rotation");
            }
        }
    }
    Corpus::Keep
});
