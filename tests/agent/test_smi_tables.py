"""Tools that print after nvidia-smi's manner: mx-smi, ixsmi, xpu-smi, efsmi, brsmi. What the text says, and no more."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_agent.backend import Decoded
from ullage_contract.catalogue import keys
from ullage_contract.errors import BadInput
from ullage_contract.sample import Family

FIXTURES = Path(__file__).parent.parent / "fixtures"
MAKERS = ("metax", "iluvatar", "kunlunxin", "enflame", "biren")
TEXTS = [path for maker in MAKERS for path in sorted((FIXTURES / maker).iterdir()) if path.suffix != ".md"]
MIB = 1 << 20


def decoder(maker: str) -> Callable[[str], Decoded]:
    return import_module(f"ullage_agent.backends.{maker}.decode").decode  # type: ignore[no-any-return]


def read(maker: str, name: str) -> Decoded:
    return decoder(maker)((FIXTURES / maker / name).read_text(encoding="utf-8"))


# ---- MetaX


def test_a_board_of_two_dies_gives_its_power_once() -> None:
    decoded = read("metax", "table_2.3_board.txt")
    assert (decoded.tool, decoded.driver_version) == ("mx-smi", "3.7.11")
    assert decoded.extra == {"runtime_version": "3.6.0.8", "bios_version": "1.32.0.0"}
    assert decoded.notes == ["4 cards attached, 3 shown"]
    assert [(c.index, c.model, c.board_id, c.pci_address) for c in decoded.cards] == [
        (0, "MetaX C600", "0", "0000:0e:00.0"),
        (1, "MetaX C600", "0", "0000:0f:00.0"),
        (2, "MetaX C600", "1", "0000:2e:00.0"),
    ]
    assert [c.values.get("power_watts") for c in decoded.cards] == [411.0, None, None]
    assert decoded.cards[0].values["temperature_celsius"] == 55.0
    assert decoded.cards[1].values["performance_state"] == "P9"
    assert decoded.cards[2].values["health_detail"] == "Not Available(ECC)"
    assert decoded.cards[2].values["power_limit_watts"] == 700.0
    assert decoded.cards[0].processes == [
        {"pid": 410232, "name": "VLLM::Worker TP0", "memory_used_bytes": 900 * MIB}
    ]
    assert decoded.cards[2].processes == []


def test_a_name_over_the_bar_and_a_cut_card_keep_what_is_there() -> None:
    decoded = read("metax", "table_2.2_long_name_cut.txt")
    first, second = decoded.cards
    assert decoded.tool == "ht-smi"
    assert first.model == "Mars X301 Liquid Cooled Engineering Sample"
    assert first.pci_address == "0000:1b:00.0" and first.values["utilization_ratio"] == 0.07
    assert first.values["power_watts"] == 78.0 and "power_limit_watts" not in first.values
    assert second.pci_address == "0000:1c:00.0" and set(second.values) == {"utilization_ratio"}
    assert decoded.notes == ["1 card(s) with lines missing: the text is cut"]


def test_lists_and_subjects_are_read() -> None:
    first, second = read("metax", "list.txt").cards
    assert first.uuid == "GPU-0a1b2c3d-0000-1111-2222-333344445555"
    assert (second.index, second.values) == (3, {"health_detail": "Not Available"})
    (card,) = read("metax", "show_memory_temperature.txt").cards
    assert card.values == {
        "memory_total_bytes": 64 << 30,
        "memory_used_bytes": 846264 << 10,
        "temperature_celsius": 45.5,
        "utilization_ratio": 0.37,
        "encoder_ratio": 0.0,
    }
    assert card.serial == "TEST00000000001"


# ---- Iluvatar


def test_the_wide_table_and_its_process() -> None:
    decoded = read("iluvatar", "table_4.4_wide.txt")
    first, second = decoded.cards
    assert decoded.driver_version == "4.4.0" and decoded.extra == {"runtime_version": "10.2"}
    assert first.model == "Iluvatar MR-V100 DUO"
    assert not {"power_watts", "power_limit_watts", "fan_ratio"} & set(first.values)
    assert (second.values["power_watts"], second.values["utilization_ratio"]) == (41.0, 0.64)
    assert second.values["clock_memory_hertz"] == 1.6e9
    assert (
        second.processes == [{"pid": 77113, "name": "python3 -m serve", "memory_used_bytes": 2000 * MIB}]
        and not first.processes
    )


def test_all_ones_are_no_power_and_the_card_is_called_dead() -> None:
    decoded = read("iluvatar", "table_3.1_dead.txt")
    assert "power_watts" not in decoded.cards[1].values and "power_limit_watts" not in decoded.cards[1].values
    assert decoded.cards[0].values["fan_ratio"] == 0.12 and decoded.cards[0].processes is None
    assert decoded.notes == ["card 1 is dead (65535 W): its other figures are not real"]


def test_columns_and_trees_of_ixsmi() -> None:
    decoded = read("iluvatar", "query.csv")
    assert decoded.driver_version == "4.3.0" and decoded.format == "csv"
    first, second = decoded.cards
    assert "power_watts" not in first.values and first.values["board_power_watts"] == 104.0
    assert second.values["power_watts"] == 51.0 and second.serial == first.serial
    (card,) = read("iluvatar", "query_q.txt").cards
    assert card.values["pcie_generation"] == 3 and card.values["pcie_generation_max"] == 4
    assert card.values["memory_total_bytes"] == 32768 * MIB and "power_watts" not in card.values
    assert "health_detail" not in card.values and card.values["performance_state"] == "P0"


# ---- Kunlunxin


def test_a_card_that_answers_nothing_has_no_numbers() -> None:
    busy, silent = read("kunlunxin", "table_5.x_busy.txt").cards
    assert busy.values["ecc_uncorrected"] == 3
    assert (busy.values["power_watts"], busy.values["power_limit_watts"]) == (310.0, 400.0)
    assert busy.processes == [{"pid": 881234, "name": "python3", "memory_used_bytes": 90112 * MIB}]
    assert (silent.index, silent.values, silent.pci_address) == (5, {}, "0000:a5:00.0")


def test_the_machine_form_and_its_torn_line() -> None:
    first, second = read("kunlunxin", "machine.txt").cards
    assert (first.model, first.serial) == ("P800 OAM", "02K00TEST0000001")
    assert first.values == {
        "utilization_ratio": 0.17,
        "memory_used_bytes": 90440 * MIB,
        "memory_total_bytes": 98304 * MIB,
        "power_watts": 86.0,
        "temperature_celsius": 36.0,
        "clock_core_hertz": 1.45e9,
    }
    assert second.pci_address == "0000:05:00.0"


def test_two_devices_of_one_board_say_so() -> None:
    decoded = read("kunlunxin", "machine_k200.txt")
    assert [card.values["power_watts"] for card in decoded.cards] == [88.25, 88.25]
    assert decoded.notes == ["0000:1a:00.0: two devices of one board; power is the board's"]
    physical, virtual = read("kunlunxin", "rows_4.0_error.txt").cards
    assert physical.values["health_detail"] == "E" and "power_watts" not in physical.values
    assert virtual.pci_address == "0000:1a:00.2" and virtual.processes == [
        {"pid": 991, "name": "python", "memory_used_bytes": 96 * MIB}
    ]


def test_intels_tool_of_the_same_name_is_refused() -> None:
    text = "| XPU-SMI              | Yes                  |\n| Device Info | Yes |\n"
    with pytest.raises(BadInput):
        decoder("kunlunxin")(text)


# ---- Enflame


def test_a_lost_degree_sign_and_a_virtual_function() -> None:
    whole, virtual = read("enflame", "table_1.7.txt").cards
    assert whole.values["temperature_celsius"] == 35.0 and whole.extra["firmware"] == "40.2.8.3"
    assert virtual.pci_address == "0001:2e:00.0" and "power_watts" not in virtual.values
    assert virtual.serial == whole.serial and virtual.extra["virtualization"] == "VF"
    assert "memory_used_bytes" not in whole.values  # the column is what there is


def test_a_sick_card_and_the_json_form() -> None:
    (sick,) = read("enflame", "query_sick.txt").cards
    assert sick.pci_address == "0001:07:00.0" and sick.values["health_detail"] == "False"
    assert "power_watts" not in sick.values and sick.values["pcie_tx_bytes_per_second"] == 3 * MIB
    first, second = read("enflame", "query.json").cards
    assert first.values["memory_used_bytes"] == 2000 * MIB and first.values["health_detail"] == "True"
    assert (second.index, dict(second.values)) == (3, {"memory_total_bytes": 42976 * MIB})


# ---- Biren


def test_a_csv_needs_its_head() -> None:
    first, second = read("biren", "query.csv").cards
    assert first.values["power_watts"] == 211.5 and first.values["memory_used_bytes"] == 1021 * MIB
    assert not {"temperature_celsius", "power_watts"} & set(second.values)
    with pytest.raises(BadInput, match="noheader"):
        decoder("biren")("0, 1021 MiB\n1, 0 MiB\n")


# ---- all of them


@pytest.mark.parametrize("maker", MAKERS)
def test_a_text_of_something_else_is_refused(maker: str) -> None:
    for text in ("", "hello\n", "| a | b |\n| 1 | 2 |\n", "+---+\n", "{}", "DEV\n", "GPU#\n"):
        with pytest.raises(BadInput):
            decoder(maker)(text)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_line_ends_and_tabs_change_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    decode = decoder(path.parent.name)
    assert decode(text.replace("\n", "\r\n")) == decode(text)
    assert decode("$ some-prompt\n\n" + text + "\n[user@host ~]$ \n").cards == decode(text).cards


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_value_is_one_of_the_catalogue(path: Path) -> None:
    known = keys(Family.CARD)
    for card in decoder(path.parent.name)(path.read_text(encoding="utf-8")).cards:
        for key, value in card.values.items():
            assert key in known and not isinstance(value, bool)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_torn_text_is_read_or_refused_and_never_crashes(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(TEXTS))
    text = path.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 60)))
        middle = data.draw(
            st.one_of(
                st.text(max_size=12),
                st.sampled_from(
                    [
                        "|",
                        "\n",
                        "N/A",
                        "65535W",
                        "9" * 400,
                        "-1",
                        "1e999",
                        '"',
                        "\x00",
                        "²",
                        "٣",
                        "{",
                        "GPU#1 ",
                    ]
                ),
            )
        )
        text = text[:start] + middle + text[end:]
    try:
        decoded = decoder(path.parent.name)(text)
    except BadInput:
        return
    for card in decoded.cards:
        assert card.index is None or 0 <= card.index < 10**20
        for value in card.values.values():
            assert value is not None
