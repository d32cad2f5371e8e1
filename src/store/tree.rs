//! Merkle trees over the keystore's rows: which exist, and which copy of each is the newest.
//!
//! Each shard has its own trees. A tree maps names of a fixed length to digests of 16 bytes. Each of its nodes but the
//! root is one row of the keystore and holds the digests of its children; the roots are in the keystore's description.
//! So a row, a node or a branch that was removed, put back or replaced by an older copy doesn't fit the nodes above it.
//! One path also proves that something does *not* exist.
//!
//! Nodes are kept in memory once they were checked. One is used again only if its parent, read in the same
//! transaction, names it by its digest: what another process wrote or a rollback undid needs no bookkeeping.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::backend::Backend;
use super::digest::{Digest, Roots, TREES};
use super::sealing::Sealing;
use super::shard::{Shard, Shards};
use crate::error::{Error, Result, Status};

/// Checked nodes that are kept, of at most 1088 bytes where names are short.
const KEPT: usize = if cfg!(test) { 24 } else { 2048 };
/// Bits of a name by which nodes branch or that order leaves; names are longer, or just so long.
const TOP: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// Row number of a key (4 bytes) to its row's MAC. Rows that are written together share their nodes.
    Keys,
    /// Key id to row number.
    Ids,
    /// Keyed hash of an alias's name to its row's MAC.
    Aliases,
}

const ALL: [Tree; TREES] = [Tree::Keys, Tree::Ids, Tree::Aliases];

impl Tree {
    const fn index(self) -> usize {
        self as usize
    }

    /// By how many bits of the name each level of nodes branches; below them, a leaf holds the rest of each name.
    ///
    /// Several nodes fit on a page of the file, so a change writes few pages. The roots are in the keystore's
    /// description, and must stay short.
    const fn bits(self) -> &'static [u32] {
        match self {
            Self::Keys => &[8, 6, 6, 6],
            Self::Ids | Self::Aliases => &[4, 6, 6],
        }
    }
}

/// The place of a node: the shard, the tree, and the first bits of a name, which lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NodePath {
    level: usize,
    shard: Shard,
    tree: Tree,
    prefix: u32,
}

impl NodePath {
    const fn root(shard: Shard, tree: Tree) -> Self {
        Self { level: 0, shard, tree, prefix: 0 }
    }

    /// How many bits of a name lead here.
    fn bits_above(self) -> u32 {
        self.tree.bits().iter().take(self.level).sum()
    }

    /// By how many bits the nodes of this level branch; `None` in a leaf.
    fn bits(self) -> Option<u32> {
        self.tree.bits().get(self.level).copied()
    }

    fn child(self, part: u8) -> Self {
        Self { level: self.level + 1, prefix: self.prefix << self.bits().unwrap_or(0) | u32::from(part), ..self }
    }

    /// The node above and the part of the name that leads here from there.
    fn parent(self) -> Option<(Self, u8)> {
        let above = Self { level: self.level.checked_sub(1)?, ..self };
        let bits = above.bits()?;
        let part = self.prefix & ((1 << bits) - 1);
        Some((Self { prefix: self.prefix >> bits, ..above }, part.to_le_bytes()[0]))
    }

    /// The last name that leads here, as far as names order nodes.
    fn last(self) -> u32 {
        let below = TOP - self.bits_above();
        (u64::from(self.prefix) << below | ((1 << below) - 1)) as u32
    }

    /// The node's row: a node comes right after its children, so that a path is on few pages.
    fn number(self) -> i64 {
        self.shard.nodes()
            | (self.tree.index() as i64 + 1) << 40
            | i64::from(self.last()) << 3
            | (7 - self.level as i64)
    }

    /// The place of this row's node; none if no node has such a row.
    fn of_number(shards: Shards, number: i64) -> Option<Self> {
        let (shard, at) = shards.of_node(number)?;
        let index = usize::try_from((at >> 40).checked_sub(1)?).ok()?;
        let root = Self::root(shard, *ALL.get(index)?);
        let level = 7 - usize::try_from(at & 7).ok()?;
        let place = Self { level, ..root };
        let below = TOP.checked_sub(place.bits_above())?;
        let last = u32::try_from(at >> 3 & i64::from(u32::MAX)).ok()?;
        let place = Self { prefix: last.checked_shr(below).unwrap_or(0), ..place };
        (level > 0 && level <= place.tree.bits().len() && place.number() == number).then_some(place)
    }

    /// How many whole bytes of a name are known from the place of its leaf.
    fn bytes_above(self) -> usize {
        self.bits_above() as usize / 8
    }

