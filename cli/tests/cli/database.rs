//! The commands on a keystore in PostgreSQL. `KMS_TEST_POSTGRES` names the server; `ci/stage postgres` starts one.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::operating::Guide;
use crate::support::{Place, ended};

/// A folder with a separate schema in the database and two roles: the owner of its tables, and a user of them.
struct Database {
    place: Place,
    schema: String,
    /// `HOST:PORT/DATABASE`.
    address: String,
    password: String,
}

impl Database {
    fn new(of: &str) -> Self {
        let server =
            std::env::var("KMS_TEST_POSTGRES").expect("KMS_TEST_POSTGRES names no server; run: ci/stage postgres");
        let (login, address) = server.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
        let (_, password) = login.split_once(':').unwrap();
        let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let new = Self {
            place: Place::empty(),
            schema: format!("cli_{of}_{}_{since}", std::process::id()),
            address: address.to_owned(),
            password: password.to_owned(),
        };
        new.sql(&format!("CREATE ROLE {} LOGIN PASSWORD 'apps-password'", new.schema));
        new.place.write(".pgpass", format!("*:*:*:kms:{password}\n*:*:*:{}:apps-password\n", new.schema));
        std::fs::set_permissions(new.place.path(".pgpass"), std::fs::Permissions::from_mode(0o600)).unwrap();
        new
    }

    fn of(&self, user: &str, name: &str) -> String {
        format!("postgres://{user}@{}?schema={}#{name}", self.address, self.schema)
    }

    /// Made by the owner, with settings for the role of the programs.
    fn made(of: &str) -> Self {
        let new = Self::new(of);
        let owner = new.of("kms", "ring");
        new.place.ok(["init", &owner, "--grant", &new.schema, "--root-key-file", "root.key", "--no-config"]);
        let settings = format!("keystore = \"{}\"\nroot_key_file = \"root.key\"\n", new.of(&new.schema, "ring"));
        new.place.write("kms.toml", settings);
        new
    }

    fn sql(&self, statement: &str) -> String {
        let url = format!("postgres://kms:{}@{}", self.password, self.address);
        let run = ended(
            Command::new("psql")
                .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, &url])
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        );
        assert_eq!(run.code, Some(0), "{statement}: {}", run.err);
        String::from_utf8(run.out).unwrap()
    }
}

#[test]
fn init_makes_tables_grants_and_a_keystore_and_says_what_is_there() {
    let database = Database::new("init");
    let (place, role) = (&database.place, database.schema.as_str());
    let owner = database.of("kms", "ring");
    // An application's role can't make the tables; the error names the missing right.
    let application = database.of(role, "ring");
    let said = place.fails(6, "kms init", ["init", &application, "--root-key-file", "root.key"]);
    assert!(said.contains("privilege"), "{said}");
    assert!(!place.path("root.key").exists(), "a key file without a keystore is left");
    place.fails(6, "CREATE ROLE", ["init", &owner, "--grant", "nobody_of_this_name", "--root-key-file", "root.key"]);

    let with_password = owner.replace("kms@", &format!("kms:{}@", database.password));
    let run = place.run(["init", &with_password, "--grant", role, "--root-key-file", "root.key"]);
    let said = String::from_utf8(run.out).unwrap();
    assert_eq!(run.code, Some(0), "{}", run.err);
    for wanted in ["made the tables of version", "may use them", "made the keystore postgres://kms@", ".pgpass"] {
        assert!(said.contains(wanted), "init does not say {wanted:?}: {said}");
    }
    let settings = String::from_utf8(place.read("kms.toml")).unwrap();
    assert!(!(settings + &said + &run.err).contains(&database.password), "a password is shown or written");
    assert!(place.ok(["status"]).contains("schema"), "the settings do not lead to the keystore");

    place.fails(6, "kms status", ["init", &owner, "--root-key-file", "root.key"]);
    assert!(place.ok(["init", &owner, "--grant", role, "--root-key-file", "root.key"]).contains("already"));
    assert_eq!(place.json(["init", &owner, "--grant", role, "--root-key-file", "root.key"])["Exists"], true);
    // Once the tables exist, an application's role creates a keystore in them.
    place.ok(["init", &database.of(role, "second"), "--root-key-file", "second.key", "--no-config"]);
}

