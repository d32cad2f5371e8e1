//! TLS with the server: who is accepted, and by which certificate.

use std::sync::{Mutex, PoisonError};

use kms::{CreateKey, Keystore, ManualClock, Status};

use crate::{T0, name, options, server, sql, status};

/// Held by a test that needs the server's certificate unchanged, or changes it.
static CERTIFICATE: Mutex<()> = Mutex::new(());

fn folder() -> String {
    std::env::var("KMS_TEST_TLS").expect("KMS_TEST_TLS names no folder of certificates; run: ci/stage postgres")
}

/// A location of the test's server by another name, with further settings.
fn location(host: &str, settings: &str, name: &str) -> String {
    format!("{}?{settings}#{name}", server().replace("@127.0.0.1:", &format!("@{host}:")))
}

fn open(location: &str) -> kms::Result<Keystore> {
    Keystore::open(location, &options().clock(ManualClock::at(T0)))
}

fn refusal(location: &str) -> String {
    let error = open(location).map(drop).unwrap_err();
    assert_eq!(error.status(), Status::KeystoreUnavailable, "{error}");
    error.text().to_owned()
}

#[test]
fn the_servers_certificate_must_be_known_current_and_of_its_name() {
    let _unchanged = CERTIFICATE.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, folder) = (name("tls"), folder());
    let trusting = |mode: &str, authority: &str| format!("sslmode={mode}&sslrootcert={folder}/{authority}.crt");
    let full = trusting("verify-full", "authority");
    let kms = open(&location("localhost", &full, &name)).unwrap();
    let key = kms.create_key(&CreateKey::default()).unwrap();
    kms.rotate(key).unwrap();
    let used = "SELECT string_agg(DISTINCT version, ',') FROM pg_stat_ssl JOIN pg_stat_activity USING(pid) \
                WHERE ssl AND application_name = 'libkms'";
    assert_eq!(sql(&name, used), "TLSv1.3");

    // The login is bound to the certificate: SCRAM-SHA-256-PLUS.
    open(&location("localhost", &format!("{full}&channel_binding=require"), &name)).unwrap();
    let unbound = open(&location("127.0.0.1", "sslmode=disable&channel_binding=require", &name));
    assert_eq!(status(unbound.map(drop)), Some(Status::KeystoreUnavailable), "a login without binding passes");

    let wrong_name = refusal(&location("127.0.0.1", &full, &name));
    assert!(wrong_name.contains("mismatch"), "{wrong_name}");
    open(&location("127.0.0.1", &trusting("verify-ca", "authority"), &name)).unwrap();
    for mode in ["verify-full", "verify-ca"] {
        let stranger = refusal(&location("localhost", &trusting(mode, "stranger"), &name));
        assert!(stranger.contains("certificate"), "{stranger}");
    }
    let public = refusal(&location("localhost", "sslmode=verify-full&sslrootcert=system", &name));
    assert!(public.contains("certificate"), "{public}");
    open(&location("localhost", "sslmode=require", &name)).unwrap();
    let absent = refusal(&location("localhost", &trusting("verify-full", "absent"), &name));
    assert!(absent.contains("absent.crt"), "{absent}");

    let serve = |certificate: &str| {
        for setting in ["cert_file", "key_file"] {
            let kind = if setting == "cert_file" { "crt" } else { "key" };
            sql(&name, &format!("ALTER SYSTEM SET ssl_{setting} = '{folder}/{certificate}.{kind}'"));
        }
        sql(&name, "SELECT pg_reload_conf()");
        std::thread::sleep(std::time::Duration::from_millis(500));
    };
    serve("over");
    let expired = refusal(&location("localhost", &full, &name));
    serve("server");
    assert!(expired.contains("expired"), "{expired}");
    open(&location("localhost", &full, &name)).unwrap();
}

#[test]
fn a_client_may_log_in_by_its_certificate() {
    let _unchanged = CERTIFICATE.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, folder) = (name("identity"), folder());
    sql(&name, "DO $$ BEGIN CREATE ROLE certified LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    let server = server();
    let (_, address) = server.rsplit_once('@').unwrap();
    let location = |more: &str| {
        let address = address.replace("127.0.0.1", "localhost");
        format!(
            "postgres://certified@{address}?sslmode=verify-full&sslrootcert={folder}/authority.crt&hostaddr=127.0.0.1{more}#{name}"
        )
    };
    let identity = format!("&sslcert={folder}/client.crt&sslkey={folder}/client.key");
    open(&location(&identity)).unwrap().create_key(&CreateKey::default()).unwrap();
    refusal(&location(""));
    refusal(&location(&format!("&sslcert={folder}/client.crt&sslkey={folder}/server.key")));
}

/// The host's configuration of OpenSSL would forbid the connection.
#[test]
fn the_hosts_openssl_configuration_has_no_part() {
    let _unchanged = CERTIFICATE.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, folder) = (name("configuration"), folder());
    if std::env::var_os("KMS_TEST_CHILD").is_some() {
        let full = format!("sslmode=verify-full&sslrootcert={folder}/authority.crt");
        open(&location("localhost", &full, &name)).unwrap();
        return;
    }
    let written = tempfile::NamedTempFile::new().unwrap();
    let text =
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = none\n[none]\nMaxProtocol = TLSv1.1\n";
    std::fs::write(written.path(), text).unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::the_hosts_openssl_configuration_has_no_part"])
        .env("KMS_TEST_CHILD", "1")
        .env("OPENSSL_CONF", written.path())
        .env("SSL_CERT_FILE", "/dev/null")
        .status()
        .unwrap();
    assert!(child.success());
}
