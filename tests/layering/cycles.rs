//! No files import each other in a circle: a reader of one of them would have to read all.
//!
//! A `mod.rs` is a map. It represents the files whose items it re-exports, and does not count as a file here.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexer::tokens;
use crate::paths::named;
use crate::rules::module_of;

/// The files of one crate, by module, with the names that each uses.
#[derive(Default)]
pub struct Imports(BTreeMap<Vec<String>, File>);

struct File {
    name: String,
    is_map: bool,
    /// Without the leading `crate`.
    paths: Vec<Vec<String>>,
}

impl Imports {
    /// `name` is the path below the crate's source folder.
    pub fn add(&mut self, name: &str, source: &str) {
        let is_root = matches!(name, "lib.rs" | "main.rs");
        let module = if is_root { Vec::new() } else { module_of(name) };
        let paths = named(&tokens(source), &module).into_iter().filter_map(|path| {
            let (first, rest) = path.segments.split_first()?;
            (first == "crate").then(|| rest.to_vec())
        });
        let is_map = is_root || name.ends_with("mod.rs");
        self.0.insert(module, File { name: name.into(), is_map, paths: paths.collect() });
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The circles, a line each: the files, and the import that leads to the next.
    pub fn circles(&self) -> Vec<String> {
        let edges: BTreeMap<&str, BTreeMap<&str, String>> = self
            .0
            .iter()
            .filter(|(_, file)| !file.is_map)
            .map(|(module, file)| {
                let targets = file.paths.iter().filter_map(|path| {
                    let (target, of) = self.resolved(path, 0)?;
                    (target != module && !of.is_map).then(|| (of.name.as_str(), path.join("::")))
                });
                (file.name.as_str(), targets.collect())
            })
            .collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for start in edges.keys() {
            if seen.contains(start) {
                continue;
            }
            let forward = reached(start, |file| edges[file].keys().copied().collect());
            let circle: Vec<&str> = forward
                .into_iter()
                .filter(|file| reached(file, |f| edges[f].keys().copied().collect()).contains(start))
                .collect();
            seen.extend(circle.iter().copied());
            if circle.len() > 1 {
                let ties = circle.iter().flat_map(|file| {
                    edges[file]
                        .iter()
                        .filter(|(to, _)| circle.contains(to))
                        .map(move |(to, path)| format!("{file} -> {to} ({path})"))
                });
                circles.push(format!("files import each other: {}", ties.collect::<Vec<_>>().join(", ")));
            }
        }
        circles
    }

    /// The file that a path leads into, through the maps.
    fn resolved(&self, path: &[String], depth: usize) -> Option<(&Vec<String>, &File)> {
        let known = (0..=path.len()).rev().find_map(|len| self.0.get_key_value(&path[..len]));
        let (module, file) = known?;
        let rest = &path[module.len()..];
        let (Some(item), true, true) = (rest.first(), file.is_map, depth < 8) else { return Some((module, file)) };
        let exported =
            file.paths.iter().find(|path| path.last() == Some(item) && path[..] != [module, rest].concat()[..]);
        match exported {
            Some(exported) => self.resolved(&[exported, &rest[1..]].concat(), depth + 1),
            None => Some((module, file)),
        }
    }
}

/// What is reached from `start`, itself included.
fn reached<'a>(start: &'a str, next: impl Fn(&'a str) -> Vec<&'a str>) -> BTreeSet<&'a str> {
    let (mut found, mut open) = (BTreeSet::from([start]), vec![start]);
    while let Some(file) = open.pop() {
        open.extend(next(file).into_iter().filter(|to| found.insert(to)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> usize {
        let mut imports = Imports::default();
        files.iter().for_each(|(name, source)| imports.add(name, source));
        imports.circles().len()
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        assert_eq!(circles(&[("a.rs", "use crate::b::X;"), ("b.rs", "fn f() {}")]), 0);
        assert_eq!(circles(&[("a.rs", "use crate::b::X;"), ("b.rs", "fn f() { super::a::g() }")]), 1);
        let three = [("a.rs", "use crate::b::X;"), ("b.rs", "use crate::c::X;"), ("c.rs", "use crate::a::X;")];
        assert_eq!(circles(&three), 1);
        assert_eq!(
            circles(&[("a.rs", "mod b; use b::X;"), ("a/b.rs", "use super::Y;")]),
            0,
            "paths by a child's name alone are not seen"
        );
        assert_eq!(circles(&[("a.rs", "use self::b::X;"), ("a/b.rs", "use super::Y;")]), 1);
    }

    #[test]
    fn a_map_stands_for_what_it_exports() {
        let map = ("s/mod.rs", "pub use self::a::X; pub use super::s::b::Y;");
        assert_eq!(circles(&[map, ("s/a.rs", "use super::Y;"), ("s/b.rs", "")]), 0);
        assert_eq!(circles(&[map, ("s/a.rs", "use super::Y;"), ("s/b.rs", "use crate::s::X;")]), 1);
    }
}
