//! Streams, writers and readers: pieces of any length form one file, and no unauthenticated plaintext is released.

use kms::{Keystore, Status};

use crate::file_world::{CHUNK, CONTEXT, HEADER, PREFIX, SEALED, data, world};

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
