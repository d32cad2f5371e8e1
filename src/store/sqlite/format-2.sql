ALTER TABLE key ADD COLUMN counted_wall INTEGER;
ALTER TABLE key ADD COLUMN waiting BLOB;
ALTER TABLE meta ADD COLUMN recent BLOB;
ALTER TABLE meta ADD COLUMN place BLOB;
CREATE INDEX key_counted ON key(counted_wall) WHERE counted_wall IS NOT NULL;
