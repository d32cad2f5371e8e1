//! Processes killed at any moment lose nothing that they acknowledged.

use std::time::Duration;

use kms::Keystore;

use crate::folder::{Folder, new_key, quiet, scaled, status, versions};
use crate::other_sqlite::with_other_sqlite;
use crate::worker::{Worker, heard};

/// Role. Arguments: the store, how many changes, a key to rotate or `-` (then it makes its own), and `meddle` to open
/// and close the file constantly behind the library's back. Prints each change once it is acknowledged.
pub fn change(arguments: &[String]) {
    let (store, count) = (arguments[0].clone(), arguments[1].parse::<usize>().unwrap());
    let kms = Keystore::open(&store, &quiet()).unwrap();
    let key = match arguments[2].as_str() {
        "-" => new_key(&kms, None),
        key => key.to_owned(),
    };
    println!("ready {key}");
    if arguments.get(3).is_some() {
        assert_eq!(heard().as_deref(), Some("go"));
        std::thread::spawn(move || {
            loop {
                with_other_sqlite(&store);
                drop(std::fs::read(&store).unwrap());
                std::thread::sleep(Duration::from_micros(200));
            }
        });
    }
    for number in 0..count {
        if number % 2 == 0 {
            match kms.rotate(&key) {
                Ok(version) => {
                    let blob = kms.encrypt(&key, version.to_string().as_bytes(), &[]);
                    println!("rotated {key} {version} {}", blob.map_or(String::new(), |blob| hex(&blob)));
                }
                Err(error) => println!("failed {:?}", error.status()),
            }
        } else {
            match kms.create_key(&kms::CreateKey::default()) {
                Ok(key) => println!("created {key}"),
                Err(error) => println!("failed {:?}", error.status()),
            }
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Checks the changes that [`change`] printed. Returns how many were acknowledged, kept and failed.
pub fn check_acknowledged(kms: &Keystore, lines: &[String]) -> (usize, usize, usize) {
    let (mut acknowledged, mut kept, mut failed) = (0, 0, 0);
    for line in lines {
        match *line.split(' ').collect::<Vec<_>>() {
            ["created", key] => {
                acknowledged += 1;
                kept += usize::from(kms.describe_key(key).is_ok());
            }
            ["rotated", _, version, blob] if blob.len() == 2 * (36 + 80) => {
                acknowledged += 1;
                kept += usize::from(kms.decrypt(&unhex(blob), &[]).is_ok_and(|text| *text == *version.as_bytes()));
            }
            ["failed", _] => failed += 1,
            // The last line may be cut off by the end of its process.
            _ => {}
        }
    }
    (acknowledged, kept, failed)
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_acknowledged() {
    let folder = Folder::new();
    let key = new_key(&folder.create(), None);
    let mut total = 0;
    let mut random = 0x9e37_79b9_u64 ^ u64::from(std::process::id());
    for round in 0..scaled(30) {
        let mut worker =
            Worker::start("change", &[&folder.store(), "1000000", if round % 2 == 0 { &key } else { "-" }]);
        let own = worker.hear().strip_prefix("ready ").unwrap().to_owned();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Between two of the first changes, or in one: by their number, since a busy machine does few in a time.
        let mut told: Vec<_> = (0..(random >> 40) % 24).map(|_| worker.hear()).collect();
        std::thread::sleep(Duration::from_micros((random >> 50) % 5_000));
        told.extend(worker.kill());
        let kms = folder.open();
        let (acknowledged, kept, failed) = check_acknowledged(&kms, &told);
        assert_eq!((acknowledged, 0), (kept, failed), "round {round}: an acknowledged change is lost");
        total += acknowledged;
        for key in [&key, &own] {
            let known = versions(&kms, key);
            let primary = kms.describe_key(key).unwrap().primary.unwrap();
            assert_eq!(primary.id.to_string(), known[0], "the primary is not the newest version");
            let lost: Vec<_> = told
                .iter()
                .filter_map(|line| line.strip_prefix(&format!("rotated {key} ")))
                .filter_map(|rest| rest.get(..36))
                .filter(|version| !known.iter().any(|found| found == version))
                .collect();
            assert!(lost.is_empty(), "round {round}: acknowledged versions are lost: {lost:?}");
        }
        assert_eq!(status(kms.rotate(&key)), None);
    }
    println!("{total} acknowledged changes survived {} kills", scaled(30));
    assert!(total > scaled(30), "hardly anything happened before the kills");
    let sound: String = folder.sqlite().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}
