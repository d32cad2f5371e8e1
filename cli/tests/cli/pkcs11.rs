//! `kms pkcs11`, and what `kms status` shows of the module's users. The stage `pkcs11` opens the module with such a
//! configuration.

use std::os::unix::fs::PermissionsExt;

use kms::{CreateKey, Keystore, Options};

use crate::support::Place;

#[test]
fn a_configuration_is_complete_readable_and_never_overwritten() {
    let place = Place::new();
    let shell = "umask 077; exec \"$0\" pkcs11 config p.toml";
    let run =
        crate::support::ended(place.command("sh").args(["-c", shell]).arg(crate::support::kms()).output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.err);
    let shown = String::from_utf8(run.out).unwrap();
    for step in ["token keys, no PIN", "export KMS_PKCS11_CONF=/", "pkcs11-tool --module", "p11-kit", "Java"] {
        assert!(shown.contains(step), "{step} is not named: {shown}");
    }
    let mode = std::fs::metadata(place.path("p.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "others read it, and only the owner writes it, whatever the umask");
    let read = |name: &str| String::from_utf8(place.read(name)).unwrap();
    let folder = place.path("").canonicalize().unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let expected = format!(
        "[[slot]]\nlabel = \"keys\"\nkeystore = \"{}\"\nroot_key_file = \"{}\"\n",
        path("keys.db"),
        path("root.key")
    );
    assert_eq!(read("p.toml"), expected);
    place.fails(6, "kms pkcs11 config FILE", ["pkcs11", "config", "p.toml", "--label", "other"]);
    assert_eq!(read("p.toml"), expected);

    place.ok(["pkcs11", "config", "q.toml", "--label", "a \"b\" \\", "--read-only"]);
    assert!(read("q.toml").contains("label = 'a \"b\" \\'\n") && read("q.toml").ends_with("read_only = true\n"));
    place.write(
        "guarded.toml",
        "keystore = \"keys.db\"\nroot_key_file = \"root.key\"\nanchor_file = \"anchor\"\nrequire_backup = \"7d\"\n",
    );
    place.ok(["--config", "guarded.toml", "pkcs11", "config", "g.toml"]);
    let guards = format!("anchor_file = \"{}\"\nrequire_backup = \"604800s\"\n", path("anchor"));
    assert!(read("g.toml").ends_with(&guards), "what guards the keystore is missing: {}", read("g.toml"));
    for label in ["", "a label that has more than thirty-two bytes"] {
        place.fails(2, "--label TEXT", ["pkcs11", "config", "r.toml", "--label", label]);
    }
    place.fails(7, "as root", ["pkcs11", "config", "missing/r.toml"]);
    place.fails(7, "kms init", ["--keystore", "none.db", "pkcs11", "config", "r.toml"]);
    place.fails(7, "kms init", ["--root-key-file", "none.key", "pkcs11", "config", "r.toml"]);
    assert!(!place.path("r.toml").exists());
}

/// The command asks no question, and writes no secret into the file.
#[test]
fn a_passphrase_becomes_the_pin() {
    let place = Place::empty();
    place.write("p", "correct horse\n");
    std::fs::set_permissions(place.path("p"), std::fs::Permissions::from_mode(0o600)).unwrap();
    place.ok(["init", "--root-passphrase-file", "p"]);
    let shown = place.ok(["pkcs11", "config", "p.toml"]);
    assert!(shown.contains("the PIN is the root passphrase"), "{shown}");
    let text = String::from_utf8(place.read("p.toml")).unwrap();
    assert!(!text.contains("root_key_file =") && !text.contains("horse"), "{text}");
}

#[test]
fn status_shows_the_programs_that_changed_the_keystore_through_the_module() {
    let place = Place::with_key();
    assert!(!place.ok(["status"]).contains("PKCS#11"), "nobody uses the module");
    let options = Options::new().root_key_file(place.path("root.key")).actor("PKCS#11").rotation_thread(false);
    let keystore = Keystore::open(place.path("keys.db").to_str().unwrap(), &options).unwrap();
    keystore.create_key(&CreateKey::default()).unwrap();
    let shown = place.ok(["status"]);
    let process = std::process::id();
    let line = shown.lines().find(|line| line.starts_with("PKCS#11 ")).expect("a line of the module's users");
    assert!(line.ends_with(&format!(", process {process}")), "{line}");
    let users = &place.json(["status"])["ModuleUsers"];
    assert_eq!((users.as_array().unwrap().len(), users[0]["ProcessId"].as_u64()), (1, Some(process.into())));
}
