-- What the cards of one UTC day drew and who pays for it. Temp tables in the order they are built, beside those of states.sql;
-- instants are microseconds, energy is millijoules. energy_charge comes from pricing/energy.py.

-- name: tariffs
-- As believed then.
SELECT tariff_id, cluster, currency, tariff_micro, zone, hours, weekdays, epoch_us(valid_from), epoch_us(valid_to)
FROM tariff WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of) ORDER BY tariff_id;

-- name: pues
SELECT pue_id, cluster, pue_milli, epoch_us(valid_from), epoch_us(valid_to)
FROM pue WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of) ORDER BY pue_id;

-- name: clusters
SELECT DISTINCT n.cluster_id FROM states_capacity k JOIN node n ON n.node_key = k.node_key ORDER BY 1;

-- name: cards
-- Every owned card of the day once: its place on a board that several cards share, and on its node; of a card that moved, where it
-- was first, so that the day made again is the same.
CREATE OR REPLACE TEMP TABLE energy_card AS
WITH own AS (
    SELECT k.card_key, arg_min(k.node_key, k.from_us) AS node_key, arg_min(n.cluster_id, k.from_us) AS cluster_id,
           arg_min(coalesce(i.board_id, c.board_id), k.from_us) AS board_id
    FROM states_capacity k JOIN card c USING (card_key) JOIN inventory i ON i.inventory_id = k.inventory_id
    JOIN node n ON n.node_key = k.node_key GROUP BY k.card_key
)
SELECT card_key, node_key, cluster_id, CASE WHEN board_id IS NOT NULL THEN node_key || '/' || board_id END AS board,
       count(*) OVER (PARTITION BY node_key, board_id) AS of_board,
       row_number() OVER (PARTITION BY node_key, board_id ORDER BY card_key) - 1 AS on_board,
       count(*) OVER (PARTITION BY node_key) AS of_node,
       row_number() OVER (PARTITION BY node_key ORDER BY card_key) - 1 AS on_node
FROM own;

-- name: readings
-- Minutes of a stretch that say anything of power.
SELECT s.card_key, epoch_us(s.minute) AS us, s.covered_seconds >= {covered} AS covered,
       {watts}::DOUBLE AS watts, {board_watts}::DOUBLE AS board_watts, {joules}::DOUBLE AS joules
FROM {source} s WHERE s.minute >= make_timestamp({from_us}) AND s.minute < make_timestamp({to_us})
  AND ({watts} IS NOT NULL OR {board_watts} IS NOT NULL OR {joules} IS NOT NULL)

-- name: any
-- A row if anything was measured.
SELECT 1 FROM ({readings}) LIMIT 1;

