//! Merkle trees over the keystore's rows: what is there, and which copy of it is the newest.
//!
//! A tree maps names of a fixed length to digests of 16 bytes. Each of its nodes is one row of the keystore and holds the
//! digests of its children; the digest of a root stands in the keystore's description. So a row, a node or a branch that was
//! removed, put back or replaced by an older copy doesn't fit what stands above it, and that something is *not* there
//! can be told from one path.
//!
//! Nodes are kept in memory once they were checked. One is used again only if its parent, read in the same
//! transaction, names it by its digest: what another process wrote or a rollback undid needs no bookkeeping.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::backend::Backend;
use super::sealing::Sealing;
use crate::error::{Error, Result, Status};

/// A truncated MAC. Of a node, or of a row; zeros where a tree is empty.
pub type Digest = [u8; 16];
pub const EMPTY: Digest = [0; 16];

/// Checked nodes that are kept, of at most 4352 bytes where names are short.
const KEPT: usize = 512;
/// The first number of a leaf; all nodes that branch have lower ones.
const LOWEST_LEAF: i64 = Place { level: Tree::Ids.branching(), tree: Tree::Ids, prefix: 0 }.number();

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// Row number of a key (4 bytes) to its row's MAC. Rows that are written together share their nodes.
    Keys,
    /// Key id to row number.
    Ids,
    /// Keyed hash of an alias's name to its row's MAC.
    Aliases,
}

pub const TREES: usize = 3;

impl Tree {
    const fn index(self) -> usize {
        self as usize
    }

    /// Levels of nodes that branch by one byte of the name; below them, a leaf holds the rest of each name.
    const fn branching(self) -> usize {
        match self {
            Self::Keys => 3,
            Self::Ids | Self::Aliases => 2,
        }
    }

    const fn name_len(self) -> usize {
        match self {
            Self::Keys => 4,
            Self::Ids | Self::Aliases => 16,
        }
    }

    /// How much of a name an entry of this level holds.
    const fn part_len(self, level: usize) -> usize {
        if level < self.branching() { 1 } else { self.name_len() - self.branching() }
    }
}

/// Where a node stands: the tree, and the first bytes of a name, which lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    level: usize,
    tree: Tree,
    prefix: i64,
}

impl Place {
    const fn root(tree: Tree) -> Self {
        Self { level: 0, tree, prefix: 0 }
    }

    fn child(self, part: u8) -> Self {
        Self { level: self.level + 1, prefix: self.prefix << 8 | i64::from(part), ..self }
    }

    /// The node above and the part of the name that leads here from there.
    fn parent(self) -> Option<(Self, u8)> {
        let level = self.level.checked_sub(1)?;
        Some((Self { level, prefix: self.prefix >> 8, ..self }, self.prefix.to_le_bytes()[0]))
    }

    /// The node's row: neighbours lie together.
    const fn number(self) -> i64 {
        (self.level as i64) << 40 | (self.tree.index() as i64 + 1) << 32 | self.prefix
    }
}

/// A node's entries in order: a part of the name and the child's digest, each of fixed length.
#[derive(Debug, Clone, Default)]
struct Node(Vec<u8>);

impl Node {
    /// Where the entry of `part` starts, or where it belongs.
    fn search(&self, part: &[u8]) -> std::result::Result<usize, usize> {
        let width = part.len() + EMPTY.len();
        let (mut low, mut high) = (0, self.0.len() / width);
        while low < high {
            let middle = low.midpoint(high);
            let at = middle * width;
            match self.0.get(at..at + part.len()).unwrap_or_default().cmp(part) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(at),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low * width)
    }

    fn get(&self, part: &[u8]) -> Option<Digest> {
        let at = self.search(part).ok()? + part.len();
        self.0.get(at..)?.first_chunk().copied()
    }

    fn set(&mut self, part: &[u8], digest: Option<&Digest>) {
        match (self.search(part), digest) {
            (Ok(at), Some(digest)) => {
                let at = at + part.len();
                if let Some(old) = self.0.get_mut(at..at + digest.len()) {
                    old.copy_from_slice(digest);
                }
            }
            (Err(at), Some(digest)) => drop(self.0.splice(at..at, part.iter().chain(digest).copied())),
            (Ok(at), None) => drop(self.0.drain(at..at + part.len() + EMPTY.len())),
            (Err(_), None) => {}
        }
    }

    fn entries(&self, part_len: usize) -> impl Iterator<Item = (&[u8], Digest)> {
        self.0.chunks_exact(part_len + EMPTY.len()).filter_map(move |entry| {
            let (part, digest) = entry.split_at_checked(part_len)?;
            Some((part, *digest.first_chunk()?))
        })
    }
}

/// A name of a tree and its digest.
pub type Entry = (Vec<u8>, Digest);

/// A list being made, and the name of the node it has come to.
struct List {
    name: Vec<u8>,
    limit: usize,
    found: Vec<Entry>,
}

/// The nodes that one connection has seen, and those that its transaction has changed.
#[derive(Default)]
pub struct Nodes {
    kept: HashMap<i64, (Digest, Arc<Node>)>,
    /// In the order of levels, so that children come before their parents from the end.
    changed: BTreeMap<Place, Node>,
    roots: [Digest; TREES],
}

impl Nodes {
    /// Begins a transaction on a keystore whose description names these roots.
    pub fn begin(&mut self, roots: [Digest; TREES]) {
        self.changed.clear();
        self.roots = roots;
    }

    fn root(&self, tree: Tree) -> Digest {
        self.roots.get(tree.index()).copied().unwrap_or(EMPTY)
    }

