//! Plaintexts in the hands of the caller.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

/// A plaintext, a data key or an unwrapped root key. Its bytes are wiped when it is dropped.
///
/// It dereferences to `[u8]`. It is not `Clone`, so that each copy is deliberate (`to_vec`), and its `Debug` output has the
/// length alone. The memory is ordinary: it may be swapped out, unlike the library's keys.
///
/// ```
/// use kms::{CreateKey, Keystore, Options, Plaintext};
///
/// # fn main() -> kms::Result<()> {
/// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
/// let key = keystore.create_key(&CreateKey::default())?;
/// let blob = keystore.encrypt(key, b"4111 1111", &[])?;
/// let plaintext: Plaintext = keystore.decrypt(&blob, &[])?;
/// assert_eq!(&*plaintext, b"4111 1111");
/// assert_eq!(format!("{plaintext:?}"), "Plaintext(9 bytes)");
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Return the bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Takes over the bytes without a copy.
impl From<Vec<u8>> for Plaintext {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Plaintext {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.len())
    }
}
