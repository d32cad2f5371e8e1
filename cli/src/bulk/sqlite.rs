//! Ciphertexts in a column of a SQLite table, in batches that other programs of the database do not notice.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params_from_iter};

use super::inspector::Inspector;
use super::mover::{Mover, Pairs};
use crate::exit::{Exit, Failure, Result};

/// Rows of one transaction, at most, and bytes.
const MOST_ROWS: usize = 500;
const MOST_BYTES: usize = 8 << 20;
/// How long another writer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a row is read again that another program changes meanwhile.
const MOST_TRIES: usize = 3;

/// A value of a row, as the database has it.
#[derive(Debug, Clone, PartialEq)]
enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Stored {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(text.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }

    /// As the value of an encryption context.
    fn context(&self, column: &str) -> Result<String> {
        match self {
            Self::Integer(number) => Ok(number.to_string()),
            Self::Text(text) => {
                String::from_utf8(text.clone()).map_err(|_| no_context(column, "text that is not UTF-8"))
            }
            Self::Null => Err(no_context(column, "NULL")),
            Self::Real(_) => Err(no_context(column, "a floating-point number")),
            Self::Blob(_) => Err(no_context(column, "bytes")),
        }
    }
}

fn no_context(column: &str, what: &str) -> Failure {
    Failure::usage(format!("the column {column} has {what}, which is no value of an encryption context"))
}

impl ToSql for Stored {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "'{}'", String::from_utf8_lossy(text)),
            Self::Blob(bytes) => {
                f.write_str("x'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
        }
    }
}

/// A row: its key, its ciphertext, and the columns of the encryption context.
struct Found {
    key: Vec<Stored>,
    value: Stored,
    context: Vec<Stored>,
}

/// A column of a table in a database that is open.
pub struct Column {
    connection: Connection,
    path: PathBuf,
    table: String,
    column: String,
    /// The columns that name a row.
    keys: Vec<String>,
    /// Name in the context, and column.
    context: Pairs,
    has_triggers: bool,
}

/// A change that waits for its transaction.
struct Change {
    key: Vec<Stored>,
    old: Stored,
    new: Stored,
}

