//! Small changes of bytes, for what random bytes would never hit: a signature, a tag, a page of a file.

use arbitrary::Arbitrary;

#[derive(Debug, Clone, Arbitrary)]
pub enum Edit {
    Set(u32, u8),
    Flip(u32, u8),
    Write(u32, [u8; 8]),
    Insert(u32, u8),
    Remove(u32),
    /// From, to, length.
    Copy(u32, u32, u16),
    Cut(u32),
    Append(u8, u8),
}

/// Offsets wrap around, so that each edit does something.
pub fn apply(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits {
        let len = bytes.len().max(1);
        let at = |offset: u32| offset as usize % len;
        match *edit {
            Edit::Append(byte, count) => bytes.extend(std::iter::repeat_n(byte, count.into())),
            _ if bytes.is_empty() => {}
            Edit::Set(offset, byte) => bytes[at(offset)] = byte,
            Edit::Flip(offset, bit) => bytes[at(offset)] ^= 1 << (bit & 7),
            Edit::Write(offset, word) => {
                for (place, byte) in bytes[at(offset)..].iter_mut().zip(word) {
                    *place = byte;
                }
            }
            Edit::Insert(offset, byte) => bytes.insert(at(offset), byte),
            Edit::Remove(offset) => drop(bytes.remove(at(offset))),
            Edit::Copy(from, to, count) => {
                let (from, to) = (at(from), at(to));
                let count = usize::from(count).min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + count, to);
            }
            Edit::Cut(length) => bytes.truncate(at(length)),
        }
    }
}