    /// What an entry of this node holds of `name`.
    fn part(self, name: &[u8]) -> Result<Part<'_>> {
        let Some(bits) = self.bits() else {
            return Ok(Part { rest: name.get(self.bytes_above()..).ok_or_else(misused)?, branch: [0], is_leaf: true });
        };
        let branch = top(name)? >> (TOP - self.bits_above() - bits) & ((1 << bits) - 1);
        Ok(Part { rest: &[], branch: [branch.to_le_bytes()[0]], is_leaf: false })
    }

    /// The length of a digest in this node. The number of a row needs no more than 4 bytes.
    fn digest_len(self) -> usize {
        match (self.tree, self.bits()) {
            (Tree::Ids, None) => 4,
            _ => size_of::<Digest>(),
        }
    }

    /// The length of a part of a name in this node.
    fn part_len(self) -> usize {
        match (self.tree, self.bits()) {
            (_, Some(_)) | (Tree::Keys, None) => 1,
            (Tree::Ids | Tree::Aliases, None) => 14,
        }
    }
}

/// The bits of a name that order nodes.
fn top(name: &[u8]) -> Result<u32> {
    name.first_chunk().map(|first| u32::from_be_bytes(*first)).ok_or_else(misused)
}

/// A part of a name: a branch to a child, or in a leaf all that doesn't lead to it.
struct Part<'a> {
    rest: &'a [u8],
    branch: [u8; 1],
    is_leaf: bool,
}

impl Part<'_> {
    fn bytes(&self) -> &[u8] {
        if self.is_leaf { self.rest } else { &self.branch }
    }
}

/// A node's entries in order: a part of the name and the end of the digest, each of a length that follows from its place.
#[derive(Debug, Clone, Default)]
struct Node(Vec<u8>);

impl Node {
    /// Where the entry of `part` starts, or where it belongs.
    fn search(&self, part: &[u8], digest_len: usize) -> std::result::Result<usize, usize> {
        let width = part.len() + digest_len;
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

    fn get(&self, part: &[u8], digest_len: usize) -> Option<Digest> {
        let at = self.search(part, digest_len).ok()? + part.len();
        self.0.get(at..at + digest_len).and_then(whole)
    }

    fn set(&mut self, part: &[u8], digest: Option<&[u8]>, digest_len: usize) {
        match (self.search(part, digest_len), digest) {
            (Ok(at), Some(digest)) => {
                let at = at + part.len();
                if let Some(old) = self.0.get_mut(at..at + digest.len()) {
                    old.copy_from_slice(digest);
                }
            }
            (Err(at), Some(digest)) => drop(self.0.splice(at..at, part.iter().chain(digest).copied())),
            (Ok(at), None) => drop(self.0.drain(at..at + part.len() + digest_len)),
            (Err(_), None) => {}
        }
    }

    fn entries(&self, place: NodePath) -> impl Iterator<Item = (&[u8], Digest)> {
        let part_len = place.part_len();
        self.0.chunks_exact(part_len + place.digest_len()).filter_map(move |entry| {
            let (part, digest) = entry.split_at_checked(part_len)?;
            Some((part, whole(digest)?))
        })
    }
}

/// A digest from its end; what is not in the node is zero.
fn whole(end: &[u8]) -> Option<Digest> {
    let mut digest = [0; size_of::<Digest>()];
    let at = digest.len().checked_sub(end.len())?;
    digest.get_mut(at..)?.copy_from_slice(end);
    Some(digest)
}

/// The end of a digest that a node holds; the rest must be zero.
fn end(digest: &Digest, len: usize) -> Result<&[u8]> {
    match digest.split_at_checked(digest.len() - len) {
        Some((zeros, end)) if zeros.iter().all(|byte| *byte == 0) => Ok(end),
        _ => Err(misused()),
    }
}

/// A name of a tree and its digest.
pub type TreeEntry = (Vec<u8>, Digest);

struct CachedNode {
    digest: Digest,
    node: Arc<Node>,
    is_leaf: bool,
}

/// The nodes that one connection has seen, and those that its transaction has changed.
#[derive(Default)]
pub struct Nodes {
    kept: HashMap<i64, CachedNode>,
    /// In the order of levels, so that children come before their parents from the end.
    changed: BTreeMap<NodePath, Node>,
    /// By shard; those of a shard hold in a transaction once it was opened there.
    roots: Vec<[Arc<Node>; TREES]>,
    /// Whether the transaction has changed roots.
    has_new_roots: bool,
}

impl Nodes {
    /// Begins a transaction.
    pub fn begin(&mut self) {
        self.changed.clear();
        self.has_new_roots = false;
    }

