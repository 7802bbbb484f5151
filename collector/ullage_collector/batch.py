"""A wire body as a checked ColumnarBatch, fast: msgspec reads and checks the shape in C.

What the fast reader does not take is read again by ``ullage_contract.wire``, whose verdict counts: it
knows metrics of a newer agent, names the exact place of an error, and is the definition. So the fast one
may only be stricter, never laxer (tests/collector/test_batch.py holds them together).
"""

from __future__ import annotations

from itertools import compress
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ullage_contract import catalogue, wire
from ullage_contract.errors import REASONS, WireError
from ullage_contract.event import KINDS, Event, Severity
from ullage_contract.identity import check_id
from ullage_contract.sample import FACT_NAMES, Facts, Family, Origin
from ullage_contract.served import KINDS as SERVED_KINDS
from ullage_contract.served import Served
from ullage_contract.wire import ColumnarBatch, FamilyColumns

_Seconds = Annotated[float, Meta(ge=0, lt=1e11)]
# Numbers beyond 63 and 64 bits are rare: the contract's own reader judges them.
_Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Float = Annotated[float, Meta(gt=-(2.0**63), lt=2.0**64)]
_Key = Annotated[str, Meta(min_length=1, max_length=200)]
_Short = Annotated[str, Meta(max_length=200)]
_Text = Annotated[str, Meta(min_length=1, max_length=2000)]
_Subject = Annotated[str, Meta(min_length=1, max_length=300)]
_Row = Annotated[int, Meta(ge=0)]
# Built from the contract's own tables: types msgspec reads, which a type checker cannot.
_Reason: Any = Literal.__getitem__(tuple(sorted(REASONS)))
_Kind: Any = Literal.__getitem__(tuple(KINDS))
_Failed: Any = tuple.__class_getitem__((_Row, str, _Reason))

_COLUMN: Final[dict[catalogue.Type, Any]] = {
    catalogue.Type.FLOAT: list[_Float | None],
    catalogue.Type.INTEGER: list[_Int | None],
    catalogue.Type.TEXT: list[_Short | None],
}


