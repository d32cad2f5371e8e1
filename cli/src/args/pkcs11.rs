//! Arguments of `kms pkcs11`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub enum Pkcs11Command {
    /// Write the configuration that makes the keystore a slot of the module
    Config(Pkcs11Config),
}

#[derive(Args, Debug)]
#[command(after_help = "\
kms pkcs11 config                                      for all programs of this machine, as root
kms pkcs11 config pkcs11.toml --label cards            for programs with KMS_PKCS11_CONF=pkcs11.toml

The keystore is not opened. With a root key file, the module needs no PIN; otherwise the PIN is the passphrase.")]
pub struct Pkcs11Config {
    /// File to write, which must not exist
    #[arg(value_name = "FILE", default_value = "/etc/libkms/pkcs11.toml")]
    pub file: PathBuf,
    /// Label of the token, 1 to 32 bytes; default: the file name of the keystore, without its extension
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Let programs decrypt and encrypt, but change nothing
    #[arg(long)]
    pub read_only: bool,
}
