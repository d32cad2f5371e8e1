//! Whether the keystore that is read continues the one that was read before, or is another history of it.
//!
//! A copy that was changed elsewhere has the same uuid, authentic rows and perhaps a higher generation. A number can't
//! distinguish it from the changes of another process. So the description names the descriptions before it, by their MACs.

use super::sealing::Meta;
use super::shard::Shard;
use super::state::State;

/// How many descriptions a description names, and how many bytes of the MAC of each.
const NAMED: usize = 32;
const NAME: usize = 8;

/// How what was read now relates to what was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The same, or changes on top of it.
    On,
    /// It has changed so often that its origin is unknown.
    Unknown,
    /// An older copy, or one that went another way.
    Older,
    Other,
}

/// What a handle last read of its keystore.
#[derive(Debug, Default)]
pub struct History {
    /// By shard.
    known: Vec<Option<State>>,
    /// Counts the times that what was read may not continue what was known.
    pub breaks: u64,
    /// Whether another file was found at the keystore's path, and nothing was read of it yet.
    pub displaced: bool,
}

impl History {
    /// Records what was read of a shard. Everything but an older copy replaces the known state.
    pub fn see(&mut self, shard: Shard, state: State, recent: Option<&[u8]>) -> Step {
        let known = self.known.get(shard.index()).copied().flatten();
        let step = known.map_or(Step::On, |known| step(&known, &state, recent));
        match step {
            Step::On => {}
            Step::Older => return step,
            Step::Unknown | Step::Other => self.breaks += 1,
        }
        self.committed(shard, state);
        self.displaced = false;
        step
    }

    /// Records what this handle has just committed on top of what it read.
    pub fn committed(&mut self, shard: Shard, state: State) {
        if self.known.len() <= shard.index() {
            self.known.resize(shard.index() + 1, None);
        }
        if let Some(known) = self.known.get_mut(shard.index()) {
            *known = Some(state);
        }
    }
}

/// How a state follows the known one; `recent` is what its description names.
pub fn step(known: &State, found: &State, recent: Option<&[u8]>) -> Step {
    let Some(distance) = found.generation().checked_sub(known.generation()).and_then(|d| usize::try_from(d).ok())
    else {
        return Step::Older;
    };
    let expected = known.mac().first_chunk::<NAME>();
    match distance.checked_sub(1) {
        None if found == known => Step::On,
        None => Step::Other,
        // What is not named is not known: a keystore of format 1, or too many changes.
        Some(before) => match recent.unwrap_or_default().chunks_exact(NAME).nth(before) {
            None => Step::Unknown,
            Some(name) if expected.is_some_and(|expected| expected == name) => Step::On,
            Some(_) => Step::Other,
        },
    }
}

/// Whether a description that names `recent` comes right after the one with this MAC.
pub fn names_first(recent: &[u8], mac: &[u8; 32]) -> bool {
    recent.first_chunk::<NAME>().is_some_and(|name| mac.starts_with(name))
}

/// What the description after `meta`, whose MAC is `mac`, names. It skips `skipped` generations, which have no
/// description: `meta` represents them.
pub fn next(meta: &Meta, mac: &[u8; 32], skipped: i64) -> Vec<u8> {
    let older = meta.recent.as_deref().unwrap_or_default();
    let names = usize::try_from(skipped).map_or(1, |skipped| skipped.min(NAMED) + 1);
    let name = mac.iter().take(NAME);
    std::iter::repeat_n(name, names).flatten().chain(older).copied().take(NAMED * NAME).collect()
}

#[cfg(test)]
mod tests;
