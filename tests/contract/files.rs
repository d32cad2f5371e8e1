//! Files of any size: what comes back is what went in, or an error, wherever the file was damaged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use kms::{CreateKey, FileOptions, Keystore, Origin, Status};

use crate::support::{TestKeystore, memory};

const HEADER: usize = Keystore::FILE_HEADER_BYTES;
const PREFIX: usize = 56;
const CHUNK: usize = 16_384;
const SEALED: usize = CHUNK + 16;
const CONTEXT: &[(&str, &str)] = &[("tenant", "42"), ("purpose", "backup")];

/// A keystore, a key and a folder.
struct World {
    kms: TestKeystore,
    key: String,
    folder: tempfile::TempDir,
}

fn world() -> World {
    let kms = memory();
    let key = kms.plain_key();
    World { kms, key, folder: tempfile::tempdir().unwrap() }
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 257 + i / 65_537) as u8).collect()
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The encrypted file of `plaintext`.
    fn sealed(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.kms.encrypt_copy(&self.key, plaintext, &mut sealed, CONTEXT, &FileOptions::new()).unwrap();
        sealed
    }

    /// Opens through a file and through a stream, which must agree; the stream's output must be a prefix in any case.
    fn open(&self, sealed: &[u8], whole: &[u8]) -> Result<Vec<u8>, Status> {
        self.open_with(sealed, whole, CONTEXT)
    }

    fn open_with(&self, sealed: &[u8], whole: &[u8], context: &[(&str, &str)]) -> Result<Vec<u8>, Status> {
        let (source, target) = (self.put("damaged", sealed), self.path("opened"));
        let mut streamed = Vec::new();
        let stream = self.kms.decrypt_copy(sealed, &mut streamed, context, &FileOptions::new().threads(1));
        assert!(whole.starts_with(&streamed), "a wrong plaintext left the stream");
        let file = self.kms.decrypt_file(&source, &target, context, &FileOptions::new().threads(1));
        let opened = std::fs::read(&target);
        assert_eq!(file.is_ok(), opened.is_ok(), "an output exists after a failure, or none after success");
        assert_eq!(stream.is_ok(), file.is_ok());
        self.no_leftovers();
        match file {
            Ok(len) => {
                let opened = opened.unwrap();
                assert_eq!(opened.len() as u64, len);
                assert_eq!(opened, streamed);
                std::fs::remove_file(&target).unwrap();
                Ok(opened)
            }
            Err(error) => Err(error.status()),
        }
    }

    fn no_leftovers(&self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".part"), "{name} was left behind");
        }
    }
}

#[test]
fn a_file_comes_back_at_every_size_and_number_of_threads() {
    let world = world();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 16 * CHUNK - 1, 16 * CHUNK, 16 * CHUNK + 1, 100 * CHUNK + 5] {
        for threads in [1, 2, 5] {
            let options = FileOptions::new().threads(threads).replace(true);
            let plaintext = data(len);
            let source = world.put("plain", &plaintext);
            let (sealed, opened) = (world.path("sealed"), world.path("opened"));
            assert_eq!(world.kms.encrypt_file(&world.key, &source, &sealed, CONTEXT, &options).unwrap(), len as u64);
            let size = std::fs::metadata(&sealed).unwrap().len() as usize;
            assert_eq!(size, HEADER + PREFIX + len + 16 * (len / CHUNK + 1), "{len}");
            assert_eq!(world.kms.inspect_file(&sealed).unwrap().plaintext_len, len as u64);
            assert_eq!(world.kms.decrypt_file(&sealed, &opened, CONTEXT, &options).unwrap(), len as u64);
            assert!(std::fs::read(&opened).unwrap() == plaintext, "{len} bytes, {threads} threads");

            let (mut stream, mut back) = (Vec::new(), Vec::new());
            let written = world.kms.encrypt_copy(&world.key, &plaintext[..], &mut stream, CONTEXT, &options).unwrap();
            assert_eq!(written as usize, stream.len());
            assert_eq!(stream.len(), size);
            world.kms.decrypt_copy(&std::fs::read(&sealed).unwrap()[..], &mut back, CONTEXT, &options).unwrap();
            assert!(back == plaintext);
            back.clear();
            world.kms.decrypt_copy(&stream[..], &mut back, CONTEXT, &options).unwrap();
            assert!(back == plaintext);
        }
    }
    world.no_leftovers();
}

