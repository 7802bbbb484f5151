"""The table of card models: how a name finds its row, what a row may say, and that every figure names its document."""

from __future__ import annotations

import pytest

from ullage_contract import rule_file
from ullage_contract.card_models import FILE, card_model, is_word, row_of, shipped
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table


@pytest.mark.parametrize(
    ("name", "tflops", "gb_per_second"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5, 3350),
        ("NVIDIA H100 PCIe", 756.5, 2000),
        ("H100-80G-PCIE", 756.5, 2000),
        ("NVIDIA H100 NVL", 835.5, 3900),
        ("NVIDIA H200", 989.5, 4800),
        ("NVIDIA H200 NVL", None, 4800),
        ("NVIDIA H20", 148, 4000),
        ("NVIDIA H20-96G", 148, 4000),
        ("NVIDIA H20-3e", None, None),
        ("NVIDIA H800", 990, 3350),
        ("NVIDIA H800 PCIe", None, None),
        ("NVIDIA A100-SXM4-80GB", 312, 2039),
        ("NVIDIA-A800-SXM4-80GB", 312, 2039),
        ("NVIDIA A100 80GB PCIe", 312, 1935),
        ("NVIDIA A100-PCIE-40GB", 312, 1555),
        ("A100", 312, None),
        ("NVIDIA A10", 125, 600),
        ("NVIDIA L40S", 362.05, 864),
        ("NVIDIA L4", 121, 300),
        ("Tesla T4", 65, 300),
        ("Tesla V100-SXM2-32GB", 125, 900),
        ("Tesla V100-PCIE-16GB", 112, 900),
        ("NVIDIA GeForce RTX 4090", 165.15, 1008),
        ("NVIDIA GeForce RTX 4090 D", None, None),
        ("AMD Instinct MI300X", 1307.4, 5300),
        ("AMD Instinct MI250X", 191.5, 1600),
        ("HL-325L", 1835, 3670),
        ("HL-225B", None, None),
        ("Ascend910B2", 353.9, 1600),
        ("MLU370-X8", 96, 614.4),
        ("MTT S4000", 98, 768),
        ("Hygon BW1000", None, 1600),
        ("MXC500", None, 1800),
        ("Iluvatar BI-V100", 147, 1200),
        ("Iluvatar MR-V100 DUO", None, None),
    ],
)
def test_a_name_has_the_figures_of_the_longest_word_that_fits(
    name: str, tflops: float | None, gb_per_second: float | None
) -> None:
    found = card_model(name, shipped())
    assert found is not None
    assert found.tflops_micro == (None if tflops is None else round(tflops * 10**6))
    assert found.bytes_per_second == (None if gb_per_second is None else round(gb_per_second * 10**9))


@pytest.mark.parametrize(
    "name",
    # what only looks alike, and what no document was found for
    [
        *(
            "NVIDIA RTX A4000",
            "NVIDIA T400 4GB",
            "NVIDIA GH200 480GB",
            "NVIDIA A10G",
            "Tesla V100S-PCIE-32GB",
        ),
        *("AMD Instinct MI308X", "Ascend 910B3", "Ascend910B4-1", "HL-205", "MLU590-M9", "K100_AI", "P800"),
        *("Enflame S60", "V100", ""),
    ],
)
def test_nobody_guesses_a_model(name: str) -> None:
    assert card_model(name, shipped()) is None


def test_every_figure_names_its_document_and_no_word_stands_twice() -> None:
    rows = shipped()
    assert len(rows) > 40 and all(len(row.source) > 20 for row in rows)
    words = [word.casefold() for row in rows for word in row.words]
    assert len(words) == len(set(words))
    for row in rows:
        # a row without figures is there to keep a shorter word from fitting, and says that nobody knows
        nothing = row.tflops_micro is None and row.bytes_per_second is None
        assert nothing is row.source.startswith("No document found")
        for word in row.words:
            assert card_model(word, rows) is row, word


def test_words_are_whole_in_order_and_case_aside() -> None:
    assert is_word("H100 PCIe", "nvidia h100 80gb pcie") and not is_word("H100 PCIe", "PCIe H100")
    assert is_word("H20", "NVIDIA H20-96G") and not is_word("H20", "NVIDIA H200")
    assert is_word("910B4", "Ascend910B4") and not is_word("910B4", "910B45") and not is_word(" ", "H100")
    assert not is_word("V1.0", "V100")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"words": [], "source": "x"}, "words"),
        ({"words": [" "], "source": "x"}, "words"),
        ({"words": ["H100"], "tflops": 0}, "tflops"),
        ({"words": ["H100"], "tflops": 989_500_000}, "tflops"),
        ({"words": ["H100"], "gb_per_second": True}, "gb_per_second"),
        ({"words": ["H100"], "tflop": 1}, "tflops"),
    ],
)
def test_a_wrong_row_is_told(row: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        row_of(Table(row, "mine.toml", "model"))


def test_the_table_is_shipped_and_read_by_both_who_need_it() -> None:
    from ullage_collector.detect.sizing.settings import default_rules, model_of
    from ullage_reports.peaks import load, peak_of

    assert "[[model]]" in rule_file.shipped("ullage_contract", FILE)
    for name in ("NVIDIA H100 PCIe", "MLU370-X8", "NVIDIA L20"):
        row, peak = model_of(default_rules(), name), peak_of(name, load(None))
        assert row is not None and peak is not None
        assert (row.tflops_micro, row.source) == (peak.tflops_micro, peak.source)