/// What became of one update.
enum Updated {
    Done,
    /// The row has another value by now, or is gone.
    Changed,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Column {
    /// `name` is TABLE.COLUMN.
    pub fn open(path: &Path, name: &str, context: &Pairs, keystore: &Path, writes: bool) -> Result<Self> {
        let Some((table, column)) =
            name.rsplit_once('.').filter(|(table, column)| !table.is_empty() && !column.is_empty())
        else {
            return Err(Failure::usage(format!("--sqlite {name}: expected TABLE.COLUMN")));
        };
        let same = |a: &Path, b: &Path| match (a.metadata(), b.metadata()) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        };
        if same(path, keystore) {
            return Err(Failure::usage(format!("{} is the keystore itself", path.display())));
        }
        // Without it, SQLite would say "unable to open".
        std::fs::File::open(path).map_err(|error| Failure::file("reading", path, &error))?;
        let failed = |error: rusqlite::Error| of_database(path, &error);
        // A reader too has to undo the transaction of a program that was killed. SQLite reads a file that is read-only.
        let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, access).map_err(failed)?;
        connection.pragma_update(None, "query_only", !writes).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        // A schema from elsewhere calls no function that could do harm, and no row loses what refers to it.
        connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON").map_err(failed)?;
        let mut found = Self {
            connection,
            path: path.to_owned(),
            table: table.to_owned(),
            column: column.to_owned(),
            keys: Vec::new(),
            context: context.clone(),
            has_triggers: false,
        };
        found.read_schema()?;
        Ok(found)
    }

    fn failed(&self, error: &rusqlite::Error) -> Failure {
        of_database(&self.path, error)
    }

    fn read_schema(&mut self) -> Result<()> {
        let usage = |text: String| Failure::usage(format!("{}: {text}", self.path.display()));
        let query = "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE";
        let found = self.connection.query_row(query, [&self.table], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
        });
        let (table, kind, without_rowid) = match found {
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                let query = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1";
                let tables = self.names(query, "")?;
                return Err(usage(format!("no table {}; it has: {}", self.table, tables.join(", "))));
            }
            found => found.map_err(|error| self.failed(&error))?,
        };
        if kind != "table" {
            return Err(usage(format!("{table} is a {kind}, not a table")));
        }
        let all = "SELECT name FROM pragma_table_xinfo(?1)";
        let columns = self.names(all, &table)?;
        let find = |name: &str| {
            let found = columns.iter().find(|column| column.eq_ignore_ascii_case(name));
            found.cloned().ok_or_else(|| usage(format!("no column {name} in {table}; it has: {}", columns.join(", "))))
        };
        let column = find(&self.column)?;
        if !self.names(&format!("{all} WHERE hidden IN (2, 3)"), &table)?.iter().all(|generated| *generated != column) {
            return Err(usage(format!("{table}.{column} is a generated column; name the one that it is made of")));
        }
        let keys = match without_rowid {
            true => self.names(&format!("{all} WHERE pk > 0 ORDER BY pk"), &table)?,
            false => {
                let hidden = |name: &&str| !columns.iter().any(|column| column.eq_ignore_ascii_case(name));
                let name = ["rowid", "_rowid_", "oid"].into_iter().find(hidden);
                vec![
                    name.ok_or_else(|| usage(format!("{table} has columns of each name of the row number")))?
                        .to_owned(),
                ]
            }
        };
        if keys.contains(&column) {
            return Err(usage(format!("{table}.{column} is part of the primary key, which stays")));
        }
        let mut context = Vec::new();
        for (name, column) in &self.context {
            let is_key = keys.iter().find(|key| key.eq_ignore_ascii_case(column));
            context.push((name.clone(), is_key.map_or_else(|| find(column), |key| Ok(key.clone()))?));
        }
        let triggers = self.names("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1", &table)?;
        (self.table, self.column, self.keys, self.context) = (table, column, keys, context);
        self.has_triggers = !triggers.is_empty();
        Ok(())
    }

    fn names(&self, query: &str, table: &str) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(query)?;
            if statement.parameter_count() > 0 {
                statement.raw_bind_parameter(1, table)?;
            }
            let mut rows = statement.raw_query();
            let mut names = Vec::new();
            while let Some(row) = rows.next()? {
                names.push(row.get(0)?);
            }
            Ok(names)
        };
        read().map_err(|error| self.failed(&error))
    }

    /// `("a", "b")`.
    fn key_list(&self) -> String {
        self.keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(", ")
    }

    fn marks(&self) -> String {
        vec!["?"; self.keys.len()].join(", ")
    }

    /// The columns that a row is read with.
    fn select(&self) -> String {
        let context: String = self.context.iter().map(|(_, column)| format!(", {}", quoted(column))).collect();
        let (keys, column, table) = (self.key_list(), quoted(&self.column), quoted(&self.table));
        format!("SELECT {keys}, {column}{context} FROM main.{table}")
    }

    fn row(&self, row: &Row<'_>) -> rusqlite::Result<Found> {
        let at = |index: usize| row.get_ref(index).map(Stored::of);
        let count = self.keys.len();
        Ok(Found {
            key: (0..count).map(at).collect::<rusqlite::Result<_>>()?,
            value: at(count)?,
            context: (count + 1..=count + self.context.len()).map(at).collect::<rusqlite::Result<_>>()?,
        })
    }

    /// The rows after a key, in the order of keys.
    fn page(&self, after: &[Stored]) -> Result<Vec<Found>> {
        let read = || -> rusqlite::Result<Vec<Found>> {
            let (select, keys) = (self.select(), self.key_list());
            let above = if after.is_empty() { String::new() } else { format!(" WHERE ({keys}) > ({})", self.marks()) };
            let query = format!("{select}{above} ORDER BY {keys} LIMIT {MOST_ROWS}");
            let mut statement = self.connection.prepare_cached(&query)?;
            let mut rows = statement.query(params_from_iter(after))?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let found = self.row(row)?;
                if let Stored::Text(value) | Stored::Blob(value) = &found.value {
                    bytes += value.len();
                }
                page.push(found);
                if bytes > MOST_BYTES {
                    break;
                }
            }
            Ok(page)
        };
        read().map_err(|error| self.failed(&error))
    }

    /// A row as it is now; none if it is gone.
    fn again(&self, key: &[Stored]) -> Result<Option<Found>> {
        let query = format!("{} WHERE ({}) = ({})", self.select(), self.key_list(), self.marks());
        match self.connection.query_row(&query, params_from_iter(key), |row| self.row(row)) {
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            found => found.map(Some).map_err(|error| self.failed(&error)),
        }
    }

    fn place(&self, key: &[Stored]) -> String {
        let names = self.keys.iter().zip(key).map(|(name, value)| format!("{name} {value}"));
        format!("{} {}.{} {}", self.path.display(), self.table, self.column, names.collect::<Vec<_>>().join(", "))
    }

    fn update(&self, change: &Change) -> rusqlite::Result<Updated> {
        let (table, column, keys, marks) = (quoted(&self.table), quoted(&self.column), self.key_list(), self.marks());
        let whose = format!("FROM main.{table} WHERE ({keys}) = ({marks})");
        // Binary: a column that ignores case would take another Base64 for the same.
        let query =
            format!("UPDATE main.{table} SET {column} = ? WHERE ({keys}) = ({marks}) AND {column} IS ? COLLATE BINARY");
        let mut statement = self.connection.prepare_cached(&query)?;
        let values = [&change.new].into_iter().chain(&change.key).chain([&change.old]);
        if statement.execute(params_from_iter(values))? == 0 {
            return Ok(Updated::Changed);
        }
        if self.has_triggers {
            let mut statement = self.connection.prepare_cached(&format!("SELECT {column} {whose}"))?;
            let mut rows = statement.query(params_from_iter(&change.key))?;
            let now = rows.next()?.map(|row| row.get_ref(0).map(Stored::of)).transpose()?;
            if now.as_ref() != Some(&change.new) {
                return Err(rusqlite::Error::ToSqlConversionFailure(
                    "a trigger of the table put another value there".into(),
                ));
            }
        }
        Ok(Updated::Done)
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|error| self.failed(&error))
    }

    /// One transaction. Returns the keys that are moved, those whose rows changed meanwhile, and those that failed.
    fn write(&self, changes: &[Change]) -> Result<Written> {
        let mut written = Written::default();
        if changes.is_empty() {
            return Ok(written);
        }
        self.run("BEGIN IMMEDIATE")?;
        for (at, change) in changes.iter().enumerate() {
            if self.has_triggers {
                self.run("SAVEPOINT kms")?;
            }
            match self.update(change) {
                Ok(Updated::Done) => written.moved += 1,
                Ok(Updated::Changed) => written.changed.push(change.key.clone()),
                Err(error) if is_of_row(&error) => {
                    if self.connection.is_autocommit() {
                        // A trigger rolled all of it back.
                        return self.write_singly(changes);
                    }
                    if self.has_triggers {
                        self.run("ROLLBACK TO kms")?;
                    }
                    written.failed.push((at, self.failed(&error)));
                }
                Err(error) => {
                    let failure = self.failed(&error);
                    let _ = self.connection.execute_batch("ROLLBACK");
                    return Err(failure);
                }
            }
            if self.has_triggers {
                self.run("RELEASE kms")?;
            }
        }
        self.run("COMMIT").inspect_err(|_| {
            let _ = self.connection.execute_batch("ROLLBACK");
        })?;
        Ok(written)
    }

    fn write_singly(&self, changes: &[Change]) -> Result<Written> {
        let mut written = Written::default();
        for (at, change) in changes.iter().enumerate() {
            self.run("BEGIN IMMEDIATE")?;
            match self.update(change) {
                Ok(Updated::Done) => written.moved += 1,
                Ok(Updated::Changed) => written.changed.push(change.key.clone()),
                Err(error) if is_of_row(&error) => written.failed.push((at, self.failed(&error))),
                Err(error) => {
                    let failure = self.failed(&error);
                    let _ = self.connection.execute_batch("ROLLBACK");
                    return Err(failure);
                }
            }
            let is_failed = written.failed.last().is_some_and(|(failed, _)| *failed == at);
            match (self.connection.is_autocommit(), is_failed) {
                (true, _) => {}
                (false, true) => self.run("ROLLBACK")?,
                (false, false) => self.run("COMMIT")?,
            }
        }
        Ok(written)
    }

    fn context_of(&self, found: &Found) -> Result<Pairs> {
        let named = self.context.iter().zip(&found.context);
        named.map(|((name, column), value)| Ok((name.clone(), value.context(column)?))).collect()
    }

    /// The new value of a row; none for one that has none or is under the newest version.
    fn new_value(&self, mover: &Mover<'_>, found: &Found) -> Result<Option<Stored>> {
        let context = || self.context_of(found);
        Ok(match &found.value {
            Stored::Blob(bytes) => mover.reencrypt_with(bytes, context)?.map(Stored::Blob),
            Stored::Text(text) => mover.reencrypt_with(text, context)?.map(Stored::Text),
            _ => return Err(not_ciphertext()),
        })
    }

    fn move_rows(&self, mover: &mut Mover<'_>, rows: Vec<Found>) -> Result<Vec<Vec<Stored>>> {
        let (mut changes, mut newest) = (Vec::new(), 0);
        for found in rows {
            if found.value == Stored::Null || found.value == Stored::Text(Vec::new()) {
                continue;
            }
            match self.new_value(mover, &found) {
                Ok(Some(new)) => changes.push(Change { key: found.key, old: found.value, new }),
                Ok(None) => newest += 1,
                Err(failure) => mover.fail(&self.place(&found.key), failure)?,
            }
        }
        let written = self.write(&changes)?;
        for (at, failure) in written.failed {
            if let Some(change) = changes.get(at) {
                mover.fail(&self.place(&change.key), failure)?;
            }
        }
        mover.add(written.moved, newest)?;
        Ok(written.changed)
    }
}

