//! Gives the module its name, and keeps it loaded: threads and fork handlers of the library outlive a dlclose.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkms-pkcs11.so");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
