"""A gap or a rule without end is bad input, and long ones that are taken take no time: found by fuzzing."""

from __future__ import annotations

import importlib
import time

import pytest

from ullage_agent.commands.decode import checked
from ullage_contract.errors import BadInput

SECONDS = (
    2.0  # processor time, as the fuzzer's limit; the texts below took 1 to 7 of them for less than 120 KB
)


@pytest.mark.parametrize("text", [" " * 60_000, "\t \t" * 200, "[" * 113_000, "-" * 5_000, "a\n" + " " * 501])
def test_what_no_tool_prints_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(BadInput, match=rf"line {text.count(chr(10)) + 1} has a run of"):
        checked(lambda _: pytest.fail("it was decoded"), text)


def test_the_widest_rule_of_a_real_tool_is_no_damage() -> None:
    with pytest.raises(BadInput, match="mine"):
        checked(_refuse, f"|{'-' * 173}|\n|{' ' * 86}|\n")


def _refuse(text: str) -> None:
    raise BadInput("mine")


@pytest.mark.parametrize(
    ("maker", "text"),
    [
        ("amd", "        COMPUTE_PARTITION: CPX    ASIC:\n" + " " * 62_000 + "x\n"),
        ("hygon", "[" * 113_000 + "\n"),
        ("biren", " " * 63_000 + "\n"),
        ("qualcomm", "QID 0\n" + ("Status" + " " * 260 + "x\n") * 270),
        ("cambricon", "Processes:\n" + ("| 0 /" + "\t " * 60 + "7" + "\t 1" * 60 + "\n") * 25),
    ],
)
def test_each_decoder_by_itself_ends_soon(maker: str, text: str) -> None:
    decode = importlib.import_module(f"ullage_agent.backends.{maker}.decode").decode
    began = time.process_time()
    try:
        decode(text)
    except BadInput:
        pass
    assert time.process_time() - began < SECONDS


def test_many_runs_just_short_of_damage_take_no_time() -> None:
    text = "\n".join("9" * 300 + "a" * 4000 + " " * 499 for _ in range(40))
    began = time.process_time()
    with pytest.raises(BadInput, match="mine"):
        checked(_refuse, text)
    assert time.process_time() - began < SECONDS
