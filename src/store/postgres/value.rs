//! The parameters of statements.

use tokio_postgres::types::{ToSql, Type};

/// A value of a row.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Cell {
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
    Text(Option<String>),
}

/// The values of a column, as an array.
pub enum ColumnValues {
    Numbers(Vec<Option<i64>>),
    ByteStrings(Vec<Option<Vec<u8>>>),
    Texts(Vec<Option<String>>),
}

/// A parameter of a statement.
pub enum Value {
    Cell(Cell),
    Column(ColumnValues),
}

impl Value {
    pub fn numbers(values: impl IntoIterator<Item = i64>) -> Self {
        Self::Column(ColumnValues::Numbers(values.into_iter().map(Some).collect()))
    }

    pub fn byte_strings(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::Column(ColumnValues::ByteStrings(values.into_iter().map(Some).collect()))
    }

    pub fn texts(values: impl IntoIterator<Item = String>) -> Self {
        Self::Column(ColumnValues::Texts(values.into_iter().map(Some).collect()))
    }

    pub fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Cell(Cell::Number(value)) => (value, Type::INT8),
            Self::Cell(Cell::Bytes(value)) => (value, Type::BYTEA),
            Self::Cell(Cell::Text(value)) => (value, Type::TEXT),
            Self::Column(ColumnValues::Numbers(values)) => (values, Type::INT8_ARRAY),
            Self::Column(ColumnValues::ByteStrings(values)) => (values, Type::BYTEA_ARRAY),
            Self::Column(ColumnValues::Texts(values)) => (values, Type::TEXT_ARRAY),
        }
    }
}

impl ColumnValues {
    /// The name of its array's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Numbers(_) => "bigint[]",
            Self::ByteStrings(_) => "bytea[]",
            Self::Texts(_) => "text[]",
        }
    }

    /// Adds a value of the same type; false for one of another type.
    pub fn push(&mut self, cell: Cell) -> bool {
        match (self, cell) {
            (Self::Numbers(values), Cell::Number(value)) => values.push(value),
            (Self::ByteStrings(values), Cell::Bytes(value)) => values.push(value),
            (Self::Texts(values), Cell::Text(value)) => values.push(value),
            _ => return false,
        }
        true
    }
}

impl From<Cell> for ColumnValues {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Number(value) => Self::Numbers(vec![value]),
            Cell::Bytes(value) => Self::ByteStrings(vec![value]),
            Cell::Text(value) => Self::Texts(vec![value]),
        }
    }
}

impl<T> From<T> for Value
where
    Cell: From<T>,
{
    fn from(value: T) -> Self {
        Self::Cell(value.into())
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Number(Some(value))
    }
}

impl From<Option<i64>> for Cell {
    fn from(value: Option<i64>) -> Self {
        Self::Number(value)
    }
}

impl From<&[u8]> for Cell {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl<const N: usize> From<[u8; N]> for Cell {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl<const N: usize> From<Option<[u8; N]>> for Cell {
    fn from(value: Option<[u8; N]>) -> Self {
        Self::Bytes(value.map(|bytes| bytes.to_vec()))
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}
