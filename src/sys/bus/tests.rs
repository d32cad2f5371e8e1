#[cfg(not(kms_model))]
use super::super::file::File;
#[cfg(not(kms_model))]
use super::super::word::Word;
use super::*;

#[test]
fn a_slot_is_free_again_once_its_page_is_gone() {
    let slots = [const { AtomicUsize::new(0) }; 2];
    assert!(claim(&slots, 4096).is_some());
    assert!(claim(&slots, 8192).is_some());
    assert!(claim(&slots, 12288).is_none(), "the table is full");
    slots[0].store(0, Ordering::Relaxed);
    assert!(claim(&slots, 12288).is_some());
}

/// A file whose word is 7.
#[cfg(not(kms_model))]
fn file_of_a_word() -> (tempfile::NamedTempFile, Vec<u8>) {
    let mut content = vec![0; PAGE];
    content[64] = 7;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &content).unwrap();
    (file, content)
}

#[cfg(not(kms_model))]
#[test]
fn a_word_of_a_truncated_file_reads_zero_and_can_be_shared_again() {
    let (file, content) = file_of_a_word();
    let word = Word::private(1).unwrap();
    let share = || word.share(&File::open_writable(file.path()).unwrap(), true);
    share().unwrap();
    for _ in 0..3 {
        assert_eq!((word.load(), word.is_at(file.path()), word.is_lost()), (7, true, false));
        file.as_file().set_len(0).unwrap();
        assert_eq!((word.load(), word.is_shared(), word.is_lost()), (0, false, true));
        assert_eq!((word.count(), word.load()), (0, 1), "counts in the private page");
        assert!(share().is_err(), "the file is empty");
        std::fs::write(file.path(), &content).unwrap();
        assert_eq!((word.load(), word.is_at(file.path())), (1, false), "the file is whole, and not mapped");
        share().unwrap();
    }
    // Shorter, but not empty: no fault, and the next check maps a whole one.
    file.as_file().set_len(100).unwrap();
    assert_eq!((word.load(), word.is_at(file.path()), word.is_lost()), (7, false, false));
}

#[cfg(not(kms_model))]
#[test]
fn a_lost_word_keeps_errno() {
    let (file, _) = file_of_a_word();
    let word = Word::private(1).unwrap();
    word.share(&File::open_writable(file.path()).unwrap(), true).unwrap();
    file.as_file().set_len(0).unwrap();
    // SAFETY: errno is this thread's.
    let errno = unsafe {
        *libc::__errno_location() = 4321;
        word.load();
        *libc::__errno_location()
    };
    assert_eq!((errno, word.is_lost()), (4321, true));
}

#[cfg(not(kms_model))]
#[test]
fn threads_that_load_while_the_file_is_truncated_and_written_read_a_word_of_it_or_zero() {
    let (file, content) = file_of_a_word();
    let word = Word::private(7).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let found = word.load();
                    assert!(found == 7 || found == 0, "{found}");
                }
            });
        }
        let mut lost = 0;
        for _ in 0..500 {
            file.as_file().set_len(0).unwrap();
            std::thread::yield_now();
            std::fs::write(file.path(), &content).unwrap();
            if !word.is_at(file.path()) {
                word.share(&File::open_writable(file.path()).unwrap(), true).unwrap();
                lost += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
        println!("lost {lost} times");
    });
}
