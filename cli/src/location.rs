//! Where the keystore is and what opens it: options, then the environment, then kms.toml, then systemd's credentials.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms::{Interval, Options, backup::BACKUP_WAIT_MAX};
use serde::Deserialize;

use crate::args::{Global, NewRoot};
use crate::exit::{Exit, Failure, Result};
use crate::keystore_location::KeystoreLocation;
use crate::secret;

/// What kms.toml may hold. Relative paths are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    keystore: Option<KeystoreLocation>,
    root_key_file: Option<PathBuf>,
    root_passphrase_file: Option<PathBuf>,
    anchor_file: Option<PathBuf>,
    #[serde(default)]
    anchor_strict: bool,
    key: Option<String>,
    #[serde(default, deserialize_with = "wait")]
    require_backup: Option<Duration>,
}

/// The root key of a keystore, before it is read.
#[derive(Debug, Clone)]
pub enum Root {
    KeyFile(PathBuf),
    PassphraseFile(PathBuf),
    Ask,
}

/// Where everything is.
#[derive(Debug)]
pub struct Location {
    pub keystore: Option<KeystoreLocation>,
    pub root: Root,
    /// Whether a root was named; otherwise the terminal is asked.
    pub root_is_named: bool,
    pub anchor: Option<PathBuf>,
    /// Whether an option or the environment names the anchor, not kms.toml.
    pub anchor_is_named: bool,
    /// Whether the anchor of a database holds each change; that of a file always does.
    pub anchor_strict: bool,
    /// The key that encrypts where none is named.
    pub key: Option<String>,
    /// How long a due rotation waits for a backup.
    pub require_backup: Option<Duration>,
}

impl Location {
    pub fn find(global: &Global) -> Result<Self> {
        let settings = settings(global)?;
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = from_options(global)
            .or_else(|| variable("KMS_ROOT_KEY_FILE").map(Root::KeyFile))
            .or_else(|| variable("KMS_ROOT_PASSPHRASE_FILE").map(Root::PassphraseFile))
            .or_else(|| settings.root_key_file.map(Root::KeyFile))
            .or_else(|| settings.root_passphrase_file.map(Root::PassphraseFile))
            .or_else(from_credentials);
        let anchor = global.anchor_file.clone().or_else(|| variable("KMS_ANCHOR_FILE"));
        let anchor_strict = global.anchor_strict || strict_by_environment()?.unwrap_or(settings.anchor_strict);
        if anchor_strict && anchor.is_none() && settings.anchor_file.is_none() {
            return Err(Failure::usage("a strict anchor needs an anchor file, and none is set")
                .next("--anchor-file FILE; or anchor_file in kms.toml"));
        }
        Ok(Self {
            keystore: global
                .keystore
                .clone()
                .or_else(|| variable("KMS_KEYSTORE").map(KeystoreLocation::from))
                .or(settings.keystore),
            root_is_named: root.is_some(),
            root: root.unwrap_or(Root::Ask),
            anchor_is_named: anchor.is_some(),
            anchor: anchor.or(settings.anchor_file),
            anchor_strict,
            require_backup: settings.require_backup,
            key: env::var("KMS_KEY").ok().filter(|key| !key.is_empty()).or(settings.key),
        })
    }

    /// Where the keystore is.
    pub fn keystore(&self) -> Result<&KeystoreLocation> {
        self.keystore.as_ref().ok_or_else(|| {
            Failure::usage("no keystore is named, and there is no kms.toml")
                .next("kms init, to make one; or --keystore PATH; or KMS_KEYSTORE=PATH")
        })
    }

    pub fn is_database(&self) -> bool {
        self.keystore.as_ref().is_some_and(KeystoreLocation::is_database)
    }

    /// The options of the keystore itself, which its backups do not share.
    pub fn anchored(&self, options: Options) -> Options {
        let options = options.require_backup(self.require_backup.unwrap_or_default());
        match &self.anchor {
            Some(anchor) => options.anchor_file(anchor).anchor_strict(self.anchor_strict),
            None => options,
        }
    }
}

impl Root {
    pub fn set(&self, options: Options) -> Result<Options> {
        Ok(match self {
            Self::KeyFile(path) => options.root_key_file(path),
            Self::PassphraseFile(path) => options.root_passphrase(&secret::passphrase_file(path)?),
            Self::Ask => options.root_passphrase(&secret::ask("Passphrase of the keystore: ")?),
        })
    }

    /// The same for a keystore that does not exist yet.
    pub fn set_new(&self, options: Options) -> Result<Options> {
        match self {
            Self::Ask => Ok(options.root_passphrase(&secret::ask_new("passphrase of the keystore")?)),
            _ => self.set(options),
        }
    }
}

