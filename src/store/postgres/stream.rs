//! The bytes of a connection: a socket that never blocks, and TLS over it.

use std::future::Future;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::target::{Authorities, Encryption, ServerAddress, Target, contents};
use crate::crypto::openssl::tls::{TlsProgress, TlsSession, TlsSettings};
use crate::error::{Error, Result, Status};

/// What passes at once.
const PART: usize = 16 * 1024;
/// Where distributions keep the certificates of public authorities.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A stream that never blocks. The loop of the connection waits for it.
pub struct Socket {
    stream: Arc<TcpStream>,
    /// Set while there is more to write than the socket takes.
    is_full: Arc<AtomicBool>,
}

impl Socket {
    pub fn new(stream: &Arc<TcpStream>, is_full: &Arc<AtomicBool>) -> Self {
        Self { stream: Arc::clone(stream), is_full: Arc::clone(is_full) }
    }

    fn receive(&self, bytes: &mut [u8]) -> Poll<IoResult<usize>> {
        now_or_later((&*self.stream).read(bytes))
    }

    fn send(&self, bytes: &[u8]) -> Poll<IoResult<usize>> {
        let written = now_or_later((&*self.stream).write(bytes));
        self.is_full.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

fn now_or_later<R>(done: IoResult<R>) -> Poll<IoResult<R>> {
    match done {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        self.receive(buffer.initialize_unfilled()).map_ok(|len| buffer.advance(len))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        self.send(bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

/// TLS over a socket.
pub struct TlsSocket {
    socket: Socket,
    session: TlsSession,
    /// What the session wants sent, and how much of it was.
    unsent: Vec<u8>,
    sent: usize,
}

impl TlsSocket {
    /// Sends what the session has to say; pending while the socket takes no more.
    fn flush(&mut self) -> Poll<IoResult<()>> {
        loop {
            while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match self.socket.send(rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(len)) => self.sent += len,
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.unsent.resize(PART, 0);
            let len = self.session.take(&mut self.unsent);
            self.unsent.truncate(len);
            self.sent = 0;
            if len == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Brings bytes of the server to the session.
    fn fill(&mut self) -> Poll<IoResult<()>> {
        let mut part = [0; PART];
        match self.socket.receive(&mut part) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(len)) => {
                Poll::Ready(self.session.feed(part.get(..len).unwrap_or_default()).map_err(IoError::other))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Repeats `step` while the session wants bytes of the server and there are some.
    fn advance(&mut self, mut step: impl FnMut(&mut TlsSession) -> Result<TlsProgress>) -> Poll<IoResult<usize>> {
        loop {
            let stepped = step(&mut self.session).map_err(IoError::other);
            // Also what says why it failed.
            let flushed = self.flush();
            match stepped {
                Err(e) => return Poll::Ready(Err(e)),
                Ok(TlsProgress::Done(done)) => return Poll::Ready(Ok(done)),
                Ok(TlsProgress::Wants) => {}
            }
            if let Poll::Ready(Err(e)) = flushed {
                return Poll::Ready(Err(e));
            }
            match self.fill() {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        let this = self.get_mut();
        let room = buffer.initialize_unfilled();
        let read = this.advance(|session| session.read(room));
        read.map_ok(|len| buffer.advance(len))
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        let this = self.get_mut();
        match this.flush() {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => return Poll::Pending,
        }
        this.advance(|session| session.write(bytes.get(..PART).unwrap_or(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.get_mut().flush()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(self.socket.stream.shutdown(Shutdown::Write))
    }
}

impl TlsStream for TlsSocket {
    fn channel_binding(&self) -> ChannelBinding {
        self.session.end_point().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// Makes TLS of a socket once the server agreed to it; `None` where none is wanted.
pub struct TlsConnector(Option<TlsSession>);

impl TlsConnect<Socket> for TlsConnector {
    type Stream = TlsSocket;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Handshake;

    fn connect(self, socket: Socket) -> Handshake {
        Handshake(self.0.map(|session| TlsSocket { socket, session, unsent: Vec::new(), sent: 0 }))
    }
}

/// A handshake under way.
pub struct Handshake(Option<TlsSocket>);

impl Future for Handshake {
    type Output = std::result::Result<TlsSocket, Box<dyn std::error::Error + Send + Sync>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(Err("no TLS is set up".into())) };
        match stream.advance(TlsSession::handshake) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Err(e.into())),
            // Its last bytes are sent with what comes next.
            Poll::Ready(Ok(_)) => Poll::Ready(self.0.take().ok_or_else(|| "no TLS is set up".into())),
        }
    }
}

/// The error of this library that an error of the client has as its cause.
pub fn own_error(cause: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let inner = cause.downcast_ref::<IoError>()?.get_ref()?;
    inner.downcast_ref::<Error>().cloned()
}

pub fn connector(target: &Target, server: &ServerAddress, encryption: Encryption) -> Result<TlsConnector> {
    if encryption == Encryption::None {
        return Ok(TlsConnector(None));
    }
    let authorities = match (encryption, &target.authorities) {
        (Encryption::Unverified, _) => None,
        (_, Authorities::File(path)) => Some(contents(path)?),
        (_, Authorities::System) => Some(contents(&system_bundle()?)?),
    };
    let identity = match &target.identity {
        Some((certificate, key)) => Some((contents(certificate)?, contents(key)?)),
        None => None,
    };
    let settings = TlsSettings {
        authorities: authorities.as_ref().map(|text| text.as_slice()),
        verified_name: (encryption == Encryption::Full).then_some(server.host.as_str()),
        asked_name: Some(&server.host),
        identity: identity.as_ref().map(|(certificate, key)| (certificate.as_slice(), key.as_slice())),
    };
    TlsSession::new(&settings).map(|session| TlsConnector(Some(session)))
}

fn system_bundle() -> Result<PathBuf> {
    let found = BUNDLES.iter().map(Path::new).find(|path| path.exists());
    found.map(Path::to_owned).ok_or_else(|| {
        Status::KeystoreUnavailable
            .error("no root certificates are installed; install ca-certificates, or pass sslrootcert=FILE")
    })
}
