//! All operations by name and JSON, for languages that can only pass strings.

use std::ffi::{CString, c_char};

use zeroize::Zeroize;

use super::guard::{guard, quietly};
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;

/// kms_call runs an operation by the name of its action, such as "Encrypt", with JSON. `request_json` is an object of
/// the action's parameters; NULL or "" means none. `*response_json` receives the response; free it with
/// kms_string_free. On failure, the response is an error body (HttpStatus, Code, Message, RequestId), or NULL if the
/// library could not make one.
///
/// Names, parameters and errors are those of the service, Alibaba Cloud KMS (API 2016-01-20). Actions that the service
/// lacks follow the same style. docs/actions.md lists the parameters of each action, and the action ListActions returns
/// them.
///
/// Plaintext is in Base64, in requests and responses. A parameter that the action doesn't know is KMS_INVALID_ARGUMENT;
/// an unknown action is KMS_UNKNOWN_ACTION. A batch returns KMS_OK even if records failed: each record has its own
/// Code. The library wipes secrets in a request from its own memory, not from the caller's.
///
/// The actions, each with its C function:
///
///   CreateKey                       kms_create_key
///   CreateKeys                      kms_create_keys
///   CreateServiceKey                kms_create_service_key
///   DescribeKey                     kms_describe_key, kms_get_key_description
///   ListKeys                        kms_list_keys
///   EnableKey                       kms_enable_key
///   DisableKey                      kms_disable_key
///   ScheduleKeyDeletion             kms_schedule_key_deletion
///   CancelKeyDeletion               kms_cancel_key_deletion
///   UpdateKeyDescription            kms_update_key_description
///   SetDeletionProtection           kms_set_deletion_protection
///   CreateKeyVersion                kms_rotate
///   UpdateRotationPolicy            kms_update_rotation_policy
///   DescribeKeyVersion              kms_describe_key_version
///   ListKeyVersions                 kms_list_key_versions
///   EnableKeyVersion                kms_enable_key_version
///   DisableKeyVersion               kms_disable_key_version
///   ScheduleKeyVersionDeletion      kms_schedule_key_version_deletion
///   CancelKeyVersionDeletion        kms_cancel_key_version_deletion
///   Tick                            kms_tick
///   Encrypt                         kms_encrypt
///   Decrypt                         kms_decrypt
///   ReEncrypt                       kms_reencrypt
///   EncryptBatch                    kms_encrypt_batch
///   DecryptBatch                    kms_decrypt_batch
///   ReEncryptBatch                  kms_reencrypt_batch
///   Inspect                         kms_inspect
///   GenerateDataKey                 kms_generate_data_key
///   GenerateDataKeyWithoutPlaintext kms_generate_data_key
///   ExportDataKey                   kms_export_data_key
///   GenerateAndExportDataKey        kms_generate_and_export_data_key
///   EncryptFile                     kms_encrypt_file
///   DecryptFile                     kms_decrypt_file
///   ReEncryptFile                   kms_reencrypt_file
///   InspectFile                     kms_inspect_file
///   GetParametersForImport          kms_get_parameters_for_import
///   ImportKeyMaterial               kms_import_key_material
///   ImportRawKeyMaterial            kms_import_raw_key_material
///   DeleteKeyMaterial               kms_delete_key_material
///   CreateAlias                     kms_create_alias
///   UpdateAlias                     kms_update_alias
///   DeleteAlias                     kms_delete_alias
///   ListAliases                     kms_list_aliases
///   ListAliasesByKeyId              kms_list_aliases
///   TagResource                     kms_tag_resource
///   UntagResource                   kms_untag_resource
///   ListResourceTags                kms_list_resource_tags
///   Health                          kms_health
///   Verify                          kms_verify
///   Backup                          kms_backup
///   ChangeRoot                      kms_change_root
///   AddRootSlot                     kms_add_root_slot
///   RemoveRootSlot                  kms_remove_root_slot
///   ListRootSlots                   kms_list_root_slots
///   ListChanges                     kms_list_changes
///   CutChanges                      kms_cut_changes
///   ListActions                     -
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_call(
    kms: *const kms_t,
    action: *const c_char,
    request_json: *const c_char,
    response_json: *mut *mut c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(response_json, "response_json")?;
        *out = std::ptr::null_mut();
        let kms = handle(kms)?;
        let action = ptr::text(action, "action")?;
        let request = ptr::optional_text(request_json, "request_json")?.unwrap_or_default();
        // JSON escapes NUL.
        let text = |json: String| CString::new(json).unwrap_or_default().into_raw();
        match kms.call(action, request) {
            Ok(response) => {
                *out = text(response);
                Ok(())
            }
            Err(failed) => {
                *out = text(failed.body);
                Err(failed.error)
            }
        }
    })
}

/// kms_string_free wipes and frees a string that kms_call returned. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_string_free(string: *mut c_char) {
    quietly(|| {
        if !string.is_null() {
            // SAFETY: from CString::into_raw in kms_call, and the caller uses it no more.
            unsafe { CString::from_raw(string) }.into_bytes_with_nul().zeroize();
        }
    });
}
