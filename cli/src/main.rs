//! The `kms` command: operates a libkms keystore from a terminal.

mod args;
mod backup;
mod bulk;
mod call;
mod confirm;
mod copy;
mod crypt;
mod data;
mod database;
mod exit;
mod help;
mod key;
mod keystore;
mod keystore_location;
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
    let passwords = keystore_location::with_passwords(std::env::args_os());
    let cli = Cli::read().unwrap_or_else(|error| {
        let next = help::command_for(&error);
        match error.use_stderr() {
            true => {
                let quoted = error.render().ansi().to_string();
                let shown = passwords.iter().fold(quoted, |text, (hidden, shown)| text.replace(hidden, shown));
                anstream::eprint!("{shown}");
            }
            false => drop(error.print()),
        }
        if let Some(next) = next {
            output::note(&format!(" next: {next}"));
        }
        std::process::exit(error.exit_code())
    });
    if !passwords.is_empty() {
        output::note("Every user of this machine sees the password in the arguments; put it into ~/.pgpass instead.");
    }
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
        Command::AcceptRollback(args) => database::accept_rollback(&cli.global, args),
        Command::Root(command) => root::run(&open()?, command),
        Command::Pkcs11(command) => pkcs11::run(&cli.global, command),
        Command::Call(args) => call::run(&open()?, args),
        Command::Completions { shell } => help::completions(*shell),
        Command::Help { topic } => help::run(topic),
        Command::Manuals { folder } => help::manuals(folder),
    }
}
