use super::*;
use std::io::Write;

#[cfg(not(kms_model))]
#[test]
fn a_shared_word_is_seen_through_every_mapping() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0; FILE_LEN]).unwrap();
    let open = |writable| {
        let opened = if writable { File::open_writable(file.path()) } else { File::open(file.path()) };
        let word = Word::private(7).unwrap();
        word.share(&opened.unwrap(), writable).unwrap();
        word
    };
    let (writer, reader) = (open(true), open(false));
    assert_eq!((writer.count(), reader.load()), (0, 1));
    assert_eq!((writer.count(), reader.load()), (1, 2));
    assert!(reader.is_at(file.path()));
    let path = file.path().to_owned();
    drop(file);
    assert!(!reader.is_at(&path), "its name is gone");
}

#[test]
fn a_short_file_is_never_mapped() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0; FILE_LEN - 1]).unwrap();
    let word = Word::private(7).unwrap();
    assert!(word.share(&File::open(file.path()).unwrap(), true).is_err());
    assert_eq!((word.load(), word.is_shared()), (7, false));
}

/// How often the memory of this process is mapped from files in `folder`, and how many descriptors are open on them.
#[cfg(not(kms_model))]
fn kept_of(folder: &Path) -> (usize, usize) {
    let name = folder.to_str().unwrap();
    let mapped = std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|l| l.contains(name)).count();
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|f| std::fs::read_link(f.path()).ok());
    (mapped, links.filter(|target| target.starts_with(folder)).count())
}

#[cfg(not(kms_model))]
#[test]
fn a_word_that_is_shared_anew_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let word = Word::private(0).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(word.load() >= seen, "a word between two files");
                seen = word.load();
            }
        });
        for value in 1..=200u64 {
            let path = folder.path().join(value.to_string());
            let mut content = [0; FILE_LEN];
            content[WORD_AT..WORD_AT + 8].copy_from_slice(&value.to_le_bytes());
            std::fs::write(&path, content).unwrap();
            word.share(&File::open_writable(&path).unwrap(), true).unwrap();
            assert_eq!(word.load(), value);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(kept_of(folder.path()), (1, 0));
}
