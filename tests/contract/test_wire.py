"""The wire: what one side says the other understands, and nothing else gets in."""

from __future__ import annotations

import copy
import gzip
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage_contract import catalogue, wire
from ullage_contract.catalogue import Kind, Type
from ullage_contract.errors import REASONS, SchemaTooNew, UnknownMetric, WireError
from ullage_contract.event import KINDS, Event, Severity
from ullage_contract.sample import FACT_NAMES, Facts, Family, Origin, Sample
from ullage_contract.wire import Answer, Batch, ColumnarBatch, batch_from_json, decode, encode, gunzip

FIXTURES = Path(__file__).parent.parent / "fixtures/wire"
GOLDEN = sorted(FIXTURES.glob("v*/*.batch"))


def pack(document: Any) -> bytes:
    return gzip.compress(json.dumps(document).encode())


def unpack(body: bytes) -> Any:
    return json.loads(gzip.decompress(body))


def batch(**more: Any) -> Batch:
    fields: dict[str, Any] = {
        "stream": "0123456789abcdef",
        "sequence": 1,
        "lane": "samples",
        "agent": "0.1.0",
        "cluster": "c1",
        "node": "n1",
        "machine_id": None,
        "boot_id": None,
        "origin": Origin.REAL,
    }
    return Batch(**{**fields, **more})


def card(**more: Any) -> Sample:
    fields: dict[str, Any] = {
        "family": Family.CARD,
        "subject": "GPU-1",
        "time": 1.5e9,
        "monotonic": 10.0,
        "interval_seconds": 10.0,
        "values": {"power_watts": 1.0},
    }
    return Sample(**{**fields, **more})


def event(**more: Any) -> Event:
    fields: dict[str, Any] = {
        "time": 1.5e9,
        "kind": "xid",
        "severity": Severity.FATAL,
        "family": Family.CARD,
        "subject": "GPU-1",
        "source": "kernel_log",
        "message": "fell off",
    }
    return Event(**{**fields, **more})


# ---- golden files


@pytest.mark.parametrize("file", GOLDEN, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_a_golden_body_is_read_and_says_what_its_readable_twin_says(file: Path) -> None:
    document = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert unpack(file.read_bytes()) == document
    assert decode(file.read_bytes()) == batch_from_json(document)
    assert f"v{document['schema_version']}" == file.parent.name


def test_what_this_tree_writes_is_the_golden_file_of_its_version() -> None:
    sys.path.insert(0, str(FIXTURES))
    try:
        import generate
    finally:
        sys.path.remove(str(FIXTURES))
    made = generate.batches()
    folder = FIXTURES / f"v{wire.SCHEMA_VERSION}"
    assert {f.stem for f in folder.glob("*.batch")} == made.keys()
    for name, one in made.items():
        assert gzip.decompress(encode(one)) == gzip.decompress((folder / f"{name}.batch").read_bytes()), name


def test_every_version_a_collector_must_read_has_golden_files() -> None:
    versions = {f.parent.name for f in GOLDEN}
    assert {f"v{n}" for n in range(max(1, wire.SCHEMA_VERSION - 1), wire.SCHEMA_VERSION + 1)} <= versions


# ---- round trips

texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=60)
ids = st.text(
    st.characters(whitelist_categories=["L", "N"], whitelist_characters="-/#.:_ "), min_size=1, max_size=80
)
times = st.floats(0, 9e10).map(lambda x: round(x, 6))
integers = st.integers(-(2**63), 2**64 - 1)
numbers = st.floats(-1e15, 1e15).map(lambda x: round(x, 6))


@st.composite
def samples(draw: st.DrawFn, family: Family) -> Sample:
    keys = draw(st.lists(st.sampled_from(sorted(catalogue.keys(family))), unique=True, max_size=8))
    split = draw(st.integers(0, len(keys)))
    by_type = {Type.TEXT: texts, Type.INTEGER: integers, Type.FLOAT: numbers}
    return Sample(
        family=family,
        subject=draw(ids),
        time=draw(times),
        monotonic=draw(times),
        interval_seconds=draw(st.sampled_from([1.0, 10.0, 60.0])),
        values={k: draw(by_type[catalogue.keys(family)[k].type]) for k in keys[:split]},
        failed={k: draw(st.sampled_from(sorted(REASONS))) for k in keys[split:]},
        counters_epoch=draw(st.none() | texts),
    )


