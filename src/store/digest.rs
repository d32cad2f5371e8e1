//! Digests: how the trees name their rows and nodes.

/// A truncated MAC of a node or of a row, or a row number.
pub type Digest = [u8; 16];

pub const TREES: usize = 3;

/// The contents of the trees' roots; empty where a tree is.
pub type Roots = [Vec<u8>; TREES];

/// What represents an authenticated row in its tree.
pub fn digest_of(mac: &[u8; 32]) -> Digest {
    let mut digest = Digest::default();
    digest.iter_mut().zip(mac).for_each(|(to, from)| *to = *from);
    digest
}
