//! The client's side of TLS, as a state machine without a socket: the caller carries its bytes.
//!
//! It has its own library context, so neither its random generator nor its tables touch those of the keys. The host's
//! configuration and environment do not affect it. Its memory is not locked: what it encrypts is sealed already.

mod ffi;

use std::ffi::{CStr, CString, c_int, c_long, c_void};
use std::net::IpAddr;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use self::ffi::{BIO, EVP_PKEY, OSSL_LIB_CTX, SSL, SSL_CTX, X509};
use zeroize::Zeroizing;

use super::call::{check, made};
use crate::error::{Error, Result, Status};
use crate::sys::{fork, heap, random};

/// What the client accepts and shows. Certificates and keys are PEM.
#[derive(Default)]
pub struct TlsSettings<'a> {
    /// The authorities that the server's certificate must come from; none: it is not verified.
    pub authorities: Option<&'a [u8]>,
    /// The name that the certificate must have.
    pub verified_name: Option<&'a str>,
    /// The name that the server is asked for.
    pub asked_name: Option<&'a str>,
    /// The client's certificate, with the chain below it, and its private key.
    pub identity: Option<(&'a [u8], &'a [u8])>,
}

/// One session. It owns both of its buffers of bytes on the way.
pub struct TlsSession {
    ssl: NonNull<SSL>,
    incoming: NonNull<BIO>,
    outgoing: NonNull<BIO>,
}

// SAFETY: the objects belong to the session alone, and libssl lets any thread use them, one at a time.
unsafe impl Send for TlsSession {}

/// What a session has to say about bytes that are wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProgress {
    /// This many bytes of the caller's buffer; 0 at the end of the session.
    Done(usize),
    /// More bytes of the server must be fed first.
    Wants,
}

/// Runs calls of libssl: inside the fork gate, because it may lock, and in memory that isn't locked.
fn calling<R>(body: impl FnOnce() -> R) -> R {
    fork::gate(|| heap::unlocked(body))
}

fn context() -> Result<*mut OSSL_LIB_CTX> {
    struct TlsLibrary(NonNull<OSSL_LIB_CTX>);
    // SAFETY: a library context locks for itself.
    unsafe impl Send for TlsLibrary {}
    // SAFETY: as above.
    unsafe impl Sync for TlsLibrary {}
    static CONTEXT: OnceLock<Result<TlsLibrary>> = OnceLock::new();
    super::library::init()?;
    let made = calling(|| {
        CONTEXT.get_or_init(|| {
            // SAFETY: no settings are passed; the context is never freed, and its provider never unloaded.
            unsafe {
                if ffi::OPENSSL_init_ssl(ffi::INIT_NO_LOAD_CONFIG | ffi::INIT_NO_ATEXIT, ptr::null()) != 1 {
                    return Err(refused("TLS cannot be started"));
                }
                let context = made(ffi::OSSL_LIB_CTX_new(), "OSSL_LIB_CTX_new")?;
                made(ffi::OSSL_PROVIDER_load(context.as_ptr(), c"default".as_ptr()), "OSSL_PROVIDER_load")?;
                Ok(TlsLibrary(context))
            }
        })
    });
    made.as_ref().map(|context| context.0.as_ptr()).map_err(Error::clone)
}

/// The failure, with what OpenSSL says about it and nothing left in its queue.
fn refused(what: &str) -> Error {
    // SAFETY: the thread's own queue; the text is static.
    let reason = unsafe {
        let code = ffi::ERR_peek_last_error();
        ffi::ERR_clear_error();
        match NonNull::new(ffi::ERR_reason_error_string(code).cast_mut()) {
            Some(reason) => CStr::from_ptr(reason.as_ptr()).to_string_lossy().into_owned(),
            None => format!("OpenSSL error {code:x}"),
        }
    };
    Status::KeystoreUnavailable.error(format!("{what} ({reason}); check the TLS settings"))
}

/// As `rsa` does before it draws: the generators notice a fork by the pid alone.
fn reseed(library: *mut OSSL_LIB_CTX) -> Result<()> {
    // SAFETY: a live context; the generators are this thread's own and live as long as it does.
    for generator in unsafe { [ffi::RAND_get0_public(library), ffi::RAND_get0_private(library)] } {
        let generator = made(generator, "RAND_get0_public")?;
        let mut seed = Zeroizing::new([0; 48]);
        random::fill(&mut *seed)?;
        // SAFETY: a live generator, and as many bytes.
        let code = unsafe { ffi::EVP_RAND_reseed(generator.as_ptr(), 0, seed.as_ptr(), seed.len(), ptr::null(), 0) };
        check(code, "EVP_RAND_reseed")?;
    }
    Ok(())
}

