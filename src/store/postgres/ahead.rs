//! Reading ahead: what a transaction announces is read in one round trip, and the calls that follow find it.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::connection::Statement;
use super::read::{self, index, number};
use super::value::Value;
use super::{Known, Postgres};
use crate::error::Result;
use crate::store::backend::Transaction;
use crate::store::digest::Digest;
use crate::store::shard::Shard;
use crate::store::tree::{self, Tree};

const SHARD: &str = "SELECT shard, uuid, generation, destroyed, renamed, last_row, keys, ids, aliases, slots, mac, recent, place, log FROM shard \
     WHERE store = $1 AND shard = ANY($2) ORDER BY shard";
const MATERIAL: &str = "key_row, number, version, algorithm, created, sealed";
const TAG: &str = "key_row, name, value, revision, generation, mac";
const VERSION: &str = "key_row, number, state, version, created, delete_date, sighted_wall, sighted_boot, sighted_uptime, counted_wall, waiting, last_encrypt, last_decrypt, gcm_messages";
const NODES: &str = "SELECT number, content FROM node WHERE store = $1 AND number = ANY($2)";

/// Which keys are read: a condition on `key`, whose value is `$2`.
#[derive(Clone, Copy)]
enum Which {
    Id,
    Ids,
    Rows,
    /// The key that an alias names, and those that several name.
    Alias,
    Aliases,
}

impl Which {
    fn condition(self) -> &'static str {
        match self {
            Self::Id => "k.id = $2",
            Self::Ids => "k.id = ANY($2)",
            Self::Rows => "k.key_row = ANY($2)",
            Self::Alias => "k.key_row = (SELECT a.key_row FROM alias a WHERE a.store = $1 AND a.name = $2)",
            Self::Aliases => "k.key_row IN (SELECT a.key_row FROM alias a WHERE a.store = $1 AND a.name = ANY($2))",
        }
    }

    /// What the rows of another table belong to. For a single key it is a value, which is quicker to plan than a join.
    fn owner(self, table: &str) -> String {
        let of = |equals: &str| {
            let condition = self.condition();
            format!("{table}.key_row {equals} (SELECT k.key_row FROM key k WHERE k.store = $1 AND {condition})")
        };
        match self {
            Self::Rows => format!("{table}.key_row = ANY($2)"),
            Self::Id | Self::Alias => of("="),
            Self::Ids | Self::Aliases => of("IN"),
        }
    }

    /// The keys, and the records of their versions.
    fn keys(self) -> [String; 2] {
        [
            format!("SELECT {} FROM key k WHERE k.store = $1 AND {}", read::KEY, self.condition()),
            format!(
                "SELECT {VERSION} FROM version v WHERE v.store = $1 AND {} ORDER BY key_row, number",
                self.owner("v")
            ),
        ]
    }

    /// The material of the keys' primary versions.
    fn material(self) -> String {
        match self {
            // The primary version is the newest one.
            Self::Id | Self::Alias => format!(
                "SELECT {MATERIAL} FROM material m WHERE m.store = $1 AND {} ORDER BY m.number DESC LIMIT 1",
                self.owner("m")
            ),
            Self::Ids | Self::Rows | Self::Aliases => format!(
                "SELECT {} FROM material m JOIN key k ON m.store = k.store AND m.key_row = k.key_row \
                 AND m.number = k.primary_number WHERE k.store = $1 AND {}",
                of_table("m", MATERIAL),
                self.condition()
            ),
        }
    }

    /// The nodes that lead to the rows of the keys, and those with the numbers `$5`; `$3` and `$4` have the lowest bits and the
    /// ends of the numbers of a path.
    fn nodes(self) -> String {
        format!(
            "SELECT number, content FROM node WHERE store = $1 AND number = ANY($5::bigint[] || ARRAY(\
             SELECT (((k.key_row >> 32) << 48) | (((k.key_row & 4294967295) | p.low) << 3) | p.rest) \
             FROM key k CROSS JOIN unnest($3::bigint[], $4::bigint[]) AS p(low, rest) WHERE k.store = $1 AND {}))",
            self.condition()
        )
    }

    /// What belongs to the keys besides: all of their material, and their tags.
    fn owned(self) -> [String; 2] {
        [("material", MATERIAL, "number"), ("tag", TAG, "name")].map(|(table, columns, order)| {
            let owner = self.owner("o");
            format!("SELECT {columns} FROM {table} o WHERE o.store = $1 AND {owner} ORDER BY key_row, {order}")
        })
    }
}

