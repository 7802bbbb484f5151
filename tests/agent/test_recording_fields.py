"""The judge of the decoders judges fairly: null means absent, 0 means 0, and both dialects are one."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.recording_fields import compare

from ullage_agent.backend import Decoded, DecodedCard
from ullage_contract.catalogue import THROTTLE_REASONS


def decoded(**card: Any) -> Decoded:
    return Decoded(maker="x", tool="x", format="table", cards=(DecodedCard(index=0, **card),))


def wrong(expected: dict[str, Any], found: Decoded) -> list[str]:
    return compare({"cards": [{"index": 0, **expected}]}, found).differences


def test_both_dialects_mean_the_same() -> None:
    found = decoded(model="M", values={"memory_used_bytes": 3 << 20, "utilization_ratio": 0.07})
    assert wrong({"memory_used_mib": 3, "utilization_pct": 7, "name": "M"}, found) == []
    assert wrong({"memory_used_bytes": 3 << 20, "util_pct": 7, "model": "M"}, found) == []


def test_null_is_absent_and_zero_is_zero() -> None:
    silent, zero = decoded(), decoded(values={"power_watts": 0.0})
    assert wrong({"power_w": None}, silent) == [] and wrong({"power_w": 0}, zero) == []
    assert wrong({"power_w": 0}, silent) and wrong({"power_w": None}, zero)
    assert wrong({"processes": None}, silent) == [] and wrong({"processes": []}, silent)
    assert wrong({"processes": []}, decoded(processes=())) == []


def test_a_rounded_number_allows_half_of_its_last_digit_and_no_more() -> None:
    assert wrong({"memory_used_mib": 6.438}, decoded(values={"memory_used_bytes": 6750208})) == []
    assert wrong({"memory_used_mib": 6.439}, decoded(values={"memory_used_bytes": 6750208}))
    assert wrong({"power_w": 39.0}, decoded(values={"power_watts": 39.02}))


def test_addresses_words_and_reasons_are_normalised() -> None:
    bit = 1 << THROTTLE_REASONS.index("idle")
    found = decoded(pci_address="0000:3b:00.0", partition_mode="none", values={"throttle_reasons": bit})
    expected = {
        "pci_bdf": "00000000:3B:00.0",
        "partition_mode": "disabled",
        "throttle_reasons": ["gpu_idle"],
    }
    assert wrong(expected, found) == []
    assert wrong({"throttle_reasons": []}, found)


def test_extra_is_read_as_if_it_stood_on_the_card() -> None:
    found = decoded(values={"pcie_generation": 5}, extra={"board": 0})
    assert wrong({"extra": {"pcie_gen": 5, "board": 0}}, found) == []
    assert wrong({"extra": {"firmware": "1.2"}}, found) == ["cards[0].firmware: expected '1.2', we say None"]


def test_a_missing_card_is_wrong_in_every_field() -> None:
    result = compare({"cards": [{"index": 0}, {"index": 1, "power_w": 5, "health": None}]}, decoded())
    assert (result.fields, result.right) == (4, 1)


@pytest.mark.parametrize(("text", "fields"), [("eth0: up", 1), ("up", 0)])
def test_a_name_that_is_not_in_the_text_is_not_asked(text: str, fields: int) -> None:
    empty = Decoded(maker="rdma", tool="x", format="text")
    assert compare({"netdev": "eth0"}, empty, text).fields == fields
