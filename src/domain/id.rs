//! The ids of keys, key versions, root slots and changes: random UUIDs (RFC 9562 §5.4), printed in lower case with hyphens.

use std::fmt;

/// Length of a printed id in bytes.
pub const TEXT_LEN: usize = 36;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Create an id from 16 random bytes. The version and variant bits are overwritten.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
            }

            /// Create an id from its 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Return the 16 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Parse the hyphenated form, in either case; return `None` for another text.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != TEXT_LEN {
                    return None;
                }
                uuid::Uuid::try_parse(text).ok().map(|uuid| Self(uuid.into_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                uuid::Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// The id of a customer master key. It is never reused.
    KeyId
);

impl KeyId {
    /// The printed form.
    pub(crate) fn text(&self) -> [u8; TEXT_LEN] {
        let mut text = [0; TEXT_LEN];
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(&mut text);
        text
    }
}

id!(
    /// The id of a key version. It is never reused.
    VersionId
);
id!(
    /// The id of a root slot, derived from its content. Another slot never has it.
    SlotId
);
id!(
    /// The id of an entry of the change log. It is never reused.
    ChangeId
);

#[cfg(test)]
mod tests;
