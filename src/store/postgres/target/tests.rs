use super::conninfo::Conninfo;
use super::*;
use crate::error::Status;

fn parsed(location: &str) -> Result<Target> {
    Target::of(&Conninfo::parse(location)?)
}

fn refused(location: &str) -> String {
    let error = parsed(location).map(drop).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    assert!(!error.text().contains("secret"), "a password is in an error text: {error}");
    error.text().to_owned()
}

#[test]
fn a_url_and_keywords_name_the_same_server() {
    let url =
        parsed("postgresql://ann:se%40cret@db.example:6000/keys?connect_timeout=3&sslmode=verify-full#ring").unwrap();
    let keywords = parsed(
        "postgres:host=db.example port = 6000 dbname=keys user='ann' password=se@cret connect_timeout=3 keystore=ring",
    )
    .unwrap();
    assert_eq!(url, keywords);
    assert_eq!(parsed("postgresql:user=u host=db").unwrap(), parsed("postgres:user=u host=db").unwrap());
    assert_eq!(url.password_for(0), Some("se@cret"));
    assert_eq!(url.connect_timeout, Duration::from_secs(3));
    assert_eq!(url.encryption, Encryption::Full, "TLS is not verified by default");
    assert_eq!(url.to_string(), "postgres://db.example:6000/keys#ring");
    assert!(!format!("{url:?}").contains("cret"), "a password is printed");
    let quoted = parsed(r"postgres:host=a user=u password='it\'s secret' dbname=d").unwrap();
    assert_eq!(quoted.password_for(0), Some("it's secret"));
}

#[test]
fn who_listens_does_so_at_a_server_that_takes_writes() {
    let of = |location| parsed(location).unwrap().notify;
    assert_eq!(of("postgres://u@pooler/d"), None);
    assert_eq!(of("postgres://u@pooler/d?notify=off"), None);
    let same = of("postgres://u:p@pooler:6/d?notify=on#ring").unwrap();
    assert_eq!((same.to_string().as_str(), same.must_write), ("postgres://pooler:6/d#ring", true));
    let other = of("postgres://u:p@localhost:6432/d?notify=a,b:6,%5B::1%5D:7#ring").unwrap();
    assert_eq!(other.to_string(), "postgres://a:5432,b:6,::1:7/d#ring");
    assert_eq!(other.password_for(1), Some("p"));
    assert_eq!(other.encryption, Encryption::Full, "the way to the other server is not encrypted");
    assert_eq!(parsed("postgres:user=u host=/tmp notify=/run").unwrap().notify.unwrap().encryption, Encryption::None);
    refused("postgres://u@db/d?notify=");
    refused("postgres://u@db/d?prepare=yes");
    assert!(parsed("postgres://u@db/d?prepare=on").unwrap().prepare && !parsed("postgres://u@db/d").unwrap().prepare);
    refused("postgres://u@db/d?notify=a:secret");
}

#[test]
fn a_handle_has_up_to_three_connections_or_fewer_where_the_location_says_so() {
    let of = |settings: &str| parsed(&format!("postgres://u@db/d{settings}")).unwrap().connections;
    assert_eq!([of(""), of("?connections=1"), of("?connections=2"), of("?connections=3")], [3, 1, 2, 3]);
    for wrong in ["", "0", "4", "-1", "many"] {
        refused(&format!("postgres://u@db/d?connections={wrong}"));
    }
}

