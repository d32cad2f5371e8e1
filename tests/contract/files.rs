//! Files of any size: decryption returns the original or an error, wherever the file was damaged.

use kms::{CreateKey, Keystore, Origin, Status, file::FileOptions};

use crate::file_world::{CHUNK, CONTEXT, HEADER, PREFIX, SEALED, data, world};
use crate::support::memory;

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
            // The second slot is empty: damage there looks like an interrupted re-encryption.
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

/// `tests/decoder/open_file.py` opens these files with another implementation. They are written with
/// KMS_UPDATE_VECTORS=1; without it, the fixed fields and lengths of current output must equal those of the recorded
/// files.
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

#[test]
fn a_file_that_another_process_has_locked_is_not_reencrypted() {
    use std::os::fd::AsRawFd;

    let world = world();
    let kms = &world.kms;
    let (source, sealed) = (world.put("plain", b"data"), world.path("sealed"));
    kms.encrypt_file(&world.key, &source, &sealed, &[], &FileOptions::new()).unwrap();
    kms.rotate(&world.key).unwrap();
    let before = std::fs::read(&sealed).unwrap();
    let other = std::fs::File::open(&sealed).unwrap();
    // SAFETY: flock is plain data for which all zeroes is valid; the descriptor is open.
    let done = unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_RDLCK as libc::c_short;
        libc::fcntl(other.as_raw_fd(), libc::F_OFD_SETLK, &lock)
    };
    assert_eq!(done, 0);
    let error = kms.reencrypt_file(&sealed, &[], None).unwrap_err();
    assert!(error.status() == Status::FileIo && error.text().contains("locked"), "{error}");
    assert!(std::fs::read(&sealed).unwrap() == before, "a file that somebody has locked was written");
    drop(other);
    assert!(kms.reencrypt_file(&sealed, &[], None).unwrap());
}
