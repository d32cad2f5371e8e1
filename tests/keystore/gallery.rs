//! A keystore with keys of each kind and state, and everything that calls return about it: for tests of copies.

use std::fmt::Write;

use kms::{CreateKey, Interval, KeyId, KeyState, Keystore, ManualClock, Options, Origin, Status, VersionState};

pub const DAY: i64 = 86_400;

/// Keys of each kind and state, and a ciphertext of each of their versions.
pub struct Gallery {
    pub blobs: Vec<(KeyId, Vec<u8>)>,
}

impl Gallery {
    pub fn fill(kms: &Keystore, clock: &ManualClock) -> Self {
        let mut blobs = Vec::new();
        let mut seal = |key: KeyId| blobs.push((key, kms.encrypt(key, b"kept", &[("tenant", "42")]).unwrap()));
        let plain = CreateKey { description: "plain \u{1f511}".to_owned(), ..CreateKey::default() };
        // Enough for each shard to have some.
        for number in 0..20 {
            let key = kms.create_key(&plain).unwrap();
            seal(key);
            kms.tag_resource(key, &[("number", &number.to_string()), ("empty", "")]).unwrap();
            kms.create_alias(key, &format!("alias/number-{number}")).unwrap();
            kms.create_alias(key, &format!("alias/second-{number}")).unwrap();
        }
        let rotating =
            CreateKey { rotate_every: Some(Interval::from_seconds(7 * DAY).unwrap()), ..CreateKey::default() };
        let many = kms.create_key(&rotating).unwrap();
        for _ in 0..300 {
            kms.rotate(many).unwrap();
        }
        seal(many);
        let versions = kms.create_key(&rotating).unwrap();
        for _ in 0..5 {
            seal(versions);
            clock.advance_seconds(8 * DAY);
            kms.tick().unwrap();
        }
        seal(versions);
        let ids: Vec<String> = kms.key_versions(versions).map(|version| version.unwrap().id.to_string()).collect();
        for id in &ids[2..] {
            kms.disable_key_version(versions, id).unwrap();
        }
        for id in &ids[3..] {
            kms.schedule_key_version_deletion(versions, id, 7).unwrap();
        }
        kms.cancel_key_version_deletion(versions, &ids[3]).unwrap();
        clock.advance_seconds(8 * DAY);
        kms.tick().unwrap();
        clock.advance_seconds(2 * 3600);
        kms.tick().unwrap();
        assert!(kms.key_versions(versions).any(|version| version.unwrap().state == VersionState::Destroyed));
        let old: Vec<String> = kms.key_versions(many).map(|version| version.unwrap().id.to_string()).collect();
        kms.disable_key_version(many, &old[9]).unwrap();
        kms.schedule_key_version_deletion(many, &old[9], 30).unwrap();
        let disabled = kms.create_key(&plain).unwrap();
        seal(disabled);
        kms.disable_key(disabled).unwrap();
        let leaving = kms.create_key(&rotating).unwrap();
        seal(leaving);
        kms.create_alias(leaving, "alias/leaving").unwrap();
        kms.schedule_key_deletion(leaving, 9).unwrap();
        clock.advance_seconds(DAY);
        kms.tick().unwrap();
        let protected = kms.create_key(&plain).unwrap();
        kms.set_deletion_protection(protected, Some("it is needed")).unwrap();
        let external = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
        let waiting = kms.create_key(&external).unwrap();
        assert_eq!(kms.describe_key(waiting).unwrap().state, KeyState::PendingImport);
        let imported = kms.create_key(&external).unwrap();
        kms.import_raw_key_material(imported, &[5; 32], None).unwrap();
        seal(imported);
        let expiring = kms.create_key(&external).unwrap();
        kms.import_raw_key_material(expiring, &[6; 32], Some(kms::Time::from_millis(clock.millis() + 9 * DAY * 1000)))
            .unwrap();
        seal(expiring);
        let erased = kms.create_key(&external).unwrap();
        kms.import_raw_key_material(erased, &[8; 32], None).unwrap();
        seal(erased);
        kms.delete_key_material(erased).unwrap();
        seal(kms.create_service_key("disk").unwrap());
        kms.add_root_slot(&Options::new().root_key(&[9; 32]), Some("recovery")).unwrap();
        // The days of use are stored.
        clock.advance_seconds(DAY);
        kms.tick().unwrap();
        Self { blobs }
    }

    /// What each blob opens to, or why it doesn't.
    pub fn opened(&self, kms: &Keystore) -> Vec<Result<Vec<u8>, Status>> {
        let open = |blob: &[u8]| match kms.decrypt(blob, &[("tenant", "42")]) {
            Ok(opened) => Ok(opened.to_vec()),
            Err(error) => Err(error.status()),
        };
        self.blobs.iter().map(|(_, blob)| open(blob)).collect()
    }
}

/// Everything that the calls return about a keystore.
pub fn shown(kms: &Keystore) -> String {
    let mut text = String::new();
    let mut keys: Vec<_> = kms.keys().map(Result::unwrap).collect();
    keys.sort_by_key(|key| key.id.to_string());
    for key in keys {
        writeln!(text, "{key:?} {:?}", kms.list_resource_tags(key.id).unwrap()).unwrap();
        kms.key_versions(key.id).for_each(|version| writeln!(text, "  {:?}", version.unwrap()).unwrap());
        kms.aliases_of(key.id).for_each(|name| writeln!(text, "  {}", name.unwrap()).unwrap());
    }
    kms.aliases().for_each(|alias| writeln!(text, "{:?}", alias.unwrap()).unwrap());
    for slot in kms.list_root_slots().unwrap() {
        writeln!(text, "{} {:?} {:?} {:?}", slot.id, slot.kind, slot.created, slot.label).unwrap();
    }
    text
}

pub fn sound(kms: &Keystore) {
    kms.verify(|fault| panic!("{fault:?}")).unwrap();
}

#[track_caller]
pub fn same(a: &Keystore, b: &Keystore) {
    let (a, b) = (shown(a), shown(b));
    let differing: Vec<_> = a.lines().zip(b.lines()).filter(|(a, b)| a != b).take(3).collect();
    assert!(differing.is_empty(), "the copy differs: {differing:#?}");
    assert_eq!(a.lines().count(), b.lines().count(), "something is missing in the copy");
}
