//! Which server, and how it is reached: a location's settings, as libpq names them.
//!
//! A setting comes from the location, otherwise from the service file, otherwise from the environment (`PG*`),
//! otherwise it has its default.
//! No password is in an error text or in what `Debug` prints.

mod address;
mod conninfo;
mod files;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

pub use self::address::ServerAddress;
use self::address::invalid;
use self::conninfo::Conninfo;
pub use self::files::contents;
use crate::error::{Result, shown};
use crate::sys::process;

/// Where the location names none.
const PORT: u16 = 5432;
const KEYSTORE: &str = "default";
/// Longest wait for a connection where the location sets none.
const CONNECT: Duration = Duration::from_secs(10);

/// Settings, and the variables of the environment that stand in for them.
const SETTINGS: &[(&str, Option<&str>)] = &[
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("dbname", Some("PGDATABASE")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("passfile", Some("PGPASSFILE")),
    ("service", Some("PGSERVICE")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("application_name", Some("PGAPPNAME")),
    ("options", Some("PGOPTIONS")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("connections", None),
    ("keystore", None),
    ("notify", None),
    ("prepare", None),
    ("schema", None),
];

/// What is asked of the connection's encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    None,
    /// Protects only against passive eavesdropping.
    Unverified,
    /// By a known authority, for any name.
    Authority,
    Full,
}

/// Whether the login must be bound to the server's certificate, so that no party in between can relay it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    Disabled,
    Preferred,
    Required,
}

/// Where the authorities are that the server's certificate may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    File(PathBuf),
    System,
}

/// A server with all that is needed to log in to it, and the keystore in its database.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub servers: Vec<ServerAddress>,
    pub database: String,
    pub user: String,
    pub password: Option<Zeroizing<String>>,
    /// The password of each server, where the password file has one.
    pub passwords: Vec<Option<Zeroizing<String>>>,
    /// None where only this host is named and nothing is written about encryption.
    pub encryption: Encryption,
    pub authorities: Authorities,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub channel_binding: Binding,
    pub application: String,
    pub options: Option<String>,
    pub connect_timeout: Duration,
    /// Whether a server must take writes.
    pub must_write: bool,
    /// Most connections of a handle, besides those of copies and of the listener.
    pub connections: usize,
    pub keystore: String,
    /// The schema of the tables, where one is named.
    pub schema: Option<String>,
    /// The servers where changes are announced and listened for; none where only polls find them.
    pub notify: Option<Box<Self>>,
    /// Whether the server keeps the plans of statements for as long as a connection lasts.
    pub prepare: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// What may be printed: no password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        for (at, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if at == 0 { "" } else { "," })?;
        }
        write!(f, "/{}#{}", shown(&self.database), shown(&self.keystore))
    }
}

impl Target {
    /// The target of a location, completed from the environment and its files.
    pub fn find(location: &str) -> Result<Self> {
        let mut settings = Conninfo::parse(location)?;
        for name in settings.names() {
            if !SETTINGS.iter().any(|(known, _)| *known == name) {
                return Err(invalid(format!("the location has an unknown setting {}; remove it", shown(name))));
            }
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(service) = settings.get("service").map(str::to_owned).or_else(|| variable("PGSERVICE")) {
            for (name, value) in files::service(&service)? {
                if !SETTINGS.iter().any(|(known, _)| *known == name) {
                    let name = shown(&name);
                    return Err(invalid(format!("the service file has an unknown setting {name}; remove it")));
                }
                settings.add(&name, value);
            }
        }
        for (name, stand_in) in SETTINGS {
            if let Some(value) = stand_in.and_then(variable) {
                settings.add(name, Zeroizing::new(value));
            }
        }
        Self::of(&settings)
    }

    fn of(settings: &Conninfo) -> Result<Self> {
        let servers = servers(settings)?;
        let user = match settings.get("user") {
            Some(user) => user.to_owned(),
            None => process::user_name().ok_or_else(|| invalid("the location names no user; add user=NAME"))?,
        };
        let database = settings.get("dbname").unwrap_or(&user).to_owned();
        let password = settings.get("password").map(|password| Zeroizing::new(password.to_owned()));
        let passwords = match &password {
            Some(_) => Vec::new(),
            None => files::passwords(settings.get("passfile"), &servers, &database, &user)?,
        };
        let identity = files::identity(settings.get("sslcert"), settings.get("sslkey"))?;
        let channel_binding = match settings.get("channel_binding").unwrap_or("prefer") {
            "disable" => Binding::Disabled,
            "prefer" => Binding::Preferred,
            "require" => Binding::Required,
            _ => return Err(invalid("channel_binding is neither disable, prefer nor require; correct it")),
        };
        let must_write = match settings.get("target_session_attrs").unwrap_or("any") {
            "any" => false,
            "read-write" | "primary" => true,
            _ => return Err(invalid("target_session_attrs is neither any, read-write nor primary; correct it")),
        };
        let prepare = match settings.get("prepare").unwrap_or("off") {
            "on" => true,
            "off" => false,
            _ => return Err(invalid("prepare is neither on nor off; correct it")),
        };
        let connections = match settings.get("connections").unwrap_or("3") {
            "1" => 1,
            "2" => 2,
            "3" => 3,
            _ => return Err(invalid("connections is neither 1, 2 nor 3; correct it")),
        };
        let (encryption, authorities) = encryption(settings, &servers)?;
        let keystore = settings.get("keystore").unwrap_or(KEYSTORE).to_owned();
        if keystore.is_empty() || keystore.chars().any(char::is_control) {
            return Err(invalid("the keystore's name in the location is empty or not printable; correct it"));
        }
        let schema = settings.get("schema").map(str::to_owned);
        if schema.as_ref().is_some_and(|schema| !is_plain(schema)) {
            return Err(invalid("the schema in the location may have only a-z, 0-9 and _; correct it"));
        }
        let found = Self {
            servers,
            database,
            user,
            password,
            passwords,
            encryption,
            authorities,
            identity,
            channel_binding,
            application: settings.get("application_name").unwrap_or("libkms").to_owned(),
            options: settings.get("options").map(str::to_owned),
            connect_timeout: timeout(settings)?,
            must_write,
            connections,
            keystore,
            schema,
            notify: None,
            prepare,
        };
        let notify = found.listening(settings)?;
        Ok(Self { notify, ..found })
    }

    /// Where to listen: at the location's own servers, or at those behind a pooler. Only a server that takes writes has
    /// LISTEN.
    fn listening(&self, settings: &Conninfo) -> Result<Option<Box<Self>>> {
        let servers = match settings.get("notify") {
            None | Some("off") => return Ok(None),
            Some("on") => self.servers.clone(),
            Some(named) => servers(&Conninfo::of_servers(named)?)
                .map_err(|_| invalid("notify is neither on, off nor HOST[:PORT][,HOST...]; correct it"))?,
        };
        let passwords = match &self.password {
            Some(_) => Vec::new(),
            None => files::passwords(settings.get("passfile"), &servers, &self.database, &self.user)?,
        };
        let (encryption, authorities) = encryption(settings, &servers)?;
        Ok(Some(Box::new(Self { servers, passwords, encryption, authorities, must_write: true, ..self.clone() })))
    }

    /// The password for one of the servers.
    pub fn password_for(&self, server: usize) -> Option<&str> {
        let own = self.passwords.get(server).and_then(Option::as_ref);
        self.password.as_ref().or(own).map(|password| password.as_str())
    }
}

/// Whether a name may stand in a statement without quotes.
fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    starts && name.len() <= 63 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn timeout(settings: &Conninfo) -> Result<Duration> {
    let Some(text) = settings.get("connect_timeout") else { return Ok(CONNECT) };
    match text.trim().parse::<i32>() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(u64::from(seconds.unsigned_abs()))),
        Ok(_) => Ok(CONNECT),
        Err(_) => Err(invalid("connect_timeout is no number of seconds; correct it")),
    }
}

