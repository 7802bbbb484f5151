"""A cell longer than the csv module reads is bad input, not a crash: found by fuzzing."""

from __future__ import annotations

import importlib

import pytest

from ullage_contract.errors import BadInput

HEADS = {
    "amd": "device,Device Name,GPU ID",
    "gaudi": "index, uuid, name, driver_version, memory.total",
    "iluvatar": "index,name,uuid,memory.used [MiB]",
    "intel": "Timestamp, DeviceId, GPU Utilization (%)",
    "metax": "index,name,uuid,memory.used [MiB]",
    "nvidia": "index, name, uuid, memory.used [MiB]",
}


@pytest.mark.parametrize("maker", HEADS)
def test_a_cell_without_end_is_refused_or_passed_over(maker: str) -> None:
    decode = importlib.import_module(f"ullage_agent.backends.{maker}.decode").decode
    text = f"{HEADS[maker]}\n0,{'A' * 200_000},x\n"
    try:
        found = decode(text)
    except BadInput as e:
        assert str(e)
    else:
        assert found.maker == maker
