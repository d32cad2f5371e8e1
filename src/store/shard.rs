//! Shards: parts of a store that change independently of each other.
//!
//! Each shard has its own description, generation, trees, row numbers and change log. A transaction reads or locks the
//! shards that it touches, and no others. The first bits of a key's id select its shard, those of an alias's handle the
//! alias's. The root slots are in the first shard. Numbers of rows and nodes, and generations, begin with the number of
//! their shard, so each is unique in the store. With one shard, which is number 0, all of them are plain numbers.

use super::digest::Digest;
use crate::error::{Error, Result, Status};

/// Bits of a row's number below that of its shard, and of a node's.
const ROW_BITS: u32 = 32;
const NODE_BITS: u32 = 48;
/// Generations start below 2^62.
const GENERATION_BITS: u32 = 62;
/// Most bits of a shard's number: the first byte of an id.
const MOST_BITS: u32 = 8;

/// One shard of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    pub const FIRST: Self = Self(0);

    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The number of this shard's row `number`, which is below 2^32.
    pub fn row(self, number: u32) -> i64 {
        i64::from(self.0) << ROW_BITS | i64::from(number)
    }

    /// What the numbers of this shard's nodes begin with.
    pub fn nodes(self) -> i64 {
        i64::from(self.0) << NODE_BITS
    }
}

/// How many shards a store has: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    bits: u32,
}

impl Shards {
    pub const ONE: Self = Self { bits: 0 };

    /// `None` unless a store can have this many.
    #[cfg(any(test, kms_faults, feature = "postgres"))]
    pub fn new(count: usize) -> Option<Self> {
        let bits = count.checked_ilog2().filter(|bits| *bits <= MOST_BITS && count.is_power_of_two())?;
        Some(Self { bits })
    }

    pub fn count(self) -> usize {
        1 << self.bits
    }

    pub fn all(self) -> impl DoubleEndedIterator<Item = Shard> + use<> {
        let last = ((1_u32 << self.bits) - 1).to_le_bytes()[0];
        (0..=last).map(Shard)
    }

    /// Those from this one on.
    pub fn from(self, first: Shard) -> impl Iterator<Item = Shard> + use<> {
        self.all().skip(first.index())
    }

    /// The shard of a key with this id, or of an alias with this handle.
    pub fn of_name(self, name: &Digest) -> Shard {
        let [first, ..] = *name;
        Shard((u32::from(first) >> (MOST_BITS - self.bits)).to_le_bytes()[0])
    }

    /// The shard of a row, and its number there.
    pub fn of_row(self, row: i64) -> Result<(Shard, u32)> {
        let impossible = || impossible("a row has an impossible number");
        let shard = self.numbered(row >> ROW_BITS).ok_or_else(impossible)?;
        Ok((shard, u32::try_from(row & i64::from(u32::MAX)).map_err(|_| impossible())?))
    }

    /// The shard of a node with this number, and its number without the shard.
    pub fn of_node(self, number: i64) -> Option<(Shard, i64)> {
        Some((self.numbered(number >> NODE_BITS)?, number & ((1 << NODE_BITS) - 1)))
    }

    /// The shard that has this generation.
    pub fn of_generation(self, generation: i64) -> Option<Shard> {
        match self.bits {
            0 => Some(Shard::FIRST),
            bits => self.numbered(generation >> (GENERATION_BITS - bits)),
        }
    }

    /// A generation to begin with, from a random number. It is half of a shard's numbers from its end.
    pub fn first_generation(self, shard: Shard, random: u64) -> i64 {
        let bits = GENERATION_BITS - self.bits;
        let below = if self.bits == 0 { bits } else { bits - 1 };
        i64::from(shard.0) << bits | (random & ((1 << below) - 1)).cast_signed()
    }

    /// The first and the last generation that a shard can have.
    #[cfg(feature = "postgres")]
    pub fn generations(self, shard: Shard) -> (i64, i64) {
        match self.bits {
            0 => (i64::MIN, i64::MAX),
            bits => {
                let first = i64::from(shard.0) << (GENERATION_BITS - bits);
                (first, first | ((1 << (GENERATION_BITS - bits)) - 1))
            }
        }
    }

    fn numbered(self, number: i64) -> Option<Shard> {
        u8::try_from(number).ok().map(Shard).filter(|shard| shard.index() < self.count())
    }
}

fn impossible(what: &str) -> Error {
    Status::KeystoreCorrupt.error(format!("the keystore is damaged: {what}; restore it from a backup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_leads_back_to_its_shard() {
        for count in [1, 2, 4, 64, 256] {
            let shards = Shards::new(count).unwrap();
            assert_eq!(shards.all().count(), count);
            for shard in shards.all() {
                assert_eq!(shards.of_row(shard.row(u32::MAX)).unwrap(), (shard, u32::MAX));
                assert_eq!(shards.of_node(shard.nodes() | 7).unwrap(), (shard, 7));
                for random in [0, u64::MAX] {
                    let first = shards.first_generation(shard, random);
                    assert_eq!(shards.of_generation(first), Some(shard), "{count} {shard:?}");
                    assert_eq!(shards.of_generation(first + (1 << 40)), Some(shard), "{count} {shard:?}");
                }
            }
            assert!(shards.of_row((count as i64) << ROW_BITS | 1).is_err() && shards.of_row(-1).is_err());
            assert_eq!(shards.of_node((count as i64) << NODE_BITS), None);
        }
        assert_eq!(Shards::new(3), None);
        assert_eq!(Shards::new(512), None);
    }

    #[test]
    fn the_order_of_names_is_the_order_of_shards() {
        let shards = Shards::new(64).unwrap();
        let of = |first: u8| shards.of_name(&[first, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert!((0..255).all(|first| of(first) <= of(first + 1)));
        assert_eq!((of(0).index(), of(3).index(), of(4).index(), of(255).index()), (0, 0, 1, 63));
    }
}