facts = st.builds(
    Facts,
    family=st.sampled_from(Family),
    subject=ids,
    time=times,
    attributes=st.dictionaries(
        st.sampled_from(sorted(FACT_NAMES)),
        st.none() | texts | integers | numbers | st.lists(texts, max_size=5),
        max_size=6,
    ),
)
events = st.builds(
    Event,
    time=times,
    kind=st.sampled_from(sorted(KINDS)),
    severity=st.sampled_from(Severity),
    family=st.sampled_from(Family),
    subject=ids,
    source=st.sampled_from(["kernel_log", "agent"]),
    message=texts,
    code=st.none() | texts,
    vendor=st.none() | texts,
    attributes=st.dictionaries(texts, texts | integers | numbers, max_size=4),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    lane = draw(st.sampled_from(wire.LANES))
    rows = draw(st.lists(st.sampled_from(Family).flatmap(samples), max_size=6))
    return batch(
        stream=draw(st.text("0123456789abcdef", min_size=16, max_size=64)),
        sequence=draw(st.integers(1, 2**53 - 1)),
        lane=lane,
        cluster=draw(ids),
        node=draw(ids),
        machine_id=draw(st.none() | texts),
        boot_id=draw(st.none() | texts),
        origin=draw(st.sampled_from(Origin)),
        samples=rows if lane == "samples" else [],
        facts=draw(st.lists(facts, max_size=3)) if lane == "samples" else [],
        events=draw(st.lists(events, max_size=3)) if lane == "events" else [],
    )


def as_samples(read: ColumnarBatch) -> dict[Family, list[Sample]]:
    """The rows again, so that a round trip can be compared with what went in."""
    found: dict[Family, list[Sample]] = {}
    for family, columns in read.families.items():
        failed: list[dict[str, str]] = [{} for _ in columns.subject]
        for row, key, reason in columns.failed:
            failed[row][key] = reason
        found[family] = [
            Sample(
                family=family,
                subject=columns.subject[i],
                time=columns.time[i],
                monotonic=columns.monotonic[i],
                interval_seconds=columns.interval_seconds[i],
                values={k: v[i] for k, v in columns.columns.items() if v[i] is not None},
                failed=failed[i],
                counters_epoch=columns.counters_epoch[i],
            )
            for i in range(len(columns.subject))
        ]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches())
def test_what_goes_in_comes_out(made: Batch) -> None:
    body = encode(made)
    assert encode(made) == body, "the same batch must be the same bytes"
    read = decode(body)
    for name in ("stream", "sequence", "lane", "agent", "cluster", "node", "machine_id", "boot_id", "origin"):
        assert getattr(read, name) == getattr(made, name)
    expected: dict[Family, list[Sample]] = {}
    for sample in made.samples:
        expected.setdefault(sample.family, []).append(sample)
    assert as_samples(read) == expected
    assert read.facts == list(made.facts)
    assert read.events == list(made.events)
    assert read.unknown_metrics == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(Family), st.data())
def test_nan_infinity_and_what_does_not_fit_are_missing_never_zero(
    family: Family, data: st.DataObject
) -> None:
    key = data.draw(
        st.sampled_from([k for k, m in catalogue.keys(family).items() if m.type is not Type.TEXT])
    )
    value = data.draw(
        st.sampled_from([float("nan"), float("inf"), float("-inf"), 2**64, -(2**63) - 1, 10**400])
    )
    sample = card(family=family, values={key: value})
    (row,) = as_samples(decode(encode(batch(samples=[sample]))))[family]
    assert row.values == {}


def test_a_text_with_half_a_surrogate_travels_with_a_question_mark() -> None:
    made = batch(lane="events", events=[event(message="bad \udcff name")])
    assert decode(encode(made)).events[0].message == "bad ? name"


