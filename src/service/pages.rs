//! Iterators over lists that are read page by page.

use std::iter;
use std::vec;

use crate::error::Result;

/// What is read in one transaction.
pub(super) const PAGE: usize = 256;

/// Reads pages until one is not full. `read` continues after the last page; an error from it ends the list.
pub(super) fn paged<T>(mut read: impl FnMut() -> Result<Page<T>>) -> impl Iterator<Item = Result<T>> {
    let mut page: vec::IntoIter<Result<T>> = Vec::new().into_iter();
    let mut is_last = false;
    let next = move || loop {
        if let Some(item) = page.next() {
            return Some(item);
        }
        if is_last {
            return None;
        }
        match read() {
            Ok(read) => {
                is_last = read.is_last;
                page = read.items.into_iter();
            }
            Err(error) => {
                is_last = true;
                return Some(Err(error));
            }
        }
    };
    iter::from_fn(next).fuse()
}

/// Reads items one by one; an error is the last.
pub(super) fn until_error<T>(mut read: impl FnMut() -> Result<Option<T>>) -> impl Iterator<Item = Result<T>> {
    let mut has_failed = false;
    let next = move || {
        let item = if has_failed { None } else { read().transpose() };
        has_failed |= matches!(item, Some(Err(_)));
        item
    };
    iter::from_fn(next).fuse()
}

pub(super) struct Page<T> {
    pub items: Vec<Result<T>>,
    pub is_last: bool,
}

impl<T> Page<T> {
    /// The items that a call showed, and its error behind them.
    pub fn of(shown: Vec<T>, done: Result<()>) -> Self {
        let is_last = shown.len() < PAGE || done.is_err();
        Self { items: shown.into_iter().map(Ok).chain(done.err().map(Err)).collect(), is_last }
    }
}
