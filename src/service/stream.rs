//! Push streams: a file encrypted or decrypted in pieces of any length, as they come.

use std::fmt;
use std::io::{Read, Write};

use zeroize::{Zeroize, Zeroizing};

use super::Keystore;
use super::file::keys::{HEAD, NewFile};
use super::file::pipeline::{self, read_full};
use super::key_ref::KeyRef;
use crate::crypto::cobblestone::{ChunkCipher, ChunkNumbers, ChunkOpener, ChunkSealer, TAG, cut_off};
use crate::crypto::file_header::not_a_file;
use crate::error::{Error, Result, Status};
use crate::sys::{memory, waiting};

use pipeline::Work;

/// Chunks of one message, in order. After a failure, every further call fails.
struct Chunks {
    cipher: ChunkCipher,
    numbers: ChunkNumbers,
    /// The start of the next chunk.
    pending: Zeroizing<Vec<u8>>,
    over: bool,
}

impl Chunks {
    fn new(work: Work<'_>) -> Result<Self> {
        let pending = Zeroizing::new(memory::list(work.lengths().0)?);
        Ok(Self { cipher: work.cipher()?, numbers: ChunkNumbers::new(), pending, over: false })
    }

    /// Length of what `more` bytes put out.
    fn output_len(&self, work: Work<'_>, more: usize) -> Result<usize> {
        self.check()?;
        let (full, out) = work.lengths();
        let chunks = self.pending.len().checked_add(more).map(|all| all / full);
        chunks
            .and_then(|chunks| chunks.checked_mul(out))
            .ok_or_else(|| Status::LimitExceeded.error("one update of a stream has too many bytes; pass it in pieces"))
    }

    fn check(&self) -> Result<()> {
        self.numbers.check_process()?;
        if self.over {
            return Err(Status::InvalidArgument.error("the stream has ended or failed; make a new one"));
        }
        Ok(())
    }

    /// `out` has the length that `output_len` returned.
    fn update(&mut self, work: Work<'_>, input: &[u8], out: &mut [u8]) -> Result<()> {
        self.check()?;
        let done = self.chunks(work, input, out);
        self.over = done.is_err();
        if self.over {
            out.zeroize();
        }
        done
    }

    fn chunks(&mut self, work: Work<'_>, mut input: &[u8], mut out: &mut [u8]) -> Result<()> {
        let (full, out_len) = work.lengths();
        while self.pending.len() + input.len() >= full {
            let (place, rest) = out.split_at_mut_checked(out_len).ok_or_else(too_small)?;
            out = rest;
            let number = self.numbers.take(1)?.next().ok_or_else(too_small)?;
            if self.pending.is_empty() {
                let (chunk, rest) = input.split_at(full);
                input = rest;
                work.chunk(&mut self.cipher, number, chunk, place)?;
            } else {
                let (start, rest) = input.split_at(full - self.pending.len());
                input = rest;
                self.pending.extend_from_slice(start);
                work.chunk(&mut self.cipher, number, &self.pending, place)?;
                self.pending.zeroize();
            }
        }
        self.pending.extend_from_slice(input);
        Ok(())
    }

    /// Length of what `finish` puts out.
    fn last_len(&self, work: Work<'_>) -> Result<usize> {
        self.check()?;
        match work {
            Work::Seal(_) => Ok(self.pending.len() + TAG),
            Work::Open(_) => self.pending.len().checked_sub(TAG).ok_or_else(cut_off),
        }
    }

    fn finish(&mut self, work: Work<'_>, out: &mut [u8]) -> Result<()> {
        self.check()?;
        self.over = true;
        let number = self.numbers.take(1)?.next().ok_or_else(too_small)?;
        let done = work.chunk(&mut self.cipher, number, &self.pending, out);
        self.pending.zeroize();
        done.map(drop)
    }
}

fn too_small() -> Error {
    Status::Internal.error("an output buffer of the wrong size for a stream")
}

/// Room for `more` bytes at the end of `out`, filled by `fill`; `out` is as before after a failure.
fn append(out: &mut Vec<u8>, more: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    let before = out.len();
    memory::reserve(out, more)?;
    out.resize(before + more, 0);
    let done = fill(out.get_mut(before..).unwrap_or_default());
    if done.is_err() {
        out.truncate(before);
    }
    done
}

/// A file that is encrypted in pieces, as they come.
///
/// The state of the key counts when the stream is made. A stream that is dropped unfinished leaves a file that is cut off,
/// which decryption refuses. A child of the process cannot use it: both would encrypt under one nonce.
pub struct EncryptStream {
    head: Option<Box<[u8; HEAD]>>,
    sealer: ChunkSealer,
    chunks: Chunks,
}

