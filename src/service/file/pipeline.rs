//! Seals or opens the chunks of one file, on one thread or several, in constant memory.
//!
//! Each thread takes the next piece of the input, transforms it and puts it into the output, until the input ends or one of
//! them fails. No thread outlives the call.

use std::io::{Read, Write};
use std::path::Path;

use crate::crypto::cobblestone::{
    CHUNK, ChunkCipher, ChunkNumber, ChunkNumbers, ChunkOpener, ChunkRun, ChunkSealer, SEALED, TAG, cut_off,
};
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{self, File};
use crate::sys::memory::FileBuffer;
use crate::sys::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sys::sync::{Lock, Turns};
use crate::sys::thread;

/// Chunks of a piece: 256 KiB, so that input and output of a thread stay in the CPU's cache.
const CHUNKS: usize = 16;

/// Bytes of a full chunk, sealed.
pub const SEALED_CHUNK: usize = SEALED;

/// What is done with each chunk.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    Seal(&'a ChunkSealer),
    Open(&'a ChunkOpener),
}

impl Work<'_> {
    pub fn cipher(&self) -> Result<ChunkCipher> {
        match self {
            Work::Seal(sealer) => sealer.cipher(),
            Work::Open(opener) => opener.cipher(),
        }
    }

    /// Lengths of a full chunk before and after.
    pub fn lengths(&self) -> (usize, usize) {
        match self {
            Work::Seal(_) => (CHUNK, SEALED),
            Work::Open(_) => (SEALED, CHUNK),
        }
    }

    /// Transforms one chunk; returns the length of the result.
    pub fn chunk(&self, cipher: &mut ChunkCipher, number: ChunkNumber, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = match self {
            Work::Seal(_) => input.len() + TAG,
            Work::Open(_) => input.len().checked_sub(TAG).ok_or_else(cut_off)?,
        };
        let out = out.get_mut(..len).ok_or_else(too_small)?;
        match self {
            Work::Seal(sealer) => sealer.seal(cipher, number, input, out)?,
            Work::Open(opener) => opener.open(cipher, number.value(), input, out)?,
        }
        Ok(len)
    }

    /// Transforms a piece; returns the length of the result, and whether the piece was the last.
    fn piece(&self, cipher: &mut ChunkCipher, run: ChunkRun, input: &[u8], out: &mut [u8]) -> Result<(usize, bool)> {
        let (full, _) = self.lengths();
        let (mut rest, mut done) = (input, 0);
        for number in run {
            let (chunk, after) = rest.split_at(full.min(rest.len()));
            done += self.chunk(cipher, number, chunk, out.get_mut(done..).ok_or_else(too_small)?)?;
            if chunk.len() < full {
                return Ok((done, true));
            }
            rest = after;
        }
        Ok((done, false))
    }
}

fn too_small() -> Error {
    Status::Internal.error("a buffer of the wrong size for a piece of a file")
}

/// Where pieces come from. All but the last have the length of the buffer.
pub trait PieceInput: Sync {
    /// Fills `buffer` with the piece whose chunks get the next numbers; none when the input has ended.
    fn next(&self, numbers: &ChunkNumbers, buffer: &mut [u8]) -> Result<Option<(ChunkRun, usize)>>;
}

/// Where pieces go, in any order.
pub trait PieceOutput: Sync {
    /// Takes a piece whose first byte is number `at` of the output. False if another thread has stopped the work.
    fn put(&self, piece: u64, at: u64, bytes: &[u8]) -> Result<bool>;

    /// Wakes those that wait in `put`.
    fn stop(&self) {}
}

/// What the caller is called with: how many bytes of the input have arrived in the output.
pub type Progress<'a> = &'a dyn Fn(u64) -> Result<()>;

struct PipelineState<'a> {
    work: Work<'a>,
    input: &'a dyn PieceInput,
    output: &'a dyn PieceOutput,
    numbers: ChunkNumbers,
    stopped: AtomicBool,
    ended: AtomicBool,
    done: AtomicU64,
    written: AtomicU64,
    /// What the caller was called with last.
    reported: AtomicU64,
    failure: Lock<Option<Error>>,
}

/// Stops the others when its thread ends early, also by a panic.
struct StopOthers<'a>(&'a PipelineState<'a>, bool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.stopped.store(true, Ordering::Relaxed);
            self.0.output.stop();
        }
    }
}

impl PipelineState<'_> {
    fn run(&self, progress: Option<Progress<'_>>) {
        let mut others = StopOthers(self, false);
        match self.pieces(progress) {
            Ok(()) => others.1 = true,
            Err(error) => {
                // The first failure counts; the others may follow from it.
                if let Ok(mut failure) = self.failure.lock() {
                    failure.get_or_insert(error);
                }
            }
        }
    }

    fn pieces(&self, progress: Option<Progress<'_>>) -> Result<()> {
        let (input_len, output_len) = self.work.lengths();
        let mut cipher = self.work.cipher()?;
        let mut input = FileBuffer::new(CHUNKS * input_len)?;
        let mut output = FileBuffer::new(CHUNKS * output_len)?;
        while !self.stopped.load(Ordering::Relaxed) {
            let Some((run, len)) = self.input.next(&self.numbers, &mut input)? else { break };
            let first = run.first();
            let read = input.get(..len).ok_or_else(too_small)?;
            let (len, is_last) = self.work.piece(&mut cipher, run, read, &mut output)?;
            let out = output.get(..len).ok_or_else(too_small)?;
            if !self.output.put(first / CHUNKS as u64, first * output_len as u64, out)? {
                break;
            }
            self.written.fetch_add(len as u64, Ordering::Relaxed);
            let done = self.done.fetch_add(read.len() as u64, Ordering::Relaxed) + read.len() as u64;
            if is_last {
                self.ended.store(true, Ordering::Relaxed);
            }
            if let Some(progress) = progress {
                self.reported.store(done, Ordering::Relaxed);
                progress(done)?;
            }
        }
        Ok(())
    }
}