#[test]
fn an_edited_byte_never_yields_a_wrong_plaintext() {
    let world = world();
    let plaintext = data(CHUNK + 100);
    let sealed = world.sealed(&plaintext);
    // All of the header's content and the body's edges; of the rest a sample.
    for at in 0..sealed.len() {
        let is_sampled = at < 200 || (HEADER..HEADER + PREFIX + 40).contains(&at) || at + 160 > sealed.len();
        if !is_sampled && at % 397 != 0 {
            continue;
        }
        let mut edited = sealed.clone();
        edited[at] ^= 1 << (at % 8);
        match world.open(&edited, &plaintext) {
            // The second slot is empty: damage there is what an interrupted re-encryption leaves.
            Ok(opened) => {
                assert!((4096..HEADER).contains(&at) && opened == plaintext, "byte {at} is not authenticated")
            }
            Err(status) => assert!(
                matches!(status, Status::MalformedCiphertext | Status::AuthenticationFailed),
                "byte {at}: {status:?}"
            ),
        }
    }
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_refused() {
    let world = world();
    let plaintext = data(2 * CHUNK + 3);
    let sealed = world.sealed(&plaintext);
    let body = HEADER + PREFIX;
    let edges = [0, HEADER, body, body + SEALED, body + 2 * SEALED, sealed.len()];
    for len in 0..sealed.len() {
        if len % 1009 == 0 || edges.iter().any(|edge| edge.abs_diff(len) < 20) {
            assert!(world.open(&sealed[..len], &plaintext).is_err(), "cut off at {len}");
        }
    }
    for more in [1, 15, 16, 17, SEALED - 19, SEALED - 1, SEALED] {
        let longer = [sealed.clone(), vec![0; more]].concat();
        assert!(world.open(&longer, &plaintext).is_err(), "{more} bytes too many");
    }
}

#[test]
fn chunks_cannot_be_swapped_repeated_dropped_or_appended() {
    let world = world();
    let plaintext = data(3 * CHUNK + 5);
    let sealed = world.sealed(&plaintext);
    let (head, body) = sealed.split_at(HEADER + PREFIX);
    let chunks: Vec<&[u8]> = body.chunks(SEALED).collect();
    assert_eq!(chunks.len(), 4);
    let orders: &[&[usize]] = &[
        &[1, 0, 2, 3],
        &[0, 2, 1, 3],
        &[0, 0, 2, 3],
        &[0, 1, 3],
        &[0, 1, 2, 2, 3],
        &[0, 1, 2, 3, 3],
        &[3],
        &[0, 1, 2],
    ];
    for order in orders {
        let forged = [head].into_iter().chain(order.iter().map(|at| chunks[*at])).collect::<Vec<_>>().concat();
        assert!(world.open(&forged, &plaintext).is_err(), "{order:?}");
    }
    assert_eq!(world.open(&sealed, &plaintext).unwrap(), plaintext);
}

#[test]
fn parts_of_two_files_do_not_mix() {
    let world = world();
    let plaintext = data(CHUNK + 5);
    let (a, b) = (world.sealed(&plaintext), world.sealed(&plaintext));
    for cut in [HEADER, HEADER + 24, HEADER + PREFIX, HEADER + PREFIX + SEALED] {
        let mixed = [&a[..cut], &b[cut..]].concat();
        assert_eq!(world.open(&mixed, &plaintext), Err(Status::AuthenticationFailed), "{cut}");
    }
    let both_slots = [&a[..4096], &b[..4096], &a[HEADER..]].concat();
    assert_eq!(world.open(&both_slots, &plaintext), Err(Status::MalformedCiphertext));
}

#[test]
fn another_context_opens_nothing() {
    let world = world();
    let plaintext = data(10);
    let sealed = world.sealed(&plaintext);
    for context in [&[][..], &[("tenant", "42")], &[("tenant", "43"), ("purpose", "backup")]] {
        let opened = world.open_with(&sealed, &plaintext, context);
        assert_eq!(opened, Err(Status::AuthenticationFailed), "{context:?}");
    }
    let reordered = [("purpose", "backup"), ("tenant", "42")];
    assert_eq!(world.open_with(&sealed, &plaintext, &reordered).unwrap(), plaintext);
    let mut out = Vec::new();
    let reserved = [("kms:file", "x")];
    let refused = world.kms.encrypt_copy(&world.key, &b""[..], &mut out, &reserved, &FileOptions::new());
    assert_eq!(refused.unwrap_err().status(), Status::InvalidArgument);
    assert!(out.is_empty());
}

#[test]
fn the_input_key_is_an_ordinary_blob_of_the_key() {
    let world = world();
    let sealed = world.sealed(b"data");
    let blob = &sealed[34..34 + 112];
    let start: String = sealed[..34].iter().map(|byte| format!("{byte:02x}")).collect();
    let context = [CONTEXT, &[("kms:file", start.as_str())]].concat();
    assert_eq!(world.kms.decrypt(blob, &context).unwrap().len(), 32);
    assert!(world.kms.decrypt(blob, CONTEXT).is_err());
}

#[test]
fn states_of_the_key_answer_as_for_blobs() {
    let world = world();
    let sealed = world.sealed(b"data");
    let seal = || {
        let sealed = world.kms.encrypt_copy(&world.key, &b"data"[..], Vec::new(), CONTEXT, &FileOptions::new());
        sealed.map(drop).map_err(|e| e.status())
    };
    assert_eq!(seal(), Ok(()));
    world.kms.disable_key(&world.key).unwrap();
    assert_eq!(world.open(&sealed, b"data"), Err(Status::RejectedDisabled));
    assert_eq!(seal(), Err(Status::RejectedDisabled));
    world.kms.enable_key(&world.key).unwrap();
    world.kms.schedule_key_deletion(&world.key, 7).unwrap();
    assert_eq!(world.open(&sealed, b"data"), Err(Status::RejectedPendingDeletion));
    assert_eq!(seal(), Err(Status::RejectedPendingDeletion));
    world.kms.cancel_key_deletion(&world.key).unwrap();
    assert_eq!(world.open(&sealed, b"data").unwrap(), b"data");
    let pending = world.kms.external_key();
    let refused = world.kms.encrypt_copy(&pending, &b""[..], Vec::new(), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(refused.status(), Status::RejectedPendingImport);
    assert_eq!(
        memory().decrypt_copy(&sealed[..], Vec::new(), CONTEXT, &FileOptions::new()).unwrap_err().status(),
        Status::KeyNotFound
    );
}

#[test]
fn re_encrypting_rewrites_one_slot_and_erases_the_other() {
    let world = world();
    let plaintext = data(3 * CHUNK);
    let before = world.sealed(&plaintext);
    let path = world.put("file", &before);
    assert!(!world.kms.reencrypt_file(&path, CONTEXT, None).unwrap(), "nothing was to be done");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    for turn in 2..6 {
        world.kms.rotate(&world.key).unwrap();
        assert!(!world.kms.inspect_file(&path).unwrap().blob.is_primary);
        assert!(world.kms.reencrypt_file(&path, CONTEXT, None).unwrap());
        assert!(!world.kms.reencrypt_file(&path, CONTEXT, None).unwrap());
        let info = world.kms.inspect_file(&path).unwrap();
        assert!(info.blob.is_primary);
        assert_eq!(info.sequence, turn);
        let after = std::fs::read(&path).unwrap();
        assert_eq!(after[HEADER..], before[HEADER..], "the body was touched");
        let (old, new) = if turn % 2 == 0 { (0, 4096) } else { (4096, 0) };
        assert!(after[old..old + 4096].iter().all(|byte| *byte == 0), "the old slot is still there");
        assert_eq!(after[new..new + 4], *b"\x8bKMF");
        assert_eq!(world.open(&after, &plaintext).unwrap(), plaintext);
    }
    let other = world.kms.plain_key();
    assert!(world.kms.reencrypt_file(&path, CONTEXT, Some(other.as_str().into())).unwrap());
    assert_eq!(world.kms.inspect_file(&path).unwrap().blob.key.to_string(), other);
    let refused = world.kms.reencrypt_file(&path, &[], None).unwrap_err();
    assert_eq!(refused.status(), Status::AuthenticationFailed);
}

#[test]
fn a_torn_header_leaves_the_other_slot() {
    let world = world();
    let plaintext = data(100);
    let old = world.sealed(&plaintext);
    let path = world.put("file", &old);
    world.kms.rotate(&world.key).unwrap();
    world.kms.reencrypt_file(&path, CONTEXT, None).unwrap();
    let new = std::fs::read(&path).unwrap();
    // Each state of the disk while the new slot is written and the old one erased, in steps of an odd size.
    for cut in (0..=4096).step_by(331).chain([4096]) {
        let mut writing = old.clone();
        writing[4096..4096 + cut].copy_from_slice(&new[4096..4096 + cut]);
        let mut erasing = new.clone();
        erasing[cut..4096].copy_from_slice(&old[cut..4096]);
        for torn in [writing, erasing] {
            assert_eq!(world.open(&torn, &plaintext).unwrap(), plaintext, "{cut}");
            let path = world.put("torn", &torn);
            world.kms.reencrypt_file(&path, CONTEXT, None).unwrap();
            assert!(world.kms.inspect_file(&path).unwrap().blob.is_primary);
            assert!(!world.kms.reencrypt_file(&path, CONTEXT, None).unwrap(), "a second call has work left: {cut}");
            assert_eq!(world.open(&std::fs::read(&path).unwrap(), &plaintext).unwrap(), plaintext);
        }
    }
}

#[test]
fn an_existing_target_is_kept_unless_asked() {
    let world = world();
    let (source, target) = (world.put("plain", b"new"), world.put("target", b"precious"));
    let keep = FileOptions::new();
    let refused = world.kms.encrypt_file(&world.key, &source, &target, &[], &keep).unwrap_err();
    assert_eq!(refused.status(), Status::FileExists);
    assert!(refused.text().contains("target exists"));
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    let replace = FileOptions::new().replace(true);
    world.kms.encrypt_file(&world.key, &source, &target, &[], &replace).unwrap();
    let refused = world.kms.decrypt_file(&target, &source, &[], &keep).unwrap_err();
    assert_eq!(refused.status(), Status::FileExists);
    // A file may be replaced by what it becomes.
    world.kms.decrypt_file(&target, &target, &[], &replace).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"new");
    let folder = world.path("folder");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(
        world.kms.decrypt_file(&target, &folder, &[], &replace).unwrap_err().status(),
        Status::MalformedCiphertext
    );
    assert_eq!(
        world.kms.encrypt_file(&world.key, &target, &folder, &[], &replace).unwrap_err().status(),
        Status::FileExists
    );
    world.no_leftovers();
}

#[test]
fn mode_bits_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    for mode in [0o600, 0o640, 0o755, 0o444, 0o4755] {
        let source = world.put(&format!("plain {mode:o}"), b"x");
        std::fs::set_permissions(&source, PermissionsExt::from_mode(mode)).unwrap();
        let (sealed, opened) = (world.path(&format!("sealed {mode:o}")), world.path(&format!("opened {mode:o}")));
        world.kms.encrypt_file(&world.key, &source, &sealed, &[], &FileOptions::new()).unwrap();
        world.kms.decrypt_file(&sealed, &opened, &[], &FileOptions::new()).unwrap();
        for path in [sealed, opened] {
            let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode & 0o777, "{path:?}");
        }
    }
}

