-- Day tables and the views over them; names and columns come from store/columns.py.

-- name: columns
-- Every table of ours and its columns: how the store learns after opening which days it has.
SELECT table_name, column_name FROM duckdb_columns()
WHERE database_name = current_database() AND NOT internal AND schema_name = 'main'
  AND (table_name SIMILAR TO '[a-z]+_(sample|minute)_[0-9]{8}' OR table_name LIKE '%_hour_all');

-- name: create
-- A new day's table, or the one table of hours.
CREATE TABLE {table} ({columns});

-- name: widen
-- A metric that no row of this table gave so far.
ALTER TABLE {table} ADD COLUMN {column};

-- name: view
-- All days of a kind behind one name, every metric of the catalogue in its order.
CREATE OR REPLACE VIEW {view} AS {body};

-- name: drop
-- A day that is older than the retention.
DROP TABLE {table};
