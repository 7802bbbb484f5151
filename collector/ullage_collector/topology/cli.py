"""``ullage-collector import topology FILE --format FORMAT``: through the running collector, or into the store opened here."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_collector.topology.door import FORMATS, Asked, import_topology
from ullage_contract.errors import BadInput, ConfigError

ROUTE = "/api/v1/topology/import"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of topology alone."""
    group = parser.add_argument_group("topology", "whose --from says from when it holds (default: now)")
    group.add_argument("--node", help="of lldpctl: the node it ran on")
    group.add_argument("--source", help="the source's name (default: the file's): its last statement counts")


def run(args: argparse.Namespace, config: Config) -> int:
    """0: imported. Raises UllageError; then nothing is changed."""
    if args.file is None or not args.format:
        raise ConfigError(f"import topology: name the FILE and --format, one of {', '.join(FORMATS)}")
    asked: dict[str, Any] = {
        "file": str(args.file.absolute()),
        "format": args.format,
        "cluster": args.cluster,
        "node": args.node,
        "source": args.source,
        "at_us": None if args.from_ is None else round(args.from_.timestamp() * 1e6),
    }
    if operator_door.is_served(config.socket_path):
        reports = operator_door.call(config.socket_path, "POST", ROUTE, asked)["imports"]
    else:
        from ullage_collector.store.store import Store

        store = Store.open(config.store_path, config.store)
        try:
            reports = [import_topology(store, asked_of(asked), config.part("topology")).to_json()]
        finally:
            store.close()
    json.dump({"schema_version": 1, "imports": reports}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
    for report in reports:
        print(
            f"topology: {report['rows_read']} relations read, {report['rows_added']} begin, "
            f"{report['rows_present']} there already, {report['notes'].get('ended', 0)} ended",
            file=sys.stderr,
        )
        for warning in report["warnings"]:
            print(f"  warning: {warning}", file=sys.stderr)
    return 0


def asked_of(body: dict[str, Any]) -> Asked:
    """What a request asks to import. Raises BadInput naming the key."""
    texts: dict[str, str | None] = {}
    for name in ("file", "format", "cluster", "node", "source"):
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{name} is no text")
        texts[name] = value
    at_us = body.get("at_us")
    if at_us is not None and (not isinstance(at_us, int) or isinstance(at_us, bool) or at_us < 0):
        raise BadInput("at_us: give microseconds since the epoch")
    file, form = texts["file"], texts["format"]
    if not file or not form:
        raise BadInput("file and format are missing")
    return Asked(Path(file), form, texts["cluster"], texts["node"], texts["source"], at_us)