fn c_name(name: &str) -> Result<CString> {
    CString::new(name)
        .map_err(|_| Status::InvalidArgument.error("the server's name contains NUL; correct the location"))
}

/// A memory buffer of PEM text, which must outlive it.
struct PemReader(NonNull<BIO>);

impl PemReader {
    fn of(text: &[u8]) -> Result<Self> {
        let len = c_int::try_from(text.len()).map_err(|_| refused("a certificate file is too large"))?;
        // SAFETY: reads the text only, as long as `self` lives, which no caller lets outlive it.
        made(unsafe { ffi::BIO_new_mem_buf(text.as_ptr().cast(), len) }, "BIO_new_mem_buf").map(Self)
    }

    /// The next certificate; none at the end.
    fn certificate(&self, context: *mut OSSL_LIB_CTX) -> Result<Option<Certificate>> {
        // SAFETY: live objects; `found` is either filled or freed and null.
        unsafe {
            let mut found = ffi::X509_new_ex(context, ptr::null());
            let read = ffi::PEM_read_bio_X509(self.0.as_ptr(), &raw mut found, Some(no_passphrase), ptr::null_mut());
            let certificate = NonNull::new(found).map(Certificate);
            if read.is_null() {
                // The end of the text, or what is no certificate.
                ffi::ERR_clear_error();
                return Ok(None);
            }
            Ok(certificate)
        }
    }

    fn key(&self, context: *mut OSSL_LIB_CTX) -> Result<ClientKey> {
        // SAFETY: live objects; no passphrase is ever asked for.
        let key = unsafe {
            ffi::PEM_read_bio_PrivateKey_ex(
                self.0.as_ptr(),
                ptr::null_mut(),
                Some(no_passphrase),
                ptr::null_mut(),
                context,
                ptr::null(),
            )
        };
        NonNull::new(key).map(ClientKey).ok_or_else(|| refused("the client's private key cannot be read"))
    }
}

impl Drop for PemReader {
    fn drop(&mut self) {
        // SAFETY: made by `of`.
        unsafe { ffi::BIO_free_all(self.0.as_ptr()) };
    }
}

/// libcrypto would ask the terminal.
unsafe extern "C" fn no_passphrase(_: *mut std::ffi::c_char, _: c_int, _: c_int, _: *mut c_void) -> c_int {
    -1
}

struct Certificate(NonNull<X509>);

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: one reference is this value's.
        unsafe { ffi::X509_free(self.0.as_ptr()) };
    }
}

struct ClientKey(NonNull<EVP_PKEY>);

impl Drop for ClientKey {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::EVP_PKEY_free(self.0.as_ptr()) };
    }
}

/// The context that sessions are made from.
struct Maker(NonNull<SSL_CTX>);

impl Drop for Maker {
    fn drop(&mut self) {
        // SAFETY: as above; sessions have their own references.
        unsafe { ffi::SSL_CTX_free(self.0.as_ptr()) };
    }
}

impl Maker {
    fn new(settings: &TlsSettings<'_>, library: *mut OSSL_LIB_CTX) -> Result<Self> {
        // SAFETY: a live library context, and a static method.
        let maker = unsafe { ffi::SSL_CTX_new_ex(library, ptr::null(), ffi::TLS_client_method()) };
        let this = Self(made(maker, "SSL_CTX_new_ex")?);
        // SAFETY: a live context; both calls take numbers.
        unsafe {
            let oldest: c_long = ffi::TLS1_2_VERSION.into();
            ffi::SSL_CTX_ctrl(maker, ffi::SSL_CTRL_SET_MIN_PROTO_VERSION, oldest, ptr::null_mut());
            let mode = if settings.authorities.is_some() { ffi::SSL_VERIFY_PEER } else { 0 };
            ffi::SSL_CTX_set_verify(maker, mode, None);
        }
        if let Some(authorities) = settings.authorities {
            this.trust(authorities, library)?;
        }
        if let Some((certificates, key)) = settings.identity {
            this.identify(certificates, key, library)?;
        }
        Ok(this)
    }

    fn trust(&self, authorities: &[u8], library: *mut OSSL_LIB_CTX) -> Result<()> {
        let (text, mut count) = (PemReader::of(authorities)?, 0);
        while let Some(found) = text.certificate(library)? {
            // SAFETY: live objects; the store takes its own reference.
            unsafe { ffi::X509_STORE_add_cert(ffi::SSL_CTX_get_cert_store(self.0.as_ptr()), found.0.as_ptr()) };
            count += 1;
        }
        match count {
            0 => Err(refused("the file of root certificates has none")),
            _ => Ok(()),
        }
    }

