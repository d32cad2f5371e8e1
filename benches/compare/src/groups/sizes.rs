//! One message, one key: libkms compared with bare ciphers and SoftHSM2, from 0 bytes to 1 MiB.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use crate::bench::Bench;
use crate::cipher::{Cipher, TAG};
use crate::evp::{Evp, Habit};
use crate::kms::Keystore;
use crate::measure::{Timing, Variant, interleave, pin};
use crate::peers::{AwsLc, Ring, RustCrypto, Xaes};
use crate::section::{Kind, Limit, Plot, Promise, Section, Series, Table, digits, size, time};
use crate::softhsm::Token;
use crate::types::OVERHEAD;

const SIZES: [usize; 8] = [0, 16, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20];
/// More than any cache of derived keys holds.
const PREFIXES: usize = 4096;

const BY_ID: &str = "libkms, by key id";
const BY_ALIAS: &str = "libkms, by alias";
const SEEN: &str = "libkms, prefix seen before";
const UNSEEN: &str = "libkms, prefix never seen";
const SOFTHSM: &str = "SoftHSM2 (PKCS#11)";

pub fn run(bench: &Bench) -> Result<Section, String> {
    let token = Token::new();
    let mut absent = Vec::new();
    if let Err(why) = &token {
        absent.push(format!("SoftHSM2: {why}"));
    }
    if let Err(why) = &bench.system {
        absent.push(format!("the system's libcrypto: {why}"));
    }
    pin(0);
    let mut seals = Vec::new();
    let mut opens = Vec::new();
    for bytes in SIZES {
        let (seal, open) = one_size(bench, token.as_ref().ok(), bytes)?;
        seals.push(seal);
        opens.push(open);
    }
    Ok(Section {
        title: "One message, one key".to_owned(),
        text: vec![format!(
            "AES-256-GCM with 64 bytes of authenticated data; libkms with a context of one entry, so the cipher sees as \
             much. libkms draws a nonce for each message; all others get a counter, which costs them nothing. A message \
             is written to the caller's buffer. \"Key kept\": context and key stay, only the IV is set. \"Prefix never \
             seen\" decrypts {PREFIXES} ciphertexts in turn, each of which needs another derived key."
        )],
        tables: [tables("Encrypt", &seals), tables("Decrypt", &opens)].into_iter().flatten().collect(),
        plots: vec![plot("encrypt", "Encrypt one message", &seals), plot("decrypt", "Decrypt one message", &opens)],
        promises: promises(&seals, &opens),
        absent,
    })
}

/// A cipher that has proved, on this size, to open what it seals.
struct Proved<C> {
    cipher: RefCell<C>,
    sealed: Vec<u8>,
}

impl<C: Cipher> Proved<C> {
    fn new(mut cipher: C, plaintext: &[u8]) -> Self {
        let mut sealed = vec![0; plaintext.len() + TAG];
        let mut opened = vec![0; plaintext.len() + TAG];
        cipher.seal(plaintext, &mut sealed);
        cipher.open(&sealed, &mut opened);
        assert_eq!(&opened[..plaintext.len()], plaintext, "a cipher that doesn't open what it seals");
        Self { cipher: RefCell::new(cipher), sealed }
    }

    fn opening<'a>(&'a self, name: &str) -> Variant<'a> {
        let mut out = vec![0; self.sealed.len()];
        Variant::new(name, move || self.cipher.borrow_mut().open(black_box(&self.sealed), black_box(&mut out)))
    }

    /// After `opening` was measured: it needs the nonce of the message that was sealed last.
    fn sealing<'a>(&'a self, name: &str, plaintext: &'a [u8]) -> Variant<'a> {
        let mut out = vec![0; plaintext.len() + TAG];
        Variant::new(name, move || self.cipher.borrow_mut().seal(black_box(plaintext), black_box(&mut out)))
    }
}

