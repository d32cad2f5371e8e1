//! A connection that hangs at each point: no call waits longer than its timeout, and nothing hangs at the end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kms::{CreateKey, Keystore, ManualClock, Status};

use crate::proxy::SILENT_AT_COMMIT;
use crate::{T0, impatient, is_sound, name, numbers, open, server, status, through_proxy};

/// The timeout of `options`, the answer that is waited for, and as much again for finding out about a commit.
const MOST: Duration = Duration::from_secs(14);

#[track_caller]
fn unavailable_in_time<R>(what: &str, call: impl FnOnce() -> kms::Result<R>) {
    let begun = Instant::now();
    let ended = status(call());
    let took = begun.elapsed();
    assert_eq!(ended, Some(Status::KeystoreUnavailable), "{what}");
    assert!(took < MOST, "{what}: waited {took:?}");
}

/// A server that accepts connections, answers the TLS request if configured, and then stays silent.
pub fn silent_server(agrees: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            if agrees {
                client.read_exact(&mut [0; 8]).unwrap();
                client.write_all(b"S").unwrap();
            }
            kept.push(client);
        }
    });
    port
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    for (agrees, mode) in [(false, "disable"), (false, "require"), (true, "require")] {
        let location = format!("postgres://u:p@127.0.0.1:{}/d?sslmode={mode}", silent_server(agrees));
        unavailable_in_time(&format!("agrees: {agrees}, {mode}"), || Keystore::open(&location, &impatient()));
        let begun = Instant::now();
        let location = format!("{location}&connect_timeout=1");
        assert_eq!(status(Keystore::open(&location, &impatient()).map(drop)), Some(Status::KeystoreUnavailable));
        assert!(begun.elapsed() < Duration::from_secs(3), "connect_timeout does not count");
    }
}

#[test]
fn a_server_that_falls_silent_at_a_commit_is_not_waited_for() {
    let (name, clock) = (name("hanging"), ManualClock::at(T0));
    let (kms, proxy) = through_proxy(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    proxy.traffic.next_commit.store(SILENT_AT_COMMIT, Ordering::SeqCst);
    unavailable_in_time("at the commit", || kms.rotate(key));
    unavailable_in_time("after it", || kms.rotate(key));
    let begun = Instant::now();
    drop(kms);
    assert!(begun.elapsed() < MOST, "closing hangs");
    proxy.traffic.is_silent.store(false, Ordering::SeqCst);
    let fresh = open(&name, &clock);
    assert_eq!(
        numbers(&fresh, key),
        [1],
        "a change that was not acknowledged stands, though it never reached the server"
    );
    assert!(is_sound(&fresh));
}

#[test]
fn the_next_server_takes_over() {
    let (name, clock) = (name("next"), ManualClock::at(T0));
    let server = server();
    let (head, address) = server.rsplit_once('@').unwrap();
    let silent = silent_server(false);
    let location = format!(
        "{head}@127.0.0.1:{silent},127.0.0.1:1,{address}?connect_timeout=1&target_session_attrs=read-write#{name}"
    );
    let kms = Keystore::open(&location, &impatient().clock(clock)).unwrap();
    kms.create_key(&CreateKey::default()).unwrap();
}

#[test]
fn a_thousand_forks_do_no_harm() {
    let (name, clock) = (name("forks"), ManualClock::at(T0));
    let kms = open(&name, &clock);
    let key = kms.create_key(&CreateKey::default()).unwrap();
    for round in 0..1_000 {
        // SAFETY: the child ends without running anything of its parent's but the library, which supports that.
        let child = unsafe { libc::fork() };
        if child == 0 {
            if round % 3 == 0 {
                // Closes the inherited handle.
                drop(kms);
            }
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        if round % 50 == 0 {
            kms.rotate(key).unwrap();
        }
        let mut ended = 0;
        // SAFETY: `ended` is valid for the call to fill.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
        assert_eq!(ended, 0, "round {round}: the child did not end well");
    }
    assert_eq!(numbers(&kms, key).len(), 21);
    assert!(is_sound(&kms));
}
