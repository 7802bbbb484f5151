-- Versions as agents state them, now and over time (versions.py, detect/versions.py). $now, $since: naive UTC.

-- name: cards
-- Versions of cards heard since $since, with the pool they are listed in; the model as the card itself says it.
SELECT c.card_id, n.cluster_id, n.node_id, coalesce(nullif(c.vendor, 'unknown'), i.vendor, ''),
       coalesce(c.facts ->> 'model', c.model, i.model, ''), i.pool,
       c.facts ->> 'driver_version', c.facts ->> 'firmware_version', c.facts ->> 'runtime_version'
FROM card c JOIN node n USING (node_key)
LEFT JOIN (SELECT * FROM inventory
           WHERE known_to IS NULL AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now)
           QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY source = 'seen', valid_from DESC, inventory_id DESC) = 1) i
       ON i.card_id = c.card_id
WHERE c.last_seen >= $since AND c.facts IS NOT NULL ORDER BY c.card_id;

-- name: nodes
-- Versions of nodes heard since $since.
SELECT cluster_id, node_id, facts ->> 'kernel_version', facts ->> 'os_version', facts ->> 'agent_version'
FROM node WHERE last_seen >= $since AND facts IS NOT NULL ORDER BY cluster_id, node_id;

-- name: ports
-- Firmware of RDMA ports heard since $since. A virtual function has its physical one's.
SELECT p.port_id, n.cluster_id, n.node_id, coalesce(p.facts ->> 'hca_type', ''), p.facts ->> 'firmware_version'
FROM port p JOIN node n USING (node_key)
WHERE p.last_seen >= $since AND p.facts IS NOT NULL AND coalesce(p.facts ->> 'role', '') <> 'virtual' ORDER BY p.port_id;

-- name: since
-- From when each version that is newest holds.
SELECT family, subject, name, epoch_us(max(valid_from)) FROM fact
WHERE list_contains($names, name) GROUP BY family, subject, name;

-- name: facts
-- Dated versions from $since on, and of each subject the one before that it had.
SELECT family, subject, name, CAST(value AS VARCHAR), epoch_us(valid_from) FROM fact
WHERE list_contains($names, name) AND valid_from >= $since
UNION ALL
SELECT family, subject, name, CAST(arg_max(value, valid_from) AS VARCHAR), epoch_us(max(valid_from)) FROM fact
WHERE list_contains($names, name) AND valid_from < $since GROUP BY family, subject, name
ORDER BY 1, 2, 3, 5;

-- name: facts_of
-- Dated versions of some subjects, all there are.
SELECT family, subject, name, CAST(value AS VARCHAR), epoch_us(valid_from) FROM fact
WHERE list_contains($names, name) AND list_contains($subjects, subject) ORDER BY 1, 2, 3, 5;

-- name: holdings
-- Cards of workloads that hold them now.
SELECT w.workload_id, c.card_id, n.cluster_id, n.node_id
FROM allocation a JOIN workload w USING (workload_key) JOIN card c USING (card_key) JOIN node n ON n.node_key = c.node_key
WHERE a.known_to IS NULL AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now) AND a.share_nano > 0
  AND coalesce(a."rank", 'work') = 'work'
ORDER BY w.workload_id, c.card_id;

-- name: faults
-- Incidents that began since $since, with the node of their subject: facts name nodes without their cluster, so that a
-- name of several clusters is nobody's.
WITH unique_node AS (
    SELECT node_id, any_value(node_key) AS node_key FROM node GROUP BY node_id HAVING count(*) = 1
)
SELECT i.incident_id, i.family, i.subject, i.cause, epoch_us(i.onset), u.node_id,
       CASE WHEN i.family = 'node'
            THEN (SELECT list(c.card_id ORDER BY c.card_id) FROM card c WHERE c.node_key = u.node_key) END
FROM incident i
LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN port p ON i.family = 'port' AND p.port_id = i.subject
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, p.node_key)
LEFT JOIN unique_node u ON u.node_id = coalesce(n.node_id, CASE WHEN i.family = 'node' THEN i.subject END)
WHERE i.onset >= $since ORDER BY i.incident_id;
