//! Templates that callers pass, and the attributes of token objects and session objects.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use kms::{Key, KeyVersion, Origin};
use zeroize::Zeroizing;

use crate::fail::{Fail, Result};

/// An attribute as C writes it: a byte for a boolean, the bytes of a CK_ULONG for a number.
pub fn flag(value: bool) -> Vec<u8> {
    vec![CK_BBOOL::from(value)]
}

pub fn number(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// The attributes that a caller passed, in their order.
#[derive(Default)]
pub struct Template(Vec<(CK_ATTRIBUTE_TYPE, Zeroizing<Vec<u8>>)>);

impl Template {
    /// CKR_TEMPLATE_INCONSISTENT for an attribute that is present with another value.
    pub fn push(&mut self, kind: CK_ATTRIBUTE_TYPE, value: Vec<u8>) -> Result<()> {
        let value = Zeroizing::new(value);
        match self.get(kind) {
            Some(before) if before != value.as_slice() => Err(Fail(CKR_TEMPLATE_INCONSISTENT)),
            Some(_) => Ok(()),
            None => {
                self.0.push((kind, value));
                Ok(())
            }
        }
    }

    pub fn get(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, value)| value.as_slice())
    }

    pub fn all(&self) -> impl Iterator<Item = (CK_ATTRIBUTE_TYPE, &[u8])> {
        self.0.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// A boolean; CKR_ATTRIBUTE_VALUE_INVALID for something else.
    pub fn flag(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Option<bool>> {
        match self.get(kind) {
            None => Ok(None),
            Some([CK_FALSE]) => Ok(Some(false)),
            Some([CK_TRUE]) => Ok(Some(true)),
            Some(_) => Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)),
        }
    }

    /// A number; CKR_ATTRIBUTE_VALUE_INVALID for something else.
    pub fn number(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Option<CK_ULONG>> {
        match self.get(kind) {
            None => Ok(None),
            Some(value) => match value.try_into() {
                Ok(bytes) => Ok(Some(CK_ULONG::from_ne_bytes(bytes))),
                Err(_) => Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)),
            },
        }
    }
}

/// Attributes that a secret key has, and a caller may pass. CKA_VALUE is kept apart.
const BOOLEANS: &[(CK_ATTRIBUTE_TYPE, bool)] = &[
    (CKA_PRIVATE, false),
    (CKA_MODIFIABLE, true),
    (CKA_COPYABLE, true),
    (CKA_DESTROYABLE, true),
    (CKA_SENSITIVE, false),
    (CKA_EXTRACTABLE, true),
    (CKA_ENCRYPT, true),
    (CKA_DECRYPT, true),
    (CKA_WRAP, true),
    (CKA_UNWRAP, true),
    (CKA_SIGN, false),
    (CKA_VERIFY, false),
    (CKA_DERIVE, false),
    (CKA_WRAP_WITH_TRUSTED, false),
    (CKA_TRUSTED, false),
];
const BYTES: &[CK_ATTRIBUTE_TYPE] = &[CKA_LABEL, CKA_ID, CKA_START_DATE, CKA_END_DATE];
/// Attributes that the module sets itself.
const SET_BY_MODULE: &[CK_ATTRIBUTE_TYPE] =
    &[CKA_LOCAL, CKA_KEY_GEN_MECHANISM, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_CHECK_VALUE, CKA_UNIQUE_ID];
/// Attributes that some programs set on every key. An attribute that restricts a key is refused instead of ignored.
const IGNORED: &[CK_ATTRIBUTE_TYPE] = &[CKA_SIGN_RECOVER, CKA_VERIFY_RECOVER];
/// Attributes that a data object has besides, and a caller may pass.
const DATA_BOOLEANS: &[CK_ATTRIBUTE_TYPE] = &[CKA_PRIVATE, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE];
const DATA_BYTES: &[CK_ATTRIBUTE_TYPE] = &[CKA_LABEL, CKA_APPLICATION, CKA_OBJECT_ID];
/// The longest label or id of a session object.
const MOST_BYTES: usize = 4096;

/// A secret key or a data object that lives in a session: its value and its attributes.
#[derive(Clone)]
pub struct SessionObject {
    pub value: Zeroizing<Vec<u8>>,
    attributes: BTreeMap<CK_ATTRIBUTE_TYPE, Vec<u8>>,
}

