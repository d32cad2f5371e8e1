//! Writes the sections as Markdown, with their plots next to it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plot;
use crate::section::{Limit, Promise, Section, Table, digits};

/// A section, and the circumstances in which it was measured.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    pub group: String,
    pub date: String,
    /// CPUs that other programs kept busy meanwhile.
    pub disturbed: f64,
    pub seconds: f64,
    /// Or why the whole group failed.
    pub section: Result<Section, String>,
}

/// Above this, other programs took time from what was measured.
const IDLE: f64 = 0.1;

/// Writes `folder/benchmarks.md` and `folder/benchmarks/*.svg`.
pub fn write(folder: &Path, machine: &[(String, String)], quick: bool, all: &[Measured]) -> Result<(), String> {
    let plots = folder.join("benchmarks");
    fs::create_dir_all(&plots).map_err(|e| format!("{}: {e}", plots.display()))?;
    for measured in all {
        for plot in measured.section.iter().flat_map(|section| &section.plots) {
            let file = plots.join(format!("{}.svg", plot.name));
            fs::write(&file, plot::svg(plot)).map_err(|e| format!("{}: {e}", file.display()))?;
        }
    }
    let file = folder.join("benchmarks.md");
    fs::write(&file, markdown(machine, quick, all)).map_err(|e| format!("{}: {e}", file.display()))
}

fn markdown(machine: &[(String, String)], quick: bool, all: &[Measured]) -> String {
    let mut out = String::from(
        "# Benchmarks\n\nWritten by `make bench`, which builds all that is compared and measures it on the machine at \
         hand.\n\n```sh\nmake bench                  # everything, about a quarter of an hour; writes this page\nmake \
         bench GROUP=scale      # one group, or several; the page is target/bench/report/benchmarks.md\nmake bench \
         QUICK=1          # small counts, in a minute: shows that it works, and no more\n```\n\n",
    );
    if quick {
        out += "**A quick run: the counts are too small for the figures to mean anything.**\n\n";
    }
    if let Some(most) = all.iter().map(|measured| measured.disturbed).reduce(f64::max).filter(|&busy| busy > IDLE) {
        let _ = writeln!(
            out,
            "**Other programs were running, and kept up to {most:.1} of the CPUs busy. Minima and ratios bear it best, wall \
             times and tails worst.**\n"
        );
    }
    out += "| machine | |\n|---|---|\n";
    for (name, value) in machine {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    out += "\nVariants of one comparison run in one process, pinned to one CPU, in random order in each of many rounds \
            of a few milliseconds. Unless a table says otherwise, time is CPU time of the thread. A ratio is the median \
            of the ratios of each round, so that what disturbs both sides of a round cancels out. libkms is called \
            through its C ABI, in the shared library that `cargo build --release` makes; its OpenSSL and that of \"raw \
            EVP\" come from the same static archive.\n\n## What it must show\n\n";
    promises(&mut out, all);
    let absent: Vec<String> = all.iter().flat_map(absences).collect();
    if !absent.is_empty() {
        out += "\nNot measured:\n\n";
        for line in absent {
            let _ = writeln!(out, "* {line}");
        }
    }
    for measured in all {
        section(&mut out, measured);
    }
    out
}

fn promises(out: &mut String, all: &[Measured]) {
    out.push_str("| what | limit | measured | both figures | |\n|---|---|---|---|---|\n");
    for promise in all.iter().flat_map(|measured| &measured.section).flat_map(|section| &section.promises) {
        let verdict = if promise.kept() { "met" } else { "**not met**" };
        let _ = writeln!(
            out,
            "| {} | {} {} | {} | {} | {verdict} |",
            promise.what,
            limit(promise),
            promise.unit,
            digits(promise.measured),
            promise.figures
        );
    }
}

/// The promises for the terminal.
pub fn summary(all: &[Measured]) -> String {
    let mut out = String::new();
    for promise in all.iter().flat_map(|measured| &measured.section).flat_map(|section| &section.promises) {
        let verdict = if promise.kept() { "met    " } else { "NOT MET" };
        let _ = writeln!(
            out,
            "{verdict}  {}: {} ({} {}): {}",
            promise.what,
            digits(promise.measured),
            limit(promise),
            promise.unit,
            promise.figures
        );
    }
    for line in all.iter().flat_map(absences) {
        let _ = writeln!(out, "absent   {line}");
    }
    out
}

fn absences(measured: &Measured) -> Vec<String> {
    match &measured.section {
        Ok(section) => section.absent.iter().map(|line| format!("{}: {line}", measured.group)).collect(),
        Err(why) => vec![format!("{}: the group failed: {}", measured.group, why.trim())],
    }
}

fn limit(promise: &Promise) -> String {
    match promise.limit {
        Limit::AtMost(limit) => format!("at most {}", digits(limit)),
        Limit::AtLeast(limit) => format!("at least {}", digits(limit)),
    }
}

fn section(out: &mut String, measured: &Measured) {
    let Ok(section) = &measured.section else { return };
    let _ = writeln!(out, "\n## {}\n", section.title);
    for paragraph in &section.text {
        let _ = writeln!(out, "{paragraph}\n");
    }
    for plot in &section.plots {
        let _ = writeln!(out, "![{}](benchmarks/{}.svg)\n", plot.title, plot.name);
    }
    for table in &section.tables {
        self::table(out, table);
    }
    let _ = writeln!(
        out,
        "`make bench GROUP={}`, {}, {:.0} s; other programs used {:.2} CPUs",
        measured.group, measured.date, measured.seconds, measured.disturbed
    );
}

fn table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "{}:\n", table.caption);
    let _ = writeln!(out, "| {} |", table.head.join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(table.head.len() - 1));
    for row in &table.rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}
