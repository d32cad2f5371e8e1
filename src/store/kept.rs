//! What a connection keeps in memory of what it has read, between its transactions.

use std::sync::Arc;

use super::backend::News;
use super::shard::Shard;
use super::state::{Head, State};
use super::tree::Nodes;
use super::versions::Versions;

#[derive(Default)]
pub(super) struct Remembered {
    pub nodes: Nodes,
    pub versions: Versions,
    /// Of the descriptions that this connection read, whose trees begin in `nodes`. A shard that has not moved is not read again.
    heads: Heads,
    /// Of a store on another machine: those that any connection had read before the transaction began.
    pub before: Option<Heads>,
    /// As [`super::view::View::history`], at the last description.
    pub breaks: u64,
    /// What the last poll found, until it is compared with what was seen before.
    pub news: Option<News>,
}

/// By shard: the description that was checked last, and what it says.
#[derive(Clone, Default)]
pub(super) struct Heads(Arc<Vec<Option<(State, Head)>>>);

impl Heads {
    fn at(&self, at: usize) -> Option<(State, Head)> {
        self.0.get(at).copied().flatten()
    }

    /// The state of a shard.
    pub fn get(&self, shard: Shard) -> Option<State> {
        self.at(shard.index()).map(|(state, _)| state)
    }

    pub fn keep(&mut self, state: State, head: Head) {
        let (at, all) = (head.shard.index(), Arc::make_mut(&mut self.0));
        if all.len() <= at {
            all.resize(at + 1, None);
        }
        if let Some(known) = all.get_mut(at) {
            *known = Some((state, head));
        }
    }
}

impl Remembered {
    /// What a shard says that is still in this state, and that no other connection knows in a later one.
    pub fn head(&self, shard: Shard, state: &State) -> Option<Head> {
        let is_newest = self.before.as_ref().is_none_or(|before| before.get(shard).as_ref() == Some(state));
        self.heads.at(shard.index()).filter(|(known, _)| known == state && is_newest).map(|(_, head)| head)
    }

    /// Whether the description of the shard with this number was checked in this state.
    pub fn has_checked(&self, at: usize, state: &State) -> bool {
        self.before.as_ref().unwrap_or(&self.heads).at(at).is_some_and(|(known, _)| known == *state)
    }

    /// After a transaction that failed: the trees in memory may begin as those of no description, so each is read again.
    pub fn forget_failed(&mut self) {
        if self.nodes.has_new_roots() {
            self.heads = Heads::default();
        }
    }

    pub fn keep(&mut self, state: State, head: Head) {
        self.heads.keep(state, head);
    }
}

#[cfg(test)]
mod tests;