/// The options of a root key that is to open the keystore from now on.
pub fn new_root(new: &NewRoot) -> Result<Options> {
    let root = match (&new.new_root_key_file, &new.new_root_passphrase_file, new.new_root_passphrase_fd) {
        (Some(path), _, _) => Root::KeyFile(path.clone()),
        (_, Some(path), _) => Root::PassphraseFile(path.clone()),
        (_, _, Some(number)) => Root::PassphraseFile(secret::descriptor(number)),
        _ => Root::Ask,
    };
    root.set_new(Options::new().create(true))
}

fn from_options(global: &Global) -> Option<Root> {
    if global.ask_passphrase {
        return Some(Root::Ask);
    }
    let key = global.root_key_file.clone().map(Root::KeyFile);
    let passphrase = global.root_passphrase_file.clone();
    key.or_else(|| passphrase.or_else(|| global.root_passphrase_fd.map(secret::descriptor)).map(Root::PassphraseFile))
}

/// The credentials of a systemd unit: `LoadCredential=root.key:...` or `LoadCredential=root.passphrase:...`.
fn from_credentials() -> Option<Root> {
    let folder = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?);
    let existing = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    existing("root.key").map(Root::KeyFile).or_else(|| existing("root.passphrase").map(Root::PassphraseFile))
}

fn strict_by_environment() -> Result<Option<bool>> {
    match env::var("KMS_ANCHOR_STRICT").as_deref() {
        Err(_) | Ok("") => Ok(None),
        Ok("1") => Ok(Some(true)),
        Ok("0") => Ok(Some(false)),
        Ok(_) => Err(Failure::usage("KMS_ANCHOR_STRICT is neither 1 nor 0").next("KMS_ANCHOR_STRICT=1")),
    }
}

/// A wait as kms.toml has it: `7d`.
fn wait<'de, D: serde::Deserializer<'de>>(text: D) -> std::result::Result<Option<Duration>, D::Error> {
    let text = String::deserialize(text)?;
    let wait = Interval::parse(&text).ok().map(|wait| Duration::from_secs(wait.seconds().unsigned_abs()));
    let wait = wait.filter(|wait| *wait <= BACKUP_WAIT_MAX);
    wait.map(Some).ok_or_else(|| serde::de::Error::custom("require_backup must be 1s to 30d, such as \"7d\""))
}

fn settings(global: &Global) -> Result<Settings> {
    if let Some(path) = global.config.clone().or_else(|| env::var_os("KMS_CONFIG").map(PathBuf::from)) {
        return read(&path);
    }
    let home = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let places =
        [Some(PathBuf::from("kms.toml")), home.map(|home| home.join("kms/kms.toml")), Some("/etc/kms/kms.toml".into())];
    match places.into_iter().flatten().find(|path| path.exists()) {
        Some(path) => read(&path),
        None => Ok(Settings::default()),
    }
}

fn read(path: &Path) -> Result<Settings> {
    // Writable for all users, but nothing can be stored there: no settings.
    if path == Path::new("/dev/null") {
        return Ok(Settings::default());
    }
    let failed = |error: &std::io::Error| Failure::file("reading the settings", path, error);
    let found = std::fs::metadata(path).map_err(|error| failed(&error))?;
    // Settings of another user would make this user encrypt under that user's keys.
    let me = std::fs::metadata("/proc/self").map(|found| found.uid()).unwrap_or(u32::MAX);
    if (found.uid() != me && found.uid() != 0) || found.mode() & 0o002 != 0 {
        return Err(Failure::new(
            Exit::Keystore,
            "Cli.Settings",
            format!("{} belongs to another user, or everybody may write it", path.display()),
        )
        .next(format!("--config {}, if you trust it after chmod o-w; or chown", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let settings: Settings = toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("{}: {}", path.display(), error.message())).next("kms help config"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let placed = |path: Option<PathBuf>| path.map(|path| folder.join(path));
    if settings.keystore.as_ref().is_some_and(KeystoreLocation::has_password) && found.mode() & 0o077 != 0 {
        let path = path.display();
        return Err(Failure::new(
            Exit::Keystore,
            "Cli.Settings",
            format!("{path} has a password that others may read"),
        )
        .next(format!("move the password to ~/.pgpass; or chmod 600 {path}")));
    }
    Ok(Settings {
        keystore: settings.keystore.map(|keystore| keystore.below(folder)),
        root_key_file: placed(settings.root_key_file),
        root_passphrase_file: placed(settings.root_passphrase_file),
        anchor_file: placed(settings.anchor_file),
        anchor_strict: settings.anchor_strict,
        key: settings.key,
        require_backup: settings.require_backup,
    })
}
