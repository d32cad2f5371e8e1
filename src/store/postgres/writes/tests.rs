use super::super::tables::{KEY_DELETION, NODE, NODE_DELETION, TAG, TAG_DELETION};
use super::*;

const STORE: [u8; 16] = [7; 16];

fn node(writes: &mut Writes, number: i64, content: &str) {
    writes.put(&NODE, vec![number.into(), content.as_bytes().into()]);
}

fn tag(writes: &mut Writes, row: i64, name: &str) {
    let [value, mac] = ["value".into(), [0; 32].into()];
    writes.put(&TAG, vec![row.into(), name.into(), value, 1.into(), 1.into(), mac]);
}

/// The texts of the statements, and how many rows each writes.
fn taken(writes: &mut Writes) -> Vec<(String, usize)> {
    let statements = writes.take(&STORE).expect("rows of one kind have the same types");
    let rows = |statement: &Statement| match statement.values.get(1) {
        Some(Value::Column(ColumnValues::Numbers(values))) => values.len(),
        Some(Value::Column(ColumnValues::ByteStrings(values))) => values.len(),
        Some(Value::Column(ColumnValues::Texts(values))) => values.len(),
        Some(Value::Cell(_)) => 1,
        None => 0,
    };
    statements.iter().map(|statement| (statement.sql.to_string(), rows(statement))).collect()
}

#[test]
fn rows_of_one_kind_go_out_together() {
    let mut writes = Writes::default();
    for number in 0..5 {
        node(&mut writes, number, "content");
        tag(&mut writes, number, "name");
    }
    let taken = taken(&mut writes);
    assert_eq!(taken.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [5, 5]);
    assert!(taken.iter().all(|(sql, _)| sql.ends_with("::int FROM changed")), "{taken:?}");
    assert!(writes.take(&STORE).expect("nothing is left").is_empty());
}

#[test]
fn the_last_of_several_rows_with_one_key_is_written() {
    let mut writes = Writes::default();
    node(&mut writes, 1, "first");
    node(&mut writes, 2, "other");
    node(&mut writes, 1, "last");
    let statements = writes.take(&STORE).expect("rows of one kind have the same types");
    let Some(Value::Column(ColumnValues::ByteStrings(contents))) =
        statements.first().and_then(|only| only.values.get(2))
    else {
        panic!("no column of contents");
    };
    let contents: Vec<_> = contents.iter().flatten().map(Vec::as_slice).collect();
    assert_eq!(contents, [b"last" as &[u8], b"other"]);
}

#[test]
fn a_row_is_not_written_before_what_came_before_it() {
    let mut writes = Writes::default();
    tag(&mut writes, 1, "a");
    writes.put(&TAG_DELETION, vec![1.into(), "a".into()]);
    node(&mut writes, 1, "content");
    tag(&mut writes, 1, "a");
    writes.execute("tag", Statement::new("SELECT 1", Vec::new()));
    tag(&mut writes, 2, "b");
    node(&mut writes, 2, "content");
    let starts: Vec<String> = taken(&mut writes).into_iter().map(|(sql, _)| sql.chars().take(32).collect()).collect();
    let [insert, delete] = ["WITH changed AS (INSERT INTO tag", "WITH changed AS (DELETE FROM tag"];
    assert_eq!(starts, [insert, delete, "WITH changed AS (INSERT INTO nod", insert, "SELECT 1", insert]);
}

#[test]
fn a_statement_has_a_bounded_number_of_rows() {
    let mut writes = Writes::default();
    let count = i64::try_from(ROWS).expect("it fits") + 1;
    (0..count).for_each(|number| node(&mut writes, number, "content"));
    // In the first statement already: the second one's row is executed after it.
    node(&mut writes, 0, "last");
    assert_eq!(taken(&mut writes).iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [ROWS, 2]);
}

#[test]
fn deletions_name_their_rows() {
    let mut writes = Writes::default();
    writes.put(&NODE_DELETION, vec![3.into()]);
    writes.put(&KEY_DELETION, vec![4.into()]);
    writes.put(&KEY_DELETION, vec![5.into()]);
    let sql: Vec<String> = taken(&mut writes).into_iter().map(|(sql, _)| sql).collect();
    let of_two = "WITH changed AS (DELETE FROM key AS t USING unnest($2::bigint[]) AS u(key_row) WHERE t.store = $1 \
                  AND t.key_row = u.key_row RETURNING 1) SELECT 1 / (count(*) = $3)::int FROM changed";
    assert_eq!(sql, ["DELETE FROM node WHERE store = $1 AND number = $2", of_two]);
}
