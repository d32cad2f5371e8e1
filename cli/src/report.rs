//! The condition of a keystore, as `kms status` shows it.

use std::collections::BTreeMap;

use kms::{Key, KeyState, Status, Time, VersionState, backup::Backup, database::DatabaseInfo};
use serde_json::{Value, json};

use crate::exit::Result;
use crate::output;
use crate::pkcs11::{self, LastChange};
use crate::session::Session;
use crate::times::{now, shown};

/// How many coming rotations are shown.
const NEXT: usize = 5;

/// What `status` found.
pub struct Report {
    pub keystore: String,
    pub states: BTreeMap<&'static str, u64>,
    pub keys: u64,
    pub versions: u64,
    pub disabled_versions: u64,
    /// Versions that wait for their deletion: the date, the key, the number.
    pub version_deletions: Vec<(Time, String, u64)>,
    pub log_entries: u64,
    /// Keys with a policy, and the soonest of their rotations.
    pub rotating: u64,
    pub next: Vec<(Time, String)>,
    pub overdue: u64,
    /// The overdue keys that wait for a backup.
    pub waiting: u64,
    pub suspended: u64,
    pub deletions: Vec<(Time, String)>,
    pub damaged: u64,
    pub health: Value,
    pub slots: Vec<Value>,
    pub generation: u64,
    /// The recorded backups, and how many keys have versions that none of them has.
    pub backups: Vec<Backup>,
    pub uncovered: u64,
    /// Programs that changed the keystore through the PKCS#11 module, with their users.
    pub module_users: BTreeMap<(String, u32), LastChange>,
    /// The database, if the keystore is in one.
    pub database: Option<DatabaseInfo>,
    pub warnings: Vec<String>,
}

const STATES: [(KeyState, &str); 4] = [
    (KeyState::Enabled, "Enabled"),
    (KeyState::Disabled, "Disabled"),
    (KeyState::PendingDeletion, "PendingDeletion"),
    (KeyState::PendingImport, "PendingImport"),
];

pub fn gather(session: &Session) -> Result<Report> {
    let health = session.call("Health", &json!({}))?;
    let slots = session.call("ListRootSlots", &json!({}))?;
    let generation = health["Generation"].as_u64().unwrap_or_default();
    let location = session.location.keystore()?;
    let database = match location.is_database() {
        true => Some(kms::database::describe(&location.unredacted())?),
        false => None,
    };
    let mut report = Report {
        keystore: location.to_string(),
        states: STATES.iter().map(|(_, name)| (*name, 0)).collect(),
        keys: 0,
        versions: 0,
        disabled_versions: 0,
        version_deletions: Vec::new(),
        log_entries: session.keystore.count_changes()?,
        rotating: 0,
        next: Vec::new(),
        overdue: 0,
        waiting: 0,
        suspended: 0,
        deletions: Vec::new(),
        damaged: 0,
        generation,
        slots: slots["RootSlots"]["RootSlot"].as_array().cloned().unwrap_or_default(),
        health: relevant(&health, database.is_some()),
        backups: session.keystore.backups()?,
        uncovered: 0,
        // The module opens files.
        module_users: if database.is_some() { BTreeMap::new() } else { pkcs11::users(session, generation)? },
        database,
        warnings: Vec::new(),
    };
    let waits = session.location.require_backup.is_some();
    let now = now();
    for key in session.keystore.keys() {
        match key {
            Ok(key) => {
                count(&mut report, &key, now, waits);
                match count_versions(&mut report, session, &key) {
                    Err(error) if error.status() == Status::KeystoreCorrupt => report.damaged += 1,
                    counted => counted?,
                }
            }
            Err(error) if error.status() == Status::KeystoreCorrupt => report.damaged += 1,
            Err(error) => return Err(error.into()),
        }
    }
    report.next.sort();
    report.next.truncate(NEXT);
    report.deletions.sort();
    report.version_deletions.sort();
    warn(&mut report, now);
    Ok(report)
}