    /// Whether the transaction has changed roots, which are those of no description unless it is committed.
    pub fn has_new_roots(&self) -> bool {
        self.has_new_roots
    }

    /// Takes the roots that the description of a shard has.
    pub fn open(&mut self, shard: Shard, roots: &Roots) {
        if self.roots.len() <= shard.index() {
            self.roots.resize_with(shard.index() + 1, Default::default);
        }
        let Some(known) = self.roots.get_mut(shard.index()) else { return };
        for (kept, root) in known.iter_mut().zip(roots) {
            if kept.0 != *root {
                *kept = Arc::new(Node(root.clone()));
            }
        }
    }

    /// Reads every node again from now on.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    fn root(&self, shard: Shard, tree: Tree) -> Arc<Node> {
        self.roots.get(shard.index()).and_then(|roots| roots.get(tree.index())).cloned().unwrap_or_default()
    }

    /// The roots of a shard as they are now.
    pub fn roots(&self, shard: Shard) -> Roots {
        ALL.map(|tree| self.root(shard, tree).0.clone())
    }

    /// The node at `place` as it is stored; none where nothing leads to it.
    fn stored(&mut self, rows: &mut Rows<'_>, place: NodePath, digest: Option<&Digest>) -> Result<Option<Arc<Node>>> {
        match digest {
            _ if place.level == 0 => Ok(Some(self.root(place.shard, place.tree))),
            Some(digest) => self.load(rows, place, digest).map(Some),
            None => Ok(None),
        }
    }

    /// The digest of `name`, `None` where the tree has no such name.
    pub fn get(&mut self, rows: &mut Rows<'_>, (shard, tree): (Shard, Tree), name: &[u8]) -> Result<Option<Digest>> {
        let mut expected = None;
        let mut place = NodePath::root(shard, tree);
        loop {
            let part = place.part(name)?;
            let found = match self.changed.get(&place) {
                Some(node) => node.get(part.bytes(), place.digest_len()),
                None => match self.stored(rows, place, expected.as_ref())? {
                    Some(node) => node.get(part.bytes(), place.digest_len()),
                    None => return Ok(None),
                },
            };
            if part.is_leaf {
                return Ok(found);
            }
            (place, expected) = (place.child(part.branch[0]), found);
        }
    }

    /// Checks that the tree leads to the node of this row, which must be as it was written.
    pub fn check_row(&mut self, rows: &mut Rows<'_>, number: i64) -> Result<()> {
        let place = NodePath::of_number(rows.backend.shards(), number).ok_or_else(unreached)?;
        let mut above = NodePath::root(place.shard, place.tree);
        let mut node = self.root(place.shard, place.tree);
        while above.level < place.level {
            let bits = above.bits().ok_or_else(unreached)?;
            let part = place.last() >> (TOP - above.bits_above() - bits) & ((1 << bits) - 1);
            let part = part.to_le_bytes()[0];
            let digest = node.get(&[part], above.digest_len()).ok_or_else(unreached)?;
            above = above.child(part);
            node = self.load(rows, above, &digest)?;
        }
        Ok(())
    }

    /// Sets the digest of `name`, or removes it from the tree.
    pub fn put(
        &mut self,
        rows: &mut Rows<'_>,
        (shard, tree): (Shard, Tree),
        name: &[u8],
        digest: Option<&Digest>,
    ) -> Result<()> {
        let mut expected = None;
        let mut place = NodePath::root(shard, tree);
        loop {
            let part = place.part(name)?;
            if !self.changed.contains_key(&place) {
                let node = self.stored(rows, place, expected.as_ref())?;
                self.changed.insert(place, node.map(|node| Node::clone(&node)).unwrap_or_default());
            }
            let node = self.changed.get_mut(&place).ok_or_else(misused)?;
            if part.is_leaf {
                let len = place.digest_len();
                node.set(part.bytes(), digest.map(|digest| end(digest, len)).transpose()?, len);
                return Ok(());
            }
            expected = node.get(part.bytes(), place.digest_len());
            place = place.child(part.branch[0]);
        }
    }

