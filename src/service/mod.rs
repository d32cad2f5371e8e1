//! The use cases: what a program can ask of a keystore.
//!
//! * `handle`: an open keystore. `shared`: its state, and how calls read and change the store. `open`: options, opening.
//! * `key`, `version`, `rotation`, `due`, `crypt`, `data_key`, `import`, `alias`, `tag`, `root`, `backup`, `copy`, `log`, `log_export`: the operations.
//! * `file`: files of any size, in constant memory. `stream`: in pieces. `file_reader`: at any place.
//! * `batch`: many records in one call. `survey`: count blobs by version. `pages`: lists as iterators.
//! * `subkey`: AES-GCM and key wrapping for the PKCS#11 module.
//! * `key_ref`, `name`: how arguments name keys. `target`: where the results of calls go.
//! * `cache`: keys in memory. `thread`: what each thread keeps for the hot path, in `slots`. `ticker`: the rotation thread, `pass`: what it does. `news`: announcements of other hosts' changes. `uses`, `seen`: last-used dates.
//! * `call`: every operation by action name and JSON. `event`, `delivery`, `health`, `verify`: the condition of a keystore.

mod alias;
mod backup;
mod batch;
mod cache;
mod call;
mod copy;
mod crypt;
mod data_key;
mod delivery;
mod due;
mod event;
mod file;
mod file_reader;
mod handle;
mod health;
mod import;
mod key;
mod key_ref;
mod log;
mod log_export;
mod name;
mod news;
mod open;
mod pages;
mod pass;
mod presence;
mod root;
mod rotation;
mod seen;
mod shared;
mod slots;
mod stream;
mod subkey;
mod survey;
mod tag;
mod target;
mod thread;
mod ticker;
mod uses;
mod verify;
mod version;

use handle::Inner;
use shared::{Changed, Core, Done};

pub use crate::crypto::context::ContextSink;
pub use crate::store::{CopyReport, CopyStep, Fault};
pub use backup::{BACKUP_WAIT_DEFAULT, BACKUP_WAIT_MAX, Backup, PreparedBackup};
#[cfg(feature = "capi")]
pub(crate) use batch::{KeptContext, Place};
pub use batch::{Record, ReencryptItem};
pub use call::CallFailed;
pub use crypt::BlobInfo;
#[cfg(feature = "capi")]
pub(crate) use data_key::DataKeyTarget;
pub use event::{Event, EventKind};
pub use file::{FileInfo, FileOptions};
pub use file_reader::FileReader;
pub use handle::{Keystore, waiting_again, without_waiting};
pub use health::Health;
pub use import::{ImportParameters, Wrapping};
pub use key::CreateKey;
#[cfg(feature = "capi")]
pub(crate) use key::description_of;
pub use key_ref::KeyRef;
pub use log::ListChanges;
pub use log_export::ExportReport;
pub use open::Options;
#[cfg(feature = "capi")]
pub(crate) use open::passphrase_of;
pub use rotation::TickReport;
pub use stream::{DecryptReader, DecryptStream, EncryptStream, EncryptWriter};
pub use subkey::Candidates;
#[cfg(feature = "capi")]
pub(crate) use survey::Tally;
pub use survey::{Survey, SurveyCount, SurveyProcess, Unreadable};
#[cfg(feature = "capi")]
pub(crate) use target::{BlobPlace, OpenTarget, SealTarget};
pub use version::KeyVersion;
