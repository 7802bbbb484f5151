"""What the store costs: batches out of the journal into wide day tables, beside SQLite given the same rows.

    python benchmarks/store.py [--nodes 300] [--pushes 30] [--minutes-days 2] [--strict]

A node's push: 8 cards x 40 values, 8 ports x 15, the node x 8: 448 values, as benchmarks/ingest.py sends them.
*store* is the whole writer: journal read, gzip and JSON read and checked, identities, columns, one transaction a
gather with the journal's position; *tables* is its part from columns to commit. The peer is SQLite (WAL,
synchronous=NORMAL, one wide table a family with an index on subject and time, prepared executemany, one transaction for as many batches), fed by the
same reader of bodies; it keeps no minutes, no identities and no position. Processor seconds are this process's, all threads. Then a minute of rollups, and the
import door with a Parquet file of one row a card and minute.
The last line is JSON; with --strict the exit code is 1 below 5 million values a core-second in *tables*, or when an import of ten million rows would take a minute.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from ullage_collector.batch import read_batch
from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import map as maps
from ullage_collector.imports.door import import_file
from ullage_collector.journal import Journal, JournalReader, Position, Record
from ullage_collector.store.quarantine import Quarantine
from ullage_collector.store.rollup import Rollup
from ullage_collector.store.store import Store
from ullage_collector.store.writer import Writer
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind, Type
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Family, Origin, Sample
from ullage_contract.wire import Batch, encode

START = 1_792_584_000.0
CARDS, PORTS = 8, 8
VALUES = {Family.CARD: 40, Family.PORT: 15, Family.NODE: 8}
PER_PUSH = CARDS * VALUES[Family.CARD] + PORTS * VALUES[Family.PORT] + VALUES[Family.NODE]
TARGET = 5e6


def numbers(family: Family) -> list[catalogue.Metric]:
    """The metrics a push gives of a family."""
    found = [
        m for m in catalogue.keys(family).values() if m.type is not Type.TEXT and m.kind is not Kind.STATE
    ]
    return found[: VALUES[family]]


def value(metric: catalogue.Metric, node: int, place: int, push: int) -> float | int:
    """Plateaus, steps and growing counters."""
    if metric.kind is Kind.COUNTER:
        whole = push * (1000 + place) + node
        return whole if metric.type is Type.INTEGER else whole * 0.5
    if metric.type is Type.INTEGER:
        return (push // 6 + place) * 1024 * 1024
    return round(((node * 7 + place + push // 6) % 100) / 100 + 0.001 * (push % 7), 4)


def batch(node: int, push: int) -> Batch:
    """One node's push."""
    name = f"gpu-{node:05d}"
    subjects = [(Family.CARD, f"GPU-{node:05d}-{i}") for i in range(CARDS)]
    subjects += [(Family.PORT, f"{name}/mlx5_{i}/1") for i in range(PORTS)] + [(Family.NODE, name)]
    at = START + 10 * push
    samples = [
        Sample(family, subject, at, 1000.0 + 10 * push, 10.0, {m.key: value(m, node, place, push) for m in numbers(family)}, {}, f"boot-{node}")
        for place, (family, subject) in enumerate(subjects)
    ]  # fmt: skip
    return Batch(
        f"{node:032d}",
        push + 1,
        "samples",
        "0.1.0",
        "c1",
        name,
        None,
        f"boot-{node}",
        Origin.SIMULATED,
        samples,
    )


def fill_journal(folder: Path, nodes: int, pushes: int) -> int:
    """All pushes in the order they would come; how many bytes."""
    journal = Journal(folder)
    total = 0
    for push in range(pushes):
        records = []
        for node in range(nodes):
            made = batch(node, push)
            body = encode(made)
            total += len(body)
            at = round((START + 10 * push + 1) * 1e6)
            records.append(
                Record(made.stream, made.sequence, "samples", "c1", made.node, made.node, at, 0.0, body)
            )
        journal.append(records)
    journal.close()
    return total


def bodies(folder: Path) -> Iterator[list[Record]]:
    """The journal's records in gathers as the writer reads them."""
    reader, position = JournalReader(folder), Position(0, 0)
    while found := reader.read(position, 2 * 1024 * 1024):
        position = found[-1][1]
        yield [record for record, _ in found]


