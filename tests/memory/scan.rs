//! Another process's memory, as /proc shows it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The searched pattern: half a key, so that half a copy is found too.
pub type Pattern = (String, [u8; 16]);

/// One range of addresses that its process can write.
pub struct Range {
    start: usize,
    name: String,
    dumped: bool,
    pub locked: bool,
    pub bytes: Vec<u8>,
}

pub struct Memory(pub Vec<Range>);

#[derive(Debug)]
pub struct Found {
    pub name: String,
    pub dumped: bool,
    pub locked: bool,
    place: String,
}

impl Found {
    /// Whether it lies on the stack of the process's first thread.
    #[cfg(kms_faults)]
    pub fn is_on_stack(&self) -> bool {
        self.place.contains("[stack]")
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.place)
    }
}

impl Memory {
    /// All that the process can write, while it waits.
    pub fn of(pid: u32) -> Self {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let mut ranges: Vec<Range> = Vec::new();
        let mut writable = false;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                let [start, end] = [start, end].map(|number| usize::from_str_radix(number, 16).unwrap());
                writable = words.next().unwrap().contains('w');
                if writable {
                    let name = words.nth(3).unwrap_or("anonymous").to_owned();
                    let mut bytes = vec![0; end - start];
                    // Pages that can't be read, such as a device's, hold nothing of the library's.
                    let read = memory.read_exact_at(&mut bytes, start as u64);
                    assert!(read.is_ok() || name != "[stack]", "the memory can't be read: {read:?}");
                    ranges.push(Range { start, name, dumped: true, locked: false, bytes });
                }
            } else if first == "VmFlags:"
                && writable
                && let Some(range) = ranges.last_mut()
            {
                for flag in words {
                    range.dumped &= flag != "dd";
                    range.locked |= flag == "lo";
                }
            }
        }
        assert!(ranges.len() > 5, "hardly any memory was read");
        Self(ranges)
    }

    pub fn find(&self, patterns: &[Pattern]) -> Vec<Found> {
        let search = Search::new(patterns);
        let in_range = |range: &'_ Range| {
            let Range { start, name: place, dumped, locked, bytes } = range;
            let found = search.in_bytes(bytes).into_iter().map(|(name, at)| Found {
                name,
                dumped: *dumped,
                locked: *locked,
                place: format!("{:x} in {place}", start + at),
            });
            found.collect::<Vec<_>>()
        };
        self.0.iter().flat_map(in_range).collect()
    }
}

/// Many patterns at once.
pub struct Search<'a> {
    /// Whether some pattern begins with these two bytes.
    begins: Vec<bool>,
    by_bytes: HashMap<&'a [u8], &'a str>,
}

impl<'a> Search<'a> {
    pub fn new(patterns: &'a [Pattern]) -> Self {
        let mut begins = vec![false; 1 << 16];
        for (_, bytes) in patterns {
            begins[usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]))] = true;
        }
        Self { begins, by_bytes: patterns.iter().map(|(name, bytes)| (&bytes[..], name.as_str())).collect() }
    }

    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(15) {
            if self.begins[usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]))]
                && let Some(name) = self.by_bytes.get(&bytes[at..at + 16])
            {
                found.push(((*name).to_owned(), at));
            }
        }
        found
    }
}

impl Memory {
    /// All random-looking bytes in memory for secrets: keys, their expansions, values derived from them.
    pub fn random(&self) -> Vec<Pattern> {
        let mut all = Vec::new();
        for range in self.0.iter().filter(|range| range.is_secret()) {
            for (at, bytes) in range.bytes.as_chunks::<16>().0.iter().enumerate() {
                let mut seen = *bytes;
                seen.sort_unstable();
                // Addresses, numbers and texts have zeros in them, and repeat bytes.
                if seen[0] != 0 && seen.windows(2).filter(|pair| pair[0] != pair[1]).count() >= 12 {
                    all.push((format!("what was at {:x}", range.start + 16 * at), *bytes));
                }
            }
        }
        all
    }
}

impl Range {
    /// Whether no dump holds it: this marks memory for secrets where it can't be locked.
    pub fn is_secret(&self) -> bool {
        !self.dumped
    }
}
