//! Set the SONAME of `libkms.so`, and refuse a shared libcrypto in place of the one that `vendored` stands for.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_VENDORED").is_some() {
        refuse_a_shared_libcrypto();
    }
    // The test builds ask openssl-sys for libcrypto alone.
    println!("cargo:rerun-if-env-changed=OPENSSL_LIBS");
    if std::env::var_os("CARGO_FEATURE_POSTGRES").is_some()
        && std::env::var("OPENSSL_LIBS").is_ok_and(|libs| libs == "crypto")
    {
        println!("cargo:rustc-link-lib=static=ssl");
    }
    // A dependent's library inherits what is said here: the Python module must not answer to the name of libkms.so.
    if std::env::var_os("CARGO_FEATURE_CAPI").is_some() {
        shared_library();
    }
}

/// With `vendored` the library owns libcrypto: it provides memory that is locked and wiped, and leaves it
/// without a thought of the host's. openssl-sys doesn't say how it links; this is how it decides.
fn refuse_a_shared_libcrypto() {
    const STATIC: &str = "OPENSSL_STATIC";
    let for_target = format!("{}_{STATIC}", variable("TARGET").to_uppercase().replace('-', "_"));
    let wanted = [for_target.as_str(), STATIC].into_iter().find_map(|name| {
        println!("cargo:rerun-if-env-changed={name}");
        std::env::var_os(name)
    });
    let is_static = match wanted {
        Some(value) => value != "0",
        // Compiled from source it is static; found on the machine (OPENSSL_NO_VENDOR) it may be either.
        None => std::env::var_os("DEP_OPENSSL_VENDORED").is_some(),
    };
    if !is_static {
        fail(format_args!(
            "the feature `vendored` needs a static libcrypto: set {STATIC}=1, or for the system's shared one build with \
             --no-default-features --features capi"
        ));
    }
}

/// A SONAME makes the build's own `libkms.so` loadable only under that name, so the link of that name is made here too.
fn shared_library() {
    const SONAME: &str = "libkms.so.0";
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    // Threads and fork handlers of the library outlive a dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");

    // OUT_DIR is PROFILE/build/libkms-HASH/out.
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let Some(profile_dir) = out_dir.ancestors().nth(3) else {
        fail(format_args!("OUT_DIR is {}, which is not below a profile's folder", out_dir.display()));
    };
    let link = profile_dir.join(SONAME);
    if link.read_link().is_ok_and(|target| target.as_os_str() == "libkms.so") {
        return;
    }
    let _ = std::fs::remove_file(&link);
    if let Err(error) = make_link("libkms.so", &link) {
        fail(format_args!("cannot make the link {}: {error}", link.display()));
    }
}

#[cfg(unix)]
fn make_link(target: &str, link: &std::path::Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn make_link(_: &str, _: &std::path::Path) -> std::io::Result<()> {
    Err(std::io::Error::other("only a Unix host can build for Linux"))
}

/// Ends the build with one line in place of a backtrace.
fn fail(text: std::fmt::Arguments) -> ! {
    println!("cargo::error={text}");
    std::process::exit(1);
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| fail(format_args!("cargo did not set {name}: {error}")))
}
