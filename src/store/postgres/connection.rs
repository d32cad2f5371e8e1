//! One connection to a server: statements that go out together, each wait bounded, errors as our statuses.

use std::borrow::Cow;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::Host;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Connection, NoTls, Row};

use crate::error::{Error, Result, Status, shown};
use crate::sys::fork::ClosedInChild;
use crate::sys::socket;

/// Of a location without one.
const PORT: u16 = 5432;

/// A parameter of a statement.
pub enum Value {
    Number(Option<i64>),
    Numbers(Vec<i64>),
    Bytes(Option<Vec<u8>>),
    Text(Option<String>),
}

impl Value {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Number(value) => (value, Type::INT8),
            Self::Numbers(value) => (value, Type::INT8_ARRAY),
            Self::Bytes(value) => (value, Type::BYTEA),
            Self::Text(value) => (value, Type::TEXT),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Number(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl<const N: usize> From<Option<[u8; N]>> for Value {
    fn from(value: Option<[u8; N]>) -> Self {
        Self::Bytes(value.map(|bytes| bytes.to_vec()))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

/// SQL with its parameters, the first of which is the store.
pub struct Statement {
    pub sql: Cow<'static, str>,
    pub values: Vec<Value>,
    /// How many rows it must change.
    pub changes: Option<u64>,
}

impl Statement {
    pub fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values, changes: None }
    }
}

/// Why statements failed, and whether the server may have done them all the same.
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

/// A stream that never blocks. The loop of [`ServerLink::drive`] waits for it.
struct Socket {
    stream: Arc<TcpStream>,
    /// Set while there is more to write than the socket takes.
    is_full: Arc<AtomicBool>,
}

fn now_or_later<R>(done: std::io::Result<R>) -> Poll<std::io::Result<R>> {
    match done {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        now_or_later((&*self.stream).read(buffer.initialize_unfilled()).map(|len| buffer.advance(len)))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = now_or_later((&*self.stream).write(bytes));
        self.is_full.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

/// Whether a future may go on.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Results = Vec<std::result::Result<Vec<Row>, Failed>>;

/// A connection, driven by the thread that waits for an answer: there is no runtime, which could not run inside of a host
/// program's own, and no thread.
pub struct ServerLink {
    client: Client,
    /// Gone once it has ended, and with it what waits for its answers.
    connection: Option<Connection<Socket, NoTlsStream>>,
    stream: Arc<TcpStream>,
    is_full: Arc<AtomicBool>,
    timeout: Duration,
    /// Whether a wait ended without its answer, so that what comes belongs to no statement. Nothing is sent any more.
    is_broken: bool,
    _socket: ClosedInChild,
}

impl ServerLink {
    pub fn open(config: &Config, timeout: Duration) -> Result<Self> {
        let stream = Arc::new(dial(config, timeout)?);
        let registered = ClosedInChild::register_socket(&stream)?;
        let is_full = Arc::new(AtomicBool::new(false));
        let socket = Socket { stream: Arc::clone(&stream), is_full: Arc::clone(&is_full) };
        let mut connecting = pin!(config.connect_raw(socket, NoTls));
        let connected = drive(&stream, &is_full, timeout, |context| connecting.as_mut().poll(context));
        let (client, connection) = connected?.map_err(|error| explain(&error))?;
        Ok(Self {
            client,
            connection: Some(connection),
            stream,
            is_full,
            timeout,
            is_broken: false,
            _socket: registered,
        })
    }

    /// Sends all statements at once, and returns the rows of each.
    pub fn run(&mut self, statements: &[Statement]) -> std::result::Result<Vec<Vec<Row>>, Failed> {
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
            Ok(()) => done.into_iter().collect(),
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
fn attend<R>(connection: &mut Option<Connection<Socket, NoTlsStream>>, context: &mut Context<'_>) -> Poll<R> {
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
    let Some(expected) = statement.changes else {
        return client.query_typed(&statement.sql, &values).await.map_err(|e| Failed::of(&e));
    };
    match client.execute_typed(&statement.sql, &values).await.map_err(|e| Failed::of(&e))? {
        changed if changed == expected => Ok(Vec::new()),
        _ => Err(Failed {
            error: Status::KeystoreCorrupt
                .error("the keystore is damaged: a row to change is gone; restore it from a backup"),
            is_unknown: false,
            gave_way: false,
        }),
    }
}

/// A connection to the first server of the location that takes one. The client would resolve names on threads of its own.
fn dial(config: &Config, timeout: Duration) -> Result<TcpStream> {
    let mut failure = "the location names no server; add its name and port".to_owned();
    let ports = config.get_ports();
    for (at, host) in config.get_hosts().iter().enumerate() {
        let Host::Tcp(name) = host else { continue };
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
        let addresses = (name.as_str(), port).to_socket_addrs();
        let addresses =
            addresses.map_err(|e| lost(&format!("the server {name} can't be found: {e}; check its name")))?;
        for address in addresses {
            let socket = TcpStream::connect_timeout(&address, timeout);
            let ready = socket.and_then(|socket| {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            });
            match ready {
                Ok(socket) => return Ok(socket),
                Err(e) => failure = format!("no connection to the database at {name}:{port}: {e}; check the server"),
            }
        }
    }
    Err(lost(&failure))
}

fn lost(text: &str) -> Error {
    Status::KeystoreUnavailable.error(text.to_owned())
}

fn explain(error: &tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
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
        // The server stops, was restarted or starts; nobody can connect; the connection broke; the standby was promoted.
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
