CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK(id = 1), uuid BLOB NOT NULL, generation INTEGER NOT NULL, destroyed INTEGER NOT NULL,
  renamed INTEGER NOT NULL, last_row INTEGER NOT NULL, keys BLOB NOT NULL, ids BLOB NOT NULL, aliases BLOB NOT NULL,
  slots BLOB NOT NULL, mac BLOB NOT NULL
) STRICT;
CREATE TABLE slot(
  id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, parameters BLOB NOT NULL, wrapped BLOB NOT NULL
) STRICT;
CREATE TABLE key(
  row INTEGER PRIMARY KEY, id BLOB NOT NULL, state INTEGER NOT NULL, origin INTEGER NOT NULL,
  creator INTEGER NOT NULL, description TEXT NOT NULL, created INTEGER NOT NULL, interval_s INTEGER,
  primary_number INTEGER, primary_id BLOB, primary_created INTEGER, future_noticed INTEGER,
  delete_date INTEGER, sighted_wall INTEGER, sighted_boot BLOB, sighted_uptime INTEGER,
  protection TEXT, import_digest BLOB, import_present INTEGER, import_expires INTEGER,
  expiry_sighted_wall INTEGER, expiry_sighted_boot BLOB, expiry_sighted_uptime INTEGER,
  next_look INTEGER, versions BLOB NOT NULL, tags BLOB, revision INTEGER NOT NULL, generation INTEGER NOT NULL, mac BLOB NOT NULL
) STRICT;
CREATE INDEX key_next_look ON key(next_look) WHERE next_look IS NOT NULL;
CREATE INDEX key_generation ON key(generation) WHERE revision > 1;
CREATE INDEX key_newest ON key(primary_created)
  WHERE state = 1 AND interval_s IS NOT NULL AND future_noticed IS NULL;
CREATE INDEX key_sighted ON key(delete_date) WHERE sighted_wall IS NOT NULL;
CREATE INDEX key_expiry_sighted ON key(import_expires) WHERE expiry_sighted_wall IS NOT NULL;
CREATE TABLE material(
  key_row INTEGER NOT NULL, number INTEGER NOT NULL, version BLOB NOT NULL, algorithm INTEGER NOT NULL,
  created INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(key_row, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX material_version ON material(key_row, version) WHERE number > 16;
CREATE TABLE alias(
  name TEXT NOT NULL PRIMARY KEY, key_row INTEGER NOT NULL, revision INTEGER NOT NULL, generation INTEGER NOT NULL,
  mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_key ON alias(key_row);
CREATE TABLE tag(
  key_row INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, revision INTEGER NOT NULL,
  generation INTEGER NOT NULL, mac BLOB NOT NULL, PRIMARY KEY(key_row, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE node(number INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