def into_sqlite(folder: Path, path: Path) -> float:
    """The same rows into SQLite; processor seconds."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    for family in VALUES:
        columns = ", ".join(m.key for m in numbers(family))
        database.execute(
            f"CREATE TABLE {family.value} (time, subject, received_at, interval_seconds, {columns})"
        )
        database.execute(f"CREATE INDEX {family.value}_of ON {family.value} (subject, time)")
    begun = time.process_time()
    for records in bodies(folder):
        with database:
            for record in records:
                for family, rows in read_batch(record.body).families.items():
                    marks = ", ".join("?" * (4 + len(rows.columns)))
                    names = ", ".join(["time", "subject", "received_at", "interval_seconds", *rows.columns])
                    received = [record.received_at_us] * len(rows.subject)
                    each = zip(
                        rows.time,
                        rows.subject,
                        received,
                        rows.interval_seconds,
                        *rows.columns.values(),
                        strict=True,
                    )
                    database.executemany(f"INSERT INTO {family.value} ({names}) VALUES ({marks})", each)
    taken = time.process_time() - begun
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return taken


def import_rows(folder: Path, days: int) -> tuple[int, float, float]:
    """512 cards, a row a minute, 34 metrics, through the import door: rows, processor seconds, wall seconds."""
    keys = [
        k
        for k, m in catalogue.keys(Family.CARD).items()
        if m.type is not Type.TEXT and m.kind is not Kind.STATE
    ][:34]
    listed = []
    for i, key in enumerate(keys):
        metric = catalogue.metric(Family.CARD, key)
        if metric.kind is Kind.COUNTER:
            listed.append(
                f"CAST((i // 512) * {60 + i} + i % 512 AS {'DOUBLE' if metric.type is Type.FLOAT else 'BIGINT'}) AS {key}"
            )
        elif key.endswith("_ratio"):
            listed.append(f"CAST((hash(i // 15360, i % 512, {i}) % 1000) / 1000 AS FLOAT) AS {key}")
        elif metric.type is Type.INTEGER:
            listed.append(f"CAST(hash(i // 30720, i % 512) % 80 * 1073741824 AS BIGINT) AS {key}")
        else:
            listed.append(f"CAST({100 + i} + hash(i // 5120, i % 512, {i}) % 200 AS FLOAT) AS {key}")
    rows = 512 * 1440 * days
    path = folder / "history.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT TIMESTAMP '2026-11-01' + to_seconds((i // 512) * 60) AS time, 'n' || (i % 512) // 8 AS node_id, "
            f"'GPU-' || i % 512 AS card_id, 'nvidia' AS vendor, 'H800' AS model, {', '.join(listed)} "
            f"FROM range({rows}) t(i)) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
        )
    store = Store.open(folder / "import.duckdb", StoreSettings(threads=1))
    wall, begun = time.perf_counter(), time.process_time()
    (report,) = import_file(store, "telemetry", path, maps.load(None))
    taken = time.process_time() - begun, time.perf_counter() - wall
    store.close()
    assert report.rows_added == rows
    return rows, *taken


def main() -> int:
    """0, or 1 with --strict when a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--pushes", type=int, default=30)
    parser.add_argument("--minutes-days", type=int, default=2, help="days of minute rows for the import door")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ullage-store-"))
    try:
        sent = fill_journal(folder / "journal", args.nodes, args.pushes)
        values = args.nodes * args.pushes * PER_PUSH
        gc.set_threshold(100_000, 20, 20)  # as ``serve`` does
        sqlite_seconds = into_sqlite(folder / "journal", folder / "peer.sqlite")
        sqlite_bytes = (folder / "peer.sqlite").stat().st_size
        clock = ManualClock(START)
        store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), clock)
        writer = Writer(
            store,
            JournalReader(folder / "journal"),
            JournalReader(folder / "none"),
            Quarantine(folder / "q", 1),
        )
        begun = time.process_time()
        writer.drain()
        store_seconds = time.process_time() - begun
        assert writer.counts.values == values, (writer.counts, values)
        begun = time.process_time()
        Rollup(store).catch_up(round((START + 10 * args.pushes + 200) * 1e6))
        rollup_seconds = time.process_time() - begun
        begun = time.process_time()
        store.checkpoint()
        checkpoint_seconds = time.process_time() - begun
        store.close()
        rows, import_cpu, import_wall = import_rows(folder, args.minutes_days)
        tables_seconds = writer.counts.write_seconds
        figures = {
            "values": values,
            "bytes_per_value_on_the_wire": round(sent / values, 2),
            "bytes_per_value_in_the_store": round((folder / "store.duckdb").stat().st_size / values, 2),
            "store_values_per_core_second": round(values / store_seconds),
            "tables_values_per_core_second": round(values / tables_seconds),
            "bytes_per_value_in_sqlite": round(sqlite_bytes / values, 2),
            "sqlite_values_per_core_second": round(values / sqlite_seconds),
            "times_sqlite": round(sqlite_seconds / store_seconds, 2),
            "rollup_raw_rows_per_core_second": round(writer.counts.rows / rollup_seconds),
            "checkpoint_seconds": round(checkpoint_seconds, 3),
            "import_rows": rows,
            "import_rows_per_core_second": round(rows / import_cpu),
            "import_wall_seconds": round(import_wall, 2),
            "import_of_10_million_rows_core_seconds": round(1e7 * import_cpu / rows, 1),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "duckdb": duckdb.__version__,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, figure in figures.items():
        print(f"{name:45} {figure}")
    print(json.dumps({"benchmark": "store", "figures": figures}))
    missed = (
        figures["tables_values_per_core_second"] < TARGET
        or figures["import_of_10_million_rows_core_seconds"] > 60
    )
    return 1 if args.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
