//! The root slots of a store: which root opens it now, and how that changes. None of it seals a row again.

use super::backend::{LABEL_BYTES, MetaRow, SLOTS, SlotRow};
use super::change::{Change, Commit, check_room};
use super::create;
use super::handle::Store;
use super::root::{Root, RootKey, RootKind};
use super::sealing::Sealing;
use super::settings::Location;
use super::slot;
use crate::crypto::openssl;
use crate::domain::id::SlotId;
use crate::domain::log::ChangeAction;
use crate::domain::time::{Now, Time};
use crate::error::{Result, Status};

/// A root slot: one root key that opens the keystore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootSlot {
    /// The id, derived from the slot's content.
    pub id: SlotId,
    /// The kind of the root key.
    pub kind: RootKind,
    /// When the slot was made; `None` for a slot of keystore format 1.
    pub created: Option<Time>,
    /// The label that [`Keystore::add_root_slot`](crate::Keystore::add_root_slot) set.
    pub label: Option<String>,
    /// Whether this root key opened the handle.
    pub opened_this_handle: bool,
}

/// How a slot is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewSlot<'a> {
    pub now: Now,
    pub label: Option<&'a str>,
    /// Makes a missing root key file.
    pub make_key_file: bool,
}

/// The root key of the store that `found` describes, and the slot that holds it. Everything that can be wrong is
/// `WrongRootKey` with one text, until the description is authentic.
pub fn unlock(root: &Root, found: &MetaRow, slots: &[SlotRow], location: &Location) -> Result<(RootKey, SlotId)> {
    let is_authentic = |key: &RootKey| match Sealing::new(key, found.uuid)?.check_meta(found) {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Status::KeystoreCorrupt => Ok(false),
        Err(error) => Err(error),
    };
    // More than there may be: none is tried.
    let opened = match slots.len() <= SLOTS {
        true => slot::unwrap(root, slots, &found.uuid, is_authentic)?,
        false => None,
    };
    let (at, key) = opened.ok_or_else(|| root.opens_nothing(location))?;
    let id = id_of(&key, found, slots.get(at))?;
    Ok((key, id))
}

/// Whether this root opens a slot, authentic description or not. Runs Argon2 or the callback: no lock may be held.
pub fn opens_a_slot(root: &Root, found: &MetaRow, slots: &[SlotRow]) -> Result<bool> {
    Ok(slot::unwrap(root, slots, &found.uuid, |_| Ok(true))?.is_some())
}

/// The id of a slot of the store that `found` describes.
pub fn id_of(key: &RootKey, found: &MetaRow, slot: Option<&SlotRow>) -> Result<SlotId> {
    let slot =
        slot.ok_or_else(|| Status::KeystoreCorrupt.error("the keystore has no root slot; restore it from a backup"))?;
    Sealing::new(key, found.uuid)?.slot_id(slot)
}

impl Store {
    /// In the order in which they were added.
    pub fn root_slots(&self) -> Result<Vec<RootSlot>> {
        let slots = self.read(|view| view.slots())?;
        let shown = slots.into_iter().map(|(id, slot)| {
            let (kind, _) = slot::form(slot.kind).ok_or_else(|| {
                Status::KeystoreCorrupt.error(format!("root slot {id} has an unknown kind; update libkms"))
            })?;
            let created = slot.created.map(Time::from_millis);
            Ok(RootSlot { id, kind, created, label: slot.label, opened_this_handle: self.opened_by == id })
        });
        shown.collect()
    }

