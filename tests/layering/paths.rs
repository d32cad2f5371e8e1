//! Every path that a file names, with groups expanded: `use a::{b, c::d};` names `a::b` and `a::c::d`.

use crate::lexer::{Placed, Token};

#[derive(Debug, PartialEq)]
pub struct Named {
    pub segments: Vec<String>,
    pub line: usize,
}

/// `module` is the location of the file: `store/sqlite/locks.rs` is `["store", "sqlite", "locks"]`.
/// Paths by `crate`, `super` and `self` become `crate::...`.
pub fn named(tokens: &[Placed], module: &[String]) -> Vec<Named> {
    let mut walk = Walk { tokens, at: 0, module: module.to_vec(), depth: 0, inner: Vec::new(), out: Vec::new() };
    walk.run();
    walk.out
}

struct Walk<'a> {
    tokens: &'a [Placed],
    at: usize,
    module: Vec<String>,
    depth: usize,
    /// The braces at which the inline modules that we're in end.
    inner: Vec<usize>,
    out: Vec<Named>,
}

impl Walk<'_> {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|placed| &placed.token)
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        match self.token(ahead) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn run(&mut self) {
        while self.at < self.tokens.len() {
            match self.token(0) {
                Some(Token::Word(word)) if word == "mod" && self.token(2) == Some(&Token::Mark('{')) => {
                    let name = self.word(1).unwrap_or_default().to_owned();
                    self.module.push(name);
                    self.depth += 1;
                    self.inner.push(self.depth);
                    self.at += 3;
                }
                // `use {a, b};` has no word before its group.
                Some(Token::Word(word)) if word == "use" => {
                    self.at += 1;
                    self.tree(Vec::new());
                }
                Some(Token::Word(_)) => self.tree(Vec::new()),
                Some(Token::Mark('{')) => {
                    self.depth += 1;
                    self.at += 1;
                }
                Some(Token::Mark('}')) => {
                    if self.inner.last() == Some(&self.depth) {
                        self.inner.pop();
                        self.module.pop();
                    }
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Reads one path, or a group of them, after `prefix`.
    fn tree(&mut self, prefix: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |placed| placed.line);
        let mut segments = prefix;
        // `::std::sync` is `std::sync`.
        if self.token(0) == Some(&Token::Path) {
            self.at += 1;
        }
        loop {
            match self.token(0) {
                Some(Token::Word(word)) => {
                    segments.push(word.clone());
                    self.at += 1;
                }
                Some(Token::Mark('*')) if !segments.is_empty() => {
                    segments.push("*".into());
                    self.at += 1;
                    break;
                }
                Some(Token::Mark('{')) => {
                    self.at += 1;
                    while !matches!(self.token(0), None | Some(Token::Mark('}'))) {
                        let before = self.at;
                        self.tree(segments.clone());
                        // Skips `as name` and the comma.
                        while !matches!(self.token(0), None | Some(Token::Mark(',' | '}'))) {
                            self.at += 1;
                        }
                        if self.token(0) == Some(&Token::Mark(',')) {
                            self.at += 1;
                        }
                        assert!(self.at > before, "stuck in a use group on line {line}");
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
            if self.token(0) != Some(&Token::Path)
                || !matches!(self.token(1), Some(Token::Word(_) | Token::Mark('{' | '*')))
            {
                break;
            }
            self.at += 1;
        }
        if !segments.is_empty() {
            let segments = self.resolved(segments);
            self.out.push(Named { segments, line });
        }
    }

    fn resolved(&self, segments: Vec<String>) -> Vec<String> {
        let mut base = match segments[0].as_str() {
            "crate" => Vec::new(),
            "super" | "self" if segments.len() > 1 => self.module.clone(),
            _ => return segments,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    base.pop();
                }
                _ => base.push(segment),
            }
        }
        base.insert(0, "crate".into());
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::tokens;

    fn paths(module: &[&str], source: &str) -> Vec<String> {
        let module: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
        let long = |named: Named| (named.segments.len() > 1).then(|| named.segments.join("::"));
        named(&tokens(source), &module).into_iter().filter_map(long).collect()
    }

    #[test]
    fn groups_are_written_out() {
        assert_eq!(
            paths(&[], "use std::{fs::{self as f, File}, sync::*, io}; x::y(z)"),
            ["std::fs::self", "std::fs::File", "std::sync::*", "std::io", "x::y"]
        );
        assert_eq!(paths(&[], "use {crate::a::b, ::c::d};"), ["crate::a::b", "c::d"]);
    }

    #[test]
    fn super_and_self_are_resolved() {
        assert_eq!(
            paths(&["store", "key"], "use super::super::ffi::x; super::row::y; self::z::w"),
            ["crate::ffi::x", "crate::store::row::y", "crate::store::key::z::w"]
        );
        assert_eq!(paths(&["store", "key"], "use super::{super::ffi, row};"), ["crate::ffi", "crate::store::row"]);
        assert_eq!(
            paths(&["store"], "mod inner { fn f() { super::super::ffi::x() } } fn g() { super::service::y() }"),
            ["crate::ffi::x", "crate::service::y"]
        );
    }

    #[test]
    fn a_turbofish_ends_a_path() {
        assert_eq!(paths(&[], "a::b::<crate::c::D>()"), ["a::b", "crate::c::D"]);
    }
}
