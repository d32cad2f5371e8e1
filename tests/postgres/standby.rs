//! A streaming standby that lacks the last second is promoted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kms::health::EventKind;
use kms::{CreateKey, KeyId, Keystore, Status, VersionId};

use crate::hosts::{EventLog, TOLERANCE, within};
use crate::proxy::Proxy;
use crate::rollback::with;
use crate::{is_sound, name, proxied, server_at, sql, sql_at, status};

/// For what a server does at its own pace.
const PATIENCE: Duration = Duration::from_secs(60);

struct Standby {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    replication: Proxy,
}

/// Runs one of the server's programs, which refuse to run as root.
fn run(program: &Path, arguments: &[&str]) {
    // SAFETY: has no precondition.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mut command = if is_root { Command::new("setpriv") } else { Command::new(program) };
    if is_root {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    }
    // The server keeps an inherited standard output open.
    let done = command.args(arguments).current_dir("/").stdout(std::process::Stdio::null()).status().unwrap();
    assert!(done.success(), "{} {arguments:?}", program.display());
}

impl Standby {
    /// A standby of the test's server, which streams through a proxy.
    fn start() -> Self {
        let mut versions: Vec<PathBuf> =
            std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path().join("bin")).collect();
        versions.sort();
        let programs = versions.pop().unwrap();
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        // SAFETY: has no precondition.
        if unsafe { libc::geteuid() } == 0 {
            assert!(Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap().success());
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (primary, replication) = proxied("");
        let data = folder.path().join("data");
        let data = data.to_str().unwrap();
        let primary = primary.trim_end_matches('#');
        run(&programs.join("pg_basebackup"), &["-D", data, "-R", "-X", "stream", "-c", "fast", "-d", primary]);
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off -c max_connections=300 \
             -c wal_retrieve_retry_interval=200",
            folder.path().display()
        );
        let log = format!("{data}/log");
        run(&programs.join("pg_ctl"), &["-D", data, "-l", &log, "-w", "-s", "-o", &options, "start"]);
        Self { programs, folder, port, replication }
    }

    fn ctl(&self, arguments: &[&str]) {
        let data = self.folder.path().join("data");
        let mut all = vec!["-D", data.to_str().unwrap(), "-w", "-s"];
        all.extend(arguments);
        run(&self.programs.join("pg_ctl"), &all);
    }

    fn sql(&self, statement: &str) -> String {
        sql_at(&server_at(self.port), "", statement)
    }

    /// Waits until it has caught up with the primary.
    fn catch_up(&self) {
        let there = sql("", "SELECT pg_current_wal_lsn()");
        let has = format!("SELECT pg_last_wal_replay_lsn() >= '{there}'");
        within(PATIENCE, "the standby does not follow", || self.sql(&has) == "t");
    }

    fn detach(&self) {
        self.replication.traffic.is_down.store(true, Ordering::SeqCst);
        within(PATIENCE, "the standby stays connected", || {
            self.sql("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "0"
        });
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.ctl(&["-m", "immediate", "stop"]);
    }
}

#[test]
fn a_standby_that_lacks_the_last_second_loses_nothing_unnamed_and_takes_no_change_before_an_operator_accepts() {
    let (name, log) = (name("standby"), EventLog::default());
    let (location, proxy) = proxied(&name);
    let ours = Keystore::open(&location, &with(&log)).unwrap();
    let keys: Vec<KeyId> = (0..4).map(|_| ours.create_key(&CreateKey::default()).unwrap()).collect();
    let mut blobs: Vec<(Vec<u8>, KeyId, VersionId)> = Vec::new();
    let mut seal = |key: KeyId| {
        let blob = ours.encrypt(key, b"text", &[]).unwrap();
        let version = ours.inspect(&blob).unwrap().version;
        blobs.push((blob, key, version));
    };
    keys.iter().for_each(|key| seal(*key));
    let standby = Standby::start();
    ours.rotate(keys[0]).unwrap();
    seal(keys[0]);
    standby.catch_up();
    standby.detach();

    // What is made now is on the primary alone.
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_secs(1) || round < 8 {
        let key = keys[round % keys.len()];
        ours.rotate(key).unwrap();
        seal(key);
        if round % 4 == 0 {
            seal(ours.create_key(&CreateKey::default()).unwrap());
        }
        round += 1;
    }
    *proxy.traffic.server.lock().unwrap() = format!("127.0.0.1:{}", standby.port);
    proxy.traffic.is_down.store(true, Ordering::SeqCst);
    standby.ctl(&["promote"]);
    proxy.traffic.is_down.store(false, Ordering::SeqCst);

    within(PATIENCE, "nobody noticed", || ours.health().unwrap().rolled_back);
    let named = || -> HashSet<(KeyId, VersionId)> {
        log.of(EventKind::VersionLost).iter().filter_map(|event| Some((event.key?, event.version?))).collect()
    };
    let (mut opened, mut lost) = (0, 0);
    for (blob, key, version) in &blobs {
        match ours.decrypt(blob, &[]) {
            Ok(text) => {
                assert_eq!(&*text, b"text");
                opened += 1;
            }
            Err(_) => {
                within(TOLERANCE, "a version is lost and was not named", || named().contains(&(*key, *version)));
                lost += 1;
            }
        }
    }
    println!("{} ciphertexts: {opened} open, {lost} are of {} lost versions, all named", blobs.len(), named().len());
    assert!(opened >= 5 && lost >= 8, "the standby had all, or nothing");
    assert_eq!(status(ours.rotate(keys[0])), Some(Status::KeystoreRolledBack));
    assert_eq!(status(ours.create_key(&CreateKey::default())), Some(Status::KeystoreRolledBack));
    let there = format!("{}#{name}", server_at(standby.port));
    let theirs = Keystore::open(&there, &with(&EventLog::default())).unwrap();
    within(TOLERANCE, "another process writes", || status(theirs.rotate(keys[0])) == Some(Status::KeystoreRolledBack));

    drop(Keystore::open(&there, &with(&EventLog::default()).accept_rollback(true)).unwrap());
    for kms in [&ours, &theirs] {
        within(TOLERANCE, "changes stay stopped", || kms.rotate(keys[0]).is_ok());
    }
    assert!(is_sound(&ours));
}
