"""The NVIDIA decoder says what the text says, and nothing where the text says nothing."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.recording_fields import compare

from ullage_agent.backend import Decoded
from ullage_agent.backends.nvidia.decode import decode
from ullage_agent.backends.nvidia.kernel import PATTERNS, xids
from ullage_agent.sources import kernel_log
from ullage_contract.catalogue import THROTTLE_REASONS
from ullage_contract.errors import BadInput
from ullage_contract.event import KINDS, Severity

FIXTURES = Path(__file__).parent.parent / "fixtures" / "nvidia"
TEXTS = sorted(p for p in FIXTURES.iterdir() if p.suffix in (".txt", ".xml", ".csv"))
MIB = 1 << 20


def read(name: str) -> Decoded:
    return decode((FIXTURES / name).read_text(encoding="utf-8"))


def bits(*words: str) -> int:
    return sum(1 << THROTTLE_REASONS.index(word) for word in words)


def test_a_table_of_an_older_driver() -> None:
    decoded = read("table_470.txt")
    assert (decoded.driver_version, decoded.format, len(decoded.cards)) == ("470.57.02", "table", 2)
    first, second = decoded.cards
    assert first.values == {
        "ecc_uncorrected": 2,
        "temperature_celsius": 41.0,
        "performance_state": "P0",
        "power_watts": 68.0,
        "power_limit_watts": 300.0,
        "memory_used_bytes": 1024 * MIB,
        "memory_total_bytes": 32510 * MIB,
        "utilization_ratio": 0.17,
    }
    assert first.processes == () and first.partition_mode is None
    assert second.pci_address == "ab01:5e:00.0"  # a domain wider than usual is kept
    assert not {"power_watts", "power_limit_watts", "ecc_uncorrected"} & set(second.values)
    assert second.values["utilization_ratio"] == 0.0
    assert any("cut by the table" in note for note in decoded.notes)


def test_a_table_without_instance_columns() -> None:
    card = read("table_390.txt").cards[0]
    assert card.values["fan_ratio"] == 0.23
    assert [(p["pid"], p["name"], p["memory_used_bytes"]) for p in card.processes or ()] == [
        (1234, "python train.py", 517 * MIB),
        (2345, "/usr/lib/xorg/Xorg", 9 * MIB),
    ]


def test_a_lost_card_is_named_and_errors_are_no_numbers() -> None:
    decoded = read("table_610_lost.txt")
    assert decoded.driver_version == "610.10"
    assert [card.index for card in decoded.cards] == [0, 2]
    assert decoded.extra["lost"] == [{"index": 1, "pci_bdf": "0000:34:00.0", "why": "Unknown Error"}]
    assert decoded.cards[1].values == {"memory_used_bytes": 0, "memory_total_bytes": 97887 * MIB}
    assert decoded.cards[1].processes == ()


def test_rows_quoted_without_their_head_and_a_card_whose_name_is_an_error() -> None:
    rows = """
    +-------------------------------+----------------------+----------------------+
    |   4  NVIDIA A40          On   | 00000000:44:00.0 Off |                    0 |
    |  0%   30C    P8    14W / 300W |      0MiB / 46068MiB |      0%      Default |
    |                               |                      |             Disabled |
    +-------------------------------+----------------------+----------------------+
    |   5  ERR!                On   | 00000000:83:00.0 Off |                 ERR! |
    |ERR!  ERR! ERR!    ERR! / ERR! |      0MiB / 46068MiB |    ERR!      Default |
    |                               |                      |                 ERR! |
    +-------------------------------+----------------------+----------------------+
    """
    decoded = decode(rows)
    good, bad = decoded.cards
    assert decoded.driver_version is None
    assert (good.index, good.model, good.partition_mode) == (4, "NVIDIA A40", "none")
    assert good.values["power_watts"] == 14.0 and good.values["fan_ratio"] == 0.0
    assert (bad.index, bad.model, bad.pci_address) == (5, None, "0000:83:00.0")
    assert set(bad.values) == {"memory_used_bytes", "memory_total_bytes"}
    assert good.processes is None


def test_memory_of_one_gpu_instance_is_marked_as_shared() -> None:
    card = read("table_mig.txt").cards[0]
    assert card.partition_mode == "mig"
    assert "utilization_ratio" not in card.values and "ecc_uncorrected" not in card.values
    assert [(s["gi"], s["ci"], s["device"], s["sm"], s["ecc_uncorrected"]) for s in card.slices] == [
        (1, 0, 0, 14, 0),
        (1, 1, 1, 28, 1),
        (5, 0, 2, 28, 0),
    ]
    assert card.extra["memory_shared_between"] == [[0, 1]]
    assert (card.processes or ())[0]["gi"] == 1


def test_the_long_text() -> None:
    decoded = read("query_580.txt")
    card = decoded.cards[0]
    assert decoded.extra["attached_gpus"] == 2 and any("2 attached" in n for n in decoded.notes)
    assert card.uuid == "GPU-aaaaaaaa-0000-1111-2222-000000000001"
    assert card.processes == ()
    values = card.values
    assert values["throttle_reasons"] == bits("software_power_cap", "hardware_slowdown", "hardware_thermal")
    assert values["throttle_power_seconds"] == pytest.approx(1.0)
    assert values["throttle_thermal_seconds"] == pytest.approx(0.5)
    assert values["throttle_hardware_seconds"] == pytest.approx(0.7)
    assert (values["ecc_corrected"], values["ecc_uncorrected"]) == (11, 25)
    assert (values["ecc_corrected_lifetime"], values["ecc_uncorrected_lifetime"]) == (105, 200)
    assert (values["sram_ecc_corrected"], values["sram_ecc_uncorrected"]) == (1, 5)
    assert (values["retired_pages"], values["remap_pending"], values["remap_failure"]) == (5, 1, 0)
    assert (values["power_watts"], values["power_instant_watts"]) == (240.10, 251.99)
    assert (values["pcie_generation"], values["pcie_width"], values["pcie_width_max"]) == (3, 8, 16)
    assert values["reset_required"] == 1 and values["fabric_state"] == "failed"
    assert values["temperature_limit_celsius"] == 89.0
    assert "utilization_ratio" not in values and "fan_ratio" not in values
    assert card.slices[0]["values"]["memory_used_bytes"] == 19 * MIB and card.slices[0]["sm"] == 42


def test_xml_with_a_dead_card() -> None:
    decoded = read("query_v13.xml")
    alive, dead = decoded.cards
    assert decoded.driver_version == "610.10" and decoded.extra["cuda_version"] == "13.3"
    assert alive.values["recovery_action"] == "drain_and_reset"
    assert alive.values["throttle_reasons"] == bits("hardware_power_brake")
    assert alive.values["memory_used_bytes"] == 0  # the text says 0: a value
    assert alive.partition_mode == "none"
    assert alive.extra["minor_number"] == 3
    assert (alive.processes or ())[0]["memory_used_bytes"] == 512 * MIB
    assert (dead.model, dead.uuid, dead.serial, dict(dead.values)) == (None, None, None, {})
    assert dead.pci_address == "0000:0b:00.0"


def test_xml_of_a_card_that_retires_pages() -> None:
    card = read("query_v11_pages.xml").cards[0]
    assert (card.values["ecc_corrected"], card.values["ecc_uncorrected"]) == (9, 1)
    assert (card.values["retired_pages"], card.values["retired_pages_corrected"]) == (3, 2)
    assert card.extra["retired_pages_pending"] is True and "remap_pending" not in card.values
    assert card.values["power_limit_watts"] == 250.0
    assert card.processes is None  # an empty section is also what a container sees of others


def test_xml_that_breaks_off_keeps_its_whole_cards() -> None:
    text = (FIXTURES / "query_v13.xml").read_text(encoding="utf-8")
    decoded = decode(text[: text.index('<gpu id="00000000:0B') + 80])
    assert len(decoded.cards) == 1 and any("breaks off" in note for note in decoded.notes)


def test_xml_with_entities_is_refused() -> None:
    bomb = '<!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa">]><nvidia_smi_log>&a;</nvidia_smi_log>'
    with pytest.raises(BadInput, match="entities"):
        decode(bomb)


def test_csv_in_a_loop_is_samples_and_the_last_row_is_the_card() -> None:
    decoded = read("query_nounits.csv")
    assert len(decoded.samples) == 4 and decoded.extra["samples"] == 2
    first, lost = decoded.cards
    assert first.values["utilization_ratio"] == 0.93 and first.values["power_watts"] == 71.2
    assert first.values["throttle_reasons"] == bits("software_power_cap")
    assert first.values["ecc_uncorrected"] == 1 and "fan_ratio" not in first.values
    assert first.values["memory_used_bytes"] == 20100 * MIB
    assert lost.values == {"memory_total_bytes": 23034 * MIB}
    assert decoded.samples[0]["time"] == "2026/01/07 08:00:00.001"


def test_csv_without_a_head_reads_only_what_speaks_for_itself() -> None:
    cards = read("query_noheader.csv").cards
    assert [(c.index, c.pci_address, c.uuid) for c in cards] == [
        (0, "0000:65:00.0", "GPU-dddddddd-0000-1111-2222-000000000004"),
        (1, "0000:ca:00.0", "GPU-dddddddd-0000-1111-2222-000000000005"),
    ]
    with pytest.raises(BadInput, match="head"):
        decode("0, 55, 93\n1, 44, 12\n")


def test_compute_applications_with_commas_in_names() -> None:
    cards = read("applications.csv").cards
    assert [len(card.processes or ()) for card in cards] == [2, 1]
    first = (cards[0].processes or ())[0]
    assert (first["name"], first["memory_used_bytes"]) == ("python train.py, lr=1, 2", 20000 * MIB)
    assert (cards[0].processes or ())[1] == {"pid": 4712, "name": None, "memory_used_bytes": None}


def test_a_listing_with_mig_and_a_lost_card() -> None:
    decoded = read("list.txt")
    assert [(s["profile"], s["device"]) for s in decoded.cards[0].slices] == [
        ("1g.10gb", 0),
        ("2c.3g.40gb", 1),
    ]
    assert decoded.extra["lost"][0]["pci_bdf"] == "0000:cb:00.0"


def test_links_down_are_counted_and_links_unasked_are_unknown() -> None:
    with_links, in_mig = read("nvlink.txt").cards
    assert (with_links.values["links_total"], with_links.values["links_active"]) == (3, 2)
    assert with_links.extra["gbytes_per_s_each"] == 25.0
    assert in_mig.values == {} and "links" not in in_mig.extra


def test_dcgmi_links() -> None:
    decoded = read("dcgmi_nvlink.txt")
    assert [dict(card.values) for card in decoded.cards] == [
        {"links_total": 4, "links_active": 2},
        {"links_total": 4, "links_active": 4},
    ]
    assert decoded.extra["nvswitches"] == [{"index": 8, "links_total": 8, "links_active": 4}]


def test_dmon_rows() -> None:
    decoded = read("dmon.txt")
    assert (len(decoded.samples), decoded.extra["samples"]) == (4, 2)
    busy, silent = decoded.samples[:2]
    assert busy["power_watts"] == 72.0 and busy["pcie_rx_bytes_per_second"] == 120e6
    assert busy["memory_used_bytes"] == 20100 * MIB and busy["ecc_uncorrected"] == 0
    assert "memory_temperature_celsius" not in busy
    assert silent == {"date": 20260107, "time": "08:00:00", "index": 1} or silent["index"] == 1
    assert "power_watts" not in silent
    assert decoded.extra["units"]["pwr"] == "W" and decoded.extra["units"]["temp"] == "C"


def test_pmon_rows_without_a_process_are_no_processes() -> None:
    decoded = read("pmon.txt")
    assert [row["pid"] for row in decoded.samples] == [4711, 4711]
    assert decoded.samples[0]["command"] == "python -u train"
    assert decoded.samples[0]["process_utilization_ratio"] == 0.55
    assert decoded.extra["rows_per_sample"] == 2


def test_every_style_of_kernel_log_stamp() -> None:
    text = (FIXTURES / "dmesg_styles.txt").read_text(encoding="utf-8")
    now = datetime(2025, 3, 1, tzinfo=UTC).timestamp()
    decoded = kernel_log.decode(text, PATTERNS, maker="nvidia", now=now)
    at = {(e.code, e.attributes.get("link")): e for e in decoded.events}
    stamp = datetime(2025, 2, 23, 16, 24, 18, tzinfo=UTC).timestamp()
    assert at["31", None].attributes["uptime_seconds"] == pytest.approx(100.000001)
    assert at["31", None].attributes["channels"] == "00000008"
    assert at["48", None].time == stamp
    assert "pid" not in at["48", None].attributes and "process" not in at["48", None].attributes
    assert at["94", None].attributes["uptime_seconds"] == 200.5
    assert at["63", None].time == stamp + 2.25 - 3600
    assert at["8", None].time == stamp + 3.5 - 3600
    assert at["8", None].attributes["pci_address"] == "0000:3f:00.0"
    assert at["119", None].time == stamp + 4
    assert at["95", None].attributes["gpu_instance"] == "05"
    assert at["95", None].attributes["kernel_sequence"] == 1234
    assert at["149", 7].severity is Severity.WARNING and at["149", 7].attributes["fatal"] == 0
    assert at["149", 8].severity is Severity.CRITICAL and at["149", 8].attributes["fatal"] == 1
    assert at["154", None].attributes["recovery"] == "GPU Reset Required"
    assert at["12028", 32].kind == "sxid" and at["12028", 32].attributes["switch"] == 3
    assert at[None, None].attributes["name"] == "FALLEN_OFF_THE_BUS"
    assert len(decoded.events) == 12 and decoded.extra["detail_lines"] == 1


def test_the_xid_table_knows_what_people_ask_first() -> None:
    table = xids()
    assert table[79].severity is Severity.FATAL and table[79].klass == "isolate_restart"
    assert {table[c].klass for c in (46, 62, 64, 95, 109, 119, 120, 140)} == {"isolate_reset"}
    assert {table[c].severity for c in (48, 74, 95, 140, 119, 120)} == {Severity.CRITICAL}
    assert table[13].klass == table[31].klass == "application"
    assert table[63].klass == "log" and table[63].severity is Severity.WARNING
    assert all(pattern.kind in KINDS for pattern in PATTERNS)


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_a_text_cut_anywhere_is_read_or_refused_and_never_crashes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    step = max(1, len(text) // 60)
    for end in range(0, len(text), step):
        try:
            decoded = decode(text[:end])
        except BadInput:
            continue
        assert isinstance(decoded, Decoded)


@pytest.mark.parametrize("text", ["", "   \n", "hello", "a,b,c\n1,2,3", "{}", "<xml/>", "\x00" * 100])
def test_a_text_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


def test_windows_line_ends_and_colours_do_not_matter() -> None:
    text = (FIXTURES / "table_470.txt").read_text(encoding="utf-8")
    noisy = "\ufeff\x1b[0m" + text.replace("\n", "\r\n")
    assert decode(noisy) == decode(text)


def test_recordings_of_real_tools_decode_to_what_readers_found() -> None:
    shared = Path(os.environ.get("ULLAGE_SHARED", Path(__file__).parents[3] / "shared"))
    folder = shared / "recordings" / "nvidia"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set ULLAGE_SHARED")
    differences = []
    for path in sorted(folder.glob("*.txt")):
        expected = json.loads(path.with_name(path.stem + ".expected.json").read_text(encoding="utf-8"))
        result = compare(expected, decode(path.read_text(encoding="utf-8", errors="replace")))
        differences += [f"{path.name}: {line}" for line in result.differences]
    assert not differences
