//! The tables: their versions, who may use them, and in which schema of the database they are.
//!
//! A keystore's tables have a version, not a text that is compared: further indexes of an administrator do no harm.

use std::time::Duration;

use super::ANSWER;
use super::connection::{ServerLink, Statement};
use super::read;
use super::target::Target;
use crate::error::{Error, Result, Status};

/// What makes each version out of the one before. What was released is not changed any more.
const MIGRATIONS: &[&str] = &[include_str!("schema/tables.sql")];
const GRANTS: &str = include_str!("schema/grants.sql");
/// Where the location names no schema.
const SCHEMA: &str = "public";

/// The version that this library needs.
pub fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Has the transaction find the tables of this schema only: nothing that others put in a schema before it, nor temporary
/// tables, which a pooled connection may still have. The server's own catalogue comes first by itself.
pub fn search_path(target: &Target) -> String {
    format!("SET LOCAL search_path = {}, pg_temp", target.schema.as_deref().unwrap_or(SCHEMA))
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
/// them nor rewrite the change log.
pub fn prepare(target: &Target, role: Option<&str>, patience: Duration) -> Result<()> {
    prepare_by(&mut ServerLink::open(target, patience + ANSWER)?, target, role)
}

pub fn prepare_by(link: &mut ServerLink, target: &Target, role: Option<&str>) -> Result<()> {
    link.script(&format!("BEGIN; {}", search_path(target)))?;
    let done = make(link, target).and_then(|()| match role {
        Some(role) => link.script(&grants(target, role)?),
        None => Ok(()),
    });
    match done {
        Ok(()) => link.script("COMMIT"),
        Err(error) => {
            let _ = link.script("ROLLBACK");
            Err(error)
        }
    }
}

fn number(link: &mut ServerLink, sql: &'static str) -> Result<i64> {
    let found = link.run(&[Statement::new(sql, Vec::new())]).map_err(Error::from)?;
    found.first().and_then(|rows| rows.first()).map_or(Err(read::damaged()), |row| read::number(row, 0))
}

fn make(link: &mut ServerLink, target: &Target) -> Result<()> {
    if let Some(schema) = &target.schema {
        let sql = "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = $1";
        let found = link.run(&[Statement::new(sql, vec![schema.as_str().into()])]).map_err(Error::from)?;
        let row = found.first().and_then(|rows| rows.first()).ok_or_else(read::damaged)?;
        if read::number(row, 0)? == 0 {
            link.script(&format!("CREATE SCHEMA {schema}"))?;
        }
    }
    link.script("CREATE TABLE IF NOT EXISTS schema(version bigint PRIMARY KEY); LOCK TABLE schema IN EXCLUSIVE MODE")?;
    let found = number(link, "SELECT coalesce(max(version), 0) FROM schema")?;
    if found > version() {
        return check(found);
    }
    let missing = MIGRATIONS.iter().zip(1..).skip(usize::try_from(found).unwrap_or(0));
    for (migration, version) in missing {
        link.script(migration)?;
        link.script(&format!("INSERT INTO schema(version) VALUES({version})"))?;
    }
    Ok(())
}

/// The SQL after which a role may use the tables.
fn grants(target: &Target, role: &str) -> Result<String> {
    if role.is_empty() || role.contains('\0') {
        return Err(Status::InvalidArgument.error("the role's name is empty or contains NUL; correct it"));
    }
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let schema = target.schema.as_deref().unwrap_or(SCHEMA);
    Ok(format!("GRANT USAGE ON SCHEMA {schema} TO {role}; {}", GRANTS.replace("{role}", &role)))
}