    /// Has `root` open the keystore too. Runs its callback or Argon2 with no lock held.
    pub fn add_root_slot(
        &self,
        root: &Root,
        new: NewSlot<'_>,
        publish: impl FnOnce(Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<SlotId> {
        let label = new.label.unwrap_or_default();
        if label.len() > LABEL_BYTES {
            return Err(Status::LimitExceeded
                .error(format!("the label of the root slot is above {LABEL_BYTES} bytes; use a shorter one")));
        }
        if label.contains('\0') {
            return Err(Status::InvalidArgument.error("the label of a root slot contains NUL; pass text without it"));
        }
        self.check_writable()?;
        let slots = self.read(|view| view.slots())?;
        check_room(slots.len())?;
        self.check_is_new(root, slots)?;
        self.with_key_file(root, new, || {
            let slot = self.new_slot(root, new)?;
            let add = |change: &mut Change<'_>, _: &Now| change.add_slot(&slot);
            self.write(ChangeAction::AddRootSlot, || new.now, add, |_, commit| publish(commit), announced)
        })
    }

    /// The root of this slot opens the keystore no more. The last slot stays.
    pub fn remove_root_slot(
        &self,
        id: &SlotId,
        now: Now,
        publish: impl FnOnce(Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<()> {
        let remove = |change: &mut Change<'_>, _: &Now| change.remove_slot(id);
        self.write(ChangeAction::RemoveRootSlot, || now, remove, |(), commit| publish(commit), announced)
    }

    /// Replaces all slots by one of `root`, which alone opens the keystore from then on. Runs its callback or Argon2 with
    /// no lock held.
    pub fn change_root(
        &self,
        root: &Root,
        new: NewSlot<'_>,
        publish: impl FnOnce(Commit) -> bool,
        announced: impl FnOnce(u64),
    ) -> Result<()> {
        self.check_writable()?;
        // The key of a callback may have changed outside, which wrapping it again is for.
        if !matches!(root, Root::Callback(_)) {
            self.check_is_new(root, self.read(|view| view.slots())?)?;
        }
        self.with_key_file(root, new, || {
            let slot = self.new_slot(root, new)?;
            let replace = |change: &mut Change<'_>, _: &Now| change.replace_slots(&slot);
            self.write(ChangeAction::ChangeRoot, || new.now, replace, |(), commit| publish(commit), announced)
        })
    }

    /// Makes a missing root key file that is wanted; removes it if `change` fails.
    fn with_key_file<R>(&self, root: &Root, new: NewSlot<'_>, change: impl FnOnce() -> Result<R>) -> Result<R> {
        let Root::File(path) = root else { return change() };
        let made = if new.make_key_file { create::key_file(path)? } else { None };
        let changed = change();
        if let (Some(made), Err(e)) = (made, &changed)
            // After an error of the disk, the database or the anchor, the change may be committed.
            && !matches!(e.status(), Status::KeystoreIo | Status::KeystoreUnavailable | Status::AnchorUnavailable)
        {
            create::remove_key_file(path, made);
        }
        changed
    }

    /// Refuses a root that opens the keystore by one of `slots`. A slot of format 1 doesn't count, because the same
    /// root is passed again to replace it by one of today's form.
    fn check_is_new(&self, root: &Root, slots: Vec<(SlotId, SlotRow)>) -> Result<()> {
        if let Root::File(path) = root
            && !super::sqlite::exists(path)?
        {
            // It is made later, or missed later.
            return Ok(());
        }
        let current = slots.into_iter().filter(|(_, slot)| slot::form(slot.kind).is_some_and(|(_, current)| current));
        let (ids, slots): (Vec<_>, Vec<_>) = current.unzip();
        let known = |key: &RootKey| Ok(openssl::equal(&**key, self.root.expose()));
        let opened = match slot::unwrap(root, &slots, &self.uuid, known) {
            // It may not know the other callbacks' slots.
            Err(_) if matches!(root, Root::Callback(_)) => None,
            opened => opened?,
        };
        match opened.and_then(|(at, _)| ids.get(at)) {
            Some(id) => Err(Status::RootSlotExists.error(format!(
                "this root opens the keystore already, through root slot {id}; to keep it alone, remove the other slots"
            ))),
            None => Ok(()),
        }
    }

    /// A slot of `root` that was tried.
    fn new_slot(&self, root: &Root, new: NewSlot<'_>) -> Result<SlotRow> {
        let key = RootKey::new(*self.root.expose());
        let slot = slot::wrap(root, &key, &self.uuid, new.now.wall.millis(), new.label)?;
        // A slot that can't be unwrapped again would make the keystore unusable. A callback has just been tried.
        if !matches!(root, Root::Callback(_)) {
            let same = |found: &RootKey| Ok(openssl::equal(&**found, &*key));
            if slot::unwrap(root, std::slice::from_ref(&slot), &self.uuid, same)?.is_none() {
                return Err(Status::RootKeyUnavailable
                    .error("the new root key cannot unwrap what it wrapped; check the root callback"));
            }
        }
        Ok(slot)
    }
}
