//! The roots that open a keystore.

use super::{Keystore, Options};
use crate::domain::id::SlotId;
use crate::error::{Result, Status};
use crate::store::{NewSlot, RootSlot};
use crate::sys::stack;

impl Keystore {
    /// Makes the root of `new` the only one that opens the keystore: all root slots are replaced, and open handles go on.
    ///
    /// Of the options, the root counts, and `create` for a root key file that isn't there. Copies made before are still
    /// opened by the old roots. A callback may be the same as before, to wrap the root key anew by it.
    ///
    /// # Errors
    /// `RootSlotExists` for a root that opens the keystore already.
    pub fn change_root(&self, new: &Options) -> Result<()> {
        let core = self.core()?;
        stack::swept(|| {
            let slot = NewSlot { created: core.clock.wall(), label: None, make_key_file: new.creates() };
            core.store.change_root(
                new.root()?,
                slot,
                |commit| core.cache.publish(commit, &[], &[], &[]),
                |before| core.cache.announced(before),
            )
        })
    }

    /// Has the root of `new` open the keystore too: a recovery key beside a passphrase. At most 8 roots open a keystore.
    ///
    /// Of the options, the root counts, and `create` for a root key file that isn't there. `label` has at most 255 bytes; it
    /// is not secret.
    ///
    /// # Errors
    /// `RootSlotExists` for a root that opens the keystore already; `LimitExceeded` for a ninth.
    pub fn add_root_slot(&self, new: &Options, label: Option<&str>) -> Result<SlotId> {
        let core = self.core()?;
        stack::swept(|| {
            let slot = NewSlot { created: core.clock.wall(), label, make_key_file: new.creates() };
            core.store.add_root_slot(
                new.root()?,
                slot,
                |commit| core.cache.publish(commit, &[], &[], &[]),
                |before| core.cache.announced(before),
            )
        })
    }

    /// Removes a root slot: its root no longer opens the keystore. Open handles go on, and copies made before are still
    /// opened by it. The slot that opened this handle may be removed too.
    ///
    /// # Errors
    /// `RootSlotNotFound`; `UnsupportedOperation` for the last slot.
    pub fn remove_root_slot(&self, slot_id: &str) -> Result<()> {
        let core = self.core()?;
        if slot_id.is_empty() {
            return Err(Status::InvalidArgument.error("the id of the root slot is empty; give one of the list"));
        }
        let id = SlotId::parse(slot_id).ok_or_else(|| {
            Status::RootSlotNotFound.error("the keystore has no root slot of this id, which is no UUID; list the slots")
        })?;
        core.store.remove_root_slot(
            &id,
            |commit| core.cache.publish(commit, &[], &[], &[]),
            |before| core.cache.announced(before),
        )
    }

    /// Return the root slots, at most 8, in the order in which they were added.
    ///
    /// # Errors
    /// The [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let slots = keystore.list_root_slots()?;
    /// assert!(slots.len() == 1 && slots[0].opened_this_handle);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn list_root_slots(&self) -> Result<Vec<RootSlot>> {
        self.core()?.store.root_slots()
    }
}
