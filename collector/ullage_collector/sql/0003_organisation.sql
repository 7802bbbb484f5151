-- Store version 3: who leads a department beside its owner, what its source calls it whatever it is named, and which
-- source said so; where a mapping rule is from stands in its own source column already.

ALTER TABLE department ADD COLUMN deputy VARCHAR;

-- The source's own stable id: a department that moves keeps it, though its path changes. NULL: the id is all there is.
ALTER TABLE department ADD COLUMN source_key VARCHAR;

-- As of mapping_rule: 'import:<file>'. NULL: from before sources were kept.
ALTER TABLE department ADD COLUMN source VARCHAR;
