//! How the server of a database is set up, in one round trip.

use super::connection::{ServerLink, Statement};
use super::target::Target;
use super::{ANSWER, read, schema};
use crate::error::{Error, Result};
use crate::store::database_info::DatabaseInfo;

/// `missing_ok`: other databases that speak the protocol lack some settings.
const SERVER: &str = "SELECT current_setting('server_version'), current_database()::text, current_user::text, \
     coalesce(current_setting('synchronous_commit', true), ''), coalesce(current_setting('fsync', true), 'on'), \
     coalesce(current_setting('synchronous_standby_names', true), '')";

pub fn describe(target: &Target) -> Result<DatabaseInfo> {
    let mut link = ServerLink::open(target, ANSWER)?;
    let checkpoint = "SELECT number FROM checkpoint WHERE store = (SELECT store FROM store WHERE name = $1)";
    let found = link.run(&[
        Statement::new("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Vec::new()),
        Statement::new(schema::search_path(target), Vec::new()),
        Statement::new(SERVER, Vec::new()),
        Statement::new(schema::NEWEST, Vec::new()),
        Statement::new(checkpoint, vec![target.keystore.as_str().into()]),
    ]);
    let ended = link.run(&[Statement::new("ROLLBACK", Vec::new())]);
    let found = found.map_err(Error::from)?;
    ended.map_err(Error::from)?;
    let [_, _, server, tables, checkpoint] = found.as_slice() else { return Err(read::damaged()) };
    let [server, tables] = [server, tables].map(|rows| rows.first().ok_or_else(read::damaged));
    let (server, tables) = (server?, tables?);
    let (commit, is_synced) = (read::text(server, 3)?, read::text(server, 4)? == "on");
    let waits_for_standby = matches!(commit.as_str(), "on" | "remote_apply" | "remote_write");
    Ok(DatabaseInfo {
        server: link.server().to_owned(),
        // Without what a distribution adds.
        server_version: read::text(server, 0)?.split(' ').take(1).collect(),
        database: read::text(server, 1)?,
        schema: schema::name(target).to_owned(),
        role: read::text(server, 2)?,
        tables: read::number(tables, 0)?,
        is_encrypted: link.is_encrypted(),
        is_durable: commit != "off" && is_synced,
        is_synchronous: waits_for_standby && !read::text(server, 5)?.trim().is_empty(),
        checkpoint: checkpoint.first().map(|row| read::number(row, 0)).transpose()?,
    })
}
