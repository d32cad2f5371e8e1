//! The rights of the database's roles, and the effect on the keystore if a role exceeds them.

use std::process::{Command, Stdio};
use std::time::Duration;

use kms::{CreateKey, KeyState, Keystore, ManualClock, Status, database};

use crate::{T0, is_sound, name, numbers, options, server, session, sql, status};

/// A schema with tables, and a role of the application that may use them.
struct Prepared {
    schema: String,
    owner: String,
    application: String,
}

impl Prepared {
    fn new(of: &str) -> Self {
        let schema = name(of).replace('-', "_");
        let owner = format!("{}?schema={schema}", server());
        sql("", &format!("CREATE ROLE {schema} LOGIN PASSWORD 'application'"));
        database::prepare(&owner, Some(&schema)).unwrap();
        let server = server();
        let (_, address) = server.rsplit_once('@').unwrap();
        let application = format!("postgres://{schema}:application@{address}?schema={schema}");
        Self { schema, owner, application }
    }

    fn open(&self) -> kms::Result<Keystore> {
        Keystore::open(&self.application, &options().clock(ManualClock::at(T0)))
    }

    /// psql's output for the application's role, or for the owner.
    fn sql(&self, as_owner: bool, statement: &str) -> Result<String, String> {
        let location = if as_owner { &self.owner } else { &self.application };
        let url = location.split('?').next().unwrap();
        let statement = format!("SET search_path = {}; {statement}", self.schema);
        let done = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", &statement, url])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        match done.status.success() {
            true => Ok(String::from_utf8(done.stdout).unwrap()),
            false => Err(String::from_utf8(done.stderr).unwrap()),
        }
    }
}

#[test]
fn several_creators_make_one_keystore() {
    for round in 0..5 {
        let schema = name(&format!("creators{round}")).replace('-', "_");
        let location = format!("{}?schema={schema}", server());
        let creators: Vec<_> = (0..6)
            .map(|_| {
                let location = location.clone();
                std::thread::spawn(move || {
                    let kms = Keystore::open(&location, &options().create(true).clock(ManualClock::at(T0))).unwrap();
                    kms.create_key(&CreateKey::default()).unwrap()
                })
            })
            .collect();
        let keys: Vec<_> = creators.into_iter().map(|creator| creator.join().unwrap()).collect();
        let kms = Keystore::open(&location, &options().clock(ManualClock::at(T0))).unwrap();
        for key in keys {
            kms.describe_key(key).unwrap();
        }
    }
}

#[test]
fn a_creator_waits_for_another_that_fails_in_the_end() {
    let schema = name("slow-creator").replace('-', "_");
    let location = format!("{}?schema={schema}#ring", server());
    database::prepare(&location, None).unwrap();
    let insert = "INSERT INTO store(name, store, format, shards) VALUES('ring', '\\x00', 1, 64)";
    let mut slow = session("", &format!("BEGIN; SET search_path = {schema}; {insert}; SELECT pg_sleep(1); ROLLBACK"));
    std::thread::sleep(Duration::from_millis(300));
    let kms = Keystore::open(&location, &options().create(true).clock(ManualClock::at(T0))).unwrap();
    kms.create_key(&CreateKey::default()).unwrap();
    assert!(slow.wait().unwrap().success(), "the other creator did not get so far");
}

