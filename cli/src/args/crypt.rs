//! Arguments of the commands that encrypt and decrypt.

use std::path::PathBuf;

use clap::Args;

/// Parse `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// An encryption context.
#[derive(Args, Debug)]
pub struct Context {
    /// Encryption context, not secret; decryption needs the same pairs. May be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    pub context: Vec<(String, String)>,
}

/// Where a result goes.
#[derive(Args, Debug)]
pub struct Target {
    /// File to write; `-`: standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the output file if it exists
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct Encrypt {
    /// File to encrypt into FILE.kms; without it or with `-`: standard input to standard output
    pub file: Option<PathBuf>,
    /// Key id or alias [env: KMS_KEY]; default: `key` of kms.toml, or the only key of the keystore
    #[arg(short = 'K', long)]
    pub key: Option<String>,
    #[command(flatten)]
    pub context: Context,
    #[command(flatten)]
    pub target: Target,
    /// Write text (Base64 between two lines) instead of bytes
    #[arg(short, long)]
    pub armor: bool,
    /// Threads for a large file; default: the number of processors, at most 4
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub threads: usize,
}

#[derive(Args, Debug)]
pub struct Decrypt {
    /// File to decrypt, FILE.kms into FILE; without it or with `-`: standard input to standard output
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub context: Context,
    #[command(flatten)]
    pub target: Target,
    /// Threads for a large file; default: the number of processors, at most 4
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub threads: usize,
}

#[derive(Args, Debug)]
pub struct Reencrypt {
    /// File to re-encrypt in place; without it or with `-`: standard input to standard output
    pub file: Option<PathBuf>,
    /// Key to move to; default: the newest version of the key that encrypted it
    #[arg(short = 'K', long)]
    pub key: Option<String>,
    #[command(flatten)]
    pub context: Context,
    /// Encryption context of the result; default: the same context
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub new_context: Vec<(String, String)>,
    #[command(flatten)]
    pub target: Target,
    /// Write text (Base64 between two lines) instead of bytes
    #[arg(short, long)]
    pub armor: bool,
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// Files to look into; without any or with `-`: standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Datakey {
    /// Key id or alias [env: KMS_KEY]; default: `key` of kms.toml, or the only key of the keystore
    #[arg(short = 'K', long)]
    pub key: Option<String>,
    /// Length of the data key, 1 to 1024 bytes
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub bytes: usize,
    #[command(flatten)]
    pub context: Context,
    /// File for the sealed data key, which `kms decrypt` opens
    #[arg(long, value_name = "FILE", required_unless_present = "json")]
    pub sealed: Option<PathBuf>,
    /// File for the data key itself; default: standard output; `none`: keep the sealed one only
    #[arg(long, value_name = "FILE")]
    pub plaintext: Option<PathBuf>,
    /// Replace files that exist
    #[arg(short, long)]
    pub force: bool,
}
