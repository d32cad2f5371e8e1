//! Many keys created at once: all or none, each like a key created alone.

use kms::{CreateKey, Status};

use super::support::*;

#[test]
fn keys_made_at_once_are_as_keys_made_alone() {
    let kms = memory();
    let request = CreateKey { description: "many".into(), rotate_every: Some(seconds(60)), ..CreateKey::default() };
    let alone = kms.create_key(&request).unwrap().to_string();
    let ids = kms.create_keys(&request, 1000).unwrap();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 1000, "an id repeats");
    let single = kms.key(&alone);
    for id in &ids {
        let key = kms.key(&id.to_string());
        assert_eq!((key.state, &key.description, key.policy), (single.state, &single.description, single.policy));
        assert_eq!((key.created, key.version_count()), (single.created, 1));
        let blob = kms.encrypt(&id.to_string(), b"x", &[]).unwrap();
        assert_eq!(kms.decrypt(&blob, &[]).unwrap().as_slice(), b"x");
    }
    let versions: std::collections::HashSet<_> = ids.iter().map(|id| kms.primary(&id.to_string())).collect();
    assert_eq!(versions.len(), 1000, "a version id repeats");
}

#[test]
fn too_few_too_many_or_impossible_keys_are_refused_and_none_is_made() {
    let kms = memory();
    let plain = CreateKey::default();
    assert_eq!(refused(kms.create_keys(&plain, 0)), Status::InvalidArgument);
    assert_eq!(refused(kms.create_keys(&plain, 1001)), Status::InvalidArgument);
    let impossible =
        CreateKey { origin: Some(kms::Origin::External), rotate_every: Some(seconds(60)), ..CreateKey::default() };
    assert_eq!(refused(kms.create_keys(&impossible, 5)), Status::UnsupportedOperation);
    let mut seen = 0;
    kms.list_keys(None, usize::MAX, |_| {
        seen += 1;
        true
    })
    .unwrap();
    assert_eq!(seen, 0);
}