/// How a session key came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Made {
    Generated,
    Unwrapped,
    Created,
}

/// Checks what a template for a new secret key may hold, and that each attribute has a valid value.
pub fn check_new(template: &Template) -> Result<()> {
    if template.number(CKA_CLASS)?.is_some_and(|class| class != CKO_SECRET_KEY) {
        return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
    }
    template.flag(CKA_TOKEN)?;
    template.number(CKA_KEY_TYPE)?;
    template.number(CKA_VALUE_LEN)?;
    for (kind, value) in template.all() {
        match kind {
            CKA_CLASS | CKA_TOKEN | CKA_KEY_TYPE | CKA_VALUE_LEN | CKA_VALUE => {}
            kind if BOOLEANS.iter().any(|(known, _)| *known == kind) => drop(template.flag(kind)?),
            kind if BYTES.contains(&kind) && value.len() <= MOST_BYTES => {}
            kind if BYTES.contains(&kind) => return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)),
            kind if IGNORED.contains(&kind) => {}
            kind if SET_BY_MODULE.contains(&kind) => return Err(Fail(CKR_ATTRIBUTE_READ_ONLY)),
            _ => return Err(Fail(CKR_ATTRIBUTE_TYPE_INVALID)),
        }
    }
    if template.flag(CKA_TRUSTED)? == Some(true) {
        return Err(Fail(CKR_ATTRIBUTE_READ_ONLY));
    }
    Ok(())
}

