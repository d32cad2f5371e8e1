//! Why statements failed: what the server's SQLSTATE says about them, and the status that a caller receives.

use super::stream;
use crate::error::{Error, Status, shown};

/// ln(0): what the check of the session fails with.
const OTHER_SESSION: &str = "2201E";

/// Why statements failed, and whether the server may have executed them nevertheless.
#[derive(Debug)]
pub struct Failed {
    pub error: Error,
    pub is_unknown: bool,
    /// Another transaction was preferred: this one may be made once more.
    pub gave_way: bool,
    /// The server's session is another one than that which prepared the statements, or their tables changed.
    pub is_not_prepared: bool,
    /// Another transaction made the same tables or grants: both add to the server's catalogue at once.
    pub was_made_by_another: bool,
}

impl Failed {
    pub fn of(error: &tokio_postgres::Error) -> Self {
        let code = error.as_db_error().map(|said| said.code().code());
        // A server that ends the connection may have committed before it said so.
        let is_unknown = code.is_none_or(|code| code.starts_with("57P") || code.starts_with("08") || code == "40003");
        let gave_way = matches!(code, Some("40001" | "40P01"));
        let is_not_prepared = matches!(code, Some(OTHER_SESSION | "26000" | "42P05" | "0A000"));
        // XX000 is "tuple concurrently updated".
        let was_made_by_another = matches!(code, Some("23505" | "42P06" | "42P07" | "42710" | "55P03" | "XX000"));
        Self { error: explain(error), is_unknown, gave_way, is_not_prepared, was_made_by_another }
    }

    /// Of a connection that ended.
    pub fn lost(error: Error) -> Self {
        Self { is_unknown: true, ..Self::from(error) }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, is_unknown: false, gave_way: false, is_not_prepared: false, was_made_by_another: false }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

pub fn lost(text: &str) -> Error {
    Status::KeystoreUnavailable.error(text.to_owned())
}

pub fn explain(error: &tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        if let Some(ours) = cause.and_then(stream::own_error) {
            return ours;
        }
        let error = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        return lost(&format!("the connection to the database failed: {error}; check the server"));
    };
    explain_code(said.code().code(), said.message())
}

/// What the server's SQLSTATE means to a caller. Statements and values are never part of the text, nor is the server's own
/// text where that may quote them.
fn explain_code(code: &str, message: &str) -> Error {
    match code {
        // A lock that others hold, or one of several transactions that had to give way.
        "55P03" | "57014" | "40001" | "40P01" => {
            Status::KeystoreBusy.error("another process is using the keystore; try again")
        }
        // Several processes that make the same schema or tables: only one of them does.
        "42P06" | "42P07" | "42710" => Status::KeystoreBusy.error(
            "another process is making the same tables, or the schema has other tables of these names; try again, or \
             choose another schema",
        ),
        // The server stops, was restarted or starts; connections are refused; the connection broke; the standby was
        // promoted.
        "57P01" | "57P02" | "57P03" | "57P05" => {
            lost(&format!("the database is stopping, starting or ended the connection (SQLSTATE {code}); try again"))
        }
        "53300" => lost("the database has no connection left; raise its max_connections or close others"),
        _ if code.starts_with("08") => {
            lost(&format!("the connection to the database failed (SQLSTATE {code}); check the server"))
        }
        // Prepared statements where sessions change. Nothing was changed.
        OTHER_SESSION | "26000" | "42P05" => Status::KeystoreBusy.error(
            "the database's session is not the one that prepared the statements, as behind a pooler; try again, and remove \
             prepare=on from the location",
        ),
        "53100" | "53200" | "53400" => {
            lost(&format!("the database is out of disk space or memory (SQLSTATE {code}); free some"))
        }
        // A row to write that was not there once (`writes.rs`).
        "22012" => {
            Status::KeystoreCorrupt.error("the keystore is damaged: a row to change is gone; restore it from a backup")
        }
        "25006" => Status::KeystoreReadOnly.error("the database is read-only; connect to the primary server"),
        "23505" => {
            Status::KeystoreCorrupt.error("the keystore is damaged: a row is there twice; restore it from a backup")
        }
        "42P01" | "42703" | "3F000" => {
            Status::NotAKeystore.error("the database has no tables of a libkms keystore; pass create to make them")
        }
        "3D000" => Status::KeystoreNotFound
            .error("the server has no database of this name; create it, or correct the location"),
        "28P01" | "28000" => lost("the database refused the user; check user, password and the server's pg_hba.conf"),
        "42704" => {
            Status::KeystoreIo.error("the database has no role of this name; create it there: CREATE ROLE name LOGIN")
        }
        // "permission denied for table key": names of tables, never values.
        "42501" => {
            Status::KeystoreIo.error(format!("the database user lacks a privilege: {}; grant it", shown(message)))
        }
        _ => Status::KeystoreIo
            .error(format!("the database refused a statement (SQLSTATE {code}); check the server's log")),
    }
}

#[cfg(test)]
mod tests;
