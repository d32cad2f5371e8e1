//! Checks that the change log is whole: each entry follows the one before, and the newest is the keystore's newest.

use super::super::log::Walk;
use super::super::shard::Shard;
use super::super::view::View;
use super::{Fault, ROWS, Stage, Verifier, in_order};
use crate::error::Result;

/// How far the log was walked, and in which history of the keystore.
#[derive(Clone, Copy)]
pub(super) struct LogWalk {
    walk: Walk,
    history: u64,
}

impl Verifier {
    pub(super) fn log(&mut self, view: &mut View<'_>, shard: Shard, walked: Option<LogWalk>) -> Result<Option<Stage>> {
        let next = view.shards.from(shard).nth(1).map(|next| Stage::Log(next, None));
        let Some(state) = view.log_state(shard)? else {
            // Reports what stands in a log that must be empty.
            return view.changes_of(shard, None, None, 1).map(|_| next);
        };
        let history = view.history();
        // What a cut has removed, or another history has replaced, is not walked on.
        let walked = walked.filter(|walked| walked.history == history && walked.walk.at >= state.base);
        let (mut walk, from) = match walked {
            Some(LogWalk { walk, .. }) => (walk, walk.at.saturating_add(1)),
            None => (Walk { at: state.base, link: state.before }, i64::MIN),
        };
        let rows = view.rows.backend.changes_from(shard, from, ROWS)?;
        let is_last = rows.len() < ROWS;
        let mut before = from;
        for row in rows {
            in_order(before <= row.generation)?;
            before = row.generation.saturating_add(1);
            let fault = walk.step(view.rows.sealing, &row)?;
            self.faults.extend(fault.map(Fault::general));
        }
        if is_last {
            let newest = view.head(shard)?.generation;
            self.faults.extend(walk.end(&state, newest).map(Fault::general));
            return Ok(next);
        }
        Ok(Some(Stage::Log(shard, Some(LogWalk { walk, history }))))
    }
}
