"""The catalogue: one table, and what is derived from it stays consistent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ullage_contract import catalogue
from ullage_contract.catalogue import METRICS, Kind, Tier, Type, bit_names, bits_of, keys, metric
from ullage_contract.errors import UnknownMetric
from ullage_contract.sample import FACT_NAMES, Family

UNIT_SUFFIXES = {
    "By": "_bytes",
    "By/s": "_bytes_per_second",
    "W": "_watts",
    "J": "_joules",
    "Cel": "_celsius",
    "Hz": "_hertz",
    "V": "_volts",
    "A": "_amperes",
    "s": "_seconds",
    "rpm": "_rpm",
}


def test_a_key_names_one_metric_in_each_family() -> None:
    for family in Family:
        found = [m.key for m in METRICS if family in m.families]
        assert len(found) == len(set(found))
        assert list(keys(family)) == found


def test_keys_are_snake_case_and_fit_a_column() -> None:
    for m in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", m.key), m.key
        assert len(m.key) <= 48


def test_names_carry_their_unit() -> None:
    """What has a dimension says it in its name; a count of things need not say of what."""
    for m in METRICS:
        if m.unit in UNIT_SUFFIXES:
            assert m.key.endswith(UNIT_SUFFIXES[m.unit]), f"{m.key} is in {m.unit}"
        for unit, suffix in UNIT_SUFFIXES.items():
            longer = any(
                s != suffix and s.endswith(suffix) and m.key.endswith(s) for s in UNIT_SUFFIXES.values()
            )
            if m.key.endswith(suffix) and not longer:
                assert m.unit == unit, f"{m.key} is in {m.unit}"
        if m.key.endswith("_ratio"):
            assert m.unit == "1" and m.kind is Kind.GAUGE and m.type is Type.FLOAT


def test_a_counter_that_counts_things_is_an_integer() -> None:
    for m in METRICS:
        if m.kind is Kind.COUNTER:
            assert m.type is (Type.FLOAT if m.unit in ("s", "J") else Type.INTEGER), m.key


def test_states_have_words_or_say_a_makers_own() -> None:
    for m in METRICS:
        if m.kind is Kind.STATE:
            assert m.unit == "1"
            assert m.type in (Type.TEXT, Type.INTEGER)
            assert len(set(m.words)) == len(m.words)
            assert m.type is Type.TEXT or m.words, f"{m.key}: bits without names"
        else:
            assert not m.words and m.type is not Type.TEXT, m.key


def test_only_counters_are_narrow_and_only_narrow_ones_saturate() -> None:
    for m in METRICS:
        if m.bits is not None:
            assert m.kind is Kind.COUNTER and 1 <= m.bits < 64
        assert not (m.saturates and m.bits is None), m.key


def test_prometheus_names_are_legal_and_unique_and_only_counters_end_in_total() -> None:
    seen = set()
    for m in METRICS:
        for family in m.families:
            name = m.prometheus(family)
            assert re.fullmatch(r"ullage_(card|slice|port|node|process)_[a-z0-9_]+", name)
            assert not name.endswith(("_total", "_info", "_count", "_sum", "_bucket", "_created")), name
            series = f"{name}_total" if m.kind is Kind.COUNTER else name
            assert series not in seen, series
            seen.add(series)


def test_one_otel_name_has_one_unit_and_kind_and_its_points_differ_in_attributes() -> None:
    by_name: dict[str, list[catalogue.Metric]] = {}
    for m in METRICS:
        by_name.setdefault(m.otel, []).append(m)
    for name, some in by_name.items():
        assert len({m.unit for m in some}) == 1, name
        assert len({m.kind for m in some}) == 1, name
        for family in Family:
            attributes = [tuple(sorted(m.otel_attributes.items())) for m in some if family in m.families]
            assert len(set(attributes)) == len(attributes), (
                f"{name}: two metrics of a {family} are one series"
            )


def convention() -> dict[str, tuple[str, str] | None]:
    """OpenTelemetry's own tables: name -> (unit, instrument), None for a name that a later version gave up."""
    known: dict[str, tuple[str, str] | None] = {}
    for part in ("hw", "system"):
        name = f"opentelemetry.semconv._incubating.metrics.{part}_metrics"
        module = pytest.importorskip(name, reason="needs opentelemetry-semantic-conventions")
        source = Path(module.__file__).read_text(encoding="utf-8")
        for found in re.finditer(r'^[A-Z_0-9]+: Final = "([a-z_.0-9]+)"\n"""(.*?)"""', source, re.M | re.S):
            instrument = re.search(r"^Instrument: (\w+)", found[2], re.M)
            unit = re.search(r"^Unit: (.+)", found[2], re.M)
            known[found[1]] = (unit[1], instrument[1]) if unit and instrument else None
    assert len(known) > 50
    return known


def test_otel_names_are_the_conventions_or_clearly_ours() -> None:
    known = convention()
    for m in METRICS:
        if m.otel.startswith("ullage."):
            assert m.otel == f"ullage.{m.families[0].value}.{m.key}"
            continue
        assert m.otel in known, f"{m.otel} is not in the convention"
        if (said := known[m.otel]) is not None:
            unit, instrument = said
            assert m.unit == unit, m.otel
            assert (instrument == "counter") == (m.kind is Kind.COUNTER), m.otel


def test_the_otlp_exporter_makes_up_down_counters_what_the_convention_does() -> None:
    from ullage_agent.outputs.otlp import UP_DOWN

    known = convention()
    for name in {m.otel for m in METRICS if not m.otel.startswith("ullage.")}:
        if (said := known[name]) is not None:
            assert (said[1] == "updowncounter") == (name in UP_DOWN), name


def test_an_unknown_metric_is_named() -> None:
    assert metric(Family.CARD, "power_watts").unit == "W"
    with pytest.raises(UnknownMetric, match="power_whats"):
        metric(Family.CARD, "power_whats")
    with pytest.raises(UnknownMetric, match="port"):
        metric(Family.PORT, "power_watts")


def test_bits_have_names_there_and_back_and_an_unknown_bit_says_its_number() -> None:
    words = catalogue.THROTTLE_REASONS
    assert bit_names(words, 0) == []
    assert bit_names(words, 0b101) == [words[0], words[2]]
    assert bit_names(words, 1 << 40) == ["bit40"]
    for value in (0, 1, 5, (1 << len(words)) - 1):
        assert bits_of(words, bit_names(words, value)) == value
    with pytest.raises(ValueError, match="bit40"):
        bits_of(words, ["bit40"])


def test_the_fast_tier_is_what_changes_fast() -> None:
    assert metric(Family.CARD, "utilization_ratio").tier is Tier.FAST
    assert metric(Family.CARD, "ecc_uncorrected").tier is Tier.SLOW


def test_every_metric_and_fact_says_what_it_means() -> None:
    for m in METRICS:
        assert m.meaning and m.meaning.isprintable() and not m.meaning.endswith("."), m.key
    for name, meaning in FACT_NAMES.items():
        assert re.fullmatch(r"[a-z0-9_]+", name) and meaning
