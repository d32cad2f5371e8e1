//! The keystore rows in PostgreSQL.
//!
//! A write is two round trips: the first locks the shard and reads all that was announced, the second writes and commits. Writes
//! wait until something is read or committed, and then go out together. What a transaction has read it keeps, and changes
//! along with its writes; what was read of a shard before its lock is forgotten with the lock.
//!
//! Only row locks, unique keys and plain statements are used: no sequences, triggers or advisory locks. A session has no state
//! but the statements that it prepares where the location asks for that.

mod ahead;
mod connection;
mod describe;
mod failure;
mod lead;
mod listener;
mod read;
mod rows;
mod schema;
mod stream;
mod tables;
mod target;
mod value;
mod writes;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use self::connection::{ServerLink, Statement};
pub use self::describe::describe;
use self::failure::Failed;
pub use self::lead::Lead;
use self::lead::ServerPlace;
pub use self::listener::Listener;
pub use self::schema::{prepare, script};
pub use self::target::Target;
use self::value::{Cell, Value};
use self::writes::{RowKind, Writes};
use super::backend::{AliasRow, ChangeRow, KeyRow, MaterialRow, MetaRow, TagRow, Transaction, VersionRow};
use super::shard::{Shard, Shards};
use crate::error::{Error, Result, Status};
use crate::sys::{fault, random, sync};

const FORMAT: i64 = 1;
/// Fixed when a store is made.
const SHARDS: usize = 64;
/// After a deadlock: the transaction that waits for our locks takes them before we do.
const GIVING_WAY: Duration = Duration::from_millis(10);
/// How much longer than for a lock a call waits for the server's answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the transaction knows of the store.
#[derive(Default)]
struct Known {
    shards: HashMap<Shard, MetaRow>,
    /// The shards as the server has them, without the transaction's own changes.
    locked: HashMap<Shard, MetaRow>,
    keys: HashMap<i64, Option<KeyRow>>,
    nodes: HashMap<i64, Option<Vec<u8>>>,
    materials: HashMap<(i64, i64), Option<MaterialRow>>,
    versions: HashMap<i64, Vec<VersionRow>>,
    aliases: HashMap<String, Option<AliasRow>>,
    /// Ids that no key has.
    absent: HashSet<[u8; 16]>,
    /// By key: all of its material, and all of its tags.
    all_materials: HashMap<i64, Vec<MaterialRow>>,
    tags: HashMap<i64, Vec<TagRow>>,
    /// Entries of the change log, each taken once: shard, generation, limit.
    changes: HashMap<(Shard, i64, usize), Vec<ChangeRow>>,
}

/// The pause before tables that another process makes are checked again.
const RETRY: Duration = Duration::from_millis(20);

/// One connection.
pub struct Postgres {
    link: ServerLink,
    target: Arc<Target>,
    patience: Duration,
    /// Whether statements are prepared: the location asks for it, and no session of the server was exchanged for another.
    is_preparing: bool,
    store: [u8; 16],
    shards: Shards,
    /// The name of a store that the next transaction makes.
    making: Option<String>,
    kind: Transaction,
    /// The statements that begin the transaction, until they go out.
    opening: Vec<Statement>,
    /// What the transaction has written, until it goes out.
    writes: Writes,
    /// Whether the server has begun the transaction.
    is_begun: bool,
    /// Whether a statement of the transaction changes rows.
    is_changed: bool,
    /// Whether the server has such a statement.
    is_sent: bool,
    /// The shards that the next statements read first, and lock in a write transaction.
    locking: Vec<Shard>,
    known: Known,
    /// An entry of the change log that the transaction writes, which proves its commit.
    proof: Option<(Shard, [u8; 16])>,
    /// Where the connections of the handle lead, and where this one does.
    lead: Arc<Lead>,
    place: ServerPlace,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.link.is_broken() {
            self.lead.lose();
        }
    }
}

