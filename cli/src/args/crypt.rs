//! Arguments of the commands that encrypt and decrypt.

use std::path::PathBuf;

use clap::Args;

use super::Reviewed;

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
    /// File to encrypt into FILE.kms, or a folder; without it or with `-`: standard input to standard output
    pub file: Option<PathBuf>,
    /// Folder for the result, with the same tree as the folder that is encrypted. What exists there is kept
    #[arg(short = 'd', long, value_name = "FOLDER", conflicts_with_all = ["output", "armor"])]
    pub output_dir: Option<PathBuf>,
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
    /// File to decrypt, FILE.kms into FILE, or a folder; without it or with `-`: standard input to standard output
    pub file: Option<PathBuf>,
    /// Folder for the result, with the same tree as the folder that is decrypted. What exists there is kept
    #[arg(short = 'd', long, value_name = "FOLDER", conflicts_with = "output")]
    pub output_dir: Option<PathBuf>,
    #[command(flatten)]
    pub context: Context,
    #[command(flatten)]
    pub target: Target,
    /// Threads for a large file; default: the number of processors, at most 4
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub threads: usize,
}

/// Where ciphertext is, if it is not a whole file each.
#[derive(Args, Debug)]
pub struct Columns {
    /// The files are CSV: the ciphertext, as Base64, is in the column of this name. The first row names the columns
    #[arg(long, value_name = "COLUMN", group = "format", help_heading = "Columns")]
    pub csv: Option<String>,
    /// What separates the columns of a CSV file: one character, or `tab`
    #[arg(long, value_name = "CHARACTER", requires = "csv", value_parser = delimiter, default_value = ",", help_heading = "Columns")]
    pub delimiter: u8,
    /// The files have a JSON object on each line: the ciphertext, as Base64, is in this field; `outer.inner` for a nested one
    #[arg(long, value_name = "FIELD", group = "format", help_heading = "Columns")]
    pub jsonl: Option<String>,
    /// The files are SQLite databases: the ciphertext, as a blob or as Base64, is in this column
    #[arg(long, value_name = "TABLE.COLUMN", group = "format", help_heading = "Columns")]
    pub sqlite: Option<String>,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("expected one character, or tab".to_owned()),
    }
}

impl Columns {
    pub fn any(&self) -> bool {
        self.csv.is_some() || self.jsonl.is_some() || self.sqlite.is_some()
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
kms reencrypt note.txt.kms                             one file, at once
kms reencrypt a.kms b.kms archive/                     files, and folders with all that is in them
kms reencrypt rows.csv --csv card                      a column of a CSV file
kms reencrypt app.db --sqlite customer.card -c table=customer --context-column id=customer_id

Several files, folders and columns are counted first, and you are asked. What cannot be moved is reported and stays
as it was. An interrupted command can be run again. For other databases: move_rows of the Python package, or
kms_reencrypt_batch in C; kms help moving")]
pub struct Reencrypt {
    /// Files and folders to re-encrypt in place; without any or with `-`: standard input to standard output
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Key to move to; default: the newest version of the key that encrypted it
    #[arg(short = 'K', long)]
    pub key: Option<String>,
    #[command(flatten)]
    pub context: Context,
    /// Encryption context of the results; default: the same context. With --context-column, those of the row stay
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub new_context: Vec<(String, String)>,
    #[command(flatten)]
    pub target: Target,
    /// Write text (Base64 between two lines) instead of bytes
    #[arg(short, long)]
    pub armor: bool,
    #[command(flatten)]
    pub columns: Columns,
    /// Encryption context whose value is in another column or field of the same row. May be repeated
    #[arg(long, value_name = "NAME=COLUMN", value_parser = pair, requires = "format", help_heading = "Columns")]
    pub context_column: Vec<(String, String)>,
    #[command(flatten)]
    pub reviewed: Reviewed,
}

#[derive(Args, Debug)]
#[command(after_help = "\
kms inspect note.txt.kms                               one file
kms inspect archive/                                   count everything in a folder by key and version
kms inspect archive/ --list                            show which file is under which version
kms inspect app.db --sqlite customer.card              count a column of a table

Counts end with the versions that nothing here needs. Headers are read; nothing is decrypted or authenticated.")]
pub struct Inspect {
    /// Files and folders; without any or with `-`: standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub columns: Columns,
    /// Show the key and version of each file or row
    #[arg(long)]
    pub list: bool,
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
