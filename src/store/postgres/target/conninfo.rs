//! The text of a location: a URL, or `postgres:` with keywords.

use zeroize::Zeroizing;

use crate::error::{Error, Result, Status};

/// Settings by name, in the order of precedence: the first value wins.
pub struct Conninfo(Vec<(String, Zeroizing<String>)>);

fn malformed(text: &'static str) -> Error {
    Status::InvalidArgument.error(text)
}

impl Conninfo {
    pub fn parse(location: &str) -> Result<Self> {
        let mut settings = Self(Vec::new());
        let settings_of =
            |first: &str, second: &str| location.strip_prefix(first).or_else(|| location.strip_prefix(second));
        match (settings_of("postgres://", "postgresql://"), settings_of("postgres:", "postgresql:")) {
            (Some(url), _) => settings.add_url(url)?,
            (None, Some(keywords)) => settings.add_keywords(keywords)?,
            (None, None) => return Err(malformed("the location is no PostgreSQL location; correct it")),
        }
        Ok(settings)
    }

    /// Settings of servers only: `host[:port],...`
    pub fn of_servers(text: &str) -> Result<Self> {
        let mut settings = Self(Vec::new());
        settings.add_hosts(text)?;
        Ok(settings)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Adds a setting that is missing.
    pub fn add(&mut self, name: &str, value: Zeroizing<String>) {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), value));
        }
    }

    /// `[user[:password]@][host[:port],...][/database][?name=value&...][#keystore]`
    fn add_url(&mut self, url: &str) -> Result<()> {
        let (url, keystore) = split(url, '#');
        let (url, parameters) = split(url, '?');
        let (authority, database) = split(url, '/');
        // It would belong to a password whose / ? or # ends what comes before, and the rest would be taken for a name.
        if [keystore, parameters, database].iter().flatten().any(|text| text.contains('@')) {
            return Err(malformed("the location has @ after its server; percent-encode @ / ? # of user and password"));
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if let Some((user, password)) = login.map(|login| split(login, ':')) {
            self.add_decoded("user", user)?;
            self.add_decoded("password", password.unwrap_or_default())?;
        }
        self.add_hosts(hosts)?;
        self.add_decoded("dbname", database.unwrap_or_default())?;
        for parameter in parameters.unwrap_or_default().split('&').filter(|text| !text.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or_else(|| malformed("a setting of the location has no value; correct it"))?;
            let value = decoded(value)?;
            // As libpq takes it from other clients.
            match name {
                "ssl" if value.as_str() == "true" => self.add("sslmode", Zeroizing::new("require".to_owned())),
                _ => self.add(&decoded(name)?, value),
            }
        }
        if let Some(keystore) = keystore {
            self.add("keystore", decoded(keystore)?);
        }
        Ok(())
    }

    fn add_hosts(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for server in text.split(',') {
            let (host, port) = match server.strip_prefix('[').map(|rest| rest.split_once(']')) {
                Some(Some((host, rest))) => (host, rest.strip_prefix(':')),
                Some(None) => return Err(malformed("an address in the location lacks its ]; correct it")),
                None => split(server, ':'),
            };
            hosts.push(decoded(host)?.to_string());
            ports.push(port.unwrap_or_default());
        }
        if hosts.iter().any(|host| !host.is_empty()) {
            self.add("host", Zeroizing::new(hosts.join(",")));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.add("port", Zeroizing::new(ports.join(",")));
        }
        Ok(())
    }

    fn add_decoded(&mut self, name: &str, text: &str) -> Result<()> {
        if !text.is_empty() {
            self.add(name, decoded(text)?);
        }
        Ok(())
    }

    /// `name = value ...`, with quotes and backslashes as libpq reads them.
    fn add_keywords(&mut self, text: &str) -> Result<()> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) =
                rest.split_once('=').ok_or_else(|| malformed("a setting of the location has no value; correct it"))?;
            let name = name.trim();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(malformed("a setting of the location has no value; correct it"));
            }
            let (value, left) = quoted(after.trim_start())?;
            self.add(name, value);
            rest = left.trim_start();
        }
        Ok(())
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

/// A value, and what comes after it.
fn quoted(text: &str) -> Result<(Zeroizing<String>, &str)> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let is_quoted = text.starts_with('\'');
    let mut chars = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if is_quoted => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            c if c.is_whitespace() && !is_quoted => return Ok((value, text.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    if is_quoted { Err(malformed("a quote in the location is not closed; correct it")) } else { Ok((value, "")) }
}

/// Percent-encoded text.
fn decoded(text: &str) -> Result<Zeroizing<String>> {
    let wrong = || malformed("the location has a wrong percent-encoding; correct it");
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0).ok_or_else(wrong)?);
        rest = tail;
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(wrong()),
    }
}
