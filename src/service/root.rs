//! The roots that open a keystore.

use super::{Keystore, Options};
use crate::domain::id::SlotId;
use crate::domain::log::ChangeAction;
use crate::error::{Result, Status, shown};
use crate::store::{NewSlot, RootSlot};
use crate::sys::stack;

impl Keystore {
    /// Make the root key of `new` the only one that opens the keystore: it replaces all root slots. Open handles
    /// continue to work. The former root keys still open copies that were made before.
    ///
    /// Only two options matter: the root key, and `create` for a root key file that does not exist. A callback may be
    /// the same as before, to wrap the store root key again.
    ///
    /// # Errors
    /// `RootSlotExists` for a root key that opens the keystore already; those of the root key, as in
    /// [`Keystore::open`]; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// keystore.change_root(&Options::new().root_passphrase(b"correct horse"))?;
    /// assert_eq!(keystore.list_root_slots()?.len(), 1);
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn change_root(&self, new: &Options) -> Result<()> {
        self.manage(ChangeAction::ChangeRoot, None, |core| {
            stack::with_stack_wiped(|| {
                let slot = NewSlot { now: core.clock.now(), label: None, make_key_file: new.creates() };
                core.store.change_root(
                    new.root()?,
                    slot,
                    |commit| core.cache.publish(&commit, &[], &[], &[]),
                    |before| core.cache.announced(before),
                )
            })
        })
    }

    /// Add a root slot, so that the root key of `new` opens the keystore too: a recovery key in addition to a
    /// passphrase. A keystore has at most 8.
    ///
    /// Only two options matter: the root key, and `create` for a root key file that does not exist. `label` has at
    /// most 255 bytes and is not secret.
    ///
    /// # Errors
    /// `RootSlotExists` for a root key that opens the keystore already; `LimitExceeded` for a ninth slot; those of
    /// the root key, as in [`Keystore::open`]; and the [errors of every call](Keystore#errors).
    ///
    /// ```
    /// # use kms::{Keystore, Options};
    /// # let keystore = Keystore::open("memory:", &Options::new().root_key(&[7; 32]))?;
    /// let slot = keystore.add_root_slot(&Options::new().root_key(&[8; 32]), Some("recovery"))?;
    /// assert_eq!(keystore.list_root_slots()?.len(), 2);
    /// keystore.remove_root_slot(&slot.to_string())?;
    /// # Ok::<(), kms::Error>(())
    /// ```
    pub fn add_root_slot(&self, new: &Options, label: Option<&str>) -> Result<SlotId> {
        self.manage(ChangeAction::AddRootSlot, None, |core| {
            stack::with_stack_wiped(|| {
                let slot = NewSlot { now: core.clock.now(), label, make_key_file: new.creates() };
                core.store.add_root_slot(
                    new.root()?,
                    slot,
                    |commit| core.cache.publish(&commit, &[], &[], &[]),
                    |before| core.cache.announced(before),
                )
            })
        })
    }

    /// Remove a root slot: its root key no longer opens the keystore, except copies that were made before. Open
    /// handles continue to work, even one that this root key opened.
    ///
    /// # Errors
    /// `RootSlotNotFound`; `UnsupportedOperation` for the last slot; `InvalidArgument` for an empty id; and the
    /// [errors of every call](Keystore#errors).
    pub fn remove_root_slot(&self, slot_id: &str) -> Result<()> {
        self.manage(ChangeAction::RemoveRootSlot, None, |core| {
            if slot_id.is_empty() {
                return Err(Status::InvalidArgument
                    .error("the id of the root slot is empty; pass one that the list of root slots has"));
            }
            let id = SlotId::parse(slot_id).ok_or_else(|| {
                Status::RootSlotNotFound
                    .error(format!("no root slot {}, which is not a UUID; list the root slots", shown(slot_id)))
            })?;
            core.store.remove_root_slot(
                &id,
                core.clock.now(),
                |commit| core.cache.publish(&commit, &[], &[], &[]),
                |before| core.cache.announced(before),
            )
        })
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
