ALTER TABLE key ADD COLUMN counted_wall INTEGER;
ALTER TABLE key ADD COLUMN waiting BLOB;
ALTER TABLE meta ADD COLUMN recent BLOB;
ALTER TABLE meta ADD COLUMN place BLOB;
CREATE INDEX key_counted ON key(counted_wall) WHERE counted_wall IS NOT NULL;
ALTER TABLE slot ADD COLUMN created INTEGER;
ALTER TABLE slot ADD COLUMN label TEXT;
ALTER TABLE meta ADD COLUMN log BLOB;
CREATE TABLE change(
  generation INTEGER PRIMARY KEY, change_id BLOB NOT NULL, at_ms INTEGER NOT NULL, boot_ms INTEGER NOT NULL,
  pid INTEGER NOT NULL, uid INTEGER NOT NULL, program TEXT NOT NULL, label TEXT, action TEXT NOT NULL, key BLOB,
  version BLOB, count INTEGER NOT NULL, status INTEGER NOT NULL, omitted INTEGER NOT NULL, waited_ms INTEGER, mac BLOB NOT NULL
) STRICT;
ALTER TABLE key ADD COLUMN records BLOB;
CREATE TABLE version(
  key_row INTEGER NOT NULL, number INTEGER NOT NULL, state INTEGER NOT NULL, version BLOB, created INTEGER,
  delete_date INTEGER, sighted_wall INTEGER, sighted_boot BLOB, sighted_uptime INTEGER, counted_wall INTEGER, waiting BLOB,
  last_encrypt INTEGER, last_decrypt INTEGER, gcm_messages INTEGER, PRIMARY KEY(key_row, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_sighted ON version(delete_date) WHERE sighted_wall IS NOT NULL;
CREATE INDEX version_counted ON version(counted_wall) WHERE counted_wall IS NOT NULL;
