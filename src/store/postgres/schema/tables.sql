CREATE TABLE IF NOT EXISTS store(
  name text PRIMARY KEY, store bytea NOT NULL UNIQUE, format bigint NOT NULL, shards bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS slot(
  store bytea NOT NULL, id bigint NOT NULL, kind bigint NOT NULL, parameters bytea NOT NULL, wrapped bytea NOT NULL,
  created bigint, label text, PRIMARY KEY(store, id)
);
CREATE TABLE IF NOT EXISTS shard(
  store bytea NOT NULL, shard bigint NOT NULL, uuid bytea NOT NULL, generation bigint NOT NULL, destroyed bigint NOT NULL,
  renamed bigint NOT NULL, last_row bigint NOT NULL, keys bytea NOT NULL, ids bytea NOT NULL, aliases bytea NOT NULL,
  slots bytea NOT NULL, mac bytea NOT NULL, recent bytea, place bytea, log bytea, PRIMARY KEY(store, shard)
);
CREATE TABLE IF NOT EXISTS key(
  store bytea NOT NULL, key_row bigint NOT NULL, id bytea NOT NULL, state bigint NOT NULL, origin bigint NOT NULL,
  creator bigint NOT NULL, description text NOT NULL, created bigint NOT NULL, interval_s bigint, primary_number bigint,
  primary_id bytea, primary_created bigint, future_noticed bigint, delete_date bigint, sighted_wall bigint,
  sighted_boot bytea, sighted_uptime bigint, protection text, import_digest bytea, import_present bigint,
  import_expires bigint, expiry_sighted_wall bigint, expiry_sighted_boot bytea, expiry_sighted_uptime bigint,
  next_look bigint, versions bytea NOT NULL, tags bytea, revision bigint NOT NULL, generation bigint NOT NULL,
  mac bytea NOT NULL, counted_wall bigint, waiting bytea, records bytea,
  PRIMARY KEY(store, key_row), UNIQUE(store, id)
);
CREATE INDEX IF NOT EXISTS key_next_look ON key(store, next_look, key_row) WHERE next_look IS NOT NULL;
CREATE INDEX IF NOT EXISTS key_due ON key(store, (key_row >> 32), next_look, key_row) WHERE next_look IS NOT NULL;
CREATE INDEX IF NOT EXISTS key_generation ON key(store, generation) WHERE revision > 1;
CREATE INDEX IF NOT EXISTS key_newest ON key(store, primary_created)
  WHERE state = 1 AND interval_s IS NOT NULL AND future_noticed IS NULL;
CREATE INDEX IF NOT EXISTS key_sighted ON key(store, delete_date) WHERE sighted_wall IS NOT NULL;
CREATE INDEX IF NOT EXISTS key_expiry_sighted ON key(store, import_expires) WHERE expiry_sighted_wall IS NOT NULL;
CREATE INDEX IF NOT EXISTS key_counted ON key(store, counted_wall) WHERE counted_wall IS NOT NULL;
CREATE TABLE IF NOT EXISTS material(
  store bytea NOT NULL, key_row bigint NOT NULL, number bigint NOT NULL, version bytea NOT NULL, algorithm bigint NOT NULL,
  created bigint NOT NULL, sealed bytea NOT NULL, PRIMARY KEY(store, key_row, number), UNIQUE(store, key_row, version)
);
CREATE TABLE IF NOT EXISTS version(
  store bytea NOT NULL, key_row bigint NOT NULL, number bigint NOT NULL, state bigint NOT NULL, version bytea, created bigint,
  delete_date bigint, sighted_wall bigint, sighted_boot bytea, sighted_uptime bigint, counted_wall bigint, waiting bytea,
  last_encrypt bigint, last_decrypt bigint, gcm_messages bigint, PRIMARY KEY(store, key_row, number)
);
CREATE INDEX IF NOT EXISTS version_sighted ON version(store, delete_date) WHERE sighted_wall IS NOT NULL;
CREATE INDEX IF NOT EXISTS version_counted ON version(store, counted_wall) WHERE counted_wall IS NOT NULL;
CREATE TABLE IF NOT EXISTS alias(
  store bytea NOT NULL, name text COLLATE "C" NOT NULL, key_row bigint NOT NULL, revision bigint NOT NULL,
  generation bigint NOT NULL, mac bytea NOT NULL, PRIMARY KEY(store, name)
);
CREATE INDEX IF NOT EXISTS alias_key ON alias(store, key_row, name);
CREATE TABLE IF NOT EXISTS tag(
  store bytea NOT NULL, key_row bigint NOT NULL, name text COLLATE "C" NOT NULL, value text NOT NULL,
  revision bigint NOT NULL, generation bigint NOT NULL, mac bytea NOT NULL, PRIMARY KEY(store, key_row, name)
);
CREATE TABLE IF NOT EXISTS node(
  store bytea NOT NULL, number bigint NOT NULL, content bytea NOT NULL, PRIMARY KEY(store, number)
);
CREATE TABLE IF NOT EXISTS change(
  store bytea NOT NULL, generation bigint NOT NULL, change_id bytea NOT NULL, at_ms bigint NOT NULL, boot_ms bigint NOT NULL,
  pid bigint NOT NULL, uid bigint NOT NULL, program text NOT NULL, label text, action text NOT NULL, key bytea, version bytea,
  count bigint NOT NULL, status bigint NOT NULL, omitted bigint NOT NULL, waited_ms bigint, mac bytea NOT NULL,
  PRIMARY KEY(store, generation), UNIQUE(store, change_id)
);
CREATE TABLE IF NOT EXISTS checkpoint(store bytea PRIMARY KEY, number bigint NOT NULL, record bytea NOT NULL);
CREATE TABLE IF NOT EXISTS backup(store bytea PRIMARY KEY, number bigint NOT NULL, record bytea NOT NULL);
