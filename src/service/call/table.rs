//! The one table of all actions: their parameters, the C functions that do the same, and what they answer.
//!
//! Requests are checked against it, ListActions returns it, and `docs/actions.md` and the list in `kms_call`'s text are
//! made from it: `make actions`.

use super::action::{Action, Kind, Parameter};
use super::{Response, Run, crypt, files, keys, keystore, lists};

const fn needed(name: &'static str, kind: Kind, note: &'static str) -> Parameter {
    Parameter { name, kind, required: true, note }
}

const fn optional(name: &'static str, kind: Kind, note: &'static str) -> Parameter {
    Parameter { name, kind, required: false, note }
}

const KEY_ID: Parameter = needed("KeyId", Kind::KeyId, "");
const KEY: Parameter = needed("KeyId", Kind::Key, "");
const VERSION_ID: Parameter = needed("KeyVersionId", Kind::VersionId, "");
const WINDOW: Parameter = optional("PendingWindowInDays", Kind::Integer, "7 to 366; default: 30");
const ALIAS: Parameter = needed("AliasName", Kind::Alias, "`alias/` and 1 to 255 letters, digits, `_`, `/` or `-`");
const BLOB: Parameter = needed("CiphertextBlob", Kind::Base64, "");
const CONTEXT: Parameter = optional("EncryptionContext", Kind::Map, "default: none; at most 8192 bytes encoded");
const PAGE_NUMBER: Parameter = optional("PageNumber", Kind::Integer, "from 1, the default");
const PAGE_SIZE: Parameter = optional("PageSize", Kind::Integer, "1 to 100; default: 10");
const DESCRIPTION: Parameter = optional("Description", Kind::Text, "at most 8192 characters; default: empty");
const KEY_USAGE: Parameter = optional("KeyUsage", Kind::Text, "`ENCRYPT/DECRYPT`");
const KEY_SPEC: Parameter = optional("KeySpec", Kind::Text, "`Aliyun_AES_256`");
const PROTECTION_LEVEL: Parameter = optional("ProtectionLevel", Kind::Text, "`SOFTWARE`");
const ORIGIN: Parameter =
    optional("Origin", Kind::Text, "`Aliyun_KMS`, the default: made by the library; `EXTERNAL`: imported");
const ENABLE_ROTATION: Parameter = optional("EnableAutomaticRotation", Kind::Flag, "default: false");
const INTERVAL: Parameter =
    optional("RotationInterval", Kind::Text, "such as `90d`, 1 s to 3650 d; needed with EnableAutomaticRotation");
const DATA_KEY_SPEC: Parameter = optional("KeySpec", Kind::Text, "`AES_256`, the default, or `AES_128`");
const NUMBER_OF_BYTES: Parameter = optional("NumberOfBytes", Kind::Integer, "1 to 1024; instead of KeySpec");
const PUBLIC_KEY: Parameter = needed("PublicKeyBlob", Kind::Base64, "RSA-2048, a SubjectPublicKeyInfo in DER");
const WRAPPING_SPEC: Parameter = needed("WrappingKeySpec", Kind::Text, "`RSA_2048`");
const WRAPPING: Parameter = needed(
    "WrappingAlgorithm",
    Kind::Text,
    "`RSAES_OAEP_SHA_256`, `RSAES_OAEP_SHA_1`; for imports also `RSAES_PKCS1_V1_5`",
);
const EXPIRES: Parameter = optional("KeyMaterialExpireUnix", Kind::Integer, "Unix seconds; default: 0, never");
const ROOT_KEY: Parameter = optional("RootKey", Kind::Base64, "32 bytes");
const ROOT_PASSPHRASE: Parameter = optional("RootPassphrase", Kind::Base64, "");
const ROOT_KEY_FILE: Parameter = optional("RootKeyFile", Kind::Path, "");
const CREATE_FILE: Parameter =
    optional("CreateRootKeyFile", Kind::Flag, "make the file if it isn't there; default: false");

