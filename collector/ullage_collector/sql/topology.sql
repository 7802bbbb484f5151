-- Where things stand and what hangs together, dated twice (topology/). Times in parameters: microseconds since the epoch.

-- name: believed_of
-- What is believed of one source, to be compared with what it says now.
SELECT topology_id, family, subject, relation, target, attributes, epoch_us(valid_from), epoch_us(valid_to)
FROM topology WHERE source = $source AND cluster_id = $cluster AND known_to IS NULL ORDER BY topology_id;

-- name: next_statement
-- When the source next spoke or said the same again; NULL: not since.
SELECT epoch_us(min(CASE WHEN said_at > make_timestamp($at) THEN said_at ELSE confirmed_at END)) FROM topology_statement
WHERE source = $source AND cluster_id = $cluster AND confirmed_at > make_timestamp($at);

-- name: confirm
-- The source says again what it said; only the last time is kept, as it may say so every hour for years.
UPDATE topology_statement SET confirmed_at = greatest(confirmed_at, make_timestamp($at))
WHERE source = $source AND cluster_id = $cluster
  AND said_at = (SELECT max(said_at) FROM topology_statement
                 WHERE source = $source AND cluster_id = $cluster AND said_at <= make_timestamp($at));

-- name: disbelieve
-- Rows that are no longer believed as they stand.
UPDATE topology AS t SET known_to = incoming.known FROM incoming WHERE t.topology_id = incoming.topology_id;

-- name: believe
-- What is believed from now on.
INSERT INTO topology (topology_id, source, cluster_id, family, subject, relation, target, attributes, valid_from,
                      valid_to, known_from)
SELECT nextval('record_number'), source, cluster_id, family, subject, relation, target, attributes, valid_from,
       valid_to, known_from FROM incoming;

-- name: put_statement
-- The source has spoken.
INSERT INTO topology_statement (source, cluster_id, said_at, confirmed_at, known_from, relations, digest)
VALUES ($source, $cluster, make_timestamp($at), make_timestamp($at), make_timestamp($now), $relations, $digest);

-- name: at
-- Every relation that holds at $at as believed at $known.
SELECT source, cluster_id, family, subject, relation, target, attributes, epoch_us(valid_from), epoch_us(valid_to)
FROM topology
WHERE valid_from <= make_timestamp($at) AND (valid_to IS NULL OR valid_to > make_timestamp($at))
  AND known_from <= make_timestamp($known) AND (known_to IS NULL OR known_to > make_timestamp($known))
ORDER BY cluster_id, family, subject, relation, target, source;

-- name: nodes
-- Every node that was ever seen or is owned.
SELECT cluster_id, node_id FROM node ORDER BY cluster_id, node_id;

-- name: cards
-- Every card and the node it stands in at $at: as it was listed then, else where it was last seen.
SELECT c.card_id, coalesce(i.cluster_id, n.cluster_id), coalesce(i.node_id, n.node_id)
FROM card c JOIN node n USING (node_key)
LEFT JOIN (SELECT * FROM inventory
           WHERE source <> 'seen' AND valid_from <= make_timestamp($at) AND (valid_to IS NULL OR valid_to > make_timestamp($at))
             AND known_from <= make_timestamp($known) AND (known_to IS NULL OR known_to > make_timestamp($known))
           QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY valid_from DESC, inventory_id DESC) = 1) i
       ON i.card_id = c.card_id
ORDER BY c.card_id;

-- name: ports
-- Every RDMA port with what joins it to cabling lists: its adapter's GUID and its interface.
SELECT p.port_id, n.cluster_id, n.node_id, p.port, p.facts ->> 'node_guid', p.facts ->> 'netdev', p.facts ->> 'role'
FROM port p JOIN node n USING (node_key) ORDER BY p.port_id;

-- name: stated
-- The newest facts of cards and ports of each cluster.
SELECT n.cluster_id, 'card', c.card_id, n.node_id, CAST(c.facts AS VARCHAR) FROM card c JOIN node n USING (node_key)
WHERE c.facts IS NOT NULL
UNION ALL
SELECT n.cluster_id, 'port', p.port_id, n.node_id, CAST(p.facts AS VARCHAR) FROM port p JOIN node n USING (node_key)
WHERE p.facts IS NOT NULL
ORDER BY 1, 2, 3;

-- name: clusters
-- Clusters that are known by any node.
SELECT DISTINCT cluster_id FROM node ORDER BY cluster_id;
