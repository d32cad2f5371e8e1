//! One server of a location.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::{Error, Status, shown};

/// One of the servers that a location names; the first that takes a connection is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name, an address, or the folder of a local socket.
    pub host: String,
    /// Where the name need not be looked up.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl ServerAddress {
    /// The local socket, where the host is a folder.
    pub fn socket(&self) -> Option<PathBuf> {
        let is_local = self.address.is_none() && self.host.starts_with('/');
        is_local.then(|| PathBuf::from(&self.host).join(format!(".s.PGSQL.{}", self.port)))
    }

    pub fn is_this_host(&self) -> bool {
        let address = self.address.or_else(|| self.host.parse().ok());
        match address {
            Some(address) => address.is_loopback(),
            None => self.socket().is_some() || self.host == "localhost",
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", shown(&self.host), self.port)
    }
}

/// What is wrong with a location.
pub fn invalid(text: impl Into<String>) -> Error {
    Status::InvalidArgument.error(text.into())
}
