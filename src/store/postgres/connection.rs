//! One connection to a server: statements that go out together, each wait bounded, errors as our statuses.

use std::borrow::Cow;
use std::future::Future;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Row};

use super::stream::{self, Socket, TlsSocket};
use super::target::{Binding, Encryption, ServerAddress, Target};
use super::value::Value;

use crate::error::{Error, Result, Status, shown};
use crate::sys::fork::ClosedInChild;
use crate::sys::socket;

/// SQL with its parameters, the first of which is the store.
pub struct Statement {
    pub sql: Cow<'static, str>,
    pub values: Vec<Value>,
}

impl Statement {
    pub fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }
}

/// Why statements failed, and whether the server may have executed them nevertheless.
#[derive(Debug)]
pub struct Failed {
    pub error: Error,
    pub is_unknown: bool,
    /// Another transaction was preferred: this one may be made once more.
    pub gave_way: bool,
}

impl Failed {
    fn of(error: &tokio_postgres::Error) -> Self {
        let code = error.as_db_error().map(|said| said.code().code());
        // A server that ends the connection may have committed before it said so.
        let is_unknown = code.is_none_or(|code| code.starts_with("57P") || code.starts_with("08") || code == "40003");
        let gave_way = matches!(code, Some("40001" | "40P01"));
        Self { error: explain(error), is_unknown, gave_way }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// Whether a future may continue.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Learns of a socket, which it may shut down later to end the waits for it.
pub type Dialled<'a> = &'a dyn Fn(&Arc<TcpStream>) -> Result<()>;

/// Notifications that are taken together, at most.
const NOTIFICATIONS: usize = 1024;

pub type Results = Vec<std::result::Result<Vec<Row>, Failed>>;

/// A connection, driven by the thread that waits for an answer: there is no runtime, which could not run inside of a host
/// program's own, and no thread.
pub struct ServerLink {
    client: Client,
    /// Gone once it has ended, and with it what waits for its answers.
    connection: Option<Connection<Socket, TlsSocket>>,
    stream: Arc<TcpStream>,
    is_full: Arc<AtomicBool>,
    timeout: Duration,
    /// Whether a wait ended without its answer, so that what comes belongs to no statement. Nothing is sent any more.
    is_broken: bool,
    /// Its name and port.
    server: String,
    is_encrypted: bool,
    _socket: ClosedInChild,
}

impl ServerLink {
    /// A connection to the first server of the target that takes one, in time for `timeout` altogether.
    pub fn open(target: &Target, timeout: Duration) -> Result<Self> {
        Self::open_watched(target, timeout, &|_| Ok(()))
    }

    /// As [`Self::open`]. `dialled` learns of each socket before any thread waits for it; its error ends the attempt.
    pub fn open_watched(target: &Target, timeout: Duration, dialled: Dialled<'_>) -> Result<Self> {
        let end = Instant::now() + timeout;
        let mut failure = lost("the location names no server; add its name and port");
        for (at, server) in target.servers.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let others = u32::try_from(target.servers.len() - at).unwrap_or(1);
            let deadline = Instant::now() + target.connect_timeout.min(left / others);
            match Self::log_in(target, (at, server), deadline, timeout, dialled) {
                Ok(link) => return Ok(link),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn log_in(
        target: &Target,
        (at, server): (usize, &ServerAddress),
        deadline: Instant,
        timeout: Duration,
        dialled: Dialled<'_>,
    ) -> Result<Self> {
        let stream = Arc::new(dial(server, deadline)?);
        let registered = ClosedInChild::register_socket(&stream)?;
        dialled(&stream)?;
        let is_full = Arc::new(AtomicBool::new(false));
        let socket = Socket::new(&stream, &is_full);
        let encryption = match server.socket() {
            Some(_) => Encryption::None,
            None => target.encryption,
        };
        let tls = stream::connector(target, server, encryption)?;
        let config = config(target, at, encryption);
        let mut connecting = pin!(config.connect_raw(socket, tls));
        let time = deadline.saturating_duration_since(Instant::now());
        let connected = drive(&stream, &is_full, time, |context| connecting.as_mut().poll(context));
        let connected = connected.map_err(|error| error_at(server, &error))?;
        let (client, connection) = connected.map_err(|error| error_at(server, &explain(&error)))?;
        let mut link = Self {
            client,
            connection: Some(connection),
            stream,
            is_full,
            timeout,
            is_broken: false,
            server: server.to_string(),
            is_encrypted: encryption != Encryption::None,
            _socket: registered,
        };
        if target.must_write {
            link.check_takes_writes(server)?;
        }
        Ok(link)
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    fn check_takes_writes(&mut self, server: &ServerAddress) -> Result<()> {
        let asked =
            self.run(&[Statement::new("SELECT pg_catalog.current_setting('transaction_read_only')", Vec::new())])?;
        let setting = asked.first().and_then(|rows| rows.first()).and_then(|row| row.try_get::<_, String>(0).ok());
        match setting.as_deref() {
            Some("off") => Ok(()),
            _ => {
                Err(lost(&format!("the database at {server} takes no writes; add the primary server to the location")))
            }
        }
    }

    /// Waits for a notification; false if none came in this time. Takes those that have come together.
    pub fn notified(&mut self, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        let Self { connection, stream, is_full, .. } = self;
        let Some(alive) = connection else { return Err(lost("the connection to the database was lost; try again")) };
        let mut is_notified = false;
        let waited = drive(stream, is_full, time, |context| {
            for _ in 0..NOTIFICATIONS {
                match alive.poll_message(context) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(_)))) => is_notified = true,
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(explain(&error))),
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(lost("the connection to the database was closed; try again")));
                    }
                    Poll::Pending => break,
                }
            }
            if is_notified { Poll::Ready(Ok(true)) } else { Poll::Pending }
        });
        match waited {
            Ok(done) => {
                self.is_broken |= done.is_err();
                done
            }
            Err(_) if Instant::now() >= deadline => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends all statements at once, and returns the rows of each.
    pub fn run(&mut self, statements: &[Statement]) -> std::result::Result<Vec<Vec<Row>>, Failed> {
        self.run_each(statements)?.into_iter().collect()
    }

    /// As [`Self::run`], where one may fail without the others.
    pub fn run_each(&mut self, statements: &[Statement]) -> std::result::Result<Results, Failed> {
        if self.is_broken {
            let error = lost("the connection to the database was lost; try again");
            return Err(Failed { error, is_unknown: true, gave_way: false });
        }
        type RowsOf<'a> = Pin<Box<dyn Future<Output = std::result::Result<Vec<Row>, Failed>> + 'a>>;
        let Self { client, connection, stream, is_full, timeout, .. } = self;
        let mut pending: Vec<Option<RowsOf<'_>>> = Vec::new();
        for statement in statements {
            pending.push(Some(Box::pin(one(client, statement))));
        }
        let mut done: Results = Vec::new();
        done.resize_with(pending.len(), || Ok(Vec::new()));
        let finished = drive(stream, is_full, *timeout, |context| {
            let mut left = false;
            // In order: each sends at its first poll.
            for (place, result) in pending.iter_mut().zip(&mut done) {
                let Some(future) = place else { continue };
                match future.as_mut().poll(context) {
                    Poll::Ready(rows) => (*place, *result) = (None, rows),
                    Poll::Pending => left = true,
                }
            }
            if left { attend(connection, context) } else { Poll::Ready(()) }
        });
        drop(pending);
        self.is_broken = finished.is_err() || self.connection.is_none();
        match finished {
            Ok(()) => Ok(done),
            Err(error) => Err(Failed { error, is_unknown: true, gave_way: false }),
        }
    }

    /// Runs SQL of several statements.
    pub fn script(&mut self, sql: &str) -> Result<()> {
        let Self { client, connection, stream, is_full, timeout, .. } = self;
        let mut running = pin!(client.batch_execute(sql));
        let done = drive(stream, is_full, *timeout, |context| {
            let done = running.as_mut().poll(context);
            if done.is_pending() {
                let _: Poll<()> = attend(connection, context);
            }
            done
        });
        self.is_broken = done.is_err();
        done?.map_err(|error| explain(&error))
    }
}

