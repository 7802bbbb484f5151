"""Identities: the same card is the same key on every day, whatever a tool printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_contract.errors import BadInput
from ullage_contract.identity import (
    MAX_ID_LENGTH,
    boot_id,
    card_id,
    check_id,
    machine_id,
    node_id,
    pci_address,
    port_id,
    slice_id,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000:3b:00.0", "0000:3b:00.0"),
        ("3b:00.0", "0000:3b:00.0"),
        ("3B:00", "0000:3b:00.0"),
        ("0000:3B:00", "0000:3b:00.0"),
        ("10001:02:1f.7", "10001:02:1f.7"),
        (" 0000:3b:00.1\n", "0000:3b:00.1"),
    ],
)
def test_a_pci_address_is_one_text_whatever_the_tool_printed(text: str, address: str) -> None:
    assert pci_address(text) == address
    assert pci_address(address) == address


@pytest.mark.parametrize(
    "text", ["", "nonsense", "0000:3b", "0000:3b:00.9", "0000:3g:00.0", "x:3b:00.0", "3b"]
)
def test_what_is_no_pci_address_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not of the form"):
        pci_address(text)


def test_a_card_is_named_by_uuid_then_serial_and_chip_then_place() -> None:
    everything = {"vendor": "ascend", "serial": "S1", "chip": 1, "node_id": "n1", "pci": "3b:00.0"}
    assert card_id(uuid="GPU-1", **everything) == "GPU-1"  # type: ignore[arg-type]
    assert card_id(**everything) == "ascend-S1-c1"  # type: ignore[arg-type]
    assert card_id(vendor="ascend", serial=" ", chip=1, node_id="n1", pci="3B:00.0") == "n1-0000:3b:00.0-c1"
    assert card_id(vendor="ascend", chip=1, node_id="n1") == "n1-ascend-c1"
    assert card_id(vendor="amd", serial="S1") == "amd-S1"


def test_a_serial_of_zeros_is_no_serial() -> None:
    assert card_id(vendor="amd", serial="0000000", node_id="n1", pci="3b:00.0") == "n1-0000:3b:00.0"


def test_two_chips_of_one_board_and_two_makers_with_one_serial_are_different_cards() -> None:
    assert card_id(vendor="ascend", serial="S1", chip=0) != card_id(vendor="ascend", serial="S1", chip=1)
    assert card_id(vendor="ascend", serial="S1") != card_id(vendor="hygon", serial="S1")


@pytest.mark.parametrize("known", [{}, {"node_id": "n1"}, {"pci": "3b:00.0"}, {"uuid": " ", "serial": "0"}])
def test_a_card_without_anything_of_its_own_has_no_key(known: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="no key"):
        card_id(vendor="amd", **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", ["", "a\nb", "a\x00b", "a\x7fb", "a\u202eb", "a\u2066b", "\u200fx", "x" * (MAX_ID_LENGTH + 1)]
)
def test_what_could_break_a_label_a_file_name_or_a_page_is_no_key(value: str) -> None:
    with pytest.raises(BadInput, match="cannot be a key"):
        check_id("card", value)


@given(st.text(min_size=1, max_size=MAX_ID_LENGTH))
def test_a_key_is_taken_as_it_is_or_refused(value: str) -> None:
    try:
        assert check_id("card", value) == value
    except BadInput:
        assert any(
            ord(c) < 32 or ord(c) == 127 or c in "\u200e\u200f" or "\u202a" <= c <= "\u2069" for c in value
        )


def test_parts_are_named_under_their_whole() -> None:
    assert slice_id("GPU-1", "7") == "GPU-1/7"
    assert port_id("n1", "mlx5_0", 1) == "n1/mlx5_0/1"
    with pytest.raises(BadInput):
        slice_id("x" * 199, "77")


def test_a_node_is_named_by_configuration_then_its_scheduler_then_its_host() -> None:
    both = {"NODE_NAME": "k8s-1", "SLURMD_NODENAME": "slurm-1"}
    assert node_id(configured="own", environ=both, fqdn="host.example") == "own"
    assert node_id(environ=both, fqdn="host.example") == "k8s-1"
    assert node_id(environ={"SLURMD_NODENAME": "slurm-1"}, fqdn="host.example") == "slurm-1"
    assert node_id(environ={"NODE_NAME": ""}, fqdn="host.example") == "host.example"
    assert node_id()
    with pytest.raises(BadInput):
        node_id(configured="a\nb")


def test_machine_and_boot_are_read_where_they_are_and_none_where_they_are_not(tmp_path: Path) -> None:
    assert machine_id(tmp_path) is None and boot_id(tmp_path) is None
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    random = tmp_path / "proc/sys/kernel/random"
    random.mkdir(parents=True)
    (random / "boot_id").write_text("5f0c7f8e-6a1b-4c57-9d0e-1f2a3b4c5d6e\n")
    assert machine_id(tmp_path) == "0123456789abcdef0123456789abcdef"
    assert boot_id(tmp_path) == "5f0c7f8e-6a1b-4c57-9d0e-1f2a3b4c5d6e"
    (tmp_path / "etc/machine-id").write_bytes(b"\xff\xfe")
    (random / "boot_id").write_text("\n")
    assert machine_id(tmp_path) is None and boot_id(tmp_path) is None