impl fmt::Debug for EncryptStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptStream").finish_non_exhaustive()
    }
}

impl EncryptStream {
    /// Encrypt the next piece of the plaintext; append what is complete to `out`.
    ///
    /// # Errors
    /// `Forked` in a child of the process that made the stream; `InvalidArgument` after a failure; `LimitExceeded` above
    /// 4 PiB; `OutOfMemory`.
    pub fn update(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        append(out, self.update_len(plaintext.len())?, |out| self.update_to(plaintext, out))
    }

    /// Encrypt the end of the plaintext, and append it to `out`.
    ///
    /// # Errors
    /// Those of [`EncryptStream::update`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        append(out, self.finish_len()?, |out| self.finish_to(out))
    }

    pub(crate) fn update_len(&self, more: usize) -> Result<usize> {
        let len = self.chunks.output_len(Work::Seal(&self.sealer), more)?;
        Ok(len.saturating_add(self.head_len()))
    }

    fn head_len(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.len())
    }

    pub(crate) fn update_to(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let out = self.put_head(out)?;
        self.chunks.update(Work::Seal(&self.sealer), plaintext, out)
    }

    fn put_head<'o>(&mut self, out: &'o mut [u8]) -> Result<&'o mut [u8]> {
        let (place, rest) = out.split_at_mut_checked(self.head_len()).ok_or_else(too_small)?;
        if let Some(head) = self.head.take() {
            place.copy_from_slice(&*head);
        }
        Ok(rest)
    }

    pub(crate) fn finish_len(&self) -> Result<usize> {
        Ok(self.chunks.last_len(Work::Seal(&self.sealer))? + self.head_len())
    }

    pub(crate) fn finish_to(&mut self, out: &mut [u8]) -> Result<()> {
        let out = self.put_head(out)?;
        self.chunks.finish(Work::Seal(&self.sealer), out)
    }
}

/// An encrypted file that is decrypted in pieces, as they come.
///
/// Each chunk is authenticated before its plaintext is returned. **Whether the file is complete is known only when
/// [`DecryptStream::finish`] succeeds.** The state of the key counts when the stream is made.
pub struct DecryptStream {
    opener: ChunkOpener,
    chunks: Chunks,
}

impl fmt::Debug for DecryptStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptStream").finish_non_exhaustive()
    }
}

impl DecryptStream {
    /// Decrypt the next piece of the ciphertext; append the plaintext of complete chunks to `out`.
    ///
    /// # Errors
    /// `AuthenticationFailed` for a modified chunk; those of [`EncryptStream::update`].
    pub fn update(&mut self, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        append(out, self.update_len(ciphertext.len())?, |out| self.update_to(ciphertext, out))
    }

    /// Decrypt the last chunk and append its plaintext to `out`. Only now is the plaintext known to be complete.
    ///
    /// # Errors
    /// `MalformedCiphertext` for a file that was cut off; those of [`DecryptStream::update`].
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        append(out, self.finish_len()?, |out| self.finish_to(out))
    }

    pub(crate) fn update_len(&self, more: usize) -> Result<usize> {
        self.chunks.output_len(Work::Open(&self.opener), more)
    }

    pub(crate) fn update_to(&mut self, ciphertext: &[u8], out: &mut [u8]) -> Result<()> {
        self.chunks.update(Work::Open(&self.opener), ciphertext, out)
    }

    pub(crate) fn finish_len(&self) -> Result<usize> {
        self.chunks.last_len(Work::Open(&self.opener))
    }

    pub(crate) fn finish_to(&mut self, out: &mut [u8]) -> Result<()> {
        self.chunks.finish(Work::Open(&self.opener), out)
    }
}

/// Encrypts what is written to it; made by [`Keystore::encrypt_writer`].
#[derive(Debug)]
pub struct EncryptWriter<W> {
    stream: EncryptStream,
    writer: W,
    out: Vec<u8>,
}