#[test]
fn several_inits_at_once_make_one_keystore() {
    let database = Database::new("together");
    let (place, role) = (&database.place, database.schema.as_str());
    let owner = database.of("kms", "ring");
    place.write("root.key", [7; 32]);
    std::fs::set_permissions(place.path("root.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["init", &owner, "--grant", role, "--root-key-file", "root.key", "--no-config"];
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| place.run(arguments))).collect();
        for one in all {
            let run = one.join().unwrap();
            assert_eq!(run.code, Some(0), "{}", run.err);
        }
    });
    assert_eq!(database.sql(&format!("SELECT count(*) FROM {role}.store")).trim(), "1");
    place.ok(["--keystore", &database.of(role, "ring"), "--root-key-file", "root.key", "verify"]);
}

#[test]
fn the_printed_sql_prepares_a_database() {
    let database = Database::new("sql");
    let (place, role) = (&database.place, database.schema.as_str());
    let sql = place.ok(["init", &database.of("kms", "ring"), "--grant", role, "--print-sql"]);
    assert!(place.names() == [".pgpass"], "--print-sql left {:?}", place.names());
    database.sql(&sql);
    // The application's role alone does the rest.
    place.ok(["init", &database.of(role, "ring"), "--root-key-file", "root.key"]);
    place.ok(["key", "create", "cards"]);
    place.ok(["verify"]);
}

#[test]
fn every_command_works_on_a_database() {
    let database = Database::made("verbs");
    let place = &database.place;
    place.ok(["key", "create", "cards", "--rotate-every", "90d", "--tag", "team=pay"]);
    place.ok(["key", "create", "old"]);
    place.ok(["key", "rotate", "old", "cards"]);
    place.write("note", "a note");
    place.ok(["encrypt", "note", "--key", "cards"]);
    assert_eq!(place.ok(["decrypt", "note.kms", "-o", "-"]), "a note");
    place.ok(["version", "disable", "old", "1", "--yes"]);
    place.ok(["key", "alias", "old", "older"]);
    assert!(place.ok(["inspect", "note.kms"]).contains("alias/cards"));
    assert!(place.ok(["timeline", "old"]).contains("version 2"));
    assert!(place.ok(["verify"]).contains("no faults"));
    place.ok(["tick"]);
    place.ok(["root", "add", "--new-root-key-file", "second.key", "--label", "recovery"]);

    // Each shard has a separate log; people read one.
    let log = place.json(["log", "show", "--limit", "0"]);
    let times: Vec<_> =
        log["Changes"]["Change"].as_array().unwrap().iter().map(|e| e["EventTime"].to_string()).collect();
    assert!(times.len() > 8 && times.is_sorted(), "{times:?}");
    assert_eq!(place.json(["log", "show", "--limit", "2"])["Changes"]["Change"].as_array().unwrap().len(), 2);
    assert_eq!(place.json(["log", "verify"])["TotalCount"], times.len());

    let status = place.json(["status"]);
    assert_eq!(status["Database"]["Schema"], database.schema.as_str());
    assert_eq!(status["Database"]["Role"], database.schema.as_str());
    assert_eq!(status["LogEntryCount"], times.len());
    assert_eq!(status["Health"]["RolledBack"], false);
    assert!(place.ok(["status"]).contains("PostgreSQL"), "{status}");
    assert!(place.ok(["status", "--prometheus"]).contains("kms_database_standby 0"));

    place.ok(["backup", "b.db"]);
    place.ok(["backup", "--verify", "b.db"]);
    place.fails(6, "after the #", ["restore", "b.db", "--yes"]);
    let restored = database.of(&database.schema, "restored");
    place.ok(["--keystore", &restored, "restore", "b.db", "--yes"]);
    assert_eq!(place.ok(["--keystore", &restored, "decrypt", "note.kms", "-o", "-"]), "a note");
    let source = database.of(&database.schema, "ring");
    place.ok(["copy", &source, "copy.db"]);
    place.ok(["copy", "copy.db", &database.of(&database.schema, "copied")]);
    place.fails(2, "kms copy", ["pkcs11", "config", "p.toml", "--label", "x"]);
    place.ok(["accept-rollback", "--yes"]);
    place.ok(["key", "disable", "old"]);
}

