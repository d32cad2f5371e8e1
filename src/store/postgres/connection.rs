//! One connection to a server: statements that go out together, each wait bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Row, Statement as PreparedStatement};

use super::failure::{Failed, explain, lost};
use super::stream::{self, Socket, TlsSocket};
use super::target::{Binding, Encryption, ServerAddress, Target};
use super::value::Value;

use crate::error::{Error, Result};
use crate::sys::fork::ClosedInChild;
use crate::sys::{fault, socket};

/// SQL with its parameters, the first of which is the store. What has none, as `BEGIN`, is never prepared.
pub struct Statement {
    pub sql: Cow<'static, str>,
    pub values: Vec<Value>,
}

impl Statement {
    pub fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
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
    /// Its name and port, and its place in the location.
    server: String,
    place: usize,
    is_encrypted: bool,
    prepared: Option<Prepared>,
    /// What is used no more. The client would close a statement that is dropped while it lives, in whichever session it has
    /// by then, where another program's statement may have that name.
    forgotten: Vec<Prepared>,
    _socket: ClosedInChild,
}

/// The statements that a session of the server has prepared.
struct Prepared {
    /// The process of the server that has the session.
    session: i64,
    by_sql: HashMap<Cow<'static, str>, PreparedStatement>,
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

    /// A connection to the server at this place in the location. `time` is for the login, `timeout` for each answer.
    pub fn open_at(target: &Target, place: usize, time: Duration, timeout: Duration) -> Result<Self> {
        let server = target.servers.get(place).ok_or_else(|| lost("the location has no such server"))?;
        let deadline = Instant::now() + target.connect_timeout.min(time);
        Self::log_in(target, (place, server), deadline, timeout, &|_| Ok(()))
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
            place: at,
            is_encrypted: encryption != Encryption::None,
            prepared: None,
            forgotten: Vec::new(),
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

    /// The place of the server in the location.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Whether it was lost.
    pub fn is_broken(&self) -> bool {
        self.is_broken
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

    /// From now on, prepares each statement that is run, once.
    pub fn prepare(&mut self) -> Result<()> {
        let asked = self.run(&[Statement::new("SELECT pg_catalog.pg_backend_pid()::bigint", Vec::new())])?;
        let session = asked.first().and_then(|rows| rows.first()).and_then(|row| row.try_get(0).ok());
        self.prepared = session.map(|session| Prepared { session, by_sql: HashMap::new() });
        Ok(())
    }

    /// Prepares no more statements, and uses none.
    pub fn forget_prepared(&mut self) {
        let known = self.prepared.take();
        if !fault::wanted("KMS_FAULT_STATEMENTS_CLOSED") {
            self.forgotten.extend(known);
        }
    }

    /// Fails in another session than the one that prepares statements. A pooler may change sessions between transactions,
    /// and there another client's statement may have the same name.
    pub fn checking_session(&self) -> Option<Statement> {
        let Prepared { session, .. } = self.prepared.as_ref()?;
        let session = if fault::wanted("KMS_FAULT_OTHER_SESSION") { -1 } else { *session };
        let sql = format!("SELECT pg_catalog.ln((pg_catalog.pg_backend_pid() = {session})::int)");
        Some(Statement::new(sql, Vec::new()))
    }

    /// As [`Self::run`], where one may fail without the others. Those after a failure may have no result.
    pub fn run_each(&mut self, statements: &[Statement]) -> std::result::Result<Results, Failed> {
        let Some(first) = statements.iter().position(|statement| self.must_prepare(statement)) else {
            return self.send(statements);
        };
        // What comes before says in which schema the tables are.
        let (before, others) = statements.split_at(first);
        let mut done = self.send(before)?;
        if done.iter().all(std::result::Result::is_ok) {
            self.prepare_all(others)?;
            done.extend(self.send(others)?);
        }
        Ok(done)
    }

    fn must_prepare(&self, statement: &Statement) -> bool {
        let lacks = |prepared: &Prepared| !prepared.by_sql.contains_key(&statement.sql);
        !statement.values.is_empty() && self.prepared.as_ref().is_some_and(lacks)
    }

    fn prepare_all(&mut self, statements: &[Statement]) -> std::result::Result<(), Failed> {
        if fault::wanted("KMS_FAULT_NAME_TAKEN") && statements.iter().any(|statement| statement.sql == "COMMIT") {
            self.run(&[Statement::new("SELECT pg_catalog.ln(0)", Vec::new())])?;
        }
        let mut new: Vec<&Statement> = Vec::new();
        for statement in statements.iter().filter(|statement| self.must_prepare(statement)) {
            if !new.iter().any(|known| known.sql == statement.sql) {
                new.push(statement);
            }
        }
        let made = self.run_all(&new, |client, statement| async move {
            let types: Vec<Type> = statement.values.iter().map(|value| value.typed().1).collect();
            client.prepare_typed(&statement.sql, &types).await
        })?;
        for (statement, made) in new.iter().zip(made) {
            if let Some(prepared) = &mut self.prepared {
                prepared.by_sql.insert(statement.sql.clone(), made?);
            }
        }
        Ok(())
    }

    fn send(&mut self, statements: &[Statement]) -> std::result::Result<Results, Failed> {
        let known = self.prepared.take();
        let find = |sql: &str| known.as_ref().and_then(|prepared| prepared.by_sql.get(sql));
        let with: Vec<_> = statements.iter().map(|statement| (statement, find(&statement.sql))).collect();
        let done = self.run_all(&with, |client, (statement, prepared)| async move {
            let values = statement.values.iter().map(Value::typed);
            match prepared {
                Some(prepared) => client.query(prepared, &values.map(|(value, _)| value).collect::<Vec<_>>()).await,
                None => client.query_typed(&statement.sql, &values.collect::<Vec<_>>()).await,
            }
        });
        self.prepared = known;
        done
    }

    /// Starts one request for each of these, in order, and waits for all answers.
    fn run_all<'a, T: Copy, R, F>(
        &'a mut self,
        of: &[T],
        request: impl Fn(&'a Client, T) -> F,
    ) -> std::result::Result<Vec<std::result::Result<R, Failed>>, Failed>
    where
        F: Future<Output = std::result::Result<R, tokio_postgres::Error>> + 'a,
    {
        if self.is_broken {
            return Err(Failed::lost(lost("the connection to the database was lost; try again")));
        }
        let Self { client, connection, stream, is_full, timeout, .. } = self;
        let client: &Client = client;
        let mut pending: Vec<Option<Pin<Box<F>>>> = of.iter().map(|of| Some(Box::pin(request(client, *of)))).collect();
        let mut done: Vec<Option<std::result::Result<R, Failed>>> = of.iter().map(|_| None).collect();
        let finished = drive(stream, is_full, *timeout, |context| {
            let mut left = false;
            // In order: each sends at its first poll.
            for (place, result) in pending.iter_mut().zip(&mut done) {
                let Some(future) = place else { continue };
                match future.as_mut().poll(context) {
                    Poll::Ready(answer) => (*place, *result) = (None, Some(answer.map_err(|e| Failed::of(&e)))),
                    Poll::Pending => left = true,
                }
            }
            if left { attend(connection, context) } else { Poll::Ready(()) }
        });
        drop(pending);
        self.is_broken = finished.is_err() || self.connection.is_none();
        match finished {
            Ok(()) => Ok(done.into_iter().flatten().collect()),
            Err(error) => Err(Failed::lost(error)),
        }
    }

    /// Runs SQL of several statements.
    pub fn script(&mut self, sql: &str) -> std::result::Result<(), Failed> {
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
        done.map_err(Failed::lost)?.map_err(|error| Failed::of(&error))
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
