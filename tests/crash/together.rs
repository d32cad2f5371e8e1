//! Runs independent trials on as many threads as there are processors.

use std::sync::Mutex;

/// The results of `trial` on each of `items`, in no order; a failed assertion of one fails the caller.
pub fn each<T: Send, R: Send>(items: Vec<T>, trial: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let (waiting, done) = (Mutex::new(items), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().pop();
                    let Some(item) = next else { return };
                    let result = trial(item);
                    done.lock().unwrap().push(result);
                }
            });
        }
    });
    done.into_inner().unwrap()
}
