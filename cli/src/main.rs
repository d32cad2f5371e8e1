//! The `kms` command: operates a libkms keystore from a terminal.

mod args;
mod backup;
mod bulk;
mod call;
mod confirm;
mod copy;
mod crypt;
mod data;
mod exit;
mod help;
mod key;
mod keystore;
mod location;
mod log;
mod output;
mod pkcs11;
mod prometheus;
mod report;
mod restore;
mod root;
mod secret;
mod session;
mod status;
mod step;
mod stream;
mod timeline;
mod times;
mod version;
mod watch;
mod work;

use std::process::ExitCode;

use args::{Cli, Command};
use session::Session;

fn main() -> ExitCode {
    let cli = Cli::read().unwrap_or_else(|error| {
        let next = help::command_for(&error);
        let _ = error.print();
        if let Some(next) = next {
            output::note(&format!(" next: {next}"));
        }
        std::process::exit(error.exit_code())
    });
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure, cli.global.json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(cli: &Cli) -> exit::Result<()> {
    let open = || Session::open(&cli.global);
    match &cli.command {
        Command::Init(args) => keystore::init(&cli.global, args),
        Command::Key(command) => key::run(&open()?, command),
        Command::Version(command) => version::run(&open()?, command),
        Command::Encrypt(args) => crypt::encrypt(&open()?, args),
        Command::Decrypt(args) => crypt::decrypt(&open()?, args),
        Command::Reencrypt(args) => crypt::reencrypt(&open()?, args),
        Command::Inspect(args) => crypt::inspect(&open()?, args),
        Command::Datakey(args) => crypt::datakey(&open()?, args),
        Command::Status(args) => status::run(&open()?, args),
        Command::Timeline(args) => timeline::run(&open()?, args),
        Command::Log(command) => log::run(&open()?, command),
        Command::Watch(args) => watch::run(&open()?, args),
        Command::Verify => keystore::verify(&open()?),
        Command::Tick => keystore::tick(&open()?),
        Command::Backup(args) => backup::run(&cli.global, args),
        Command::Copy(args) => copy::run(&cli.global, args),
        Command::Restore(args) => restore::run(&cli.global, args),
        Command::Root(command) => root::run(&open()?, command),
        Command::Pkcs11(command) => pkcs11::run(&cli.global, command),
        Command::Call(args) => call::run(&open()?, args),
        Command::Completions { shell } => help::completions(*shell),
        Command::Help { topic } => help::run(topic),
        Command::Manuals { folder } => help::manuals(folder),
    }
}
