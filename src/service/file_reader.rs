//! Random access to an encrypted file.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::Keystore;
use super::file::keys::HEAD;
use super::file::open_regular;
use super::file::pipeline::{SEALED_CHUNK, failed, fill};
use crate::crypto::cobblestone::{self, CHUNK, ChunkCipher, ChunkOpener, TAG, cut_off};
use crate::crypto::file_header::{HEADER, not_a_file};
use crate::error::Result;
use crate::sys::memory::FileBuffer;
use crate::sys::sync::Lock;
use crate::sys::{fork, memory, waiting};

/// Reads from a place of the encrypted file until the buffer is full or the file ends; returns how much was read.
type ReadSealed<'s> = Box<dyn Fn(&mut [u8], u64) -> Result<usize> + Send + Sync + 's>;

/// An encrypted file that is read at any place.
///
/// Opening it authenticates its length; each read authenticates the chunks that it touches, of 16 KiB each. One chunk is
/// kept, so that small reads in order decrypt it once. Threads may share a reader, and a forked child may use it too.
pub struct FileReader<'s> {
    source: ReadSealed<'s>,
    opener: ChunkOpener,
    len: u64,
    position: u64,
    /// None while a thread reads: its source may be code of the caller's, which may read from here again.
    kept: Lock<Option<CurrentChunk>>,
    epoch: u64,
}

struct CurrentChunk {
    cipher: ChunkCipher,
    number: Option<u64>,
    sealed: FileBuffer,
    plaintext: Zeroizing<Vec<u8>>,
    filled: usize,
}

impl CurrentChunk {
    fn new(opener: &ChunkOpener) -> Result<Self> {
        Ok(Self {
            cipher: opener.cipher()?,
            number: None,
            sealed: FileBuffer::new(SEALED_CHUNK)?,
            plaintext: Zeroizing::new(memory::zeroed(CHUNK)?),
            filled: 0,
        })
    }
}

impl fmt::Debug for FileReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader").field("len", &self.len).finish_non_exhaustive()
    }
}

impl FileReader<'_> {
    /// Return the length of the plaintext in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the plaintext has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Read plaintext from `offset` on, until `buffer` is full or the file ends. Return how much was read. After a failure,
    /// `buffer` holds no plaintext.
    ///
    /// # Errors
    /// `AuthenticationFailed` for a modified chunk; `FileIo` where the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut current = self.take_chunk()?;
        let read = self.read_through(&mut current, buffer, offset);
        self.keep_chunk(current)?;
        read
    }

    /// The kept chunk; another where a read that has begun has it, or a thread that a fork left behind may have the lock.
    fn take_chunk(&self) -> Result<CurrentChunk> {
        if fork::epoch() == self.epoch
            && let Some(kept) = self.kept.lock()?.take()
        {
            return Ok(kept);
        }
        CurrentChunk::new(&self.opener)
    }

    fn keep_chunk(&self, current: CurrentChunk) -> Result<()> {
        if fork::epoch() == self.epoch {
            // Dropped, and wiped, after the lock.
            let _other = self.kept.lock()?.replace(current);
        }
        Ok(())
    }

    fn read_through(&self, current: &mut CurrentChunk, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        let read = self.fill(current, buffer, offset, &mut done);
        if read.is_err() {
            buffer.get_mut(..done).unwrap_or_default().zeroize();
        }
        read.map(|()| done)
    }

    /// `done` counts the bytes that were written, also before a failure.
    fn fill(&self, current: &mut CurrentChunk, buffer: &mut [u8], mut offset: u64, done: &mut usize) -> Result<()> {
        while offset < self.len
            && let Some(rest) = buffer.get_mut(*done..).filter(|rest| !rest.is_empty())
        {
            let (number, inside) = (offset / CHUNK as u64, (offset % CHUNK as u64) as usize);
            let chunk = self.chunk(current, number)?;
            let found = chunk.get(inside..).unwrap_or_default();
            let len = found.len().min(rest.len());
            if len == 0 {
                return Err(cut_off());
            }
            rest.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
            *done += len;
            offset += len as u64;
        }
        Ok(())
    }

    fn chunk<'c>(&self, current: &'c mut CurrentChunk, number: u64) -> Result<&'c [u8]> {
        if current.number != Some(number) {
            current.number = None;
            let left = self.len.saturating_sub(number.saturating_mul(CHUNK as u64));
            let len = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let sealed = current.sealed.get_mut(..len + TAG).ok_or_else(cut_off)?;
            let at = HEAD as u64 + number * SEALED_CHUNK as u64;
            if (self.source)(sealed, at)? < sealed.len() {
                return Err(cut_off());
            }
            let plaintext = current.plaintext.get_mut(..len).ok_or_else(cut_off)?;
            self.opener.open(&mut current.cipher, number, sealed, plaintext)?;
            (current.number, current.filled) = (Some(number), len);
        }
        Ok(current.plaintext.get(..current.filled).unwrap_or_default())
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.read_at(buffer, self.position).map_err(std::io::Error::other)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for FileReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = to.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Keystore {
    /// Open an encrypted file for reading at any place.
    ///
    /// The state of the key counts now.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt_file`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, file::FileOptions};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name| folder.path().join(name);
    /// # std::fs::write(path("big.iso"), b"0123456789").unwrap();
    /// # keystore.encrypt_file(key, path("big.iso"), path("big.iso.kms"), &[], &FileOptions::new())?;
    /// let file = keystore.open_file(path("big.iso.kms"), &[])?;
    /// let mut buffer = [0; 3];
    /// file.read_at(&mut buffer, 4)?;
    /// assert_eq!((&buffer, file.len()), (b"456", 10));
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn open_file(&self, path: impl AsRef<Path>, context: &[(&str, &str)]) -> Result<FileReader<'static>> {
        let path = path.as_ref().to_owned();
        let (file, facts) = open_regular(&path)?;
        let read = move |buffer: &mut [u8], at| file.read_at(buffer, at).map_err(|e| failed("read", &path, &e));
        self.open_source(Box::new(read), facts.len, context)
    }

    /// Open an encrypted file of `len` bytes at any location: `read_at` reads from an offset, as
    /// `std::os::unix::fs::FileExt::read_at` does.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt_file`]; `FileIo` where `read_at` fails.
    pub fn open_file_with<'s>(
        &self,
        read_at: impl Fn(&mut [u8], u64) -> std::io::Result<usize> + Send + Sync + 's,
        len: u64,
        context: &[(&str, &str)],
    ) -> Result<FileReader<'s>> {
        let read =
            move |buffer: &mut [u8], at: u64| fill(buffer, |rest, done| read_at(rest, at.saturating_add(done as u64)));
        self.open_source(Box::new(read), len, context)
    }

    pub(crate) fn open_source<'s>(
        &self,
        source: ReadSealed<'s>,
        len: u64,
        context: &[(&str, &str)],
    ) -> Result<FileReader<'s>> {
        waiting::allowed()?;
        let mut head = Box::new([0; HEAD]);
        if source(&mut *head, 0)? < HEAD {
            return Err(not_a_file());
        }
        let opener = self.core()?.open_file(&head, context)?;
        let len = cobblestone::plaintext_len(len.saturating_sub(HEADER as u64))?;
        let mut current = CurrentChunk::new(&opener)?;
        let reader = FileReader { source, opener, len, position: 0, kept: Lock::default(), epoch: fork::epoch() };
        // The last chunk authenticates only with the right length.
        reader.chunk(&mut current, len / CHUNK as u64)?;
        reader.keep_chunk(current)?;
        Ok(reader)
    }
}
