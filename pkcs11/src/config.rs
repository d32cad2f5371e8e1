//! The configuration file: which keystores are slots, and how each is opened.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Where the configuration is, unless KMS_PKCS11_CONF names another place.
pub const DEFAULT_PATH: &str = "/etc/libkms/pkcs11.toml";
/// A configuration above this is none.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default, rename = "slot")]
    pub slots: Vec<SlotConfig>,
}

/// One slot: a keystore and how it is opened.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotConfig {
    /// The label of the token, at most 32 bytes.
    pub label: String,
    /// The path of the keystore.
    pub keystore: PathBuf,
    /// The root key file; without one, the PIN is the passphrase of a root slot.
    pub root_key_file: Option<PathBuf>,
    /// The anchor of the keystore, which shows that it is no older copy.
    pub anchor_file: Option<PathBuf>,
    /// How long a due rotation waits for a backup, such as "7d".
    pub require_backup: Option<String>,
    #[serde(default)]
    pub read_only: bool,
    /// How often a key that C_GenerateKey makes rotates, such as "90d".
    pub rotate_every: Option<String>,
    /// The waiting period after C_DestroyObject, in days.
    #[serde(default = "deletion_days")]
    pub deletion_days: i32,
    /// How many versions a decryption tries where the ciphertext names none.
    #[serde(default = "trial_versions")]
    pub trial_versions: usize,
    /// Whether each version of a key is a separate object, in addition to the key.
    #[serde(default)]
    pub versions: bool,
}

const fn deletion_days() -> i32 {
    30
}

const fn trial_versions() -> usize {
    256
}

impl Config {
    /// Reads the file. The text of a failure is for the log.
    pub fn read(path: &Path, user: u32) -> Result<Self, String> {
        let shown = path.display();
        // Without waiting: a named pipe has no writer, and is refused below.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let mut file = opened.map_err(|error| {
            format!("cannot open {shown}: {error}; create it, or set KMS_PKCS11_CONF to the path of the configuration")
        })?;
        // Of the opened file, so that another cannot be put in its place meanwhile.
        let found = file.metadata().map_err(|error| format!("cannot read {shown}: {error}"))?;
        if !found.is_file() {
            return Err(format!("{shown} is not a regular file"));
        }
        if found.mode() & 0o022 != 0 {
            return Err(format!("{shown} may be written by others; run: chmod go-w {shown}"));
        }
        if found.uid() != 0 && found.uid() != user {
            return Err(format!("{shown} belongs to user {}, not to root or to user {user}", found.uid()));
        }
        let mut text = String::new();
        let mut bounded = file.by_ref().take(MOST_BYTES + 1);
        bounded.read_to_string(&mut text).map_err(|error| format!("cannot read {shown}: {error}"))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(format!("{shown} is above 1 MiB"));
        }
        Self::parse(&text).map_err(|error| format!("{shown}: {error}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if config.slots.is_empty() {
            return Err("there is no [[slot]]; add one with a label and a keystore".into());
        }
        for (at, slot) in config.slots.iter().enumerate() {
            slot.check().map_err(|error| format!("slot {at}: {error}"))?;
            if config.slots.iter().take(at).any(|other| other.label == slot.label) {
                return Err(format!("two slots are labelled {}; rename one", slot.label));
            }
        }
        Ok(config)
    }
}

impl SlotConfig {
    fn check(&self) -> Result<(), String> {
        if self.label.is_empty() || self.label.len() > 32 || self.label.contains('\0') {
            return Err("label must have 1 to 32 bytes".into());
        }
        let paths = [Some(&self.keystore), self.root_key_file.as_ref(), self.anchor_file.as_ref()];
        if paths.into_iter().flatten().any(|path| !path.is_absolute()) {
            return Err("keystore, root_key_file and anchor_file must be absolute paths".into());
        }
        self.backup_wait()?;
        if let Some(interval) = &self.rotate_every {
            kms::Interval::parse(interval).map_err(|error| format!("rotate_every: {error}"))?;
        }
        if !(7..=366).contains(&self.deletion_days) {
            return Err("deletion_days must be 7 to 366".into());
        }
        if !(1..=65_536).contains(&self.trial_versions) {
            return Err("trial_versions must be 1 to 65536".into());
        }
        Ok(())
    }

    fn backup_wait(&self) -> Result<Duration, String> {
        let Some(text) = &self.require_backup else { return Ok(Duration::ZERO) };
        let wait = kms::Interval::parse(text).map(|wait| Duration::from_secs(wait.seconds().unsigned_abs()));
        let wait = wait.ok().filter(|wait| *wait <= kms::backup::BACKUP_WAIT_MAX);
        wait.ok_or_else(|| "require_backup must be 1s to 30d, such as \"7d\"".into())
    }

    /// Whether the PIN opens the keystore.
    pub fn needs_pin(&self) -> bool {
        self.root_key_file.is_none()
    }

    /// How the keystore is opened; `pin` where it needs one.
    pub fn options(&self, pin: Option<&[u8]>, may_start_threads: bool) -> kms::Options {
        let wait = self.backup_wait().unwrap_or_default();
        let options = kms::Options::new().read_only(self.read_only).actor("PKCS#11").require_backup(wait);
        let options = match &self.anchor_file {
            Some(path) => options.anchor_file(path),
            None => options,
        };
        let options = if may_start_threads { options } else { options.rotation_thread(false) };
        match (&self.root_key_file, pin) {
            (Some(path), _) => options.root_key_file(path),
            (None, Some(pin)) => options.root_passphrase(pin),
            (None, None) => options,
        }
    }
}
