//! What is known of a database of keystores.

/// What [`prepare`](super::database::prepare) found and made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreparedDatabase {
    /// Version of the tables before; 0: there were none.
    pub former_version: i64,
    /// Version of the tables now.
    pub version: i64,
    /// Whether the database has the keystore of the location.
    pub has_keystore: bool,
}

/// A database as [`describe`](super::database::describe) finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseInfo {
    /// The server that answered: its name and port.
    pub server: String,
    /// What the server calls its version.
    pub server_version: String,
    /// The name of the database.
    pub database: String,
    /// The schema of the tables.
    pub schema: String,
    /// The role that was logged in.
    pub role: String,
    /// Version of the tables.
    pub tables: i64,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Whether a commit is on the server's disk before it is acknowledged.
    pub is_durable: bool,
    /// Whether a commit is on a standby, too, before it is acknowledged, as far as the settings say.
    pub is_synchronous: bool,
    /// Number of the newest checkpoint of all shards; none before the first.
    pub checkpoint: Option<i64>,
}
