-- Text identities and the small keys that stand for them in every row.

-- name: nodes
-- Every node ever seen or owned.
SELECT node_key, cluster_id, node_id, machine_id, boot_id, clock_wrong FROM node;

-- name: cards
-- Every card ever seen or owned, and where it is.
SELECT card_key, card_id, node_key FROM card;

-- name: slices
-- Every slice ever seen.
SELECT slice_key, slice_id FROM slice;

-- name: ports
-- Every port ever seen.
SELECT port_key, port_id FROM port;

-- name: boots
-- Boots raw rows point to.
SELECT boot_key, boot_id, origin FROM boot;

-- name: epochs
-- Lives of counters raw rows point to.
SELECT epoch_key, counters_epoch FROM epoch;

-- name: next_keys
-- As many new keys as asked for; all dimensions draw from one sequence.
SELECT nextval('subject_key') FROM range(?);

-- name: put_nodes
-- Nodes met for the first time.
INSERT INTO node (node_key, cluster_id, node_id, machine_id, boot_id, first_seen, last_seen, origin)
SELECT node_key, cluster_id, node_id, machine_id, boot_id, seen, seen, origin FROM incoming;

-- name: put_cards
-- Cards met for the first time; the maker is known when their facts come.
INSERT INTO card (card_key, card_id, node_key, vendor, model, first_seen, last_seen, origin)
SELECT card_key, card_id, node_key, vendor, model, seen, seen, origin FROM incoming;

-- name: put_slices
-- Slices met for the first time.
INSERT INTO slice (slice_key, slice_id, card_key, first_seen, last_seen)
SELECT slice_key, slice_id, card_key, seen, seen FROM incoming;

-- name: put_ports
-- Ports met for the first time.
INSERT INTO port (port_key, port_id, node_key, device, port, first_seen, last_seen, origin)
SELECT port_key, port_id, node_key, device, port, seen, seen, origin FROM incoming;

-- name: put_boots
-- Boots met for the first time.
INSERT INTO boot (boot_key, boot_id, origin) SELECT boot_key, boot_id, origin FROM incoming;

-- name: put_epochs
-- Lives of counters met for the first time.
INSERT INTO epoch (epoch_key, counters_epoch) SELECT epoch_key, counters_epoch FROM incoming;

-- name: see_nodes
-- When nodes were last heard, and what they say of themselves.
UPDATE node SET first_seen = coalesce(least(node.first_seen, i.seen), i.seen),
    last_seen = greatest(coalesce(node.last_seen, i.seen), i.seen),
    machine_id = coalesce(i.machine_id, node.machine_id), boot_id = coalesce(i.boot_id, node.boot_id),
    clock_skew_seconds = coalesce(i.skew, node.clock_skew_seconds), clock_wrong = i.clock_wrong
FROM incoming i WHERE node.node_key = i.node_key;

-- name: see_cards
-- When cards were last heard, and on which node.
UPDATE card SET first_seen = coalesce(least(card.first_seen, i.seen), i.seen),
    last_seen = greatest(coalesce(card.last_seen, i.seen), i.seen), node_key = i.node_key
FROM incoming i WHERE card.card_key = i.card_key;

-- name: see_slices
-- When slices were last heard.
UPDATE slice SET last_seen = greatest(coalesce(slice.last_seen, i.seen), i.seen)
FROM incoming i WHERE slice.slice_key = i.slice_key;

-- name: see_ports
-- When ports were last heard, and on which node.
UPDATE port SET first_seen = coalesce(least(port.first_seen, i.seen), i.seen),
    last_seen = greatest(coalesce(port.last_seen, i.seen), i.seen), node_key = i.node_key
FROM incoming i WHERE port.port_key = i.port_key;

-- name: newest_facts
-- What was last said of these subjects.
SELECT i.subject_key, t.facts, epoch_us(t.facts_at) FROM incoming i
JOIN {table} t ON t.{key} = i.subject_key;

-- name: put_facts
-- Facts that are new or have changed, dated.
INSERT INTO fact (family, subject, name, value, valid_from, received_at)
SELECT family, subject, name, value, valid_from, received_at FROM incoming;

-- name: set_facts
-- The newest facts beside the identity, and the columns that are made of them.
UPDATE {table} SET facts = i.facts, facts_at = i.facts_at{columns}
FROM incoming i WHERE {table}.{key} = i.subject_key;
