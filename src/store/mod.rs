//! The keystore: typed rows in transactions, durable, authenticated, announced to other processes.
//!
//! * `driver`: the kinds of locations, and what belongs to each besides rows.
//! * `handle`: the open keystore. `settings`: which one is opened. `open`: opens it. `transaction`: runs its transactions.
//! * `root`: what opens a store. `slot`: how it wraps the root key. `roots`: the slots of an open store. `create`: how a store comes to be.
//! * `sealing`: rows to domain types and back, with their secrets. `view`: what a transaction reads. `change`: what it changes.
//! * `records`: the records of versions, and their destruction. `verify`: checks every row.
//! * `shard`: the parts of a store that change independently.
//! * `postgres`: the rows in a database server, with the feature of that name.
//! * `sharded`: a store of several shards, for tests.
//! * `digest`: how the trees name their rows and nodes.
//! * `tree`: which rows exist, and which copy of each is the newest.
//! * `unchecked`: switches the trees off, for tests.
//! * `checkpoint`: a record of the state of all shards. `freshness`: what was seen of them. `rollback`: what follows
//!   when a store went back.
//! * `state`: the state of a shard. `server_clock`: the clock of a machine that has the rows.
//! * `standing`: what is at the keystore's path. `place`: whether a keystore is used through one path.
//! * `history`: whether what is read continues what was read before. `shared_history`: the same for several connections.
//! * `kept`: what a connection remembers between its transactions.
//! * `log`: the change log, made of `entry`.
//! * `versions`: which versions keys don't have.
//! * `anchor`: what shows that the whole keystore is an older copy.
//! * `backend`: the rows themselves; `sqlite` holds them. `connection`: a connection to them.
//! * `lending`: which of a handle's connections a transaction gets.
//! * `backup`: copies of a keystore in use. `unfinished`: one that has no name yet. `backup_record`: which of them were made.
//! * `copy`: copies a keystore key by key, each of them a `whole_key`; from a transaction that is `held`, where it must be.
//! * `announce`: the generation that other processes watch. `announcements`: what other hosts say.

mod anchor;
mod announce;
mod announcements;
mod backend;
mod backup;
mod backup_record;
mod change;
mod checkpoint;
mod connection;
mod copy;
mod create;
pub mod database;
mod database_info;
mod digest;
mod driver;
mod entry;
mod freshness;
mod handle;
mod held;
mod history;
mod kept;
mod leftover;
mod lending;
mod log;
mod open;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod records;
mod redaction;
mod rollback;
mod root;
mod roots;
mod sealing;
mod server_clock;
mod settings;
mod shard;
#[cfg(kms_faults)]
mod sharded;
mod shared_history;
mod slot;
mod sqlite;
mod standing;
mod state;
mod transaction;
mod tree;
mod unchecked;
mod unfinished;
mod verify;
mod versions;
mod view;
mod whole_key;

pub use anchor::{Anchor, AnchorStore};
#[cfg(all(test, kms_model))]
pub use announce::tell;
pub use announcements::Announcements;
pub use backend::DueRow;
#[cfg(feature = "capi")]
pub use backend::WRAPPED_MAX;
pub use backup_record::{BackedUp, BackupRecord};
#[cfg(test)]
pub use change::Moved;
pub use change::{Change, Commit};
pub use copy::{CopyReport, CopyStep};
pub use driver::Standing;
pub use entry::Refusal;
pub use handle::Store;
pub use redaction::shown_location;
pub use root::{ALL_ZEROS, Root, RootKind, RootWrapper};
pub use roots::{NewSlot, RootSlot};
pub use sealing::Stored;
pub use server_clock::ServerClock;
pub use settings::{ActorName, Location, Settings};
pub use shard::Shard;
pub use shared_history::UNPLACED;
pub use state::Head;
pub use unfinished::Unfinished;
pub use verify::{Fault, Verifier};
pub use view::View;
