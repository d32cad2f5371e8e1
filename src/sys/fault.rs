//! Protections that tests switch off by an environment variable, to show that they would notice.

/// Whether the protection behind this name is off; never in a build without `--cfg kms_faults`.
#[cfg(any(kms_faults, all(test, kms_model)))]
pub fn wanted(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

#[cfg(not(any(kms_faults, all(test, kms_model))))]
pub const fn wanted(_: &str) -> bool {
    false
}

/// Wipes a key.
#[inline]
pub fn wipe(key: &mut [u8]) {
    if !wanted("KMS_FAULT_UNWIPED") {
        zeroize::Zeroize::zeroize(key);
    }
}

/// Whether a test of a model fails with the protection behind `name` off, and says `why`. In a separate process, because
/// a deadlock that loom finds aborts it.
#[cfg(all(test, kms_model))]
pub fn breaks(name: &str, test: &str, why: &str) -> bool {
    let told = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(name, "1")
        .output()
        .unwrap();
    let text = [told.stdout, told.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let broken = !told.status.success() && text.contains(why);
    if !broken {
        println!("{text}");
    }
    broken
}