#[test]
fn a_source_that_changes_meanwhile_is_refused() {
    let world = world();
    let source = world.put("log", &data(40 * CHUNK));
    let target = world.path("sealed");
    let change = |_| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(&source)
            .map(|mut file| {
                std::io::Write::write_all(&mut file, b"more").unwrap();
            })
            .unwrap();
        Ok(())
    };
    let options = FileOptions::new().threads(1).progress(&change);
    let refused = world.kms.encrypt_file(&world.key, &source, &target, &[], &options).unwrap_err();
    assert_eq!(refused.status(), Status::FileIo);
    assert!(refused.text().contains("changed while it was read"), "{refused}");
    let kernel = world.kms.encrypt_file(&world.key, "/proc/self/status", &target, &[], &FileOptions::new());
    assert_eq!(kernel.unwrap_err().status(), Status::FileIo);
    assert!(!target.exists());
    world.no_leftovers();
}

#[test]
fn progress_counts_to_the_end_and_can_stop() {
    let world = world();
    let len = 100 * CHUNK + 7;
    let source = world.put("plain", &data(len));
    let last = AtomicU64::new(0);
    let count = |done| {
        assert!(done > last.swap(done, Ordering::Relaxed));
        Ok(())
    };
    let options = FileOptions::new().threads(1).progress(&count);
    world.kms.encrypt_file(&world.key, &source, world.path("a"), &[], &options).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), len as u64);
    let stop = |_| Err(kms::Error::new(Status::Internal, "stopped by the user"));
    for threads in [1, 3] {
        let options = FileOptions::new().threads(threads).progress(&stop);
        let stopped = world.kms.encrypt_file(&world.key, &source, world.path("b"), &[], &options).unwrap_err();
        assert_eq!(stopped.text(), "stopped by the user");
        let stopped = world.kms.encrypt_copy(&world.key, &data(len)[..], Vec::new(), &[], &options).unwrap_err();
        assert_eq!(stopped.text(), "stopped by the user");
    }
    assert!(!world.path("b").exists());
    world.no_leftovers();
}

