GRANT SELECT ON schema TO {role};
GRANT SELECT, INSERT, UPDATE(name) ON store TO {role};
GRANT SELECT, INSERT, DELETE ON slot TO {role};
GRANT SELECT, INSERT, UPDATE ON shard TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON key, version, alias, tag, node TO {role};
GRANT SELECT, INSERT, DELETE ON material TO {role};
GRANT SELECT, INSERT ON change TO {role};
GRANT SELECT, INSERT, UPDATE ON checkpoint, backup TO {role};
