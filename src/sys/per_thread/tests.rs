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

fn set(mine: &mut Counted, value: u32) -> Result<()> {
    mine.0 = value;
    Ok(())
}

#[test]
fn each_thread_has_a_value_that_ends_with_the_thread_or_the_object() {
    let object = PerThread::<Counted>::new();
    object.with(|mine| set(mine, 1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            object
                .with(|mine| {
                    assert_eq!(mine.0, 0, "another thread's value");
                    set(mine, 2)
                })
                .unwrap();
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
    object
        .with(|mine| {
            assert_eq!(mine.0, 1);
            object.with(|nested| {
                assert_eq!(nested.0, 0, "a nested call must not alias");
                Ok(())
            })
        })
        .unwrap();
    drop(object);
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    assert_eq!(PerThread::<Counted>::new().with(|fresh| Ok(fresh.0)).unwrap(), 0);
}
