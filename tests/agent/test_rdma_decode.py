"""Recorded RDMA outputs: every number found, and what a text does not say is None."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.agent.rdma_tree import FIXTURES

from ullage_agent.sources.rdma_decode import decode
from ullage_contract.catalogue import keys
from ullage_contract.errors import BadInput
from ullage_contract.sample import Family

SHARED = Path(os.environ.get("ULLAGE_SHARED", Path(__file__).parents[2] / "../shared")) / "recordings/rdma"
NOT_IN_THE_TEXT = {"note", "reading"}
"""Remarks of whoever recorded it."""


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def test_a_sysfs_dump() -> None:
    decoded = decode(fixture("ib400_four_ports.txt"))
    assert decoded.extra["port_count"] == 4
    assert decoded.extra["saturated"] == ["link_downed"]
    port = decoded.ports[0]
    assert (port["device"], port["port"], port["state"], port["phys_state"]) == (
        "mlx5_0",
        1,
        "ACTIVE",
        "LinkUp",
    )
    assert (port["rate_gbps"], port["tx_bytes"], port["fw_ver"]) == (400.0, 51200100200 * 4, "28.41.1000")
    assert port["hw"]["np_cnp_sent"] is None and port["hw"]["roce_adp_retrans"] == 3
    assert decoded.ports[2]["errors"]["link_downed"] == 255
    assert decoded.ports[2]["saturated"] == ["link_downed"]
    assert decoded.ports[3]["width_lanes"] == 2


def test_the_same_dump_as_grep_prints_it() -> None:
    lines = fixture("ib400_four_ports.txt").splitlines()
    grep = "\n".join("/sys/class/infiniband/" + line.replace(": ", ":", 1) for line in lines)
    assert decode(grep).ports == decode(fixture("ib400_four_ports.txt")).ports


def test_no_pma_is_none() -> None:
    decoded = decode(fixture("iwarp_no_pma.txt"))
    (port,) = decoded.ports
    assert set(port["errors"].values()) == {None}
    assert port["tx_bytes"] is None and port["rate_gbps"] == 10.0
    assert any("absent, not 0" in note for note in decoded.notes)


def test_a_saturated_data_counter_is_taken_from_counters_ext() -> None:
    first, second = decode(fixture("old_two_ports.txt")).ports
    assert first["xmit_data_bytes"] == 8589934592 * 4
    assert first["saturated"] == ["port_xmit_wait"]
    assert (second["state"], second["phys_state"]) == ("DOWN", "Polling")


def test_show_counters_and_what_stands_out() -> None:
    decoded = decode(fixture("show_counters.txt"))
    assert decoded.extra["hw"]["rx_write_requests"] == 4000000000
    assert "lifespan" not in decoded.extra["hw"]
    assert decoded.ports[0]["out_of_sequence"] == 33
    assert any("resp_cqe_error minus its flushes: 10" in note for note in decoded.notes)


def test_ethtool_of_mlx5_and_bnxt() -> None:
    mlx5 = decode(fixture("ethtool_mlx5.txt")).extra
    assert (mlx5["tx_bytes_port"], mlx5["rx_pfc_frames"], mlx5["rx_bad_fcs"]) == (987654321, 1200, 1)
    assert (mlx5["prio3_rx_pause_us"], mlx5["prio3_tx_pause_us"], mlx5["netdev"]) == (34567, 10, None)
    assert decode(fixture("ethtool_mlx5.txt"), lossless_priority=0).extra["prio0_rx_pause_us"] == 0
    bnxt = decode(fixture("ethtool_bnxt.txt")).extra
    assert (bnxt["rx_pause"], bnxt["rx_pfc_frames"], bnxt["prio3_rx_pause_us"]) == (1, 30, 1500000)
    assert bnxt["tx_bytes_port"] is None


def test_rdma_link_and_statistic() -> None:
    up, down = decode(fixture("rdma_link.txt")).ports
    assert (up["device"], up["state"], up["phys_state"], up["netdev"]) == (
        "mlx5_0",
        "ACTIVE",
        "LINK_UP",
        "ens1f0np0",
    )
    assert (down["state"], down["phys_state"], down["netdev"]) == ("DOWN", "POLLING", None)
    (text,) = decode(fixture("rdma_statistic.txt")).ports
    assert (text["out_of_buffer"], text["np_cnp_sent"], text["tx_bytes"]) == (7, 8, None)
    (ionic,) = decode(fixture("rdma_statistic_ionic.json")).ports
    assert (ionic["tx_bytes"], ionic["out_of_sequence"], ionic["cnp_rx"]) == (4096000, 9, 3)
    link = json.dumps([{"ifname": "mlx5_0", "port": 1, "state": "ACTIVE", "physical_state": "LINK_UP"}])
    assert decode(link).ports[0]["phys_state"] == "LINK_UP"


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.[tj]*")))
def test_catalogue_values_fit_the_catalogue(name: str) -> None:
    known = keys(Family.PORT)
    for port in decode(fixture(name)).ports:
        for key, value in port.items():
            if key in known and key != "state" and value is not None:
                assert known[key].type.value == ("text" if isinstance(value, str) else known[key].type.value)
                assert isinstance(value, str) or value >= 0


@pytest.mark.parametrize(
    "text", ["", "   \n", "[{", "{}", "[1]", "hello\nworld\n", "NIC statistics:\n", "\x00" * 50]
)
def test_what_is_not_ours_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*.[tj]*")))
def test_a_torn_text_gives_less_or_is_refused_but_never_crashes(name: str) -> None:
    text = fixture(name)
    for end in range(0, len(text), max(1, len(text) // 97)):
        try:
            decode(text[:end])
        except BadInput:
            pass


def _differences(expected: Any, found: Any, path: str = "") -> list[str]:
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return [f"{path}: {found!r}"]
        return [
            line
            for key, value in expected.items()
            if key not in NOT_IN_THE_TEXT
            for line in _differences(value, found.get(key, "absent"), f"{path}.{key}")
        ]
    if isinstance(expected, list):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return [f"{path}: {found!r}"]
        return [
            line for i, value in enumerate(expected) for line in _differences(value, found[i], f"{path}[{i}]")
        ]
    return [] if expected == found else [f"{path}: {expected!r} != {found!r}"]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}; set ULLAGE_SHARED")
def test_real_recordings_are_read_whole() -> None:
    """Every expected field, but the two names that only the file's name tells."""
    differences = []
    for expected in sorted(SHARED.glob("*.expected.json")):
        decoded = decode(expected.with_name(expected.name.replace(".expected.json", ".txt")).read_text())
        found = {"ports": list(decoded.ports), **decoded.extra}
        differences += [
            f"{expected.name}{line}" for line in _differences(json.loads(expected.read_text()), found)
        ]
    assert differences == [
        "amd_ainic_ethtool_S_enp68s0.expected.json.netdev: 'enp68s0' != None",
        "roce_bond_show_counters.expected.json.tool: 'show_counters mlx5_bond_0' != 'show_counters'",
        "roce_bond_show_counters.expected.json.device: 'mlx5_bond_0' != None",
    ]