    fn identify(&self, certificates: &[u8], key: &[u8], library: *mut OSSL_LIB_CTX) -> Result<()> {
        let text = PemReader::of(certificates)?;
        let own = text.certificate(library)?.ok_or_else(|| refused("the client's certificate cannot be read"))?;
        let key = PemReader::of(key)?.key(library)?;
        let maker = self.0.as_ptr();
        // SAFETY: live objects, to which the context takes its own references.
        unsafe {
            if ffi::SSL_CTX_use_certificate(maker, own.0.as_ptr()) != 1
                || ffi::SSL_CTX_use_PrivateKey(maker, key.0.as_ptr()) != 1
                || ffi::SSL_CTX_check_private_key(maker) != 1
            {
                return Err(refused("the client's certificate and its private key do not fit"));
            }
            while let Some(more) = text.certificate(library)? {
                // With 1, the context takes its own reference.
                ffi::SSL_CTX_ctrl(maker, ffi::SSL_CTRL_CHAIN_CERT, 1, more.0.as_ptr().cast());
            }
        }
        Ok(())
    }
}

impl TlsSession {
    pub fn new(settings: &TlsSettings<'_>) -> Result<Self> {
        let library = context()?;
        calling(|| {
            reseed(library)?;
            let maker = Maker::new(settings, library)?;
            // SAFETY: a live context. What the session takes over is not freed here.
            let (ssl, incoming, outgoing) = unsafe {
                let ssl = made(ffi::SSL_new(maker.0.as_ptr()), "SSL_new")?;
                let (incoming, outgoing) = (ffi::BIO_new(ffi::BIO_s_mem()), ffi::BIO_new(ffi::BIO_s_mem()));
                let (Some(incoming), Some(outgoing)) = (NonNull::new(incoming), NonNull::new(outgoing)) else {
                    ffi::BIO_free_all(incoming);
                    ffi::BIO_free_all(outgoing);
                    ffi::SSL_free(ssl.as_ptr());
                    return Err(refused("TLS has no memory"));
                };
                ffi::SSL_set_bio(ssl.as_ptr(), incoming.as_ptr(), outgoing.as_ptr());
                ffi::SSL_set_connect_state(ssl.as_ptr());
                (ssl, incoming, outgoing)
            };
            let session = Self { ssl, incoming, outgoing };
            session.name(settings)?;
            Ok(session)
        })
    }

    fn name(&self, settings: &TlsSettings<'_>) -> Result<()> {
        let ssl = self.ssl.as_ptr();
        if let Some(name) = settings.asked_name
            && name.parse::<IpAddr>().is_err()
        {
            let name = c_name(name)?;
            // SAFETY: a live session, which copies the name.
            unsafe { ffi::SSL_ctrl(ssl, ffi::SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, name.as_ptr().cast_mut().cast()) };
        }
        let Some(name) = settings.verified_name else { return Ok(()) };
        // SAFETY: a live session, whose parameters copy the name.
        let done = unsafe {
            let rules = ffi::SSL_get0_param(ssl);
            ffi::X509_VERIFY_PARAM_set_hostflags(rules, ffi::X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
            match name.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => ffi::X509_VERIFY_PARAM_set1_ip(rules, ip.octets().as_ptr(), 4),
                Ok(IpAddr::V6(ip)) => ffi::X509_VERIFY_PARAM_set1_ip(rules, ip.octets().as_ptr(), 16),
                Err(_) => ffi::X509_VERIFY_PARAM_set1_host(rules, name.as_ptr().cast(), name.len()),
            }
        };
        if done == 1 { Ok(()) } else { Err(refused("the server's name cannot be verified")) }
    }