fn of_table(table: &str, columns: &str) -> String {
    columns.split(", ").map(|column| format!("{table}.{column}")).collect::<Vec<_>>().join(", ")
}

/// The lowest bits of a row's number that a node of each level has set, and what follows them in the node's number.
fn path_of_rows() -> (Vec<i64>, Vec<i64>) {
    let zero = tree::path(Shard::FIRST, Tree::Keys, &[0; 4]);
    zero.map(|number| (number >> 3 & i64::from(u32::MAX), number & !(i64::from(u32::MAX) << 3))).unzip()
}

impl Postgres {
    /// A statement that reads shards, and locks them in a write transaction.
    pub(super) fn reading(&self, shards: &[Shard]) -> Statement {
        let numbers = Value::numbers(shards.iter().map(|shard| index(*shard)));
        let lock = if self.kind == Transaction::Write { " FOR UPDATE" } else { "" };
        self.owned(format!("{SHARD}{lock}"), vec![numbers])
    }

    /// Those that the transaction doesn't know. What was read of them before is of an earlier moment, and is forgotten.
    pub(super) fn unknown(&mut self, mut shards: Vec<Shard>) -> Vec<Shard> {
        shards.retain(|shard| !self.known.shards.contains_key(shard));
        shards.sort_unstable();
        shards.dedup();
        self.locking.clone_from(&shards);
        // All reads of a read transaction are of one moment.
        if self.kind == Transaction::Read {
            return shards;
        }
        let (all, unknown) = (self.shards, &shards);
        let is_old = |row: i64| all.of_row(row).is_ok_and(|(shard, _)| unknown.contains(&shard));
        let Known { keys, nodes, materials, versions, absent, all_materials, tags, .. } = &mut self.known;
        keys.retain(|row, _| !is_old(*row));
        nodes.retain(|number, _| !all.of_node(*number).is_some_and(|(shard, _)| unknown.contains(&shard)));
        materials.retain(|(row, _), _| !is_old(*row));
        versions.retain(|row, _| !is_old(*row));
        absent.retain(|id| !unknown.contains(&all.of_name(id)));
        all_materials.retain(|row, _| !is_old(*row));
        tags.retain(|row, _| !is_old(*row));
        shards
    }

    pub(super) fn learn_shards(&mut self, rows: &[Row]) -> Result<()> {
        for row in rows {
            let shard = read::shard(row, self.shards)?;
            let found = read::meta(row)?;
            self.known.locked.insert(shard, found.clone());
            self.known.shards.insert(shard, found);
        }
        Ok(())
    }

    fn learn_nodes(&mut self, rows: &[Row]) -> Result<()> {
        for row in rows {
            self.known.nodes.insert(number(row, 0)?, Some(read::blob(row, 1)?));
        }
        Ok(())
    }

    /// Takes the nodes of paths. What is not found is not there.
    fn learn_paths(&mut self, paths: &[i64], rows: &[Row]) -> Result<()> {
        for node in paths {
            self.known.nodes.entry(*node).or_insert(None);
        }
        self.learn_nodes(rows)
    }

