//! Announced changes: the announcement is a hint that speeds up polling, and may fail without harm.

use std::io::Write;
use std::process::{Command, Stdio};

use super::hosts::{POLL, TOLERANCE, uses, within};
use super::*;

/// No poll comes in time.
const RARELY: Duration = Duration::from_secs(60);
/// What a loaded machine may need to begin to listen.
const SOON: Duration = Duration::from_secs(10);

fn channel(name: &str) -> String {
    format!("libkms_{}", sql(name, "SELECT encode({store}, 'hex')"))
}

fn listeners(name: &str) -> usize {
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN {}'", channel(name));
    sql(name, &count).parse().unwrap()
}

/// A handle that announces what it changes. Its own polls are few.
fn writer(name: &str) -> Keystore {
    let location = format!("{}?notify=on#{name}", server());
    Keystore::open(&location, &options().clock(ManualClock::at(T0)).poll_interval(RARELY)).unwrap()
}

/// A further handle, once it listens.
fn listener(name: &str, location: &str, options: &Options) -> Keystore {
    let before = listeners(name);
    let kms = Keystore::open(&format!("{location}#{name}"), &options.clone().clock(ManualClock::at(T0))).unwrap();
    within(SOON, "nobody listens", || listeners(name) > before);
    kms
}

/// Checks that the other handle sees a change, and returns how much later.
fn follows(ours: &Keystore, theirs: &Keystore, key: KeyId, limit: Duration) -> Duration {
    assert!(uses(theirs, key));
    ours.disable_key(key).unwrap();
    let delay = within(limit, "a disable is not obeyed in time", || !uses(theirs, key));
    ours.enable_key(key).unwrap();
    within(limit, "an enable is not seen in time", || uses(theirs, key));
    delay
}

#[test]
fn an_announced_change_is_seen_long_before_the_next_poll() {
    let name = name("announced");
    let ours = writer(&name);
    within(SOON, "nobody listens", || listeners(&name) == 1);
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let rarely = options().poll_interval(RARELY);
    let theirs = listener(&name, &format!("{}?notify=on", server()), &rarely);
    for _ in 0..10 {
        follows(&ours, &theirs, key, TOLERANCE);
    }
    // Without the setting nobody listens, and nothing is announced.
    let silent = Keystore::open(&format!("{}#{name}", server()), &rarely.clone().clock(ManualClock::at(T0))).unwrap();
    silent.disable_key(key).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(uses(&theirs, key), "a handle without the setting announces");
    assert_eq!(listeners(&name), 2);
    drop((ours, theirs, silent));
    within(SOON, "a session stays", || listeners(&name) == 0);
}

/// A pooler would lose the notifications; LISTEN would stay on a connection of others.
#[test]
fn nobody_listens_through_a_pooler() {
    let name = name("unpooled");
    let ours = writer(&name);
    within(SOON, "nobody listens", || listeners(&name) == 1);
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let often = options().clock(ManualClock::at(T0));
    let polling = Keystore::open(&format!("{}?notify=on#{name}", pooler()), &often).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(listeners(&name), 1, "a session listens through the pooler");
        follows(&ours, &polling, key, POLL + TOLERANCE);
    }
    assert!(!polling.health().unwrap().keystore_unavailable);
    // Its own changes are announced.
    let rarely = options().poll_interval(RARELY);
    let theirs = listener(&name, &format!("{}?notify={}", pooler(), address(&server())), &rarely);
    for _ in 0..5 {
        follows(&ours, &theirs, key, TOLERANCE);
        follows(&polling, &theirs, key, TOLERANCE);
    }
}

#[test]
fn a_flood_of_notifications_makes_few_polls() {
    let name = name("flood");
    let ours = writer(&name);
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let theirs = listener(&name, &format!("{}?notify=on", server()), &options().poll_interval(Duration::from_secs(1)));
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", &server()]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut flood = psql.spawn().unwrap();
    let mut said = flood.stdin.take().unwrap();
    let notify = format!("NOTIFY {};\n", channel(&name)).repeat(100);
    let (before, begun) = (theirs.health().unwrap().polls, Instant::now());
    let mut notifications = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        // Waits where psql is behind.
        said.write_all(notify.as_bytes()).unwrap();
        notifications += 100;
    }
    let (polls, took) = (theirs.health().unwrap().polls - before, begun.elapsed());
    drop(said);
    flood.kill().unwrap();
    flood.wait().unwrap();
    let a_second = |count: u64| count as f64 / took.as_secs_f64();
    println!("{:.0} notifications a second make {:.1} polls", a_second(notifications), a_second(polls));
    assert!(a_second(polls) < 26.0, "{polls} polls in {took:?}");
    assert!(polls > 8, "the flood was not heard: {polls} polls in {took:?}");
    follows(&ours, &theirs, key, TOLERANCE);
}