fn one_size(bench: &Bench, token: Option<&Token>, bytes: usize) -> Result<(Vec<Timing>, Vec<Timing>), String> {
    let rounds = bench.effort.pick(if bytes >= 1 << 20 { 31 } else { 51 }, 5);
    let slice = Duration::from_micros(bench.effort.pick(2000, 300));
    let text = vec![3u8; bytes];
    let text = text.as_slice();

    let kms = Keystore::memory(bench.library, 0)?;
    let key = kms.create_key(0)?;
    let alias = c"alias/orders";
    kms.create_alias(&key, alias)?;
    let blob = kms.blob(&key, text);
    let blobs = kms.blobs_of_new_prefixes(&key, text, if bytes > 4096 { 16 } else { PREFIXES });

    let vendored = &bench.vendored;
    let kept = Proved::new(Evp::new(vendored, Habit::KeyKept), text);
    let set = Proved::new(Evp::new(vendored, Habit::KeySet), text);
    let fresh = Proved::new(Evp::new(vendored, Habit::NewContext), text);
    let system = bench.system.as_ref().ok().map(|system| {
        let name = format!("{} of the system, key kept", system.version());
        (name, Proved::new(Evp::new(system, Habit::KeyKept), text))
    });
    let aws_lc = Proved::new(AwsLc::new(), text);
    let ring = Proved::new(Ring::new(), text);
    let rust_crypto = Proved::new(RustCrypto::new(), text);
    let xaes = Proved::new(Xaes::new(), text);
    let softhsm = token.map(Token::session).transpose()?.map(|session| Proved::new(session, text));

    let version = vendored.version();
    let names = [
        format!("{version}, key kept"),
        format!("{version}, key set per message"),
        format!("{version}, new context per message"),
    ];
    let mut variants = vec![
        kept.opening(&names[0]),
        set.opening(&names[1]),
        fresh.opening(&names[2]),
        aws_lc.opening("aws-lc-rs"),
        ring.opening("ring"),
        rust_crypto.opening("RustCrypto aes-gcm"),
        xaes.opening("RustCrypto xaes-256-gcm"),
    ];
    variants.extend(system.iter().map(|(name, cipher)| cipher.opening(name)));
    variants.extend(softhsm.iter().map(|cipher| cipher.opening(SOFTHSM)));
    let (kms_ref, mut out) = (&kms, vec![0; bytes + OVERHEAD]);
    let seen = Variant::new(SEEN, move || {
        kms_ref.decrypt(black_box(&blob), black_box(&mut out));
    });
    let (mut next, mut out) = (0, vec![0; bytes + OVERHEAD]);
    let unseen = Variant::new(UNSEEN, move || {
        kms_ref.decrypt(black_box(&blobs[next]), black_box(&mut out));
        next = (next + 1) % blobs.len();
    });
    variants.insert(1, seen);
    variants.insert(2, unseen);
    let opens = interleave(variants, rounds, slice);

    let mut variants = vec![
        kept.sealing(&names[0], text),
        set.sealing(&names[1], text),
        fresh.sealing(&names[2], text),
        aws_lc.sealing("aws-lc-rs", text),
        ring.sealing("ring", text),
        rust_crypto.sealing("RustCrypto aes-gcm", text),
        xaes.sealing("RustCrypto xaes-256-gcm", text),
    ];
    variants.extend(system.iter().map(|(name, cipher)| cipher.sealing(name, text)));
    variants.extend(softhsm.iter().map(|cipher| cipher.sealing(SOFTHSM, text)));
    for (at, name, key) in [(1, BY_ID, key.as_ptr()), (2, BY_ALIAS, alias.as_ptr())] {
        let mut out = vec![0; bytes + OVERHEAD];
        let encrypt = move || {
            kms_ref.encrypt(key, black_box(text), black_box(&mut out));
        };
        variants.insert(at, Variant::new(name, encrypt));
    }
    let seals = interleave(variants, rounds, slice);
    Ok((seals, opens))
}

