"""The table of facts: whole, sourced, dated; the page for people is its own word; quantities are exact."""

from __future__ import annotations

import importlib.util
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from sharing_pods import pod

from ullage_collector.allocation.sharing import (
    annotation_facts,
    asked,
    facts,
    facts_of,
    memory_share,
    paid_share,
    quantity,
)
from ullage_collector.allocation.sharing.facts import Meaning, parse, wholes
from ullage_contract.errors import BadInput, ConfigError

DOCS = Path(__file__).parents[2] / "docs"
WHOLE_CARDS = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "huawei.com/Ascend910",
    "huawei.com/Ascend310P",
    "huawei.com/npu",
    "cambricon.com/mlu",
    "cambricon.com/mlu370",
    "hygon.com/dcu",
    "mthreads.com/gpu",
    "metax-tech.com/gpu",
    "iluvatar.com/gpu",
    "iluvatar.ai/gpu",
    "kunlunxin.com/xpu",
    "enflame.com/gcu",
    "birentech.com/gpu",
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
    "google.com/tpu",
    "tenstorrent.com/n300",
    "rebellions.ai/ATOM",
    "furiosa.ai/rngd",
    "qualcomm.com/qaic",
    "xilinx.com/fpga-xilinx_u250_gen3x16_xdma_shell_3_1-0",
    "fpga.intel.com/af-d8424dc4a4a3c413f89e433683f9040b",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "vastaitech.com/va",
    "c600.graphcore.ai/ipu",
)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sharing_page", DOCS / "generate_sharing_systems.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh(generator: ModuleType) -> None:
    text = (DOCS / "sharing-systems.md").read_text(encoding="utf-8")
    assert text == generator.page(), "run: python docs/generate_sharing_systems.py"


def test_every_row_is_on_the_page(generator: ModuleType) -> None:
    text = generator.page()
    for fact in facts():
        assert f"`{fact.resource}`" in text
    for row in annotation_facts():
        assert f"`{row.key}`" in text


def test_every_row_has_a_source_and_a_date() -> None:
    for row in (*facts(), *annotation_facts(), *wholes()):
        assert row.source.strip()
        assert row.checked == date(2026, 11, 21)


def test_no_row_is_there_twice() -> None:
    keys = [(fact.system, fact.vendor, fact.resource) for fact in facts()]
    assert len(keys) == len(set(keys))


def test_a_name_that_was_not_found_is_shown_and_not_used() -> None:
    unseen = [fact for fact in facts() if not fact.usable]
    assert unseen
    for fact in unseen:
        assert fact.seen == "not found"
        assert facts_of(fact.resource) == ()
        assert asked(pod({fact.resource: 1})) == []


@pytest.mark.parametrize("resource", WHOLE_CARDS)
def test_every_makers_whole_cards_are_whole(resource: str) -> None:
    (row,) = asked(pod({resource: "2"}))
    assert (row.cards, row.compute_nano, row.memory_nano) == (2, 1_000_000_000, 1_000_000_000)


@pytest.mark.parametrize(
    "resource", ["cpu", "memory", "gpu.intel.com/i915_monitoring", "rdma/hca", "nvidia.com/gp"]
)
def test_what_is_no_card_is_none(resource: str) -> None:
    assert facts_of(resource) == ()
    assert asked(pod({resource: "1"})) == []


def test_units_agree_with_meanings() -> None:
    for fact in facts():
        if fact.meaning is Meaning.MEMORY and fact.usable:
            assert fact.unit_bytes
        if fact.meaning in (Meaning.COMPUTE, Meaning.MEMORY_RATIO):
            assert fact.parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resources = [{", "not TOML"),
        ('resources = [{ system = "x", unit = "furlong" }]', "unit 'furlong'"),
        ('resources = [{ system = "x", unit = "card", colour = 1 }]', "unknown key colour"),
        ('resources = [{ system = "x", unit = "card", per = "each" }]', 'per = "all"'),
        ('resources = [{ system = "x", unit = "card", meaning = "cards" }]', "resource"),
        ('annotations = [{ system = "x" }]', "annotation 1"),
        ('wholes = [{ kind = "MIG" }]', "whole 1"),
    ],
)
def test_a_damaged_table_says_which_row(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"own\.toml") as failed:
        parse(text, "own.toml")
    assert says in str(failed.value)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("4", 4),
        (4, 4),
        ("4Gi", 4 * 1024**3),
        ("100m", Fraction(1, 10)),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12E", None),
        ("2E", 2 * 10**18),
        ("1.5", Fraction(3, 2)),
        (0.1, Fraction(1, 10)),
        (Decimal("0.25"), Fraction(1, 4)),
        (".5k", 500),
        ("+7", 7),
        ("-0", 0),
        ("1n", Fraction(1, 10**9)),
    ],
)
def test_quantities_are_exact(written: object, number: object) -> None:
    if number is None:
        with pytest.raises(BadInput, match="beyond"):
            quantity(written)
    else:
        assert quantity(written) == number


@pytest.mark.parametrize(
    "written",
    [
        "",
        "x",
        "-1",
        "1e999",
        "1ki",
        "4 Gi",
        "NaN",
        "inf",
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        "1" * 65,
        2**70,
    ],
)
def test_what_is_no_quantity_is_refused(written: object) -> None:
    with pytest.raises(BadInput):
        quantity(written)


def test_what_is_paid_is_compute_then_memory_then_the_card() -> None:
    assert paid_share(250_000_000, 900_000_000) == 250_000_000
    assert paid_share(None, 900_000_000) == 900_000_000
    assert paid_share(None, None) == 1_000_000_000
    assert paid_share(0, 500_000_000) == 0
    assert paid_share(1_300_000_000, None) == 1_300_000_000


def test_memory_without_a_total_has_no_share() -> None:
    assert memory_share(1, None) is None
    assert memory_share(1, 0) is None
    assert memory_share(None, 10) is None
    assert memory_share(3, 4) == 750_000_000