#[test]
fn after_lost_changes_nothing_changes_until_accept_rollback() {
    const TABLES: [&str; 6] = ["shard", "key", "material", "version", "node", "change"];
    let database = Database::made("rollback");
    let (place, schema) = (&database.place, &database.schema);
    place.ok(["key", "create", "cards"]);
    let each = |statement: &str| -> String { TABLES.iter().map(|table| statement.replace("{}", table)).collect() };
    database.sql(&format!("SET search_path = {schema}; {}", each("CREATE TABLE old_{} AS SELECT * FROM {};")));
    place.ok(["key", "rotate", "cards"]);
    // A new process can detect the loss only by the checkpoint, which is at most 10 s old.
    let number = || place.json(["status"])["Database"]["Checkpoint"].as_i64().unwrap_or_default();
    let (before, deadline) = (number(), std::time::Instant::now() + std::time::Duration::from_secs(120));
    while number() <= before {
        assert!(std::time::Instant::now() < deadline, "no checkpoint is made");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let put_back = each("DELETE FROM {}; INSERT INTO {} SELECT * FROM old_{};");
    database.sql(&format!("SET search_path = {schema}; BEGIN; {put_back} COMMIT"));

    assert_eq!(place.json(["status"])["Health"]["RolledBack"], true);
    assert!(place.ok(["status"]).contains("kms accept-rollback"));
    place.fails(6, "kms accept-rollback", ["key", "create", "refused"]);
    place.fails(8, "--yes", ["accept-rollback"]);
    place.ok(["accept-rollback", "--yes"]);
    place.ok(["key", "create", "accepted"]);
    assert_eq!(place.json(["status"])["Health"]["RolledBack"], false);
}

/// The next checkpoint is seconds away, so a new process knows of the last change by a strict anchor alone.
#[test]
fn a_strict_anchor_refuses_a_database_that_lacks_the_last_change() {
    const TABLES: [&str; 9] = ["shard", "key", "material", "version", "alias", "tag", "node", "change", "checkpoint"];
    let database = Database::new("strict");
    let (place, schema) = (&database.place, &database.schema);
    let said = place.fails(2, "--anchor-file", ["--anchor-strict", "status"]);
    assert!(said.contains("strict anchor"), "{said}");
    place.write("strict.toml", format!("keystore = \"{}\"\nanchor_strict = true\n", database.of(schema, "ring")));
    place.fails(2, "anchor_file in kms.toml", ["--config", "strict.toml", "status"]);
    let owner = database.of("kms", "ring");
    place.ok(["init", &owner, "--root-key-file", "root.key", "--anchor-file", "anchor", "--anchor-strict"]);
    let settings = String::from_utf8(place.read("kms.toml")).unwrap();
    assert!(settings.ends_with("\nanchor_strict = true\n"), "{settings}");
    let each = |statement: &str| -> String { TABLES.iter().map(|table| statement.replace("{}", table)).collect() };
    let in_schema = |statements: &str| database.sql(&format!("SET search_path = {schema}; BEGIN; {statements} COMMIT"));
    let named = |strict: bool| {
        let settings =
            "keystore = \"{}\"\nroot_key_file = \"root.key\"\nanchor_file = \"anchor\"\n".replace("{}", &owner);
        place.write("kms.toml", settings + if strict { "anchor_strict = true\n" } else { "" });
    };
    // By kms.toml, by the option, by the environment, and not at all.
    for (how, strict) in [("settings", true), ("option", false), ("environment", false), ("none", false)] {
        named(true);
        place.ok(["key", "create", how]);
        in_schema(&each("DROP TABLE IF EXISTS old_{}; CREATE TABLE old_{} AS SELECT * FROM {};"));
        named(strict);
        match how {
            "option" => drop(place.ok(["--anchor-strict", "key", "rotate", how])),
            "environment" => {
                let mut command = place.kms(["key", "rotate", how]);
                assert_eq!(ended(command.env("KMS_ANCHOR_STRICT", "1").output().unwrap()).code, Some(0));
            }
            _ => drop(place.ok(["key", "rotate", how])),
        }
        in_schema(&each("DELETE FROM {}; INSERT INTO {} SELECT * FROM old_{};"));
        named(false);
        match how {
            // As documented: at most 10 s of changes.
            "none" => drop(place.ok(["status"])),
            _ => {
                place.fails(6, "kms accept-rollback", ["status"]);
                place.ok(["accept-rollback", "--yes"]);
            }
        }
    }
    let mut command = place.kms(["status"]);
    let run = ended(command.env("KMS_ANCHOR_STRICT", "yes").output().unwrap());
    assert!(run.code == Some(2) && run.err.contains("KMS_ANCHOR_STRICT"), "{}", run.err);
}

#[test]
fn watch_shows_the_changes_of_all_shards() {
    let database = Database::made("watch");
    let place = &database.place;
    place.ok(["key", "create", "first"]);
    let mut command = place.kms(["watch", "--interval", "0.1", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    // Changes until one is seen: the command may not have begun yet.
    let names: Vec<String> = (0..8).map(|number| format!("key-{number}")).collect();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let names = &names;
        scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                place.ok(["key", "rotate", "first"]);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            names.iter().for_each(|name| drop(place.ok(["key", "create", name])));
        });
        let first = lines.next().unwrap().unwrap();
        drop(stop);
        assert!(first.contains("CreateKeyVersion"), "{first}");
        let mut created = 0;
        while created < names.len() {
            created += usize::from(lines.next().unwrap().unwrap().contains("\"CreateKey\""));
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_command_of_the_guide_to_many_machines_prints_what_stands_there() {
    let database = Database::new("guide");
    let (role, schema) = (database.schema.clone(), database.schema.clone());
    let owner = format!("{schema}_owner");
    database.sql(&format!("CREATE ROLE {owner} LOGIN PASSWORD 'owners-password'"));
    database.sql(&format!("GRANT CREATE ON DATABASE postgres TO {owner}"));
    let passwords = format!("*:*:*:{owner}:owners-password\n*:*:*:{role}:apps-password\n");
    database.place.write(".pgpass", passwords);
    let authority = std::env::var("KMS_TEST_TLS").expect("KMS_TEST_TLS names no folder; run: ci/stage postgres");
    let authority = format!("{authority}/authority.crt");
    let server = database.address.replace("127.0.0.1", "localhost").replace("/postgres", "");
    let version = database.sql("SHOW server_version").split_whitespace().next().unwrap().to_owned();
    let names = [
        ("db.example/keys?schema=kms", format!("{server}/postgres?schema={schema}")),
        ("db.example", server),
        ("schema kms", format!("schema {schema}")),
        ("kms_owner@", format!("{owner}@")),
        ("//orders@", format!("//{role}@")),
        ("--grant orders", format!("--grant {role}")),
        ("orders may use", format!("{role} may use")),
        ("role orders", format!("role {role}")),
        ("PostgreSQL 15.18", format!("PostgreSQL {version}")),
    ];
    let names: Vec<_> = names.iter().map(|(name, real)| (*name, real.as_str())).collect();
    let environment =
        [("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", authority.as_str()), ("PGHOSTADDR", "127.0.0.1")];
    Guide { document: "many-machines.md", least: 9, place: &database.place, environment: &environment, names: &names }
        .check();
}
