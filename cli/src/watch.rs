//! `kms watch`: the changes of all processes, as they are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kms::{Status, change_log::ListChanges};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::Watch;
use crate::exit::{Exit, Failure, Result};
use crate::log::{Names, entry, row};
use crate::output::{self, clean};
use crate::session::Session;

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
    let mut after = session.keystore.health()?.generation;
    if !session.out.json {
        output::note(&format!(
            "watching {} from generation {after}; Ctrl-C ends it",
            clean(&session.location.path()?.display().to_string())
        ));
    }
    while !ended.load(Ordering::Relaxed) {
        // Aliases may have changed since the last read.
        let mut names = Names::of(session);
        for change in session.keystore.changes(ListChanges { after: Some(after), ..ListChanges::default() }) {
            let change = match change {
                Err(error) if error.status() == Status::KeystoreBusy => break,
                change => change?,
            };
            after = change.generation;
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
