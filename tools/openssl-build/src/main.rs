//! Builds OpenSSL from the crate `openssl-src` into the folder given, as the build script of `openssl-sys` does.

fn main() {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: openssl-build FOLDER");
        std::process::exit(2);
    };
    // Cargo gives these to build scripts only, which this isn't.
    let target = env!("TARGET");
    openssl_src::Build::new().host(target).target(target).out_dir(folder).build();
}
