//! Arguments of `kms log` and `kms watch`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Reviewed;

#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Show the newest entries, oldest first
    Show(LogShow),
    /// Check the log, or a file that `kms log export` wrote
    Verify {
        /// Exported file to check; `-`: standard input
        file: Option<PathBuf>,
    },
    /// Write the log as JSON lines
    Export(LogExport),
    /// Remove old entries; the rest of the log stays verifiable
    Cut(LogCut),
}

#[derive(Args, Debug)]
pub struct LogShow {
    /// Only entries of this key: an alias, or an id, even of a key that is destroyed
    #[arg(short = 'K', long)]
    pub key: Option<String>,
    /// Only entries of this date or later, such as 2026-12-31 or 7d ago as `7d`
    #[arg(long, value_name = "DATE")]
    pub from: Option<String>,
    /// Only entries before this date
    #[arg(long, value_name = "DATE")]
    pub to: Option<String>,
    /// The newest N entries of these; 0: all
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
}

#[derive(Args, Debug)]
pub struct LogExport {
    /// File to write, which must not exist; without it or with `-`: standard output
    pub file: Option<PathBuf>,
    /// Only entries after this generation: that of the last line of the export before
    #[arg(long, value_name = "GENERATION")]
    pub after: Option<u64>,
}

#[derive(Args, Debug)]
pub struct LogCut {
    /// Remove the entries that are older than this date, such as 2026-12-31, or 365d for a year ago
    #[arg(long, value_name = "DATE")]
    pub before: String,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

#[derive(Args, Debug)]
pub struct Watch {
    /// Seconds between two reads of the log, 0.1 to 3600
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub interval: f64,
}
