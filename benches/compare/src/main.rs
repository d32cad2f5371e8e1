//! Measures libkms and what it is compared with. `benches/run` builds what this needs and calls it:
//!
//! ```text
//! compare run FOLDER REPORT [--quick] [GROUP...]    each group in a separate process, then the report
//! compare group FOLDER GROUP [--quick]              one group; its section as JSON
//! compare child FOLDER ...                          one measurement of a fresh process; its figures as JSON
//! ```

mod bench;
mod cipher;
mod dynamic;
mod evp;
mod fixture;
mod groups;
mod kms;
mod machine;
mod measure;
mod peers;
mod plot;
mod process;
mod report;
mod section;
mod softhsm;
#[path = "../../../tests/c_abi/types.rs"]
mod types;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use bench::Bench;
use measure::Effort;
use report::Measured;
use section::Section;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["run", folder, report, ..] => run(Path::new(folder), Path::new(report), quick, &arguments[3..]),
        ["group", folder, name] => group(Path::new(folder), name, quick),
        ["child", folder, ..] => groups::child(Path::new(folder), &arguments[2..]),
        _ => Err("usage: make bench [GROUP=NAME] [QUICK=1]".to_owned()),
    };
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, report: &Path, quick: bool, wanted: &[String]) -> Result<String, String> {
    let known: Vec<&str> = groups::ALL.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no group {unknown}; there are: {}", known.join(", ")));
    }
    // Lets the groups of one run share a keystore.
    let stamp = std::process::id().to_string();
    let mut all = Vec::new();
    for name in known.into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        eprintln!("measuring: {name}");
        let (date, before) = (machine::date(), machine::foreign_seconds());
        let (seconds, section) = measure::wall(|| in_process(folder, name, quick, &stamp));
        let disturbed = ((machine::foreign_seconds() - before) / seconds).max(0.0);
        if let Err(why) = &section {
            eprintln!("{name} failed: {why}");
        }
        all.push(Measured { group: name.to_owned(), date, disturbed, seconds, section });
    }
    let bench = Bench::new(folder, Effort { quick })?;
    report::write(report, &machine::describe(&bench), quick, &all)?;
    let failed = all.iter().filter(|measured| measured.section.is_err()).count();
    let text = format!("{}\n{}", report::summary(&all), report.join("benchmarks.md").display());
    if failed > 0 { Err(format!("{failed} groups failed\n{text}")) } else { Ok(text) }
}

fn in_process(folder: &Path, name: &str, quick: bool, stamp: &str) -> Result<Section, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.arg("group").arg(folder).arg(name).env("BENCH_RUN", stamp).stderr(Stdio::piped());
    if quick {
        command.arg("--quick");
    }
    let output = command.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

fn group(folder: &Path, name: &str, quick: bool) -> Result<String, String> {
    let (_, run) = groups::ALL.iter().find(|(known, _)| *known == name).ok_or("no such group")?;
    let section = run(&Bench::new(folder, Effort { quick })?)?;
    serde_json::to_string(&section).map_err(|e| e.to_string())
}
