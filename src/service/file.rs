//! Files of any size: encrypt, decrypt, re-encrypt and inspect them, in constant memory.
//!
//! * `keys`: the input key in the header. `pipeline`: the chunks, on several threads. `output`: the new file.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;

use super::Keystore;
use super::crypt::BlobInfo;
use super::key_ref::KeyRef;
use crate::crypto::blob::Blob;
use crate::crypto::cobblestone::{self, ChunkOpener};
use crate::crypto::file_header::{self, FileHeader, HEADER, SLOT, SlotStart, not_a_file};
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::file::{Facts, File};
use crate::sys::{thread, waiting};

pub mod keys;
pub mod output;
pub mod pipeline;

use keys::{HEAD, NewFile, split_head};
use output::NewOutput;
use pipeline::{FileInput, FileOutput, Progress, ReadInput, Work, WriteOutput, changed, failed, read_full};

/// Threads of one call, at most, where the caller leaves the number to the library.
const MOST_THREADS: usize = 4;

/// How a file is encrypted or decrypted.
///
/// ```
/// let options = kms::file::FileOptions::new().threads(2).replace(true);
/// ```
#[derive(Clone, Copy, Default)]
pub struct FileOptions<'a> {
    threads: usize,
    replace: bool,
    progress: Option<Progress<'a>>,
}

impl fmt::Debug for FileOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileOptions").field("threads", &self.threads).field("replace", &self.replace).finish()
    }
}

impl<'a> FileOptions<'a> {
    /// Create the defaults: threads by the number of CPUs, existing files are kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// Use this many threads during the call, the calling one included. 0, the default: as many as there are CPUs, at
    /// most 4.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Replace an existing target, in one step, once the output is complete.
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }

    /// Call `progress` again and again with the number of input bytes whose output has been written.
    ///
    /// It runs on the calling thread. An error that it returns ends the call, which returns it and leaves no output.
    pub fn progress(self, progress: &'a dyn Fn(u64) -> Result<()>) -> Self {
        Self { progress: Some(progress), ..self }
    }

    fn thread_count(&self) -> usize {
        match self.threads {
            0 => thread::parallelism().min(MOST_THREADS),
            threads => threads.min(256),
        }
    }
}

/// The header of an encrypted file, as [`Keystore::inspect_file`] reads it; it is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileInfo {
    /// Which key and version sealed the file's input key.
    pub blob: BlobInfo,
    /// The random id of the file, which re-encryption keeps.
    pub file_id: [u8; 16],
    /// How often the header was written: 1 after encryption, one more after each re-encryption.
    pub sequence: u64,
    /// Length of the plaintext in bytes.
    pub plaintext_len: u64,
}

impl Keystore {
    /// Length of the header of an encrypted file, in bytes.
    pub const FILE_HEADER_BYTES: usize = HEADER;

    /// Whether the first [`Keystore::FILE_HEADER_BYTES`] bytes of a file are those of an encrypted file.
    ///
    /// Fewer bytes may not be enough: re-encryption leaves the first half of the header empty every other time.
    ///
    /// ```
    /// assert!(!kms::Keystore::is_encrypted_file(b"%PDF-1.7"));
    /// ```
    pub fn is_encrypted_file(bytes: &[u8]) -> bool {
        file_header::has_magic(bytes)
    }

