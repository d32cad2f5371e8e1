//! A search for objects.

use std::collections::VecDeque;
use std::sync::Arc;

use cryptoki_sys::CK_OBJECT_HANDLE;
use kms::{KeyId, Keystore};

use crate::attribute::Template;

/// A search in progress.
pub struct Search {
    pub slot: usize,
    pub template: Arc<Template>,
    /// Found and not shown yet.
    pub found: VecDeque<CK_OBJECT_HANDLE>,
    /// None when all keys were read.
    pub rest: Option<Unread>,
}

/// The keys of a keystore that a search has not read yet.
pub struct Unread {
    pub keystore: Arc<Keystore>,
    /// The last key that was read.
    pub after: Option<KeyId>,
    /// What its objects have as CKA_PRIVATE.
    pub private: bool,
    /// Whether versions are objects.
    pub versions: bool,
}
