//! A proxy between the library and the server: it delays, counts or cuts the traffic.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What happens to the next commit of a change. A checkpoint's passes.
pub const PASS: u8 = 0;
/// It reaches the server; the answer does not come back.
pub const CUT_THE_ANSWER: u8 = 1;
/// It does not reach the server.
pub const CUT_THE_COMMIT: u8 = 2;
/// It does not reach the server, and nothing passes any more.
pub const SILENT_AT_COMMIT: u8 = 3;
/// Half of it reaches the server.
pub const CUT_IN_THE_MIDDLE: u8 = 4;
/// It reaches the server a moment later, and the answer comes back.
pub const DELAY: u8 = 5;
/// The library is cut off at once; the commit reaches the server a moment later.
pub const DELAY_AND_CUT: u8 = 6;
/// The library is cut off at once, the server without the commit a moment later.
pub const LOSE_AND_CUT_LATER: u8 = 7;
/// It reaches the server, whose side is then closed for sending; the answer comes back.
pub const HALF_CLOSE_THE_SERVER: u8 = 8;
/// It reaches the server; the library reads the end of the connection, and may still send.
pub const HALF_CLOSE_THE_CLIENT: u8 = 9;
/// The library is cut off at once; the commit reaches the server when [`Traffic::is_held`] ends.
pub const HOLD_AND_CUT: u8 = 10;

#[derive(Default)]
pub struct Traffic {
    pub next_commit: AtomicU8,
    /// Nothing passes any more.
    pub is_silent: AtomicBool,
    /// New connections fail, and existing ones are cut at the next message.
    pub is_down: AtomicBool,
    /// Whether a commit is held back.
    pub is_held: AtomicBool,
    /// How long a delay lasts, in milliseconds.
    pub delay_ms: AtomicU64,
    /// Where new connections lead to.
    pub server: Mutex<String>,
    /// How often the library spoke after the server.
    pub turns: AtomicU64,
    /// How many bytes the library has sent.
    pub asked: AtomicUsize,
    /// How many statements the library has prepared, and closed, by a name.
    pub prepared: AtomicUsize,
    pub closed: AtomicUsize,
    is_asking: AtomicBool,
}

pub struct Proxy {
    pub port: u16,
    pub traffic: Arc<Traffic>,
}

impl Proxy {
    pub fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let traffic = Arc::new(Traffic { server: Mutex::new(server), ..Traffic::default() });
        let shared = Arc::clone(&traffic);
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if shared.is_down.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&*shared.server.lock().unwrap()) else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (back, there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (asking, answering) = (Arc::clone(&shared), Arc::clone(&shared));
                let is_cut = Arc::new(AtomicBool::new(false));
                let cut = Arc::clone(&is_cut);
                std::thread::spawn(move || forward(client, there, &asking, |bytes| asking.asks(bytes, &cut)));
                std::thread::spawn(move || {
                    forward(server, back, &answering, |bytes| answering.answers(bytes, &is_cut))
                });
            }
        });
        Self { port, traffic }
    }
}

impl Traffic {
    /// The treatment of the library's messages.
    fn asks(&self, bytes: &[u8], is_cut: &AtomicBool) -> Passage {
        self.asked.fetch_add(bytes.len(), Ordering::SeqCst);
        self.prepared.fetch_add(bytes.windows(6).filter(|message| names(message, b"DS")).count(), Ordering::SeqCst);
        self.closed.fetch_add(bytes.windows(6).filter(|message| names(message, b"CS")).count(), Ordering::SeqCst);
        if !self.is_asking.swap(true, Ordering::SeqCst) {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Passage::Cut;
        }
        if self.is_silent.load(Ordering::SeqCst) {
            return Passage::Swallow;
        }
        if !names_commit(bytes) || !names_change(bytes) {
            return Passage::Pass;
        }
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
        match self.next_commit.swap(PASS, Ordering::SeqCst) {
            CUT_THE_ANSWER => {
                is_cut.store(true, Ordering::SeqCst);
                Passage::Pass
            }
            CUT_THE_COMMIT => Passage::Cut,
            SILENT_AT_COMMIT => {
                self.is_silent.store(true, Ordering::SeqCst);
                Passage::Swallow
            }
            CUT_IN_THE_MIDDLE => Passage::Half,
            DELAY => {
                std::thread::sleep(delay);
                Passage::Pass
            }
            DELAY_AND_CUT => {
                is_cut.store(true, Ordering::SeqCst);
                Passage::CutFirst { delay, arrives: true }
            }
            LOSE_AND_CUT_LATER => Passage::CutFirst { delay, arrives: false },
            HALF_CLOSE_THE_SERVER => Passage::HalfClose { the_server: true },
            HALF_CLOSE_THE_CLIENT => Passage::HalfClose { the_server: false },
            HOLD_AND_CUT => {
                self.is_held.store(true, Ordering::SeqCst);
                // A server that cannot send its first answers ends the session before it reads the commit.
                is_cut.store(true, Ordering::SeqCst);
                Passage::CutFirst { delay: Duration::MAX, arrives: true }
            }
            _ => Passage::Pass,
        }
    }

    /// Waits while a commit is held back, or for a delay.
    fn wait(&self, delay: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < delay && (delay != Duration::MAX || self.is_held.load(Ordering::SeqCst)) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn answers(&self, bytes: &[u8], is_cut: &AtomicBool) -> Passage {
        self.is_asking.store(false, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Passage::Cut;
        }
        match (is_cut.load(Ordering::SeqCst), names_commit(bytes)) {
            // Not before the server is through.
            (true, true) => Passage::Cut,
            (true, false) => Passage::Swallow,
            _ if self.is_silent.load(Ordering::SeqCst) => Passage::Swallow,
            _ => Passage::Pass,
        }
    }
}

/// A statement, or the server's answer to it.
fn names_commit(bytes: &[u8]) -> bool {
    bytes.windows(7).any(|word| word == b"COMMIT\0")
}

/// Whether a message of this kind, which describes or closes a statement, begins here.
fn names(message: &[u8], kind: &[u8; 2]) -> bool {
    matches!(message, [of, 0, 0, 0, len, about] if [*of, *about] == *kind && *len > 6)
}

fn names_change(bytes: &[u8]) -> bool {
    bytes.windows(12).any(|word| word == b"INTO change(")
}

enum Passage {
    Pass,
    Swallow,
    Cut,
    /// Half of it passes, then both ends are cut.
    Half,
    /// The sender is cut off before the bytes arrive, or don't.
    CutFirst {
        delay: Duration,
        arrives: bool,
    },
    /// The bytes pass. Then one end reads the end of the connection.
    HalfClose {
        the_server: bool,
    },
}

/// Forwards until both ends are shut or cut.
fn forward(mut from: TcpStream, mut to: TcpStream, traffic: &Traffic, passage: impl Fn(&[u8]) -> Passage) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let bytes = &bytes[..len];
        match passage(bytes) {
            Passage::Pass if to.write_all(bytes).is_ok() => {}
            Passage::Swallow => {}
            Passage::Half => {
                let _ = to.write_all(&bytes[..len / 2]);
                break;
            }
            Passage::CutFirst { delay, arrives } => {
                let _ = from.shutdown(Shutdown::Both);
                traffic.wait(delay);
                if arrives {
                    let _ = to.write_all(bytes);
                    // The server's answer ends the other direction.
                    return;
                }
                break;
            }
            Passage::HalfClose { the_server } if to.write_all(bytes).is_ok() => {
                let _ = if the_server { to.shutdown(Shutdown::Write) } else { from.shutdown(Shutdown::Write) };
            }
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
