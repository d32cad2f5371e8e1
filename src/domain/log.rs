//! The change log: what an entry says, and which actions leave one.

use crate::domain::id::{ChangeId, KeyId, VersionId};
use crate::domain::time::Time;
use crate::error::{Result, Status};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// An action that changes a keystore, by its name in the change log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ChangeAction {
            $($(#[$doc])* $name,)*
        }

        impl ChangeAction {
            /// All of them.
            #[cfg(test)]
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in the log; for a call, the one that `docs/actions.md` has.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

actions! {
    CreateKey
    CreateKeys
    CreateServiceKey
    EnableKey
    DisableKey
    ScheduleKeyDeletion
    CancelKeyDeletion
    UpdateKeyDescription
    SetDeletionProtection
    CreateKeyVersion
    EnableKeyVersion
    DisableKeyVersion
    ScheduleKeyVersionDeletion
    CancelKeyVersionDeletion
    UpdateRotationPolicy
    ImportKeyMaterial
    ImportRawKeyMaterial
    DeleteKeyMaterial
    CreateAlias
    UpdateAlias
    DeleteAlias
    TagResource
    UntagResource
    ChangeRoot
    AddRootSlot
    RemoveRootSlot
    CutChanges
    /// By a logical copy, in the log of the copy: keys were copied from another keystore.
    CopyKeystore
    /// By the clock: due keys got new versions.
    RotateKeyAuto
    /// By the clock: a waiting period was over, and the key was destroyed.
    DeleteKey
    /// By the clock: the waiting period of a version was over, and the version was destroyed.
    DeleteKeyVersion
    /// By the clock: imported material expired, and was erased.
    DeleteExpiredKeyMaterial
    /// By the clock: it stored what it observed of dates, such as the first confirmation that one was reached.
    RecordDates
    /// By encrypting: a handle reserved GCM messages of a version.
    ReserveMessages
    /// By the end of a handle: refused calls that have no entry are counted.
    RecordRefusals
}

/// Most bytes of an actor's label, and of a program's name.
pub const ACTOR_BYTES: usize = 255;

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Actor {
    /// The id of the process.
    pub process_id: u32,
    /// The real user id of the process.
    pub user_id: u32,
    /// The file name of the program, such as `python3.13`; empty where the kernel does not show it.
    pub program: String,
    /// The label that [`Options::actor`](crate::Options::actor) set.
    pub label: Option<String>,
}

/// Checks a label of an actor.
pub fn check_label(label: &str) -> Result<()> {
    if label.len() > ACTOR_BYTES {
        return Err(Status::LimitExceeded
            .error(format!("the label of the actor is above {ACTOR_BYTES} bytes; use a shorter one")));
    }
    if label.is_empty() || label.chars().any(char::is_control) {
        return Err(Status::InvalidArgument
            .error("the label of the actor is empty or has control characters; pass printable text"));
    }
    Ok(())
}

/// An entry of the change log: one change of the keystore, or one management call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedChange {
    /// The generation that the change made. The next entry has the next one.
    pub generation: u64,
    /// The random id of the entry.
    pub id: ChangeId,
    /// The wall time.
    pub time: Time,
    /// The boot clock: milliseconds since the machine started, time asleep included.
    pub boot_ms: i64,
    /// Who made the change.
    pub actor: Actor,
    /// The name of the action, such as `EnableKey`.
    pub action: String,
    /// The key, for a change of one key.
    pub key: Option<KeyId>,
    /// The version, for a change of one version, such as the one that a rotation made.
    pub version: Option<VersionId>,
    /// How many keys the change concerned; for `CutChanges`, how many entries it removed.
    pub count: u64,
    /// 0 for a change; for a refused call the number of the [`Status`] that it failed with.
    pub status: i32,
    /// Refused calls of the same handle, before this entry, that have no entry.
    pub refusals_omitted: u64,
    /// How long a destroyed key or version waited for its destruction, in milliseconds.
    pub waited_ms: Option<i64>,
    /// The keyed hash of this entry and of [`previous_mac`](Self::previous_mac).
    pub mac: [u8; 32],
    /// The `mac` of the entry before this one.
    pub previous_mac: [u8; 32],
}

#[cfg(test)]
mod tests;
