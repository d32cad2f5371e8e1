//! Objects: finding them, reading and changing their attributes, making and destroying them.
//!
//! A token object is a customer master key or, where the configuration says so, one version of it. Keys that wait for their destruction are hidden: for PKCS#11 they are gone,
//! and cancelling the deletion brings them back.

use std::collections::VecDeque;
use std::sync::Arc;

use cryptoki_sys::*;
use kms::internal::fill_random;
use kms::{CreateKey, Interval, Key, KeyId, KeyState, KeyVersion, Keystore, Status, VersionId, VersionState};
use zeroize::Zeroizing;

use crate::attribute::{Made, SessionObject, Template, TokenKey, check_new};
use crate::fail::{Fail, Result};
use crate::search::{Search, Unread};
use crate::state::{self, Access, Object, TokenId};

const ALIAS: &str = "alias/";
/// Keys that one step of a search reads.
const PAGE: usize = 256;

fn token_key(keystore: &Keystore, key: Key, private: bool, with_names: bool) -> Result<TokenKey> {
    let mut names = Vec::new();
    if with_names {
        for alias in keystore.aliases_of(key.id) {
            let alias = alias?;
            names.push(alias.strip_prefix(ALIAS).unwrap_or(&alias).to_owned());
        }
    }
    Ok(TokenKey { key, version: None, names, private })
}

/// The versions of a key that are objects: those that were not destroyed, newest first.
fn versions_of(keystore: &Keystore, key: KeyId) -> Result<Vec<KeyVersion>> {
    let mut found = Vec::new();
    for version in keystore.key_versions(key) {
        let version = version?;
        if version.state != VersionState::Destroyed {
            found.push(version);
        }
    }
    Ok(found)
}

/// The key and the version of this id. A keystore finds versions by their key alone, so all keys are searched.
fn version_by_id(keystore: &Keystore, id: VersionId) -> Result<Option<(Key, KeyVersion)>> {
    for key in keystore.keys() {
        let key = key?;
        if key.state != KeyState::PendingDeletion
            && let Some(version) = versions_of(keystore, key.id)?.into_iter().find(|version| version.id == id)
        {
            return Ok(Some((key, version)));
        }
    }
    Ok(None)
}

/// The key and the version that a label names: that of the key, `@` and the number.
fn version_by_label(keystore: &Keystore, label: &[u8]) -> Result<Option<(Key, KeyVersion)>> {
    let Some((name, number)) = str::from_utf8(label).ok().and_then(|label| label.rsplit_once('@')) else {
        return Ok(None);
    };
    let (Ok(number), Some(key)) = (number.parse::<u64>(), by_label(keystore, name.as_bytes())?) else {
        return Ok(None);
    };
    let mut versions = versions_of(keystore, key.id)?.into_iter();
    Ok(versions.find(|version| version.number == number).map(|version| (key, version)))
}

/// The key with this label: an alias without its prefix, or an id.
fn by_label(keystore: &Keystore, label: &[u8]) -> Result<Option<Key>> {
    let Ok(label) = str::from_utf8(label) else { return Ok(None) };
    let found = match KeyId::parse(label) {
        Some(id) => keystore.describe_key(id),
        None => keystore.describe_key(&format!("{ALIAS}{label}")),
    };
    visible(found)
}

/// A key that exists and does not wait for its destruction.
fn visible(found: kms::Result<Key>) -> Result<Option<Key>> {
    match found {
        Ok(key) if key.state == KeyState::PendingDeletion => Ok(None),
        Ok(key) => Ok(Some(key)),
        Err(error) => match error.status() {
            Status::KeyNotFound | Status::AliasNotFound | Status::InvalidArgument => Ok(None),
            _ => Err(error.into()),
        },
    }
}

pub fn find_init(session: CK_SESSION_HANDLE, template: Template) -> Result<()> {
    let (access, keys) = state::with(|state| {
        let access = state.access(session)?;
        if state.session(session)?.search.is_some() {
            return Err(Fail(CKR_OPERATION_ACTIVE));
        }
        Ok((access.clone(), state.session_objects(access.slot)))
    })?;
    let template = Arc::new(template);
    let mut found: VecDeque<_> =
        keys.iter().filter(|(_, key)| key.matches(&template)).map(|(handle, _)| *handle).collect();
    let mut rest = None;
    if let Some(keystore) = access.keystore
        && may_be_token(&template)
    {
        let (id, label) = (template.get(CKA_ID), template.get(CKA_LABEL));
        match (id.is_some() || label.is_some(), named(&keystore, id, label, access.versions)?) {
            (true, Some((key, version))) => {
                let token = TokenId { key: key.id, version: version.as_ref().map(|version| version.id) };
                let shown = TokenKey { version, ..token_key(&keystore, key, access.needs_pin, label.is_some())? };
                if shown.matches(&template) {
                    found.push_back(state::with(|state| state.token_handle(access.slot, token))?);
                }
            }
            (true, None) => {}
            (false, _) => {
                rest = Some(Unread { keystore, after: None, private: access.needs_pin, versions: access.versions })
            }
        }
    }
    let search = Search { slot: access.slot, template, found, rest };
    state::with(|state| {
        state.session(session)?.search = Some(search);
        Ok(())
    })
}

