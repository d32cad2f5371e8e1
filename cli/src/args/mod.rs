//! The command line: the command, and the options that every command takes.

mod crypt;
mod key;
mod keystore;
mod log;
mod pkcs11;
mod version;

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::keystore_location::KeystoreLocation;

pub use crypt::{Columns, Datakey, Decrypt, Encrypt, Inspect, Reencrypt, Target};
pub use key::{Alias, Create, Delete, Import, KeyCommand, KeyNames, List, Policy, Reviewed, Tag};
pub use keystore::{
    AcceptRollback, Backup, Call, Copy, Init, NewRoot, Restore, RootAdd, RootCommand, RootRemove, StatusArgs, Timeline,
};
pub use log::{LogCommand, LogCut, LogExport, LogShow, Watch};
pub use pkcs11::{Pkcs11Command, Pkcs11Config};
pub use version::{VersionCommand, VersionDelete, VersionNames, VersionsReviewed};

/// Operate a libkms keystore: keys that rotate on schedule, encryption, backups.
#[derive(Parser, Debug)]
#[command(
    name = "kms",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
First steps:
  kms init                                  make a keystore in this folder; asks for a passphrase
  kms key create cards --rotate-every 90d   make a key
  kms encrypt notes.txt                     write notes.txt.kms
  kms decrypt notes.txt.kms                 write notes.txt again
  kms status                                see what needs attention

More: kms help topics"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the keystore is, what opens it, how results are printed.
#[derive(Args, Debug)]
pub struct Global {
    /// Path of the keystore [env: KMS_KEYSTORE]
    #[arg(short = 'k', long, global = true, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Keystore")]
    pub keystore: Option<KeystoreLocation>,
    /// File with the root key, 32 bytes [env: KMS_ROOT_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Keystore", group = "root")]
    pub root_key_file: Option<PathBuf>,
    /// File with the root passphrase [env: KMS_ROOT_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Keystore", group = "root")]
    pub root_passphrase_file: Option<PathBuf>,
    /// Descriptor to read the root passphrase from
    #[arg(long, global = true, value_name = "N", help_heading = "Keystore", group = "root")]
    pub root_passphrase_fd: Option<u32>,
    /// Ask for the root passphrase, whatever is configured
    #[arg(long, global = true, help_heading = "Keystore", group = "root")]
    pub ask_passphrase: bool,
    /// File of the anchor, which notices an older copy of the keystore [env: KMS_ANCHOR_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Keystore")]
    pub anchor_file: Option<PathBuf>,
    /// Have the anchor of a database hold each change, not only checkpoints [env: KMS_ANCHOR_STRICT]
    #[arg(long, global = true, help_heading = "Keystore")]
    pub anchor_strict: bool,
    /// File of settings; default: ./kms.toml, ~/.config/kms/kms.toml, /etc/kms/kms.toml [env: KMS_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Keystore")]
    pub config: Option<PathBuf>,
    /// Print JSON, with the field names of `kms call`
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Who the change log names: the command, such as `kms key rotate`
    #[arg(skip)]
    pub actor: String,
}

impl Cli {
    /// The command line, and the name of its command for the change log.
    pub fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut names = vec!["kms"];
        let mut below = matches.subcommand();
        while let Some((name, matches)) = below {
            names.push(name);
            below = matches.subcommand();
        }
        cli.global.actor = names.join(" ");
        Ok(cli)
    }
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a keystore, and ./kms.toml so that later commands find it
    Init(Init),
    /// Keys: create, list, rotate, disable, delete
    #[command(subcommand)]
    Key(KeyCommand),
    /// Encrypt a file, a folder or standard input
    Encrypt(Encrypt),
    /// Decrypt what `kms` or the library encrypted
    Decrypt(Decrypt),
    /// Move ciphertext to the newest version of its key, or to another key
    Reencrypt(Reencrypt),
    /// Show which keys and versions encrypted something
    Inspect(Inspect),
    /// Make a data key for envelope encryption
    Datakey(Datakey),
    /// Versions of a key: disable, enable, delete old ones
    #[command(subcommand)]
    Version(VersionCommand),
    /// Show what the keystore holds and what needs attention
    Status(StatusArgs),
    /// Draw the versions of a key over time
    Timeline(Timeline),
    /// The change log: who changed what and when
    #[command(subcommand)]
    Log(LogCommand),
    /// Follow the changes of all processes, until Ctrl-C
    Watch(Watch),
    /// Check every row of the keystore; a backup: kms backup --verify FILE
    Verify,
    /// Do what is due now: rotations, deletions, expiries
    Tick,
    /// Copy the keystore while programs use it
    Backup(Backup),
    /// Put a backup at the path of a keystore
    Restore(Restore),
    /// Copy a keystore to a new location, while programs use it
    Copy(Copy),
    /// Continue with a database that lost changes
    AcceptRollback(AcceptRollback),
    /// What opens the keystore: key files and passphrases
    #[command(subcommand)]
    Root(RootCommand),
    /// The PKCS#11 module: its configuration
    #[command(subcommand)]
    Pkcs11(Pkcs11Command),
    /// Carry out an action: JSON in, JSON out
    Call(Call),
    /// Print the completions of a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: Shell,
    },
    /// Explain a command or a topic
    Help {
        /// A command, or a topic of `kms help topics`
        topic: Vec<String>,
    },
    /// Write the man pages into a folder
    #[command(hide = true)]
    Manuals { folder: PathBuf },
}
