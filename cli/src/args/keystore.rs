//! Arguments of the commands on the keystore as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::Reviewed;
use crate::keystore_location::KeystoreLocation;

#[derive(Args, Debug)]
pub struct Init {
    /// Location of the keystore: a path, or a database, as postgres://USER@HOST/DATABASE#KEYSTORE; default: keys.db
    #[arg(value_name = "LOCATION", value_hint = ValueHint::AnyPath)]
    pub location: Option<KeystoreLocation>,
    /// Let this role of the database use the keystore: programs log in as it, and can't change the tables or rewrite the log
    #[arg(long, value_name = "ROLE")]
    pub grant: Option<String>,
    /// Print the SQL that prepares the database, and change nothing
    #[arg(long)]
    pub print_sql: bool,
    /// Do not write ./kms.toml
    #[arg(long)]
    pub no_config: bool,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Exit with 1 if something needs attention
    #[arg(long)]
    pub check: bool,
    /// Print metrics in the text format of Prometheus
    #[arg(long, conflicts_with = "json")]
    pub prometheus: bool,
}

#[derive(Args, Debug)]
pub struct Timeline {
    /// Key id or alias
    pub key: String,
    /// Write a picture into FILE instead; `-`: standard output
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Replace the picture if it exists
    #[arg(short, long, requires = "svg")]
    pub force: bool,
    /// The newest N versions; 0: all
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub limit: usize,
    /// Columns; default: those of the terminal
    #[arg(long, value_name = "N", value_parser = columns)]
    pub width: Option<usize>,
}

fn columns(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|width| (40..=1000).contains(width)).ok_or_else(|| "40 to 1000 columns".to_owned())
}

#[derive(Args, Debug)]
pub struct Backup {
    /// File to write, which must not exist; `-`: standard output
    #[arg(value_name = "FILE")]
    pub target: PathBuf,
    /// Open the existing backup FILE, check all of it and decrypt a probe under each key
    #[arg(long)]
    pub verify: bool,
    /// Write no manifest and no checksum beside the backup
    #[arg(long)]
    pub bare: bool,
}

#[derive(Args, Debug)]
pub struct Restore {
    /// Backup to restore; `-`: standard input
    pub backup: PathBuf,
    /// Restore although programs have the present keystore open; their calls fail meanwhile
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

/// Programs may use SRC meanwhile: at the end, changes wait for a moment. A command that was killed is run again.
#[derive(Args, Debug)]
pub struct Copy {
    /// Keystore to copy; the usual options say what opens it
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub source: KeystoreLocation,
    /// Location of the copy, which must have no keystore; the same root keys open it
    #[arg(value_name = "DST", value_hint = ValueHint::AnyPath)]
    pub target: KeystoreLocation,
}

#[derive(Args, Debug)]
pub struct AcceptRollback {
    #[command(flatten)]
    pub reviewed: Reviewed,
}

/// A root key that is to open the keystore from now on.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("new_root"))]
pub struct NewRoot {
    /// File with the new root key; it is made if it does not exist
    #[arg(long, value_name = "FILE", group = "new_root")]
    pub new_root_key_file: Option<PathBuf>,
    /// File with the new passphrase; without any of these: asks for it
    #[arg(long, value_name = "FILE", group = "new_root")]
    pub new_root_passphrase_file: Option<PathBuf>,
    /// Descriptor to read the new passphrase from
    #[arg(long, value_name = "N", group = "new_root")]
    pub new_root_passphrase_fd: Option<u32>,
}

#[derive(Subcommand, Debug)]
pub enum RootCommand {
    /// List what opens the keystore
    List,
    /// Let a further key file or passphrase open the keystore
    Add(RootAdd),
    /// Remove one that opens the keystore
    Remove(RootRemove),
    /// Replace all that open the keystore by a new one
    Change(RootChange),
}

#[derive(Args, Debug)]
pub struct RootAdd {
    #[command(flatten)]
    pub new: NewRoot,
    /// Label, not secret, such as `recovery`
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

#[derive(Args, Debug)]
pub struct RootRemove {
    /// Id or label of the root slot, as in `kms root list`
    pub slot: String,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

#[derive(Args, Debug)]
pub struct RootChange {
    #[command(flatten)]
    pub new: NewRoot,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

#[derive(Args, Debug)]
pub struct Call {
    /// Action, such as DescribeKey; `kms call ListActions` lists all
    pub action: String,
    /// Parameters as a JSON object; `-`: standard input, where secrets belong
    #[arg(default_value = "{}")]
    pub request: String,
}