    /// Takes bytes of the server.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let len = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        // SAFETY: a live buffer, which grows.
        let taken = calling(|| unsafe { ffi::BIO_write(self.incoming.as_ptr(), bytes.as_ptr().cast(), len) });
        if taken == len { Ok(()) } else { Err(refused("TLS has no memory")) }
    }

    /// Hands out bytes for the server; 0 where there are none.
    pub fn take(&mut self, out: &mut [u8]) -> usize {
        let len = c_int::try_from(out.len()).unwrap_or(c_int::MAX);
        // SAFETY: a live buffer, and room for as much.
        let taken = calling(|| unsafe { ffi::BIO_read(self.outgoing.as_ptr(), out.as_mut_ptr().cast(), len) });
        usize::try_from(taken).unwrap_or(0)
    }

    /// The session may be used after `Done`. A certificate that isn't accepted is named in the error.
    pub fn handshake(&mut self) -> Result<TlsProgress> {
        calling(|| {
            // SAFETY: a live session; the thread's own queue is empty for `SSL_get_error`.
            let code = unsafe {
                ffi::ERR_clear_error();
                ffi::SSL_do_handshake(self.ssl.as_ptr())
            };
            self.progress(code)
        })
    }

    pub fn read(&mut self, out: &mut [u8]) -> Result<TlsProgress> {
        let len = c_int::try_from(out.len()).unwrap_or(c_int::MAX);
        calling(|| {
            // SAFETY: a live session, and room for as much.
            let code = unsafe {
                ffi::ERR_clear_error();
                ffi::SSL_read(self.ssl.as_ptr(), out.as_mut_ptr().cast(), len)
            };
            self.progress(code)
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<TlsProgress> {
        if bytes.is_empty() {
            return Ok(TlsProgress::Done(0));
        }
        let len = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        calling(|| {
            // SAFETY: a live session, and as many bytes.
            let code = unsafe {
                ffi::ERR_clear_error();
                ffi::SSL_write(self.ssl.as_ptr(), bytes.as_ptr().cast(), len)
            };
            self.progress(code)
        })
    }

    fn progress(&self, code: c_int) -> Result<TlsProgress> {
        if let Ok(done @ 1..) = usize::try_from(code) {
            return Ok(TlsProgress::Done(done));
        }
        // SAFETY: a live session, and what its last call returned.
        match unsafe { ffi::SSL_get_error(self.ssl.as_ptr(), code) } {
            ffi::SSL_ERROR_WANT_READ => Ok(TlsProgress::Wants),
            ffi::SSL_ERROR_ZERO_RETURN => Ok(TlsProgress::Done(0)),
            _ => Err(self.failure()),
        }
    }

    fn failure(&self) -> Error {
        // SAFETY: a live session; the text is static.
        let (verdict, text) = unsafe {
            let verdict = ffi::SSL_get_verify_result(self.ssl.as_ptr());
            (verdict, CStr::from_ptr(ffi::X509_verify_cert_error_string(verdict)))
        };
        if verdict == c_long::from(ffi::X509_V_OK) {
            return refused("TLS with the database failed");
        }
        // SAFETY: the thread's own queue.
        unsafe { ffi::ERR_clear_error() };
        Status::KeystoreUnavailable.error(format!(
            "the certificate of the database is not accepted: {}; correct it, or sslrootcert and the host's name",
            text.to_string_lossy()
        ))
    }

    /// The digest of the server's certificate to which a login may be bound (RFC 5929, tls-server-end-point).
    pub fn end_point(&self) -> Option<Vec<u8>> {
        let library = context().ok()?;
        // SAFETY: live objects, each freed once; lengths are the library's own.
        calling(|| unsafe {
            let certificate = Certificate(NonNull::new(ffi::SSL_get1_peer_certificate(self.ssl.as_ptr()))?);
            let mut digest = 0;
            let signature = ffi::X509_get_signature_nid(certificate.0.as_ptr());
            if ffi::OBJ_find_sigid_algs(signature, &raw mut digest, ptr::null_mut()) != 1 {
                return None;
            }
            let name = match digest {
                ffi::NID_md5 | ffi::NID_sha1 => c"SHA256",
                _ => CStr::from_ptr(NonNull::new(ffi::OBJ_nid2sn(digest).cast_mut())?.as_ptr()),
            };
            let len = usize::try_from(ffi::i2d_X509(certificate.0.as_ptr(), ptr::null_mut())).ok()?;
            let mut encoded = vec![0_u8; len];
            let mut place = encoded.as_mut_ptr();
            ffi::i2d_X509(certificate.0.as_ptr(), &raw mut place);
            let method = NonNull::new(ffi::EVP_MD_fetch(library, name.as_ptr(), ptr::null()))?;
            let (mut out, mut written) = (vec![0; 64], 0);
            let done = ffi::EVP_Digest(
                encoded.as_ptr().cast(),
                len,
                out.as_mut_ptr(),
                &raw mut written,
                method.as_ptr(),
                ptr::null_mut(),
            );
            ffi::EVP_MD_free(method.as_ptr());
            out.truncate(usize::try_from(written).ok()?);
            (done == 1).then_some(out)
        })
    }
}

impl Drop for TlsSession {
    /// Sends nothing: the socket is closed next.
    fn drop(&mut self) {
        // SAFETY: made by `new`; frees both buffers, too.
        calling(|| unsafe { ffi::SSL_free(self.ssl.as_ptr()) });
    }
}