const METADATA: &str = "KeyMetadata";
const VERSION: &str =
    "KeyVersion: KeyId, KeyVersionId, CreationDate, KeyVersionState, DeleteDate, LastEncryptDate, LastDecryptDate";
const NOTHING: &str = "";

const fn service(
    name: &'static str,
    functions: &'static [&'static str],
    summary: &'static str,
    parameters: &'static [Parameter],
    response: &'static str,
    run: Run,
) -> Action {
    Action { name, of_service: true, functions, summary, parameters, response, run }
}

const fn own(
    name: &'static str,
    functions: &'static [&'static str],
    summary: &'static str,
    parameters: &'static [Parameter],
    response: &'static str,
    run: Run,
) -> Action {
    Action { name, of_service: false, functions, summary, parameters, response, run }
}

const SOURCE: Parameter = needed("Source", Kind::Path, "of the file to read");
const TARGET: Parameter = needed("Target", Kind::Path, "of the file to write");
const THREADS: Parameter = optional("Threads", Kind::Integer, "1 to 256; default: 0, one per CPU, at most 4");
const REPLACE: Parameter = optional("Replace", Kind::Flag, "whether an existing target is replaced; default: false");

/// Every action, in groups: keys, versions, cryptography, files, imported material, aliases, tags, the keystore.
#[rustfmt::skip]
pub const ACTIONS: &[Action] = &[
    service("CreateKey", &["kms_create_key"], "Create a customer master key.",
        &[DESCRIPTION, KEY_USAGE, KEY_SPEC, PROTECTION_LEVEL, ORIGIN, ENABLE_ROTATION, INTERVAL], METADATA, keys::create_key),
    own("CreateKeys", &["kms_create_keys"], "Create keys alike, all of them or none.",
        &[needed("Count", Kind::Integer, "1 to 1000"), DESCRIPTION, KEY_USAGE, KEY_SPEC, PROTECTION_LEVEL, ORIGIN, ENABLE_ROTATION, INTERVAL],
        "Keys.Key[]: KeyId, KeyArn", keys::create_keys),
    own("CreateServiceKey", &["kms_create_service_key"], "Return the key of a named part of the program; create it on first use.",
        &[needed("ServiceName", Kind::Text, "its alias is `alias/acs/NAME`")], METADATA, keys::create_service_key),
    service("DescribeKey", &["kms_describe_key", "kms_get_key_description"], "Show a key's metadata.", &[KEY],
        "KeyMetadata, with the deletion protection", keys::describe_key),
    service("ListKeys", &["kms_list_keys"], "List keys by their ids.",
        &[PAGE_NUMBER, PAGE_SIZE, optional("Filters", Kind::List, "objects of Key (`KeyState`, `KeySpec`, `KeyUsage`, `ProtectionLevel`, `CreatorType`) and Values")],
        "Keys.Key[]: KeyId, KeyArn; PageNumber, PageSize, TotalCount", lists::list_keys),
    service("EnableKey", &["kms_enable_key"], "Make a Disabled key Enabled.", &[KEY_ID], NOTHING, keys::enable_key),
    service("DisableKey", &["kms_disable_key"], "Make an Enabled key Disabled.", &[KEY_ID], NOTHING, keys::disable_key),
    service("ScheduleKeyDeletion", &["kms_schedule_key_deletion"], "Start the waiting period before a key is destroyed.",
        &[KEY_ID, WINDOW], NOTHING, keys::schedule_key_deletion),
    service("CancelKeyDeletion", &["kms_cancel_key_deletion"], "Take a scheduled deletion back.", &[KEY_ID], NOTHING, keys::cancel_key_deletion),
    service("UpdateKeyDescription", &["kms_update_key_description"], "Replace a key's description.",
        &[KEY_ID, needed("Description", Kind::Text, "at most 8192 characters")], NOTHING, keys::update_key_description),
    service("SetDeletionProtection", &["kms_set_deletion_protection"], "Refuse ScheduleKeyDeletion of a key, or allow it again.",
        &[optional("KeyId", Kind::KeyId, "or ProtectedResourceArn"), optional("ProtectedResourceArn", Kind::KeyId, "as a resource name; or KeyId"),
          needed("EnableDeletionProtection", Kind::Flag, ""), optional("DeletionProtectionDescription", Kind::Text, "")],
        NOTHING, keys::set_deletion_protection),

    service("CreateKeyVersion", &["kms_rotate"], "Rotate a key: make a new version and promote it to primary.", &[KEY],
        VERSION, keys::create_key_version),
    service("UpdateRotationPolicy", &["kms_update_rotation_policy"], "Turn automatic rotation on or off.",
        &[KEY_ID, needed("EnableAutomaticRotation", Kind::Flag, ""), INTERVAL], NOTHING, keys::update_rotation_policy),
    service("DescribeKeyVersion", &["kms_describe_key_version"], "Show a version of a key.", &[KEY, VERSION_ID],
        VERSION, keys::describe_key_version),
    service("ListKeyVersions", &["kms_list_key_versions"], "List a key's versions, newest first.", &[KEY, PAGE_NUMBER, PAGE_SIZE],
        "KeyVersions.KeyVersion[]: the fields of DescribeKeyVersion; PageNumber, PageSize, TotalCount", lists::list_key_versions),
    own("EnableKeyVersion", &["kms_enable_key_version"], "Make a Disabled version Enabled.", &[KEY_ID, VERSION_ID], NOTHING, keys::enable_key_version),
    own("DisableKeyVersion", &["kms_disable_key_version"], "Make a version that is not the primary refuse decryption.",
        &[KEY_ID, VERSION_ID], NOTHING, keys::disable_key_version),
    own("ScheduleKeyVersionDeletion", &["kms_schedule_key_version_deletion"], "Start the waiting period before a Disabled version is destroyed.",
        &[KEY_ID, VERSION_ID, WINDOW], NOTHING, keys::schedule_key_version_deletion),
    own("CancelKeyVersionDeletion", &["kms_cancel_key_version_deletion"], "Cancel the pending deletion of a version, which becomes Disabled.",
        &[KEY_ID, VERSION_ID], NOTHING, keys::cancel_key_version_deletion),
    own("Tick", &["kms_tick"], "Do all that is due now: rotations, expiries, deletions.", &[], "Rotated, Destroyed, VersionsDestroyed, Damaged", keystore::tick),

    service("Encrypt", &["kms_encrypt"], "Encrypt under a key's primary version.",
        &[KEY, needed("Plaintext", Kind::Base64, "of the bytes, at most 1 GiB"), CONTEXT], "KeyId, KeyVersionId, CiphertextBlob", crypt::encrypt),
    service("Decrypt", &["kms_decrypt"], "Decrypt under the version that the ciphertext names.", &[BLOB, CONTEXT],
        "KeyId, KeyVersionId, Plaintext", crypt::decrypt),
    service("ReEncrypt", &["kms_reencrypt"], "Move a ciphertext to a key's primary version.",
        &[BLOB, needed("DestinationKeyId", Kind::KeyId, "may be the ciphertext's own"), optional("SourceEncryptionContext", Kind::Map, "default: none"),
          optional("DestinationEncryptionContext", Kind::Map, "default: none")],
        "KeyId and KeyVersionId of the source, CiphertextBlob", crypt::re_encrypt),
    own("EncryptBatch", &["kms_encrypt_batch"], "Encrypt records under one version of a key.",
        &[KEY, needed("Records", Kind::List, "objects of Plaintext and EncryptionContext")],
        "Records.Record[]: CiphertextBlob, or Code and Message", crypt::encrypt_batch),
    own("DecryptBatch", &["kms_decrypt_batch"], "Decrypt records, each under the version that it names.",
        &[needed("Records", Kind::List, "objects of CiphertextBlob and EncryptionContext")],
        "Records.Record[]: Plaintext, or Code and Message", crypt::decrypt_batch),
    own("ReEncryptBatch", &["kms_reencrypt_batch"], "Move records to a key's primary version.",
        &[optional("DestinationKeyId", Kind::Key, "default: each to its own key"),
          needed("Records", Kind::List, "objects of CiphertextBlob, SourceEncryptionContext and DestinationEncryptionContext")],
        "Records.Record[]: CiphertextBlob, or Code and Message", crypt::re_encrypt_batch),
    own("Inspect", &["kms_inspect"], "Show which key and version a ciphertext is under; nothing is authenticated.", &[BLOB],
        "KeyId, KeyVersionId, Algorithm, HasEncryptionContext, IsPrimary", crypt::inspect),
    service("GenerateDataKey", &["kms_generate_data_key"], "Make a data key, in the clear and encrypted.",
        &[KEY, DATA_KEY_SPEC, NUMBER_OF_BYTES, CONTEXT], "KeyId, KeyVersionId, Plaintext, CiphertextBlob", crypt::generate_data_key),
    service("GenerateDataKeyWithoutPlaintext", &["kms_generate_data_key"], "Make a data key, encrypted only.",
        &[KEY, DATA_KEY_SPEC, NUMBER_OF_BYTES, CONTEXT], "KeyId, KeyVersionId, CiphertextBlob", crypt::generate_data_key_without_plaintext),
    service("ExportDataKey", &["kms_export_data_key"], "Wrap a data key with a public key.", &[BLOB, CONTEXT, PUBLIC_KEY, WRAPPING_SPEC, WRAPPING],
        "KeyId, KeyVersionId, ExportedDataKey", crypt::export_data_key),
    service("GenerateAndExportDataKey", &["kms_generate_and_export_data_key"], "Make a data key, encrypted and wrapped with a public key.",
        &[KEY, DATA_KEY_SPEC, NUMBER_OF_BYTES, CONTEXT, PUBLIC_KEY, WRAPPING_SPEC, WRAPPING],
        "KeyId, KeyVersionId, CiphertextBlob, ExportedDataKey", crypt::generate_and_export_data_key),

    own("EncryptFile", &["kms_encrypt_file"], "Encrypt a file of any size.",
        &[KEY, SOURCE, TARGET, CONTEXT, THREADS, REPLACE], "PlaintextLength", files::encrypt_file),
    own("DecryptFile", &["kms_decrypt_file"], "Decrypt a file.", &[SOURCE, TARGET, CONTEXT, THREADS, REPLACE], "PlaintextLength", files::decrypt_file),
    own("ReEncryptFile", &["kms_reencrypt_file"], "Move a file to a key's primary version; only its header is rewritten.",
        &[needed("Path", Kind::Path, ""), optional("DestinationKeyId", Kind::Key, "default: its own key"), CONTEXT], "Changed", files::re_encrypt_file),
    own("InspectFile", &["kms_inspect_file"], "Show which key and version a file is under; nothing is authenticated.", &[needed("Path", Kind::Path, "")],
        "KeyId, KeyVersionId, IsPrimary, FileId, Sequence, PlaintextLength", files::inspect_file),

    service("GetParametersForImport", &["kms_get_parameters_for_import"], "Return a public key and a token for an import.",
        &[KEY_ID, WRAPPING_SPEC, WRAPPING], "KeyId, PublicKey, ImportToken, TokenExpireTime", keys::get_parameters_for_import),
    service("ImportKeyMaterial", &["kms_import_key_material"], "Import material that was wrapped with that public key.",
        &[KEY_ID, needed("EncryptedKeyMaterial", Kind::Base64, ""), needed("ImportToken", Kind::Base64, ""), EXPIRES], NOTHING, keys::import_key_material),
    own("ImportRawKeyMaterial", &["kms_import_raw_key_material"], "Import material in the clear.",
        &[KEY_ID, needed("KeyMaterial", Kind::Base64, "32 bytes"), EXPIRES], NOTHING, keys::import_raw_key_material),
    service("DeleteKeyMaterial", &["kms_delete_key_material"], "Erase imported material.", &[KEY_ID], NOTHING, keys::delete_key_material),

    service("CreateAlias", &["kms_create_alias"], "Give a key another name.", &[KEY_ID, ALIAS], NOTHING, keys::create_alias),
    service("UpdateAlias", &["kms_update_alias"], "Move an alias to another key.", &[KEY_ID, ALIAS], NOTHING, keys::update_alias),
    service("DeleteAlias", &["kms_delete_alias"], "Delete an alias.", &[ALIAS], NOTHING, keys::delete_alias),
    service("ListAliases", &["kms_list_aliases"], "List all aliases by name.", &[PAGE_NUMBER, PAGE_SIZE],
        "Aliases.Alias[]: KeyId, AliasName, AliasArn; PageNumber, PageSize, TotalCount", lists::list_aliases),
    service("ListAliasesByKeyId", &["kms_list_aliases"], "List a key's aliases by name.", &[KEY_ID, PAGE_NUMBER, PAGE_SIZE],
        "Aliases.Alias[]: KeyId, AliasName, AliasArn; PageNumber, PageSize, TotalCount", lists::list_aliases_by_key_id),

    service("TagResource", &["kms_tag_resource"], "Set tags of a key; at most 10.",
        &[KEY_ID, needed("Tags", Kind::List, "objects of TagKey and TagValue")], NOTHING, keys::tag_resource),
    service("UntagResource", &["kms_untag_resource"], "Remove tags of a key.", &[KEY_ID, needed("TagKeys", Kind::List, "of texts")], NOTHING, keys::untag_resource),
    service("ListResourceTags", &["kms_list_resource_tags"], "List a key's tags.", &[KEY_ID], "Tags.Tag[]: KeyId, TagKey, TagValue", lists::list_resource_tags),

    own("Health", &["kms_health"], "Show flags that weaken a promise, and counters.", &[],
        "a boolean for each KMS_HEALTH flag; Rotations, RotationFailures, KeysDestroyed, VersionsDestroyed, KeysCached, Generation, Polls, Absences, Rollbacks, AgeMs, ClockAheadMs", keystore::health),
    own("Verify", &["kms_verify"], "Check every row of the keystore. A damaged one fails with Keystore.Corrupt, and the error body has Faults.", &[],
        "Faults.Fault[]: KeyId, Code, Message; TotalCount", keystore::verify),
    own("Backup", &["kms_backup"], "Write a snapshot of the keystore to a new file.", &[needed("Path", Kind::Path, "")], NOTHING, keystore::backup),
    own("ChangeRoot", &["kms_change_root"], "Replace what opens the keystore by exactly one of the parameters Root... .",
        &[ROOT_KEY, ROOT_PASSPHRASE, ROOT_KEY_FILE, CREATE_FILE], NOTHING, keystore::change_root),
    own("AddRootSlot", &["kms_add_root_slot"], "Let exactly one of the parameters Root... open the keystore too.",
        &[ROOT_KEY, ROOT_PASSPHRASE, ROOT_KEY_FILE, CREATE_FILE, optional("Label", Kind::Text, "at most 255 bytes, stored in the clear")],
        "RootSlotId", keystore::add_root_slot),
    own("RemoveRootSlot", &["kms_remove_root_slot"], "Remove one of the roots that open the keystore.",
        &[needed("RootSlotId", Kind::Text, "as ListRootSlots shows it")], NOTHING, keystore::remove_root_slot),
    own("ListRootSlots", &["kms_list_root_slots"], "List the roots that open the keystore.", &[],
        "RootSlots.RootSlot[]: RootSlotId, Kind (`KEY`, `PASSPHRASE`, `CALLBACK`), CreationDate, Label, OpenedThisHandle", keystore::list_root_slots),
    own("ListChanges", &["kms_list_changes"], "List the change log, oldest entry first.",
        &[optional("KeyId", Kind::KeyId, "only entries of this key, which need not exist any more"),
          optional("StartTime", Kind::Integer, "Unix milliseconds: entries of this time or later"),
          optional("EndTime", Kind::Integer, "Unix milliseconds: entries before this time"),
          optional("AfterGeneration", Kind::Integer, "to continue: the Generation of the last entry seen"),
          optional("MaxResults", Kind::Integer, "1 to 1000; default: 100")],
        "Changes.Change[]: EventId, EventName, EventTime, EventTimeMs, BootTimeMs, Generation, Status, ErrorCode, KeyId, KeyVersionId, Count, \
         RefusalsOmitted, WaitedMs, UserIdentity (ProcessId, UserId, Program, Actor), Mac, PreviousMac; IsLast", lists::list_changes),
    own("CutChanges", &["kms_cut_changes"], "Remove the entries of the change log that are older than a time.",
        &[needed("EndTime", Kind::Integer, "Unix milliseconds: entries before this time go")], "Removed", keystore::cut_changes),
    own("ListActions", &[], "List the actions, as this table has them.", &[],
        "Actions.Action[]: Name, Service, Functions, Summary, Parameters, Response", list_actions),
];

