//! What is printed: tables for people, JSON for programs, colour on terminals only.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Local};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::exit::{Exit, Failure, Result, reason};

const HEADER: Style = Style::new().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Print the JSON for programs, or the text for people, in one write.
    pub fn print(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<()> {
        let shown = if self.json { format!("{:#}\n", json()) } else { text() };
        print(&shown)
    }
}

/// Print to standard output. A reader that has gone, such as `head`, ends the command quietly.
pub fn print(text: &str) -> Result<()> {
    let mut out = anstream::AutoStream::auto(std::io::stdout().lock());
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Print bytes as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    finish(out.write_all(bytes).and_then(|()| out.flush()))
}

pub fn finish(done: std::io::Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(Exit::File, "Cli.File", format!("writing standard output: {}", reason(&error)))),
        Ok(()) => Ok(()),
    }
}

/// Standard output for a writer of the library; its reader may stop early.
pub struct Pipe;

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = std::io::stdout().write(bytes);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            std::process::exit(0);
        }
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().flush()
    }
}

/// Print a note for people to standard error, which scripts may discard.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Print a failure: JSON on standard error with --json, otherwise its text and the next command.
pub fn failure(failure: &Failure, json: bool) {
    let mut out = anstream::stderr().lock();
    if json {
        let body = serde_json::json!({ "Code": failure.code, "Message": failure.text, "Next": failure.next, "ExitCode": failure.exit as u8 });
        let _ = writeln!(out, "{body:#}");
        return;
    }
    let _ = writeln!(out, "{ERROR}error:{ERROR:#} {}", clean(&failure.text));
    if let Some(next) = &failure.next {
        let _ = writeln!(out, " next: {next}");
    }
}

/// Print what failed among several things, while the command works on.
pub fn failed_item(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{ERROR}failed:{ERROR:#} {}", clean(text));
}

pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// A table without lines, whose header is bold.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| clean(&cell)));
    }
    let mut shown = String::new();
    for (number, line) in table.to_string().lines().enumerate() {
        // The padding before the first column goes.
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        match number {
            0 => shown.push_str(&format!("{HEADER}{line}{HEADER:#}\n")),
            _ => shown.push_str(&format!("{line}\n")),
        }
    }
    shown
}

/// Fields below each other, with the values in one column.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    fields.iter().map(|(name, value)| format!("{HEADER}{name:width$}{HEADER:#}  {}\n", clean(value))).collect()
}

pub fn warning(text: &str) -> String {
    format!("{WARNING}!{WARNING:#} {}\n", clean(text))
}

/// Text from the keystore or a file name, without control characters, which would steer a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A date of the service's JSON in the user's time zone; empty where there is none.
pub fn date(text: &str) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(date) => date.with_timezone(&Local).format("%Y-%m-%d %H:%M").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// A time in the user's time zone, exact to a second.
pub fn moment(millis: i64) -> String {
    let time = DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A field of a JSON object as text; empty where there is none.
pub fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// An interval of the service's JSON, `7776000s`, in the largest unit that fits.
pub fn interval(text: &str) -> String {
    let Some(seconds) = text.strip_suffix('s').and_then(|digits| digits.parse::<u64>().ok()) else {
        return text.to_owned();
    };
    for (unit, name) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
        if seconds != 0 && seconds % unit == 0 {
            return format!("{}{name}", seconds / unit);
        }
    }
    text.to_owned()
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A count of things: `1 key`, `2 keys`.
pub fn count(number: u64, thing: &str) -> String {
    counted(number, thing, &format!("{thing}s"))
}

pub fn counted(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// The name of an input for people.
pub fn shown(path: Option<&Path>) -> String {
    match path {
        Some(path) if path.as_os_str() != "-" => path.display().to_string(),
        _ => "standard input".to_owned(),
    }
}