impl<W: Write> EncryptWriter<W> {
    /// Write the end of the file, and return the writer. Without this call the file is cut off.
    ///
    /// # Errors
    /// Those of [`EncryptStream::finish`]; `FileIo` where the writer fails.
    pub fn finish(mut self) -> Result<W> {
        self.out.clear();
        self.stream.finish(&mut self.out)?;
        self.writer.write_all(&self.out).and_then(|()| self.writer.flush()).map_err(|e| pipeline::output_failed(&e))?;
        Ok(self.writer)
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    fn write(&mut self, plaintext: &[u8]) -> std::io::Result<usize> {
        self.out.clear();
        self.stream.update(plaintext, &mut self.out).map_err(std::io::Error::other)?;
        self.writer.write_all(&self.out)?;
        Ok(plaintext.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Decrypts what is read through it; made by [`Keystore::decrypt_reader`].
#[derive(Debug)]
pub struct DecryptReader<R> {
    /// None once it has ended.
    stream: Option<DecryptStream>,
    reader: R,
    sealed: Vec<u8>,
    plaintext: Zeroizing<Vec<u8>>,
    read: usize,
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.read == self.plaintext.len() {
            let Some(stream) = &mut self.stream else { return Ok(0) };
            self.plaintext.zeroize();
            self.read = 0;
            let len = read_full(&mut self.reader, &mut self.sealed).map_err(std::io::Error::other)?;
            let sealed = self.sealed.get(..len).unwrap_or_default();
            stream.update(sealed, &mut self.plaintext).map_err(std::io::Error::other)?;
            if len < self.sealed.len() {
                // Kept after a failure: a further read must not look like the end of the file.
                let len = stream.finish_len().map_err(std::io::Error::other)?;
                let ended = append(&mut self.plaintext, len, |out| stream.finish_to(out));
                ended.map_err(std::io::Error::other)?;
                self.stream = None;
            }
        }
        let rest = self.plaintext.get(self.read..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.read += len;
        Ok(len)
    }
}

impl Keystore {
    /// Length of what [`Keystore::decrypt_stream`] takes first: the header, and the start of the body.
    pub const FILE_START_BYTES: usize = HEAD;

    /// Encrypt a file in pieces, as they come.
    ///
    /// # Errors
    /// Those of [`Keystore::encrypt`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let mut sealed = Vec::new();
    /// let mut stream = keystore.encrypt_stream(key, &[("tenant", "42")])?;
    /// stream.update(b"4111 ", &mut sealed)?;
    /// stream.update(b"1111", &mut sealed)?;
    /// stream.finish(&mut sealed)?;
    ///
    /// let (start, rest) = sealed.split_at(Keystore::FILE_START_BYTES);
    /// let mut plaintext = Vec::new();
    /// let mut stream = keystore.decrypt_stream(start, &[("tenant", "42")])?;
    /// stream.update(rest, &mut plaintext)?;
    /// stream.finish(&mut plaintext)?;
    /// assert_eq!(plaintext, b"4111 1111");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn encrypt_stream<'k>(&self, key: impl Into<KeyRef<'k>>, context: &[(&str, &str)]) -> Result<EncryptStream> {
        self.encrypt_stream_under(key.into().as_bytes(), context)
    }

    pub(crate) fn encrypt_stream_under(&self, key: &[u8], context: &[(&str, &str)]) -> Result<EncryptStream> {
        waiting::allowed()?;
        let NewFile { head, sealer } = self.core()?.new_file(key, context)?;
        let chunks = Chunks::new(Work::Seal(&sealer))?;
        Ok(EncryptStream { head: Some(head), sealer, chunks })
    }

    /// Decrypt a file in pieces, as they come. `start` is its first [`Keystore::FILE_START_BYTES`] bytes; the stream takes
    /// the rest.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt`].
    pub fn decrypt_stream(&self, start: &[u8], context: &[(&str, &str)]) -> Result<DecryptStream> {
        waiting::allowed()?;
        let head = start.try_into().map_err(|_| not_a_file())?;
        let opener = self.core()?.open_file(head, context)?;
        let chunks = Chunks::new(Work::Open(&opener))?;
        Ok(DecryptStream { opener, chunks })
    }

    /// Encrypt everything that is written to the result, and write it to `writer`. Call
    /// [`EncryptWriter::finish`] at the end.
    ///
    /// # Errors
    /// Those of [`Keystore::encrypt`].
    pub fn encrypt_writer<'k, W: Write>(
        &self,
        key: impl Into<KeyRef<'k>>,
        writer: W,
        context: &[(&str, &str)],
    ) -> Result<EncryptWriter<W>> {
        Ok(EncryptWriter { stream: self.encrypt_stream(key, context)?, writer, out: Vec::new() })
    }

    /// Decrypt an encrypted file that `reader` returns. Reading ends with an error where the file was cut off or modified.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt`]; `FileIo` where the reader fails.
    pub fn decrypt_reader<R: Read>(&self, mut reader: R, context: &[(&str, &str)]) -> Result<DecryptReader<R>> {
        let mut head = Box::new([0; HEAD]);
        let len = read_full(&mut reader, &mut *head)?;
        let stream = self.decrypt_stream(head.get(..len).unwrap_or_default(), context)?;
        let sealed = memory::zeroed(4 * pipeline::SEALED_CHUNK)?;
        // Never grown, which would leave a copy behind.
        let plaintext = Zeroizing::new(memory::list(5 * pipeline::SEALED_CHUNK)?);
        Ok(DecryptReader { stream: Some(stream), reader, sealed, plaintext, read: 0 })
    }
}