#[test]
fn several_servers_have_their_ports_and_addresses() {
    let of = |location| parsed(location).unwrap().servers;
    let both = of("postgres://u@a:1,[::1]:2/d");
    assert_eq!((both[0].host.as_str(), both[0].port), ("a", 1));
    assert_eq!((both[1].host.as_str(), both[1].port), ("::1", 2));
    let addressed = of("postgres:user=u host=db hostaddr=10.0.0.1 port=7");
    assert_eq!(addressed[0].address, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(
        of("postgres:user=u host=/run/postgresql")[0].socket().unwrap(),
        PathBuf::from("/run/postgresql/.s.PGSQL.5432")
    );
    refused("postgres:user=u host=a,b port=1,2,3");
    refused("postgres:user=u host=a hostaddr=secret");
    refused("postgres:user=u");
}

#[test]
fn nothing_leaves_the_host_unencrypted_unless_it_is_written() {
    let of = |location| parsed(location).unwrap().encryption;
    assert_eq!(of("postgres://u@127.0.0.1/d"), Encryption::None);
    assert_eq!(of("postgres://u@localhost/d"), Encryption::None);
    assert_eq!(of("postgres:user=u host=/tmp"), Encryption::None);
    assert_eq!(of("postgres://u@localhost,db/d"), Encryption::Full);
    assert_eq!(of("postgres://u@db/d"), Encryption::Full);
    assert_eq!(of("postgres://u@db/d?sslmode=disable"), Encryption::None);
    assert_eq!(of("postgres://u@db/d?sslmode=require"), Encryption::Unverified);
    assert_eq!(of("postgres://u@db/d?sslmode=require&sslrootcert=/ca"), Encryption::Authority);
    assert_eq!(of("postgres://u@db/d?sslmode=verify-ca&sslrootcert=/ca"), Encryption::Authority);
    for weak in ["allow", "prefer", "verify-ca&sslrootcert=system", "on"] {
        refused(&format!("postgres://u:secret@db/d?sslmode={weak}"));
    }
}

#[test]
fn a_malformed_location_is_refused_without_its_password() {
    for location in [
        "postgres://u:secret@db/d?x",
        "postgres://u:secret%zz@db/d",
        "postgres://u:secret%00@db/d",
        "postgres://u:secret@db:99999/d",
        "postgres://u:secret@[::1/d",
        "postgres:host=db password='secret",
        "postgres:host=db secret",
        "postgres://u:secret@db/d?schema=Up%22",
        "postgres://u:secret@db/d?channel_binding=perhaps",
        "postgres://u:secret@db/d?connect_timeout=soon",
        "postgres://u:secret@db/d#",
        "postgres://u:1/secret@db/d",
        "postgres://u:1?secret=x@db/d",
        "postgres://u:1#secret@db/d",
    ] {
        refused(location);
    }
}

#[test]
fn the_first_line_of_the_password_file_that_fits_counts() {
    let text = "# db:5432:keys:ann:no\nother:*:*:*:no\ndb:5432:keys:ann:a\\:b\\\\c\n*:*:*:*:last";
    let server = |host: &str, port| ServerAddress { host: host.to_owned(), address: None, port };
    let found =
        |server: &ServerAddress, user| files::password(text, server, "keys", user).map(|found| found.to_string());
    assert_eq!(found(&server("db", 5432), "ann").as_deref(), Some("a:b\\c"));
    assert_eq!(found(&server("db", 5433), "ann").as_deref(), Some("last"));
    assert_eq!(files::password("db:1:*", &server("db", 1), "keys", "ann"), None);
    assert_eq!(files::password("localhost:*:*:*:local", &server("/tmp", 1), "d", "u").unwrap().as_str(), "local");
}

#[test]
fn a_password_file_or_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    std::fs::write(&path, "*:*:*:*:secret").unwrap();
    let name = path.to_str().unwrap();
    let servers = parsed("postgres://u@db/d").unwrap().servers;
    for (mode, is_read) in [(0o600, true), (0o640, false), (0o604, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = files::passwords(Some(name), &servers, "d", "u");
        assert_eq!(found.is_ok(), is_read, "mode {mode:o}");
        if let Err(error) = found {
            assert!(error.text().contains("chmod 600"), "{error}");
        }
        let identity = files::identity(Some("/cert"), Some(name));
        let root_may = std::fs::metadata(&path).is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0);
        assert_eq!(identity.is_ok(), is_read || (root_may && mode == 0o640), "mode {mode:o}");
    }
    assert!(files::passwords(Some("/does/not/exist"), &servers, "d", "u").unwrap().is_empty());
}

#[test]
fn a_service_adds_what_the_location_leaves_open() {
    let text = "[other]\nhost=no\n[keys]\n# comment\nhost = db.example\nport=7\n\n[last]\nhost=no\n";
    let found = files::section(text, "keys").unwrap();
    let mut settings = Conninfo::parse("postgres:user=u port=8").unwrap();
    for (name, value) in found {
        settings.add(&name, value);
    }
    let target = Target::of(&settings).unwrap();
    assert_eq!((target.servers[0].host.as_str(), target.servers[0].port), ("db.example", 8));
    assert!(files::section(text, "none").is_none());
}