impl SessionObject {
    /// `template` was checked by [`check_new`].
    pub fn new(value: Zeroizing<Vec<u8>>, template: &Template, made: Made) -> Result<Self> {
        let kind = template.number(CKA_KEY_TYPE)?.unwrap_or(CKK_AES);
        match (kind, value.len()) {
            (CKK_AES, 16 | 24 | 32) => {}
            (CKK_GENERIC_SECRET, 1..=MOST_BYTES) => {}
            (CKK_AES | CKK_GENERIC_SECRET, _) if made == Made::Generated => return Err(Fail(CKR_KEY_SIZE_RANGE)),
            (CKK_AES | CKK_GENERIC_SECRET, _) => return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)),
            _ => return Err(Fail(CKR_TEMPLATE_INCONSISTENT)),
        }
        let mut attributes = BTreeMap::new();
        for (kind, default) in BOOLEANS {
            attributes.insert(*kind, flag(template.flag(*kind)?.unwrap_or(*default)));
        }
        for kind in BYTES {
            attributes.insert(*kind, template.get(*kind).unwrap_or_default().to_vec());
        }
        let is = |kind: CK_ATTRIBUTE_TYPE| attributes.get(&kind).is_some_and(|value| value == &[CK_TRUE]);
        let generated = made == Made::Generated;
        let by_module = [
            (CKA_CLASS, number(CKO_SECRET_KEY)),
            (CKA_TOKEN, flag(false)),
            (CKA_KEY_TYPE, number(kind)),
            (CKA_VALUE_LEN, number(value.len() as CK_ULONG)),
            (CKA_LOCAL, flag(generated)),
            (CKA_ALWAYS_SENSITIVE, flag(generated && is(CKA_SENSITIVE))),
            (CKA_NEVER_EXTRACTABLE, flag(generated && !is(CKA_EXTRACTABLE))),
            (CKA_KEY_GEN_MECHANISM, number(if generated { CKM_AES_KEY_GEN } else { CK_UNAVAILABLE })),
        ];
        attributes.extend(by_module);
        Ok(Self { value, attributes })
    }

    /// A data object, which no function of the module uses.
    pub fn data(template: &Template) -> Result<Self> {
        let mut attributes = BTreeMap::from([(CKA_CLASS, number(CKO_DATA)), (CKA_TOKEN, flag(false))]);
        for (kind, default) in BOOLEANS.iter().filter(|(kind, _)| DATA_BOOLEANS.contains(kind)) {
            attributes.insert(*kind, flag(template.flag(*kind)?.unwrap_or(*default)));
        }
        for kind in DATA_BYTES {
            attributes.insert(*kind, template.get(*kind).unwrap_or_default().to_vec());
        }
        for (kind, value) in template.all() {
            match kind {
                CKA_VALUE => {}
                CKA_UNIQUE_ID => return Err(Fail(CKR_ATTRIBUTE_READ_ONLY)),
                kind if !attributes.contains_key(&kind) => return Err(Fail(CKR_ATTRIBUTE_TYPE_INVALID)),
                kind if DATA_BYTES.contains(&kind) && value.len() > MOST_BYTES => {
                    return Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID));
                }
                _ => {}
            }
        }
        // A keystore stores keys alone.
        if template.flag(CKA_TOKEN)? == Some(true) {
            return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
        }
        Ok(Self { value: Zeroizing::new(template.get(CKA_VALUE).unwrap_or_default().to_vec()), attributes })
    }

    pub fn is_key(&self) -> bool {
        self.attributes.contains_key(&CKA_KEY_TYPE)
    }

    pub fn is(&self, kind: CK_ATTRIBUTE_TYPE) -> bool {
        self.attributes.get(&kind).is_some_and(|value| value == &[CK_TRUE])
    }

    pub fn key_type(&self) -> CK_KEY_TYPE {
        let bytes = self.attributes.get(&CKA_KEY_TYPE).and_then(|value| value.as_slice().try_into().ok());
        bytes.map_or(CK_UNAVAILABLE, CK_KEY_TYPE::from_ne_bytes)
    }

    pub fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>> {
        match kind {
            CKA_VALUE if self.is_key() && (self.is(CKA_SENSITIVE) || !self.is(CKA_EXTRACTABLE)) => {
                Err(Fail(CKR_ATTRIBUTE_SENSITIVE))
            }
            CKA_VALUE => Ok(self.value.to_vec()),
            kind => self.attributes.get(&kind).cloned().ok_or(Fail(CKR_ATTRIBUTE_TYPE_INVALID)),
        }
    }

    /// The object with changed attributes: a label, an id, or more protection; the value of data.
    pub fn changed(&self, template: &Template) -> Result<Self> {
        match self.is(CKA_MODIFIABLE) {
            true => self.with(template),
            false => Err(Fail(CKR_ACTION_PROHIBITED)),
        }
    }

    /// A copy, which may differ in the same attributes.
    pub fn copied(&self, template: &Template) -> Result<Self> {
        if !self.is(CKA_COPYABLE) {
            return Err(Fail(CKR_ACTION_PROHIBITED));
        }
        // A token object has no value that a caller knows.
        if template.flag(CKA_TOKEN)? == Some(true) {
            return Err(Fail(CKR_TEMPLATE_INCONSISTENT));
        }
        self.with(template)
    }

    fn with(&self, template: &Template) -> Result<Self> {
        let mut changed = self.clone();
        for (kind, value) in template.all() {
            let before = self.attributes.get(&kind);
            match kind {
                CKA_LABEL => check_len(value)?,
                CKA_ID | CKA_START_DATE | CKA_END_DATE if self.is_key() => check_len(value)?,
                CKA_APPLICATION | CKA_OBJECT_ID if !self.is_key() => check_len(value)?,
                CKA_VALUE if !self.is_key() => {
                    changed.value = Zeroizing::new(value.to_vec());
                    continue;
                }
                CKA_SENSITIVE if self.is_key() && template.flag(kind)? == Some(true) => {}
                CKA_EXTRACTABLE if self.is_key() && template.flag(kind)? == Some(false) => {}
                CKA_COPYABLE | CKA_MODIFIABLE if template.flag(kind)? == Some(false) => {}
                // What a key that may not be changed must not do, its copy must not do either.
                CKA_ENCRYPT | CKA_DECRYPT | CKA_WRAP | CKA_UNWRAP
                    if self.is_key() && (self.is(CKA_MODIFIABLE) || template.flag(kind)? == Some(false)) =>
                {
                    let _ = template.flag(kind)?;
                }
                kind if SET_BY_MODULE.contains(&kind) => return Err(Fail(CKR_ATTRIBUTE_READ_ONLY)),
                _ if before.is_some_and(|before| before == value) => {}
                CKA_VALUE => return Err(Fail(CKR_ATTRIBUTE_READ_ONLY)),
                _ if before.is_some() => return Err(Fail(CKR_ATTRIBUTE_READ_ONLY)),
                _ => return Err(Fail(CKR_ATTRIBUTE_TYPE_INVALID)),
            }
            changed.attributes.insert(kind, value.to_vec());
        }
        Ok(changed)
    }
}

