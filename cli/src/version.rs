//! `kms version`: the states of single key versions, and the list of a key's versions.

use kms::{Key, KeyId, KeyVersion, Keystore, Origin, Status, VersionState};
use serde_json::{Value, json};

use crate::args::{Reviewed, VersionCommand, VersionDelete, VersionNames, VersionsReviewed};
use crate::confirm::confirm;
use crate::exit::{Exit, Failure, Result};
use crate::output::{date, table};
use crate::session::Session;
use crate::times::iso;

/// What is done to versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Disable,
    Enable,
    Delete,
    Undelete,
}

impl Change {
    fn done(self) -> &'static str {
        match self {
            Self::Disable => "disabled",
            Self::Enable => "enabled",
            Self::Delete => "scheduled for deletion",
            Self::Undelete => "kept",
        }
    }
}

pub fn run(session: &Session, command: &VersionCommand) -> Result<()> {
    match command {
        VersionCommand::Disable(args) => disable(session, args),
        VersionCommand::Enable(names) => {
            let chosen = Chosen::find(session, names, Change::Enable)?;
            chosen.carry_out(Keystore::enable_key_version)?;
            chosen.show(None)
        }
        VersionCommand::Delete(args) => delete(session, args),
        VersionCommand::Undelete(names) => {
            let chosen = Chosen::find(session, names, Change::Undelete)?;
            chosen.carry_out(Keystore::cancel_key_version_deletion)?;
            chosen.show(Some(format!("kms version enable {}, to decrypt with it again", chosen.typed())))
        }
    }
}

fn disable(session: &Session, args: &VersionsReviewed) -> Result<()> {
    let chosen = Chosen::find(session, &args.names, Change::Disable)?;
    let typed = chosen.typed();
    let plan = [
        "Nothing decrypts what these versions encrypted, until they are enabled.".to_owned(),
        "To see what still needs them: kms inspect FILE...".to_owned(),
        format!("To undo it: kms version enable {typed}"),
    ];
    if !chosen.confirm(args.reviewed, "disable", plan)? {
        return Ok(());
    }
    chosen.carry_out(Keystore::disable_key_version)?;
    chosen.show(Some(format!("kms version enable {typed}, to undo it; kms version delete {typed}, to destroy it")))
}

fn delete(session: &Session, args: &VersionDelete) -> Result<()> {
    let chosen = Chosen::find(session, &args.names, Change::Delete)?;
    let typed = chosen.typed();
    let plan = [
        "After that date nothing decrypts what these versions encrypted.".to_owned(),
        "To see what still needs them: kms inspect FILE...".to_owned(),
        format!("Until the date: kms version undelete {typed}"),
    ];
    if !chosen.confirm(args.reviewed, &format!("delete in {} days", args.days), plan)? {
        return Ok(());
    }
    chosen.carry_out(|keystore, key, version| keystore.schedule_key_version_deletion(key, version, args.days))?;
    chosen.show(Some(format!("kms version undelete {typed}, to keep it")))
}

/// The versions that the command line names, all resolved before the first is changed.
struct Chosen<'s> {
    session: &'s Session,
    key: Key,
    /// The key as it was typed, for the commands that are shown.
    name: &'s str,
    versions: Vec<KeyVersion>,
    change: Change,
}

impl<'s> Chosen<'s> {
    fn find(session: &'s Session, names: &'s VersionNames, change: Change) -> Result<Self> {
        let id = session.key(&names.key)?;
        let key = session.keystore.describe_key(id)?;
        let mut versions: Vec<KeyVersion> = Vec::new();
        for name in &names.versions {
            let found = find(session, id, &names.key, name)?;
            if !versions.iter().any(|known| known.id == found.id) {
                versions.push(found);
            }
        }
        let chosen = Self { session, key, name: &names.key, versions, change };
        chosen.check()?;
        Ok(chosen)
    }

    /// The arguments that name these versions: `cards 1 2`.
    fn typed(&self) -> String {
        let numbers: Vec<String> = self.versions.iter().map(|version| version.number.to_string()).collect();
        format!("{} {}", self.name, numbers.join(" "))
    }

    /// Refuses what the library would refuse, so that a plan holds and nothing is done by halves.
    fn check(&self) -> Result<()> {
        use VersionState::{Destroyed, Disabled, Enabled, PendingDeletion};
        let (name, change) = (self.name, self.change);
        if self.key.origin == Origin::External {
            let text = format!("key {} has imported material, and one version for life", self.key.id);
            return Err(refused(Status::UnsupportedOperation, text).next(format!("kms key disable {name}")));
        }
        for version in &self.versions {
            let (number, is_primary) = (version.number, version.is_primary);
            let next = match (change, version.state) {
                (_, Destroyed) => {
                    let text = format!("version {number} of {name} is destroyed");
                    return Err(refused(Status::KeyVersionDestroyed, text).next(format!("kms key versions {name}")));
                }
                (Change::Disable | Change::Delete, _) if is_primary => format!("kms key rotate {name}"),
                (Change::Disable | Change::Enable, Enabled | Disabled)
                | (Change::Delete, Disabled)
                | (Change::Undelete, PendingDeletion) => continue,
                (Change::Disable | Change::Enable | Change::Delete, PendingDeletion) => {
                    format!("kms version undelete {name} {number}")
                }
                (Change::Delete, Enabled) => format!("kms version disable {name} {number}"),
                _ => format!("kms key versions {name}"),
            };
            let state = if is_primary { "the primary".to_owned() } else { state_name(version.state) };
            let text = format!("version {number} of {name} is {state}, so it cannot be {}", change.done());
            return Err(refused(Status::StateModifiedFailed, text).next(next));
        }
        Ok(())
    }

