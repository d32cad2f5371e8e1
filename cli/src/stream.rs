//! Files of any size: which format an input has, progress, interrupts, and copies between files and pipes.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kms::{Error, Keystore, Status, file::FileOptions};
use signal_hook::consts::{SIGINT, SIGTERM};
use zeroize::Zeroizing;

use crate::data::{NewFile, Place, is_stdin};
use crate::exit::{Exit, Failure, Result};
use crate::output;
use crate::secret::Secret;

/// Inputs up to this size become a blob: a file of the library has a header of 8 KiB.
pub const SMALL: u64 = 64 * 1024;
/// Progress is shown on what takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// An input whose first bytes can be read ahead.
pub struct Input {
    pub path: Option<PathBuf>,
    /// The length of a regular file.
    pub len: Option<u64>,
    /// What was read ahead, in memory that is wiped and not moved.
    head: Secret,
    rest: Box<dyn Read + Send>,
}

impl Input {
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let head = Zeroizing::new(Vec::with_capacity(SMALL as usize + 1));
        let Some(path) = path.filter(|path| !is_stdin(Some(path))) else {
            return Ok(Self { path: None, len: None, head, rest: Box::new(std::io::stdin()) });
        };
        let failed = |error: &std::io::Error| Failure::file("reading", path, error);
        let file = File::open(path).map_err(|error| failed(&error))?;
        let found = file.metadata().map_err(|error| failed(&error))?;
        if found.is_dir() {
            return Err(Failure::usage(format!("{} is a folder; name a file", path.display()))
                .next("tar -c FOLDER | kms encrypt -o FOLDER.tar.kms"));
        }
        let len = found.is_file().then_some(found.len());
        Ok(Self { path: Some(path.to_owned()), len, head, rest: Box::new(file) })
    }

    /// Whether it is more than a blob should hold. A pipe is read that far to find out.
    pub fn is_large(&mut self) -> Result<bool> {
        match self.len {
            Some(len) => Ok(len > SMALL),
            None => Ok(self.read_ahead(SMALL as usize + 1)?.len() as u64 > SMALL),
        }
    }

    /// Whether the library's file format begins here.
    pub fn is_encrypted_file(&mut self) -> Result<bool> {
        Ok(Keystore::is_encrypted_file(self.read_ahead(Keystore::FILE_HEADER_BYTES)?))
    }

    /// The first `wanted` bytes, or all there are.
    fn read_ahead(&mut self, wanted: usize) -> Result<&[u8]> {
        let missing = wanted.saturating_sub(self.head.len()) as u64;
        let read = self.rest.by_ref().take(missing).read_to_end(&mut self.head);
        read.map_err(|error| Failure::file("reading", Path::new(&self.name()), &error))?;
        Ok(&self.head)
    }

    fn name(&self) -> String {
        output::shown(self.path.as_deref())
    }

    /// All of it, for what a blob holds.
    pub fn bytes(self, most: u64) -> Result<Secret> {
        let (name, len) = (self.name(), self.len);
        crate::data::read_from(self.reader(), &name, len, most)
    }

    pub fn reader(self) -> impl Read + Send {
        Cursor::new(self.head).chain(self.rest)
    }
}

/// What progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Items,
}

/// The progress of a long command, and its interruption.
pub struct Watch {
    unit: Unit,
    total: Option<u64>,
    started: Instant,
    bar: OnceLock<ProgressBar>,
    interrupted: Arc<AtomicBool>,
}

impl Watch {
    /// Ctrl-C ends the work at its next step, which leaves no output; a second one ends the process.
    pub fn new(total: Option<u64>, can_stop: bool) -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        if can_stop {
            for signal in [SIGINT, SIGTERM] {
                let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted));
                let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
            }
        }
        Self { unit: Unit::Bytes, total, started: Instant::now(), bar: OnceLock::new(), interrupted }
    }

    /// Counts files or rows. Ctrl-C ends the work between two of them.
    pub fn items(total: Option<u64>) -> Self {
        Self { unit: Unit::Items, ..Self::new(total, true) }
    }

    pub fn of_items(self) -> Self {
        Self { unit: Unit::Items, ..self }
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub fn show(&self, done: u64) {
        if self.started.elapsed() >= PATIENCE {
            self.bar.get_or_init(|| bar(self.unit, self.total, self.started.elapsed())).set_position(done);
        }
    }

    /// Prints something without disturbing the progress bar.
    pub fn aside(&self, print: impl FnOnce()) {
        match self.bar.get() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub fn clear(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }

    pub fn step(&self, done: u64) -> kms::Result<()> {
        if self.is_interrupted() {
            return Err(Error::new(Status::FileIo, "interrupted; there is no output, run the command again"));
        }
        self.show(done);
        Ok(())
    }

    /// The result of the work, in which an interruption has its own exit code.
    pub fn end<T>(self, done: kms::Result<T>) -> Result<T> {
        self.clear();
        done.map_err(|error| {
            let failure = Failure::from(error);
            match self.interrupted.load(Ordering::Relaxed) {
                true => Failure { exit: Exit::Interrupted, code: "Cli.Interrupted", ..failure },
                false => failure,
            }
        })
    }
}

fn bar(unit: Unit, total: Option<u64>, elapsed: Duration) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = match (unit, total) {
        (Unit::Bytes, Some(_)) => "{wide_bar} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
        (Unit::Bytes, None) => "{bytes}  {bytes_per_sec}  {elapsed}",
        (Unit::Items, Some(_)) => "{wide_bar} {human_pos} of {human_len}  {per_sec}  {eta} left",
        (Unit::Items, None) => "{human_pos} found  {per_sec}  {elapsed}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_elapsed(elapsed)
}

/// Runs a copy from a pipe, or to one. A file appears when it is complete, and SIGINT leaves none.
pub fn copy(
    place: &Place,
    total: Option<u64>,
    threads: usize,
    mode: u32,
    work: impl FnOnce(&mut (dyn Write + Send), &FileOptions<'_>) -> kms::Result<u64>,
) -> Result<()> {
    let watch = Watch::new(total, false);
    let step = |done| watch.step(done);
    let options = FileOptions::new().threads(threads).progress(&step);
    let (path, replace) = match place {
        Place::Stdout => {
            let mut out = std::io::stdout();
            let done = work(&mut out, &options);
            return watch.end(done).map(|_| ());
        }
        Place::File { path, replace } => (path, *replace),
    };
    let failed = |error: &std::io::Error| Failure::file("writing", path, error);
    let mut file = NewFile::beside(path)?;
    end_on_signal(file.name().map(Path::to_owned));
    let done = work(&mut file, &options);
    watch.end(done)?;
    file.file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .and_then(|()| file.file().sync_all())
        .map_err(|error| failed(&error))?;
    file.publish(path, replace)
}

/// A reader may wait in the kernel for input that never comes, so a thread cleans up.
fn end_on_signal(leftover: Option<PathBuf>) {
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) {
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                let _ = leftover.map(std::fs::remove_file);
                std::process::exit(Exit::Interrupted as i32);
            }
        });
    }
}