    /// The digest of `name`, `None` where the tree has no such name.
    pub fn get(&mut self, rows: &mut Rows<'_>, tree: Tree, name: &[u8]) -> Result<Option<Digest>> {
        let mut expected = Some(self.root(tree)).filter(|root| *root != EMPTY);
        let mut place = Place::root(tree);
        let mut rest = name;
        loop {
            let part = rest.get(..tree.part_len(place.level)).ok_or_else(misused)?;
            expected = match (self.changed.get(&place), expected) {
                (Some(node), _) => node.get(part),
                (None, Some(digest)) => self.load(rows, place, &digest)?.get(part),
                (None, None) => return Ok(None),
            };
            if place.level == tree.branching() {
                return Ok(expected);
            }
            let (first, below) = rest.split_first().ok_or_else(misused)?;
            (place, rest) = (place.child(*first), below);
        }
    }

    /// Gives `name` this digest, or takes it out of the tree.
    pub fn put(&mut self, rows: &mut Rows<'_>, tree: Tree, name: &[u8], digest: Option<&Digest>) -> Result<()> {
        let mut expected = Some(self.root(tree)).filter(|root| *root != EMPTY);
        let mut place = Place::root(tree);
        let mut rest = name;
        loop {
            let part = rest.get(..tree.part_len(place.level)).ok_or_else(misused)?;
            if !self.changed.contains_key(&place) {
                let node = match expected {
                    Some(digest) => Node::clone(&*self.load(rows, place, &digest)?),
                    None => Node::default(),
                };
                self.changed.insert(place, node);
            }
            let node = self.changed.get_mut(&place).ok_or_else(misused)?;
            if place.level == tree.branching() {
                node.set(part, digest);
                return Ok(());
            }
            expected = node.get(part);
            let (first, below) = rest.split_first().ok_or_else(misused)?;
            (place, rest) = (place.child(*first), below);
        }
    }

    /// The first `limit` names after `after`, or from the start, of the tree as it is stored.
    pub fn after(&mut self, rows: &mut Rows<'_>, tree: Tree, after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        let mut list = List { name: Vec::new(), limit, found: Vec::new() };
        let root = self.root(tree);
        if root != EMPTY {
            self.walk(rows, Place::root(tree), &root, after, &mut list)?;
        }
        Ok(list.found)
    }

    /// `after`: what is left of that name below this node.
    fn walk(
        &mut self,
        rows: &mut Rows<'_>,
        place: Place,
        digest: &Digest,
        after: Option<&[u8]>,
        list: &mut List,
    ) -> Result<()> {
        let node = self.load(rows, place, digest)?;
        let part_len = place.tree.part_len(place.level);
        let border = after.and_then(|after| after.split_at_checked(part_len));
        for (part, digest) in node.entries(part_len) {
            if list.found.len() >= list.limit {
                return Ok(());
            }
            let inside = match border {
                Some((first, _)) if part < first => continue,
                Some((first, rest)) if part == first => Some(rest),
                _ => None,
            };
            let above = list.name.len();
            list.name.extend(part);
            match part {
                [part] if place.level < place.tree.branching() => {
                    self.walk(rows, place.child(*part), &digest, inside, list)?;
                }
                _ if inside.is_none() => list.found.push((list.name.clone(), digest)),
                _ => {}
            }
            list.name.truncate(above);
        }
        Ok(())
    }

    /// The node at `place`, which must be the one whose digest its parent holds.
    fn load(&mut self, rows: &mut Rows<'_>, place: Place, digest: &Digest) -> Result<Arc<Node>> {
        let number = place.number();
        if let Some((kept, node)) = self.kept.get(&number)
            && kept == digest
        {
            return Ok(Arc::clone(node));
        }
        let content = rows.backend.node(number)?.ok_or_else(damaged)?;
        if rows.sealing.node_digest(number, &content)? != *digest {
            return Err(damaged());
        }
        let node = Arc::new(Node(content));
        self.keep(number, *digest, &node);
        Ok(node)
    }

    fn keep(&mut self, number: i64, digest: Digest, node: &Arc<Node>) {
        if self.kept.len() >= KEPT {
            // What lies above the leaves is needed again for whatever comes next.
            self.kept.retain(|number, _| *number < LOWEST_LEAF);
            if self.kept.len() >= KEPT {
                self.kept.clear();
            }
        }
        self.kept.insert(number, (digest, Arc::clone(node)));
    }

    /// Writes the changed nodes; returns the new roots.
    pub fn flush(&mut self, rows: &mut Rows<'_>) -> Result<[Digest; TREES]> {
        while let Some((place, node)) = self.changed.pop_last() {
            let number = place.number();
            let digest = match node.0.is_empty() {
                true => {
                    rows.backend.delete_node(number)?;
                    None
                }
                false => {
                    let digest = rows.sealing.node_digest(number, &node.0)?;
                    rows.backend.put_node(number, &node.0)?;
                    self.keep(number, digest, &Arc::new(node));
                    Some(digest)
                }
            };
            match place.parent() {
                Some((parent, part)) => {
                    self.changed.get_mut(&parent).ok_or_else(misused)?.set(&[part], digest.as_ref());
                }
                None => {
                    if let Some(root) = self.roots.get_mut(place.tree.index()) {
                        *root = digest.unwrap_or(EMPTY);
                    }
                }
            }
        }
        Ok(self.roots)
    }
}

/// What a tree reads its nodes with.
pub struct Rows<'a> {
    pub backend: &'a mut dyn Backend,
    pub sealing: &'a mut Sealing,
}

fn misused() -> Error {
    Status::Internal.error("a name does not fit its tree")
}

fn damaged() -> Error {
    Status::KeystoreCorrupt.error(
        "the part of the keystore that says which rows are the newest was altered or damaged; restore it from a backup",
    )
}

#[cfg(test)]
mod tests;
