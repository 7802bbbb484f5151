"""The store: one DuckDB file, one writer, many readers. Rows come from the journal, never from a socket."""
