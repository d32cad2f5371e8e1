//! A database of keystores as a whole: its tables, the roles that may use them, how the server is set up.

pub use super::database_info::{DatabaseInfo, PreparedDatabase};
use crate::error::Result;

/// Make the tables of keystores in a database, or bring them to this library's version.
///
/// The user of `location` becomes their owner. It needs no root key, and makes no keystore: it may be another user than the
/// programs have. `role`, if any, is the user or group of the programs: afterwards it may use the tables, but neither
/// change or drop them nor rewrite the change log.
///
/// # Errors
/// * `InvalidArgument` for a malformed location; `KeystoreTooNew` for tables of a newer library.
/// * `KeystoreUnavailable`; `KeystoreIo` where the user lacks a privilege, which the text names.
pub fn prepare(location: &str, role: Option<&str>) -> Result<PreparedDatabase> {
    server::prepare(location, role)
}

/// Return the SQL that [`prepare`] runs in a database without tables, for an administrator to run. Connects to no server.
///
/// # Errors
/// `InvalidArgument` for a malformed location.
pub fn script(location: &str, role: Option<&str>) -> Result<String> {
    server::script(location, role)
}

/// Describe the server and the tables of a location. It needs no root key.
///
/// # Errors
/// `InvalidArgument` for a malformed location; `NotAKeystore` where there are no tables; `KeystoreUnavailable`.
pub fn describe(location: &str) -> Result<DatabaseInfo> {
    server::describe(location)
}

#[cfg(feature = "postgres")]
use super::driver::server;

#[cfg(not(feature = "postgres"))]
mod server {
    use super::{DatabaseInfo, PreparedDatabase};
    use crate::error::Result;
    use crate::store::settings::no_database;

    pub fn prepare(_: &str, _: Option<&str>) -> Result<PreparedDatabase> {
        Err(no_database())
    }

    pub fn script(_: &str, _: Option<&str>) -> Result<String> {
        Err(no_database())
    }

    pub fn describe(_: &str) -> Result<DatabaseInfo> {
        Err(no_database())
    }
}
