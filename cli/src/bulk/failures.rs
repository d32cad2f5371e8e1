//! What failed among many things: each is reported with its place when it is found.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::stream::Watch;

/// Failures that --json lists, at most.
const MOST_LISTED: usize = 1000;

#[derive(Debug, Default)]
pub struct Failures {
    pub count: u64,
    listed: Vec<Value>,
    /// The exit code of all of them; none where they differ.
    exit: Option<Exit>,
    code: &'static str,
    next: Option<String>,
    /// Counts only: they are reported when the work is done.
    pub quiet: bool,
}

impl Failures {
    pub fn add(&mut self, place: &dyn Display, failure: &Failure, json: bool, watch: &Watch) {
        let place = place.to_string();
        match (self.count, self.exit) {
            (0, _) => (self.exit, self.code, self.next) = (Some(failure.exit), failure.code, failure.next.clone()),
            (_, Some(exit)) if exit != failure.exit => self.exit = None,
            _ => {}
        }
        self.count += 1;
        if self.quiet {
            return;
        }
        if self.listed.len() < MOST_LISTED {
            self.listed.push(json!({ "Place": place, "Code": failure.code, "Message": failure.text }));
        }
        if !json {
            let text = match failure.text.contains(&place) {
                true => failure.text.clone(),
                false => format!("{place}: {}", failure.text),
            };
            watch.aside(|| output::failed_item(&text));
        }
    }

    pub fn listed(&self) -> &[Value] {
        &self.listed
    }

    /// How the command ends: by the group of the failures where nothing else happened, otherwise as partly done.
    pub fn end(self, of: u64) -> crate::exit::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let text = format!("{} of {of} failed, as listed above", self.count);
        let mut failure = match self.exit {
            Some(exit) if self.count == of => Failure::new(exit, self.code, text),
            _ => Failure::new(Exit::Partial, "InvalidParameter.BatchPartial", text),
        };
        failure.next = self.next;
        Err(failure)
    }
}
