//! The ids of keys, key versions and root slots: random UUIDs (RFC 9562 §5.4), printed in lower case with hyphens.

use std::fmt;

/// Length of a printed id in bytes.
pub const TEXT_LEN: usize = 36;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// An id from 16 random bytes: the version and variant bits are set.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads the hyphenated form, in either case; anything else is `None`.
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
    /// Names a customer master key for ever.
    KeyId
);
id!(
    /// Names one version of a key for ever; never reused.
    VersionId
);
id!(
    /// Names a root slot for as long as it is there; derived from its content, so never another's.
    SlotId
);

#[cfg(test)]
mod tests;
