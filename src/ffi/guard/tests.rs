use super::*;

struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a payload that panics in its drop");
        }
    }
}

#[test]
fn a_panic_becomes_a_status_with_a_text() {
    assert_eq!(guard(|| panic!("inside")), Status::Internal as i32);
    last_error::with(|text| {
        assert!(text.contains("bug") && !text.contains("inside"), "{text}");
        0
    });
    assert_eq!(guard(|| std::panic::panic_any(Bomb)), Status::Internal as i32);
    quietly(|| panic!("inside"));
}

#[test]
fn success_clears_the_text_and_failure_sets_it() {
    assert_eq!(guard(|| Err(Status::KeyNotFound.error("gone"))), 200);
    last_error::with(|text| {
        assert_eq!(text, "gone");
        0
    });
    assert_eq!(guard(|| Ok(())), KMS_OK);
    last_error::with(|text| {
        assert_eq!(text, "");
        0
    });
}

#[test]
fn the_text_belongs_to_its_thread() {
    let _ = guard(|| Err(Status::KeyNotFound.error("mine")));
    std::thread::spawn(|| {
        last_error::with(|text| {
            assert_eq!(text, "");
            0
        })
    })
    .join()
    .unwrap();
}

#[test]
fn a_success_clears_its_own_text_whatever_other_threads_do() {
    let other = std::thread::spawn(|| {
        let _ = guard(|| Err(Status::KeyNotFound.error("theirs")));
        // Ends with its text standing.
    });
    let _ = guard(|| Err(Status::KeyNotFound.error("mine")));
    other.join().unwrap();
    assert!(
        last_error::FAILED.load(std::sync::atomic::Ordering::Relaxed) > 0,
        "a standing failure isn't counted, so a success wouldn't clear it"
    );
    assert_eq!(guard(|| Ok(())), KMS_OK);
    last_error::with(|text| {
        assert_eq!(text, "");
        0
    });
}