    /// Takes keys with their material and records, and the nodes that lead to them and those of `paths`.
    fn learn_keys(&mut self, found: &[Vec<Row>], paths: &[i64]) -> Result<Vec<i64>> {
        let [keys, versions, nodes, materials @ ..] = found else { return Err(read::damaged()) };
        let mut learned = Vec::new();
        for row in keys {
            let key = read::key(row)?;
            self.known.versions.insert(key.row, Vec::new());
            if let Ok((shard, number)) = self.shards.of_row(key.row) {
                // What is not found is not there.
                for node in tree::path(shard, Tree::Keys, &number.to_be_bytes()) {
                    self.known.nodes.entry(node).or_insert(None);
                }
            }
            learned.push(key.row);
            self.known.keys.insert(key.row, Some(key));
        }
        for row in materials.iter().flatten() {
            let material = read::material(row)?;
            self.known.materials.insert((material.key_row, material.number), Some(material));
        }
        for row in versions {
            let version = read::version(row)?;
            self.known.versions.entry(version.key_row).or_default().push(version);
        }
        self.learn_paths(paths, nodes)?;
        Ok(learned)
    }

    /// The statements for [`Self::learn_keys`], which also read the nodes of `paths`.
    fn reading_keys(&self, which: Which, value: impl Fn() -> Value, paths: &[i64]) -> Vec<Statement> {
        let mut all: Vec<Statement> = which.keys().into_iter().map(|sql| self.owned(sql, vec![value()])).collect();
        let paths = Value::numbers(paths.iter().copied());
        all.push(match which {
            // Their paths are among those.
            Which::Rows => self.statement(NODES, vec![paths]),
            _ => {
                let (low, rest) = path_of_rows();
                self.owned(which.nodes(), vec![value(), Value::numbers(low), Value::numbers(rest), paths])
            }
        });
        // Few changes need it, and those read it then.
        if self.kind == Transaction::Read {
            all.push(self.owned(which.material(), vec![value()]));
        }
        all
    }

    pub(super) fn expect_key(&mut self, id: &[u8; 16]) -> Result<()> {
        let shard = self.shards.of_name(id);
        let path: Vec<i64> = tree::path(shard, Tree::Ids, id).collect();
        let is_known = |this: &Self| {
            (this.known.absent.contains(id) || this.known.keys.values().flatten().any(|key| key.id == *id))
                && path.iter().all(|node| this.known.nodes.contains_key(node))
        };
        if self.known.shards.contains_key(&shard) && is_known(self) {
            return Ok(());
        }
        let unknown = self.unknown(vec![shard]);
        let mut all = vec![self.reading(&unknown)];
        all.extend(self.reading_keys(Which::Id, || Value::from(*id), &path));
        let found = self.ask(all)?;
        let [shards, keys @ ..] = found.as_slice() else { return Err(read::damaged()) };
        self.learn_shards(shards)?;
        self.learn_keys(keys, &path).map(drop)
    }

