//! Hands the target that cargo builds for on to main.rs.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    match std::env::var("TARGET") {
        Ok(target) => println!("cargo:rustc-env=TARGET={target}"),
        Err(error) => panic!("cargo did not set TARGET: {error}"),
    }
}
