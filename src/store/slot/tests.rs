use std::sync::Arc;
use std::sync::Mutex;

use super::*;
use crate::crypto::plaintext::Plaintext;
use crate::sys::secret::Arena;

const UUID: [u8; 16] = [3; 16];

fn root_key() -> RootKey {
    RootKey::new([9; 32])
}

fn by_key(byte: u8) -> Root {
    Root::Key(Arc::new(Arena::new().keep(&mut [byte; 32]).unwrap()))
}

fn by_passphrase(text: &[u8]) -> Root {
    Root::Passphrase(Arc::new(Zeroizing::new(text.to_vec())))
}

fn made(by: &Root) -> SlotRow {
    wrap(by, &root_key(), &UUID, 7, Some("label")).unwrap()
}

/// Whether `by` unwraps the root key from the slots.
fn opens(by: &Root, slots: &[SlotRow], uuid: &[u8; 16]) -> Option<usize> {
    unwrap(by, slots, uuid, |key| Ok(**key == *root_key())).unwrap().map(|(at, _)| at)
}

#[test]
fn a_slot_opens_for_its_root_and_keystore_alone() {
    let slot = made(&by_key(1));
    assert_eq!((slot.kind, slot.created, slot.label.as_deref()), (4, Some(7), Some("label")));
    assert_eq!(opens(&by_key(1), std::slice::from_ref(&slot), &UUID), Some(0));
    assert_eq!(opens(&by_key(2), std::slice::from_ref(&slot), &UUID), None);
    assert_eq!(opens(&by_key(1), std::slice::from_ref(&slot), &[4; 16]), None);
    assert_eq!(opens(&by_passphrase(&[1; 32]), std::slice::from_ref(&slot), &UUID), None);
    assert_eq!(opens(&by_key(1), &[made(&by_key(3)), slot.clone(), made(&by_key(5))], &UUID), Some(1));
    for at in 0..slot.wrapped.len() {
        let mut changed = slot.clone();
        changed.wrapped[at] ^= 1;
        assert_eq!(opens(&by_key(1), &[changed], &UUID), None, "byte {at}");
    }
    for len in 0..slot.wrapped.len() {
        let cut = SlotRow { wrapped: slot.wrapped[..len].to_vec(), ..slot.clone() };
        assert_eq!(opens(&by_key(1), &[cut], &UUID), None, "cut to {len}");
    }
}

/// What is sealed under the right subkey is refused without the right commitment: a ciphertext that opens under several
/// keys is of no use.
#[test]
fn a_slot_commits_to_its_key() {
    let bound = bound(&UUID, 4, &[]);
    let (one, other) = (RootKey::new([1; 32]), RootKey::new([2; 32]));
    let sealed = seal(&one, &root_key(), &bound).unwrap();
    assert!(open(&one, &sealed, &bound).unwrap().is_some());
    let (commitment, _) = subkeys(&other, &bound).unwrap();
    let foreign = [commitment.as_slice(), &sealed[COMMITMENT..]].concat();
    assert!(open(&one, &foreign, &bound).unwrap().is_none(), "opened without the commitment to this key");
    assert!(open(&other, &foreign, &bound).unwrap().is_none());
    assert!(open_uncommitted(&one, &sealed, &bound).unwrap().is_none(), "a committed slot read as one of format 1");
}

#[test]
fn slots_of_format_1_open_for_ever() {
    for (kind, parameters) in [(1, Vec::new()), (2, [Argon2Params::DEFAULT.encode().as_slice(), &[5; SALT]].concat())] {
        let key = match kind {
            1 => RootKey::new([1; 32]),
            _ => derive(b"old", &parameters, &mut 0).unwrap().unwrap(),
        };
        let wrapped = row::seal_once(&key, &bound(&UUID, kind, &parameters), &*root_key()).unwrap();
        let slot = SlotRow { row: 1, kind, parameters, wrapped, created: None, label: None };
        let by = if kind == 1 { by_key(1) } else { by_passphrase(b"old") };
        assert_eq!(opens(&by, std::slice::from_ref(&slot), &UUID), Some(0), "kind {kind}");
        let renamed = SlotRow { kind: kind + OF_FORMAT_2, ..slot };
        assert_eq!(opens(&by, &[renamed], &UUID), None, "kind {kind} read as one of format 2");
    }
}

