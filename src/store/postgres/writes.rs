//! What a transaction writes, until it goes out: the rows of one kind in one statement.
//!
//! The server parses and plans a statement that is not prepared each time, which takes longer than writing one row.

use std::collections::HashMap;

use super::connection::Statement;
use super::read;
use super::value::{Cell, ColumnValues, Value};
use crate::error::{Result, Status};

/// How rows are written. All but [`How::DeleteAny`] fail in the server if they do not affect exactly one row each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Insert,
    Update,
    /// Inserts a row, or updates the one with the same key.
    Replace,
    Delete,
    /// Deletes as many rows as there are.
    DeleteAny,
}

/// A way to write rows of a table. Each row belongs to a store, its first column.
#[derive(Debug, PartialEq, Eq)]
pub struct RowKind {
    pub how: How,
    pub table: &'static str,
    /// The columns that name a row, which come first.
    pub key: &'static [&'static str],
    pub columns: &'static [&'static str],
}

/// Rows in one statement. A key's row has about 700 bytes.
const ROWS: usize = 1_000;

enum PendingWrite {
    Rows {
        kind: &'static RowKind,
        rows: Vec<Vec<Cell>>,
        /// By key: the row that a later one replaces.
        places: HashMap<Vec<Cell>, usize>,
    },
    Statement {
        table: &'static str,
        statement: Statement,
    },
}

impl PendingWrite {
    fn table(&self) -> &'static str {
        match self {
            Self::Rows { kind, .. } => kind.table,
            Self::Statement { table, .. } => table,
        }
    }
}

/// Statements in the order in which they must be executed.
#[derive(Default)]
pub struct Writes {
    pending: Vec<PendingWrite>,
}

impl Writes {
    /// Writes a row, with the rows of its kind that are pending. The values are those of its key and its columns.
    pub fn put(&mut self, kind: &'static RowKind, values: Vec<Cell>) {
        // Only the last statement about a table takes more rows: what comes after another must stay after it.
        let last = self.pending.iter_mut().rfind(|pending| pending.table() == kind.table);
        let key: Vec<Cell> = values.iter().take(kind.key.len()).cloned().collect();
        if let Some(PendingWrite::Rows { kind: same, rows, places }) = last
            && *same == kind
            && rows.len() < ROWS
        {
            match places.get(&key).and_then(|place| rows.get_mut(*place)) {
                // Two inserted rows with one key are an error, which the server finds.
                Some(before) if kind.how != How::Insert => *before = values,
                _ => {
                    places.insert(key, rows.len());
                    rows.push(values);
                }
            }
            return;
        }
        self.pending.push(PendingWrite::Rows { kind, rows: vec![values], places: HashMap::from([(key, 0)]) });
    }

    /// Executes a statement about a table, after what is pending.
    pub fn execute(&mut self, table: &'static str, statement: Statement) {
        self.pending.push(PendingWrite::Statement { table, statement });
    }

    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// Takes all statements.
    pub fn take(&mut self, store: &[u8; 16]) -> Result<Vec<Statement>> {
        let statement = |pending| match pending {
            PendingWrite::Rows { kind, rows, .. } => kind.statement(store, rows),
            PendingWrite::Statement { statement, .. } => Ok(statement),
        };
        self.pending.drain(..).map(statement).collect()
    }
}

impl RowKind {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.key.iter().chain(self.columns).copied()
    }

    fn statement(&self, store: &[u8; 16], rows: Vec<Vec<Cell>>) -> Result<Statement> {
        let count = Value::from(read::count(rows.len()));
        let mut values = vec![Value::from(*store)];
        let sql = match <[Vec<Cell>; 1]>::try_from(rows) {
            Ok([row]) => {
                values.extend(row.into_iter().map(Value::Cell));
                self.of_one()
            }
            Err(rows) => {
                let columns = columns_of(rows)?;
                let sql = self.of_many(&columns);
                values.extend(columns.into_iter().map(Value::Column));
                sql
            }
        };
        if self.how == How::DeleteAny {
            return Ok(Statement::new(sql, values));
        }
        // It fails in the server, before the commit that is already on its way. The count is a parameter, so that there are
        // few texts to prepare.
        values.push(count);
        let at = values.len();
        let sql = format!("WITH changed AS ({sql} RETURNING 1) SELECT 1 / (count(*) = ${at})::int FROM changed");
        Ok(Statement::new(sql, values))
    }

    /// A row's values are the parameters from `$2` on.
    fn of_one(&self) -> String {
        let parameter = |at: usize| format!("${}", at + 2);
        let keys = self.key.iter().enumerate().map(|(at, name)| format!(" AND {name} = {}", parameter(at)));
        let table = self.table;
        match self.how {
            How::Insert | How::Replace => {
                let all: Vec<String> = self.names().enumerate().map(|(at, _)| parameter(at)).collect();
                self.inserting(&format!("VALUES($1, {})", all.join(", ")))
            }
            How::Update => {
                let set = self.columns.iter().enumerate();
                let set = set.map(|(at, name)| format!("{name} = {}", parameter(self.key.len() + at)));
                let set = set.collect::<Vec<_>>().join(", ");
                format!("UPDATE {table} SET {set} WHERE store = $1{}", keys.collect::<String>())
            }
            How::Delete | How::DeleteAny => {
                format!("DELETE FROM {table} WHERE store = $1{}", keys.collect::<String>())
            }
        }
    }

    /// Each parameter from `$2` on is a column.
    fn of_many(&self, columns: &[ColumnValues]) -> String {
        let columns = columns.iter().enumerate().map(|(at, column)| format!("${}::{}", at + 2, column.type_name()));
        let rows = format!("unnest({})", columns.collect::<Vec<_>>().join(", "));
        let named = format!("{rows} AS u({})", self.names().collect::<Vec<_>>().join(", "));
        let keys: String = self.key.iter().map(|name| format!(" AND t.{name} = u.{name}")).collect();
        let table = self.table;
        match self.how {
            How::Insert | How::Replace => self.inserting(&format!("SELECT $1, u.* FROM {rows} AS u")),
            How::Update => {
                let set: Vec<String> = self.columns.iter().map(|name| format!("{name} = u.{name}")).collect();
                format!("UPDATE {table} AS t SET {} FROM {named} WHERE t.store = $1{keys}", set.join(", "))
            }
            How::Delete | How::DeleteAny => format!("DELETE FROM {table} AS t USING {named} WHERE t.store = $1{keys}"),
        }
    }

    fn inserting(&self, rows: &str) -> String {
        let names = self.names().collect::<Vec<_>>().join(", ");
        let conflict = match self.how {
            How::Replace => {
                let key: String = self.key.iter().map(|name| format!(", {name}")).collect();
                let set: Vec<String> = self.columns.iter().map(|name| format!("{name} = excluded.{name}")).collect();
                format!(" ON CONFLICT(store{key}) DO UPDATE SET {}", set.join(", "))
            }
            _ => String::new(),
        };
        format!("INSERT INTO {}(store, {names}) {rows}{conflict}", self.table)
    }
}

fn columns_of(rows: Vec<Vec<Cell>>) -> Result<Vec<ColumnValues>> {
    let mut rows = rows.into_iter();
    let mut columns: Vec<ColumnValues> = rows.next().into_iter().flatten().map(ColumnValues::from).collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            if !column.push(cell) {
                return Err(Status::Internal.error("rows of one table differ in their types"));
            }
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests;
