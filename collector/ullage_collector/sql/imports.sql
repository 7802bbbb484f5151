-- The import door. {rows} is a SELECT over a file that a map made (imports/rows.py): import_row, t
-- (microseconds since the epoch), identities, metrics and problem (why a row is refused, else NULL).

-- name: stage
-- A text file, read once into a scratch database beside the store.
CREATE TABLE scratch.stage AS {rows};

-- name: extent
-- When a file's rows begin and end, how many there are, and how many of them have no time.
SELECT min(t), max(t), count(*), count(*) FILTER (t IS NULL) FROM ({rows});

-- name: untimed
-- Rows without a time.
SELECT import_row, problem FROM ({rows}) WHERE t IS NULL ORDER BY import_row LIMIT {listed};

-- name: spread
-- Earliest and latest value of a column in each row group of a Parquet file, as text.
SELECT stats_min_value, stats_max_value, row_group_num_rows FROM parquet_metadata(?) WHERE path_in_schema = ?;

-- name: subjects
-- Whose rows a file holds, and when they begin and end.
SELECT cluster_id, node_id, subject, any_value(vendor), any_value(model), min(t), max(t), count(*)
FROM ({rows}) WHERE problem IS NULL GROUP BY cluster_id, node_id, subject;

-- name: piece
-- The rows of one stretch, and those just before it for the counters.
CREATE OR REPLACE TEMP TABLE import_piece AS
SELECT * FROM ({rows}) WHERE t >= {from_us} AND t < {to_us};