#[test]
fn a_passphrase_slot_out_of_bounds_is_passed_over_without_work() {
    let slot = made(&by_passphrase(b"guess"));
    assert_eq!(opens(&by_passphrase(b"guess"), std::slice::from_ref(&slot), &UUID), Some(0));
    let with = |memory_kib: u32, passes: u32, lanes: u32| {
        let costs = Argon2Params { memory_kib, passes, lanes }.encode();
        SlotRow { parameters: [costs.as_slice(), &slot.parameters[ENCODED..]].concat(), ..slot.clone() }
    };
    let mut out_of_bounds = vec![
        with(19 * 1024 - 1, 2, 1),
        with(19 * 1024, 1, 1),
        with(8, 1, 1),
        with(0, 0, 0),
        with(64 << 10, 3, 0),
        with(4 << 20, 17, 1),
        with(u32::MAX, u32::MAX, u32::MAX),
    ];
    for len in [0, ENCODED - 1, ENCODED, ENCODED + SALT - 1, ENCODED + SALT + 1] {
        let mut parameters = slot.parameters.clone();
        parameters.resize(len, 0);
        out_of_bounds.push(SlotRow { parameters, ..slot.clone() });
    }
    let mut work = 0;
    for slot in &out_of_bounds {
        assert!(derive(b"guess", &slot.parameters, &mut work).unwrap().is_none(), "{slot:?}");
    }
    assert_eq!(work, 0, "a slot out of bounds was paid for");
    let mut work = MAX_WORK_KIB - 1;
    assert!(derive(b"guess", &slot.parameters, &mut work).unwrap().is_none(), "all slots together cost too much");
}

/// All slots are tried, so that the time of a failure doesn't show which one was opened by a guess.
#[test]
fn a_slot_that_opens_to_a_wrong_key_ends_nothing() {
    let slots = [made(&by_key(1)), made(&by_key(1)), made(&by_key(1))];
    let mut seen = 0;
    let found = unwrap(&by_key(1), &slots, &UUID, |_| {
        seen += 1;
        Ok(false)
    });
    assert!(found.unwrap().is_none() && seen == 3, "{seen}");
}

/// Authenticates its additional data, or doesn't; remembers what it was given.
struct Device {
    binds: bool,
    seen: Mutex<Vec<Vec<u8>>>,
}

impl Device {
    fn new(binds: bool) -> Arc<Self> {
        Arc::new(Self { binds, seen: Mutex::default() })
    }
}

impl RootWrapper for Device {
    fn wrap(&self, root: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        row::seal_once(&[8; 32], if self.binds { aad } else { b"" }, root)
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Plaintext> {
        self.seen.lock().unwrap().push(aad.to_vec());
        row::open_once(&[8; 32], if self.binds { aad } else { b"" }, wrapped).map(Plaintext::new)
    }
}

#[test]
fn a_callback_binds_purpose_and_keystore() {
    let device = Device::new(true);
    let by = Root::Callback(Arc::clone(&device) as _);
    let slot = made(&by);
    device.seen.lock().unwrap().clear();
    assert_eq!(opens(&by, std::slice::from_ref(&slot), &UUID), Some(0));
    let aad = b"libkms root key of keystore 03030303-0303-0303-0303-030303030303".to_vec();
    assert!(aad.len() <= 128);
    assert_eq!(*device.seen.lock().unwrap(), [aad]);
    assert!(unwrap(&by, std::slice::from_ref(&slot), &[4; 16], |_| Ok(true)).is_err(), "opened for another keystore");
}

#[test]
fn a_callback_that_does_not_authenticate_is_refused() {
    let refused = |by: Arc<dyn RootWrapper>| {
        let error = wrap(&Root::Callback(by), &root_key(), &UUID, 0, None).unwrap_err();
        (error.status(), error.to_string())
    };
    let (status, text) = refused(Device::new(false));
    assert_eq!(status, Status::RootKeyUnavailable);
    assert!(text.contains("other aad") && text.contains("never public-key"), "{text}");

    struct Zeros;
    impl RootWrapper for Zeros {
        fn wrap(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>> {
            Ok(vec![0; 32])
        }
        fn unwrap(&self, _: &[u8], _: &[u8]) -> Result<Plaintext> {
            Ok(vec![0; 32].into())
        }
    }
    assert_eq!(refused(Arc::new(Zeros)).0, Status::RootKeyUnavailable);
}

#[test]
fn a_callback_slot_of_format_1_is_given_nothing_to_bind() {
    let by = Root::Callback(Device::new(true));
    let wrapped = row::seal_once(&[8; 32], b"", &*root_key()).unwrap();
    let old = SlotRow { row: 1, kind: 3, parameters: Vec::new(), wrapped, created: None, label: None };
    assert_eq!(opens(&by, std::slice::from_ref(&old), &UUID), Some(0));
    let renamed = SlotRow { kind: 6, ..old };
    assert!(
        unwrap(&by, &[renamed], &UUID, |_| Ok(true)).is_err(),
        "a slot that binds nothing was taken for one that does"
    );
}
