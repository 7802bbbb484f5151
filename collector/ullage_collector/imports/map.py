"""A map file: what a history file's columns mean. TOML, checked whole before anything is read.

One map may describe several kinds out of one file (``[telemetry]``, ``[allocations]``, ``[inventory]``) and
name in ``also`` those that are imported along. Shipped maps are in imports/maps and are used by name.
Every wrong or unknown key is a ConfigError naming the file, the key and what to write.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from ullage_collector.imports.expression import TIME_UNITS, Template, TimeSpec, ValueSpec, instant_us
from ullage_collector.imports.source import FileSpec
from ullage_contract import catalogue
from ullage_contract.errors import ConfigError
from ullage_contract.sample import Family, Origin
from ullage_contract.settings import Table

KINDS: Final = ("inventory", "allocations", "telemetry", "prices", "mapping", "incidents")
"""What can be imported, in the order it is when a map says ``also``."""
PLACES: Final = ("named", "first_fit", "unknown")
LIVES: Final = (
    "ordered",
    "stock",
    "commissioning",
    "in_service",
    "maintenance",
    "rma",
    "lent",
    "rented",
    "retired",
)
DEFAULT_MAP: Final = "ullage"


@dataclass(frozen=True, slots=True)
class Filter:
    """Rows that are taken. One of the tests is set.

    is_: texts it may be. is_not: texts it may not be. above, below: numbers, exclusive. present: it is there.
    """

    column: str
    is_: tuple[str, ...] = ()
    is_not: tuple[str, ...] = ()
    above: float | None = None
    below: float | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True)
class TelemetryMap:
    """[telemetry]. metrics None: every column named as a catalogue key. interval: how long a row stands for."""

    family: Family
    cluster: Template
    node: Template
    subject: Template
    vendor: Template | None
    model: Template | None
    time: TimeSpec
    interval_seconds: float
    metrics: Mapping[str, ValueSpec] | None
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class AllocationMap:
    """[allocations]. ``starts`` and ``ends``: one row is one allocation, ends None or missing: still held.

    span_of_rows: instead a workload held its card from its first row to its last plus interval_seconds.
    labels_json: a column with a JSON object of labels. share: of one card, 0..1; None: whole. cards: column that counts whole cards. place: how the card is known.
    """

    cluster: Template
    node: Template | None
    card: Template | None
    slice: Template | None
    workload: Template
    kind: Template
    name: Template | None
    user: Template | None
    namespace: Template | None
    partition: Template | None
    scenario: Template | None
    labels: Mapping[str, Template]
    labels_json: Template | None
    starts: TimeSpec
    ends: TimeSpec | None
    span_of_rows: bool
    interval_seconds: float
    share: ValueSpec | None
    memory_share: ValueSpec | None
    cards: str | None
    place: str
    models: str | None
    models_separator: str
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class InventoryMap:
    """[inventory]. count: column saying how many cards a row is; ``{#}`` in ``card`` counts them from 0.

    asset: id that outlives the card. replaces: card_id or serial of the card it came for.
    """

    cluster: Template
    node: Template
    card: Template
    vendor: Template
    model: Template
    serial: Template | None
    board_id: Template | None
    pool: Template | None
    life: Template
    asset: Template | None
    replaces: Template | None
    starts: TimeSpec
    ends: TimeSpec | None
    span_of_rows: bool
    interval_seconds: float
    count: str | None
    purchase: Mapping[str, Template]
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordMap:
    """[prices], [mapping] or [incidents] of a table file: each field a template or a time."""

    texts: Mapping[str, Template]
    times: Mapping[str, TimeSpec]
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Map:
    """A whole map. text: as it stands, part of the import's digest. origin: how everything it makes is labelled."""

    name: str
    text: str
    file: FileSpec
    origin: Origin = Origin.IMPORTED
    also: tuple[str, ...] = ()
    telemetry: TelemetryMap | None = None
    allocations: AllocationMap | None = None
    inventory: InventoryMap | None = None
    records: Mapping[str, RecordMap] = field(default_factory=dict)

    def kinds(self) -> list[str]:
        """What it describes."""
        there = {"telemetry": self.telemetry, "allocations": self.allocations, "inventory": self.inventory}
        return [kind for kind in KINDS if there.get(kind) or kind in self.records]


def shipped() -> list[str]:
    """Names of the maps that come with the package."""
    folder = resources.files("ullage_collector.imports").joinpath("maps")
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load(name: str | None) -> Map:
    """The map in a file, or the shipped one of this name; None: that of Ullage's own column names."""
    if name is None or name in shipped():
        folder = resources.files("ullage_collector.imports").joinpath("maps")
        wanted = f"{name or DEFAULT_MAP}.toml"
        return parse(folder.joinpath(wanted).read_text(encoding="utf-8"), wanted)
    path = Path(name)
    try:
        return parse(path.read_text(encoding="utf-8"), path.name)
    except FileNotFoundError:
        raise ConfigError(
            f"{name}: no such file, and no shipped map; there are {', '.join(shipped())}"
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{name}: cannot be read: {e}") from e


def parse(text: str, name: str) -> Map:
    """The map in a TOML text. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{name}: not TOML: {e}") from e
    top = Table(document, name, "")
    also = top.texts("also")
    for kind in also:
        if kind not in KINDS:
            raise top.wrong("also", kind, f"write some of {', '.join(KINDS)}")
    found = Map(
        name=name,
        text=text,
        file=_file(top.table("file")),
        origin=Origin(top.word("origin", "imported", ("imported", "simulated"))),
        also=also,
        telemetry=_telemetry(top.table("telemetry")) if "telemetry" in document else None,
        allocations=_allocations(top.table("allocations")) if "allocations" in document else None,
        inventory=_inventory(top.table("inventory")) if "inventory" in document else None,
        records={
            kind: _records(top.table(kind)) for kind in ("prices", "mapping", "incidents") if kind in document
        },
    )
    top.finish()
    for kind in also:
        if kind not in found.kinds():
            raise top.wrong("also", kind, f"the map has no [{kind}]")
    return found


def _file(table: Table) -> FileSpec:
    found = FileSpec(
        format=table.word("format", "", ("", "parquet", "csv", "jsonl", "toml")) or None,
        encoding=table.text("encoding", "utf-8") or "utf-8",
        delimiter=table.text("delimiter"),
        header=table.flag("header", True),
    )
    try:
        "".encode(found.encoding)
    except LookupError:
        raise table.wrong("encoding", found.encoding, 'write e.g. "utf-8" or "gb18030"') from None
    table.finish()
    return found


def _telemetry(table: Table) -> TelemetryMap:
    family = Family(table.word("family", "card", [f.value for f in Family if f is not Family.PROCESS]))
    metrics = table.table("metrics") if "metrics" in table.content else None
    values: dict[str, ValueSpec] | None = None
    if metrics is not None:
        known = catalogue.keys(family)
        values = {}
        for key in metrics.content:
            if key not in known:
                raise metrics.wrong(
                    key, metrics.content[key], f"no metric of a {family.value}; see docs/metrics.md"
                )
            values[key] = _value(metrics, key)
        metrics.finish()
    found = TelemetryMap(
        family=family,
        cluster=_template(table, "cluster", "import"),
        node=_template(table, "node", "{node_id}"),
        subject=_template(
            table, "subject", "{node_id}" if family is Family.NODE else f"{{{family.value}_id}}"
        ),
        vendor=_optional(table, "vendor"),
        model=_optional(table, "model"),
        time=_time(table, "time", {"column": "time"}),
        interval_seconds=table.number("interval_seconds", 60, 1, 3600),
        metrics=values,
        filters=_filters(table),
    )
    table.finish()
    return found


def _allocations(table: Table) -> AllocationMap:
    labels = table.table("labels")
    span = table.flag("span_of_rows", False)
    found = AllocationMap(
        cluster=_template(table, "cluster", "import"),
        node=_optional(table, "node"),
        card=_optional(table, "card"),
        slice=_optional(table, "slice"),
        workload=_template(table, "workload", "{workload_id}"),
        kind=_template(table, "kind", "kubernetes_pod"),
        name=_optional(table, "name"),
        user=_optional(table, "user"),
        namespace=_optional(table, "namespace"),
        partition=_optional(table, "partition"),
        scenario=_optional(table, "scenario"),
        labels={key: _template(labels, key, "") for key in labels.content},
        labels_json=_optional(table, "labels_json"),
        starts=_time(table, "from", {"column": "from"}),
        ends=None if span or "to" not in table.content else _time(table, "to", {}),
        span_of_rows=span,
        interval_seconds=table.number("interval_seconds", 60, 0, 86_400),
        share=_value(table, "share") if "share" in table.content else None,
        memory_share=_value(table, "memory_share") if "memory_share" in table.content else None,
        cards=table.text("cards"),
        place=table.word("place", "named", PLACES),
        models=table.text("models"),
        models_separator=table.text("models_separator", "|") or "|",
        filters=_filters(table),
    )
    labels.finish()
    if found.place == "named" and found.card is None and found.slice is None:
        raise table.wrong("card", None, 'name the card, e.g. card = "{card_id}", or say place = "first_fit"')
    table.finish()
    return found


def _inventory(table: Table) -> InventoryMap:
    purchase = table.table("purchase")
    span = table.flag("span_of_rows", False)
    found = InventoryMap(
        cluster=_template(table, "cluster", "import"),
        node=_template(table, "node", "{node_id}"),
        card=_template(table, "card", "{card_id}"),
        vendor=_template(table, "vendor", "{vendor}"),
        model=_template(table, "model", "{model}"),
        serial=_optional(table, "serial"),
        board_id=_optional(table, "board_id"),
        pool=_optional(table, "pool"),
        life=_template(table, "life", "in_service"),
        asset=_optional(table, "asset"),
        replaces=_optional(table, "replaces"),
        starts=_time(table, "from", {"column": "from"}),
        ends=None if span or "to" not in table.content else _time(table, "to", {}),
        span_of_rows=span,
        interval_seconds=table.number("interval_seconds", 60, 0, 86_400),
        count=table.text("count"),
        purchase={key: _template(purchase, key, "") for key in purchase.content},
        filters=_filters(table),
    )
    purchase.finish()
    table.finish()
    return found


def _records(table: Table) -> RecordMap:
    texts: dict[str, Template] = {}
    times: dict[str, TimeSpec] = {}
    for key, value in table.content.items():
        if key == "filter":
            continue
        if key in ("from", "to", "onset", "closed_at"):
            times[key] = _time(table, key, {})
        elif isinstance(value, str):
            texts[key] = _template(table, key, "")
        else:
            raise table.wrong(key, value, 'write a text with columns in braces, e.g. "{gpu_model}"')
    found = RecordMap(texts, times, _filters(table))
    table.finish()
    return found


def _template(table: Table, key: str, default: str) -> Template:
    text = table.text(key, default)
    return _checked(table, key, text if text is not None else default)


def _optional(table: Table, key: str) -> Template | None:
    text = table.text(key)
    return None if text is None else _checked(table, key, text)


def _checked(table: Table, key: str, text: str) -> Template:
    template = Template(text)
    rest = text.replace("{{", "").replace("}}", "")
    if rest.count("{") != rest.count("}") or any(not name for name in template.names()):
        raise table.wrong(key, text, 'write columns in braces: "{pod}/0"; a brace itself is {{ or }}')
    return template


def _time(table: Table, key: str, default: Mapping[str, Any]) -> TimeSpec:
    value = table._get(key, default)
    if isinstance(value, str):
        value = {"column": value}
    elif not isinstance(value, dict):  # a TOML time: the same for all rows
        value = {"value": value}
    spec = Table(value, table.file, key)
    if "value" in value:
        constant = instant_us(spec._get("value", None), f"{table.file}: {key}")
        spec.finish()
        return TimeSpec(column=None, constant_us=constant)
    column = spec.text("column")
    if not column:
        raise spec.wrong("column", column, "name the column with the time")
    found = TimeSpec(
        column=column,
        unit=spec.word("unit", "auto", ("auto", "iso", *TIME_UNITS)),
        zone=spec.text("zone", "UTC") or "UTC",
        offset_seconds=spec.whole("offset_seconds", 0, -(2**40), 2**40),
        optional=spec.flag("optional", False),
    )
    _check_zone(spec, found.zone)
    spec.finish()
    return found


def _check_zone(table: Table, zone: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise table.wrong("zone", zone, 'write an IANA zone, e.g. "Asia/Shanghai"') from None


def _value(table: Table, key: str) -> ValueSpec:
    value = table._get(key, None)
    if isinstance(value, str):
        return ValueSpec(value)
    if not isinstance(value, dict):
        raise table.wrong(key, value, 'write the column, or { column = "duty", factor = 0.01 }')
    spec = Table(value, table.file, key)
    column = spec.text("column")
    if not column:
        raise spec.wrong("column", column, "name the column with the value")
    nulls = spec._get("null", [])
    if not isinstance(nulls, list) or not all(
        isinstance(x, str | int | float) and not isinstance(x, bool) for x in nulls
    ):
        raise spec.wrong("null", nulls, 'write the values that mean missing, e.g. ["N/A", ""]')
    found = ValueSpec(
        column=column,
        factor=spec.number("factor", 1.0, -1e18, 1e18),
        offset=spec.number("offset", 0.0, -1e18, 1e18),
        null=tuple(float(x) if isinstance(x, int) else x for x in nulls),
        optional=spec.flag("optional", False),
    )
    spec.finish()
    return found


def _filters(table: Table) -> tuple[Filter, ...]:
    entries = table._get("filter", [])
    if not isinstance(entries, list):
        raise table.wrong("filter", entries, "write [[telemetry.filter]] tables")
    return tuple(_filter(Table(entry, table.file, "filter")) for entry in entries)


def _filter(table: Table) -> Filter:
    def words(key: str) -> tuple[str, ...]:
        value: object = table._get(key, [])
        listed: Sequence[object] = value if isinstance(value, list) else [value]
        return tuple(str(x) for x in listed)

    column = table.text("column")
    if not column:
        raise table.wrong("column", column, "name the column to test")

    def bound(key: str) -> float | None:
        return table.number(key, 0.0, -1e18, 1e18) if key in table.content else None

    found = Filter(
        column=column,
        is_=words("is"),
        is_not=words("is_not"),
        above=bound("above"),
        below=bound("below"),
        present=table.flag("present", True) if "present" in table.content else None,
    )
    table.finish()
    if not (found.is_ or found.is_not or found.present is not None) and found.above is found.below is None:
        raise table.wrong("column", column, "say is, is_not, above, below or present")
    return found