    pub(super) fn expect_rows(&mut self, rows: &[i64]) -> Result<()> {
        let left: Vec<i64> = rows.iter().copied().filter(|row| !self.known.keys.contains_key(row)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let shards = left.iter().filter_map(|row| self.shards.of_row(*row).ok()).map(|(shard, _)| shard).collect();
        let unknown = self.unknown(shards);
        let of_row = |row: &i64| {
            let (shard, number) = self.shards.of_row(*row).ok()?;
            Some(tree::path(shard, Tree::Keys, &number.to_be_bytes()).collect::<Vec<_>>())
        };
        let mut paths: Vec<i64> = left.iter().filter_map(of_row).flatten().collect();
        paths.sort_unstable();
        paths.dedup();
        let mut all = vec![self.reading(&unknown)];
        all.extend(self.reading_keys(Which::Rows, || Value::numbers(left.iter().copied()), &paths));
        let found = self.ask(all)?;
        let [shards, keys @ ..] = found.as_slice() else { return Err(read::damaged()) };
        self.learn_shards(shards)?;
        self.learn_keys(keys, &paths)?;
        for row in left {
            self.known.keys.entry(row).or_insert(None);
        }
        Ok(())
    }

    fn reading_owned(&self, which: Which, value: impl Fn() -> Value) -> [Statement; 2] {
        which.owned().map(|sql| self.owned(sql, vec![value()]))
    }

    fn learn_owned(&mut self, keys: &[i64], found: &[Vec<Row>]) -> Result<()> {
        let [materials, tags] = found else { return Err(read::damaged()) };
        for row in keys {
            self.known.all_materials.insert(*row, Vec::new());
            self.known.tags.insert(*row, Vec::new());
        }
        for row in materials {
            let material = read::material(row)?;
            self.known.all_materials.entry(material.key_row).or_default().push(material);
        }
        for row in tags {
            let tag = read::tag(row)?;
            self.known.tags.entry(tag.key_row).or_default().push(tag);
        }
        Ok(())
    }

    pub(super) fn expect_whole_keys(&mut self, ids: &[[u8; 16]]) -> Result<()> {
        let shards: Vec<Shard> = ids.iter().map(|id| self.shards.of_name(id)).collect();
        let paths: Vec<i64> =
            ids.iter().zip(&shards).flat_map(|(id, shard)| tree::path(*shard, Tree::Ids, id)).collect();
        let unknown = self.unknown(shards.clone());
        let all_ids = || Value::byte_strings(ids.iter().map(|id| id.to_vec()));
        let mut all = vec![self.reading(&unknown)];
        all.extend(self.reading_keys(Which::Ids, all_ids, &paths));
        all.extend(self.reading_owned(Which::Ids, all_ids));
        let mut found = self.ask(all)?;
        let owned = found.split_off(found.len().saturating_sub(2));
        let [shard_rows, keys @ ..] = found.as_slice() else { return Err(read::damaged()) };
        self.learn_shards(shard_rows)?;
        let learned = self.learn_keys(keys, &paths)?;
        self.learn_owned(&learned, &owned)?;
        let present: HashSet<[u8; 16]> =
            learned.iter().filter_map(|row| self.known.keys.get(row)?.as_ref().map(|key| key.id)).collect();
        self.known.absent.extend(ids.iter().filter(|id| !present.contains(*id)));
        match self.kind {
            Transaction::Write => self.expect_new_rows(ids, &shards),
            Transaction::Read => Ok(()),
        }
    }

    /// The nodes that lead to the rows of keys that are missing, once they are inserted.
    fn expect_new_rows(&mut self, ids: &[[u8; 16]], shards: &[Shard]) -> Result<()> {
        let mut last: HashMap<Shard, u32> = HashMap::new();
        let mut paths = Vec::new();
        for (_, shard) in ids.iter().zip(shards).filter(|(id, _)| self.known.absent.contains(*id)) {
            let before = self.known.shards.get(shard).and_then(|meta| u32::try_from(meta.last_row).ok());
            let row = last.entry(*shard).or_insert(before.unwrap_or(0));
            *row = row.saturating_add(1);
            paths.extend(tree::path(*shard, Tree::Keys, &row.to_be_bytes()));
        }
        paths.sort_unstable();
        paths.dedup();
        paths.retain(|node| !self.known.nodes.contains_key(node));
        if paths.is_empty() {
            return Ok(());
        }
        let statement = self.statement(NODES, vec![Value::numbers(paths.clone())]);
        let found = self.ask(vec![statement])?;
        self.learn_paths(&paths, found.first().map_or(&[], Vec::as_slice))
    }

    pub(super) fn expect_whole_rows(&mut self, rows: &[i64]) -> Result<()> {
        self.expect_rows(rows)?;
        let owned = self.reading_owned(Which::Rows, || Value::numbers(rows.iter().copied()));
        let found = self.ask(owned.into())?;
        self.learn_owned(rows, &found)
    }

    pub(super) fn expect_aliases(&mut self, wanted: &[(String, Digest)]) -> Result<()> {
        let left: Vec<&(String, Digest)> =
            wanted.iter().filter(|(name, _)| !self.known.aliases.contains_key(name) && !name.contains('\0')).collect();
        if left.is_empty() {
            return Ok(());
        }
        let names = || Value::texts(left.iter().map(|(name, _)| name.clone()));
        let shard = |handle: &Digest| self.shards.of_name(handle);
        let paths: Vec<i64> =
            left.iter().flat_map(|(_, handle)| tree::path(shard(handle), Tree::Aliases, handle)).collect();
        let shards = match self.kind {
            // The shards of the keys too.
            Transaction::Read => self.shards.all().collect(),
            Transaction::Write => left.iter().map(|(_, handle)| shard(handle)).collect(),
        };
        let unknown = self.unknown(shards);
        let mut all = vec![
            self.reading(&unknown),
            self.statement(NODES, vec![Value::numbers(paths.clone())]),
            self.statement(
                "SELECT name, key_row, revision, generation, mac FROM alias WHERE store = $1 AND name = ANY($2)",
                vec![names()],
            ),
        ];
        if self.kind == Transaction::Read {
            all.extend(self.reading_keys(Which::Aliases, names, &[]));
        }
        let found = self.ask(all)?;
        let [shards, nodes, aliases, keys @ ..] = found.as_slice() else { return Err(read::damaged()) };
        self.learn_shards(shards)?;
        self.learn_paths(&paths, nodes)?;
        for (name, _) in left {
            self.known.aliases.insert(name.clone(), None);
        }
        for row in aliases {
            let alias = read::alias(row)?;
            self.known.aliases.insert(alias.name.clone(), Some(alias));
        }
        match keys.is_empty() {
            true => Ok(()),
            false => self.learn_keys(keys, &[]).map(drop),
        }
    }

    pub(super) fn expect_materials(&mut self, wanted: &[(i64, i64)]) -> Result<()> {
        let left = wanted.iter().copied().filter(|of| !self.known.materials.contains_key(of));
        let (rows, numbers): (Vec<i64>, Vec<i64>) = left.unzip();
        if rows.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT {MATERIAL} FROM material WHERE store = $1 \
             AND (key_row, number) IN (SELECT * FROM unnest($2::bigint[], $3::bigint[]))"
        );
        let statement = self.owned(sql, vec![Value::numbers(rows), Value::numbers(numbers)]);
        for row in self.ask(vec![statement])?.pop().unwrap_or_default() {
            let material = read::material(&row)?;
            self.known.materials.insert((material.key_row, material.number), Some(material));
        }
        Ok(())
    }