/// Times, then ratios; a row a variant, a column a size.
fn tables(what: &str, sizes: &[Vec<Timing>]) -> [Table; 2] {
    let head = || std::iter::once(String::new()).chain(SIZES.map(size)).collect();
    let rows = |cell: &dyn Fn(&Timing) -> String| {
        let row = |i: usize| {
            let name = sizes[0][i].name.clone();
            std::iter::once(name).chain(sizes.iter().map(|timings| cell(&timings[i]))).collect()
        };
        (0..sizes[0].len()).map(row).collect()
    };
    let ns = |timing: &Timing| format!("{} / {}", digits(timing.minimum), digits(timing.median));
    [
        Table { caption: format!("{what}: ns per message, minimum / median"), head: head(), rows: rows(&ns) },
        Table {
            caption: format!("{what}: times as long as {} (median of the ratios of each round)", sizes[0][0].name),
            head: head(),
            rows: rows(&|timing| format!("{:.2}", timing.ratio)),
        },
    ]
}

fn plot(name: &str, title: &str, sizes: &[Vec<Timing>]) -> Plot {
    let series = |i: usize| Series {
        name: sizes[0][i].name.clone(),
        values: sizes.iter().map(|timings| Some(timings[i].ratio)).collect(),
        ours: sizes[0][i].name.starts_with("libkms"),
    };
    Plot {
        name: name.to_owned(),
        title: title.to_owned(),
        x: "message size".to_owned(),
        y: format!("times as long as {}", sizes[0][0].name),
        kind: Kind::Lines { places: SIZES.map(size).to_vec(), series: (0..sizes[0].len()).map(series).collect() },
    }
}

fn promises(seals: &[Vec<Timing>], opens: &[Vec<Timing>]) -> Vec<Promise> {
    let at = |bytes: usize| SIZES.iter().position(|&size| size == bytes).expect("one of the sizes");
    let of = |timings: &[Timing], name: &str| timings.iter().position(|timing| timing.name == name);
    let mut promises = Vec::new();
    let mut add = |what: &str, limit, timings: &[Timing], name| {
        if let Some(i) = of(timings, name) {
            promises.push(Promise {
                what: what.to_owned(),
                limit: Limit::AtMost(limit),
                unit: "x raw EVP, key kept".to_owned(),
                measured: timings[i].ratio,
                figures: against(&timings[i], &timings[0]),
            });
        }
    };
    add("encrypt, 64 B, one hot key, by key id", 1.5, &seals[at(64)], BY_ID);
    add("encrypt, 64 B, one hot key, by alias", 1.5, &seals[at(64)], BY_ALIAS);
    add("decrypt, 64 B, one hot key, prefix seen before", 1.3, &opens[at(64)], SEEN);
    add("decrypt, 64 B, one hot key, prefix never seen", 2.6, &opens[at(64)], UNSEEN);
    add("encrypt, 1 KiB", 1.2, &seals[at(1 << 10)], BY_ID);
    for bytes in [64 << 10, 1 << 20] {
        add(&format!("encrypt, {}", size(bytes)), 1.05, &seals[at(bytes)], BY_ID);
        add(&format!("decrypt, {}", size(bytes)), 1.05, &opens[at(bytes)], SEEN);
    }
    let timings = &seals[at(64)];
    if let (Some(theirs), Some(ours)) = (of(timings, SOFTHSM), of(timings, BY_ID)) {
        promises.push(Promise {
            what: "SoftHSM2's C_Encrypt, 64 B, session key".to_owned(),
            limit: Limit::AtLeast(35.0),
            unit: "x libkms".to_owned(),
            measured: timings[theirs].ratio / timings[ours].ratio,
            figures: against(&timings[theirs], &timings[ours]),
        });
    }
    promises
}

fn against(timing: &Timing, base: &Timing) -> String {
    format!("{} against {}", time(timing.median), time(base.median))
}
