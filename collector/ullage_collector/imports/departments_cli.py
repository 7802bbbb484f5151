"""``ullage-collector import departments FILE|--url URL|--ldap URL [--map MAP] [--from T]``.

A file is the whole history where its rows have dates, else the present; a server tells the present. The present holds from
``--from``: a re-organisation is a dated fact. While a collector serves, what was read goes through its socket.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ullage_collector import operator_door
from ullage_collector.config import Config
from ullage_collector.imports.departments import DepartmentMap, departments_of, load, rows_of
from ullage_collector.ownership.keeping import Said, keep_departments
from ullage_contract.errors import ConfigError

ROUTE = "/api/v1/import/departments"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of departments alone."""
    group = parser.add_argument_group(
        "departments", "from FILE, --url (JSON) or --ldap; --from says from when they hold"
    )
    group.add_argument("--ldap", metavar="URL", help="of a directory, e.g. ldaps://ldap.example.com")


def run(args: argparse.Namespace, config: Config) -> int:
    """0: imported. Raises UllageError; then nothing is changed."""
    if sum(given is not None for given in (args.file, args.url, args.ldap)) != 1:
        raise ConfigError("import departments: name the FILE, or --url, or --ldap: one of them")
    spec = load(args.map)
    from_us = None if args.from_ is None else round(args.from_.timestamp() * 1e6)
    said = _said(args, spec, from_us)
    if operator_door.is_served(config.socket_path):
        reports = operator_door.call(config.socket_path, "POST", ROUTE, said.to_json())["imports"]
    else:
        from ullage_collector.store.store import Store

        store = Store.open(config.store_path, config.store)
        try:
            reports = [keep_departments(store, said)]
        finally:
            store.close()
    json.dump({"schema_version": 1, "imports": reports}, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
    for report in reports:
        _tell(report)
    return 0


def _said(args: argparse.Namespace, spec: DepartmentMap, from_us: int | None) -> Said:
    if args.file is not None:
        rows, dated = departments_of(rows_of(Path(args.file), spec), spec)
        if dated and from_us is not None:
            raise ConfigError(f"{args.file.name} has dates of its own; leave --from out, or the dates")
        # A file without a date anywhere and without --from states what holds since always.
        return Said(rows, args.file.name, dated or from_us is None, from_us, spec.one_root)
    if args.url is not None:
        from ullage_collector.imports import fetch_json

        fetched = fetch_json.fetch(args.url, fetch_json.read_spec(spec.rest["http"]))
    else:
        from ullage_collector.imports import fetch_ldap

        fetched = fetch_ldap.fetch(args.ldap, fetch_ldap.read_spec(spec.rest["ldap"], spec))
    rows, dated = departments_of(fetched, spec)
    if dated and from_us is not None:
        raise ConfigError("the answer has dates of its own; leave --from out, or from and to of the map")
    return Said(rows, _name(args.url or args.ldap), dated, from_us, spec.one_root)


def _name(url: str) -> str:
    """The source's name: server and path, nothing that may be secret."""
    parsed = urlsplit(url)
    return f"{parsed.scheme}://{parsed.netloc.rpartition('@')[2]}{parsed.path}"[:200]


def _tell(report: dict[str, Any]) -> None:
    sys.stderr.write(
        f"departments: {report['rows_read']} read, {report['rows_added']} rows new, {report['rows_ended']} ended, "
        f"{report['rows_present']} as they were\n"
    )
    for warning in report["warnings"]:
        sys.stderr.write(f"  warning: {warning}\n")