    /// Encrypt a file of any size under the primary version of a key. Returns the length of the plaintext.
    ///
    /// The target appears complete, synced, with the mode of the source, or not at all. It is 8 KiB and about 0.1 %
    /// longer. The state of the key counts at the beginning. Decryption needs the same encryption context, in which the
    /// name `kms:file` is reserved.
    ///
    /// # Errors
    /// Those of [`Keystore::encrypt`]; `FileIo` where a file cannot be read or written, or changed meanwhile;
    /// `FileExists` for a target that exists, unless [`FileOptions::replace`].
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, file::FileOptions};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name| folder.path().join(name);
    /// # std::fs::write(path("big.iso"), b"data").unwrap();
    /// let options = FileOptions::new();
    /// keystore.encrypt_file(key, path("big.iso"), path("big.iso.kms"), &[], &options)?;
    /// keystore.rotate(key)?;
    /// keystore.decrypt_file(path("big.iso.kms"), path("again.iso"), &[], &options)?;
    /// # assert_eq!(std::fs::read(path("again.iso")).unwrap(), b"data");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn encrypt_file<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        source: impl AsRef<Path>,
        target: impl AsRef<Path>,
        context: &[(&str, &str)],
        options: &FileOptions<'_>,
    ) -> Result<u64> {
        self.encrypt_file_under(key.into(), source.as_ref(), target.as_ref(), context, options)
    }

    fn encrypt_file_under(
        &self,
        key: KeyRef<'_>,
        source: &Path,
        target: &Path,
        context: &[(&str, &str)],
        options: &FileOptions<'_>,
    ) -> Result<u64> {
        waiting::allowed()?;
        let NewFile { head, sealer } = self.core()?.new_file(key.as_bytes(), context)?;
        let (file, facts) = open_regular(source)?;
        let output = NewOutput::create(target, options.replace)?;
        let work = Work::Seal(&sealer);
        let input = FileInput { file: &file, path: source, start: 0, len: facts.len, chunk: work.lengths().0 };
        output.file.write_all_at(&*head, 0).map_err(|e| failed("write", target, &e))?;
        let into = FileOutput { file: &output.file, path: target, start: HEAD as u64 };
        pipeline::run(work, options.thread_count(), &input, &into, options.progress)?;
        check_unchanged(&file, source, &facts)?;
        output.publish(facts.mode)?;
        Ok(facts.len)
    }

    /// Decrypt a file that [`Keystore::encrypt_file`] or one of the streams wrote. Returns the length of the plaintext.
    ///
    /// The target appears when every byte is authenticated, synced, with the mode of the source, or not at all.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt`], of which `MalformedCiphertext` also means a file that was cut off; `FileIo` and
    /// `FileExists` as for [`Keystore::encrypt_file`].
    pub fn decrypt_file(
        &self,
        source: impl AsRef<Path>,
        target: impl AsRef<Path>,
        context: &[(&str, &str)],
        options: &FileOptions<'_>,
    ) -> Result<u64> {
        self.decrypt_file_at(source.as_ref(), target.as_ref(), context, options)
    }

    fn decrypt_file_at(
        &self,
        source: &Path,
        target: &Path,
        context: &[(&str, &str)],
        options: &FileOptions<'_>,
    ) -> Result<u64> {
        waiting::allowed()?;
        let core = self.core()?;
        let (file, facts) = open_regular(source)?;
        let opener = core.open_file(&*read_head(&file, source)?, context)?;
        cobblestone::plaintext_len(facts.len.saturating_sub(HEADER as u64))?;
        let output = NewOutput::create(target, options.replace)?;
        let work = Work::Open(&opener);
        let (start, len) = (HEAD as u64, facts.len.saturating_sub(HEAD as u64));
        let input = FileInput { file: &file, path: source, start, len, chunk: work.lengths().0 };
        let into = FileOutput { file: &output.file, path: target, start: 0 };
        let written = pipeline::run(work, options.thread_count(), &input, &into, options.progress)?;
        output.publish(facts.mode)?;
        Ok(written)
    }

    /// Encrypt everything that `reader` returns, and write it to `writer`, as [`Keystore::encrypt_file`] does with
    /// files. Returns the length of the ciphertext.
    ///
    /// Reading and writing happen on any thread of the call, one at a time. A failure leaves an output that is cut off,
    /// which decryption refuses.
    ///
    /// # Errors
    /// Those of [`Keystore::encrypt`]; `FileIo` where `reader` or `writer` fails.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, file::FileOptions};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    /// keystore.encrypt_copy(key, &b"data"[..], &mut sealed, &[], &FileOptions::new())?;
    /// keystore.decrypt_copy(&sealed[..], &mut opened, &[], &FileOptions::new())?;
    /// assert_eq!(opened, b"data");
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn encrypt_copy<'k>(
        &self,
        key: impl Into<KeyRef<'k>>,
        reader: impl Read + Send,
        mut writer: impl Write + Send,
        context: &[(&str, &str)],
        options: &FileOptions<'_>,
    ) -> Result<u64> {
        waiting::allowed()?;
        let NewFile { head, sealer } = self.core()?.new_file(key.into().as_bytes(), context)?;
        writer.write_all(&*head).map_err(|e| pipeline::output_failed(&e))?;
        let (input, output) = (ReadInput::new(reader), WriteOutput::new(&mut writer));
        let written = pipeline::run(Work::Seal(&sealer), options.thread_count(), &input, &output, options.progress)?;
        writer.flush().map_err(|e| pipeline::output_failed(&e))?;
        Ok(written + HEAD as u64)
    }

    /// Decrypt an encrypted file that `reader` returns, and write the plaintext to `writer`. Returns its length.
    ///
    /// Each chunk is authenticated before it is written. **Whether the file is complete is known only when the call
    /// succeeds**: after a failure, discard what was written.
    ///
    /// # Errors
    /// Those of [`Keystore::decrypt_file`]; `FileIo` where `reader` or `writer` fails.
    pub fn decrypt_copy(
        &self,
        mut reader: impl Read + Send,
        mut writer: impl Write + Send,
        context: &[(&str, &str)],
        options: &FileOptions<'_>,
    ) -> Result<u64> {
        waiting::allowed()?;
        let mut head = Box::new([0; HEAD]);
        if read_full(&mut reader, &mut *head)? < HEAD {
            return Err(not_a_file());
        }
        let opener = self.core()?.open_file(&head, context)?;
        let (input, output) = (ReadInput::new(reader), WriteOutput::new(&mut writer));
        let written = pipeline::run(Work::Open(&opener), options.thread_count(), &input, &output, options.progress)?;
        writer.flush().map_err(|e| pipeline::output_failed(&e))?;
        Ok(written)
    }

    /// Re-encrypt a file in place under the primary version of `destination`; `None`: of the file's own key. Returns
    /// whether anything had to be done.
    ///
    /// Only the header is rewritten, for a file of any size: the new one next to the old one, synced, then the old one
    /// is erased. The encryption context stays. A call that is interrupted leaves a file that opens; call it again.
    ///
    /// # Errors
    /// Those of [`Keystore::reencrypt`]; `FileIo` where the file cannot be read or written, or another process
    /// re-encrypts it.
    ///
    /// ```
    /// # use kms::{CreateKey, Keystore, Options, file::FileOptions};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// # let key = keystore.create_key(&CreateKey::default())?;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name| folder.path().join(name);
    /// # std::fs::write(path("big.iso"), b"data").unwrap();
    /// # keystore.encrypt_file(key, path("big.iso"), path("big.iso.kms"), &[], &FileOptions::new())?;
    /// keystore.rotate(key)?;
    /// assert!(keystore.reencrypt_file(path("big.iso.kms"), &[], None)?);
    /// assert!(keystore.inspect_file(path("big.iso.kms"))?.blob.is_primary);
    /// assert!(!keystore.reencrypt_file(path("big.iso.kms"), &[], None)?);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn reencrypt_file(
        &self,
        path: impl AsRef<Path>,
        context: &[(&str, &str)],
        destination: Option<KeyRef<'_>>,
    ) -> Result<bool> {
        self.reencrypt_file_at(path.as_ref(), context, destination)
    }

    fn reencrypt_file_at(
        &self,
        path: &Path,
        context: &[(&str, &str)],
        destination: Option<KeyRef<'_>>,
    ) -> Result<bool> {
        waiting::allowed()?;
        let core = self.core()?;
        let file = File::open_writable(path).map_err(|e| failed("open", path, &e))?;
        check_regular(&file, path)?;
        // Released with the file.
        match file.try_hold() {
            Ok(true) => {}
            Ok(false) => {
                let path = shown_path(path);
                return Err(
                    Status::FileIo.error(format!("another process has locked {path}; try again when it is done"))
                );
            }
            // A file system without locks has no waiters either.
            Err(e) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(e) => return Err(failed("lock", path, &e)),
        }
        let head = read_head(&file, path)?;
        let (header, prefix) = split_head(&head)?;
        let FileHeader { slot, other_is_empty } = FileHeader::parse(header)?;
        let input_key = core.open_slot(&slot, context)?;
        // A header that was moved here from another file must not be made newer than the right one.
        let _: ChunkOpener = core.open_body(&slot, &input_key, prefix, context)?;

        let write = |place: usize, bytes: &[u8]| {
            let written = file.write_all_at(bytes, (place * SLOT) as u64).and_then(|()| file.sync_data());
            written.map_err(|e| failed("write", path, &e))
        };
        let sealed = Blob::parse(slot.blob)?.header;
        let destination = match destination {
            Some(name) => core.resolve(name.as_str())?,
            None => sealed.key,
        };
        let primary = core.usable_key(&destination)?.key.primary;
        if sealed.key == destination && primary.is_some_and(|primary| primary.id == sealed.version) {
            // An earlier call may have been interrupted before it erased the old slot.
            if !other_is_empty {
                write(1 - slot.place, &[0; SLOT])?;
            }
            return Ok(!other_is_empty);
        }
        let sequence = slot.start.sequence.checked_add(1).ok_or_else(not_a_file)?;
        let start = SlotStart { sequence, ..slot.start };
        let new = core.seal_slot(destination.to_string().as_bytes(), &start, context, &input_key)?;
        write(1 - slot.place, &new)?;
        write(slot.place, &[0; SLOT])?;
        Ok(true)
    }

    /// Read which key and version protect an encrypted file. The header is neither decrypted nor authenticated.
    ///
    /// # Errors
    /// Those of [`Keystore::inspect`]; `FileIo` where the file cannot be read.
    pub fn inspect_file(&self, path: impl AsRef<Path>) -> Result<FileInfo> {
        let path = path.as_ref();
        waiting::allowed()?;
        let (file, facts) = open_regular(path)?;
        let head = read_head(&file, path)?;
        let slot = FileHeader::parse(split_head(&head)?.0)?.slot;
        Ok(FileInfo {
            blob: self.inspect(slot.blob)?,
            file_id: slot.start.file_id,
            sequence: slot.start.sequence,
            plaintext_len: cobblestone::plaintext_len(facts.len.saturating_sub(HEADER as u64))?,
        })
    }
}

