//! All rows of a keystore file, read through a second connection outside the library.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

pub struct Rows {
    connection: Connection,
}

impl Rows {
    pub fn of(path: &str) -> Self {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        Self { connection }
    }

    /// Each row of each table but the change log and the description, by its columns.
    pub fn all(&self) -> Vec<String> {
        let mut names = self
            .connection
            .prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('change', 'meta')")
            .unwrap();
        let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut all = Vec::new();
        for name in names {
            let mut select =
                self.connection.prepare_cached(&format!("SELECT * FROM \"{name}\" ORDER BY 1, 2")).unwrap();
            let columns = select.column_count();
            let mut rows = select.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let mut shown = name.clone();
                for column in 0..columns {
                    shown.push('|');
                    shown.push_str(&text(row.get_ref(column).unwrap()));
                }
                all.push(shown);
            }
        }
        all
    }
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => format!("{other:?}"),
    }
}
