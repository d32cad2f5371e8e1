//! A separate folder for each test, and the command in it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub struct Place {
    folder: tempfile::TempDir,
}

/// How a command ended.
pub struct Run {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Place {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a keystore, its key file and kms.toml.
    pub fn new() -> Self {
        let place = Self::empty();
        place.ok(["init", "--root-key-file", "root.key"]);
        place
    }

    /// The same with a key `cards`.
    pub fn with_key() -> Self {
        let place = Self::new();
        place.ok(["key", "create", "cards", "--rotate-every", "90d"]);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A program in the folder, with nothing of the caller's environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").env("HOME", self.folder.path());
        command.current_dir(self.folder.path());
        command
    }

    pub fn kms<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = self.command(kms());
        command.args(arguments);
        command
    }

    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Run {
        ended(self.kms(arguments).stdin(Stdio::null()).output().unwrap())
    }

    pub fn run_with<const N: usize>(&self, arguments: [&str; N], input: impl AsRef<[u8]>) -> Run {
        with_input(self.kms(arguments), input.as_ref())
    }

    /// The standard output of a command that must succeed.
    pub fn ok<const N: usize>(&self, arguments: [&str; N]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?} failed: {}", run.err);
        String::from_utf8(run.out).unwrap()
    }

    pub fn json<const N: usize>(&self, arguments: [&str; N]) -> Value {
        let mut command = self.kms(arguments);
        let run = ended(command.arg("--json").stdin(Stdio::null()).output().unwrap());
        assert_eq!(run.code, Some(0), "{arguments:?} --json failed: {}", run.err);
        serde_json::from_slice(&run.out).unwrap_or_else(|error| panic!("{arguments:?} --json is no JSON: {error}"))
    }

    /// The text of a failure with that exit code, which names the next command where `next` is not empty.
    pub fn fails<const N: usize>(&self, code: i32, next: &str, arguments: [&str; N]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}{}", String::from_utf8_lossy(&run.out), run.err);
        assert!(run.err.contains(next), "{arguments:?} does not name {next:?}: {}", run.err);
        run.err
    }
}

pub fn kms() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kms"))
}

pub fn with_input(mut command: Command, input: &[u8]) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that fails early does not read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    ended(child.wait_with_output().unwrap())
}

pub fn ended(output: Output) -> Run {
    Run { code: output.status.code(), out: output.stdout, err: String::from_utf8_lossy(&output.stderr).into_owned() }
}
