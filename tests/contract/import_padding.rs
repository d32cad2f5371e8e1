//! Only a complete import reveals whether a wrapped text had the right padding of PKCS#1 v1.5. The status does not, if
//! the keystore can't be written, locked or anchored, or is full; nor do the contents of the keystore afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kms::{KeyState, Status};

use super::imported::*;
use super::support::*;

/// A text with right padding, one with wrong padding, and one that holds another length.
fn texts(public_key: &[u8]) -> [Vec<u8>; 3] {
    let good = wrap(public_key, WRAPPINGS[0], &MATERIAL);
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    [good, damaged, wrap(public_key, WRAPPINGS[0], &MATERIAL[..31])]
}

/// The keystore's answer to each text.
fn answers(kms: &kms::Keystore, id: &str, texts: &[Vec<u8>; 3], token: &[u8]) -> Vec<(Status, String)> {
    let answer = |text: &Vec<u8>| {
        let error = kms.import_key_material(id, text, token, None).expect_err("imported");
        (error.status(), error.to_string())
    };
    texts.iter().map(answer).collect()
}

fn assert_alike(answers: &[(Status, String)], expected: Status) {
    assert!(answers.iter().all(|answer| answer.0 == expected && *answer == answers[0]), "{answers:?}");
}

#[test]
fn a_keystore_that_cannot_be_written_tells_nothing_of_the_padding() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let writer = open(&path, &clock, |o| o);
    let id = writer.external_key();
    let parameters = writer.get_parameters_for_import(&id, WRAPPINGS[0]).unwrap();
    let texts = texts(&parameters.public_key);
    drop(writer);
    let read_only = open(&path, &clock, |o| o.create(false).read_only(true));
    assert_alike(&answers(&read_only, &id, &texts, &parameters.token), Status::KeystoreReadOnly);
    assert_alike(&answers(&read_only, &id, &texts, b"no token"), Status::KeystoreReadOnly);
    drop(read_only);
    let waiting = open(&path, &clock, |o| o.busy_timeout(Duration::from_millis(20)));
    waiting.describe_key(&id).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_alike(&answers(&waiting, &id, &texts, &parameters.token), Status::KeystoreBusy);
    other.execute_batch("ROLLBACK").unwrap();
    // The token is none the worse, and nothing is left of the wrong texts.
    for wrong in &texts[1..] {
        let status = refused(waiting.import_key_material(&id, wrong, &parameters.token, None));
        assert_eq!(status, Status::InvalidKeyMaterial);
        let key = waiting.describe_key(&id).unwrap();
        assert!(key.state == KeyState::PendingImport && key.primary.is_none(), "{key:?}");
        assert_eq!(other.query_row("SELECT count(*) FROM material", [], |row| row.get(0)), Ok(0));
        waiting.verify(|fault| panic!("{fault:?}")).unwrap();
    }
    waiting.import_key_material(&id, &texts[0], &parameters.token, None).unwrap();
    let blob = waiting.encrypt(&id, b"x", &[]).unwrap();
    assert_eq!(waiting.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    assert_eq!(
        refused(waiting.import_key_material(&id, &texts[1], &parameters.token, None)),
        Status::InvalidKeyMaterial
    );
    waiting.verify(|fault| panic!("{fault:?}")).unwrap();
}

/// Keeps the record in memory, unless the test makes it unavailable.
#[derive(Default)]
struct Anchor {
    record: std::sync::Mutex<Vec<u8>>,
    away: AtomicBool,
}

impl kms::root::AnchorStore for Anchor {
    fn get(&self) -> kms::Result<Vec<u8>> {
        Ok(self.record.lock().unwrap().clone())
    }

    fn put(&self, record: &[u8]) -> kms::Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::AnchorUnavailable.error("away"));
        }
        *self.record.lock().unwrap() = record.to_vec();
        Ok(())
    }
}

#[test]
fn an_anchor_that_is_away_tells_nothing_of_the_padding() {
    let (_folder, path) = place();
    let clock = kms::ManualClock::at(T0);
    let anchor: Arc<Anchor> = Arc::default();
    let kms = open(&path, &clock, |o| o.anchor_callback(Arc::clone(&anchor) as _));
    for text in 0..3 {
        let id = kms.external_key();
        let parameters = kms.get_parameters_for_import(&id, WRAPPINGS[0]).unwrap();
        let text = texts(&parameters.public_key)[text].clone();
        anchor.away.store(true, Ordering::SeqCst);
        let status = refused(kms.import_key_material(&id, &text, &parameters.token, None));
        anchor.away.store(false, Ordering::SeqCst);
        assert_eq!(status, Status::AnchorUnavailable);
    }
}
