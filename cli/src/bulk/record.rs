//! A record of a file of records, and what is done with the ciphertext in it.

use super::mover::Pairs;
use crate::exit::Result;

/// A record, at most: a quote that is never closed must not take the whole file into memory.
pub const MOST_RECORD: usize = 64 << 20;

/// Which value of a record is the ciphertext, and which are its context.
pub struct Field<'a> {
    pub name: &'a str,
    /// Name in the context, and column.
    pub context: &'a Pairs,
}

/// A ciphertext in a record.
pub struct Cell<'a> {
    pub line: u64,
    pub value: Result<&'a [u8]>,
    pub context: &'a dyn Fn() -> Result<Pairs>,
}

/// What is done with a cell: its new value, or none if it stays.
pub type Change<'a> = dyn FnMut(Cell<'_>) -> Result<Option<Vec<u8>>> + 'a;
/// Where the records go that were read, changed or not.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;