/// The key, or the version, that an id or a label names.
fn named(
    keystore: &Keystore,
    id: Option<&[u8]>,
    label: Option<&[u8]>,
    versions: bool,
) -> Result<Option<(Key, Option<KeyVersion>)>> {
    let key = match (id, label) {
        (Some(id), _) => match id.try_into() {
            Ok(id) => visible(keystore.describe_key(KeyId::from_bytes(id)))?,
            Err(_) => return Ok(None),
        },
        (None, Some(label)) => by_label(keystore, label)?,
        (None, None) => return Ok(None),
    };
    let version = match (key, id.and_then(|id| id.try_into().ok()), label) {
        (Some(key), ..) => return Ok(Some((key, None))),
        (None, ..) if !versions => None,
        (None, _, Some(label)) => version_by_label(keystore, label)?,
        (None, Some(id), None) => version_by_id(keystore, VersionId::from_bytes(id))?,
        (None, None, None) => None,
    };
    Ok(version.map(|(key, version)| (key, Some(version))))
}

/// Whether a token object can have these attributes, before any key is read.
fn may_be_token(template: &Template) -> bool {
    let differs = |kind, value: &[u8]| template.get(kind).is_some_and(|wanted| wanted != value);
    !differs(CKA_CLASS, &CKO_SECRET_KEY.to_ne_bytes())
        && !differs(CKA_TOKEN, &[CK_TRUE])
        && !differs(CKA_KEY_TYPE, &CKK_AES.to_ne_bytes())
}

/// At most `most` further objects of the search.
pub fn find(session: CK_SESSION_HANDLE, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
    let mut search =
        state::with(|state| state.session(session)?.search.take().ok_or(Fail(CKR_OPERATION_NOT_INITIALIZED)))?;
    while search.found.len() < most
        && let Some(mut unread) = search.rest.take()
    {
        let mut page = Vec::new();
        let after = unread.after.map(|id| id.to_string());
        unread.keystore.list_keys(after.as_deref(), PAGE, |key| {
            page.push(key.clone());
            true
        })?;
        for key in page.iter().filter(|key| key.state != KeyState::PendingDeletion) {
            let versions = if unread.versions { versions_of(&unread.keystore, key.id)? } else { Vec::new() };
            for version in std::iter::once(None).chain(versions.into_iter().map(Some)) {
                let token = TokenId { key: key.id, version: version.as_ref().map(|version| version.id) };
                let shown = TokenKey { version, ..token_key(&unread.keystore, key.clone(), unread.private, false)? };
                if shown.matches(&search.template) {
                    search.found.push_back(state::with(|state| state.token_handle(search.slot, token))?);
                }
            }
        }
        if page.len() == PAGE {
            unread.after = page.last().map(|last| last.id);
            search.rest = Some(unread);
        }
    }
    let shown: Vec<_> = search.found.drain(..search.found.len().min(most)).collect();
    state::with(|state| {
        state.session(session)?.search = Some(search);
        Ok(shown)
    })
}

pub fn find_final(session: CK_SESSION_HANDLE) -> Result<()> {
    let ended = state::with(|state| state.session(session)?.search.take().ok_or(Fail(CKR_OPERATION_NOT_INITIALIZED)))?;
    drop(ended);
    Ok(())
}

/// An object whose attributes can be read.
pub enum Shown {
    Token(Box<TokenKey>),
    Session(Arc<SessionObject>),
}

impl Shown {
    pub fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>> {
        match self {
            Self::Token(key) => key.attribute(kind),
            Self::Session(key) => key.attribute(kind),
        }
    }
}

