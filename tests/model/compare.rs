//! Compares a keystore with its model: every field of every key, every alias, and with `all` every version and tag.

use super::keystore::TestKeystore;
use super::reference::Rotation;
use super::rules::State;

/// Reports the first difference.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, keystore: T, model: T) -> Result<(), String> {
    if keystore == model {
        return Ok(());
    }
    Err(format!("{what}: the keystore says\n    {keystore:?}\n  and the model\n    {model:?}"))
}

fn state(state: kms::KeyState) -> State {
    match state {
        kms::KeyState::Enabled => State::Enabled,
        kms::KeyState::Disabled => State::Disabled,
        kms::KeyState::PendingDeletion => State::PendingDeletion,
        kms::KeyState::PendingImport => State::PendingImport,
    }
}

fn rotation(rotation: kms::Rotation) -> Rotation {
    match rotation {
        kms::Rotation::Disabled => Rotation::Disabled,
        kms::Rotation::Enabled => Rotation::Enabled,
        kms::Rotation::Suspended => Rotation::Suspended,
    }
}

/// Compares, and records the ids of new versions.
pub fn compare(keystore: &mut TestKeystore, all: bool) -> Result<(), String> {
    let ids: Vec<String> = keystore.model.keys.keys().cloned().collect();
    for id in &ids {
        let shown = keystore.kms().describe_key(id).map_err(|error| format!("DescribeKey {id}: {error}"))?;
        compare_fields(keystore, id, &shown)?;
        learn_versions(keystore, id, shown.primary)?;
        if all {
            compare_versions(keystore, id)?;
            let tags: Vec<_> = keystore.model.keys[id].tags.clone().into_iter().collect();
            let shown = keystore.kms().list_resource_tags(id).map_err(|error| format!("tags of {id}: {error}"))?;
            same("tags", shown, tags)?;
        }
    }
    // What is listed changes with these two, or not at all.
    let names = (ids, keystore.model.aliases.clone());
    if all || names != keystore.listed {
        compare_lists(keystore, &names.0)?;
        keystore.listed = names;
    }
    Ok(())
}

fn compare_fields(keystore: &TestKeystore, id: &str, shown: &kms::Key) -> Result<(), String> {
    let (rules, now) = (&keystore.model.rules, keystore.now());
    let key = &keystore.model.keys[id];
    let millis = |time: Option<kms::Time>| time.map(kms::Time::millis);
    same("KeyId", shown.id.to_string(), id.to_owned())?;
    same("KeyState", state(shown.state), key.state_at(now, rules))?;
    same("Origin EXTERNAL", shown.origin == kms::Origin::External, key.external)?;
    same("service-managed", shown.creator == kms::Creator::Service, key.service)?;
    same("Description", shown.description.as_str(), key.description.as_str())?;
    same("CreationDate", shown.created.millis(), key.created)?;
    same("number of versions", shown.version_count(), key.versions.len() as u64)?;
    same("PrimaryKeyVersion's number", shown.primary.map_or(0, |primary| primary.number), key.versions.len() as u64)?;
    same("LastRotationDate", millis(shown.last_rotation()), key.last_rotation())?;
    same("AutomaticRotation", rotation(shown.automatic_rotation()), key.automatic_rotation(now, rules))?;
    same("RotationInterval", shown.policy.map(kms::Interval::seconds), key.policy)?;
    same("NextRotationDate", millis(shown.next_rotation()), key.next_rotation(now))?;
    same("DeleteDate", millis(shown.delete_date()), key.deletion.as_ref().map(|deletion| deletion.date))?;
    same("DeletionProtection", shown.protection.as_deref(), key.protection.as_deref())?;
    same("MaterialExpireTime", millis(shown.material_expires()), key.expiry())
}

fn learn_versions(keystore: &mut TestKeystore, id: &str, primary: Option<kms::Version>) -> Result<(), String> {
    let known = &keystore.model.keys[id].versions;
    let primary_id = primary.map(|version| version.id.to_string());
    if let Some(known) = known.last().and_then(|version| version.id.clone()) {
        return same("PrimaryKeyVersion", primary_id, Some(known));
    }
    let mut shown = Vec::new();
    let list = keystore.kms().list_key_versions(id, None, usize::MAX, |version, _| {
        shown.push((version.number as usize, version.id.to_string()));
        true
    });
    list.map_err(|error| format!("ListKeyVersions {id}: {error}"))?;
    for (number, version) in shown.into_iter().rev() {
        let key = keystore.model.keys.get_mut(id).unwrap();
        let Some(known) = key.versions.get_mut(number - 1) else {
            return Err(format!("key {id} has a version {number} that the model doesn't"));
        };
        match &known.id {
            Some(known) => same("a version's id", version, known.clone())?,
            None if keystore.versions.insert(version.clone()) => known.id = Some(version),
            None => return Err(format!("the version id {version} was used twice")),
        }
    }
    Ok(())
}

fn compare_versions(keystore: &TestKeystore, id: &str) -> Result<(), String> {
    let mut shown = Vec::new();
    let list = keystore.kms().list_key_versions(id, None, usize::MAX, |version, is_primary| {
        shown.push((version.number as usize, version.created.millis(), Some(version.id.to_string()), is_primary));
        true
    });
    list.map_err(|error| format!("ListKeyVersions {id}: {error}"))?;
    let versions = &keystore.model.keys[id].versions;
    let expected = versions
        .iter()
        .enumerate()
        .rev()
        .map(|(place, version)| (place + 1, version.created, version.id.clone(), place + 1 == versions.len()));
    same("versions", shown, expected.collect())
}

fn compare_lists(keystore: &TestKeystore, ids: &[String]) -> Result<(), String> {
    let mut listed = Vec::new();
    let list = keystore.kms().list_keys(None, usize::MAX, |key| {
        listed.push((key.id.to_string(), state(key.state)));
        true
    });
    list.map_err(|error| format!("ListKeys: {error}"))?;
    let (model, now) = (&keystore.model, keystore.now());
    let expected = ids.iter().map(|id| (id.clone(), model.keys[id].state_at(now, &model.rules)));
    same("keys", listed, expected.collect())?;
    let mut aliases = Vec::new();
    let list = keystore.kms().list_aliases(None, None, usize::MAX, |alias, key| {
        aliases.push((alias.to_owned(), key.to_string()));
        true
    });
    list.map_err(|error| format!("ListAliases: {error}"))?;
    same("aliases", aliases, model.aliases.clone().into_iter().collect())
}