    fn confirm(&self, reviewed: Reviewed, verb: &str, more: [String; 3]) -> Result<bool> {
        let mut plan = vec![format!("key {}", self.session.named(self.key.id))];
        for version in &self.versions {
            plan.push(format!("{verb}: version {}; {}", version.number, used(version)));
        }
        plan.extend(more);
        confirm(reviewed, &plan)
    }

    /// Changes one version after the other; what was done before a failure is named with it.
    fn carry_out(&self, one: impl Fn(&Keystore, KeyId, &str) -> kms::Result<()>) -> Result<()> {
        for (at, version) in self.versions.iter().enumerate() {
            one(&self.session.keystore, self.key.id, &version.id.to_string()).map_err(|error| {
                let mut failure = Failure::from(error).next(format!("kms key versions {}", self.name));
                if at > 0 {
                    failure.text =
                        format!("{} {at} of {}, then: {}", self.change.done(), self.versions.len(), failure.text);
                }
                failure
            })?;
        }
        Ok(())
    }

    fn show(&self, next: Option<String>) -> Result<()> {
        let now = self
            .versions
            .iter()
            .map(|version| self.session.keystore.describe_key_version(self.key.id, &version.id.to_string()))
            .collect::<kms::Result<Vec<_>>>()?;
        self.session.out.print(
            || as_json(self.key.id, &now),
            || {
                let key = self.session.named(self.key.id);
                let lines = now.iter().map(|version| {
                    let until = version.delete_date.map(|date| format!(" on {}", shown(date))).unwrap_or_default();
                    format!("{} version {} of {key}{until}\n", self.change.done(), version.number)
                });
                lines.chain(next.map(|next| format!("next: {next}\n"))).collect()
            },
        )
    }
}

fn refused(status: Status, text: String) -> Failure {
    Failure::new(Exit::Refused, status.code(), text)
}

/// A version by its number or its id.
fn find(session: &Session, key: KeyId, key_name: &str, name: &str) -> Result<KeyVersion> {
    let Ok(number) = name.parse::<u64>() else {
        return Ok(session.keystore.describe_key_version(key, name)?);
    };
    let found = session.keystore.key_versions(key).find(|version| match version {
        Ok(version) => version.number <= number,
        Err(_) => true,
    });
    match found.transpose()? {
        Some(version) if version.number == number => Ok(version),
        _ => Err(Failure::new(
            Exit::NotFound,
            Status::KeyVersionNotFound.code(),
            format!("{key_name} has no version {number}"),
        )
        .next(format!("kms key versions {key_name}"))),
    }
}

/// `kms key versions`.
pub fn list(session: &Session, id: KeyId) -> Result<()> {
    let all = session.keystore.key_versions(id).collect::<kms::Result<Vec<_>>>()?;
    session.out.print(
        || as_json(id, &all),
        || {
            let header = ["NUMBER", "VERSION ID", "CREATED", "STATE", "LAST ENCRYPTED", "LAST DECRYPTED"];
            table(header, all.iter().map(row))
        },
    )
}

fn row(version: &KeyVersion) -> [String; 6] {
    let state = match version.delete_date {
        _ if version.is_primary => "Enabled, primary".to_owned(),
        Some(due) => format!("{} {}", state_name(version.state), shown(due)),
        None => state_name(version.state),
    };
    let used = |day: Option<kms::Time>| day.map_or_else(|| "-".to_owned(), day_of);
    [
        version.number.to_string(),
        version.id.to_string(),
        shown(version.created),
        state,
        used(version.last_encrypt_date),
        used(version.last_decrypt_date),
    ]
}

/// The fields of the service, and the number and the place of each version.
fn as_json(key: KeyId, versions: &[KeyVersion]) -> Value {
    let or_empty = |time: Option<kms::Time>| time.map(iso).unwrap_or_default();
    let list: Vec<Value> = versions
        .iter()
        .map(|version| {
            json!({
                "KeyId": key.to_string(),
                "KeyVersionId": version.id.to_string(),
                "Number": version.number,
                "IsPrimary": version.is_primary,
                "CreationDate": iso(version.created),
                "KeyVersionState": state_name(version.state),
                "DeleteDate": or_empty(version.delete_date),
                "LastEncryptDate": or_empty(version.last_encrypt_date),
                "LastDecryptDate": or_empty(version.last_decrypt_date),
            })
        })
        .collect();
    json!({ "KeyVersions": { "KeyVersion": list }, "TotalCount": versions.len() })
}

pub fn state_name(state: VersionState) -> String {
    format!("{state:?}")
}

/// What the last-used dates say, for a plan.
fn used(version: &KeyVersion) -> String {
    let day = |day: Option<kms::Time>| day.map_or_else(|| "no use recorded".to_owned(), day_of);
    format!("last encrypted: {}; last decrypted: {}", day(version.last_encrypt_date), day(version.last_decrypt_date))
}

/// A day of the library is one in UTC: in another time zone it must not move.
fn day_of(time: kms::Time) -> String {
    iso(time).chars().take(10).collect()
}

fn shown(time: kms::Time) -> String {
    date(&iso(time))
}