fn look_up(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<(Access, Object)> {
    state::with(|state| {
        let access = state.access(session)?;
        let object = state.object(access.slot, object).ok_or(Fail(CKR_OBJECT_HANDLE_INVALID))?.clone();
        Ok((access, object))
    })
}

/// The object of a handle; its names only where they are asked for, because they are read from the keystore.
pub fn show(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, with_names: bool) -> Result<Shown> {
    let (access, object) = look_up(session, object)?;
    match object {
        Object::Session { key, .. } => Ok(Shown::Session(key)),
        Object::Token { token, .. } => {
            let keystore = access.keystore.ok_or(Fail(CKR_OBJECT_HANDLE_INVALID))?;
            let key = keystore.describe_key(token.key).map_err(of_object)?;
            let version = match token.version {
                Some(id) => Some(keystore.describe_key_version(token.key, &id.to_string()).map_err(of_object)?),
                None => None,
            };
            let shown = token_key(&keystore, key, access.needs_pin, with_names)?;
            Ok(Shown::Token(Box::new(TokenKey { version, ..shown })))
        }
    }
}

fn of_object(error: kms::Error) -> Fail {
    match error.status() {
        Status::KeyNotFound | Status::KeyVersionNotFound => Fail(CKR_OBJECT_HANDLE_INVALID),
        _ => error.into(),
    }
}

pub fn change(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: &Template) -> Result<()> {
    let (_, found) = look_up(session, object)?;
    match found {
        Object::Token { .. } => Err(Fail(CKR_ACTION_PROHIBITED)),
        Object::Session { key, .. } => {
            let changed = key.changed(template)?;
            state::with(|state| {
                state.put_session_object(object, changed);
                Ok(())
            })
        }
    }
}

/// C_CopyObject: another session key with the same value. A customer master key has no copy that would rotate with it.
pub fn copy(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: &Template) -> Result<CK_OBJECT_HANDLE> {
    let (_, found) = look_up(session, object)?;
    match found {
        Object::Token { .. } => Err(Fail(CKR_ACTION_PROHIBITED)),
        Object::Session { key, .. } => {
            let copied = key.copied(template)?;
            state::with(|state| state.add_session_object(session, copied))
        }
    }
}

/// C_GenerateKey: a customer master key with CKA_TOKEN, otherwise a session key.
pub fn generate(session: CK_SESSION_HANDLE, kind: CK_MECHANISM_TYPE, template: &Template) -> Result<CK_OBJECT_HANDLE> {
    let access = state::with(|state| state.access(session))?;
    check_new(template)?;
    if template.get(CKA_VALUE).is_some() {
        return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
    }
    let made = match kind {
        CKM_AES_KEY_GEN => CKK_AES,
        CKM_GENERIC_SECRET_KEY_GEN => CKK_GENERIC_SECRET,
        _ => return Err(Fail(CKR_MECHANISM_INVALID)),
    };
    if template.number(CKA_KEY_TYPE)?.is_some_and(|kind| kind != made) {
        return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
    }
    let len = template.number(CKA_VALUE_LEN)?;
    if template.flag(CKA_TOKEN)? == Some(true) {
        if made != CKK_AES {
            return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
        }
        return match len {
            Some(32) => create_master_key(&access, template),
            Some(_) => Err(Fail(CKR_KEY_SIZE_RANGE)),
            None => Err(Fail(CKR_TEMPLATE_INCOMPLETE)),
        };
    }
    let len = usize::try_from(len.ok_or(Fail(CKR_TEMPLATE_INCOMPLETE))?).map_err(|_| Fail(CKR_KEY_SIZE_RANGE))?;
    if !(1..=4096).contains(&len) {
        return Err(Fail(CKR_KEY_SIZE_RANGE));
    }
    let mut value = Zeroizing::new(vec![0; len]);
    fill_random(&mut value)?;
    let mut template_with_type = Template::default();
    for (kind, value) in template.all() {
        template_with_type.push(kind, value.to_vec())?;
    }
    template_with_type.push(CKA_KEY_TYPE, made.to_ne_bytes().to_vec())?;
    let key = SessionObject::new(value, &template_with_type, Made::Generated)?;
    state::with(|state| state.add_session_object(session, key))
}

fn create_master_key(access: &Access, template: &Template) -> Result<CK_OBJECT_HANDLE> {
    if !access.writable {
        return Err(Fail(CKR_SESSION_READ_ONLY));
    }
    let keystore = access.keystore.as_ref().ok_or(Fail(CKR_USER_NOT_LOGGED_IN))?;
    // A customer master key never leaves the library, and its id is the library's. One that need not be sensitive is
    // sensitive nevertheless: pkcs11-tool asks for that by default.
    if template.flag(CKA_EXTRACTABLE)? == Some(true) {
        return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
    }
    if template.get(CKA_ID).is_some_and(|id| !id.is_empty()) {
        return Err(Fail(CKR_ATTRIBUTE_READ_ONLY));
    }
    let alias = match template.get(CKA_LABEL) {
        None | Some([]) => None,
        Some(label) => {
            let label = str::from_utf8(label).map_err(|_| Fail(CKR_ATTRIBUTE_VALUE_INVALID))?;
            Some(format!("{ALIAS}{label}"))
        }
    };
    let before = match &alias {
        Some(alias) => match keystore.describe_key(alias) {
            Ok(key) if key.state == KeyState::PendingDeletion => Some(key),
            // Two keys with one label could not be distinguished.
            Ok(_) => return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)),
            Err(error) if error.status() == Status::AliasNotFound => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let interval = state::with(|state| Ok(state.slot(access.slot as CK_SLOT_ID)?.config.rotate_every.clone()))?;
    let rotate_every = interval.as_deref().map(Interval::parse).transpose()?;
    let id = keystore.create_key(&CreateKey { rotate_every, ..CreateKey::default() })?;
    if let Some(alias) = &alias {
        // The name of a key that is being destroyed passes to its successor.
        let named = match before {
            Some(_) => keystore.update_alias(id, alias),
            None => keystore.create_alias(id, alias),
        };
        if let Err(error) = named {
            // Another process took the name meanwhile.
            keystore.schedule_key_deletion(id, 7)?;
            return Err(error.into());
        }
    }
    state::with(|state| state.token_handle(access.slot, TokenId { key: id, version: None }))
}

/// C_CreateObject: a session key or session data, from a value that the caller has.
pub fn create(session: CK_SESSION_HANDLE, template: &Template) -> Result<CK_OBJECT_HANDLE> {
    state::with(|state| state.access(session))?;
    let incomplete = Fail(CKR_TEMPLATE_INCOMPLETE);
    match template.number(CKA_CLASS)?.ok_or(incomplete)? {
        CKO_SECRET_KEY => {}
        CKO_DATA => {
            let data = SessionObject::data(template)?;
            return state::with(|state| {
                // Private data needs a login, even where the keys need none.
                if data.is(CKA_PRIVATE) && !state.slot_of(session)?.logged_in {
                    return Err(Fail(CKR_USER_NOT_LOGGED_IN));
                }
                state.add_session_object(session, data)
            });
        }
        _ => return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)),
    }
    if !matches!(template.number(CKA_KEY_TYPE)?.ok_or(incomplete)?, CKK_AES | CKK_GENERIC_SECRET) {
        return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID));
    }
    let value = Zeroizing::new(template.get(CKA_VALUE).ok_or(Fail(CKR_TEMPLATE_INCOMPLETE))?.to_vec());
    keep(session, value, template, Made::Created)
}