    pub(super) fn expect_alias(&mut self, name: &str, handle: &[u8; 16]) -> Result<()> {
        // The server's texts hold no NUL, so neither does any name.
        if name.contains('\0') {
            self.known.aliases.insert(name.to_owned(), None);
        }
        if self.known.aliases.contains_key(name) {
            return Ok(());
        }
        let shard = self.shards.of_name(handle);
        let path: Vec<i64> = tree::path(shard, Tree::Aliases, handle).collect();
        let unknown = self.unknown(vec![shard]);
        let mut all = vec![
            self.reading(&unknown),
            self.statement(NODES, vec![Value::numbers(path.clone())]),
            self.statement(
                "SELECT name, key_row, revision, generation, mac FROM alias WHERE store = $1 AND name = $2",
                vec![name.into()],
            ),
        ];
        // In a write transaction the key's shard may have to be locked first.
        if self.kind == Transaction::Read {
            all.extend(self.reading_keys(Which::Alias, || Value::from(name), &[]));
        }
        let found = self.ask(all)?;
        let [shards, nodes, aliases, keys @ ..] = found.as_slice() else { return Err(read::damaged()) };
        self.learn_shards(shards)?;
        self.learn_paths(&path, nodes)?;
        let alias = aliases.first().map(read::alias).transpose()?;
        self.known.aliases.insert(name.to_owned(), alias);
        match keys.is_empty() {
            true => Ok(()),
            false => self.learn_keys(keys, &[]).map(drop),
        }
    }
}