/// The functions of `kms.h` that have no action, and why.
#[cfg(test)]
pub const NOT_ACTIONS: &[(&str, &str)] = &[
    ("kms_options_", "options of kms_open, which a string can't carry: they hold callbacks"),
    ("kms_open", "makes the handle that every action needs"),
    ("kms_close", "ends the handle, and so the call itself"),
    ("kms_call", "carries the actions out"),
    ("kms_string_free", "frees what kms_call returned"),
    ("kms_version", "is about the library and no keystore"),
    ("kms_status_name", "is about the library and no keystore; an error body has the Code"),
    ("kms_status_code", "is about the library and no keystore; an error body has the Code"),
    ("kms_last_error", "is about the calling thread; an error body has the Message"),
    ("kms_id_size", "is a constant of C"),
    ("kms_max_overhead", "is a constant of C"),
    ("kms_file_", "reads an open file, which is an object of C, or is a constant of it"),
    ("kms_stream_", "is about a stream, which is an object of C"),
    ("kms_survey_", "is about a survey, which is an object of C"),
    ("kms_begin_survey", "makes an object of C"),
    ("kms_encrypt_stream", "makes an object of C"),
    ("kms_decrypt_stream", "makes an object of C"),
    ("kms_is_encrypted_file", "is about bytes and no keystore"),
    ("kms_open_file", "makes an object of C"),
    ("kms_open_file_callback", "makes an object of C"),
];

pub fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

fn list_actions(_: &super::Keystore, _: &mut super::Request) -> crate::error::Result<Response> {
    use serde_json::{Value, json};
    let parameter = |parameter: &Parameter| {
        json!({
            "Name": parameter.name,
            "Type": parameter.kind.name(),
            "Required": parameter.required,
            "Description": parameter.note,
        })
    };
    let shown = |action: &Action| {
        json!({
            "Name": action.name,
            "Service": action.of_service,
            "Functions": action.functions,
            "Summary": action.summary,
            "Parameters": { "Parameter": action.parameters.iter().map(parameter).collect::<Vec<Value>>() },
            "Response": action.response,
        })
    };
    let all: Vec<Value> = ACTIONS.iter().map(shown).collect();
    Ok(super::show::object([("Actions", json!({ "Action": all }))]))
}

#[cfg(test)]
mod tests;
