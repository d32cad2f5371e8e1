//! The tables: their versions, who may use them, and in which schema of the database they are.
//!
//! A keystore's tables have a version, not a text that is compared: further indexes of an administrator do no harm.

use std::time::{Duration, Instant};

use super::connection::{ServerLink, Statement};
use super::failure::Failed;
use super::read;
use super::target::Target;
use super::{ANSWER, Postgres, RETRY};
use crate::error::{Result, Status};
use crate::store::database_info::PreparedDatabase;
use crate::sys::sync;

/// What makes each version out of the one before. What was released is not changed any more.
const MIGRATIONS: &[&str] = &[include_str!("schema/tables.sql")];
const GRANTS: &str = include_str!("schema/grants.sql");
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema(version bigint PRIMARY KEY)";
/// The version of the tables; 0 without any.
pub const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM schema";
/// Where the location names no schema.
const SCHEMA: &str = "public";

/// The version that this library needs.
pub fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Has the transaction find the tables of this schema only: nothing that others put in a schema before it, nor temporary
/// tables, which a pooled connection may still have. The server's own catalogue comes first by itself.
pub fn search_path(target: &Target) -> String {
    format!("SET LOCAL search_path = {}, pg_temp", name(target))
}

/// The schema of the tables.
pub fn name(target: &Target) -> &str {
    target.schema.as_deref().unwrap_or(SCHEMA)
}

/// Refuses tables of another version.
pub fn check(found: i64) -> Result<()> {
    let version = version();
    match found {
        found if found > version => Err(Status::KeystoreTooNew.error(format!(
            "the database has tables of version {found}, and this library knows {version}; update libkms"
        ))),
        found if found < version => Err(Status::NotAKeystore.error(format!(
            "the database has tables of version {found}, and this library needs {version}; prepare the database as the \
             owner of the tables"
        ))),
        _ => Ok(()),
    }
}

/// Makes the tables, or brings them to this library's version; all or nothing. `role` then may use them, and neither change
/// them nor rewrite the change log. Tables of this version need no privilege to make any.
pub fn prepare(target: &Target, role: Option<&str>, patience: Duration) -> Result<PreparedDatabase> {
    let mut link = ServerLink::open(target, patience + ANSWER)?;
    let former_version = prepare_by(&mut link, target, role, Instant::now() + patience)?;
    let has_keystore = Postgres::look_up(&mut link, target)?.is_some();
    Ok(PreparedDatabase { former_version, version: version(), has_keystore })
}

/// Tries until the deadline while other processes make the same tables. Returns the version before.
pub fn prepare_by(link: &mut ServerLink, target: &Target, role: Option<&str>, deadline: Instant) -> Result<i64> {
    loop {
        match try_prepare(link, target, role) {
            Err(failed) if (failed.was_made_by_another || failed.gave_way) && Instant::now() < deadline => {
                sync::sleep(RETRY);
            }
            done => return Ok(done?),
        }
    }
}

fn try_prepare(link: &mut ServerLink, target: &Target, role: Option<&str>) -> std::result::Result<i64, Failed> {
    link.script(&format!("BEGIN; {}", search_path(target)))?;
    let done = make(link, target).and_then(|former| match role {
        Some(role) => link.script(&grants(target, role)?).map(|()| former),
        None => Ok(former),
    });
    match done {
        Ok(former) => link.script("COMMIT").map(|()| former),
        Err(error) => {
            let _ = link.script("ROLLBACK");
            Err(error)
        }
    }
}

/// The SQL that makes the tables where there are none, for an administrator who runs it.
pub fn script(target: &Target, role: Option<&str>) -> Result<String> {
    let mut script = "BEGIN;\n".to_owned();
    if let Some(schema) = &target.schema {
        script.push_str(&format!("CREATE SCHEMA IF NOT EXISTS {schema};\n"));
    }
    script.push_str(&format!("{};\n{VERSIONS};\n", search_path(target)));
    for (migration, version) in MIGRATIONS.iter().zip(1..) {
        script.push_str(&format!("{migration}INSERT INTO schema(version) VALUES({version});\n"));
    }
    if let Some(role) = role {
        script.push_str(&format!("{}\n", grants(target, role)?.trim_end().replace("; GRANT", ";\nGRANT")));
    }
    script.push_str("COMMIT;\n");
    Ok(script)
}

fn number(link: &mut ServerLink, statement: Statement) -> std::result::Result<i64, Failed> {
    let found = link.run(&[statement])?;
    let row = found.first().and_then(|rows| rows.first()).ok_or_else(read::damaged)?;
    Ok(read::number(row, 0)?)
}

fn make(link: &mut ServerLink, target: &Target) -> std::result::Result<i64, Failed> {
    let sql = "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relname = 'schema' AND n.nspname = $1";
    let has_tables = number(link, Statement::new(sql, vec![name(target).into()]))? > 0;
    if has_tables {
        let found = number(link, Statement::new(NEWEST, Vec::new()))?;
        if found >= version() {
            check(found)?;
            return Ok(found);
        }
    }
    if let Some(schema) = &target.schema {
        let sql = "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = $1";
        if number(link, Statement::new(sql, vec![schema.as_str().into()]))? == 0 {
            link.script(&format!("CREATE SCHEMA {schema}"))?;
        }
    }
    link.script(&format!("{VERSIONS}; LOCK TABLE schema IN EXCLUSIVE MODE"))?;
    let found = number(link, Statement::new(NEWEST, Vec::new()))?;
    if found > version() {
        check(found)?;
        return Ok(found);
    }
    let missing = MIGRATIONS.iter().zip(1..).skip(usize::try_from(found).unwrap_or(0));
    for (migration, version) in missing {
        link.script(migration)?;
        link.script(&format!("INSERT INTO schema(version) VALUES({version})"))?;
    }
    Ok(found)
}

/// The SQL after which a role may use the tables.
fn grants(target: &Target, role: &str) -> Result<String> {
    if role.is_empty() || role.contains('\0') {
        return Err(Status::InvalidArgument.error("the role's name is empty or contains NUL; correct it"));
    }
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let schema = name(target);
    Ok(format!("GRANT USAGE ON SCHEMA {schema} TO {role}; {}", GRANTS.replace("{role}", &role)))
}