/// A session key of this value. A token object has no value that a caller knows.
pub fn keep(
    session: CK_SESSION_HANDLE,
    value: Zeroizing<Vec<u8>>,
    template: &Template,
    made: Made,
) -> Result<CK_OBJECT_HANDLE> {
    check_new(template)?;
    if template.flag(CKA_TOKEN)? == Some(true) {
        return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
    }
    if template.number(CKA_VALUE_LEN)?.is_some_and(|len| len != value.len() as CK_ULONG) {
        return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
    }
    let key = SessionObject::new(value, template, made)?;
    state::with(|state| state.add_session_object(session, key))
}

/// C_DestroyObject: a session key is gone; a customer master key is destroyed after its waiting period.
pub fn destroy(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<()> {
    let (access, found) = look_up(session, object)?;
    if let Object::Token { token: TokenId { key, version }, .. } = &found {
        let key = *key;
        if version.is_some() {
            return Err(Fail(CKR_ACTION_PROHIBITED));
        }
        if !access.writable {
            return Err(Fail(CKR_SESSION_READ_ONLY));
        }
        let keystore = access.keystore.ok_or(Fail(CKR_OBJECT_HANDLE_INVALID))?;
        let days = state::with(|state| Ok(state.slot_of(session)?.config.deletion_days))?;
        keystore.schedule_key_deletion(key, days).map_err(of_object)?;
    }
    if let Object::Session { key, .. } = &found
        && !key.is(CKA_DESTROYABLE)
    {
        return Err(Fail(CKR_ACTION_PROHIBITED));
    }
    state::with(|state| {
        state.remove_object(object);
        Ok(())
    })
}