#[test]
fn who_loses_its_ear_polls_and_listens_again() {
    let name = name("deaf");
    let ours = writer(&name);
    let key = ours.create_key(&CreateKey::default()).unwrap();
    within(SOON, "nobody listens", || listeners(&name) == 1);
    let (proxied, proxy) = proxied(&name);
    let through = address(&proxied);
    let theirs = listener(&name, &format!("{}?notify={through}", server()), &options());
    proxy.traffic.is_down.store(true, Ordering::SeqCst);
    // The proxy cuts the session at its next message.
    follows(&ours, &theirs, key, POLL + TOLERANCE);
    within(SOON, "a session was not cut", || listeners(&name) == 1);
    follows(&ours, &theirs, key, POLL + TOLERANCE);
    let health = theirs.health().unwrap();
    assert!(!health.keystore_unavailable && health.absences == 0, "a lost hint counts as an absence: {health:?}");
    proxy.traffic.is_down.store(false, Ordering::SeqCst);
    within(SOON, "nobody listens again", || listeners(&name) == 2);
    // A silent server.
    proxy.traffic.is_silent.store(true, Ordering::SeqCst);
    follows(&ours, &theirs, key, POLL + TOLERANCE);
    let begun = Instant::now();
    drop(theirs);
    assert!(begun.elapsed() < Duration::from_secs(2), "closing waits for a session that hears nothing");
}

/// The listener cannot connect: refused, unanswered, another database, no keystore there.
#[test]
fn who_cannot_listen_polls_without_a_word() {
    let name = name("unheard");
    let ours = writer(&name);
    let key = ours.create_key(&CreateKey::default()).unwrap();
    let silent = hanging::silent_server(false);
    for notify in ["127.0.0.1:1".to_owned(), format!("127.0.0.1:{silent}"), "nowhere.invalid".to_owned()] {
        let location = format!("{}?notify={notify}&sslmode=disable#{name}", server());
        let events = hosts::EventLog::default();
        let theirs = Keystore::open(&location, &events.options().clock(ManualClock::at(T0))).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let slowest = (0..3).map(|_| follows(&ours, &theirs, key, POLL + TOLERANCE)).max().unwrap();
        let begun = Instant::now();
        drop(theirs);
        let closed = begun.elapsed();
        println!("{notify}: obeyed after {slowest:?}, closed after {closed:?}");
        assert!(closed < Duration::from_secs(2), "{notify}: closing waits for {closed:?}");
        assert!(events.is_empty(), "{notify}: events of a hint that fails");
    }
}

#[test]
fn a_forked_child_listens_by_itself() {
    let name = name("listening-child");
    let ours = writer(&name);
    let key = ours.create_key(&CreateKey::default()).unwrap();
    within(SOON, "nobody listens", || listeners(&name) == 1);
    let theirs = listener(&name, &format!("{}?notify=on", server()), &options().poll_interval(RARELY));
    for round in 0..200 {
        // SAFETY: the child uses the library, which supports that, and ends without running anything of its parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            match round % 3 {
                0 => drop(theirs),
                1 => drop(theirs.describe_key(key)),
                _ => {}
            }
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        let mut ended = 0;
        // SAFETY: `ended` is valid for the call to fill.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
        assert_eq!(ended, 0, "round {round}: the child did not end well");
    }
    assert_eq!(listeners(&name), 2, "a child has ended its parent's session, or left one");
    follows(&ours, &theirs, key, TOLERANCE);
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let _ = uses(&theirs, key);
        let begun = Instant::now();
        while uses(&theirs, key) && begun.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(begun.elapsed() >= SOON)) };
    }
    within(SOON, "the child does not listen", || listeners(&name) == 3);
    ours.disable_key(key).unwrap();
    let mut ended = 0;
    // SAFETY: `ended` is valid for the call to fill.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
    assert_eq!(ended, 0, "the child hears nothing");
    ours.enable_key(key).unwrap();
    follows(&ours, &theirs, key, TOLERANCE);
}

#[test]
fn a_program_that_listens_ends() {
    const CHILD: &str = "KMS_TEST_LISTENING_CHILD";
    if let Ok(name) = std::env::var(CHILD) {
        // TLS, whose libcrypto ends with the process.
        let location = format!("{}?notify=on&sslmode=require#{name}", server());
        let kms = Keystore::open(&location, &options().clock(ManualClock::at(T0))).unwrap();
        within(SOON, "nobody listens", || listeners(&name) == 1);
        kms.create_key(&CreateKey::default()).unwrap();
        // With the handle open, and its threads about.
        std::process::exit(7);
    }
    for round in 0..3 {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "news::a_program_that_listens_ends"]).env(CHILD, name("ends"));
        let begun = Instant::now();
        let mut child = again.stdout(Stdio::null()).spawn().unwrap();
        within(SOON * 3, "exit hangs", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(7), "round {round}, after {:?}", begun.elapsed());
    }
}
