//! Columns of CSV and JSON-lines files, whose other bytes stay unchanged, and of SQLite tables that other programs use.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;

use crate::support::Place;

/// A ciphertext of `text` as Base64.
fn sealed(place: &Place, text: &str, context: &str) -> String {
    let mut command = place.kms(["encrypt"]);
    if !context.is_empty() {
        command.args(["-c", context]);
    }
    STANDARD.encode(crate::support::with_input(command, text.as_bytes()).out)
}

fn opened(place: &Place, base64: &str, context: &str) -> String {
    let mut command = place.kms(["decrypt"]);
    if !context.is_empty() {
        command.args(["-c", context]);
    }
    let run = crate::support::with_input(command, base64.as_bytes());
    assert_eq!(run.code, Some(0), "{}", run.err);
    String::from_utf8(run.out).unwrap()
}

#[test]
fn a_csv_file_keeps_all_but_its_ciphertexts() {
    let place = Place::with_key();
    let (a, b) = (sealed(&place, "one", "user=1"), sealed(&place, "two", "user=2,\"x\""));
    place.ok(["key", "rotate", "cards"]);
    let c = sealed(&place, "three", "user=3");
    let made = |a: &str, b: &str| {
        format!(
            "\u{feff}id,card,\"a note\"\r\n1,{a},\"say \"\"hi\"\"\"\r\n\r\n\"2,\"\"x\"\"\",\"{b}\",multi\nline\n3,{c},  spaced \n4,,none\n5,junk,x\n6\n1,{a},no end"
        )
    };
    place.write("rows.csv", made(&a, &b));
    let found = place.run(["inspect", "rows.csv", "--csv", "card"]);
    assert_eq!(found.code, Some(1), "{}", found.err);
    let shown = String::from_utf8_lossy(&found.out);
    assert!(shown.contains("skipped 1 empty value"), "{shown}");
    let arguments = ["reencrypt", "rows.csv", "--csv", "card", "--context-column", "user=id", "--yes"];
    let run = place.run(arguments);
    assert_eq!(run.code, Some(1), "{}", run.err);
    let lines: Vec<_> = ["line 5: ", "line 8: ", "line 9: "].iter().filter(|line| run.err.contains(**line)).collect();
    assert_eq!(lines.len(), 3, "the lines of what failed: {}", run.err);
    let text = String::from_utf8(place.read("rows.csv")).unwrap();
    let (one, two) = (text.split(',').nth(3).unwrap(), text.split("\",\"").nth(1).unwrap().split('"').next().unwrap());
    assert_eq!(opened(&place, one, "user=1"), "one");
    assert_eq!(opened(&place, two, "user=2,\"x\""), "two");
    let last = text.rsplit(',').nth(1).unwrap();
    assert_eq!(opened(&place, last, "user=1"), "one");
    assert!(one != a && two != b && last != a, "old values stayed");
    assert_eq!(text.replacen(last, &a, 1).len(), made(&a, &b).len());
    assert_eq!(text.replace(one, &a).replace(last, &a), made(&a, two), "other bytes changed");
    let run = place.run(arguments);
    assert_eq!(run.code, Some(1));
    assert_eq!(String::from_utf8(place.read("rows.csv")).unwrap(), text, "a second run wrote again");
    let err = place.fails(2, "--delimiter", ["inspect", "rows.csv", "--csv", "missing"]);
    assert!(err.contains("id, card, a note"), "{err}");
}

#[test]
fn a_csv_file_keeps_its_owner_mode_and_link() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_key();
    place.write("rows.csv", format!("a;b\n1;{}\n", sealed(&place, "x", "")));
    std::fs::set_permissions(place.path("rows.csv"), PermissionsExt::from_mode(0o664)).unwrap();
    std::os::unix::fs::symlink("rows.csv", place.path("link.csv")).unwrap();
    place.ok(["key", "rotate", "cards"]);
    let before = place.names();
    place.ok(["reencrypt", "link.csv", "--csv", "b", "--delimiter", ";", "--yes"]);
    assert!(place.path("link.csv").is_symlink());
    assert_eq!(std::fs::metadata(place.path("rows.csv")).unwrap().permissions().mode() & 0o7777, 0o664);
    assert_eq!(place.names(), before);
    assert_eq!(place.json(["inspect", "rows.csv", "--csv", "b", "--delimiter", ";"])["Versions"][0]["Number"], 2);
}

