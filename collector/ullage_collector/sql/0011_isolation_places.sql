-- Store version 11: isolations say where they are, and a node's name is only a node's together with its cluster.
ALTER TABLE isolation ADD COLUMN cluster_id VARCHAR;  -- NULL: placed before version 11 where several clusters have the name
ALTER TABLE isolation ADD COLUMN node_id VARCHAR;

-- A node by what a row says of it. told: the cluster a row names; NULL: it names none, and then the name is a node's only
-- where no other cluster has it too. Joined by node_id and told.
CREATE VIEW named_node AS
SELECT node_key, cluster_id, node_id, cluster_id AS told FROM node
UNION ALL
SELECT any_value(node_key), any_value(cluster_id), node_id, NULL FROM node GROUP BY node_id HAVING count(*) = 1;

UPDATE isolation SET cluster_id = i.cluster_id, node_id = i.node_id
FROM (SELECT isolation_id, any_value(cluster_id ORDER BY intent_id DESC) AS cluster_id,
             any_value(node_id ORDER BY intent_id DESC) AS node_id
      FROM isolation_intent WHERE isolation_id IS NOT NULL GROUP BY isolation_id) i
WHERE i.isolation_id = isolation.isolation_id;

UPDATE isolation SET cluster_id = n.cluster_id, node_id = n.node_id
FROM named_node n
WHERE isolation.cluster_id IS NULL AND isolation.family = 'node' AND n.node_id = isolation.subject AND n.told IS NULL;

UPDATE incident SET cluster_id = n.cluster_id, node_id = n.node_id
FROM named_node n
WHERE incident.cluster_id IS NULL AND incident.family = 'node' AND n.node_id = incident.subject AND n.told IS NULL;
