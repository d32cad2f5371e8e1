//! Roles that obey the test line by line: a process with a keystore open, and one that holds its lock.

use std::time::{Duration, Instant};

use kms::{Keystore, Options};

use crate::folder::{ROOT, new_key, quiet};
use crate::worker::heard;

/// Arguments: the store, and `ticker`, `quiet` or `read-only`. A command is answered by one line; errors by their name.
pub fn serve(arguments: &[String]) {
    let options = match arguments[1].as_str() {
        "ticker" => Options::new().root_key(&ROOT),
        "read-only" => quiet().read_only(true),
        _ => quiet(),
    };
    let kms = Keystore::open(&arguments[0], &options).unwrap();
    println!("open");
    while let Some(line) = heard() {
        let words: Vec<&str> = line.split(' ').collect();
        let started = Instant::now();
        let answer = obey(&kms, &words).unwrap_or_else(|error| format!("{:?}", error.status()));
        match words[0] {
            "timed-encrypt" => println!("{} {answer}", started.elapsed().as_micros()),
            _ => println!("{answer}"),
        }
    }
}

fn obey(kms: &Keystore, words: &[&str]) -> kms::Result<String> {
    Ok(match *words {
        ["create"] => new_key(kms, None),
        ["rotate", key] => kms.rotate(key)?.to_string(),
        ["disable", key] => kms.disable_key(key).map(|()| "ok".to_owned())?,
        ["enable", key] => kms.enable_key(key).map(|()| "ok".to_owned())?,
        // The id of the version it was encrypted under.
        ["encrypt" | "timed-encrypt", key] => kms.inspect(&kms.encrypt(key, b"x", &[])?)?.version.to_string(),
        ["health"] => format!("{:?}", kms.health()?),
        _ => panic!("no such command: {words:?}"),
    })
}

/// Argument: the store, and the SQL that takes the lock. Holds it until the next line, or for the milliseconds said.
pub fn hold(arguments: &[String]) {
    let connection = rusqlite::Connection::open(&arguments[0]).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    while let Some(_line) = {
        connection.execute_batch(&arguments[1]).unwrap();
        println!("held");
        heard()
    } {
        connection.execute_batch("ROLLBACK").unwrap();
        println!("free");
        if heard().is_none() {
            return;
        }
    }
}
