//! What a connection keeps in memory of what it has read, between its transactions.

use super::backend::News;
use super::shard::Shard;
use super::state::{Head, State};
use super::tree::Nodes;
use super::versions::Versions;

#[derive(Default)]
pub(super) struct Remembered {
    pub nodes: Nodes,
    pub versions: Versions,
    /// By shard: the description that was checked last, and what it says. A shard that has not moved is not read again.
    heads: Vec<Option<(State, Head)>>,
    /// As [`super::view::View::history`], at the last description.
    pub breaks: u64,
    /// What the last poll found, until it is compared with what was seen before.
    pub news: Option<News>,
}

impl Remembered {
    /// What a shard says that is still in this state.
    pub fn head(&self, shard: Shard, state: &State) -> Option<Head> {
        self.heads.get(shard.index()).copied().flatten().filter(|(known, _)| known == state).map(|(_, head)| head)
    }

    /// Whether the description of the shard with this number was checked in this state.
    pub fn has_checked(&self, at: usize, state: &State) -> bool {
        self.heads.get(at).and_then(Option::as_ref).is_some_and(|(known, _)| known == state)
    }

    pub fn keep(&mut self, state: State, head: Head) {
        let at = head.shard.index();
        if self.heads.len() <= at {
            self.heads.resize(at + 1, None);
        }
        if let Some(known) = self.heads.get_mut(at) {
            *known = Some((state, head));
        }
    }
}

#[cfg(test)]
mod tests;
