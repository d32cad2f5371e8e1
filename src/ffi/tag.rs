//! Tags: labels of keys.

use std::ffi::{CString, c_char, c_void};

use super::guard::guard;
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;
use super::types::{kms_tag, kms_visit_tag_fn};
use crate::error::Status;
use crate::sys::memory;

/// kms_tag_resource sets tags of a key; an existing name receives the new value. A key has at most 10 tags. A name has
/// 1 to 128 characters, a value at most 256. Both consist of a-z A-Z 0-9 / _ - . + = @ :
///
/// Fails with KMS_LIMIT_EXCEEDED above 10, with KMS_REJECTED_PENDING_DELETION.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_tag_resource(
    kms: *const kms_t,
    key_id: *const c_char,
    tags: *const kms_tag,
    tag_count: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        let tags = ptr::slice(tags, tag_count, "tags")?;
        let mut texts = memory::list(tags.len())?;
        for tag in tags {
            texts.push((ptr::text(tag.name, "a tag's name")?, ptr::text(tag.value, "a tag's value")?));
        }
        kms.tag_resource(key_id, &texts)
    })
}

/// kms_untag_resource removes tags of a key by name, and ignores a name that the key doesn't have. Fails with
/// KMS_REJECTED_PENDING_DELETION.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_untag_resource(
    kms: *const kms_t,
    key_id: *const c_char,
    names: *const *const c_char,
    name_count: usize,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let key_id = ptr::text(key_id, "key_id")?;
        let names = ptr::slice(names, name_count, "names")?;
        let mut texts = memory::list(names.len())?;
        for name in names {
            texts.push(ptr::text(*name, "a tag's name")?);
        }
        kms.untag_resource(key_id, &texts)
    })
}

/// kms_list_resource_tags passes a key's tags to `visit`, in the order of their names, until `visit` returns a value
/// other than 0. Works in every state of the key.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_list_resource_tags(
    kms: *const kms_t,
    key_id: *const c_char,
    visit: kms_visit_tag_fn,
    user: *mut c_void,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let kms = handle(kms)?;
        let visit = visit.ok_or_else(|| Status::InvalidArgument.error("visit is NULL"))?;
        for (name, value) in kms.list_resource_tags(ptr::text(key_id, "key_id")?)? {
            // Tags hold no NUL.
            let text = |text: String| CString::new(text).unwrap_or_default();
            let (name, value) = (text(name), text(value));
            if visit(user, &kms_tag { name: name.as_ptr(), value: value.as_ptr() }) != 0 {
                break;
            }
        }
        Ok(())
    })
}
