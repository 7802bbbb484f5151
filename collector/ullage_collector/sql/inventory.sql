-- What is owned beside what is seen (detect/inventory.py), and an asset's history (inventory/history.py). $now: UTC.

-- name: owned
-- Every owned card's life now, one row a card, beside what its agent last said. Only agents write facts, so that a
-- serial or model in them was seen. Purchase data are of the asset: a later life or a replacement need not repeat them.
SELECT i.card_id, i.asset_id, i.replaces, i.cluster_id, i.node_id, i.vendor, i.model, i.serial, i.pool, i.life,
       epoch_us(i.valid_from) AS valid_from_us, i.source, coalesce(i.purchase, b.purchase),
       epoch_us(c.last_seen) AS last_seen_us, sn.cluster_id AS seen_cluster, sn.node_id AS seen_node,
       c.facts ->> 'vendor' AS seen_vendor, c.facts ->> 'model' AS seen_model, c.facts ->> 'serial' AS seen_serial,
       epoch_us(n.last_seen) AS node_seen_us
FROM (SELECT * FROM inventory
      WHERE known_to IS NULL AND source <> 'seen' AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now)
      QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY valid_from DESC, inventory_id DESC) = 1) i
LEFT JOIN (SELECT coalesce(asset_id, card_id) AS asset_id, arg_max(purchase, valid_from) AS purchase FROM inventory
           WHERE known_to IS NULL AND source <> 'seen' AND purchase IS NOT NULL AND valid_from <= $now
           GROUP BY coalesce(asset_id, card_id)) b ON b.asset_id = coalesce(i.asset_id, i.card_id)
LEFT JOIN card c ON c.card_id = i.card_id
LEFT JOIN node sn ON sn.node_key = c.node_key
LEFT JOIN node n ON n.cluster_id = i.cluster_id AND n.node_id = i.node_id
ORDER BY i.cluster_id, i.node_id, i.card_id;

-- name: strangers
-- Cards that are seen and that no life of a list covers now: not owned, as far as anybody said.
SELECT c.card_id, n.cluster_id, n.node_id, c.facts ->> 'model' AS model, c.facts ->> 'serial' AS serial,
       epoch_us(c.first_seen) AS first_seen_us, epoch_us(c.last_seen) AS last_seen_us
FROM card c JOIN node n USING (node_key)
WHERE c.first_seen IS NOT NULL
  AND c.card_id NOT IN (SELECT card_id FROM inventory
                        WHERE known_to IS NULL AND source <> 'seen' AND valid_from <= $now
                          AND (valid_to IS NULL OR valid_to > $now))
ORDER BY n.cluster_id, n.node_id, c.card_id;

-- name: newest_seen
-- When anybody was last heard.
SELECT epoch_us(max(last_seen)) FROM node;

-- name: assets
-- What every row believed at $known says of its card's asset.
SELECT card_id, serial, asset_id, replaces, epoch_us(valid_from) FROM inventory
WHERE source <> 'seen' AND known_from <= $known AND (known_to IS NULL OR known_to > $known)
ORDER BY card_id, valid_from;

-- name: history
-- The lives of some cards as believed at $known, in order.
SELECT card_id, serial, life, cluster_id, node_id, vendor, model, pool, valid_from, valid_to, known_from, source,
       replaces, purchase
FROM inventory
WHERE list_contains($cards, card_id) AND source <> 'seen'
  AND known_from <= $known AND (known_to IS NULL OR known_to > $known)
ORDER BY valid_from, card_id;
