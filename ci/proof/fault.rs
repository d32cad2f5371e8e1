//! The fault that the sanitizers must see, one for each build: --cfg heap_overflow or --cfg data_race.

#[cfg(heap_overflow)]
fn main() {
    let block = vec![1u8; std::env::args().count() + 23];
    // SAFETY: none; that's the point.
    let byte = unsafe { std::ptr::read_volatile(block.as_ptr().add(block.len())) };
    println!("{byte}");
}

#[cfg(data_race)]
static mut COUNTER: u32 = 0;

#[cfg(data_race)]
fn count() {
    for _ in 0..1000 {
        // SAFETY: none; that's the point.
        unsafe { COUNTER = std::hint::black_box(COUNTER) + 1 };
    }
}

#[cfg(data_race)]
fn main() {
    let other = std::thread::spawn(count);
    count();
    let _ = other.join();
}