def test_times_keep_microseconds_and_big_counters_every_bit() -> None:
    sample = card(time=1_795_262_400.123456, values={"pcie_rx_bytes": 2**64 - 1})
    (row,) = as_samples(decode(encode(batch(samples=[sample]))))[Family.CARD]
    assert row.time == 1_795_262_400.123456 and row.values == {"pcie_rx_bytes": 2**64 - 1}


def test_a_tuple_of_texts_is_a_list_on_the_wire() -> None:
    made = batch(facts=[Facts(Family.CARD, "GPU-1", 1.0, {"unsupported": ("a", "b")})])  # type: ignore[dict-item]
    assert decode(encode(made)).facts[0].attributes == {"unsupported": ["a", "b"]}


def test_a_newer_agents_metrics_and_facts_are_kept_apart_and_stop_nothing() -> None:
    document = unpack(
        encode(batch(samples=[card()], facts=[Facts(Family.CARD, "GPU-1", 1.0, {"uuid": "x"})]))
    )
    document["families"]["card"]["columns"]["from_the_future"] = ["any", "thing"]
    document["families"]["card"]["failed"] = [[0, "also_new", "broken"], [0, "fan_ratio", "deadline"]]
    document["facts"][0]["attributes"]["new_fact"] = 1
    read = decode(pack(document))
    assert read.unknown_metrics == ["card.also_new", "card.from_the_future"]
    assert read.families[Family.CARD].failed == [(0, "fan_ratio", "deadline")]
    assert read.facts[0].attributes == {"uuid": "x"}


def test_the_answer_travels_as_json() -> None:
    answer = Answer("s" * 16, 17, 15, duplicate=True, clock_skew_seconds=-0.5)
    assert json.loads(json.dumps(answer.to_json())) == {
        "schema_version": wire.SCHEMA_VERSION,
        "stream": "s" * 16,
        "accepted_through": 17,
        "durable_through": 15,
        "duplicate": True,
        "clock_skew_seconds": -0.5,
    }


# ---- what encode refuses


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (batch(lane="other"), "BUG: lane"),
        (batch(events=[event()]), "own lane"),
        (batch(sequence=0), "sequence"),
        (batch(stream="short"), "stream"),
        (batch(cluster=""), "cluster"),
        (batch(node="a\nb"), "node"),
        (batch(samples=[card(values={"power_watts": "hot"})]), "is a number"),
        (batch(samples=[card(failed={"fan_ratio": "dunno"})]), "failed"),
        (batch(samples=[card(time=float("nan"))]), "time"),
        (batch(samples=[card(time=-1.0)]), "time"),
        (batch(samples=[card(monotonic=float("inf"))]), "monotonic"),
        (batch(samples=[card(subject="")]), "subject"),
        (batch(samples=[card(counters_epoch="x" * 300)]), "counters_epoch"),
        (batch(facts=[Facts(Family.CARD, "c", 1.0, {"no_such_fact": 1})]), "FACT_NAMES"),
        (batch(facts=[Facts(Family.CARD, "c", 1.0, {"model": float("nan")})]), "model"),
        (batch(facts=[Facts(Family.CARD, "c", 1.0, {"model": True})]), "model"),
        (batch(facts=[Facts(Family.CARD, "c", 1.0, {"model": "x" * 3000})]), "model"),
        (batch(facts=[Facts(Family.CARD, "", 1.0, {})]), "subject"),
        (batch(lane="events", events=[event(kind="no_such_kind")]), "KINDS"),
        (batch(lane="events", events=[event(source="")]), "source"),
        (batch(lane="events", events=[event(time=float("inf"))]), "time"),
        (batch(lane="events", events=[event(code="x" * 300)]), "code"),
        (batch(lane="events", events=[event(attributes={"a": None})]), "attributes"),
    ],
)
def test_a_batch_that_breaks_the_contract_is_refused_where_it_is_made(made: Batch, message: str) -> None:
    with pytest.raises(WireError, match=message):
        encode(made)


