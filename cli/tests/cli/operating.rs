//! The guides are correct: every command in them runs, in order, and prints the documented output.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Place, kms, with_input};

/// What marks the beginning of a command's output.
const MARK: &str = "\u{1}command";

/// The commands of the document, each with its line number and the output documented below it.
fn commands(document: &str) -> Vec<(usize, String, String)> {
    let (mut found, mut inside) = (Vec::new(), false);
    for (number, line) in document.lines().enumerate() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((number, command.to_owned(), String::new())),
                (None, Some((_, _, output))) => {
                    output.push_str(line);
                    output.push('\n');
                }
                (None, None) => panic!("line {}: output before any command", number + 1),
            },
        }
    }
    found
}

/// One shell runs them all, in an environment that looks like a separate machine.
fn outputs(guide: &Guide<'_>, commands: &[(usize, String, String)]) -> Vec<String> {
    let place = guide.place;
    let programs = kms().parent().unwrap().display().to_string();
    let mut shell = place.command("bash");
    shell.args(["--norc", "-s"]).env("PATH", format!("{programs}:/usr/bin:/bin")).env("LC_ALL", "C.UTF-8");
    shell.envs(guide.environment.iter().copied()).stderr(Stdio::null());
    let mut script = "exec 2>&1\n".to_owned();
    for (_, command, _) in commands {
        let command = guide.names.iter().fold(command.clone(), |text, (name, real)| text.replace(name, real));
        script.push_str(&format!("echo '{MARK}'\n{command}\n"));
    }
    let run = with_input(shell, script.as_bytes());
    let folder = place.path(".").canonicalize().unwrap().display().to_string();
    let text = String::from_utf8(run.out).unwrap().replace(&folder, "/srv/kms");
    let text = guide.names.iter().fold(text, |text, (name, real)| text.replace(real, name));
    text.split(&format!("{MARK}\n")).skip(1).map(str::to_owned).collect()
}

/// Ids, dates, sizes, generations and checksums as `0`; runs of spaces, which depend on them, as one.
fn comparable(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split_whitespace().map(|word| {
            let digits = word.chars().filter(char::is_ascii_digit).count();
            let hex = word.chars().filter(char::is_ascii_hexdigit).count();
            let is_id = word.len() >= 32 && hex >= 32;
            let is_date = digits >= 8 && word.contains('-');
            let is_time = digits >= 4 && word.contains(':');
            let is_long = digits >= 9 && !word.contains(char::is_alphabetic);
            match is_id || is_date || is_time || is_long {
                true => word
                    .chars()
                    .filter(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'))
                    .chain(['0'])
                    .collect(),
                false => word.to_owned(),
            }
        });
        let words: Vec<String> = words.collect();
        let mut shown: Vec<&str> = Vec::new();
        for word in &words {
            // `(36.0 KiB,` is a size.
            if ["B", "KiB", "MiB"].iter().any(|unit| word.trim_end_matches([',', ')']) == *unit) {
                shown.pop();
                shown.push("SIZE");
            } else {
                shown.push(word);
            }
        }
        out.push_str(&shown.join(" "));
        out.push('\n');
    }
    out
}

/// The document with the outputs of today.
fn rewritten(document: &str, outputs: &[String]) -> String {
    let (mut out, mut inside, mut outputs) = (String::new(), false, outputs.iter());
    for line in document.lines() {
        inside = match line {
            "```console" => true,
            "```" => false,
            _ => inside,
        };
        if !inside || line == "```console" || line.starts_with("$ ") {
            out.push_str(line);
            out.push('\n');
        }
        if inside && line.starts_with("$ ") {
            out.push_str(outputs.next().map_or("", String::as_str));
        }
    }
    out
}

/// A document, and where its commands run.
pub struct Guide<'a> {
    /// Below docs/.
    pub document: &'a str,
    /// The minimum number of commands.
    pub least: usize,
    pub place: &'a Place,
    pub environment: &'a [(&'a str, &'a str)],
    /// Names in the document, and their values in this test.
    pub names: &'a [(&'a str, &'a str)],
}

impl Guide<'_> {
    pub fn check(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(self.document);
        let document = std::fs::read_to_string(&path).unwrap();
        let commands = commands(&document);
        assert!(commands.len() > self.least, "only {} commands were found", commands.len());
        let outputs = outputs(self, &commands);
        assert_eq!(outputs.len(), commands.len(), "the shell ended early: {:?}", outputs.last());
        if std::env::var_os("KMS_UPDATE_OPERATING").is_some() {
            std::fs::write(&path, rewritten(&document, &outputs)).unwrap();
            return;
        }
        for ((number, command, expected), found) in commands.iter().zip(&outputs) {
            // Keys are listed in the order of their ids, which are random.
            let comparable = |text: &str| match command.ends_with("key list") {
                true => comparable(text).lines().map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect(),
                false => comparable(text),
            };
            assert_eq!(
                comparable(found),
                comparable(expected),
                "docs/{}, line {}: `{command}` printed:\n{found}\nKMS_UPDATE_OPERATING=1 writes what it prints now",
                self.document,
                number + 1
            );
        }
    }
}

#[test]
fn every_command_of_the_guide_prints_what_stands_there() {
    let place = Place::empty();
    Guide { document: "operating.md", least: 30, place: &place, environment: &[], names: &[] }.check();
}