fn lock_timeout(patience: Duration) -> String {
    format!("SET LOCAL lock_timeout = {}", patience.as_millis().clamp(1, 1 << 30))
}

/// The lock of an unfinished copy's row. Its transaction names the copy, so that no other copier can.
pub struct Claim {
    link: ServerLink,
    target: Arc<Target>,
}

impl Claim {
    /// Checks that no other copier can have claimed the copy since.
    pub fn check(&mut self) -> Result<()> {
        Ok(self.link.run(&[Statement::new("SELECT 1", Vec::new())]).map(drop)?)
    }

    /// Names the copy; false if the database has a keystore of that name.
    pub fn rename(&mut self, to: &str) -> Result<bool> {
        let sql = "UPDATE store SET name = $1 WHERE name = $2 AND NOT EXISTS(SELECT FROM store WHERE name = $1) \
                   RETURNING 1";
        let renamed = self.link.run(&[
            Statement::new(sql, vec![to.into(), self.target.keystore.as_str().into()]),
            Statement::new("COMMIT", Vec::new()),
        ])?;
        Ok(renamed.iter().any(|rows| !rows.is_empty()))
    }
}

impl Postgres {
    /// The store of this name; `None` if the database has none. `create`: makes the tables where they are missing.
    pub fn open(target: &Arc<Target>, patience: Duration, create: bool) -> Result<Option<Self>> {
        Self::open_on(ServerLink::open(target, patience + ANSWER)?, target, patience, create)
    }

    /// As [`Self::open`], at the server where the handle's other connections lead, in this time.
    pub fn open_beside(
        target: &Arc<Target>,
        lead: &Arc<Lead>,
        patience: Duration,
        time: Duration,
    ) -> Result<Option<Self>> {
        let place = lead.place();
        let link = ServerLink::open_at(target, place.server, time, patience + ANSWER)?;
        let found = Self::open_on(link, target, patience, false)?;
        Ok(found.map(|found| Self::of_handle(found, lead, place)))
    }

    /// As one of the connections of a handle.
    pub fn following(self, lead: &Arc<Lead>) -> Self {
        let place = ServerPlace { server: self.link.place(), ..lead.place() };
        Self::of_handle(self, lead, place)
    }

    fn of_handle(mut connection: Self, lead: &Arc<Lead>, place: ServerPlace) -> Self {
        (connection.lead, connection.place) = (Arc::clone(lead), place);
        connection
    }

    /// Has the handle's other connections follow this one.
    fn take_lead(&mut self) {
        self.lead.take(self.link.place());
        self.place = self.lead.place();
    }

    fn open_on(mut link: ServerLink, target: &Arc<Target>, patience: Duration, create: bool) -> Result<Option<Self>> {
        let found = match Self::look_up(&mut link, target) {
            Err(error) if error.status() == Status::NotAKeystore && create => {
                schema::prepare_by(&mut link, target, None, Instant::now() + patience + ANSWER)?;
                Self::look_up(&mut link, target)?
            }
            found => found?,
        };
        let Some(row) = found else { return Ok(None) };
        let (format, count) = (read::number(&row, 1)?, read::number(&row, 2)?);
        if format > FORMAT {
            return Err(Status::KeystoreTooNew
                .error(format!("the keystore has format {format}, and this library knows {FORMAT}; update libkms")));
        }
        let shards = usize::try_from(count).ok().and_then(Shards::new).ok_or_else(read::damaged)?;
        let store = read::bytes(&row, 0)?;
        Self::new(link, target, patience, store, shards).map(Some)
    }

