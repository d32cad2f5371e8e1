use std::time::Duration;

use super::*;
use crate::store::backend::Transaction;
use crate::store::sqlite::Sqlite;

struct Store {
    backend: Sqlite,
    sealing: Sealing,
}

impl Store {
    fn new() -> Self {
        let mut backend = Sqlite::in_memory().unwrap();
        backend.begin(Transaction::Write, Duration::ZERO).unwrap();
        Self { backend, sealing: Sealing::new(&[1; 32], [2; 16]).unwrap() }
    }

    fn rows(&mut self) -> Rows<'_> {
        Rows { backend: &mut self.backend, sealing: &mut self.sealing }
    }
}

/// Transactions on a store of one shard.
impl Nodes {
    fn start(&mut self, roots: &Roots) {
        self.begin();
        self.open(Shard::FIRST, roots);
    }

    fn write(&mut self, rows: &mut Rows<'_>) -> Result<Roots> {
        self.flush(rows)?;
        Ok(self.roots(Shard::FIRST))
    }
}

/// A generator that needs no seed from outside: each run is the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// What a leaf of this tree can hold.
    fn digest(&mut self, tree: Tree) -> Digest {
        match tree {
            Tree::Ids => u128::from(self.next() as u32 | 1).to_be_bytes(),
            Tree::Keys | Tree::Aliases => {
                (u128::from(self.next()) << 97 | u128::from(self.next()) << 32 | u128::from(self.next()) | 1)
                    .to_be_bytes()
            }
        }
    }
}

/// Names that share prefixes of every length.
fn name(tree: Tree, numbers: &mut Numbers) -> Vec<u8> {
    let len = if tree == Tree::Keys { 4 } else { 16 };
    (0..len)
        .map(|at| if at + 1 == len || numbers.next().is_multiple_of(3) { (numbers.next() % 5) as u8 } else { 0 })
        .collect()
}

#[test]
fn a_tree_holds_what_a_map_holds() {
    for tree in [Tree::Keys, Tree::Ids, Tree::Aliases] {
        let (mut store, mut numbers) = (Store::new(), Numbers(7));
        let (mut nodes, mut roots) = (Nodes::default(), Roots::default());
        let mut model: BTreeMap<Vec<u8>, Digest> = BTreeMap::new();
        for round in 0..60 {
            nodes.start(&roots);
            for _ in 0..20 {
                let name = name(tree, &mut numbers);
                // Late rounds take away more than they add, down to nothing.
                let digest = (numbers.next() % 60 >= round).then(|| numbers.digest(tree));
                nodes.put(&mut store.rows(), (Shard::FIRST, tree), &name, digest.as_ref()).unwrap();
                match digest {
                    Some(digest) => drop(model.insert(name.clone(), digest)),
                    None => drop(model.remove(&name)),
                }
                assert_eq!(
                    nodes.get(&mut store.rows(), (Shard::FIRST, tree), &name).unwrap(),
                    digest,
                    "before it is written"
                );
            }
            if round == 59 {
                for name in std::mem::take(&mut model).into_keys() {
                    nodes.put(&mut store.rows(), (Shard::FIRST, tree), &name, None).unwrap();
                }
            }
            roots = nodes.write(&mut store.rows()).unwrap();
            // By another connection, which has seen none of it, too.
            for nodes in [&mut nodes, &mut Nodes::default()] {
                nodes.start(&roots);
                for _ in 0..40 {
                    let name = name(tree, &mut numbers);
                    assert_eq!(
                        nodes.get(&mut store.rows(), (Shard::FIRST, tree), &name).unwrap(),
                        model.get(&name).copied()
                    );
                }
                let all = nodes.after(&mut store.rows(), (Shard::FIRST, tree), None, usize::MAX).unwrap();
                assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>(), "the list of all names");
                let border = name(tree, &mut numbers);
                let some = nodes.after(&mut store.rows(), (Shard::FIRST, tree), Some(&border), 5).unwrap();
                let expected = model.iter().filter(|(name, _)| **name > border).take(5);
                assert_eq!(some, expected.map(|(n, d)| (n.clone(), *d)).collect::<Vec<_>>(), "a list after a name");
            }
        }
        assert_eq!(roots, Roots::default(), "an emptied tree has a root");
        let left = store.backend.nodes().unwrap();
        assert_eq!(left, Vec::<i64>::new(), "an emptied tree has nodes");
    }
}