fn servers(settings: &Conninfo) -> Result<Vec<ServerAddress>> {
    let list = |name: &str| -> Vec<String> {
        settings.get(name).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len());
    if count == 0 || (!hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len()) {
        return Err(invalid("the location names no server, or more names than addresses; correct host and hostaddr"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(invalid("the location has more ports than servers, or fewer; correct port"));
    }
    let mut servers = Vec::new();
    for at in 0..count {
        let address = addresses.get(at).filter(|text| !text.is_empty());
        let address = address.map(|text| text.parse::<IpAddr>());
        let address = address.transpose().map_err(|_| invalid("hostaddr is no IP address; correct it"))?;
        let host = hosts.get(at).filter(|text| !text.is_empty()).cloned();
        let host = host.or_else(|| address.map(|address| address.to_string()));
        let host = host.ok_or_else(|| invalid("the location names a server without a name; correct host"))?;
        let port = ports.get(at).or(ports.first()).filter(|text| !text.is_empty());
        let port = port.map(|text| text.parse::<u16>()).transpose();
        let port = port.ok().map(|port| port.unwrap_or(PORT)).filter(|port| *port != 0);
        let port = port.ok_or_else(|| invalid("the location's port is no number from 1 to 65535; correct it"))?;
        servers.push(ServerAddress { host, address, port });
    }
    Ok(servers)
}

fn encryption(settings: &Conninfo, servers: &[ServerAddress]) -> Result<(Encryption, Authorities)> {
    let (named, by_default) = (settings.get("sslrootcert"), files::in_home(".postgresql/root.crt"));
    let authorities = match named {
        Some("system") => Authorities::System,
        Some(path) => Authorities::File(PathBuf::from(path)),
        None => by_default.filter(|path| path.exists()).map_or(Authorities::System, Authorities::File),
    };
    let encryption = match settings.get("sslmode") {
        // What stays in this host passes no network.
        None if servers.iter().all(ServerAddress::is_this_host) => Encryption::None,
        None | Some("verify-full") => Encryption::Full,
        Some("verify-ca") if authorities == Authorities::System => {
            return Err(invalid("sslmode=verify-ca accepts any server that a public authority knows; use verify-full"));
        }
        Some("verify-ca") => Encryption::Authority,
        // As libpq, which verifies where there are root certificates.
        Some("require") if named.is_some() && authorities != Authorities::System => Encryption::Authority,
        Some("require") => Encryption::Unverified,
        Some("disable") => Encryption::None,
        Some("allow" | "prefer") => {
            return Err(invalid(
                "sslmode allow and prefer let others switch encryption off; use verify-full or disable",
            ));
        }
        Some(_) => return Err(invalid("sslmode is unknown; use verify-full, verify-ca, require or disable")),
    };
    Ok((encryption, authorities))
}

#[cfg(test)]
mod tests;
