//! How the rows of each table are written.

use super::writes::{How, RowKind};

const SHARD: &[&str] = &[
    "uuid",
    "generation",
    "destroyed",
    "renamed",
    "last_row",
    "keys",
    "ids",
    "aliases",
    "slots",
    "mac",
    "recent",
    "place",
    "log",
];
/// A store that is being made may write the row of a shard twice.
pub static NEW_SHARD: RowKind = RowKind { how: How::Replace, table: "shard", key: &["shard"], columns: SHARD };
pub static SHARD_UPDATE: RowKind = RowKind { how: How::Update, ..NEW_SHARD };

pub static NEW_KEY: RowKind = RowKind {
    how: How::Insert,
    table: "key",
    key: &["key_row", "id"],
    columns: &[
        "state",
        "origin",
        "creator",
        "description",
        "created",
        "interval_s",
        "primary_number",
        "primary_id",
        "primary_created",
        "future_noticed",
        "delete_date",
        "sighted_wall",
        "sighted_boot",
        "sighted_uptime",
        "protection",
        "import_digest",
        "import_present",
        "import_expires",
        "expiry_sighted_wall",
        "expiry_sighted_boot",
        "expiry_sighted_uptime",
        "next_look",
        "versions",
        "tags",
        "revision",
        "generation",
        "mac",
        "counted_wall",
        "waiting",
        "records",
    ],
};
pub static KEY_UPDATE: RowKind = RowKind { how: How::Update, ..NEW_KEY };
pub static KEY_DELETION: RowKind = RowKind { how: How::Delete, key: &["key_row"], columns: &[], ..NEW_KEY };

pub static NEW_MATERIAL: RowKind = RowKind {
    how: How::Insert,
    table: "material",
    key: &["key_row", "number"],
    columns: &["version", "algorithm", "created", "sealed"],
};
pub static MATERIAL_DELETION: RowKind = RowKind { how: How::Delete, columns: &[], ..NEW_MATERIAL };

pub static VERSION: RowKind = RowKind {
    how: How::Replace,
    table: "version",
    key: &["key_row", "number"],
    columns: &[
        "state",
        "version",
        "created",
        "delete_date",
        "sighted_wall",
        "sighted_boot",
        "sighted_uptime",
        "counted_wall",
        "waiting",
        "last_encrypt",
        "last_decrypt",
        "gcm_messages",
    ],
};
pub static VERSIONS_OF_KEY_DELETION: RowKind =
    RowKind { how: How::DeleteAny, key: &["key_row"], columns: &[], ..VERSION };

pub static ALIAS: RowKind = RowKind {
    how: How::Replace,
    table: "alias",
    key: &["name"],
    columns: &["key_row", "revision", "generation", "mac"],
};
pub static ALIAS_DELETION: RowKind = RowKind { how: How::Delete, columns: &[], ..ALIAS };

pub static TAG: RowKind = RowKind {
    how: How::Replace,
    table: "tag",
    key: &["key_row", "name"],
    columns: &["value", "revision", "generation", "mac"],
};
pub static TAG_DELETION: RowKind = RowKind { how: How::Delete, columns: &[], ..TAG };
pub static TAGS_OF_KEY_DELETION: RowKind = RowKind { how: How::DeleteAny, key: &["key_row"], columns: &[], ..TAG };

pub static NODE: RowKind = RowKind { how: How::Replace, table: "node", key: &["number"], columns: &["content"] };
pub static NODE_DELETION: RowKind = RowKind { how: How::DeleteAny, columns: &[], ..NODE };

pub static NEW_CHANGE: RowKind = RowKind {
    how: How::Insert,
    table: "change",
    key: &["generation"],
    columns: &[
        "change_id",
        "at_ms",
        "boot_ms",
        "pid",
        "uid",
        "program",
        "label",
        "action",
        "key",
        "version",
        "count",
        "status",
        "omitted",
        "waited_ms",
        "mac",
    ],
};

pub static SLOT_DELETION: RowKind = RowKind { how: How::Delete, table: "slot", key: &["id"], columns: &[] };
pub static SLOTS_DELETION: RowKind = RowKind { how: How::DeleteAny, key: &[], ..SLOT_DELETION };

pub static BACKUP_RECORD: RowKind =
    RowKind { how: How::Replace, table: "backup", key: &[], columns: &["number", "record"] };