def _family_type(family: Family) -> Any:
    """The struct of one family: every metric of the catalogue a field, any other key refused."""
    columns = msgspec.defstruct(
        f"{family.value.title()}Columns",
        [(key, _COLUMN[m.type] | UnsetType, UNSET) for key, m in catalogue.keys(family).items()],
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.defstruct(
        f"{family.value.title()}Rows",
        [
            ("subject", list[_Subject]),
            ("time", list[_Seconds]),
            ("monotonic", list[_Seconds]),
            ("interval_seconds", list[_Seconds]),
            ("counters_epoch", list[_Short | None] | UnsetType, UNSET),
            ("columns", columns | UnsetType, UNSET),
            ("failed", list.__class_getitem__(_Failed), msgspec.field(default_factory=list)),
        ],
        gc=False,
    )


_Families = msgspec.defstruct(
    "_Families",
    [(family.value, _family_type(family) | UnsetType, UNSET) for family in Family],
    forbid_unknown_fields=True,
)


class _Facts(msgspec.Struct):
    family: Family
    subject: _Key
    time: _Seconds
    attributes: dict[
        str,
        Annotated[str, Meta(max_length=2000)]
        | _Int
        | _Float
        | Annotated[list[str], Meta(max_length=1000)]
        | None,
    ]


class _Event(msgspec.Struct):
    time: _Seconds
    kind: _Kind
    severity: Severity
    family: Family
    subject: _Key
    source: _Text
    message: Annotated[str, Meta(max_length=2000)]
    code: _Short | None = None
    vendor: _Short | None = None
    attributes: dict[str, Annotated[str, Meta(max_length=500)] | _Int | _Float] = msgspec.field(
        default_factory=dict
    )


_Name = Annotated[str, Meta(max_length=300)]
_Count = Annotated[float, Meta(ge=0, lt=2.0**64)]
_ServedKind: Any = Literal.__getitem__(SERVED_KINDS)
_Served: Any = tuple.__class_getitem__(
    (Annotated[str, Meta(min_length=1, max_length=300)], _Name, _Name, _Name, _ServedKind, _Seconds, _Count)
)


class _Body(msgspec.Struct):
    schema_version: int
    stream: Annotated[str, Meta(min_length=16, max_length=64)]
    sequence: Annotated[int, Meta(ge=1, lt=2**53)]
    lane: Literal["samples", "events"]
    agent: _Text
    cluster: _Key
    node: _Key
    origin: Origin
    machine_id: _Short | None = None
    boot_id: _Short | None = None
    families: _Families = msgspec.field(default_factory=_Families)  # type: ignore[valid-type]
    facts: list[_Facts] = msgspec.field(default_factory=list)
    events: list[_Event] = msgspec.field(default_factory=list)
    served: list[_Served] = msgspec.field(default_factory=list)


_decoder = msgspec.json.Decoder(_Body)
_plain = msgspec.json.Decoder()

_NAMES: Final = {family: tuple(catalogue.keys(family)) for family in Family}


class _Slow(Exception):
    """The fast reader cannot vouch for it."""


def read_batch(body: bytes) -> ColumnarBatch:
    """The batch in a gzip-ed wire body. Raises WireError, and nothing else, for what is not one."""
    return read_json(wire.gunzip(body))


def read_json(text: bytes) -> ColumnarBatch:
    """The batch in a body's JSON bytes. Raises WireError, and nothing else, for what is not one."""
    try:
        return _fast(text)
    except (msgspec.MsgspecError, _Slow, ValueError, RecursionError):
        pass
    try:
        document = _plain.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise WireError(f"the body is not JSON: {str(e)[:120]}") from e
    try:
        return wire.batch_from_json(document)
    except RecursionError as e:
        raise WireError("the body is nested too deeply") from e


def _fast(text: bytes) -> ColumnarBatch:
    body = _decoder.decode(text)
    version = body.schema_version
    if not max(1, wire.SCHEMA_VERSION - 1) <= version <= wire.SCHEMA_VERSION:
        raise _Slow
    if not (body.stream.isalnum() and body.stream.isascii()):
        raise _Slow
    families: dict[Family, FamilyColumns] = {}
    total = 0
    for family in Family:
        rows = getattr(body.families, family.value)
        if rows is UNSET:
            continue
        columns = families[family] = _columns(family, rows)
        total += len(columns.subject)
    if total + len(body.served) > wire.MAX_ROWS:
        raise _Slow
    try:
        return ColumnarBatch(
            stream=body.stream,
            sequence=body.sequence,
            lane=body.lane,
            agent=body.agent,
            cluster=check_id("cluster", body.cluster),
            node=check_id("node", body.node),
            machine_id=body.machine_id,
            boot_id=body.boot_id,
            origin=body.origin,
            schema_version=version,
            families=families,
            facts=[
                Facts(
                    f.family,
                    check_id("subject", f.subject),
                    f.time,
                    {k: v for k, v in f.attributes.items() if k in FACT_NAMES},
                )
                for f in body.facts
            ],
            events=[
                Event(
                    time=e.time,
                    kind=e.kind,
                    severity=e.severity,
                    family=e.family,
                    subject=check_id("subject", e.subject),
                    source=e.source,
                    message=e.message[:500],
                    code=e.code,
                    vendor=e.vendor,
                    attributes=e.attributes,
                )
                for e in body.events
            ],
            served=[Served(*row) for row in body.served],
        )
    except WireError:
        raise
    except Exception as e:
        raise _Slow from e


def _columns(family: Family, rows: Any) -> FamilyColumns:
    count = len(rows.subject)
    if not (len(rows.time) == len(rows.monotonic) == len(rows.interval_seconds) == count):
        raise _Slow
    epochs = rows.counters_epoch
    if epochs is UNSET:
        epochs = [None] * count
    elif len(epochs) != count:
        raise _Slow
    columns: dict[str, list[Any]] = {}
    if rows.columns is not UNSET:
        # Some hundred and forty fields, of which a few dozen are set: kept out of Python's own loop.
        found = msgspec.structs.astuple(rows.columns)
        there = [column is not UNSET for column in found]
        columns = dict(zip(compress(_NAMES[family], there), compress(found, there), strict=True))
        if columns and set(map(len, columns.values())) != {count}:
            raise _Slow
    names = catalogue.keys(family)
    for row, key, _ in rows.failed:
        if row >= count or key not in names:
            raise _Slow
    return FamilyColumns(
        subject=rows.subject,
        time=rows.time,
        monotonic=rows.monotonic,
        interval_seconds=rows.interval_seconds,
        counters_epoch=epochs,
        columns=columns,
        failed=rows.failed,
    )
