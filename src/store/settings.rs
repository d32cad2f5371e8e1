//! Which keystore is opened, and how.

use std::path::PathBuf;
use std::time::Duration;

use super::anchor::Anchor;
use crate::domain::log::Actor;
use crate::error::{Error, Result, Status, shown_path};
use crate::sys::process;

/// Where the rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Memory,
    File(PathBuf),
    /// A database: the server's URL, and the keystore's name as its fragment.
    #[cfg(feature = "postgres")]
    Server(ServerUrl),
}

/// A location that may hold a password, which is not printed.
#[cfg(feature = "postgres")]
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(pub zeroize::Zeroizing<String>);

#[cfg(feature = "postgres")]
impl std::fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerUrl(..)")
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("the keystore in memory"),
            Self::File(path) => write!(f, "the keystore {}", shown_path(path)),
            #[cfg(feature = "postgres")]
            Self::Server(_) => f.write_str("the keystore in the database"),
        }
    }
}

impl Location {
    /// Names the keystore in an error about it.
    #[cold]
    pub fn named(&self, error: Error) -> Error {
        match self {
            Self::File(path) => error.of_keystore(path),
            Self::Memory => error,
            #[cfg(feature = "postgres")]
            Self::Server(_) => error,
        }
    }

    /// `memory:`, `sqlite:PATH` or a bare path.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |text: &'static str| Status::InvalidArgument.error(text);
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        #[cfg(feature = "postgres")]
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return Ok(Self::Server(ServerUrl(text.to_owned().into())));
        }
        #[cfg(not(feature = "postgres"))]
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return Err(no_database());
        }
        let path = text.strip_prefix("sqlite:");
        if path.is_none() && (text.starts_with("memory:") || text.contains("://")) {
            return Err(invalid("the location names an unknown kind of keystore; pass a path, sqlite:PATH or memory:"));
        }
        match path.unwrap_or(text) {
            "" => Err(invalid("the location is empty; pass a path, sqlite:PATH or memory:")),
            path if path.contains('\0') => Err(invalid("the location contains NUL; pass a path without")),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

/// What a build without the feature `postgres` says of a database.
#[cfg(not(feature = "postgres"))]
pub fn no_database() -> Error {
    Status::InvalidArgument
        .error("this build of libkms opens no keystore in PostgreSQL; pass a path, sqlite:PATH or memory:")
}

/// How a store is to be opened.
#[derive(Debug, Clone)]
pub struct Settings {
    pub location: Location,
    pub create: bool,
    pub read_only: bool,
    pub patience: Duration,
    /// Whether to continue with what a store on another machine has, although it went back.
    pub accepts_rollback: bool,
    /// How often a store on another machine is asked for changes.
    pub poll: Duration,
    pub anchor: Option<Anchor>,
    /// Whether the anchor of a store on another machine holds each change.
    pub is_anchor_strict: bool,
    /// The wall time of the open, for a keystore that is made.
    pub opened_ms: i64,
    /// What the actor of each change is called.
    pub actor: ActorName,
}

/// The part of an [`Actor`] that stays.
#[derive(Debug, Clone, Default)]
pub struct ActorName {
    pub program: String,
    pub label: Option<String>,
}

impl ActorName {
    /// The actor in this process.
    pub fn now(&self) -> Actor {
        Actor {
            process_id: process::id(),
            user_id: process::user(),
            program: self.program.clone(),
            label: self.label.clone(),
        }
    }
}
