//! The location of the keystore and the root key that opens it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{Place, ended};

fn code(command: &mut Command) -> Option<i32> {
    ended(command.stdin(Stdio::null()).output().unwrap()).code
}

#[test]
fn without_anything_the_error_names_the_ways() {
    let place = Place::empty();
    place.fails(2, "kms init", ["status"]);
    place.fails(2, "--root-key-file", ["init"]);
    place.fails(2, "--root-key-file", ["--keystore", "keys.db", "status"]);
    place.fails(6, "kms init", ["--keystore", "keys.db", "--root-key-file", "root.key", "status"]);
    assert!(place.names().is_empty(), "a command that failed left {:?}", place.names());
}

#[test]
fn options_win_over_the_environment_and_that_over_the_settings() {
    let place = Place::with_key();
    place.write("other.passphrase", "correct horse\n");
    std::fs::set_permissions(place.path("other.passphrase"), std::fs::Permissions::from_mode(0o600)).unwrap();
    place.ok(["init", "--keystore", "other.db", "--root-passphrase-file", "other.passphrase"]);
    let count = |command: &mut Command| -> i64 {
        let run = ended(command.args(["key", "list", "--json"]).output().unwrap());
        serde_json::from_slice::<serde_json::Value>(&run.out).unwrap()["TotalCount"].as_i64().unwrap()
    };
    assert_eq!(count(&mut place.kms([])), 1);
    let mut environment = place.kms([]);
    environment.env("KMS_KEYSTORE", "other.db").env("KMS_ROOT_PASSPHRASE_FILE", "other.passphrase");
    assert_eq!(count(&mut environment), 0);
    let mut options = place.kms(["--keystore", "keys.db", "--root-key-file", "root.key"]);
    options.env("KMS_KEYSTORE", "other.db").env("KMS_ROOT_PASSPHRASE_FILE", "other.passphrase");
    assert_eq!(count(&mut options), 1);
    let mut credentials = place.kms(["--config", "empty.toml", "--keystore", "other.db"]);
    place.write("empty.toml", "");
    std::fs::create_dir(place.path("credentials")).unwrap();
    std::fs::copy(place.path("other.passphrase"), place.path("credentials/root.passphrase")).unwrap();
    credentials.env("CREDENTIALS_DIRECTORY", place.path("credentials"));
    assert_eq!(count(&mut credentials), 0);
}

#[test]
fn a_passphrase_comes_from_a_file_or_a_descriptor_that_others_cannot_read() {
    let place = Place::empty();
    place.write("p", "correct horse\n");
    place.write("wrong", "wrong horse\n");
    place.fails(6, "chmod 600", ["init", "--root-passphrase-file", "p"]);
    for name in ["p", "wrong"] {
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    place.ok(["init", "--root-passphrase-file", "p"]);
    place.ok(["status"]);
    place.fails(6, "kms help root", ["--root-passphrase-file", "wrong", "status"]);
    let script = format!("{0} --root-passphrase-fd 3 status 3<p", crate::support::kms().display());
    assert_eq!(code(place.command("sh").args(["-c", &script])), Some(0));
    place.fails(2, "", ["--root-passphrase-file", "p", "--root-key-file", "k", "status"]);
}

#[test]
fn settings_that_others_may_write_are_refused() {
    let place = Place::with_key();
    std::fs::set_permissions(place.path("kms.toml"), std::fs::Permissions::from_mode(0o666)).unwrap();
    place.fails(6, "chmod", ["status"]);
    std::fs::set_permissions(place.path("kms.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    place.write("kms.toml", "keystroe = \"keys.db\"\n");
    place.fails(2, "kms help config", ["status"]);
}

#[test]
fn a_second_init_changes_nothing() {
    let place = Place::with_key();
    let (keys, settings) = (place.read("keys.db"), place.read("kms.toml"));
    place.fails(6, "kms status", ["init"]);
    assert!(keys == place.read("keys.db") && settings == place.read("kms.toml"));
}

/// Where a backup is to be restored, `kms init` would put a keystore in its way.
#[test]
fn a_restore_without_a_place_names_one() {
    let place = Place::empty();
    let err = place.fails(2, "kms restore b.db --keystore keys.db", ["restore", "b.db"]);
    assert!(!err.contains("kms init"), "{err}");
    let err = place.fails(6, "kms init", ["--keystore", "keys.db", "--root-key-file", "root.key", "status"]);
    assert!(!err.contains("pass create"), "{err}");
}

/// Holds for every command, whether it succeeds or fails, and for every source of the location.
#[test]
fn no_output_has_the_password_of_a_database() {
    const URL: &str = "postgres://ann:hunter2@127.0.0.1:1/keys?sslmode=disable#ring";
    const KEYWORDS: &str = "postgres:host=127.0.0.1 port=1 user=ann password='hunter2' sslmode=disable";
    let place = Place::with_key();
    place.write("note", "text");
    place.ok(["backup", "b.db"]);
    let shows_none = |command: &mut Command| {
        let run = ended(command.stdin(Stdio::null()).output().unwrap());
        let text = String::from_utf8_lossy(&run.out).into_owned() + &run.err;
        assert!(!text.contains("hunter2"), "{command:?} shows the password: {text}");
        assert_ne!(run.code, Some(0), "{command:?} works without a server");
        text
    };
    for location in [URL, KEYWORDS] {
        for arguments in [
            &["init"] as &[&str],
            &["status"],
            &["verify"],
            &["tick"],
            &["key", "list"],
            &["encrypt", "note"],
            &["backup", "new.db"],
            &["backup", "--verify", "b.db"],
            &["restore", "b.db", "--yes"],
            &["log", "show"],
            &["watch"],
            &["root", "list"],
            &["pkcs11", "config", "p11.toml"],
            &["call", "Health"],
        ] {
            let mut named = place.kms(["--keystore", location, "--root-key-file", "root.key"]);
            shows_none(named.args(arguments));
            let mut by_environment = place.kms(["--root-key-file", "root.key", "--json"]);
            shows_none(by_environment.env("KMS_KEYSTORE", location).args(arguments));
        }
        shows_none(&mut place.kms(["copy", "keys.db", location]));
        shows_none(&mut place.kms(["copy", location, "copy.db"]));
        // Errors of the command line quote arguments.
        let said = shows_none(&mut place.kms(["key", location]));
        assert!(said.contains("postgres:"), "the argument is not named: {said}");
        shows_none(&mut place.kms(["copy", "a", "b", location]));
        let option = format!("--keystroe={location}");
        shows_none(place.kms([]).arg(&option));
    }
    assert!(!place.names().iter().any(|name| name.starts_with("postgres")), "a database became a file");
    let said = shows_none(&mut place.kms(["--keystore", URL, "status"]));
    assert!(said.contains(".pgpass"), "{said}");
}

#[test]
fn settings_with_a_password_that_others_may_read_are_refused() {
    let place = Place::with_key();
    place.write("kms.toml", "keystore = \"postgres://ann:hunter2@127.0.0.1:1/keys\"\nroot_key_file = \"root.key\"\n");
    let open = |mode| {
        std::fs::set_permissions(place.path("kms.toml"), std::fs::Permissions::from_mode(mode)).unwrap();
        place.run(["status"]).err
    };
    assert!(open(0o644).contains(".pgpass"));
    let said = open(0o600);
    assert!(!said.contains("chmod") && !said.contains("hunter2"), "{said}");
}
