//! Whether a keystore's description is half written: part of it from before a change, part from after.
//!
//! A power cut can leave any sectors of a page unwritten. Such a page may still parse, and then names no known keystore. The
//! journal has the page from before the change, and sectors that still equal that copy are the unwritten ones.

use std::path::Path;

use rusqlite::Connection;

use super::stale::Description;
use crate::sys::file::File;
use crate::sys::memory;

/// The smallest part of a file that a disk writes as a whole.
const SECTOR: usize = 512;
/// The length of a journal's header, and the offsets of its page count and page size
/// (<https://www.sqlite.org/fileformat2.html> §3).
const HEADER: u64 = 512;
const COUNT: usize = 8;
const PAGE_SIZE: usize = 24;
/// A journal's page has its number before and a checksum after it.
const NUMBER: u64 = 4;
const CHECKSUM: u64 = 4;

/// Whether the page with the description of the file at `path` is torn. False where that cannot be found out. `place` is the
/// description's column, which another keystore at the same path has, too.
pub fn is_torn(path: &Path, journal: &Path, connection: &Connection, place: &[u8]) -> bool {
    pages(path, journal, connection).is_some_and(|(page, before)| is_mixed(&page, &before, place))
}

/// The page with the description as it is, and as it was before the change that the journal undoes.
fn pages(path: &Path, journal: &Path, connection: &Connection) -> Option<(Vec<u8>, Vec<u8>)> {
    let description = Description::find(connection).ok()?;
    let size = description.page.len();
    let number = u32::try_from(description.at / u64::try_from(size).ok()?).ok()?.checked_add(1)?;
    let read = |file: &File, at: u64| {
        let mut page = memory::zeroed(size).ok()?;
        (file.read_at(&mut page, at).ok()? == size).then_some(page)
    };
    let journal = File::open(journal).ok()?;
    let before = read(&journal, find(&journal, size, number)?)?;
    Some((read(&File::open(path).ok()?, description.at)?, before))
}

/// Where a journal has a page.
fn find(journal: &File, size: usize, number: u32) -> Option<u64> {
    let word = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
    let step = NUMBER + u64::try_from(size).ok()? + CHECKSUM;
    let mut at = 0;
    loop {
        let mut header = [0; PAGE_SIZE + 4];
        let is_whole = journal.read_at(&mut header, at).ok()? == header.len();
        if !is_whole || usize::try_from(word(&header, PAGE_SIZE)?).ok()? != size {
            return None;
        }
        at += HEADER;
        for _ in 0..word(&header, COUNT)? {
            let mut found = [0; 4];
            if journal.read_at(&mut found, at).ok()? != found.len() {
                return None;
            }
            if u32::from_be_bytes(found) == number {
                return Some(at + NUMBER);
            }
            at += step;
        }
        at = at.next_multiple_of(HEADER);
    }
}

/// The first sector is the same in many keystores, and so is one within a long `place`; any other has parts of the row that
/// each change renews. The row, which is the only one, ends where the page does.
fn is_mixed(page: &[u8], before: &[u8], place: &[u8]) -> bool {
    let is_old = |(now, then): (&[u8], &[u8])| {
        now == then && now.iter().any(|byte| *byte != 0) && !place.windows(SECTOR).any(|part| part == now)
    };
    let has_old = page.chunks(SECTOR).zip(before.chunks(SECTOR)).skip(1).any(is_old);
    page != before && (has_old || end_of_row(page) != Some(page.len()))
}

/// Where the first cell of a table's leaf ends: the lengths of its payload and its row number, and the payload
/// (<https://www.sqlite.org/fileformat2.html> §1.6).
fn end_of_row(page: &[u8]) -> Option<usize> {
    let at = usize::from(u16::from_be_bytes(*page.get(8..)?.first_chunk()?));
    let (len, at) = varint(page, at)?;
    let (_, at) = varint(page, at)?;
    at.checked_add(usize::try_from(len).ok()?)
}

/// A number of up to 9 bytes, and where it ends. The ninth byte, which only greater numbers have, is not read.
fn varint(page: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (count, byte) in page.get(at..)?.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + count + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{SECTOR, is_mixed};

    /// A page of one row of `len` bytes, in which every byte is `fill`.
    fn page(len: usize, fill: u8) -> Vec<u8> {
        let mut page = vec![0; 4096];
        let at = 4096 - len - 3;
        page[..8].copy_from_slice(&[13, 0, 0, 0, 1, (at >> 8) as u8, at as u8, 0]);
        page[8..10].copy_from_slice(&(at as u16).to_be_bytes());
        page[at..at + 3].copy_from_slice(&[0x80 | (len >> 7) as u8, (len & 0x7f) as u8, 1]);
        page[at + 3..].fill(fill);
        page
    }

    #[test]
    fn a_page_with_any_sectors_unwritten_is_torn_and_a_whole_one_is_not() {
        for (old, new) in [(700, 708), (700, 700), (500, 508), (505, 515), (1200, 1300)] {
            let (before, after) = (page(old, 0xaa), page(new, 0xbb));
            assert!(!is_mixed(&before, &before, b"") && !is_mixed(&after, &before, b""), "{old} {new}");
            for written in 1..255_u32 {
                let mut torn = before.clone();
                for sector in (0..8).filter(|sector| written & 1 << sector != 0) {
                    let part = sector * SECTOR..(sector + 1) * SECTOR;
                    torn[part.clone()].copy_from_slice(&after[part]);
                }
                if torn != before && torn != after {
                    assert!(is_mixed(&torn, &before, b""), "{old} {new}, written {written:b}");
                }
            }
        }
    }

    #[test]
    fn a_page_of_another_keystore_is_not_torn() {
        assert!(!is_mixed(&page(700, 0xcc), &page(700, 0xaa), b""));
    }

    /// Also where both have one path that fills sectors.
    #[test]
    fn a_page_of_another_keystore_at_a_long_path_is_not_torn() {
        let place: Vec<u8> = (0..1500_u16).map(|at| b'a' + (at % 23) as u8).collect();
        let with_place = |fill| {
            let mut page = page(2200, fill);
            page[4096 - 72 - place.len()..4096 - 72].copy_from_slice(&place);
            page
        };
        let (here, before) = (with_place(0xcc), with_place(0xaa));
        assert!(!is_mixed(&here, &before, &place));
        assert!(is_mixed(&here, &before, b""), "no sector lies within the path, so this tests nothing");
    }
}