pub fn open_regular(path: &Path) -> Result<(File, Facts)> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let facts = check_regular(&file, path)?;
    Ok((file, facts))
}

fn check_regular(file: &File, path: &Path) -> Result<Facts> {
    let facts = file.facts().map_err(|e| failed("open", path, &e))?;
    if facts.is_regular() {
        return Ok(facts);
    }
    Err(Status::FileIo.error(format!("{} is not a regular file; use a stream for pipes", shown_path(path))))
}

fn read_head(file: &File, path: &Path) -> Result<Box<[u8; HEAD]>> {
    let mut head = Box::new([0; HEAD]);
    let read = file.read_at(&mut *head, 0).map_err(|e| failed("read", path, &e))?;
    if read == HEAD { Ok(head) } else { Err(not_a_file()) }
}

/// What was read is one state of the file: neither its length nor its time has changed, and nothing follows.
fn check_unchanged(file: &File, path: &Path, before: &Facts) -> Result<()> {
    let read_failed = |e: std::io::Error| -> Error { failed("read", path, &e) };
    let now = file.facts().map_err(read_failed)?;
    // The files of /proc have a length of 0.
    let more = file.read_at(&mut [0], before.len).map_err(read_failed)?;
    if (now.len, now.modified) == (before.len, before.modified) && more == 0 { Ok(()) } else { Err(changed(path)) }
}