-- name: check
-- Of a stretch: rows, refused rows, and rows that share a minute with another of their subject.
SELECT count(*), count(problem),
       count(*) FILTER (problem IS NULL)
           - count(DISTINCT (subject, t // 60000000)) FILTER (problem IS NULL){filled}
FROM import_piece WHERE t >= $1;

-- name: refused
-- The first refused rows.
SELECT import_row, problem FROM import_piece WHERE t >= $1 AND problem IS NOT NULL
ORDER BY import_row LIMIT {listed};

-- name: lost
-- Rows of subjects that can have no key.
SELECT count(*) FROM import_piece p ANTI JOIN import_subject k ON {same} WHERE p.t >= $1 AND p.problem IS NULL;

-- name: put_minutes
-- A row a minute: each stands for the minute it was read in; what is there already stays.
INSERT INTO {table} (minute, {subject}{sender}, covered_seconds, samples, origin{columns})
SELECT make_timestamp(p.t - p.t % 60000000), k.subject_key{sender_value}, 60, 1, '{origin}'{values}
FROM (SELECT *{increases} FROM import_piece WHERE problem IS NULL
      WINDOW w AS (PARTITION BY subject ORDER BY t)) p
JOIN import_subject k ON {same}
{absent}
WHERE p.t >= $1;

-- name: absent
-- Leaves out minutes that are there: the first to say something of a minute is believed.
ANTI JOIN (SELECT {subject} AS subject_key, minute FROM {table}
           WHERE minute >= make_timestamp({from_us}) AND minute < make_timestamp({to_us})) there
    ON there.subject_key = k.subject_key AND there.minute = make_timestamp(p.t - p.t % 60000000)

-- name: finer_source
-- Rows at any interval as raw rows: for the same statement that rolls up raw rows.
SELECT make_timestamp(p.t) AS time, k.subject_key AS {subject}{sender_value}, CAST(NULL AS INTEGER) AS boot_key,
       CAST(NULL AS INTEGER) AS epoch_key, CAST({interval} AS FLOAT) AS interval_seconds{metrics}
FROM import_piece p JOIN import_subject k ON {same} WHERE p.problem IS NULL

-- name: present_finer
-- Rows in minutes that are there already.
SELECT sum(f.samples) FROM fresh f SEMI JOIN {table} there ON there.minute = f.minute AND there.{subject} = f.{subject};

-- name: keep_finer
-- Minutes of finer or coarser rows; what is there already stays.
INSERT INTO {table} (minute, {subject}{sender}, covered_seconds, samples, origin{columns})
SELECT f.minute, f.{subject}{sender_value}, f.covered_seconds, f.samples, '{origin}'{values}
FROM fresh f ANTI JOIN {table} there ON there.minute = f.minute AND there.{subject} = f.{subject};

-- name: imported
-- Whether this file with this map was imported.
SELECT count(*) FROM import WHERE kind = ? AND digest = ?;

-- name: put_import
-- What an import did.
INSERT INTO import (import_id, kind, digest, file, map, rows_read, rows_added, rows_refused, imported_at)
VALUES (nextval('record_number'), ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, digest) DO UPDATE SET rows_added = import.rows_added + excluded.rows_added;

-- name: set_zone
-- Times without a zone in the file are of this one.
SET TimeZone = {zone};

-- ------------------------------------------------------------------ allocations
-- name: stage_allocations
-- What a file says, for comparing.
CREATE OR REPLACE TEMP TABLE import_allocation AS SELECT * FROM incoming;

-- name: present_allocations
-- Those the store believes already, word for word.
SELECT count(*) FROM import_allocation i SEMI JOIN (SELECT * FROM allocation WHERE known_to IS NULL) a
ON {same_holding} AND a.valid_to IS NOT DISTINCT FROM i.valid_to AND a.share_nano = i.share_nano;

-- name: end_allocations
-- Those the store believes otherwise: the same holding from the same instant with another end or share.
UPDATE allocation AS a SET known_to = make_timestamp($1) FROM import_allocation i
WHERE a.known_to IS NULL AND {same_holding}
  AND (a.valid_to IS DISTINCT FROM i.valid_to OR a.share_nano <> i.share_nano);

-- name: end_places
-- Placed otherwise by an earlier import: one workload's holding from one instant stands where it is placed now.
UPDATE allocation AS a SET known_to = make_timestamp($1)
FROM (SELECT DISTINCT workload_key, valid_from FROM import_allocation) i
WHERE a.known_to IS NULL AND a.source LIKE 'import:%' AND a.workload_key = i.workload_key AND a.valid_from = i.valid_from
  AND NOT EXISTS (SELECT 1 FROM import_allocation s WHERE s.workload_key = a.workload_key
                  AND s.valid_from = a.valid_from AND s.card_key IS NOT DISTINCT FROM a.card_key);

-- name: put_allocations
-- Those the store does not believe yet.
INSERT INTO allocation (allocation_id, workload_key, card_key, slice_key, node_key, share_nano, memory_share_nano,
                        valid_from, valid_to, known_from, source, attributes)
SELECT nextval('allocation_number'), i.workload_key, i.card_key, i.slice_key, i.node_key, i.share_nano,
       i.memory_share_nano, i.valid_from, i.valid_to, make_timestamp($1), $2, i.attributes
FROM import_allocation i ANTI JOIN (SELECT * FROM allocation WHERE known_to IS NULL) a
ON {same_holding} AND a.valid_to IS NOT DISTINCT FROM i.valid_to AND a.share_nano = i.share_nano;

-- name: capacity
-- Cards in service of a cluster, in the order they are filled.
SELECT i.node_id, i.card_id, i.model, epoch_us(i.valid_from), epoch_us(i.valid_to)
FROM inventory i WHERE i.known_to IS NULL AND i.cluster_id = ? AND i.life IN ('in_service', 'rented')
ORDER BY i.node_id, length(i.card_id), i.card_id;

-- ------------------------------------------------------------------ inventory
-- name: stage_inventory
-- What a file says, for comparing.
CREATE OR REPLACE TEMP TABLE import_inventory AS SELECT * FROM incoming;

-- name: cut_inventory
-- A life without an end ends where the store has a later one of the same card.
UPDATE import_inventory AS i SET valid_to = n.next_from FROM (
    SELECT f.card_id, f.valid_from, min(a.valid_from) AS next_from
    FROM import_inventory f JOIN inventory a ON a.card_id = f.card_id
    WHERE a.known_to IS NULL AND a.source <> 'seen' AND a.valid_from > f.valid_from AND f.valid_to IS NULL
    GROUP BY f.card_id, f.valid_from
) n WHERE i.card_id = n.card_id AND i.valid_from = n.valid_from;

-- name: newest_inventory
-- The newest row there is before anything is changed.
SELECT coalesce(max(inventory_id), 0) FROM inventory;

-- name: present_inventory
-- Lives the store believes already, word for word.
SELECT count(*) FROM import_inventory i SEMI JOIN (SELECT * FROM inventory WHERE known_to IS NULL) a ON {same_life};

-- name: shorten_inventory
-- A life that goes on when a later one of the same card begins ends there, from now on.
INSERT INTO inventory BY NAME
SELECT nextval('record_number') AS inventory_id, a.* EXCLUDE (inventory_id, valid_to, known_from),
       n.next_from AS valid_to, make_timestamp($1) AS known_from
FROM inventory a JOIN (
    SELECT a.inventory_id, min(i.valid_from) AS next_from
    FROM import_inventory i JOIN inventory a ON a.card_id = i.card_id
    WHERE a.known_to IS NULL AND a.source <> 'seen' AND a.valid_from < i.valid_from AND (a.valid_to IS NULL OR a.valid_to > i.valid_from)
    GROUP BY a.inventory_id
) n ON n.inventory_id = a.inventory_id;

-- name: end_inventory
-- What is no longer believed: replaced word for word, or shortened just now.
UPDATE inventory AS a SET known_to = make_timestamp($1) FROM import_inventory i
WHERE a.known_to IS NULL AND a.source <> 'seen' AND a.card_id = i.card_id AND a.inventory_id <= $2
  AND ((a.valid_from = i.valid_from AND NOT ({same_life}))
       OR (a.valid_from < i.valid_from AND (a.valid_to IS NULL OR a.valid_to > i.valid_from)));

-- name: put_inventory
-- Lives the store does not believe yet.
INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, serial, board_id, pool, life,
                       valid_from, valid_to, known_from, source, purchase, asset_id, replaces)
SELECT nextval('record_number'), card_id, cluster_id, node_id, vendor, model, serial, board_id, pool, life,
       valid_from, valid_to, make_timestamp($1), $2, purchase, asset_id, replaces
FROM import_inventory i ANTI JOIN (SELECT * FROM inventory WHERE known_to IS NULL) a ON {same_life};

-- name: listed_assets
-- What every believed row says of its card's asset: for joining histories.
SELECT card_id, serial, asset_id, replaces, epoch_us(valid_from) FROM inventory
WHERE known_to IS NULL AND source <> 'seen' ORDER BY card_id, valid_from;

-- name: stage_replaced
-- Cards that another one came for, and when.
CREATE OR REPLACE TEMP TABLE import_replaced AS SELECT * FROM incoming;

-- name: shorten_replaced
-- A replaced card's life that goes on when its successor begins ends there, from now on.
INSERT INTO inventory BY NAME
SELECT nextval('record_number') AS inventory_id, a.* EXCLUDE (inventory_id, valid_to, known_from),
       n.next_from AS valid_to, make_timestamp($1) AS known_from
FROM inventory a JOIN import_replaced n ON n.card_id = a.card_id
WHERE a.known_to IS NULL AND a.source <> 'seen' AND a.valid_from < n.next_from
  AND (a.valid_to IS NULL OR a.valid_to > n.next_from);

-- name: end_replaced
-- The same lives as they were believed.
UPDATE inventory AS a SET known_to = make_timestamp($1) FROM import_replaced n
WHERE a.known_to IS NULL AND a.source <> 'seen' AND a.card_id = n.card_id AND a.valid_from < n.next_from
  AND (a.valid_to IS NULL OR a.valid_to > n.next_from);

-- name: name_assets
-- Assets that were not known when their rows were written; one that is known is never changed.
UPDATE inventory AS a SET asset_id = i.asset_id FROM incoming i
WHERE a.known_to IS NULL AND a.source <> 'seen' AND a.asset_id IS NULL AND a.card_id = i.card_id;

-- name: lives_of_import
-- The believed lives of the cards of the file, in order.
SELECT card_id, life, strftime(valid_from, '%Y-%m-%d') FROM inventory
WHERE known_to IS NULL AND source <> 'seen' AND card_id IN (SELECT card_id FROM import_inventory)
ORDER BY card_id, valid_from;

-- ------------------------------------------------------------------ prices, mapping, departments, incidents
-- name: stage_records
-- What a file says, for comparing.
CREATE OR REPLACE TEMP TABLE import_record AS SELECT * FROM incoming;

-- name: present_records
-- Those the store believes already, word for word.
SELECT count(*) FROM import_record i SEMI JOIN (SELECT * FROM {table} WHERE known_to IS NULL) a ON {same};

-- name: end_records
-- What this file said before and says no more.
UPDATE {table} AS a SET known_to = make_timestamp($1)
WHERE a.known_to IS NULL AND {scope} AND NOT EXISTS (SELECT 1 FROM import_record i WHERE {same});

-- name: end_source
-- What this file said before, when it says nothing of it any more.
UPDATE {table} SET known_to = make_timestamp($1) WHERE known_to IS NULL AND source = $2;

-- name: put_records
-- What the store does not believe yet.
INSERT INTO {table} ({number}{columns}, known_from)
SELECT {next_number}{values}, make_timestamp($1)
FROM import_record i ANTI JOIN (SELECT * FROM {table} WHERE known_to IS NULL) a ON {same};

-- name: present_incidents
-- Incidents of the same subject, cause and onset.
SELECT count(*) FROM import_record i SEMI JOIN incident a ON {same};

-- name: put_incidents
-- Incidents of the past: records, never an action. A node's name without its cluster is a node's only where one cluster has it.
INSERT INTO incident (incident_id, family, subject, cause, severity, vendor, code, onset, opened_at, closed_at,
                      closed_by, confirmed, action, evidence, history, origin, cluster_id, node_id)
SELECT nextval('incident_number'),
       i.family, i.subject, i.cause, i.severity, i.vendor, i.code, i.onset, i.onset, i.closed_at,
       CASE WHEN i.closed_at IS NOT NULL THEN 'import' END, i.confirmed, i.action, i.evidence, true, i.origin,
       coalesce(i.cluster_id, n.cluster_id), CASE WHEN i.family = 'node' THEN i.subject END
FROM (SELECT i.* FROM import_record i ANTI JOIN incident a ON {same}) i
LEFT JOIN named_node n ON i.family = 'node' AND n.node_id = i.subject AND n.told IS NULL;
