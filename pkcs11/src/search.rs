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
    /// Keys are read after this one; none when all were.
    pub rest: Option<(Arc<Keystore>, Option<KeyId>, bool)>,
}
