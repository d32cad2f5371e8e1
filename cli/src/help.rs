//! `kms help`, `completions`, and the man pages.

use std::path::Path;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::{Failure, Result};
use crate::output;

const TOPICS: [(&str, &str, &str); 9] = [
    ("config", "where the keystore is and what opens it", include_str!("topics/config.txt")),
    ("root", "key files, passphrases, recovery", include_str!("topics/root.txt")),
    ("context", "encryption contexts", include_str!("topics/context.txt")),
    ("rotation", "rotate, re-encrypt, delete: which is which", include_str!("topics/rotation.txt")),
    (
        "moving",
        "move existing data to the newest version: files, folders, databases",
        include_str!("topics/moving.txt"),
    ),
    ("log", "who changed what, and when", include_str!("topics/log.txt")),
    ("database", "a keystore in PostgreSQL", include_str!("topics/database.txt")),
    ("anchor", "noticing an older copy of the keystore", include_str!("topics/anchor.txt")),
    ("exit-codes", "how commands end, for scripts", include_str!("topics/exit-codes.txt")),
];

pub fn run(topic: &[String]) -> Result<()> {
    let mut command = Cli::command().disable_help_flag(false);
    command.build();
    let first = topic.first().map(String::as_str);
    match first {
        None => return output::print(&command.render_help().ansi().to_string()),
        Some("topics") => {
            let list: String = TOPICS.iter().map(|(name, about, _)| format!("  {name:12}{about}\n")).collect();
            return output::print(&format!("Topics, as in: kms help rotation\n{list}"));
        }
        Some(name) => {
            if let Some((_, _, text)) = TOPICS.iter().find(|(known, _, _)| *known == name) {
                return output::print(text);
            }
        }
    }
    let mut found = &mut command;
    for name in topic {
        found = found.find_subcommand_mut(name).ok_or_else(|| {
            Failure::usage(format!("there is no command or topic {}", output::clean(&topic.join(" "))))
                .next("kms help; kms help topics")
        })?;
    }
    output::print(&found.render_long_help().ansi().to_string())
}

pub fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kms", &mut text);
    output::print_bytes(&text)
}

/// The likely command behind one that does not exist: `kms rotate` is `kms key rotate`.
pub fn command_for(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if matches!(typed.as_str(), "passphrase" | "password" | "passwd") {
        return Some("kms root change; kms help root".to_owned());
    }
    let command = Cli::command();
    let groups = command.get_subcommands().filter(|group| group.find_subcommand(typed).is_some());
    groups.map(|group| format!("kms {} {typed}", group.get_name())).next()
}

/// Write a man page for each command into a folder; the topics are sections of kms(1).
pub fn manuals(folder: &Path) -> Result<()> {
    let failed = |error: &std::io::Error| Failure::file("writing the man pages into", folder, error);
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let mut command = Cli::command();
    command.build();
    pages(&command, folder, &written()).map_err(|error| failed(&error))
}

fn pages(command: &clap::Command, folder: &Path, date: &str) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let version = concat!("kms ", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone()).title(name.to_uppercase()).date(date).source(version).manual("libkms");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(more) = command.get_after_help() {
        section(&format!("EXAMPLES\n{more}"), &mut text);
    }
    if command.get_name() == "kms" {
        TOPICS.iter().for_each(|(_, _, topic)| section(topic, &mut text));
    }
    // Lists of possible values come with breaks around their spaces, which man warns of.
    let text = String::from_utf8_lossy(&text).replace("\n.br\n\n.br\n", "\n.sp\n");
    std::fs::write(folder.join(format!("{name}.1")), text)?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| pages(below, folder, date))
}

/// A topic as it is: its first line is the heading, its lines are not filled.
fn section(topic: &str, page: &mut Vec<u8>) {
    let (title, text) = topic.split_once('\n').unwrap_or((topic, ""));
    page.extend_from_slice(format!(".SH \"{title}\"\n.nf\n").as_bytes());
    for line in text.trim().lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        page.extend_from_slice(format!("{guard}{line}\n").as_bytes());
    }
    page.extend_from_slice(b".fi\n");
}

/// The date of the man pages: SOURCE_DATE_EPOCH, so that packages are the same bytes from the same sources.
fn written() -> String {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let date = seconds.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    date.unwrap_or_else(chrono::Utc::now).format("%Y-%m-%d").to_string()
}