fn check_len(value: &[u8]) -> Result<()> {
    if value.len() > MOST_BYTES { Err(Fail(CKR_ATTRIBUTE_VALUE_INVALID)) } else { Ok(()) }
}

/// A CK_DATE, such as `20261129`, of a time in UTC; empty for one that has no four digits of a year.
fn date(millis: i64) -> Vec<u8> {
    // Days since 0000-03-01, so that a leap day ends a year; 146,097 days make 400 years.
    let days = millis.div_euclid(86_400_000) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    match year {
        0..=9999 => format!("{year:04}{month:02}{day:02}").into_bytes(),
        _ => Vec::new(),
    }
}

/// CK_UNAVAILABLE_INFORMATION.
pub const CK_UNAVAILABLE: CK_ULONG = CK_ULONG::MAX;

/// What a token object shows: the key, and its names with the one that is its label first. With a version, the object is that
/// version, and its names end with `@` and the number.
pub struct TokenKey {
    pub key: Key,
    pub version: Option<KeyVersion>,
    pub names: Vec<String>,
    pub private: bool,
}

impl TokenKey {
    fn label(&self) -> Vec<u8> {
        let name = self.names.first().map_or_else(|| self.key.id.to_string(), Clone::clone);
        self.numbered(name).into_bytes()
    }

    fn numbered(&self, name: String) -> String {
        match &self.version {
            Some(version) => format!("{name}@{}", version.number),
            None => name,
        }
    }

    pub fn attribute(&self, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>> {
        Ok(match kind {
            CKA_CLASS => number(CKO_SECRET_KEY),
            CKA_KEY_TYPE => number(CKK_AES),
            CKA_VALUE_LEN => number(32),
            CKA_ID => match &self.version {
                Some(version) => version.id.as_bytes().to_vec(),
                None => self.key.id.as_bytes().to_vec(),
            },
            CKA_UNIQUE_ID => match &self.version {
                Some(version) => version.id.to_string().into_bytes(),
                None => self.key.id.to_string().into_bytes(),
            },
            CKA_LABEL => self.label(),
            CKA_PRIVATE => flag(self.private),
            CKA_TOKEN | CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE => flag(true),
            CKA_DECRYPT | CKA_UNWRAP => flag(true),
            CKA_DESTROYABLE | CKA_ENCRYPT | CKA_WRAP => flag(self.version.is_none()),
            CKA_LOCAL => flag(self.key.origin == Origin::Kms),
            CKA_EXTRACTABLE | CKA_MODIFIABLE | CKA_COPYABLE | CKA_SIGN | CKA_VERIFY | CKA_DERIVE => flag(false),
            CKA_TRUSTED | CKA_WRAP_WITH_TRUSTED => flag(false),
            CKA_KEY_GEN_MECHANISM if self.key.origin == Origin::Kms => number(CKM_AES_KEY_GEN),
            CKA_KEY_GEN_MECHANISM => number(CK_UNAVAILABLE),
            CKA_START_DATE => self.version.as_ref().map_or_else(Vec::new, |version| date(version.created.millis())),
            CKA_END_DATE => Vec::new(),
            CKA_VALUE => return Err(Fail(CKR_ATTRIBUTE_SENSITIVE)),
            _ => return Err(Fail(CKR_ATTRIBUTE_TYPE_INVALID)),
        })
    }

    /// Whether the object has each attribute of the template. Any of its names counts as its label.
    pub fn matches(&self, template: &Template) -> bool {
        template.all().all(|(kind, value)| match kind {
            CKA_LABEL => {
                let id = self.key.id.to_string();
                self.names.iter().chain([&id]).any(|name| self.numbered(name.clone()).as_bytes() == value)
            }
            kind => self.attribute(kind).is_ok_and(|own| own == value),
        })
    }
}

impl SessionObject {
    pub fn matches(&self, template: &Template) -> bool {
        // A value that may not be read may not be guessed either.
        template.all().all(|(kind, value)| self.attribute(kind).is_ok_and(|own| own == value))
    }
}