fn count(report: &mut Report, key: &Key, now: Time, waits: bool) {
    let covered = report.backups.iter().any(|backup| backup.has_newest_version_of(key)) || key.primary.is_none();
    report.uncovered += u64::from(!covered);
    report.keys += 1;
    report.versions += key.version_count();
    if let Some((_, name)) = STATES.iter().find(|(state, _)| *state == key.state) {
        *report.states.entry(name).or_default() += 1;
    }
    if let Some(next) = key.next_rotation() {
        report.rotating += 1;
        match key.state {
            KeyState::Enabled if next <= now => {
                report.overdue += 1;
                report.waiting += u64::from(waits && !covered);
            }
            KeyState::Enabled => report.next.push((next, key.id.to_string())),
            _ => report.suspended += 1,
        }
        if report.next.len() > 4096 {
            report.next.sort();
            report.next.truncate(NEXT);
        }
    }
    if let Some(due) = key.delete_date() {
        report.deletions.push((due, key.id.to_string()));
    }
}

/// The primary is always Enabled, so a key of one version has nothing to count.
fn count_versions(report: &mut Report, session: &Session, key: &Key) -> kms::Result<()> {
    if key.version_count() < 2 {
        return Ok(());
    }
    for version in session.keystore.key_versions(key.id) {
        let version = version?;
        report.disabled_versions += u64::from(version.state == VersionState::Disabled);
        if let Some(due) = version.delete_date {
            report.version_deletions.push((due, key.id.to_string(), version.number));
        }
    }
    Ok(())
}

/// The health flags about the keystore and the machine: this command has no rotation thread.
fn relevant(health: &Value, is_database: bool) -> Value {
    const FLAGS: [&str; 6] =
        ["MemoryNotLocked", "CipherMemoryUnprotected", "SlowCpu", "KeystoreReplaced", "PathUnverified", "Polling"];
    const OF_DATABASES: [&str; 3] = ["KeystoreUnavailable", "HostClockWrong", "RolledBack"];
    let more = if is_database { OF_DATABASES.as_slice() } else { &[] };
    let flags = FLAGS.iter().chain(more).map(|name| ((*name).to_owned(), health[*name].clone()));
    flags.collect::<serde_json::Map<_, _>>().into()
}

fn warn(report: &mut Report, now: Time) {
    let mut warnings = Vec::new();
    let is_set = |name: &str| report.health[name] == true;
    if report.damaged > 0 {
        warnings.push(format!("damaged: {}; next: kms verify", output::count(report.damaged, "key")));
    }
    if report.waiting > 0 {
        warnings.push(format!(
            "waiting for a backup to rotate: {}; next: kms backup FILE",
            output::count(report.waiting, "key")
        ));
    }
    if report.overdue > report.waiting {
        let keys = output::count(report.overdue - report.waiting, "key");
        warnings.push(format!("overdue for rotation: {keys}; next: kms tick"));
    }
    if is_set("KeystoreReplaced") {
        warnings.push("another file stands at the path of the keystore".to_owned());
    }
    if is_set("PathUnverified") {
        warnings.push("the keystore may have a second path; mount its folder, not the file".to_owned());
    }
    if is_set("RolledBack") {
        warnings.push("the database lost changes, and no change is made until somebody accepts that; next: restore it, or kms accept-rollback".to_owned());
    }
    if is_set("HostClockWrong") {
        warnings.push("the clocks of this machine and of the database differ by more than 2 s".to_owned());
    }
    if report.database.as_ref().is_some_and(|database| !database.is_durable) {
        warnings.push("a crash of the database loses changes: its fsync or synchronous_commit is off".to_owned());
    }
    if let Some((due, key)) = report.deletions.first()
        && due.millis_since(now) < 3 * 86_400_000
    {
        warnings.push(format!("key {key} is destroyed on {}; to keep it: kms key undelete {key}", shown(*due)));
    }
    if let Some((due, key, number)) = report.version_deletions.first()
        && due.millis_since(now) < 3 * 86_400_000
    {
        let due = shown(*due);
        warnings.push(format!(
            "version {number} of key {key} is destroyed on {due}; to keep it: kms version undelete {key} {number}"
        ));
    }
    if report.slots.len() == 1 {
        warnings.push("one root slot: if it is lost, so is everything; next: kms root add --label recovery".to_owned());
    }
    if report.uncovered > 0 {
        let keys = output::count(report.uncovered, "key");
        warnings.push(format!("no recorded backup has the newest version of {keys}; next: kms backup FILE"));
    }
    if chrono::Utc::now() < chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(54 * 365) {
        warnings.push("the clock of this machine is before 2024; rotations and dates are wrong".to_owned());
    }
    report.warnings = warnings;
}