def test_a_metric_outside_the_catalogue_is_refused_by_name() -> None:
    for sample in (
        card(values={"no_such": 1.0}),
        card(failed={"no_such": "broken"}),
        card(values={"link_downed": 1}),
    ):
        with pytest.raises(UnknownMetric, match=r"no_such|link_downed"):
            encode(batch(samples=[sample]))


def test_too_many_rows_are_refused_where_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_ROWS", 3)
    with pytest.raises(WireError, match="rows") as caught:
        encode(batch(samples=[card()] * 4))
    assert caught.value.code == "too_large"
    monkeypatch.setattr(wire, "MAX_ROWS", 50)
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 100)
    with pytest.raises(WireError, match="bytes") as caught:
        encode(batch(samples=[card()] * 4))
    assert caught.value.code == "too_large"


# ---- what decode refuses


def test_what_is_not_gzip_json_is_refused() -> None:
    whole = encode(batch(samples=[card()]))
    for body, message in (
        (b"", "cut off"),
        (b"{}", "not gzip"),
        (whole[:-1], "cut off"),
        (whole[: len(whole) // 2], "cut off"),
        (whole + b"more", "goes on"),
        (whole[:-8] + b"\x00" * 8, "not gzip"),
        (gzip.compress(b"{"), "not JSON"),
        (gzip.compress(b"\xff\xfe"), "not JSON"),
        (gzip.compress(b'{"schema_version": NaN}'), "not JSON"),
        (gzip.compress(b"[" * 200_000), "not JSON"),
        (gzip.compress(b"9" * 10_000), "not an object"),
        (gzip.compress(b"[]"), "not an object"),
    ):
        with pytest.raises(WireError, match=message) as caught:
            decode(body)
        assert caught.value.code == "malformed"


def test_a_gzip_bomb_is_refused_before_it_is_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(80)) + packer.flush()
    assert len(bomb) < 200_000
    with pytest.raises(WireError, match="unpacks to more") as caught:
        gunzip(bomb)
    assert caught.value.code == "too_large"


def test_a_body_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(WireError, match="at most") as caught:
        gunzip(b"\x1f\x8b" + b"x" * wire.MAX_BODY_BYTES)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("version", [0, wire.SCHEMA_VERSION + 1, wire.SCHEMA_VERSION - 2])
def test_another_schema_version_is_refused_and_says_which_are_read(version: int) -> None:
    document = unpack(encode(batch()))
    document["schema_version"] = version
    with pytest.raises(SchemaTooNew, match="update the older side") as caught:
        decode(pack(document))
    assert caught.value.code == "schema_version"


_FULL = unpack(
    encode(
        batch(
            samples=[card(values={"power_watts": 1.0, "health": "ok", "memory_used_bytes": 5}), card()],
            facts=[Facts(Family.CARD, "GPU-1", 1.0, {"model": "H100"})],
        )
    )
)
_FULL["lane"] = "events"
_FULL["events"] = unpack(encode(batch(lane="events", events=[event(attributes={"pid": 1})])))["events"]


def _set(*path: Any) -> Callable[[Any], None]:
    """An edit: the last element of ``path`` is put at the place the others name."""
    *places, value = path

    def edit(document: Any) -> None:
        for place in places[:-1]:
            document = document[place]
        document[places[-1]] = value

    return edit


_COLUMNS = ("families", "card", "columns")
REFUSED: list[tuple[Callable[[Any], None], str]] = [
    (_set("schema_version", None), "schema_version is missing"),
    (_set("schema_version", True), "schema_version is missing"),
    (_set("lane", "other"), "lane 'other'"),
    (_set("lane", None), "lane is missing"),
    (_set("sequence", 0), "sequence"),
    (_set("sequence", True), "sequence"),
    (_set("sequence", 2**53), "sequence"),
    (_set("sequence", 1.0), "sequence"),
    (_set("stream", "short"), "stream is not"),
    (_set("stream", "x" * 65), "stream is not"),
    (_set("stream", "../../../../etc/passwd"), "stream is not"),
    (_set("stream", "ä" * 20), "stream is not"),
    (_set("origin", "dreamt"), "origin 'dreamt'"),
    (_set("agent", ""), "agent is missing"),
    (_set("agent", "x" * 2001), "agent is missing"),
    (_set("cluster", "a\x00b"), "cluster"),
    (_set("node", "x" * 201), "node"),
    (_set("node", "a\u202eb"), "node"),
    (_set("machine_id", 5), "machine_id"),
    (_set("boot_id", "x" * 201), "boot_id"),
    (_set("families", []), "families is not an object"),
    (_set("families", "dog", {}), "family 'dog'"),
    (_set("families", "card", []), "families.card is not an object"),
    (_set("families", "card", "subject", None), "subject is not a list"),
    (_set("families", "card", "subject", 0, ""), r"subject\[0\] is not a key"),
    (_set("families", "card", "subject", 1, "x" * 301), r"subject\[1\] is not a key"),
    (_set("families", "card", "subject", 1, 7), r"subject\[1\] is not a key"),
    (_set("families", "card", "time", [1.0]), "1 values for 2 rows"),
    (_set("families", "card", "time", 0, True), "not a time"),
    (_set("families", "card", "time", 0, -1), "not a time"),
    (_set("families", "card", "time", 0, 1e11), "not a time"),
    (_set("families", "card", "monotonic", 0, "1"), "not a time"),
    (_set("families", "card", "interval_seconds", 0, None), "not a time"),
    (_set("families", "card", "counters_epoch", [None]), "counters_epoch"),
    (_set("families", "card", "counters_epoch", 0, 5), "counters_epoch"),
    (_set("families", "card", "counters_epoch", 0, "x" * 201), "counters_epoch"),
    (_set("families", "card", "columns", []), "columns is not an object"),
    (_set(*_COLUMNS, "power_watts", 1.0), "not a list"),
    (_set(*_COLUMNS, "power_watts", [1.0]), "1 values for 2 rows"),
    (_set(*_COLUMNS, "power_watts", 0, "x"), "not float"),
    (_set(*_COLUMNS, "power_watts", 0, True), "not float"),
    (_set(*_COLUMNS, "memory_used_bytes", 0, 1.5), "not integer"),
    (_set(*_COLUMNS, "memory_used_bytes", 0, 2**64), "64 bits"),
    (_set(*_COLUMNS, "health", 0, 1), "not text"),
    (_set(*_COLUMNS, "health", 0, "x" * 201), "more than 200"),
    (_set("families", "card", "failed", {}), "failed is not a list"),
    (_set("families", "card", "failed", [[2, "power_watts", "broken"]]), r"failed\[0\]"),
    (_set("families", "card", "failed", [[-1, "power_watts", "broken"]]), r"failed\[0\]"),
    (_set("families", "card", "failed", [[True, "power_watts", "broken"]]), r"failed\[0\]"),
    (_set("families", "card", "failed", [[0, "power_watts", "dunno"]]), r"failed\[0\]"),
    (_set("families", "card", "failed", [[0, "power_watts"]]), r"failed\[0\]"),
    (_set("facts", {}), "facts is not a list"),
    (_set("facts", 0, 5), r"facts\[0\] is not an object"),
    (_set("facts", 0, "family", "dog"), r"facts\[0\].family"),
    (_set("facts", 0, "subject", ""), "subject"),
    (_set("facts", 0, "time", None), r"facts\[0\].time"),
    (_set("facts", 0, "attributes", None), "attributes is not an object"),
    (_set("facts", 0, "attributes", "model", {}), "neither text"),
    (_set("facts", 0, "attributes", "model", True), "neither text"),
    (_set("facts", 0, "attributes", "model", [1]), "neither text"),
    (_set("facts", 0, "attributes", "model", "x" * 2001), "neither text"),
    (_set("facts", 0, "attributes", "model", 10**40), "neither text"),
    (_set("events", None), "events is not a list"),
    (_set("events", 0, None), r"events\[0\] is not an object"),
    (_set("events", 0, "kind", "no_such"), "not known here"),
    (_set("events", 0, "kind", ""), "kind is missing"),
    (_set("events", 0, "severity", "bad"), "severity"),
    (_set("events", 0, "family", "dog"), r"events\[0\].family"),
    (_set("events", 0, "time", -5), r"events\[0\].time"),
    (_set("events", 0, "message", None), "message"),
    (_set("events", 0, "code", 79), "code"),
    (_set("events", 0, "attributes", []), "attributes is not an object"),
    (_set("events", 0, "attributes", "pid", [1]), "neither short text"),
    (_set("events", 0, "attributes", "pid", True), "neither short text"),
    (_set("events", 0, "attributes", "pid", "x" * 501), "neither short text"),
]


@pytest.mark.parametrize(("edit", "message"), REFUSED, ids=[f"{i}-{m}" for i, (_, m) in enumerate(REFUSED)])
def test_every_wrong_place_is_refused_by_name(edit: Callable[[Any], None], message: str) -> None:
    document = copy.deepcopy(_FULL)
    batch_from_json(document)
    edit(document)
    with pytest.raises(WireError, match=message) as caught:
        decode(pack(document))
    assert caught.value.code == "malformed"


def test_infinity_by_overflow_is_refused_in_every_number() -> None:
    text = json.dumps(_FULL)
    assert '"power_watts": [1.0, 1.0]' in text
    with pytest.raises(WireError, match="finite"):
        decode(
            gzip.compress(text.replace('"power_watts": [1.0, 1.0]', '"power_watts": [1e999, 1.0]').encode())
        )
    with pytest.raises(WireError, match="neither text"):
        decode(gzip.compress(text.replace('"model": "H100"', '"model": 1e999').encode()))


@pytest.mark.parametrize("digits", [500, 5000])
def test_an_integer_longer_than_python_makes_spoils_nothing_where_nobody_reads_it(digits: int) -> None:
    text = json.dumps({**_FULL, "nobody_reads_this": "HERE"}).replace('"HERE"', "7" * digits)
    assert decode(gzip.compress(text.encode())) == decode(pack(_FULL))


@pytest.mark.parametrize("digits", [500, 5000])
def test_an_integer_longer_than_python_makes_is_refused_by_name_where_it_is_read(digits: int) -> None:
    document = copy.deepcopy(_FULL)
    document["families"]["card"]["interval_seconds"][0] = "HERE"
    text = json.dumps(document).replace('"HERE"', "7" * digits)
    with pytest.raises(WireError, match="interval_seconds"):
        decode(gzip.compress(text.encode()))


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_ROWS", 1)
    with pytest.raises(WireError, match="at most 1") as caught:
        decode(pack(_FULL))
    assert caught.value.code == "too_large"


# ---- fuzzing: decode raises WireError or nothing

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _places(inner, (*path, key))
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(GOLDEN), st.data())
def test_a_mutated_document_is_read_or_refused_and_nothing_else(file: Path, data: st.DataObject) -> None:
    document = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        *way, last = data.draw(st.sampled_from(places))
        target = document
        for step in way:
            target = target[step]
        if data.draw(st.booleans()):
            target[last] = data.draw(junk)
        else:
            del target[last]
    try:
        decode(pack(document))
    except WireError as e:
        assert e.code in ("malformed", "schema_version", "too_large")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(GOLDEN), st.data())
def test_mutated_bytes_are_read_or_refused_and_nothing_else(file: Path, data: st.DataObject) -> None:
    body = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for one in (bytes(body), bytes(body[:cut])):
        try:
            decode(one)
        except WireError:
            pass


def test_kinds_of_states_travel_as_their_type() -> None:
    for metric in catalogue.METRICS:
        if metric.kind is Kind.STATE and metric.type is Type.INTEGER:
            family = metric.families[0]
            sample = card(family=family, values={metric.key: 5})
            assert as_samples(decode(encode(batch(samples=[sample]))))[family][0].values == {metric.key: 5}