/// Sends and receives what can be. Those who wait are woken if the connection has ended.
fn attend<R>(connection: &mut Option<Connection<Socket, TlsSocket>>, context: &mut Context<'_>) -> Poll<R> {
    if connection.as_mut().is_some_and(|alive| Pin::new(alive).poll(context).is_ready()) {
        *connection = None;
        context.waker().wake_by_ref();
    }
    Poll::Pending
}

/// Polls until it is ready or the time is up, and waits for the socket meanwhile.
fn drive<R>(
    stream: &TcpStream,
    is_full: &AtomicBool,
    time: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
) -> Result<R> {
    let deadline = Instant::now() + time;
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    loop {
        woken.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(done) = poll(&mut Context::from_waker(&waker)) {
            return Ok(done);
        }
        if woken.0.load(Ordering::Relaxed) {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(lost("the database did not answer in time; check the server"));
        }
        let ready = socket::wait(stream, is_full.load(Ordering::Relaxed), left);
        ready.map_err(|e| lost(&format!("the connection to the database failed: {e}; check the server")))?;
    }
}

async fn one(client: &Client, statement: &Statement) -> std::result::Result<Vec<Row>, Failed> {
    let values: Vec<_> = statement.values.iter().map(Value::typed).collect();
    client.query_typed(&statement.sql, &values).await.map_err(|e| Failed::of(&e))
}

/// The client would resolve names on its own threads.
fn dial(server: &ServerAddress, deadline: Instant) -> Result<TcpStream> {
    let failed =
        |e: &std::io::Error| lost(&format!("no connection to the database at {server}: {e}; check the server"));
    if let Some(path) = server.socket() {
        return socket::connect_local(&path, deadline).map_err(|e| failed(&e));
    }
    let addresses: Vec<SocketAddr> = match server.address {
        Some(address) => vec![SocketAddr::new(address, server.port)],
        None => (server.host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(|e| lost(&format!("the server {server} can't be found: {e}; check its name")))?
            .collect(),
    };
    let mut failure = lost(&format!("the server {server} has no address; check its name"));
    for address in addresses {
        match socket::connect(&address, deadline) {
            Ok(socket) => return Ok(socket),
            Err(e) => failure = failed(&e),
        }
    }
    Err(failure)
}

/// What the client needs to know; the rest is this file's.
fn config(target: &Target, server: usize, encryption: Encryption) -> Config {
    let mut config = Config::new();
    config.user(&target.user).dbname(&target.database).application_name(&target.application);
    if let Some(password) = target.password_for(server) {
        config.password(password);
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    config.ssl_mode(if encryption == Encryption::None { SslMode::Disable } else { SslMode::Require });
    config.channel_binding(match target.channel_binding {
        Binding::Disabled => ChannelBinding::Disable,
        Binding::Preferred => ChannelBinding::Prefer,
        Binding::Required => ChannelBinding::Require,
    });
    config
}

/// The same error, naming the server.
fn error_at(server: &ServerAddress, error: &Error) -> Error {
    let text = error.text();
    let place = server.to_string();
    if text.contains(&place) { error.clone() } else { error.status().error(format!("{text} (server: {place})")) }
}

fn lost(text: &str) -> Error {
    Status::KeystoreUnavailable.error(text.to_owned())
}

fn explain(error: &tokio_postgres::Error) -> Error {
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
