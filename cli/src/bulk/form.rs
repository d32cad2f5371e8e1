//! How a ciphertext is stored: as bytes, as Base64, or armored. It stays as it was when it is re-encrypted.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::data::{self, MAGIC};

/// How the first bytes of every blob look in Base64.
const MAGIC_IN_BASE64: &[u8] = b"i0tNUw";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Raw,
    Base64,
    Armor,
}

impl Form {
    /// The form that the first bytes show; none where they are of something else.
    pub fn of(start: &[u8]) -> Option<Self> {
        let text = start.trim_ascii_start();
        if start.starts_with(&MAGIC) {
            Some(Self::Raw)
        } else if text.starts_with(data::BEGIN.as_bytes()) {
            Some(Self::Armor)
        } else if text.starts_with(MAGIC_IN_BASE64) {
            Some(Self::Base64)
        } else {
            None
        }
    }

    /// The blob in what is stored. What has no known form is passed on, and is found to be no blob.
    pub fn decode(stored: &[u8]) -> (Self, Cow<'_, [u8]>) {
        match Self::of(stored) {
            Some(form @ (Self::Base64 | Self::Armor)) => match data::debase64(stored) {
                Some(blob) => (form, Cow::Owned(blob.to_vec())),
                None => (form, Cow::Borrowed(stored)),
            },
            _ => (Self::Raw, Cow::Borrowed(stored)),
        }
    }

    pub fn encode(self, blob: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Raw => blob,
            Self::Base64 => STANDARD.encode(blob).into_bytes(),
            Self::Armor => data::armor(&blob),
        }
    }
}
