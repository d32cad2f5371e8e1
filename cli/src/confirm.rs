//! A command that is hard to take back shows its plan and asks.

use std::io::{IsTerminal, Write};

use crate::args::Reviewed;
use crate::exit::{Exit, Failure, Result};
use crate::output;

/// Shows the plan and asks. False for --dry-run: nothing is to be done.
pub fn confirm(reviewed: Reviewed, plan: &[String]) -> Result<bool> {
    if reviewed.yes && !reviewed.dry_run {
        return Ok(true);
    }
    for line in plan {
        output::note(&output::clean(line));
    }
    if reviewed.dry_run {
        output::note("dry run: nothing was changed");
        return Ok(false);
    }
    let declined = |text: &str| Failure::new(Exit::Declined, "Cli.Declined", text);
    if !std::io::stdin().is_terminal() {
        return Err(declined("not confirmed, and standard input is no terminal to ask on; nothing was changed")
            .next("the same command with --yes"));
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "Proceed? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match (read, answer.trim().to_ascii_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(true),
        _ => Err(declined("not confirmed; nothing was changed")),
    }
}