#[test]
fn a_json_lines_file_keeps_the_order_of_members_and_its_spaces() {
    let place = Place::with_key();
    let (a, b) = (sealed(&place, "one", "user=7"), sealed(&place, "two", "user=8"));
    place.ok(["key", "rotate", "cards"]);
    let made = |a: &str, b: &str| {
        format!(
            "{{\"z\" : 1e3, \"card\":\"{a}\" ,\"id\":7}}\n\n{{\"id\":\"8\",\"nested\":0,\"card\":  \"{b}\",\"a\":\"\\u00e9\"}}\r\n{{\"card\":null}}\n{{}}\nnot json\n{{\"card\":7}}\n{{\"card\":\"{a}\"}}"
        )
    };
    place.write("rows.jsonl", made(&a, &b));
    let arguments = ["reencrypt", "rows.jsonl", "--jsonl", "card", "--context-column", "user=id", "--yes"];
    let run = place.run(arguments);
    assert_eq!(run.code, Some(1), "{}", run.err);
    for line in ["line 6: not a JSON object", "line 7: the field is no string", "line 8: the line has no value id"] {
        assert!(run.err.contains(line), "{line}: {}", run.err);
    }
    let text = String::from_utf8(place.read("rows.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (one, two) = (lines[0]["card"].as_str().unwrap(), lines[1]["card"].as_str().unwrap());
    assert_eq!((opened(&place, one, "user=7"), opened(&place, two, "user=8")), ("one".to_owned(), "two".to_owned()));
    assert_eq!(text.replacen(one, &a, 1), made(&a, two), "other bytes changed");
    let inner = sealed(&place, "x", "");
    place.write("nested.jsonl", format!("{{\"outer\":{{\"inner\":\"{inner}\"}}}}\n"));
    assert_eq!(place.json(["inspect", "nested.jsonl", "--jsonl", "outer.inner"])["Count"], 1);
}

/// A database with 1200 rows under version 1, of which version 2 is the newest.
fn with_table(schema: &str) -> (Place, Connection) {
    let place = Place::with_key();
    let app = Connection::open(place.path("app.db")).unwrap();
    app.execute_batch(schema).unwrap();
    let blob = STANDARD.decode(sealed(&place, "row", "table=customer")).unwrap();
    let text = STANDARD.encode(&blob);
    app.execute_batch("BEGIN").unwrap();
    for number in 0..1200_i64 {
        let insert = "INSERT INTO customer(id, card) VALUES (?, ?)";
        match number % 2 {
            0 => app.execute(insert, rusqlite::params![number, blob]).unwrap(),
            _ => app.execute(insert, rusqlite::params![number, text]).unwrap(),
        };
    }
    app.execute_batch("COMMIT").unwrap();
    place.ok(["key", "rotate", "cards"]);
    (place, app)
}

const SQLITE: [&str; 4] = ["app.db", "--sqlite", "customer.card", "--yes"];

fn move_table(place: &Place) -> crate::support::Run {
    let [a, b, c, d] = SQLITE;
    place.run(["reencrypt", a, b, c, d, "-c", "table=customer", "--json"])
}

#[test]
fn a_table_is_moved_in_batches_and_keeps_the_types_of_its_values() {
    for schema in [
        "CREATE TABLE customer(id, card)",
        "CREATE TABLE customer(id INTEGER PRIMARY KEY, card)",
        "CREATE TABLE customer(id INTEGER, x DEFAULT 'a', card, PRIMARY KEY(x, id DESC)) WITHOUT ROWID",
    ] {
        let (place, app) = with_table(schema);
        app.execute("INSERT INTO customer(id, card) VALUES (-5, NULL), (5000, 7), (5001, 'junk')", []).unwrap();
        let run = move_table(&place);
        let done: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
        assert_eq!((run.code, &done["Moved"], &done["Failed"]), (Some(1), &1200.into(), &2.into()), "{schema}: {done}");
        assert!(done["Failures"][0]["Place"].as_str().unwrap().contains("customer.card"), "{done}");
        let types: Vec<(String, i64)> = app
            .prepare("SELECT typeof(card), count(*) FROM customer WHERE id BETWEEN 0 AND 4000 GROUP BY 1 ORDER BY 1")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(types, [("blob".to_owned(), 600), ("text".to_owned(), 600)]);
        let text: String = app.query_row("SELECT card FROM customer WHERE id = 777", [], |row| row.get(0)).unwrap();
        assert_eq!(opened(&place, &text, "table=customer"), "row");
        let found = place.run(["inspect", "app.db", "--sqlite", "customer.card", "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&found.out).unwrap();
        assert_eq!(
            (&found["Versions"][0]["Count"], &found["Unneeded"][0]["Number"]),
            (&1200.into(), &1.into()),
            "{found}"
        );
        let again: serde_json::Value = serde_json::from_slice(&move_table(&place).out).unwrap();
        assert_eq!((&again["Moved"], &again["AlreadyNewest"]), (&0.into(), &1200.into()));
    }
}

#[test]
fn the_context_may_come_from_other_columns() {
    let place = Place::with_key();
    let app = Connection::open(place.path("app.db")).unwrap();
    app.execute_batch("CREATE TABLE t(\"the id\" TEXT, n INTEGER, card TEXT COLLATE NOCASE)").unwrap();
    for number in 1..=3 {
        let text = sealed(&place, "x", &format!("n={number}"));
        app.execute("INSERT INTO t VALUES (?, ?, ?)", rusqlite::params!["a", number, text]).unwrap();
    }
    app.execute("UPDATE t SET n = NULL WHERE n = 3", []).unwrap();
    place.ok(["key", "rotate", "cards"]);
    let run = place.run(["reencrypt", "app.db", "--sqlite", "t.card", "--context-column", "n=n", "--yes"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.err.contains("rowid 3: the column n has NULL"), "{}", run.err);
    let text: String = app.query_row("SELECT card FROM t WHERE n = 2", [], |row| row.get(0)).unwrap();
    assert_eq!(opened(&place, &text, "n=2"), "x");
    let err =
        place.fails(2, "", ["reencrypt", "app.db", "--sqlite", "t.card", "--context-column", "n=nothing", "--yes"]);
    assert!(err.contains("it has: the id, n, card"), "{err}");
    for (column, text) in [("u.card", "it has: t"), ("t.x", "no column x"), ("card", "TABLE.COLUMN")] {
        let err = place.fails(2, "", ["inspect", "app.db", "--sqlite", column]);
        assert!(err.contains(text), "{err}");
    }
    assert!(place.fails(2, "", ["inspect", "keys.db", "--sqlite", "t.card"]).contains("the keystore itself"));
    place
        .write("text.db", "no database, but some bytes that are long enough to be read as a header, and more than 100");
    place.fails(7, "", ["inspect", "text.db", "--sqlite", "t.card"]);
}

#[test]
fn triggers_that_refuse_or_replace_a_value_fail_their_row_alone() {
    for (trigger, why) in [
        ("BEFORE UPDATE ON customer WHEN old.id = 3 BEGIN SELECT RAISE(ABORT, 'not this one'); END", "not this one"),
        ("BEFORE UPDATE ON customer WHEN old.id = 3 BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END", "not this one"),
        (
            "AFTER UPDATE ON customer WHEN old.id = 3 BEGIN UPDATE customer SET card = old.card WHERE id = 3; END",
            "another value",
        ),
        ("BEFORE UPDATE ON customer WHEN old.id = 3 BEGIN SELECT RAISE(IGNORE); END", "keeps changing"),
    ] {
        let (place, app) = with_table("CREATE TABLE customer(id INTEGER PRIMARY KEY, card)");
        app.execute_batch(&format!("CREATE TRIGGER t {trigger}")).unwrap();
        let before: String = app.query_row("SELECT card FROM customer WHERE id = 3", [], |row| row.get(0)).unwrap();
        let run = move_table(&place);
        let done: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
        assert_eq!(
            (run.code, &done["Moved"], &done["Failed"]),
            (Some(1), &1199.into(), &1.into()),
            "{trigger}: {done}"
        );
        assert!(done["Failures"][0]["Message"].as_str().unwrap().contains(why), "{done}");
        let after: String = app.query_row("SELECT card FROM customer WHERE id = 3", [], |row| row.get(0)).unwrap();
        assert_eq!(after, before, "{trigger}");
    }
}

#[test]
fn a_value_that_another_program_writes_meanwhile_is_kept() {
    let (place, app) = with_table("PRAGMA journal_mode = WAL; CREATE TABLE customer(id INTEGER PRIMARY KEY, card)");
    app.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    let fresh = sealed(&place, "fresh", "table=customer");
    let mut command = place.kms(["reencrypt", "app.db", "--sqlite", "customer.card", "-c", "table=customer", "--yes"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    for number in (0..1200_i64).rev().step_by(3) {
        app.execute("UPDATE customer SET card = ? WHERE id = ?", rusqlite::params![fresh, number]).unwrap();
    }
    assert!(child.wait().unwrap().success());
    for number in (0..1200_i64).rev().step_by(3) {
        let text: String = app.query_row("SELECT card FROM customer WHERE id = ?", [number], |row| row.get(0)).unwrap();
        assert_eq!(text, fresh, "row {number} lost what another program wrote");
    }
    assert_eq!(place.json(["inspect", "app.db", "--sqlite", "customer.card"])["Versions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_killed_or_interrupted_move_loses_nothing_and_a_second_run_finishes() {
    for (signal, wait) in [("-KILL", 40), ("-KILL", 120), ("-INT", 80)] {
        let (place, app) = with_table("CREATE TABLE customer(id INTEGER PRIMARY KEY, card)");
        let mut rows = String::from("id,card\n");
        let text: String = app.query_row("SELECT card FROM customer WHERE id = 1", [], |row| row.get(0)).unwrap();
        (0..3000).for_each(|number| rows.push_str(&format!("{number},{text}\n")));
        place.write("rows.csv", &rows);
        for arguments in [["app.db", "--sqlite", "customer.card"], ["rows.csv", "--csv", "card"]] {
            let [a, b, c] = arguments;
            let mut command = place.kms(["reencrypt", a, b, c, "-c", "table=customer", "--yes"]);
            let mut child =
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(wait));
            let _ = place.command("kill").args([signal, &child.id().to_string()]).status().unwrap();
            child.wait().unwrap();
            let found = place.json(["inspect", a, b, c]);
            let whole = if a == "app.db" { 1200 } else { 3000 };
            assert_eq!(
                (&found["Count"], &found["Failed"]),
                (&whole.into(), &0.into()),
                "{signal} after {wait} ms: {found}"
            );
            place.ok(["reencrypt", a, b, c, "-c", "table=customer", "--yes"]);
            assert_eq!(place.json(["inspect", a, b, c])["Versions"][0]["Count"], whole);
        }
        let leftovers = place.names().iter().filter(|name| name.starts_with(".kms-")).count();
        assert!(leftovers == 0 || signal == "-KILL", "an interrupt left a file");
    }
}

#[test]
fn a_full_disk_leaves_a_csv_file_as_it_was() {
    let place = Place::with_key();
    let text = sealed(&place, "x", "");
    let rows = format!("id,card\n{}", format!("1,{text}\n").repeat(2000));
    place.write("rows.csv", &rows);
    place.ok(["key", "rotate", "cards"]);
    let before = place.names();
    let script =
        format!("trap '' XFSZ; ulimit -f 64; {} reencrypt rows.csv --csv card --yes", crate::support::kms().display());
    let run = crate::support::ended(place.command("sh").args(["-c", &script]).output().unwrap());
    assert_eq!(run.code, Some(7), "{}", run.err);
    assert!(place.read("rows.csv") == rows.as_bytes() && place.names() == before);
}
