"""``import topology FILE --format FORMAT``: one source's whole statement into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.imports.report import Report
from ullage_collector.imports.source import digest
from ullage_collector.sql import statements
from ullage_collector.topology import infiniband, labels, lldp, slurm, table
from ullage_collector.topology.keep import keep
from ullage_collector.topology.reading import settings_of
from ullage_collector.topology.relation import Said
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import check_id

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

MOST_BYTES: Final = 256 * 1024 * 1024
"""our choice: because ibnetdiscover of ten thousand nodes is a tenth of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to import. cluster, node, source: None: not said. at_us: from when it holds; None: from now."""

    file: Path
    format: str
    cluster: str | None = None
    node: str | None = None
    source: str | None = None
    at_us: int | None = None


Parser = Callable[[str, str, Asked, Mapping[str, str]], Said]

FORMATS: Final[Mapping[str, tuple[str, Parser]]] = {
    "csv": ("csv", lambda text, where, asked, own: table.parse(text, where)),
    "slurm-conf": ("slurm", lambda text, where, asked, own: slurm.parse_conf(text, where)),
    "slurm-yaml": ("slurm", lambda text, where, asked, own: slurm.parse_yaml(text, where)),
    "kubernetes": ("kubernetes", lambda text, where, asked, own: labels.parse(text, own, where)),
    "ibnetdiscover": ("ibnetdiscover", lambda text, where, asked, own: infiniband.parse(text, where)),
    "lldp-json": ("lldp", lambda text, where, asked, own: lldp.parse_json(text, _node(asked), where)),
    "lldp-keyvalue": ("lldp", lambda text, where, asked, own: lldp.parse_keyvalue(text, _node(asked), where)),
}
"""format -> source kind and parser."""


def import_topology(store: Store, asked: Asked, part: Mapping[str, Any]) -> Report:
    """Read the file and keep what it says. part: [topology] of collector.toml.

    What this source (kind and name; the file's name unless said) said before and does not say now ends. A file that is
    wrong changes nothing: half a statement would end what stands in the other half.
    Raises BadInput for the file, ConfigError for what is asked.
    """
    began = time.monotonic()
    if asked.format not in FORMATS:
        raise ConfigError(f"--format {asked.format!r}: write one of {', '.join(FORMATS)}")
    kind, parse = FORMATS[asked.format]
    report = Report("topology", str(asked.file))
    mark = digest(asked.file)
    said = parse(_text(asked.file), asked.file.name, asked, labels.labels_of(settings_of(part)[1]))
    name = asked.source or (f"{asked.node}/{asked.file.name}" if asked.node else asked.file.name)
    source = check_id("source", f"{kind}:{name}")
    if not said.relations:
        # an empty file is a command that failed more often than a hall that was cleared
        raise BadInput(f"{asked.file.name} says nothing of topology; nothing is changed")
    now_us = round(store.clock.wall() * 1e6)
    with store.write() as cursor:
        clusters = [row[0] for row in cursor.execute(statements("topology")["clusters"]).fetchall()]
        cluster = _cluster(asked.cluster, clusters)
        at_us = now_us if asked.at_us is None else asked.at_us
        kept = keep(cursor, source, cluster, said.relations, at_us, now_us, mark)
    report.rows_read = len(said.relations)
    report.rows_added, report.rows_present = kept.added, kept.unchanged
    report.notes = {"ended": kept.ended}
    for note in said.notes:
        report.warn(note)
    report.seconds = time.monotonic() - began
    return report


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(f"{path}: larger than {MOST_BYTES // 2**20} MiB; this is no topology of one site")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: no UTF-8 text: byte {e.start}") from e
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from e


def _node(asked: Asked) -> str:
    if not asked.node:
        raise ConfigError(f"--format {asked.format}: lldpctl speaks of one node; name it with --node")
    return check_id("node", asked.node)


def _cluster(named: str | None, known: list[str]) -> str:
    if named is not None:
        return check_id("cluster", named)
    if len(known) == 1:
        return known[0]
    there = f"there are {', '.join(known[:10])}" if known else "none is known yet"
    raise ConfigError(f"--cluster: say whose node names these are; {there}")