    /// The first `limit` names after `after`, or from the start, of a shard's tree as it is stored.
    pub fn after(
        &mut self,
        rows: &mut Rows<'_>,
        (shard, tree): (Shard, Tree),
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<TreeEntry>> {
        let mut found = Vec::new();
        let root = self.root(shard, tree);
        self.walk(rows, NodePath::root(shard, tree), &root, after, limit, &mut found)?;
        Ok(found)
    }

    fn walk(
        &mut self,
        rows: &mut Rows<'_>,
        place: NodePath,
        node: &Node,
        after: Option<&[u8]>,
        limit: usize,
        found: &mut Vec<TreeEntry>,
    ) -> Result<()> {
        let border = after.map(top).transpose()?;
        for (part, digest) in node.entries(place) {
            if found.len() >= limit {
                return Ok(());
            }
            match part {
                [part] if place.bits().is_some() => {
                    let child = place.child(*part);
                    if border.is_none_or(|border| border <= child.last()) {
                        let node = self.load(rows, child, &digest)?;
                        self.walk(rows, child, &node, after, limit, found)?;
                    }
                }
                rest => {
                    let above = place.last().to_be_bytes();
                    let name = [above.get(..place.bytes_above()).unwrap_or_default(), rest].concat();
                    if after.is_none_or(|after| *after < *name) {
                        found.push((name, digest));
                    }
                }
            }
        }
        Ok(())
    }

    /// The node at `place`, which must be the one whose digest its parent holds.
    fn load(&mut self, rows: &mut Rows<'_>, place: NodePath, digest: &Digest) -> Result<Arc<Node>> {
        let number = place.number();
        if let Some(kept) = self.kept.get(&number)
            && kept.digest == *digest
        {
            return Ok(Arc::clone(&kept.node));
        }
        let content = rows.backend.node(number)?.ok_or_else(damaged)?;
        if rows.sealing.node_digest(number, &content)? != *digest {
            return Err(damaged());
        }
        let node = Arc::new(Node(content));
        self.keep(place, *digest, &node);
        Ok(node)
    }

    fn keep(&mut self, place: NodePath, digest: Digest, node: &Arc<Node>) {
        if self.kept.len() >= KEPT {
            // The nodes above the leaves are needed again for the next step.
            self.kept.retain(|_, kept| !kept.is_leaf);
            if self.kept.len() >= KEPT {
                self.kept.clear();
            }
        }
        let kept = CachedNode { digest, node: Arc::clone(node), is_leaf: place.bits().is_none() };
        self.kept.insert(place.number(), kept);
    }

    /// Writes the changed nodes. [`Self::roots`] has the new roots then.
    pub fn flush(&mut self, rows: &mut Rows<'_>) -> Result<()> {
        while let Some((place, node)) = self.changed.pop_last() {
            let Some((parent, part)) = place.parent() else {
                let roots = self.roots.get_mut(place.shard.index());
                if let Some(root) = roots.and_then(|roots| roots.get_mut(place.tree.index())) {
                    *root = Arc::new(node);
                    self.has_new_roots = true;
                }
                continue;
            };
            let number = place.number();
            let digest = match node.0.is_empty() {
                true => {
                    rows.backend.delete_node(number)?;
                    None
                }
                false => {
                    let digest = rows.sealing.node_digest(number, &node.0)?;
                    rows.backend.put_node(number, &node.0)?;
                    self.keep(place, digest, &Arc::new(node));
                    Some(digest)
                }
            };
            let above = self.changed.get_mut(&parent).ok_or_else(misused)?;
            above.set(&[part], digest.as_ref().map(Digest::as_slice), parent.digest_len());
        }
        Ok(())
    }
}

/// The numbers of the nodes on the path of a name, from the top, without the root. They follow from the name alone, so a
/// backend can read a whole path at once.
#[cfg(any(kms_faults, feature = "postgres"))]
pub fn path(shard: Shard, tree: Tree, name: &[u8]) -> impl Iterator<Item = i64> {
    let mut place = Some(NodePath::root(shard, tree));
    std::iter::from_fn(move || {
        let above = place?;
        let part = above.part(name).ok().filter(|part| !part.is_leaf);
        place = part.map(|part| above.child(part.branch[0]));
        place.map(NodePath::number)
    })
}

/// What a tree reads its nodes with.
pub struct Rows<'a> {
    pub backend: &'a mut dyn Backend,
    pub sealing: &'a mut Sealing,
}

fn misused() -> Error {
    Status::Internal.error("a name does not fit its tree")
}

fn unreached() -> Error {
    Status::KeystoreCorrupt.error("the keystore has a node that belongs to no tree; restore the keystore from a backup")
}

fn damaged() -> Error {
    Status::KeystoreCorrupt.error(
        "the trees that authenticate the keystore's rows were altered or damaged; restore the keystore from a backup",
    )
}

#[cfg(test)]
mod tests;