#[derive(Default)]
struct Written {
    moved: u64,
    changed: Vec<Vec<Stored>>,
    failed: Vec<(usize, Failure)>,
}

fn not_ciphertext() -> Failure {
    Failure::new(Exit::Cryptography, kms::Status::MalformedCiphertext.code(), "a number, not a ciphertext")
}

/// Whether an error is about the row: a constraint, or a trigger.
fn is_of_row(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::ToSqlConversionFailure(_) => true,
        error => error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation),
    }
}

fn of_database(path: &Path, error: &rusqlite::Error) -> Failure {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        error => error.to_string(),
    };
    let failure = Failure::new(Exit::File, "Cli.File", format!("{}: {text}", path.display()));
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            failure.next("the same command, when no other program holds the database")
        }
        _ => failure,
    }
}

pub fn inspect(inspector: &mut Inspector<'_>, paths: &[PathBuf], name: &str, keystore: &Path) -> Result<()> {
    for path in paths {
        let column = Column::open(path, name, &Pairs::new(), keystore, false)?;
        let mut after = Vec::new();
        loop {
            let page = column.page(&after)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            for found in &page {
                match &found.value {
                    Stored::Null => inspector.skip(|skipped| &mut skipped.empty)?,
                    Stored::Text(value) if value.is_empty() => inspector.skip(|skipped| &mut skipped.empty)?,
                    Stored::Text(value) | Stored::Blob(value) => {
                        inspector.see(&Lazy(|| column.place(&found.key)), value)?
                    }
                    _ => inspector.fail(&column.place(&found.key), not_ciphertext())?,
                }
            }
        }
    }
    Ok(())
}

pub fn reencrypt(mover: &mut Mover<'_>, paths: &[PathBuf], name: &str, context: &Pairs, keystore: &Path) -> Result<()> {
    for path in paths {
        let column = Column::open(path, name, context, keystore, true)?;
        let mut after = Vec::new();
        loop {
            mover.proceed()?;
            let page = column.page(&after)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            let mut changed = column.move_rows(mover, page)?;
            for _ in 0..MOST_TRIES {
                let mut rows = Vec::new();
                for key in &changed {
                    rows.extend(column.again(key)?);
                }
                changed = column.move_rows(mover, rows)?;
            }
            for key in changed {
                let text = "another program or a trigger keeps changing the row";
                mover.fail(
                    &column.place(&key),
                    Failure::new(Exit::File, "Cli.File", text).next("run the command again"),
                )?;
            }
        }
    }
    Ok(())
}

/// A place whose text is made when it is shown.
struct Lazy<F>(F);

impl<F: Fn() -> String> fmt::Display for Lazy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)())
    }
}