/// Does the work on `threads` threads, this one included; returns how many bytes were put out.
pub fn run(
    work: Work<'_>,
    threads: usize,
    input: &dyn PieceInput,
    output: &dyn PieceOutput,
    progress: Option<Progress<'_>>,
) -> Result<u64> {
    let shared = PipelineState {
        work,
        input,
        output,
        numbers: ChunkNumbers::new(),
        stopped: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        done: AtomicU64::new(0),
        written: AtomicU64::new(0),
        reported: AtomicU64::new(u64::MAX),
        failure: Lock::default(),
    };
    thread::together(threads.saturating_sub(1), || shared.run(progress), || shared.run(None))?;
    if let Some(failure) = shared.failure.lock()?.take() {
        return Err(failure);
    }
    if !shared.ended.load(Ordering::Relaxed) {
        return Err(cut_off());
    }
    if let Some(progress) = progress {
        // Other threads may have done the last pieces, or all of them.
        let done = shared.done.load(Ordering::Relaxed);
        if shared.reported.load(Ordering::Relaxed) != done {
            progress(done)?;
        }
    }
    Ok(shared.written.load(Ordering::Relaxed))
}

/// A failed operation on a file of the caller's.
#[cold]
pub fn failed(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Status::FileIo.error(format!("cannot {doing} {}: {}", shown_path(path), file::explain(error)))
}

/// The bytes of a regular file from `start` on.
pub struct FileInput<'a> {
    pub file: &'a File,
    pub path: &'a Path,
    pub start: u64,
    pub len: u64,
    /// Bytes of a full chunk.
    pub chunk: usize,
}

impl PieceInput for FileInput<'_> {
    fn next(&self, numbers: &ChunkNumbers, buffer: &mut [u8]) -> Result<Option<(ChunkRun, usize)>> {
        let run = numbers.take(CHUNKS as u64)?;
        let at = run.first().saturating_mul(self.chunk as u64);
        let Some(left) = self.len.checked_sub(at) else { return Ok(None) };
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = buffer.get_mut(..len).ok_or_else(too_small)?;
        let read = self.file.read_at(buffer, self.start + at).map_err(|e| failed("read", self.path, &e))?;
        if read < len {
            return Err(changed(self.path));
        }
        Ok(Some((run, len)))
    }
}

/// A source that was written while it was read.
pub fn changed(path: &Path) -> Error {
    let path = shown_path(path);
    Status::FileIo.error(format!("{path} changed while it was read; stop its writer, or copy it first, and try again"))
}

/// A file that is written at any place.
pub struct FileOutput<'a> {
    pub file: &'a File,
    pub path: &'a Path,
    pub start: u64,
}

impl PieceOutput for FileOutput<'_> {
    fn put(&self, _: u64, at: u64, bytes: &[u8]) -> Result<bool> {
        self.file.write_all_at(bytes, self.start + at).map_err(|e| failed("write", self.path, &e))?;
        Ok(true)
    }
}

/// What is read in order.
pub struct ReadInput<R>(Lock<(R, bool)>);

impl<R: Read> ReadInput<R> {
    pub fn new(reader: R) -> Self {
        Self(Lock::new((reader, false)))
    }
}

impl<R: Read + Send> PieceInput for ReadInput<R> {
    fn next(&self, numbers: &ChunkNumbers, buffer: &mut [u8]) -> Result<Option<(ChunkRun, usize)>> {
        let mut inside = self.0.lock()?;
        let (reader, ended) = &mut *inside;
        if *ended {
            return Ok(None);
        }
        let run = numbers.take(CHUNKS as u64)?;
        let len = read_full(reader, buffer)?;
        *ended = len < buffer.len();
        Ok(Some((run, len)))
    }
}

/// Reads until `buffer` is full or the input ends; returns how much was read.
pub fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    fill(buffer, |rest, _| reader.read(rest))
}

/// The same for any source: `read` has the rest of the buffer, and how much of it was filled before.
pub fn fill(buffer: &mut [u8], mut read: impl FnMut(&mut [u8], usize) -> std::io::Result<usize>) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, done) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Status::FileIo.error(format!("cannot read the input: {}", file::explain(&e)))),
        }
    }
    Ok(done)
}

/// What is written in order.
pub struct WriteOutput<W> {
    writer: Lock<W>,
    turns: Turns,
}

impl<W: Write> WriteOutput<W> {
    pub fn new(writer: W) -> Self {
        Self { writer: Lock::new(writer), turns: Turns::default() }
    }
}

impl<W: Write + Send> PieceOutput for WriteOutput<W> {
    fn put(&self, piece: u64, _: u64, bytes: &[u8]) -> Result<bool> {
        if !self.turns.wait(piece) {
            return Ok(false);
        }
        self.writer.lock()?.write_all(bytes).map_err(|e| output_failed(&e))?;
        self.turns.done();
        Ok(true)
    }

    fn stop(&self) {
        self.turns.stop();
    }
}

pub fn output_failed(error: &std::io::Error) -> Error {
    Status::FileIo.error(format!("cannot write the output: {}", file::explain(error)))
}
