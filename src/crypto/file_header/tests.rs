use super::*;
use crate::crypto::blob::{Algorithm, ContextType, Header, OVERHEAD};
use crate::domain::id::{KeyId, VersionId};

const ID: EncryptedFileId = [9; 16];

fn blob(byte: u8) -> Vec<u8> {
    let (key, version) = (KeyId::from_bytes([1; 16]), VersionId::from_bytes([2; 16]));
    let header = Header { algorithm: Algorithm::Xaes256Gcm, context_type: ContextType::Map, key, version }.encode();
    let mut blob = header.to_vec();
    blob.resize(OVERHEAD + 32, byte);
    blob
}

fn slot(sequence: u64, byte: u8) -> [u8; SLOT] {
    SlotStart { file_id: ID, sequence }.slot(&blob(byte)).unwrap()
}

fn header(first: &[u8], second: &[u8]) -> [u8; HEADER] {
    [first, second].concat().try_into().unwrap()
}

fn read(header: &[u8; HEADER]) -> Result<(u64, usize, u8, bool)> {
    FileHeader::parse(header).map(|found| {
        let FileHeader { slot, other_is_empty } = found;
        assert_eq!(slot.start.file_id, ID);
        (slot.start.sequence, slot.place, *slot.blob.last().unwrap(), other_is_empty)
    })
}

#[test]
fn the_newest_valid_slot_counts() {
    let empty = [0; SLOT];
    assert_eq!(read(&header(&slot(1, 7), &empty)).unwrap(), (1, 0, 7, true));
    assert_eq!(read(&header(&empty, &slot(2, 8))).unwrap(), (2, 1, 8, true));
    assert_eq!(read(&header(&slot(1, 7), &slot(2, 8))).unwrap(), (2, 1, 8, false));
    assert_eq!(read(&header(&slot(3, 7), &slot(2, 8))).unwrap(), (3, 0, 7, false));
    assert!(read(&header(&empty, &empty)).is_err());
}

#[test]
fn a_slot_that_was_cut_off_anywhere_leaves_the_other() {
    let (old, new) = (slot(1, 7), slot(2, 8));
    for cut in 1..SLOT {
        // A prefix or a suffix of the new slot has reached the disk.
        let mut torn = [0; SLOT];
        torn[..cut].copy_from_slice(&new[..cut]);
        let (sequence, ..) = read(&header(&old, &torn)).unwrap();
        assert_eq!(sequence == 2, torn == new, "{cut}");
        let mut torn = [0; SLOT];
        torn[cut..].copy_from_slice(&new[cut..]);
        assert_eq!(read(&header(&old, &torn)).unwrap().0, 1, "{cut}");
    }
}

#[test]
fn an_edited_byte_makes_a_slot_invalid() {
    for at in 0..SLOT {
        let mut edited = slot(1, 7);
        edited[at] ^= 1;
        let read = read(&header(&edited, &[0; SLOT]));
        assert_eq!(read.unwrap_err().status(), Status::MalformedCiphertext, "{at}");
    }
}

#[test]
fn slots_of_two_files_are_refused() {
    let other = SlotStart { file_id: [8; 16], sequence: 2 }.slot(&blob(1)).unwrap();
    assert!(read(&header(&slot(1, 7), &other)).is_err());
}

#[test]
fn another_format_is_refused_even_with_its_checksum() {
    for at in [4, 5, 6, 7] {
        let mut start = SlotStart { file_id: ID, sequence: 1 }.encode(112);
        start[at] ^= 3;
        let sum = checksum(&[&start, &blob(7)]).unwrap();
        let mut slot = [start.to_vec(), blob(7), sum.to_vec()].concat();
        slot.resize(SLOT, 0);
        assert!(read(&header(&slot, &[0; SLOT])).unwrap_err().text().contains("newer"), "{at}");
    }
}

#[test]
fn the_context_names_every_byte_before_the_blob() {
    let start = SlotStart { file_id: ID, sequence: 258 };
    let slot = start.slot(&blob(7)).unwrap();
    let hex: String = slot[..START].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(start.context_value(112).unwrap(), hex);
    assert_eq!(hex, "8b4b4d46010120000000000000000102090909090909090909090909090909090070");
}
