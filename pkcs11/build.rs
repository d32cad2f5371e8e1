//! Gives the module its name, and keeps it loaded: threads and fork handlers of the library outlive a dlclose.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkms-pkcs11.so");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Under AddressSanitizer the module finds the sanitizer in the program that loads it. Without one, there is no such symbol.
    println!("cargo:rustc-link-arg-tests=-Wl,--export-dynamic-symbol=__asan_*");
}