-- name: boards
-- What a board drew in a minute, once, in parts for each of its cards; whoever of them told it.
CREATE OR REPLACE TEMP TABLE energy_board AS
WITH shared AS (
    SELECT k.board, r.us, max(r.board_watts) AS watts, bool_or(r.covered) AS covered
    FROM ({readings}) r JOIN energy_card k USING (card_key)
    WHERE k.board IS NOT NULL AND k.of_board > 1 AND r.board_watts IS NOT NULL GROUP BY ALL
)
SELECT k.card_key, s.us, s.covered, s.watts / k.of_board AS watts,
       (round(s.watts * 60000)::HUGEINT * (k.on_board + 1) // k.of_board
        - round(s.watts * 60000)::HUGEINT * k.on_board // k.of_board)::BIGINT AS mj
FROM shared s JOIN energy_card k USING (board);

-- name: minutes
-- What each card drew in each minute with a reading. joules count where the minute before has a reading too: else they hold
-- what was drawn in the hole before them.
CREATE OR REPLACE TEMP VIEW energy_reading AS
SELECT r.card_key, r.us, CASE WHEN r.covered THEN coalesce(r.watts, CASE WHEN k.of_board = 1 OR k.board IS NULL THEN r.board_watts END) END AS watts,
       r.joules, NULL::BIGINT AS mj
FROM ({readings}) r JOIN energy_card k USING (card_key) WHERE k.card_key NOT IN (SELECT card_key FROM energy_board)
UNION ALL
SELECT card_key, us, CASE WHEN covered THEN watts END, NULL, CASE WHEN covered THEN mj END FROM energy_board;

-- name: whole_cards
-- Cards whose every minute of the day is measured and owned: they have no hole to look for.
CREATE OR REPLACE TEMP TABLE energy_whole AS
SELECT card_key FROM (
    SELECT card_key FROM energy_reading WHERE us >= $from_us AND us < $to_us AND (joules IS NOT NULL OR watts IS NOT NULL)
    GROUP BY card_key HAVING count(*) = 1440 AND sum((us - $from_us) // 60000000) = 1036080  -- 0 + 1 + ... + 1439
)
WHERE card_key IN (SELECT card_key FROM states_capacity GROUP BY card_key HAVING sum(to_us - from_us) = 86400000000);

-- name: edges
-- The last reading before the day and the first one after it, within a day: holes at midnight have neighbours.
CREATE OR REPLACE TEMP TABLE energy_edge AS
WITH near AS (
    SELECT r.card_key, r.us, r.joules, CASE WHEN k.board IS NULL OR k.of_board = 1 OR r.watts IS NOT NULL
                                            THEN coalesce(r.watts, r.board_watts) ELSE r.board_watts / k.of_board END AS watts
    FROM ({readings}) r JOIN energy_card k USING (card_key)
    WHERE r.covered AND coalesce(r.watts, r.board_watts) IS NOT NULL AND r.card_key NOT IN (SELECT card_key FROM energy_whole)
)
SELECT card_key, max(us) AS us, arg_max(watts, us) AS watts, NULL::DOUBLE AS joules FROM near WHERE us < $from_us GROUP BY card_key
UNION ALL
SELECT card_key, min(us), arg_min(watts, us), arg_min(coalesce(joules, -1), us) FROM near WHERE us >= $to_us GROUP BY card_key;

-- name: filled
-- Minutes of cards with holes. $by_counter: a hole drew what the counter rose by over it, less the minute that tells of it;
-- where it does not say, and else, the mean of its neighbours. A hole longer than a day stays one, and so does one of a card
-- that is not in service; what is to come is none.
CREATE OR REPLACE TEMP TABLE energy_minute AS
WITH own AS (
    SELECT DISTINCT k.card_key, m.us FROM states_capacity k, unnest(range(k.from_us // 60000000 * 60000000, k.to_us, 60000000)) m(us)
    WHERE k.card_key NOT IN (SELECT card_key FROM energy_whole) AND k.treatment = 'serving'
), read AS (
    SELECT card_key, us, watts, joules, mj, lag(us) OVER (PARTITION BY card_key ORDER BY us) = us - 60000000 AS follows
    FROM (SELECT card_key, us, watts, joules, mj FROM energy_reading
          WHERE us >= $from_us - 60000000 AND us < $to_us AND card_key NOT IN (SELECT card_key FROM energy_whole))
), counted AS (
    SELECT card_key, us, joules AS rise, follows,
           coalesce(mj, CASE WHEN joules IS NOT NULL AND follows THEN round(joules * 1000)
                             WHEN watts IS NOT NULL THEN round(watts * 60000) END)::BIGINT AS mj
    FROM read WHERE us >= $from_us
), known AS (
    SELECT *, mj / 60000 AS watts FROM counted
), every AS (
    SELECT coalesce(o.card_key, n.card_key) AS card_key, coalesce(o.us, n.us) AS us, n.mj, n.watts, n.rise, n.follows,
           o.card_key IS NOT NULL AS owned
    FROM own o FULL JOIN known n ON n.card_key = o.card_key AND n.us = o.us
    UNION ALL
    SELECT card_key, us, NULL, watts, CASE WHEN joules >= 0 THEN joules END, false, false FROM energy_edge
), around AS (
    SELECT *, last_value(CASE WHEN watts IS NOT NULL THEN us END IGNORE NULLS) OVER before AS before_us,
           last_value(watts IGNORE NULLS) OVER before AS before_watts,
           first_value(CASE WHEN watts IS NOT NULL THEN us END IGNORE NULLS) OVER after AS after_us,
           first_value(watts IGNORE NULLS) OVER after AS after_watts,
           first_value(CASE WHEN watts IS NOT NULL THEN coalesce(rise, -1) END IGNORE NULLS) OVER after AS after_rise
    FROM every
    WINDOW before AS (PARTITION BY card_key ORDER BY us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
           after AS (PARTITION BY card_key ORDER BY us ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
), hole AS (
    SELECT card_key, us, before_us, after_us, coalesce((before_watts + after_watts) / 2, before_watts, after_watts) AS mean_watts,
           CASE WHEN $by_counter AND before_us IS NOT NULL AND after_rise >= 0
                THEN greatest(round(after_rise * 1000 - after_watts * 60000), 0)::BIGINT END AS drawn,
           (us - before_us) // 60000000 - 1 AS place, (after_us - before_us) // 60000000 - 1 AS holes
    FROM around
    WHERE owned AND mj IS NULL AND us >= $from_us AND us < $to_us AND us < epoch_us($as_of::TIMESTAMP)
      AND coalesce(after_us, us) - coalesce(before_us, us) <= 86400000000 AND coalesce(before_watts, after_watts) IS NOT NULL
)
SELECT card_key, us, mj, false AS estimated FROM around WHERE mj IS NOT NULL AND us >= $from_us AND us < $to_us
UNION ALL
SELECT card_key, us,
       CASE WHEN drawn IS NULL THEN round(mean_watts * 60000)::BIGINT
            ELSE (drawn::HUGEINT * (place + 1) // holes - drawn::HUGEINT * place // holes)::BIGINT END, true
FROM hole;

-- name: pieces
-- The lines' stretches, cut where the tariff or the PUE of their cluster changes.
CREATE OR REPLACE TEMP TABLE energy_piece AS
WITH cell AS (SELECT DISTINCT card_key, from_us, to_us FROM states_line)
SELECT c.card_key, greatest(c.from_us, g.from_us) AS from_us, least(c.to_us, g.to_us) AS to_us, c.from_us AS line_us,
       c.from_us // 3600000000 AS hour, g.charge,
       greatest(c.from_us, g.from_us) = c.from_us // 3600000000 * 3600000000 AND least(c.to_us, g.to_us) - greatest(c.from_us, g.from_us) = 3600000000 AS whole
FROM cell c JOIN energy_card k USING (card_key)
JOIN energy_charge g ON g.cluster_id = k.cluster_id AND g.from_us < c.to_us AND g.to_us > c.from_us;

-- name: drawn
-- What each piece drew. An hour that is one piece is summed at once; a minute that lies in several is divided by time, rounded
-- down from its beginning.
CREATE OR REPLACE TEMP TABLE energy_drawn AS
WITH minute AS (
    SELECT card_key, us, coalesce(mj, CASE WHEN joules IS NOT NULL AND us > $from_us THEN round(joules * 1000)
                                           WHEN watts IS NOT NULL THEN round(watts * 60000)
                                           ELSE round(joules * 1000) END)::BIGINT AS mj, false AS estimated
    FROM energy_reading WHERE us >= $from_us AND us < $to_us AND card_key IN (SELECT card_key FROM energy_whole)
    UNION ALL SELECT card_key, us, mj, estimated FROM energy_minute
), hourly AS (
    SELECT m.card_key, m.us // 3600000000 AS hour, m.estimated, sum(m.mj)::BIGINT AS mj
    FROM minute m SEMI JOIN (SELECT card_key, hour FROM energy_piece WHERE whole) p
      ON p.card_key = m.card_key AND p.hour = m.us // 3600000000 GROUP BY ALL
), cut AS (
    SELECT p.card_key, p.from_us, p.to_us, m.estimated,
           CASE WHEN p.from_us <= m.us AND p.to_us >= m.us + 60000000 THEN m.mj
                ELSE (m.mj::HUGEINT * (least(p.to_us, m.us + 60000000) - m.us) // 60000000
                      - m.mj::HUGEINT * (greatest(p.from_us, m.us) - m.us) // 60000000)::BIGINT END AS mj
    FROM minute m JOIN energy_piece p ON p.card_key = m.card_key AND p.hour = m.us // 3600000000
    WHERE NOT p.whole AND p.from_us < m.us + 60000000 AND p.to_us > m.us
)
SELECT p.card_key, p.from_us, p.to_us, h.estimated, h.mj FROM hourly h JOIN energy_piece p ON p.card_key = h.card_key AND p.hour = h.hour AND p.whole
UNION ALL
SELECT card_key, from_us, to_us, estimated, sum(mj)::BIGINT FROM cut GROUP BY ALL;

-- name: hosts
-- What each server drew beside its cards, by hour, evenly among its cards; an hour without a reading is the mean of its neighbours.
INSERT INTO energy_drawn
WITH told AS (
    SELECT node_key, epoch_us(hour) AS us, {watts}::DOUBLE AS watts,
           CASE WHEN covered_seconds >= 3540 THEN 3600 ELSE covered_seconds END AS seconds FROM {source}
    WHERE hour >= make_timestamp({from_us}) AND hour < make_timestamp({to_us}) AND {watts} IS NOT NULL
), every AS (
    SELECT n.node_key, h.us, t.watts, coalesce(t.seconds, 0) AS seconds
    FROM (SELECT DISTINCT node_key FROM told) n, unnest(range({from_us}, {to_us}, 3600000000)) h(us)
    LEFT JOIN told t ON t.node_key = n.node_key AND t.us = h.us
), around AS (
    SELECT *, last_value(watts IGNORE NULLS) OVER (PARTITION BY node_key ORDER BY us) AS before_watts,
           first_value(watts IGNORE NULLS) OVER (PARTITION BY node_key ORDER BY us ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS after_watts
    FROM every
), drew AS (
    SELECT node_key, us, false AS estimated, round(watts * seconds * 1000)::HUGEINT AS mj FROM around WHERE watts IS NOT NULL
    UNION ALL
    SELECT node_key, us, true,
           round(coalesce((before_watts + after_watts) / 2, before_watts, after_watts) * (3600 - seconds) * 1000)::HUGEINT
    FROM around WHERE seconds < 3600 AND us + 3600000000 <= epoch_us($as_of::TIMESTAMP)
), part AS (
    SELECT k.card_key, d.us, d.estimated, d.mj * (k.on_node + 1) // k.of_node - d.mj * k.on_node // k.of_node AS mj
    FROM drew d JOIN energy_card k USING (node_key)
)
SELECT p.card_key, p.from_us, p.to_us, d.estimated,
       (d.mj * (p.to_us - d.us) // 3600000000 - d.mj * (p.from_us - d.us) // 3600000000)::BIGINT
FROM part d JOIN energy_piece p ON p.card_key = d.card_key AND p.hour = d.us // 3600000000;

-- name: nothing_drawn
CREATE OR REPLACE TEMP TABLE energy_drawn AS
SELECT NULL::INTEGER AS card_key, NULL::BIGINT AS from_us, NULL::BIGINT AS to_us, false AS estimated, NULL::BIGINT AS mj WHERE false;

-- name: keep_charges
CREATE OR REPLACE TEMP TABLE energy_charge AS SELECT * FROM energy_given;

-- name: lines
-- Each piece divided among those who hold or keep the card, by share, rounded down from the first in key order.
CREATE OR REPLACE TEMP TABLE states_energy AS
WITH summed AS (
    SELECT card_key, from_us, to_us, estimated, sum(mj)::HUGEINT AS mj FROM energy_drawn GROUP BY ALL HAVING sum(mj) > 0
), shared AS (
    SELECT l.*, s.from_us AS a, s.to_us AS b, s.estimated, s.mj, p.charge,
           sum(l.share_nano) OVER (PARTITION BY s.card_key, s.from_us, s.estimated ORDER BY l.allocation_id NULLS LAST, l.state, l.workload_key
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)::HUGEINT AS upto
    FROM summed s
    JOIN energy_piece p ON p.card_key = s.card_key AND p.from_us = s.from_us
    JOIN states_line l ON l.card_key = s.card_key AND l.from_us = p.line_us
)
SELECT h.card_key, h.inventory_id, h.a AS from_us, h.b AS to_us, h.state, h.workload_key, h.allocation_id, h.department_id,
       h.business, h.scenario, (h.mj * h.upto // 1000000000 - h.mj * (h.upto - h.share_nano) // 1000000000)::BIGINT AS energy_mj,
       g.pue_milli, g.tariff_micro, g.currency, g.tariff_id, g.pue_id, g.rate_id, h.estimated
FROM shared h JOIN energy_charge g USING (charge)
WHERE h.mj * h.upto // 1000000000 > h.mj * (h.upto - h.share_nano) // 1000000000;

-- name: all_lines
SELECT * FROM states_energy;

-- name: check_energy
-- What was drawn and what the lines say, in millijoules: must be equal.
SELECT coalesce((SELECT sum(mj) FROM energy_drawn), 0) - coalesce((SELECT sum(energy_mj) FROM states_energy), 0);

-- name: columns
-- Which columns a source has.
DESCRIBE SELECT * FROM {source};

-- name: views
-- Which of the views there are.
SELECT DISTINCT table_name FROM duckdb_columns() WHERE schema_name = 'main' AND database_name = current_database()
  AND table_name IN ('card_minute', 'node_hour');

-- name: no_lines
-- No energy: nothing was measured.
SELECT NULL::INTEGER AS card_key, NULL::BIGINT AS inventory_id, NULL::BIGINT AS from_us, NULL::BIGINT AS to_us, NULL::VARCHAR AS state,
       NULL::INTEGER AS workload_key, NULL::BIGINT AS allocation_id, NULL::VARCHAR AS department_id, NULL::VARCHAR AS business,
       NULL::VARCHAR AS scenario, NULL::BIGINT AS energy_mj, NULL::BIGINT AS pue_milli, NULL::BIGINT AS tariff_micro,
       NULL::VARCHAR AS currency, NULL::BIGINT AS tariff_id, NULL::BIGINT AS pue_id, NULL::BIGINT AS rate_id,
       NULL::BOOLEAN AS estimated WHERE false;
