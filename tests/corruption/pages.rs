//! The b-tree pages of a keystore's file, and the order of the cells on them.

use std::ops::Range;

use crate::bytes::page_size;
use crate::sample::Place;

/// A page, and the offset of its cell pointers in the file.
pub struct Page {
    /// The table or index.
    pub of: String,
    pub number: usize,
    /// The first byte of its header: 2 and 5 in the inside of an index and a table, 10 and 13 in their leaves.
    pub kind: u8,
    pointers: Range<usize>,
}

impl Page {
    pub fn cells(&self) -> usize {
        self.pointers.len() / 2
    }

    /// The file, with the former cell `order[n]` in place `n` of this page.
    pub fn ordered(&self, bytes: &[u8], order: &[usize]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        for (pointer, from) in changed[self.pointers.clone()].chunks_exact_mut(2).zip(order) {
            let at = self.pointers.start + 2 * from;
            pointer.copy_from_slice(&bytes[at..at + 2]);
        }
        changed
    }

    /// The file without this page's last cell.
    pub fn shortened(&self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        let count = self.start() + 3;
        changed[count..count + 2].copy_from_slice(&u16::try_from(self.cells() - 1).unwrap().to_be_bytes());
        changed
    }

    fn start(&self) -> usize {
        self.pointers.start - header(self.kind)
    }
}

/// The length of a page's header; one that isn't a leaf names its last child there.
fn header(kind: u8) -> usize {
    match kind {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => panic!("a page of kind {kind}"),
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + N].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// All pages of all tables and indexes.
pub fn pages(bytes: &[u8]) -> Vec<Page> {
    let place = Place::new();
    place.put(bytes);
    let sqlite = place.sqlite();
    let mut statement = sqlite.prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").unwrap();
    let roots = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    let mut left = vec![("sqlite_schema".to_owned(), 1)];
    left.extend(roots.map(|root| root.map(|(of, page)| (of, usize::try_from(page).unwrap())).unwrap()));
    let mut pages = Vec::new();
    while let Some((of, page)) = left.pop() {
        let begin = (page - 1) * page_size(bytes);
        let start = if page == 1 { 100 } else { begin };
        let kind = bytes[start];
        let first = start + header(kind);
        let pointers = first..first + 2 * number::<2>(bytes, start + 3);
        if matches!(kind, 2 | 5) {
            left.push((of.clone(), number::<4>(bytes, start + 8)));
            let cells = pointers.clone().step_by(2).map(|at| begin + number::<2>(bytes, at));
            left.extend(cells.map(|cell| (of.clone(), number::<4>(bytes, cell))));
        }
        pages.push(Page { of, number: page, kind, pointers });
    }
    pages.sort_by_key(|page| page.number);
    pages
}

/// The one page of a small table or index.
pub fn only_page(bytes: &[u8], of: &str) -> Page {
    let mut found: Vec<Page> = pages(bytes).into_iter().filter(|page| page.of == of).collect();
    assert_eq!(found.len(), 1, "{of} has several pages");
    found.remove(0)
}

/// All orders of this number of cells.
pub fn orders(cells: usize) -> Vec<Vec<usize>> {
    let Some(last) = cells.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let longer = shorter.iter().flat_map(|order| {
        (0..cells).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    });
    longer.collect()
}