#[test]
fn the_order_of_changes_leaves_no_trace() {
    let mut numbers = Numbers(3);
    let entries: Vec<TreeEntry> =
        (0..200).map(|_| (name(Tree::Ids, &mut numbers), numbers.digest(Tree::Ids))).collect();
    let distinct: BTreeMap<Vec<u8>, Digest> = entries.into_iter().collect();
    let root = |entries: Vec<(&Vec<u8>, &Digest)>, at_once: bool| {
        let (mut store, mut nodes, mut roots) = (Store::new(), Nodes::default(), Roots::default());
        nodes.start(&roots);
        for (name, digest) in entries {
            nodes.put(&mut store.rows(), (Shard::FIRST, Tree::Ids), name, Some(digest)).unwrap();
            if !at_once {
                roots = nodes.write(&mut store.rows()).unwrap();
                nodes.start(&roots);
            }
        }
        nodes.write(&mut store.rows()).unwrap()
    };
    let first = root(distinct.iter().collect(), true);
    assert_eq!(root(distinct.iter().rev().collect(), true), first);
    assert_eq!(root(distinct.iter().rev().collect(), false), first);
}

#[test]
fn no_two_trees_or_places_share_a_node() {
    let mut seen = std::collections::HashSet::new();
    let shards = Shards::new(2).unwrap();
    for (shard, tree) in shards.all().flat_map(|shard| ALL.map(|tree| (shard, tree))) {
        let mut level = vec![NodePath::root(shard, tree)];
        for depth in 0..=tree.bits().len() {
            for place in &level {
                assert!(seen.insert(place.number()), "{place:?} has another node's number");
                assert_eq!(place.level, depth);
                let back = NodePath::of_number(shards, place.number());
                assert_eq!(back, (depth > 0).then_some(*place), "a number leads to another node");
            }
            let branching = level.iter().filter_map(|place| Some((place, place.bits()?)));
            level = branching.flat_map(|(p, bits)| [0, 1, 255 >> (8 - bits)].map(|part| p.child(part))).collect();
            for place in &level {
                let (parent, part) = place.parent().unwrap();
                assert_eq!(parent.child(part), *place, "a child's parent is another");
                assert!(place.number() < parent.number(), "a node doesn't come after its children");
            }
        }
    }
}

#[test]
fn every_bit_of_a_name_leads_somewhere() {
    for tree in [Tree::Keys, Tree::Ids, Tree::Aliases] {
        let (mut store, mut nodes) = (Store::new(), Nodes::default());
        nodes.start(&Roots::default());
        let len = if tree == Tree::Keys { 4 } else { 16 };
        let names: Vec<Vec<u8>> =
            (0..8 * len).map(|bit| (0..len).map(|at| u8::from(at == bit / 8) << (7 - bit % 8)).collect()).collect();
        for (number, name) in names.iter().enumerate() {
            let digest = (number as u128 + 1).to_be_bytes();
            nodes.put(&mut store.rows(), (Shard::FIRST, tree), name, Some(&digest)).unwrap();
        }
        let roots = nodes.write(&mut store.rows()).unwrap();
        nodes.start(&roots);
        for (number, name) in names.iter().enumerate() {
            let found = nodes.get(&mut store.rows(), (Shard::FIRST, tree), name).unwrap();
            assert_eq!(found, Some((number as u128 + 1).to_be_bytes()), "{tree:?}: two names share an entry");
        }
    }
}

#[test]
fn a_digest_that_a_node_cannot_hold_is_refused() {
    let (mut store, mut nodes) = (Store::new(), Nodes::default());
    nodes.start(&Roots::default());
    let too_large = (1u128 << 32).to_be_bytes();
    let said =
        nodes.put(&mut store.rows(), (Shard::FIRST, Tree::Ids), &[1; 16], Some(&too_large)).map_err(|e| e.status());
    assert_eq!(said, Err(Status::Internal), "a row number was cut off");
}

