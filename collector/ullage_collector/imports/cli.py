"""``ullage-collector import KIND FILE [--map MAP]`` and ``import prometheus --url URL --map MAP --from T --to T``.

While a collector serves, the command goes through its socket; else it opens the store itself. What was done
stands as JSON on stdout, progress on stderr. Exit codes: 0 all, 3 some rows were refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_collector.imports import departments_cli as departments
from ullage_collector.quota import cli as quota
from ullage_collector.quota.readers import FORMATS as QUOTA_FORMATS
from ullage_collector.topology import cli as topology
from ullage_collector.topology.door import FORMATS as TOPOLOGY_FORMATS
from ullage_contract.command import instant
from ullage_contract.errors import BadInput, ConfigError

if TYPE_CHECKING:
    from ullage_collector.imports.map import Map

KINDS = ("telemetry", "allocations", "inventory", "prices", "mapping", "incidents")
FORMATS: Final[Mapping[str, Sequence[str]]] = {
    "topology": tuple(TOPOLOGY_FORMATS),
    "quotas": tuple(QUOTA_FORMATS),
}
"""The kinds that --format is for, with their forms; one form may be of several."""
CLUSTERED: Final = ("slurm", "topology", *quota.IMPORTS)
"""The kinds that --cluster is for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "kind",
        choices=(*KINDS, "departments", "prometheus", "slurm", "topology", *quota.IMPORTS),
        metavar="KIND",
        help=", ".join((*KINDS, "departments", "prometheus", "slurm", "topology", *quota.IMPORTS)),
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="Parquet, CSV, JSON lines or TOML")
    parser.add_argument(
        "--map",
        metavar="MAP",
        help="a map file, or the name of a shipped map (default: Ullage's own column names)",
    )
    parser.add_argument("--again", action="store_true", help="even when this very file was imported before")
    parser.add_argument("--url", help="of a Prometheus, or of departments as JSON")
    parser.add_argument("--from", dest="from_", type=instant, metavar="T", help="e.g. 2026-11-01T00:00:00Z")
    parser.add_argument("--to", type=instant, metavar="T", help="e.g. 2026-11-15T00:00:00Z")
    parser.add_argument(
        "--format",
        choices=tuple(dict.fromkeys(form for forms in FORMATS.values() for form in forms)),
        metavar="F",
        help="what FILE is; of "
        + "; of ".join(f"{kind}: {', '.join(forms)}" for kind, forms in FORMATS.items())
        + " (default: told by the content)",
    )
    parser.add_argument(
        "--cluster",
        metavar="NAME",
        help=f"whose nodes, runs or objects they are, of {', '.join(CLUSTERED)} (default: the only one there is)",
    )
    departments.add_arguments(parser)
    topology.add_arguments(parser)
    quota.add_import_arguments(parser)


def run(args: argparse.Namespace, config: Config) -> int:
    """0 all imported, 3 some rows were refused. Raises UllageError when nothing could be."""
    _check_options(args)
    if args.kind == "departments":
        return departments.run(args, config)
    if args.kind == "topology":
        return topology.run(args, config)
    if args.kind == "slurm":
        from ullage_collector.allocation.slurm import history

        return _told(history.run(args, config))
    if args.kind in quota.IMPORTS:
        return _told(quota.run_import(args, config))
    if args.kind == "prometheus":
        with _door(config) as import_:
            return _told(_prometheus(args, import_))
    if args.file is None:
        raise ConfigError(f"import {args.kind}: name the FILE")
    from ullage_collector.imports import map as maps

    given = maps.load(args.map)
    if not args.file.exists():
        raise BadInput(f"{args.file}: no such file; name the {args.kind} to import")
    with _door(config) as import_:
        return _told(import_(args.kind, args.file.absolute(), given, args.again))


def _check_options(args: argparse.Namespace) -> None:
    """Raises ConfigError for an option that says nothing about this kind, or a form that is another kind's."""
    if args.format is not None and args.kind not in FORMATS:
        raise ConfigError(f"import {args.kind} takes no --format; it is for {', '.join(FORMATS)}")
    if args.format is not None and args.format not in FORMATS[args.kind]:
        raise ConfigError(
            f"import {args.kind}: --format {args.format!r} is of another kind; write one of {', '.join(FORMATS[args.kind])}"
        )
    if args.cluster is not None and args.kind not in CLUSTERED:
        raise ConfigError(f"import {args.kind} takes no --cluster; it is for {', '.join(CLUSTERED)}")


def _told(reports: list[dict[str, Any]]) -> int:
    """The reports as JSON on stdout and as lines on stderr; the exit code."""
    json.dump({"schema_version": 1, "imports": reports}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
    for report in reports:
        _tell(report)
    return 3 if any(report["rows_refused"] for report in reports) else 0


@contextmanager
def _door(config: Config) -> Iterator[Any]:
    """A function that imports one file: through the running collector, or into the store opened here."""
    if operator_door.is_served(config.socket_path):

        def through(kind: str, path: Path, given: Map, again: bool) -> list[dict[str, Any]]:
            answer = operator_door.call(
                config.socket_path,
                "POST",
                f"/api/v1/import/{kind}",
                {"file": str(path), "map": given.text, "map_name": given.name, "again": again},
            )
            found: list[dict[str, Any]] = answer["imports"]
            return found

        yield through
        return
    from ullage_collector.imports.door import import_file
    from ullage_collector.store.store import Store

    store = Store.open(config.store_path, config.store)
    shown: list[str] = []

    def progress(what: str, share: float) -> None:
        line = f"{what} {share:.0%}"
        if line not in shown[-1:]:
            shown.append(line)
            print(line, file=sys.stderr)

    try:
        yield lambda kind, path, given, again: [
            r.to_json() for r in import_file(store, kind, path, given, progress, again=again)
        ]
    finally:
        store.close()


def _prometheus(args: argparse.Namespace, import_: Any) -> list[dict[str, Any]]:
    from ullage_collector.imports import prometheus

    if not (args.url and args.map and args.from_ and args.to):
        raise ConfigError("import prometheus needs --url, --map, --from and --to")
    if args.to <= args.from_:
        raise ConfigError("--to must be after --from")
    spec = prometheus.load(args.map)
    reports: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="ullage-import-") as folder:
        for path in prometheus.fetch(
            args.url, spec, args.from_.timestamp(), args.to.timestamp(), Path(folder)
        ):
            print(f"importing {path.name}", file=sys.stderr)
            reports += import_("telemetry", path, prometheus.own_map(spec), args.again)
            path.unlink()
    return reports


def _tell(report: dict[str, Any]) -> None:
    if report["imported_before"]:
        print(f"{report['kind']}: imported before, nothing added", file=sys.stderr)
        return
    print(
        f"{report['kind']}: {report['rows_read']} rows read, {report['rows_added']} added, "
        f"{report['rows_present']} there already, {report['rows_refused']} refused, {report['seconds']:.1f} s",
        file=sys.stderr,
    )
    for refusal in report["refusals"]:
        print(f"  row {refusal['row']}: {refusal['reason']}", file=sys.stderr)
    for warning in report["warnings"]:
        print(f"  warning: {warning}", file=sys.stderr)
