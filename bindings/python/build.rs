//! Links the module so that it is never unloaded: threads and fork handlers of the library outlive a dlclose. Informs the
//! compiler which Python it is for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    pyo3_build_config::use_pyo3_cfgs();
}