#[test]
fn a_node_that_is_gone_old_or_altered_is_refused() {
    let (mut store, mut nodes) = (Store::new(), Nodes::default());
    let name = [0, 0, 0, 9];
    nodes.start(&Roots::default());
    nodes.put(&mut store.rows(), (Shard::FIRST, Tree::Keys), &name, Some(&[1; 16])).unwrap();
    let before = nodes.write(&mut store.rows()).unwrap();
    let numbers = store.backend.nodes().unwrap();
    let old: Vec<Vec<u8>> = numbers.iter().map(|n| store.backend.node(*n).unwrap().unwrap()).collect();
    nodes.start(&before);
    nodes.put(&mut store.rows(), (Shard::FIRST, Tree::Keys), &name, Some(&[2; 16])).unwrap();
    let roots = nodes.write(&mut store.rows()).unwrap();
    for (number, old) in numbers.iter().zip(&old) {
        let new = store.backend.node(*number).unwrap().unwrap();
        let mut altered = new.clone();
        altered[0] ^= 1;
        for wrong in [Some(old.clone()), Some(altered), Some(Vec::new()), None] {
            match &wrong {
                Some(content) => store.backend.put_node(*number, content).unwrap(),
                None => store.backend.delete_node(*number).unwrap(),
            }
            let mut fresh = Nodes::default();
            fresh.start(&roots);
            let said = fresh.get(&mut store.rows(), (Shard::FIRST, Tree::Keys), &name).map_err(|e| e.status());
            assert_eq!(said, Err(Status::KeystoreCorrupt), "node {number:#x} as {wrong:?}");
            store.backend.put_node(*number, &new).unwrap();
        }
        let mut fresh = Nodes::default();
        fresh.start(&roots);
        assert_eq!(fresh.get(&mut store.rows(), (Shard::FIRST, Tree::Keys), &name).unwrap(), Some([2; 16]));
    }
}

/// Nodes after some changes that were written; what they hold.
fn written(
    store: &mut Store,
    tree: Tree,
    numbers: &mut Numbers,
    count: usize,
) -> (Nodes, Roots, BTreeMap<Vec<u8>, Digest>) {
    let (mut nodes, mut model) = (Nodes::default(), BTreeMap::new());
    nodes.start(&Roots::default());
    put_some(&mut nodes, store, tree, &mut model, numbers, count);
    let roots = nodes.write(&mut store.rows()).unwrap();
    (nodes, roots, model)
}

/// Puts and takes out names, in the tree and in the model.
fn put_some(
    nodes: &mut Nodes,
    store: &mut Store,
    tree: Tree,
    model: &mut BTreeMap<Vec<u8>, Digest>,
    numbers: &mut Numbers,
    count: usize,
) {
    for _ in 0..count {
        let name = name(tree, numbers);
        let digest = (!numbers.next().is_multiple_of(4)).then(|| numbers.digest(tree));
        nodes.put(&mut store.rows(), (Shard::FIRST, tree), &name, digest.as_ref()).unwrap();
        match digest {
            Some(digest) => drop(model.insert(name, digest)),
            None => drop(model.remove(&name)),
        }
    }
}

/// The roots and rows of a tree that was made of nothing else.
fn fresh(tree: Tree, model: &BTreeMap<Vec<u8>, Digest>) -> (Roots, BTreeMap<i64, Vec<u8>>) {
    let (mut store, mut nodes) = (Store::new(), Nodes::default());
    nodes.start(&Roots::default());
    for (name, digest) in model {
        nodes.put(&mut store.rows(), (Shard::FIRST, tree), name, Some(digest)).unwrap();
    }
    (nodes.write(&mut store.rows()).unwrap(), store.content())
}

impl Store {
    fn content(&mut self) -> BTreeMap<i64, Vec<u8>> {
        let numbers = self.backend.nodes().unwrap();
        numbers.into_iter().map(|number| (number, self.backend.node(number).unwrap().unwrap())).collect()
    }

    /// Undoes what was written since the last commit.
    fn roll_back(&mut self) {
        self.backend.rollback();
        self.backend.begin(Transaction::Write, Duration::ZERO).unwrap();
    }

    fn commit(&mut self) {
        self.backend.commit().unwrap();
        self.backend.begin(Transaction::Write, Duration::ZERO).unwrap();
    }
}

