use super::*;
use std::io::Write;

#[test]
fn a_shared_word_is_seen_through_every_mapping() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0; FILE_LEN]).unwrap();
    let open = |writable| {
        let file = std::fs::OpenOptions::new().read(true).write(writable).open(file.path()).unwrap();
        Word::shared(file, writable).unwrap()
    };
    let (writer, reader) = (open(true), open(false));
    assert_eq!((writer.count(), reader.load()), (0, 1));
    assert_eq!((writer.count(), reader.load()), (1, 2));
    assert!(reader.is_linked());
    drop(file);
    assert!(!reader.is_linked(), "its name is gone");
}

#[test]
fn a_short_file_is_never_mapped() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; FILE_LEN - 1]).unwrap();
    assert!(Word::shared(file, true).is_err());
}
