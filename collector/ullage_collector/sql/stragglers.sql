-- What the straggler watch reads (detect/stragglers/reading.py): who holds what now, and the last minutes of it.
-- {names} are texts the code made.

-- name: held
-- What work holds at an instant, as believed now, with what says who pays. card_id NULL: nobody knows which card.
-- alone: the only holder, of the whole card: then its figures are this work's. model, pool NULL: not owned.
-- The share is the one that is paid for: of a card handed out more than once, divided as in the ledger.
WITH owned AS (
    SELECT card_id, any_value(pool ORDER BY valid_from DESC) AS pool, any_value(model ORDER BY valid_from DESC) AS model
    FROM inventory WHERE known_to IS NULL AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at) GROUP BY card_id
), now AS (
    SELECT *, count(*) OVER (PARTITION BY card_key) = 1 AND share_nano >= 1000000000 AS alone,
           sum(share_nano) OVER (PARTITION BY card_key) AS together
    FROM allocation
    WHERE known_to IS NULL AND coalesce("rank", 'work') = 'work' AND share_nano > 0
      AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at)
)
SELECT w.workload_id, w.cluster_id, w.namespace, w.user_name, w.partition, w.labels, w.scenario, w.attributes, w.kind,
       a.card_key, a.slice_key, c.card_id, n.node_key, n.node_id,
       CASE WHEN a.card_key IS NULL THEN a.share_nano
            ELSE (a.share_nano::HUGEINT * 1000000000 // greatest(1000000000, a.together))::BIGINT END,
       epoch_us(a.valid_from), o.model, o.pool, coalesce(o.model, c.model, ''), coalesce(a.alone, false)
FROM now a JOIN workload w USING (workload_key)
LEFT JOIN card c USING (card_key)
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, a.node_key)
LEFT JOIN owned o USING (card_id)
ORDER BY w.workload_id, n.node_id, c.card_id, a.allocation_id;

-- name: ports
-- Ports of the nodes that are asked about.
SELECT port_key, port_id, node_key FROM port WHERE list_contains($nodes, node_key) ORDER BY port_id;

-- name: subjects
-- Whose minutes are wanted: a row of the window, the key of its card, slice, port or node, its gang, its model.
CREATE OR REPLACE TEMP TABLE straggler_subject AS SELECT * FROM straggler_given;

-- name: views
-- Which minutes the store has.
SELECT DISTINCT table_name FROM duckdb_columns() WHERE schema_name = 'main' AND database_name = current_database()
  AND table_name IN ('card_minute', 'slice_minute', 'port_minute', 'node_minute');

-- name: columns
-- Which columns a source of minutes has.
DESCRIBE SELECT * FROM {source};

-- name: minutes
-- The wanted minutes of one family.
SELECT s."row", epoch_us(m.minute) // 60000000 - {first} AS at, m.covered_seconds{columns}
FROM straggler_subject s JOIN {source} m ON m.{subject} = s.subject_key
WHERE m.minute >= make_timestamp({from_us}) AND m.minute < make_timestamp({to_us});

-- name: usual_watts
-- Power of busy minutes since each gang began, one minute in five: gang NULL stands for every gang of the model. busy: what
-- makes a minute busy.
SELECT gang, model, quantile_cont(m.power_watts, {quantile}) AS watts, count(*) AS minutes
FROM straggler_subject s JOIN {source} m ON m.{subject} = s.subject_key
WHERE m.minute >= make_timestamp({from_us}) AND m.minute < make_timestamp({to_us}) AND epoch_us(m.minute) >= s.begun_us
  AND epoch_us(m.minute) // 60000000 % 5 = 0 AND m.power_watts IS NOT NULL AND ({busy})
GROUP BY GROUPING SETS ((gang, model), (model));

-- name: usual_bytes
-- What the busiest port or card of each gang moved a second, in most of its minutes since it began; one minute in five.
SELECT gang, quantile_cont(most, {quantile}) AS bytes
FROM (SELECT s.gang, m.minute, max(({moved}) / greatest(m.covered_seconds, 1)) AS most
      FROM straggler_subject s JOIN {source} m ON m.{subject} = s.subject_key
      WHERE m.minute >= make_timestamp({from_us}) AND m.minute < make_timestamp({to_us}) AND epoch_us(m.minute) >= s.begun_us
        AND epoch_us(m.minute) // 60000000 % 5 = 0
      GROUP BY s.gang, m.minute)
WHERE most IS NOT NULL GROUP BY gang;

-- name: standing
-- Open findings of a kind and since when.
SELECT subject, epoch_us(min(since)) FROM finding WHERE kind = $kind AND until IS NULL GROUP BY subject;
