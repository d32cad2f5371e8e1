//! The boundaries inside `src/` hold: which files import which, and where `unsafe`, OpenSSL and locks may occur. Error
//! texts have one form, and no two types share a name.
//!
//! Unit tests (`tests.rs`) are exempt. `lib.rs` is the map and imports everything.

mod cycles;
mod lexer;
mod names;
mod paths;
mod rules;
mod texts;

use std::fs;
use std::path::Path;

#[test]
fn every_file_of_src_keeps_the_boundaries() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = 0;
    let mut broken = Vec::new();
    visit(&src, &mut |path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        if rules::is_checked(name) {
            files += 1;
            broken.extend(rules::check(name, &fs::read_to_string(path).unwrap()));
        }
    });
    assert!(files > 3, "only {files} files were found below {}", src.display());
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn error_texts_name_the_thing_and_the_next_step() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut count, mut broken) = (0, Vec::new());
    visit(&src, &mut |path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        if rules::is_checked(name) {
            let source = fs::read_to_string(path).unwrap();
            count += texts::count(&source);
            broken.extend(texts::check(name, &source));
        }
    });
    assert!(count > 100, "only {count} texts were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn no_two_types_have_one_name() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = names::Names::default();
    visit(&src, &mut |path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        if rules::is_checked(name) {
            names.add(name, &fs::read_to_string(path).unwrap());
        }
    });
    assert!(names.len() > 100, "only {} types were found", names.len());
    assert!(names.broken().is_empty(), "\n{}", names.broken().join("\n"));
}

#[test]
fn no_files_import_each_other() {
    for crate_source in ["src", "cli/src", "bindings/python/src", "pkcs11/src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_source);
        let mut imports = cycles::Imports::default();
        visit(&folder, &mut |path| {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            if !name.ends_with("tests.rs") && !name.contains("tests/") {
                imports.add(name, &fs::read_to_string(path).unwrap());
            }
        });
        assert!(imports.len() > 8, "only {} files were found below {}", imports.len(), folder.display());
        assert!(imports.circles().is_empty(), "{crate_source}:\n{}", imports.circles().join("\n"));
    }
}

fn visit(folder: &Path, found: &mut impl FnMut(&Path)) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            visit(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found(&path);
        }
    }
}
