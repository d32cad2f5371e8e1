//! Reads one byte past a heap block: AddressSanitizer must say so (ci/stages/asan.sh).

fn main() {
    let block = vec![1u8; std::env::args().count() + 23];
    // SAFETY: none; that's the point.
    let byte = unsafe { std::ptr::read_volatile(block.as_ptr().add(block.len())) };
    println!("{byte}");
}
