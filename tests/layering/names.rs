//! One name for one thing: no two types of `src` have the same name.

use std::collections::BTreeMap;

use crate::lexer::{Placed, Token, tokens};

/// Names that occur twice, and why.
const ALLOWED: &[(&str, &str)] =
    &[("EVP_RAND_CTX", "Miri cannot call libcrypto, so crypto/openssl/miri.rs models its functions and types by name")];

/// Where each type name was declared.
#[derive(Default)]
pub struct Names(BTreeMap<String, Vec<String>>);

impl Names {
    pub fn add(&mut self, file: &str, source: &str) {
        for (name, line) in declared(source) {
            self.0.entry(name).or_default().push(format!("src/{file}:{line}"));
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The names that occur twice, a line each, and the exceptions that no longer apply.
    pub fn broken(&self) -> Vec<String> {
        let is_allowed = |name: &str| ALLOWED.iter().any(|(allowed, _)| *allowed == name);
        let twice = self.0.iter().filter(|(name, places)| places.len() > 1 && !is_allowed(name));
        let stale = ALLOWED.iter().filter(|(name, _)| self.0.get(*name).is_none_or(|places| places.len() < 2));
        twice
            .map(|(name, places)| format!("two types are named {name}; rename one: {}", places.join(", ")))
            .chain(stale.map(|(name, _)| format!("{name} stands once; remove it from tests/layering/names.rs")))
            .collect()
    }
}

/// The types that a file declares, with their lines. An associated type has the name that its trait demands.
fn declared(source: &str) -> Vec<(String, usize)> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    // The depth of braces, and the depths at which bodies of `impl` and `trait` begin.
    let (mut depth, mut bodies, mut body_follows) = (0usize, Vec::new(), false);
    for (at, placed) in tokens.iter().enumerate() {
        match &placed.token {
            Token::Mark('{') => {
                depth += 1;
                if std::mem::take(&mut body_follows) {
                    bodies.push(depth);
                }
            }
            Token::Mark('}') => {
                bodies.pop_if(|body| *body == depth);
                depth = depth.saturating_sub(1);
            }
            Token::Word(word) => match word.as_str() {
                "impl" => body_follows |= is_item(&tokens[..at]),
                "trait" | "struct" | "enum" | "union" => {
                    body_follows |= word == "trait";
                    found.extend(name_after(&tokens, at));
                }
                "type" if bodies.last() != Some(&depth) => found.extend(name_after(&tokens, at)),
                _ => {}
            },
            _ => {}
        }
    }
    found
}

/// Whether an `impl` after these tokens begins an item: `-> impl Trait` and `x: impl Trait` don't.
fn is_item(before: &[Placed]) -> bool {
    match before.last().map(|placed| &placed.token) {
        None | Some(Token::Mark('}' | '{' | ';' | ']')) => true,
        Some(Token::Word(word)) => word == "unsafe",
        _ => false,
    }
}

fn name_after(tokens: &[Placed], at: usize) -> Option<(String, usize)> {
    match tokens.get(at + 1) {
        Some(Placed { token: Token::Word(name), line }) => Some((name.clone(), *line)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        declared(source).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_kind_of_type_is_found() {
        let source =
            "pub struct A; pub(crate) enum B {} unsafe trait C {} type D = u8; union E { a: u8 } fn f() { struct G; }";
        assert_eq!(names(source), ["A", "B", "C", "D", "E", "G"]);
        assert_eq!(names("macro_rules! id { ($name:ident) => { pub struct $name; } }"), Vec::<String>::new());
    }

    #[test]
    fn associated_types_belong_to_their_trait() {
        assert_eq!(
            names("impl Deref for A { type Target = B; fn f() { type Inner = u8; } } type After = u8;"),
            ["Inner", "After"]
        );
        assert_eq!(names("trait A { type Item; } fn f() -> impl Copy { type Local = u8; }"), ["A", "Local"]);
    }

    #[test]
    fn a_name_that_stands_twice_is_found() {
        let mut names = Names::default();
        names.add("a.rs", "struct Twice; struct Once;");
        names.add("b.rs", "enum Twice {} enum EVP_RAND_CTX {}");
        let broken = names.broken();
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].contains("Twice") && broken[0].contains("src/a.rs:1, src/b.rs:1"), "{broken:?}");
        assert!(broken[1].contains("EVP_RAND_CTX"), "a stale exception: {broken:?}");
    }
}
