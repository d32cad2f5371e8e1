//! The possible contents of a disk after a power loss: any part of the writes since a file's last sync.
//!
//! A sync makes a file's bytes and length durable, and only a sync of the folder makes names durable. All else is lost,
//! kept, or torn into sectors of which some are kept, in any order. A part of a file that was never written and lies
//! below its new end holds zeros, or what the disk held there before.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::calls::Entry;

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Everything,
    Nothing,
    /// All data, no name; all names, no data.
    Names,
    Data,
    /// Each change of each file survives completely or not at all, at random; names too.
    Changes,
    /// Each sector of this many bytes by chance; names too.
    Sectors(u64),
    /// As `Sectors(512)`, but every change of a file's length is kept, or none is.
    LengthsKept,
    LengthsLost,
}

pub const LOSSES: &[Loss] = &[
    Loss::Everything,
    Loss::Nothing,
    Loss::Names,
    Loss::Data,
    Loss::Changes,
    Loss::Sectors(512),
    Loss::Sectors(4096),
    Loss::LengthsKept,
    Loss::LengthsLost,
];

/// A small generator with a seed, so that a failure can be repeated.
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, data: Vec<u8> },
    Length(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, u64),
    Remove(String),
    Move(String, String),
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// The state of a disk: its durable part, and the writes since.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<u64, File>,
    durable: BTreeMap<String, u64>,
    current: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
}

/// The syncs that the disk ignores but acknowledges.
pub type Ignored = fn(name: &str) -> bool;

pub fn none_ignored(_: &str) -> bool {
    false
}

impl Disk {
    /// A disk on which all of `folder` has long been durable.
    pub fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let inode = entry.metadata().unwrap().ino();
            let name = entry.file_name().into_string().unwrap();
            disk.files.insert(inode, File { durable: std::fs::read(entry.path()).unwrap(), pending: Vec::new() });
            disk.durable.insert(name, inode);
        }
        disk.current = disk.durable.clone();
        disk
    }

    fn name_of(&self, inode: u64) -> &str {
        self.current.iter().find(|(_, found)| **found == inode).map_or("", |(name, _)| name)
    }

    fn rename(&mut self, change: NameChange) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    /// Whether `entry` changed anything.
    pub fn take(&mut self, entry: &Entry, ignored: Ignored) -> bool {
        match entry {
            Entry::Open { .. } | Entry::Failed { .. } | Entry::Acknowledged => return false,
            Entry::Create { name, inode } => {
                self.files.insert(*inode, File::default());
                self.rename(NameChange::Add(name.clone(), *inode));
            }
            Entry::Write { inode, at, data } => {
                self.files.get_mut(inode).unwrap().pending.push(Change::Write { at: *at, data: data.clone() });
            }
            Entry::Truncate { inode, len } => {
                self.files.get_mut(inode).unwrap().pending.push(Change::Length(*len));
            }
            Entry::Sync { inode } => {
                if ignored(self.name_of(*inode)) {
                    return false;
                }
                let file = self.files.get_mut(inode).unwrap();
                for change in std::mem::take(&mut file.pending) {
                    change.keep(&mut file.durable, 0, &mut |_| true);
                }
            }
            Entry::SyncFolder => {
                if ignored("") {
                    return false;
                }
                for change in std::mem::take(&mut self.pending) {
                    apply(&mut self.durable, &change);
                }
            }
            Entry::Link { from, to } => {
                let inode = self.current[from];
                self.rename(NameChange::Add(to.clone(), inode));
            }
            Entry::Rename { from, to } => self.rename(NameChange::Move(from.clone(), to.clone())),
            Entry::Unlink { name } => self.rename(NameChange::Remove(name.clone())),
        }
        true
    }

    /// What could be found after power was lost now.
    pub fn lose_power(&self, loss: Loss, chance: &mut Chance) -> Image {
        let mut names = self.durable.clone();
        for change in &self.pending {
            let kept = match loss {
                Loss::Everything | Loss::Names => false,
                Loss::Nothing | Loss::Data => true,
                _ => chance.coin(),
            };
            if kept {
                apply(&mut names, change);
            }
        }
        let mut contents = BTreeMap::new();
        for (inode, file) in &self.files {
            let mut content = file.durable.clone();
            let fill = if chance.coin() { 0 } else { 0xa5 };
            for change in &file.pending {
                let is_length = matches!(change, Change::Length(_));
                match loss {
                    Loss::Everything | Loss::Data => {}
                    Loss::Nothing | Loss::Names => change.keep(&mut content, fill, &mut |_| true),
                    Loss::Changes => {
                        if chance.coin() {
                            change.keep(&mut content, fill, &mut |_| true);
                        }
                    }
                    Loss::LengthsLost if is_length => {}
                    Loss::LengthsKept if is_length => change.keep(&mut content, fill, &mut |_| true),
                    Loss::Sectors(size) => change.tear(&mut content, fill, size, chance),
                    Loss::LengthsKept | Loss::LengthsLost => change.tear(&mut content, fill, 512, chance),
                }
            }
            contents.insert(*inode, content);
        }
        contents.retain(|inode, _| names.values().any(|named| named == inode));
        Image { names, contents }
    }
}

/// A folder as it is found when power is back.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Image {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
}

impl Image {
    /// Writes it into an empty folder.
    pub fn put_into(&self, folder: &Path) {
        let mut made: BTreeMap<u64, &str> = BTreeMap::new();
        for (name, inode) in &self.names {
            let path = folder.join(name);
            match made.get(inode) {
                Some(first) => std::fs::hard_link(folder.join(first), path).unwrap(),
                None => {
                    std::fs::write(&path, &self.contents[inode]).unwrap();
                    // Modes were set when the files were made, or the library refuses its key file.
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                    made.insert(*inode, name);
                }
            }
        }
    }
}

impl Change {
    fn tear(&self, content: &mut Vec<u8>, fill: u8, sector: u64, chance: &mut Chance) {
        match self {
            Self::Length(_) => {
                if chance.coin() {
                    self.keep(content, fill, &mut |_| true);
                }
            }
            Self::Write { .. } => {
                let mut kept = BTreeMap::new();
                self.keep(content, fill, &mut |at| *kept.entry(at / sector).or_insert_with(|| chance.coin()));
            }
        }
    }

    /// Copies those bytes into `content` whose position `kept` accepts.
    fn keep(&self, content: &mut Vec<u8>, fill: u8, kept: &mut dyn FnMut(u64) -> bool) {
        match self {
            Self::Length(len) => content.resize(*len as usize, 0),
            Self::Write { at, data } => {
                // Sector by sector: each byte of one shares its fate.
                let mut from = 0;
                while from < data.len() {
                    let place = *at + from as u64;
                    let until = data.len().min(from + (512 - place % 512) as usize);
                    if kept(place) {
                        let (start, end) = (place as usize, *at as usize + until);
                        if content.len() < end {
                            content.resize(start.max(content.len()), fill);
                            content.resize(end, fill);
                        }
                        content[start..end].copy_from_slice(&data[from..until]);
                    }
                    from = until;
                }
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Add(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Move(from, to) => {
            // Its creation may have been lost, and then there is nothing to move.
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}