/// Checks that the nodes read and list what `model` holds.
fn holds(
    nodes: &mut Nodes,
    store: &mut Store,
    tree: Tree,
    roots: &Roots,
    model: &BTreeMap<Vec<u8>, Digest>,
    what: &str,
) {
    nodes.start(roots);
    let all = nodes.after(&mut store.rows(), (Shard::FIRST, tree), None, usize::MAX).unwrap();
    assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>(), "{tree:?}: {what}");
    for (name, digest) in model {
        assert_eq!(
            nodes.get(&mut store.rows(), (Shard::FIRST, tree), name).unwrap(),
            Some(*digest),
            "{tree:?}: {what}"
        );
    }
}

#[test]
fn a_change_that_was_rolled_back_leaves_no_trace() {
    for tree in ALL {
        for is_flushed in [false, true] {
            let what = if is_flushed { "written and rolled back" } else { "rolled back before it was written" };
            let (mut store, mut numbers) = (Store::new(), Numbers(11));
            let (mut nodes, mut roots, mut model) = written(&mut store, tree, &mut numbers, 60);
            store.commit();
            for _ in 0..20 {
                let mut undone = model.clone();
                put_some(&mut nodes, &mut store, tree, &mut undone, &mut numbers, 10);
                if is_flushed {
                    let other = nodes.write(&mut store.rows()).unwrap();
                    assert_eq!(fresh(tree, &undone).0, other);
                }
                store.roll_back();
                holds(&mut nodes, &mut store, tree, &roots, &model, what);
                nodes.start(&roots);
                put_some(&mut nodes, &mut store, tree, &mut model, &mut numbers, 10);
                roots = nodes.write(&mut store.rows()).unwrap();
                store.commit();
                assert_eq!(fresh(tree, &model), (roots.clone(), store.content()), "{tree:?}: after a change {what}");
                nodes.start(&roots);
            }
        }
    }
}

#[test]
fn two_connections_that_write_in_turn_agree() {
    for tree in ALL {
        let (mut store, mut numbers) = (Store::new(), Numbers(13));
        let (first, mut roots, mut model) = written(&mut store, tree, &mut numbers, 60);
        let mut both = [first, Nodes::default()];
        for turn in 0..40 {
            // Sometimes one writes several times before the other sees any of it.
            let nodes = &mut both[usize::from(numbers.next().is_multiple_of(2))];
            nodes.start(&roots);
            put_some(nodes, &mut store, tree, &mut model, &mut numbers, 6);
            roots = nodes.write(&mut store.rows()).unwrap();
            assert_eq!(fresh(tree, &model), (roots.clone(), store.content()), "{tree:?}: turn {turn}");
            if turn % 3 == 0 {
                for nodes in &mut both {
                    holds(nodes, &mut store, tree, &roots, &model, "after the other's change");
                }
            }
        }
    }
}

#[test]
fn more_nodes_than_are_kept_are_all_there() {
    for tree in ALL {
        let (mut store, mut nodes, mut numbers) = (Store::new(), Nodes::default(), Numbers(17));
        let (mut roots, mut model) = (Roots::default(), BTreeMap::new());
        // Far more leaves than are kept, and then more inner nodes too.
        for round in 0..4 {
            nodes.start(&roots);
            for spread in 0..300_u32 {
                let mut name = name(tree, &mut numbers);
                name[..4].copy_from_slice(&(spread * 4 + round).wrapping_mul(0x9e37_79b1).to_be_bytes());
                let digest = numbers.digest(tree);
                nodes.put(&mut store.rows(), (Shard::FIRST, tree), &name, Some(&digest)).unwrap();
                model.insert(name, digest);
            }
            roots = nodes.write(&mut store.rows()).unwrap();
            assert!(nodes.kept.len() <= KEPT, "{} nodes are kept", nodes.kept.len());
            holds(&mut nodes, &mut store, tree, &roots, &model, "as its writer sees it");
            assert!(nodes.kept.len() <= KEPT, "{} nodes are kept", nodes.kept.len());
            assert_eq!(fresh(tree, &model), (roots.clone(), store.content()), "{tree:?}: round {round}");
        }
        assert!(store.content().len() > 10 * KEPT, "{tree:?}: {} nodes are not many", store.content().len());
    }
}
