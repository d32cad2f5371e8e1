//! `kms help`, `completions`, and the man pages.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Failure, Result};
use crate::output;

const TOPICS: [(&str, &str, &str); 6] = [
    ("config", "where the keystore is and what opens it", include_str!("topics/config.txt")),
    ("root", "key files, passphrases, recovery", include_str!("topics/root.txt")),
    ("context", "encryption contexts", include_str!("topics/context.txt")),
    ("rotation", "rotate, re-encrypt, delete: which is which", include_str!("topics/rotation.txt")),
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

/// Writes a man page for each command, and the topics as sections of kms(1).
pub fn manuals(folder: &Path) -> Result<()> {
    let failed = |error: &std::io::Error| Failure::file("writing the man pages into", folder, error);
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let topics: String = TOPICS
        .iter()
        .map(|(_, _, text)| text.lines().map(|line| format!("{line}\n")).collect::<String>() + "\n")
        .collect();
    let command = Cli::command().after_long_help(topics);
    clap_mangen::generate_to(command, folder).map_err(|error| failed(&error))
}
