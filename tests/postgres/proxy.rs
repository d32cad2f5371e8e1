//! Stands between the library and the server, and delays, counts or cuts what passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What happens to the next commit.
pub const PASS: u8 = 0;
/// It reaches the server; the answer does not come back.
pub const CUT_THE_ANSWER: u8 = 1;
/// It does not reach the server.
pub const CUT_THE_COMMIT: u8 = 2;

/// It does not reach the server, and nothing passes any more.
pub const SILENT_AT_COMMIT: u8 = 3;

#[derive(Default)]
pub struct Traffic {
    pub next_commit: AtomicU8,
    /// Nothing passes any more.
    pub is_silent: AtomicBool,
    /// Nobody is connected, and what was is cut at the next word.
    pub is_down: AtomicBool,
    /// How often the library spoke after the server.
    pub turns: AtomicU64,
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
        let traffic = Arc::new(Traffic::default());
        let shared = Arc::clone(&traffic);
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if shared.is_down.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&server).unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (back, there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (asking, answering) = (Arc::clone(&shared), Arc::clone(&shared));
                let is_cut = Arc::new(AtomicBool::new(false));
                let cut = Arc::clone(&is_cut);
                std::thread::spawn(move || forward(client, there, |bytes| asking.asks(bytes, &cut)));
                std::thread::spawn(move || forward(server, back, |bytes| answering.answers(bytes, &is_cut)));
            }
        });
        Self { port, traffic }
    }
}

impl Traffic {
    /// What happens to what the library says.
    fn asks(&self, bytes: &[u8], is_cut: &AtomicBool) -> Passage {
        if !self.is_asking.swap(true, Ordering::SeqCst) {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Passage::Cut;
        }
        if self.is_silent.load(Ordering::SeqCst) {
            return Passage::Swallow;
        }
        if !names_commit(bytes) {
            return Passage::Pass;
        }
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
            _ => Passage::Pass,
        }
    }

    fn answers(&self, bytes: &[u8], is_cut: &AtomicBool) -> Passage {
        self.is_asking.store(false, Ordering::SeqCst);
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

enum Passage {
    Pass,
    Swallow,
    Cut,
}

/// Forwards until both ends are shut or cut.
fn forward(mut from: TcpStream, mut to: TcpStream, passage: impl Fn(&[u8]) -> Passage) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        match passage(&bytes[..len]) {
            Passage::Pass if to.write_all(&bytes[..len]).is_ok() => {}
            Passage::Swallow => {}
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
