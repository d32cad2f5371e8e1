//! `kms watch`: the changes of all processes, as they are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{
    Status,
    change_log::{ListChanges, LoggedChange},
};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::Watch;
use crate::exit::{Exit, Failure, Result};
use crate::log::{Names, entry, row};
use crate::output::{self, clean};
use crate::session::Session;

/// In a database a generation begins with the number of its shard, above these bits (src/store/shard.rs).
const SHARD_BITS: u32 = 56;

/// How soon a signal ends the command.
const STEP: Duration = Duration::from_millis(50);

pub fn run(session: &Session, args: &Watch) -> Result<()> {
    if !(0.1..=3600.0).contains(&args.interval) {
        return Err(Failure::usage("the interval is 0.1 to 3600 seconds"));
    }
    let pause = Duration::from_secs_f64(args.interval);
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(|error| Failure::new(Exit::Internal, "InternalFailure", format!("no signals: {error}")))?;
    }
    let mut news = News::of(session)?;
    if !session.out.json {
        output::note(&format!(
            "watching {} from generation {}; Ctrl-C ends it",
            clean(&session.location.keystore()?.to_string()),
            session.keystore.health()?.generation
        ));
    }
    while !ended.load(Ordering::Relaxed) {
        // Aliases may have changed since the last read.
        let mut names = Names::of(session);
        for change in news.next(session)? {
            let line = match session.out.json {
                true => entry(&change).to_string(),
                false => {
                    let [time, action, key, who, result] = row(&change, &mut names).map(|cell| clean(&cell));
                    format!("{time}  {action:27} {result}  {key}  {who}")
                }
            };
            output::print(&format!("{line}\n"))?;
        }
        let start = Instant::now();
        while start.elapsed() < pause && !ended.load(Ordering::Relaxed) {
            std::thread::sleep(STEP.min(pause));
        }
    }
    Ok(())
}

/// What was shown already: the newest entry, of each shard if the keystore is in a database.
struct News {
    seen: BTreeMap<u64, u64>,
    has_shards: bool,
}

impl News {
    fn of(session: &Session) -> Result<Self> {
        let mut news = Self { seen: BTreeMap::new(), has_shards: session.location.is_database() };
        match news.has_shards {
            true => drop(news.next(session)?),
            false => drop(news.seen.insert(0, session.keystore.health()?.generation)),
        }
        Ok(news)
    }

    fn shard_of(&self, generation: u64) -> u64 {
        if self.has_shards { generation >> SHARD_BITS } else { 0 }
    }

    /// The entries since the last time, oldest first.
    fn next(&mut self, session: &Session) -> Result<Vec<LoggedChange>> {
        let mut found = Vec::new();
        let mut cursors: Vec<_> = self.seen.iter().map(|(shard, seen)| (*shard, Some(*seen))).collect();
        // Shards before the first known one, which had no entry until now.
        if self.seen.keys().next().is_none_or(|first| *first > 0) {
            cursors.push((u64::MAX, None));
        }
        let known: BTreeSet<u64> = self.seen.keys().copied().collect();
        for (shard, after) in cursors {
            for change in session.keystore.changes(ListChanges { after, ..ListChanges::default() }) {
                let change = match change {
                    Err(error) if error.status() == Status::KeystoreBusy => break,
                    change => change?,
                };
                let its = self.shard_of(change.generation);
                // That shard is read from where it was left.
                if its != shard && known.contains(&its) {
                    break;
                }
                self.seen.insert(its, change.generation);
                found.push(change);
            }
        }
        found.sort_by_key(|change| change.time);
        Ok(found)
    }
}
