//! Arguments of `kms key`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Create a key
    Create(Create),
    /// List the keys
    List(List),
    /// Show a key with its aliases and tags
    Show(KeyName),
    /// List the versions of a key, newest first, with their states and last uses
    Versions(KeyName),
    /// Enable Disabled keys
    Enable(KeyNames),
    /// Disable keys: they neither encrypt nor decrypt until they are enabled
    Disable(KeyNames),
    /// Make a new version of keys; existing ciphertext stays readable
    Rotate(KeyNames),
    /// Set the rotation interval of a key, or turn rotation off
    Policy(Policy),
    /// Schedule keys for deletion, after a waiting period
    Delete(Delete),
    /// Cancel the deletion of keys
    Undelete(KeyNames),
    /// List, set or remove the tags of a key
    Tag(Tag),
    /// List, set or remove the aliases of a key
    Alias(Alias),
    /// Import key material into a key that was created with --external
    Import(Import),
}

#[derive(Args, Debug)]
pub struct KeyName {
    /// Key id or alias; `cards` means alias/cards
    pub key: String,
}

#[derive(Args, Debug)]
pub struct KeyNames {
    /// Key ids or aliases; `cards` means alias/cards
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
}

/// How a command that changes many things is confirmed.
#[derive(Args, Debug, Clone, Copy)]
pub struct Reviewed {
    /// Do it without asking
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Show what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Create {
    /// Alias of the key, with or without `alias/`
    #[arg(value_name = "NAME")]
    pub alias: Option<String>,
    /// Rotate by itself after this interval, such as 90d, 12h or 3600s
    #[arg(short, long, value_name = "INTERVAL")]
    pub rotate_every: Option<String>,
    /// Description, at most 8192 characters
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Tag, may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::crypt::pair)]
    pub tag: Vec<(String, String)>,
    /// Wait for key material that `kms key import` brings
    #[arg(long, conflicts_with = "rotate_every")]
    pub external: bool,
}

#[derive(Args, Debug)]
pub struct List {
    /// Only keys of this state
    #[arg(long, value_parser = ["Enabled", "Disabled", "PendingDeletion", "PendingImport"], ignore_case = true)]
    pub state: Option<String>,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("policy").required(true))]
pub struct Policy {
    #[command(flatten)]
    pub name: KeyName,
    /// Rotate after this interval, such as 90d, 12h or 3600s
    #[arg(short, long, value_name = "INTERVAL", group = "policy")]
    pub rotate_every: Option<String>,
    /// Turn automatic rotation off
    #[arg(long, group = "policy")]
    pub off: bool,
}

#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    pub names: KeyNames,
    /// Waiting period in days, 7 to 366
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    pub days: i32,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

#[derive(Args, Debug)]
pub struct Tag {
    #[command(flatten)]
    pub name: KeyName,
    /// Tags to set; none: list them
    #[arg(value_name = "NAME=VALUE", value_parser = super::crypt::pair)]
    pub set: Vec<(String, String)>,
    /// Tag to remove, may be repeated
    #[arg(long, value_name = "NAME")]
    pub remove: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Alias {
    #[command(flatten)]
    pub name: KeyName,
    /// Aliases to set, with or without `alias/`; none: list them
    #[arg(value_name = "NAME")]
    pub set: Vec<String>,
    /// Move an alias that another key has
    #[arg(long = "move", requires = "set")]
    pub moves: bool,
    /// Alias to remove, may be repeated
    #[arg(long, value_name = "NAME")]
    pub remove: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Import {
    #[command(flatten)]
    pub name: KeyName,
    /// File with the 32 bytes of key material, raw or Base64; `-`: standard input
    #[arg(value_name = "FILE")]
    pub material: PathBuf,
    /// Date after which the material is erased, such as 2027-12-31 or 365d
    #[arg(long, value_name = "DATE")]
    pub expires: Option<String>,
}
