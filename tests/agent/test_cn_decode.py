"""What npu-smi, cnmon and mthreads-gmi print, read from fixtures of our own, whole, cut short and mangled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.ascend.decode import decode as ascend
from ullage_agent.backends.cambricon.decode import decode as cambricon
from ullage_agent.backends.mthreads.decode import decode as mthreads
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MIB = 1 << 20
DECODERS = {"ascend": ascend, "cambricon": cambricon, "mthreads": mthreads}
ALL = sorted(
    path for maker in DECODERS for path in (FIXTURES / maker).iterdir() if path.suffix in (".txt", ".json")
)


def text(maker: str, name: str) -> str:
    return (FIXTURES / maker / name).read_text(encoding="utf-8")


def read(maker: str, name: str) -> Decoded:
    return DECODERS[maker](text(maker, name))


def value(card: DecodedCard, *keys: str) -> tuple[object, ...]:
    return tuple(card.values.get(key) for key in keys)


# ---- Ascend


def test_ascend_a_board_of_two_chips_gives_its_power_once() -> None:
    cards = read("ascend", "910c_busy.txt").cards
    assert [card.index for card in cards] == [0, 1, 2, 3]
    assert [card.chip for card in cards] == [0, 1, 0, 1]
    assert [card.values.get("power_watts") for card in cards] == [412.7, None, 166.3, None]
    assert value(cards[1], "utilization_ratio", "memory_used_bytes") == (0.91, 20701 * MIB)
    assert [card.values.get("health") for card in cards] == ["ok", "ok", "critical", None]
    assert cards[3].values == {"health_detail": "UNKNOWN"}


def test_ascend_processes_stand_on_their_chip() -> None:
    cards = read("ascend", "910c_busy.txt").cards
    assert cards[1].processes == [{"pid": 81232, "name": "VLLMWorker_TP1", "memory_used_bytes": 17594 * MIB}]
    assert cards[2].processes == []


def test_ascend_two_chips_on_one_bus_id_are_two_cards() -> None:
    decoded = read("ascend", "310p_duo_and_310.txt")
    first, second, numeric, long_name = decoded.cards
    assert (first.pci_address, first.chip) == ("0000:02:00.0", 0)
    assert (second.pci_address, second.chip) == ("0000:02:00.0", 1)
    assert value(first, "memory_used_bytes", "memory_total_bytes") == (2203 * MIB, 44280 * MIB)
    assert (numeric.model, numeric.index, numeric.values["power_watts"]) == ("310", 2, 12.8)
    assert (long_name.model, long_name.values["utilization_ratio"]) == ("310P3-Overlong-Name-Of-A-Board", 1.0)
    assert long_name.values["health"] == "critical"
    assert first.processes is None


def test_ascend_a_table_cut_short_says_so_and_keeps_what_it_has() -> None:
    whole = text("ascend", "910c_busy.txt").splitlines()
    decoded = ascend("\n".join(whole[:10]))
    assert len(decoded.cards) == 2
    assert decoded.cards[1].values["temperature_celsius"] == 49
    assert any("truncated" in note for note in decoded.notes)


def test_ascend_key_and_value_know_the_chip_before_or_behind() -> None:
    behind = read("ascend", "usages_two_chips.txt").cards
    assert [(card.index, card.chip) for card in behind] == [(1, 0), (1, 1)]
    assert value(behind[0], "utilization_ratio", "control_cpu_ratio", "memory_total_bytes") == (
        0.12,
        0.03,
        44280 * MIB,
    )
    before = read("ascend", "common.txt").cards
    assert [(card.index, card.chip) for card in before] == [(0, 0), (1, 0)]
    assert value(before[0], "power_watts", "temperature_celsius", "clock_sm_hertz") == (269.6, 42.0, 1650e6)
    assert "memory_ratio" not in before[1].values


def test_ascend_health_keeps_the_codes() -> None:
    (card,) = read("ascend", "health.txt").cards
    assert card.values == {"health": "degraded", "health_detail": "Warning"}
    assert card.extra["error_codes"] == ["80E01801", "80CB8009"]


def test_ascend_list_and_map() -> None:
    listed = read("ascend", "list.txt").cards
    assert [(card.index, card.serial) for card in listed] == [
        (2, "033WQK10P8000001"),
        (5, "033WQK10P8000002"),
    ]
    mapped = read("ascend", "map.txt").cards
    assert [(card.index, card.chip, card.model) for card in mapped] == [
        (8, 0, "Ascend910"),
        (9, 1, "Ascend910"),
    ]


def test_ascend_a_log_in_front_of_every_line_changes_nothing() -> None:
    source = text("ascend", "910c_busy.txt")
    logged = "".join(f"Nov 21 12:00:01 gpu7 collect[99]: {line}\n" for line in source.splitlines())
    assert ascend(logged).cards == ascend(source).cards
    quoted = "".join(f"> {line}\n" for line in source.splitlines())
    assert ascend(quoted).cards == ascend(source).cards


# ---- Cambricon


def test_cambricon_virtual_memory_is_not_the_cards() -> None:
    first, second = read("cambricon", "table_4.txt").cards
    assert value(first, "memory_used_bytes", "memory_total_bytes") == (5120 * MIB, 16384 * MIB)
    assert (first.model, first.extra["firmware_version"], first.pci_address) == ("MLU270-X5K", "v1.1.4", None)
    assert value(first, "fan_ratio") == (0.0,)
    assert (first.extra["ecc_errors"], second.extra["ecc_errors"]) == (0, 2)
    assert first.processes == [{"pid": 20114, "name": "python3 serve.py", "memory_used_bytes": 4981 * MIB}]
    assert second.processes == []


def test_cambricon_not_available_is_not_zero() -> None:
    first, second = read("cambricon", "table_5_busy.txt").cards
    assert value(first, "power_watts", "power_limit_watts", "temperature_celsius") == (402, 550, 58)
    assert "fan_ratio" not in first.values
    assert [process["pid"] for process in first.processes or ()] == [101934, 101935]
    assert [process["name"] for process in first.processes or ()] == ["python", "python train.py 8"]
    assert "utilization_ratio" not in second.values and "ecc_errors" not in second.extra
    assert "temperature_celsius" not in second.values and "fan_ratio" not in second.values


def test_cambricon_info_tells_a_broken_card() -> None:
    decoded = read("cambricon", "info.txt")
    (card,) = decoded.cards
    assert (card.index, card.pci_address, card.serial) == (3, "0000:0f:00.0", "0b4000123456")
    assert value(card, "health", "health_detail", "utilization_ratio") == ("critical", "In Problem", None)
    assert (decoded.driver_version, card.processes) == ("5.10.31", None)


# ---- Moore Threads


def test_mthreads_table_with_processes_and_a_masked_bus() -> None:
    decoded = read("mthreads", "table.txt")
    first, second = decoded.cards
    assert decoded.driver_version == "3.0.0"
    assert value(first, "utilization_ratio", "memory_used_bytes", "temperature_celsius") == (
        0.97,
        41022 * MIB,
        68,
    )
    assert first.extra == {"device_type": "Physical", "ecc_mode": "Enabled"}
    assert [process["pid"] for process in first.processes or ()] == [77123, 77200]
    assert second.pci_address is None and "utilization_ratio" not in second.values
    assert (second.partition_mode, second.values["pcie_width"]) == ("mpc", 8)
    assert decoded.notes == ["masked: bus ids are overwritten"]


def test_mthreads_blanks_collapsed_read_the_same() -> None:
    source = text("mthreads", "table.txt")
    collapsed = "\n\n".join(" ".join(line.split()) for line in source.splitlines())
    assert mthreads(collapsed).cards == read("mthreads", "table.txt").cards


def test_mthreads_a_performance_column_is_read_where_there_is_one() -> None:
    source = text("mthreads", "table.txt")
    newer = source.replace("     Physical       |", "     Physical  P0   |")
    (card, _) = mthreads(newer).cards
    assert (card.values["performance_state"], card.extra["device_type"]) == ("P0", "Physical")
    behind = source.replace("|97%   41022MiB(49152MiB)", "|97%   41022MiB(49152MiB)   |P2")
    assert mthreads(behind).cards[0].values["performance_state"] == "P2"


def test_mthreads_json_and_text_say_the_same() -> None:
    first, second = read("mthreads", "query.json").cards
    assert value(first, "power_watts", "power_limit_watts", "pcie_generation", "pcie_width") == (
        301.25,
        450,
        4,
        8,
    )
    assert value(first, "ecc_corrected", "ecc_uncorrected", "memory_ratio") == (3, 0, 0.83)
    assert first.processes == [{"pid": 77123, "name": "python3", "memory_used_bytes": 40110 * MIB}]
    assert second.values == {"memory_total_bytes": 49152 * MIB}
    printed = read("mthreads", "query.txt").cards
    assert [card.uuid for card in printed] == [first.uuid, second.uuid]
    assert value(printed[0], "power_watts", "utilization_ratio", "memory_used_bytes") == value(
        first, "power_watts", "utilization_ratio", "memory_used_bytes"
    )


def test_mthreads_json_cut_in_the_middle_keeps_the_cards_before_it() -> None:
    source = text("mthreads", "query.json")
    cut = source[: source.index('"Product Name": "MTT S4000",\n            "GPU UUID": "bbb')]
    decoded = mthreads(cut)
    assert decoded.cards[0].uuid == "aaaaaaaa-0000-1111-2222-333333333333"
    assert "truncated JSON" in decoded.notes


def test_another_makers_query_is_refused() -> None:
    with pytest.raises(BadInput, match="another maker"):
        mthreads('{"driver version": "1", "gpu": [{"product name": "B200", "uuid": "x"}]}')


# ---- all of them


@pytest.mark.parametrize("maker", sorted(DECODERS))
@pytest.mark.parametrize(
    "nothing", ["", "hello\nworld\n", "\x00\xff", "| a | b |\n", "{}", "[1, 2]", '"x": {']
)
def test_what_is_not_the_tools_is_refused_with_a_reason(maker: str, nothing: str) -> None:
    with pytest.raises(BadInput, match=r"\w+"):
        DECODERS[maker](nothing)


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_line_ends_and_log_noise_change_nothing(path: Path) -> None:
    decoder, source = DECODERS[path.parent.name], path.read_text(encoding="utf-8")
    noisy = "[INFO tool] starting\r\n" + source.replace("\n", "\r\n") + "\r\nroot@host:~# "
    assert decoder(noisy).cards == decoder(source).cards


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.parametrize("filler", [" " * 20_000, "9" * 20_000, "x" * 20_000, "|" * 20_000])
def test_an_endless_line_costs_itself_alone(path: Path, filler: str) -> None:
    """Patterns that grow with the square of a line's length would not end here within the test's time."""
    decoder, source = DECODERS[path.parent.name], path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        source = f"{filler}\n{source}"
    else:
        source = f"{source}\n{filler}\n"
    assert decoder(source).cards == decoder(path.read_text(encoding="utf-8")).cards


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 1 << 32), which=st.integers(0, 1 << 16))
def test_no_mutation_raises_anything_but_bad_input(seed: int, which: int) -> None:
    path = ALL[which % len(ALL)]
    source, chance = path.read_text(encoding="utf-8"), random.Random(seed)
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(source) + 1)
        end = min(len(source), start + chance.choice((0, 1, 3, 40, 400)))
        middle = chance.choice(
            ("", "|", "\n", "{", "}", '"', "x", "9" * 30, "-", ":", "N/A", "\t", source[end : end + 60])
        )
        source = source[:start] + middle + source[end:]
    try:
        decoded = DECODERS[path.parent.name](source)
    except BadInput:
        return
    assert decoded.maker == path.parent.name
    for card in decoded.cards:
        for key, number in card.values.items():
            assert isinstance(number, str) or number == number, key
