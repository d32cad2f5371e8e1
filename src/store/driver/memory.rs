//! Keystores in private memory, which end with their handle.

use std::sync::Arc;
use std::time::Duration;

use super::{Driver, FoundLocation, MustSpare};
use crate::error::{Result, Status};
use crate::store::connection::Gated;
use crate::store::create::{self, NewRoot};
use crate::store::root::Root;
use crate::store::settings::Settings;
use crate::store::sqlite::Sqlite;
use crate::sys::fork;

pub(super) struct MemoryDriver;

pub fn make(settings: &Settings, root: &Root) -> Result<FoundLocation> {
    // Only in builds of the tests: no environment moves keys out of memory.
    #[cfg(all(kms_faults, feature = "postgres"))]
    if let Some(server) = std::env::var_os("KMS_TEST_POSTGRES") {
        // A keystore that no other process finds.
        let name = u128::from_ne_bytes(crate::sys::random::array()?);
        return super::server::find(&format!("{}#{name:032x}", server.to_string_lossy()), settings, root);
    }
    let mut backend = empty()?;
    let key = create::fill_rows(backend.get()?, &NewRoot { root, created: settings.opened_ms }, None, Duration::ZERO)?;
    Ok(FoundLocation { driver: Arc::new(MemoryDriver), backend, root_key: Some(Box::new(key)) })
}

fn empty() -> Result<Gated> {
    #[cfg(kms_faults)]
    if crate::sys::fault::wanted("KMS_TEST_SHARDS")
        && let Some(shards) = crate::store::shard::Shards::new(4)
    {
        return crate::store::sharded::Sharded::new(shards).map(Gated::new);
    }
    fork::gate(Sqlite::in_memory).map(Gated::new)
}

impl Driver for MemoryDriver {
    fn connect(&self, _: &mut MustSpare<'_>) -> Result<Gated> {
        Err(Status::Internal.error("a keystore in memory has one connection only"))
    }

    fn is_private(&self) -> bool {
        true
    }
}