#[test]
fn the_applications_role_uses_the_tables_and_changes_neither_them_nor_the_log() {
    let prepared = Prepared::new("role");
    let kms = prepared.open().unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    kms.rotate(key).unwrap();
    kms.create_alias(key, "alias/role").unwrap();
    kms.delete_alias("alias/role").unwrap();
    kms.disable_key(key).unwrap();
    kms.enable_key(key).unwrap();
    let blob = kms.encrypt(key, b"text", &[]).unwrap();
    assert_eq!(&*prepared.open().unwrap().decrypt(&blob, &[]).unwrap(), b"text");
    assert!(is_sound(&kms));
    for statement in [
        "DROP TABLE key",
        "ALTER TABLE shard ADD COLUMN more text",
        "ALTER TABLE key DISABLE TRIGGER ALL",
        "TRUNCATE node",
        "UPDATE change SET program = 'another'",
        "DELETE FROM change",
        "UPDATE material SET number = number",
        "UPDATE schema SET version = 0",
        "DELETE FROM store",
        "CREATE TABLE more(number int)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER t BEFORE UPDATE ON shard EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE r AS ON INSERT TO change DO INSTEAD NOTHING",
        "CREATE INDEX ON key(state)",
    ] {
        let said = prepared.sql(false, statement).expect_err(statement);
        let is_refused = ["permission denied", "must be owner", "must have"].iter().any(|text| said.contains(text));
        assert!(is_refused, "{statement}: {said}");
    }
    // What it lacks is named.
    prepared.sql(true, &format!("REVOKE INSERT ON change FROM {}", prepared.schema)).unwrap();
    let error = kms.rotate(key).map(drop).unwrap_err();
    assert!(error.text().contains("change"), "the missing privilege is not named: {error}");
    assert_eq!(numbers(&kms, key), [2, 1], "a change without its entry in the log stands");
}

#[test]
fn a_schema_of_another_version_is_refused_and_more_indexes_are_not() {
    let prepared = Prepared::new("version");
    prepared.open().unwrap().create_key(&CreateKey::default()).unwrap();
    prepared.sql(true, "CREATE INDEX ON key(state); ALTER TABLE key SET (fillfactor = 70)").unwrap();
    assert!(is_sound(&prepared.open().unwrap()));
    prepared.sql(true, "UPDATE schema SET version = 99").unwrap();
    assert_eq!(status(prepared.open().map(drop)), Some(Status::KeystoreTooNew));
    assert_eq!(status(database::prepare(&prepared.owner, None)), Some(Status::KeystoreTooNew));
    // An older one is brought up by its owner alone.
    prepared.sql(true, "DELETE FROM schema").unwrap();
    assert_ne!(status(prepared.open().map(drop)), None, "older tables are used");
    database::prepare(&prepared.owner, None).unwrap();
    prepared.open().unwrap();
    database::prepare(&prepared.owner, Some(&prepared.schema)).unwrap();
}

#[test]
fn tables_of_another_schema_do_not_stand_in() {
    let prepared = Prepared::new("path");
    let kms = prepared.open().unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let other = format!("{}_other", prepared.schema);
    let tables = ["schema", "store", "shard", "key", "material", "change"];
    let made: String = tables.iter().map(|table| format!("CREATE TABLE {other}.{table}(nothing int);")).collect();
    let role = &prepared.schema;
    prepared
        .sql(
            true,
            &format!(
                "CREATE SCHEMA {other}; {made} GRANT USAGE ON SCHEMA {other} TO {role}; \
                 ALTER ROLE {role} SET search_path = {other}, {role}"
            ),
        )
        .unwrap();
    let fresh = prepared.open().unwrap();
    assert_eq!(fresh.describe_key(key).unwrap().state, KeyState::Enabled);
    fresh.rotate(key).unwrap();
}

#[test]
fn a_trigger_that_changes_what_is_written_is_noticed() {
    let prepared = Prepared::new("trigger");
    let kms = prepared.open().unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    let tried = |on: &str, body: &str| {
        let made = format!(
            "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body} END'; \
             CREATE TRIGGER t BEFORE INSERT OR UPDATE ON {on} FOR EACH ROW EXECUTE FUNCTION f()"
        );
        prepared.sql(true, &made).unwrap();
        let rotated = kms.rotate(key);
        prepared.sql(true, &format!("DROP TRIGGER t ON {on}")).unwrap();
        status(rotated)
    };
    let corrupt = Some(Status::KeystoreCorrupt);
    assert_eq!(tried("material", "NEW.sealed = decode(''00'', ''hex''); RETURN NEW;"), corrupt, "other material");
    assert_eq!(tried("material", "RETURN NULL;"), corrupt, "material that was not written");
    assert_eq!(tried("change", "RETURN NULL;"), corrupt, "an entry of the log that was not written");
    assert_eq!(tried("shard", "RETURN NULL;"), corrupt, "a description that was not written");
    assert_eq!(numbers(&prepared.open().unwrap(), key), [1], "half a rotation stands");
    kms.rotate(key).unwrap();
    assert!(is_sound(&kms));
}
