\set id random(1, 64)
BEGIN;
SELECT n FROM plain WHERE id = :id FOR UPDATE;
UPDATE plain SET n = n + 1, body = md5(n::text)::bytea WHERE id = :id;
COMMIT;