#[test]
fn failures_of_files_name_the_file() {
    let world = world();
    let absent = world.path("absent");
    let error = world.kms.encrypt_file(&world.key, &absent, world.path("x"), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(error.status(), Status::FileIo);
    assert!(error.text().contains("absent"), "{error}");
    let error = world.kms.encrypt_file(&world.key, world.folder.path(), world.path("x"), &[], &FileOptions::new());
    assert_eq!(error.unwrap_err().status(), Status::FileIo);
    let source = world.put("plain", b"x");
    let error = world.kms.encrypt_file(&world.key, &source, absent.join("x"), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(error.status(), Status::FileIo);
    let error = world.kms.decrypt_file(&source, world.path("x"), &[], &FileOptions::new()).unwrap_err();
    assert_eq!(error.status(), Status::MalformedCiphertext);
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = world.kms.encrypt_copy(&world.key, &data(1 << 20)[..], Full, &[], &FileOptions::new()).unwrap_err();
    assert!(error.text().contains("free some space"), "{error}");
}

#[test]
fn pieces_of_any_length_make_one_file() {
    let world = world();
    let plaintext = data(3 * CHUNK + 77);
    for piece in [1, 7, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, plaintext.len()] {
        let pieces = || plaintext.chunks(if piece < 100 { piece * 331 } else { piece });
        let mut stream = world.kms.encrypt_stream(&world.key, CONTEXT).unwrap();
        let mut sealed = Vec::new();
        pieces().for_each(|piece| stream.update(piece, &mut sealed).unwrap());
        stream.finish(&mut sealed).unwrap();
        assert_eq!(world.open(&sealed, &plaintext).unwrap(), plaintext);

        let (start, rest) = sealed.split_at(Keystore::FILE_START_BYTES);
        let mut stream = world.kms.decrypt_stream(start, CONTEXT).unwrap();
        let mut opened = Vec::new();
        rest.chunks(piece * 3).for_each(|piece| stream.update(piece, &mut opened).unwrap());
        stream.finish(&mut opened).unwrap();
        assert!(opened == plaintext, "{piece}");
    }
}

#[test]
fn a_stream_releases_nothing_of_a_modified_chunk_and_stays_failed() {
    let world = world();
    let plaintext = data(3 * CHUNK);
    let mut sealed = world.sealed(&plaintext);
    sealed[HEADER + PREFIX + SEALED + 5] ^= 1;
    let (start, rest) = sealed.split_at(Keystore::FILE_START_BYTES);
    let mut stream = world.kms.decrypt_stream(start, CONTEXT).unwrap();
    let mut opened = Vec::new();
    stream.update(&rest[..SEALED], &mut opened).unwrap();
    assert_eq!(opened, plaintext[..CHUNK]);
    assert_eq!(stream.update(&rest[SEALED..], &mut opened).unwrap_err().status(), Status::AuthenticationFailed);
    assert_eq!(opened.len(), CHUNK);
    assert_eq!(stream.update(&[], &mut opened).unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(stream.finish(&mut opened).unwrap_err().status(), Status::InvalidArgument);
    let cut = world.kms.decrypt_stream(start, CONTEXT).unwrap();
    assert_eq!(cut.finish(&mut opened).unwrap_err().status(), Status::MalformedCiphertext);
}

#[test]
fn writers_and_readers_adapt_streams() {
    use std::io::{Read, Seek, SeekFrom, Write};
    let world = world();
    let plaintext = data(5 * CHUNK + 1);
    let mut writer = world.kms.encrypt_writer(&world.key, Vec::new(), CONTEXT).unwrap();
    plaintext.chunks(10_000).for_each(|piece| writer.write_all(piece).unwrap());
    let sealed = writer.finish().unwrap();
    let mut opened = Vec::new();
    world.kms.decrypt_reader(&sealed[..], CONTEXT).unwrap().read_to_end(&mut opened).unwrap();
    assert!(opened == plaintext);
    for cut in [sealed.len() - 18, sealed.len() - 1] {
        let mut cut = world.kms.decrypt_reader(&sealed[..cut], CONTEXT).unwrap();
        for _ in 0..3 {
            assert!(cut.read_to_end(&mut Vec::new()).is_err(), "a file that was cut off ends like a whole one");
        }
    }

    let path = world.put("sealed", &sealed);
    let mut file = world.kms.open_file(&path, CONTEXT).unwrap();
    assert_eq!(file.len(), plaintext.len() as u64);
    for at in [0, 1, CHUNK - 1, CHUNK, 4 * CHUNK + 7, plaintext.len() - 1, plaintext.len(), plaintext.len() + 9] {
        for len in [0, 1, 100, CHUNK, 2 * CHUNK + 1] {
            let mut buffer = vec![0; len];
            let read = file.read_at(&mut buffer, at as u64).unwrap();
            let wanted = plaintext.get(at..).unwrap_or_default();
            assert!(buffer[..read] == wanted[..wanted.len().min(len)], "{len} bytes at {at}");
        }
    }
    file.seek(SeekFrom::End(-3)).unwrap();
    let mut end = Vec::new();
    file.read_to_end(&mut end).unwrap();
    assert_eq!(end, plaintext[plaintext.len() - 3..]);
    for len in [0, HEADER, HEADER + PREFIX, sealed.len() - 1, sealed.len() - 17] {
        let part = &sealed[..len];
        let read = |buffer: &mut [u8], at: u64| (&part[part.len().min(at as usize)..]).read(buffer);
        assert!(world.kms.open_file_with(read, len as u64, CONTEXT).is_err(), "{len}");
    }
}

#[test]
fn a_file_is_recognised_also_after_its_re_encryption() {
    let world = world();
    let path = world.put("sealed", &world.sealed(b"data"));
    for _ in 0..3 {
        assert!(Keystore::is_encrypted_file(&std::fs::read(&path).unwrap()[..HEADER]));
        world.kms.rotate(&world.key).unwrap();
        assert!(world.kms.reencrypt_file(&path, CONTEXT, None).unwrap());
    }
    assert!(!Keystore::is_encrypted_file(&[0; HEADER]));
}

/// `tests/decoder/open_file.py` opens these files with another implementation. They are written with KMS_UPDATE_VECTORS=1;
/// without it, the fixed fields and lengths of what the library writes today must be those of the recorded files.
#[test]
fn the_recorded_files_are_of_todays_format() {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/files.json");
    const MATERIAL: [u8; 32] = *b"a key of recorded files, 32 byte";
    let kms = memory();
    let external = CreateKey { origin: Some(Origin::External), ..CreateKey::default() };
    let key = kms.create_key(&external).unwrap().to_string();
    kms.import_raw_key_material(&key, &MATERIAL, None).unwrap();
    let unit: Vec<u8> = (0..=250).collect();
    let mut now = Vec::new();
    for (name, length, context) in [
        ("empty", 0, &[][..]),
        ("five bytes with a context", 5, CONTEXT),
        ("one chunk and an empty one", CHUNK, CONTEXT),
        ("two chunks", CHUNK + 1, &[]),
    ] {
        let plaintext: Vec<u8> = unit.iter().copied().cycle().take(length).collect();
        let mut sealed = Vec::new();
        kms.encrypt_copy(&key, plaintext.as_slice(), &mut sealed, context, &FileOptions::new()).unwrap();
        let (header, body) = sealed.split_at(HEADER);
        let used = header.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let map: serde_json::Map<_, _> = context.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        now.push(serde_json::json!({
            "name": name, "key": hex(&MATERIAL), "context": map, "plaintext_unit": hex(&unit),
            "plaintext_length": length, "slot": hex(&header[..used]), "body": hex(body),
        }));
    }
    if std::env::var_os("KMS_UPDATE_VECTORS").is_some() {
        std::fs::write(FILE, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
    }
    let recorded: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let shape = |case: &serde_json::Value| {
        let text = |field: &str| case[field].as_str().unwrap().to_owned();
        // Magic, version, body, length, sequence number; the rest of a slot is random.
        (text("name"), text("slot")[..32].to_owned(), text("body").len(), case["plaintext_length"].clone())
    };
    assert_eq!(recorded.iter().map(shape).collect::<Vec<_>>(), now.iter().map(shape).collect::<Vec<_>>());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
