use super::*;
use std::sync::atomic::AtomicUsize;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

struct Counted(u32);

impl Default for Counted {
    fn default() -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self(0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn each_thread_has_a_value_that_ends_with_the_thread_or_the_object() {
    let object = PerThread::<Counted>::new();
    object.with(|mine| mine.0 = 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            object.with(|mine| {
                assert_eq!(mine.0, 0, "another thread's value");
                mine.0 = 2;
            });
            assert_eq!(ALIVE.load(Ordering::SeqCst), 2);
        });
    });
    // The scope ends when the closure returned; the thread's values may die a moment later.
    for _ in 0..1000 {
        if ALIVE.load(Ordering::SeqCst) == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(ALIVE.load(Ordering::SeqCst), 1, "a thread's value outlived it");
    object.with(|mine| {
        assert_eq!(mine.0, 1);
        object.with(|nested| assert_eq!(nested.0, 0, "a nested call must not alias"));
    });
    drop(object);
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    PerThread::<Counted>::new().with(|fresh| assert_eq!(fresh.0, 0));
}
