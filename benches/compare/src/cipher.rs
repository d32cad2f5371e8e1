//! What every cipher under comparison can do: seal a message under the next nonce, open the one sealed last.

/// As long as what libkms authenticates in addition to a message with the context of one entry that is used here.
pub const AAD: [u8; 64] = [2; 64];
pub const KEY: [u8; 32] = [7; 32];
pub const TAG: usize = 16;

pub trait Cipher {
    /// Writes the ciphertext and the tag to the beginning of `out`.
    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]);
    /// `sealed` is what `seal` wrote last.
    fn open(&mut self, sealed: &[u8], out: &mut [u8]);
}

/// A counter: the cheapest nonce there is, so no peer pays for randomness; libkms does.
#[derive(Clone, Default)]
pub struct Nonce {
    count: u64,
    bytes: [u8; 12],
}

impl Nonce {
    #[inline]
    pub fn next(&mut self) -> &[u8; 12] {
        self.count += 1;
        self.bytes[4..].copy_from_slice(&self.count.to_le_bytes());
        &self.bytes
    }

    #[inline]
    pub fn last(&self) -> &[u8; 12] {
        &self.bytes
    }
}