    /// The row of the target's keystore, in tables of the right version.
    fn look_up(link: &mut ServerLink, target: &Target) -> Result<Option<Row>> {
        let sql = "SELECT store, format, shards FROM store WHERE name = $1";
        let found = link.run(&[
            Statement::new("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Vec::new()),
            Statement::new(schema::search_path(target), Vec::new()),
            Statement::new(schema::NEWEST, Vec::new()),
            Statement::new(sql, vec![target.keystore.as_str().into()]),
        ]);
        let ended = link.run(&[Statement::new("ROLLBACK", Vec::new())]);
        let found = found?;
        ended?;
        let [_, _, versions, stores] = found.as_slice() else { return Err(read::damaged()) };
        schema::check(versions.first().map_or(Ok(0), |row| read::number(row, 0))?)?;
        Ok(stores.first().cloned())
    }

    /// A store of this name, which the first transaction makes.
    pub fn create(target: &Arc<Target>, patience: Duration) -> Result<Self> {
        let link = ServerLink::open(target, patience + ANSWER)?;
        let shards = Shards::new(SHARDS).ok_or_else(read::damaged)?;
        let mut made = Self::new(link, target, patience, random::array()?, shards)?;
        made.making = Some(target.keystore.clone());
        Ok(made)
    }

    /// Claims the target's store for one copier, by the lock of its row. A copier that ends releases it, however it ends.
    pub fn claim(target: &Arc<Target>, patience: Duration) -> Result<Claim> {
        let mut link = ServerLink::open(target, patience + ANSWER)?;
        if fault::wanted("KMS_FAULT_COPY_UNCLAIMED") {
            return Ok(Claim { link, target: Arc::clone(target) });
        }
        let locked = link.run(&[
            Statement::new("BEGIN", Vec::new()),
            Statement::new(schema::search_path(target), Vec::new()),
            Statement::new(lock_timeout(patience), Vec::new()),
            Statement::new("SELECT 1 FROM store WHERE name = $1 FOR UPDATE", vec![target.keystore.as_str().into()]),
        ]);
        let is_there = match locked {
            Ok(locked) => locked.last().is_some_and(|rows| !rows.is_empty()),
            Err(failed) if failed.error.status() == Status::KeystoreBusy => {
                return Err(Status::KeystoreBusy
                    .error(format!("another process is copying to {target}; wait for it, or choose another name")));
            }
            Err(failed) => return Err(failed.error),
        };
        match is_there {
            true => Ok(Claim { link, target: Arc::clone(target) }),
            // Another copier has just finished it.
            false => Err(Status::KeystoreBusy.error(format!("another process copied to {target}; try again"))),
        }
    }

    fn new(
        mut link: ServerLink,
        target: &Arc<Target>,
        patience: Duration,
        store: [u8; 16],
        shards: Shards,
    ) -> Result<Self> {
        if target.prepare {
            link.prepare()?;
        }
        Ok(Self {
            link,
            target: Arc::clone(target),
            patience,
            is_preparing: target.prepare,
            store,
            shards,
            making: None,
            kind: Transaction::Read,
            opening: Vec::new(),
            writes: Writes::default(),
            is_begun: false,
            is_changed: false,
            is_sent: false,
            locking: Vec::new(),
            known: Known::default(),
            proof: None,
            lead: Arc::default(),
            place: Lead::default().place(),
        })
    }

    fn statement(&self, sql: &'static str, values: Vec<Value>) -> Statement {
        let mut all = vec![Value::from(self.store)];
        all.extend(values);
        Statement::new(sql, all)
    }

    fn take_pending(&mut self) -> Result<Vec<Statement>> {
        let mut all = std::mem::take(&mut self.opening);
        all.extend(self.writes.take(&self.store)?);
        Ok(all)
    }

    /// Sends what is pending and these statements; returns the rows of the latter.
    fn ask(&mut self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>> {
        let mut all = self.take_pending()?;
        let before = all.len();
        all.extend(statements);
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let mut begun = if is_first { self.beginning(self.kind, self.patience).len() } else { 0 };
        let locking = std::mem::take(&mut self.locking);
        let mut done = self.link.run(&all);
        // The connection was lost while it was idle. None of this transaction was made.
        if is_first && done.as_ref().is_err_and(|failed| failed.is_unknown) {
            self.connect()?;
            // Its beginning names the session.
            let others = all.split_off(begun);
            all = self.beginning(self.kind, self.patience);
            begun = all.len();
            all.extend(others);
            done = self.link.run(&all);
        }
        let mut rows = match done {
            Err(failed) if (failed.gave_way || self.is_unprepared(&failed)) && !self.is_sent => {
                self.lock_again(&locking, failed.error)?;
                self.link.run(all.get(begun..).unwrap_or_default())?
            }
            done => done?,
        };
        self.is_sent = self.is_changed;
        Ok(rows.split_off(rows.len().saturating_sub(all.len() - before)))
    }

    /// Connects again, perhaps to another server, which the handle's other connections follow.
    fn connect(&mut self) -> Result<()> {
        self.link = ServerLink::open(&self.target, self.patience + ANSWER)?;
        self.take_lead();
        if self.is_preparing { self.link.prepare() } else { Ok(()) }
    }

    /// Whether statements failed because they were prepared, which they are no more.
    fn is_unprepared(&mut self, failed: &Failed) -> bool {
        if failed.is_not_prepared {
            self.link.forget_prepared();
        }
        failed.is_not_prepared && std::mem::replace(&mut self.is_preparing, false)
    }

    /// Begins the transaction once more, as after a deadlock, with its locks in ascending order. What it has read must be
    /// unchanged.
    fn lock_again(&mut self, more: &[Shard], error: Error) -> Result<()> {
        let mut shards: Vec<Shard> = self.known.shards.keys().chain(more).copied().collect();
        shards.sort_unstable();
        shards.dedup();
        self.link.run(&[Statement::new("ROLLBACK", Vec::new())])?;
        sync::sleep(GIVING_WAY);
        let mut all = self.beginning(self.kind, self.patience);
        all.push(self.reading(&shards));
        for row in self.link.run(&all)?.pop().unwrap_or_default() {
            let (shard, found) = (read::shard(&row, self.shards)?, read::meta(&row)?);
            if self.known.locked.get(&shard).is_some_and(|known| *known != found) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let statement = self.statement(sql, values);
        Ok(self.ask(vec![statement])?.pop().unwrap_or_default())
    }

    fn all<T>(&mut self, sql: &'static str, values: Vec<Value>, read: impl Fn(&Row) -> Result<T>) -> Result<Vec<T>> {
        self.rows(sql, values)?.iter().map(read).collect()
    }

    /// Writes a row of a table with the next statements that go out.
    fn put(&mut self, kind: &'static RowKind, values: Vec<Cell>) {
        self.is_changed = true;
        self.writes.put(kind, values);
    }

    /// Changes rows of a table with the next statements that go out.
    fn change(&mut self, table: &'static str, sql: &'static str, values: Vec<Value>) {
        let statement = self.statement(sql, values);
        self.is_changed = true;
        self.writes.execute(table, statement);
    }

    /// Deletes rows at once, and returns which. The transaction cannot be begun once more without it.
    fn delete_now(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.is_changed |= !fault::wanted("KMS_FAULT_DELETION_NOT_KEPT");
        self.rows(sql, values)
    }

    /// Begins with the first statement that goes out.
    fn start(&mut self, kind: Transaction, patience: Duration) {
        (self.known, self.proof, self.kind) = (Known::default(), None, kind);
        (self.is_begun, self.is_changed, self.is_sent) = (false, false, false);
        self.opening = self.beginning(kind, patience);
        self.writes.clear();
        if kind == Transaction::Write
            && let Some(name) = &self.making
        {
            let values = vec![
                Value::from(name.as_str()),
                Value::from(self.store),
                Value::from(FORMAT),
                Value::from(i64::try_from(self.shards.count()).unwrap_or(0)),
            ];
            let sql = "INSERT INTO store(name, store, format, shards) VALUES($1, $2, $3, $4)";
            self.opening.push(Statement::new(sql, values));
            self.is_changed = true;
        }
    }

    fn beginning(&self, kind: Transaction, patience: Duration) -> Vec<Statement> {
        let begin = match kind {
            Transaction::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Transaction::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        let mut all = vec![Statement::new(begin, Vec::new())];
        all.extend(self.link.checking_session());
        all.push(Statement::new(schema::search_path(&self.target), Vec::new()));
        if kind == Transaction::Write {
            all.push(Statement::new(lock_timeout(patience), Vec::new()));
        }
        all
    }

    fn end(&mut self) {
        self.opening.clear();
        self.writes.clear();
        if std::mem::replace(&mut self.is_begun, false) {
            // Where it fails, the next statement will, too.
            let _ = self.link.run(&[Statement::new("ROLLBACK", Vec::new())]);
        }
    }

    fn finish(&mut self) -> Result<()> {
        let begun = if self.is_begun { 0 } else { self.beginning(self.kind, self.patience).len() };
        let mut all = self.take_pending()?;
        all.push(Statement::new("COMMIT", Vec::new()));
        let hint = self.hint();
        let hints = usize::from(hint.is_some());
        all.extend(hint);
        let done = match self.send_last(&all, hints) {
            Err(failed) if self.is_unprepared(&failed) && !self.is_sent => {
                self.lock_again(&[], failed.error)?;
                self.send_last(all.get(begun..).unwrap_or_default(), hints)
            }
            done => done,
        };
        match done {
            Ok(()) => {
                (self.making, self.is_begun) = (None, false);
                Ok(())
            }
            Err(failed) if failed.is_unknown => self.find_out(failed.error),
            Err(failed) => Err(failed.error),
        }
    }

    /// A hint that fails does not affect the change.
    fn send_last(&mut self, all: &[Statement], hints: usize) -> std::result::Result<(), Failed> {
        let count = all.len().saturating_sub(hints);
        self.link.run_each(all)?.into_iter().take(count).try_for_each(|result| result.map(drop))
    }

    /// Announces the change to the listeners. A separate statement, in the same round trip: the server sends
    /// notifications under a lock that all its databases share. Within the transaction the lock would be held until the
    /// commit is on disk.
    fn hint(&self) -> Option<Statement> {
        let is_wanted = self.target.notify.is_some() && self.proof.is_some();
        is_wanted.then(|| Statement::new(format!("NOTIFY {}", listener::channel(&self.store)), Vec::new()))
    }

    /// Whether a commit without an answer took effect: once the shard's lock is free, its entry of the change log is
    /// there, or never will be.
    fn find_out(&mut self, error: Error) -> Result<()> {
        let Some((shard, proof)) = self.proof else { return Err(error) };
        if fault::wanted("KMS_FAULT_COMMIT_UNASKED") {
            return Err(error);
        }
        match self.has_entry(shard, proof) {
            Ok(true) => Ok(()),
            Ok(false) => Err(error),
            Err(reason) => Err(Status::KeystoreUnavailable.error(format!(
                "it is unknown whether the change was made: the connection ended during its commit, and the database \
                 could not be asked ({reason}); read the keystore before trying again"
            ))),
        }
    }

    fn has_entry(&mut self, shard: Shard, proof: [u8; 16]) -> Result<bool> {
        self.connect()?;
        self.start(Transaction::Write, self.patience);
        let lock = self.statement(
            "SELECT 1 FROM shard WHERE store = $1 AND shard = $2 FOR UPDATE",
            vec![read::index(shard).into()],
        );
        let look = self.statement("SELECT 1 FROM change WHERE store = $1 AND change_id = $2", vec![proof.into()]);
        let found = self.ask(vec![lock, look]);
        self.end();
        Ok(found?.pop().is_some_and(|rows| !rows.is_empty()))
    }
}
