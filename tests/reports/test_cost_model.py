"""docs/cost-model.md is run: every worked example comes out as the page says, to the cent."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ullage_reports.settle.reader import read_world
from ullage_reports.settle.statement import settle
from ullage_reports.settle.world import POLICIES

PAGE = Path(__file__).parents[2] / "docs" / "cost-model.md"
FENCE = re.compile(r"^```([^\n`]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = ("json settle", "pycon")
"""Marks of blocks that are run. A block without a mark is a formula; toml and sql are shown alone."""


@dataclass(frozen=True)
class Example:
    kind: str
    line: int
    text: str


def examples() -> Iterator[Example]:
    text = PAGE.read_text("utf-8")
    for found in FENCE.finditer(text):
        yield Example(found[1].strip(), text.count("\n", 0, found.start()) + 1, found[2])


def of(kind: str) -> list[Any]:
    return [pytest.param(e, id=f"line-{e.line}") for e in examples() if e.kind == kind]


def lines(given: dict[str, Any], policy: str | None) -> list[tuple[str, str, str]]:
    """Department, class and cost of the statement's lines."""
    world = read_world(json.dumps(given), PAGE.name)
    assert world.ignored == (), "every key of an example is read"
    if policy:
        world = world.with_policy(*policy.split("=", 1))
    found = settle(world)[-1]
    return sorted((line.department, line.cost_class, format(line.cost, "f")) for line in found.lines)


@pytest.mark.parametrize("example", of("json settle"))
def test_a_worked_example_comes_out_to_the_cent(example: Example) -> None:
    given = json.loads(example.text)
    expected, under = given.pop("expected"), given.pop("under", {})
    assert lines(given, None) == sorted(map(tuple, expected))
    total = sum(Fraction(cost) for *_, cost in expected)
    for policy, other in under.items():
        assert lines(given, policy) == sorted(map(tuple, other)), policy
        assert sum(Fraction(cost) for *_, cost in other) == total, (
            f"{policy}: a policy moves money, it makes none"
        )


@pytest.mark.parametrize("example", of("pycon"))
def test_what_the_page_prints_is_what_python_prints(example: Example) -> None:
    """Blocks of a page share their names, as a reader's session would: each is run after those above it."""
    session: dict[str, Any] = {"Decimal": Decimal, "Fraction": Fraction}
    before = "".join(e.text for e in examples() if e.kind == "pycon" and e.line <= example.line)
    test = doctest.DocTestParser().get_doctest(before, session, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL, verbose=False)
    told: list[str] = []
    runner.run(test, out=told.append)
    assert not told, "".join(told)


def test_every_policy_that_can_be_chosen_has_an_example() -> None:
    text = PAGE.read_text("utf-8")
    shown = {
        policy
        for e in examples()
        if e.kind == "json settle"
        for policy in json.loads(e.text).get("under", {})
    }
    for name in (
        "unallocated_idle",
        "faulty",
        "mig_weight",
        "oversubscription",
        "allocated_idle",
        "borrowing",
    ):
        assert f"`{name}`" in text
        for word in POLICIES[name][1:]:
            said_otherwise = word in ("tenant_pays_until_release", "platform_pays_idle")
            assert said_otherwise or f"{name}={word}" in shown, f"{name}={word}"


def test_a_block_of_the_page_is_of_a_kind_that_is_known() -> None:
    assert {e.kind for e in examples()} <= {*KINDS, "toml", "sql", "text", "json"}
