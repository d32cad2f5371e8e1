//! The argument that names a key.

use std::fmt;

use crate::domain::id::{KeyId, TEXT_LEN};

/// A key in an argument: a [`KeyId`], its text, an alias (`alias/NAME`) or a resource name (`acs:kms:local:libkms:...`).
///
/// Calls take `impl Into<KeyRef<'_>>`, so pass a [`KeyId`] or a string. Calls whose parameter is `key_id` refuse an alias
/// with [`UnsupportedAlias`](crate::Status::UnsupportedAlias).
///
/// ```
/// use kms::{CreateKey, Keystore, Options};
///
/// # fn main() -> kms::Result<()> {
/// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
/// let key = keystore.create_key(&CreateKey::default())?;
/// keystore.create_alias(key, "alias/cards")?;
/// assert_eq!(keystore.describe_key("alias/cards")?, keystore.describe_key(key)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct KeyRef<'a>(Named<'a>);

#[derive(Clone, Copy)]
enum Named<'a> {
    Text(&'a str),
    Id([u8; TEXT_LEN]),
}

impl KeyRef<'_> {
    /// The text, as C passes it.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Named::Text(text) => text.as_bytes(),
            Named::Id(text) => text,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            Named::Text(text) => text,
            // A printed id is ASCII.
            Named::Id(text) => str::from_utf8(text).unwrap_or_default(),
        }
    }
}

impl<'a, T: AsRef<str> + ?Sized> From<&'a T> for KeyRef<'a> {
    #[inline]
    fn from(text: &'a T) -> Self {
        Self(Named::Text(text.as_ref()))
    }
}

impl From<KeyId> for KeyRef<'_> {
    fn from(id: KeyId) -> Self {
        Self(Named::Id(id.text()))
    }
}

impl From<&KeyId> for KeyRef<'_> {
    fn from(id: &KeyId) -> Self {
        Self::from(*id)
    }
}

/// Shows the length alone: a secret that was passed by mistake is not logged.
impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Named::Text(text) => write!(f, "KeyRef({} bytes)", text.len()),
            Named::Id(_) => write!(f, "KeyRef({})", self.as_str()),
        }
    }
}
