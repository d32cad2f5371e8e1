//! Receives other hosts' changes by LISTEN, on a separate connection: a hint to poll sooner, which nothing relies on.
//!
//! A pooler that lends connections would lose the notifications, and leave LISTEN active on a connection of other
//! clients. So the session sets a custom option when it begins, and listens only where the server has it.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::connection::{ServerLink, Statement};
use super::target::Target;
use super::{ANSWER, Postgres, read};
use crate::error::{Result, Status};
use crate::store::announcements::Announcements;
use crate::sys::sync::Lock;
use crate::sys::{fault, fork, random};

/// After a silence of this length the server is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(30);
const OPTION: &str = "libkms.session";

/// Where a change of the store is announced.
pub fn channel(store: &[u8; 16]) -> String {
    format!("libkms_{:032x}", u128::from_be_bytes(*store))
}

#[derive(Default)]
struct Listening {
    is_stopped: bool,
    /// What the session waits for. Weak: a socket ends with its connection, which a forked child closes.
    socket: Weak<TcpStream>,
}

pub struct Listener {
    target: Target,
    state: Lock<Listening>,
}

/// Closes the connection inside the fork gate, however the session ends.
struct ListeningLink(Option<ServerLink>);

impl Drop for ListeningLink {
    fn drop(&mut self) {
        fork::gate(|| drop(self.0.take()));
    }
}

impl Listener {
    /// Listens at the servers of `target`, which need not be those of the location.
    pub fn new(target: &Target) -> Self {
        Self { target: target.clone(), state: Lock::default() }
    }

    fn check_running(&self) -> Result<()> {
        match self.state.lock()?.is_stopped {
            true => Err(Status::KeystoreUnavailable.error("the keystore is being closed; open it again")),
            false => Ok(()),
        }
    }

    /// A connection to the server itself, with the channel of the target's store.
    fn connect(&self) -> Result<(ListeningLink, String)> {
        self.check_running()?;
        let mark = format!("{:032x}", u128::from_ne_bytes(random::array()?));
        let own = self.target.options.as_deref().unwrap_or_default();
        let target = Target { options: Some(format!("{own} -c {OPTION}={mark}")), ..self.target.clone() };
        let link = ServerLink::open_watched(&target, ANSWER, &|socket| {
            self.state.lock()?.socket = Arc::downgrade(socket);
            self.check_running()
        })?;
        let mut session = ListeningLink(Some(link));
        let link = session.link()?;
        let asked = format!("SELECT pg_catalog.current_setting('{OPTION}', true)");
        let found = link.run(&[Statement::new(asked, Vec::new())])?;
        let found = found.first().and_then(|rows| rows.first()).map(|row| read::optional_text(row, 0)).transpose()?;
        if found.flatten().as_ref() != Some(&mark) {
            return Err(
                Status::KeystoreUnavailable.error("a pooler is in front of the database; name the server in notify")
            );
        }
        self.check_running()?;
        let store = Postgres::look_up(link, &self.target)?;
        let store = store.ok_or_else(|| {
            Status::KeystoreNotFound.error("the server in notify has no such keystore; correct the location")
        })?;
        Ok((session, channel(&read::bytes(&store, 0)?)))
    }
}

impl ListeningLink {
    fn link(&mut self) -> Result<&mut ServerLink> {
        self.0
            .as_mut()
            .ok_or_else(|| Status::Internal.error("the connection has ended; this is a bug, please report it"))
    }
}

impl Announcements for Listener {
    fn listen(&self, heard: &mut dyn FnMut()) -> Result<()> {
        let (mut session, channel) = self.connect()?;
        loop {
            self.check_running()?;
            session.link()?.run(&[Statement::new(format!("LISTEN {channel}"), Vec::new())])?;
            // Also for what was announced before, and during the answer.
            heard();
            while session.link()?.notified(SILENCE)? {
                if !fault::wanted("KMS_FAULT_UNHEARD") {
                    heard();
                }
                self.check_running()?;
            }
        }
    }

    fn stop(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        state.is_stopped = true;
        if let Some(socket) = state.socket.upgrade() {
            // Ends each wait at once.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
