//! The input key of a file: sealed into a slot of its header, and opened from there.

use zeroize::Zeroizing;

use crate::crypto::blob::OVERHEAD;
use crate::crypto::cobblestone::{ChunkOpener, ChunkSealer, InputKey, PREFIX};
use crate::crypto::context::Context;
use crate::crypto::file_header::{CONTEXT_NAME, FileHeader, HEADER, SLOT, Slot, SlotStart, not_a_file};
use crate::error::{Result, Status};
use crate::service::shared::Core;
use crate::service::target::{VecOpen, VecSeal};
use crate::sys::random;
use crate::sys::secret::KEY_LEN;

/// Length of the blob that seals an input key.
const BLOB: usize = OVERHEAD + KEY_LEN;
/// What precedes the first chunk: the header, and the prefix of the body.
pub const HEAD: usize = HEADER + PREFIX;

/// The caller's encryption context, as the blob of a slot has it.
fn slot_context<'a>(context: &[(&'a str, &'a str)], value: &'a str) -> Result<Context<'a>> {
    Context::new(context.iter().copied().chain([(CONTEXT_NAME, value)]))
}

/// The caller's encryption context, as the body has it behind the file id.
fn body_context(context: &[(&str, &str)]) -> Result<Vec<u8>> {
    if context.iter().any(|(name, _)| *name == CONTEXT_NAME) {
        return Err(Status::InvalidArgument
            .error("the name kms:file of an encryption context is reserved for files; choose another"));
    }
    Context::new(context.iter().copied())?.encoded()
}

/// A file to be written.
pub struct NewFile {
    pub head: Box<[u8; HEAD]>,
    pub sealer: ChunkSealer,
}

impl Core {
    /// A new file under the primary version of `key`. Its state is checked, and it rotates first if it is overdue.
    pub(in crate::service) fn new_file(&self, key: &[u8], context: &[(&str, &str)]) -> Result<NewFile> {
        let body_context = body_context(context)?;
        let input_key = InputKey::random()?;
        let start = SlotStart { file_id: random::array()?, sequence: 1 };
        let slot = self.seal_slot(key, &start, context, input_key.expose())?;
        let sealer = ChunkSealer::new(&self.arena, input_key, &[&start.file_id, &body_context])?;
        let mut head = Box::new([0; HEAD]);
        let bytes = slot.iter().chain(&[0; SLOT]).chain(sealer.prefix());
        head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(NewFile { head, sealer })
    }

    /// A slot that seals `input_key` under the primary version of `key`.
    pub(super) fn seal_slot(
        &self,
        key: &[u8],
        start: &SlotStart,
        context: &[(&str, &str)],
        input_key: &[u8; KEY_LEN],
    ) -> Result<[u8; SLOT]> {
        let value = start.context_value(BLOB)?;
        let mut target = VecSeal { plaintext: input_key, out: Vec::new() };
        self.encrypt_to(key, KEY_LEN, &slot_context(context, &value)?, || &mut target)?;
        start.slot(&target.out)
    }

    /// What opens the body of a file that starts with `head`. Fails as decrypting a blob does.
    pub(in crate::service) fn open_file(&self, head: &[u8; HEAD], context: &[(&str, &str)]) -> Result<ChunkOpener> {
        let (header, prefix) = split_head(head)?;
        let header = FileHeader::parse(header)?;
        let input_key = self.open_slot(&header.slot, context)?;
        self.open_body(&header.slot, &input_key, prefix, context)
    }

    /// The input key of a slot.
    pub(super) fn open_slot(&self, slot: &Slot<'_>, context: &[(&str, &str)]) -> Result<Zeroizing<[u8; KEY_LEN]>> {
        let value = slot.start.context_value(slot.blob.len())?;
        let mut plaintext = VecOpen::default();
        body_context(context)?;
        self.decrypt_to(slot.blob, &slot_context(context, &value)?, || &mut plaintext)?;
        let key = plaintext.0.first_chunk().filter(|_| plaintext.0.len() == KEY_LEN).ok_or_else(not_a_file)?;
        Ok(Zeroizing::new(*key))
    }

    pub(super) fn open_body(
        &self,
        slot: &Slot<'_>,
        input_key: &[u8; KEY_LEN],
        prefix: &[u8; PREFIX],
        context: &[(&str, &str)],
    ) -> Result<ChunkOpener> {
        ChunkOpener::new(&self.arena, input_key, prefix, &[&slot.start.file_id, &body_context(context)?])
    }
}

/// The header, and the prefix of the body.
pub fn split_head(head: &[u8; HEAD]) -> Result<(&[u8; HEADER], &[u8; PREFIX])> {
    let (header, prefix) = head.split_first_chunk().ok_or_else(not_a_file)?;
    Ok((header, prefix.first_chunk().ok_or_else(not_a_file)?))
}
