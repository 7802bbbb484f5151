"""Versions: which is older, who ran what when, and when a difference is worth telling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_collector.detect.versions import (
    Fault,
    Holding,
    Minimum,
    Rules,
    before_faults,
    below_minimum,
    default_rules,
    drift,
    drift_in_jobs,
    parse_rules,
    rules_of,
)
from ullage_collector.versions import Ran, Running, compare, spans, table
from ullage_contract.errors import ConfigError

HOUR = 3_600_000_000
NOW = 1_000 * HOUR


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("535.104.05", "550.54.15"),
        ("550.54.9", "550.54.15"),
        ("24.1.rc3", "24.1.0"),
        ("24.1.rc3", "24.1"),
        ("24.1.rc2", "24.1.rc3"),
        ("8.0.RC2.alpha001", "8.0.RC2"),
        ("8.0.RC2.alpha001", "8.0.RC2.beta1"),
        ("5.15.0-91-generic", "5.15.0-101-generic"),
        ("5.15.0-91-generic", "6.8.0-45-lowlatency"),  # decided before the words are reached
        ("v5.10.22", "5.10.23"),
        ("1.0.dev1", "1.0a1"),
        ("7.0.0.5.217", "7.1.0.1.1"),
        ("28.39.1002", "28.41.1000"),
        ("96.00.5E.00.01", "96.00.A0.00.01"),
        ("2.0", "2.0.post1"),
        ("2.0", "2.0.1"),
    ],
)
def test_the_older_is_known(older: str, newer: str) -> None:
    assert compare(older, newer) == -1
    assert compare(newer, older) == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("535.104.05", "535.104.5"),
        ("24.1", "24.1.0"),
        ("V5.10", "v5.10"),
        ("12.4 ", "12.4"),
        ("1.0rc1", "1.0.rc1"),
    ],
)
def test_two_ways_to_write_one_version_are_the_same(a: str, b: str) -> None:
    assert compare(a, b) == 0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("5.15.0-91-generic", "5.15.0-91-lowlatency"),
        ("5.15.0-91", "5.15.0-91-generic"),
        ("Ubuntu 22.04", "Rocky Linux 9.4"),
        ("", "1.0"),
        ("unknown", "1.0"),
    ],
)
def test_what_cannot_be_compared_is_neither_older_nor_newer(a: str, b: str) -> None:
    assert compare(a, b) is None


def test_a_version_of_ten_thousand_digits_is_compared_too() -> None:
    assert compare("9" * 10_000, "9" * 10_000 + ".1") == -1


VERSION = st.from_regex(
    r"[0-9]{1,3}(\.[0-9]{1,3}|\.rc[0-9]|-[0-9]{1,3}|a[0-9]){0,4}(-generic)?", fullmatch=True
)


@given(VERSION | st.text(max_size=15), VERSION | st.text(max_size=15))
def test_comparing_backwards_gives_the_opposite(a: str, b: str) -> None:
    one, two = compare(a, b), compare(b, a)
    assert (one is None) == (two is None)
    if one is not None and two is not None:
        assert one == -two


@given(
    st.lists(st.integers(0, 999), min_size=3, max_size=3),
    st.lists(st.integers(0, 999), min_size=3, max_size=3),
)
def test_plain_numbers_are_compared_as_numbers(a: list[int], b: list[int]) -> None:
    assert compare(".".join(map(str, a)), ".".join(map(str, b))) == (a > b) - (a < b)


# ---------------------------------------------------------------------------------------- who ran what when
def test_facts_become_spans_and_a_value_said_again_is_one() -> None:
    facts = [
        ("card", "G1", "driver_version", '"535"', 0),
        ("card", "G1", "driver_version", '"535"', 5),
        ("card", "G1", "driver_version", '"550"', 9),
        ("card", "G1", "driver_version", "null", 12),
        ("card", "G1", "serial", '"S1"', 0),
        ("port", "P1", "firmware_version", '"28.1"', 3),
    ]
    assert spans(facts) == [
        Ran("card", "G1", "driver", "535", 0, 9),
        Ran("card", "G1", "driver", "550", 9, 12),
        Ran("card", "G1", "driver", None, 12, None),
        Ran("port", "P1", "nic_firmware", "28.1", 3, None),
    ]


def running(
    subject: str,
    version: str,
    *,
    name: str = "driver",
    family: str = "card",
    node: str = "n1",
    group: str = "train",
    kind: str = "H800",
    vendor: str = "nvidia",
    cluster: str = "c1",
    since: int | None = None,
) -> Running:
    return Running(family, subject, cluster, node, name, version, group, kind, vendor, since)


def test_the_table_counts_versions_most_first() -> None:
    rows = [
        running("G1", "550"),
        running("G2", "550"),
        running("G3", "535"),
        running("N1", "24.1", kind="910B", vendor="ascend"),
    ]
    assert table(rows) == [
        {"name": "driver", "vendor": "ascend", "kind": "910B", "total": 1, "versions": [{"version": "24.1", "count": 1}]},
        {
            "name": "driver",
            "vendor": "nvidia",
            "kind": "H800",
            "total": 3,
            "versions": [{"version": "550", "count": 2}, {"version": "535", "count": 1}],
        },
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------- in a pool
RULES = default_rules()


def test_the_node_that_differs_from_most_of_its_pool_is_told_with_its_cards() -> None:
    rows = [running(f"G{n}", "550.54.15", node=f"n{n // 2}") for n in range(6)]
    rows += [running(f"X{n}", "535.104.05", node="n9", since=7 * HOUR) for n in range(2)]
    (found,) = drift(rows, RULES, NOW)
    assert (found.kind, found.family, found.subject, found.since_us) == (
        "version_drift",
        "node",
        "n9",
        7 * HOUR,
    )
    assert found.evidence == {
        "pool": "train",
        "name": "driver",
        "model": "H800",
        "of": 8,
        "most_run": "550.54.15",
        "most": 6,
        "cluster": "c1",
        "node": "n9",
        "versions": ["535.104.05"],
        "older_or_newer": "older",
        "subjects": ["X0", "X1"],
        "count": 2,
    }


def test_pools_models_and_names_are_judged_apart() -> None:
    rows = [running(f"G{n}", "550", group="a") for n in range(3)]
    rows += [running(f"H{n}", "535", group="b") for n in range(3)]
    rows += [running(f"N{n}", "24.1", group="a", kind="910B") for n in range(3)]
    rows += [running(f"G{n}", "96.00", group="a", name="firmware") for n in range(3)]
    assert drift(rows, RULES, NOW) == []


def test_half_a_pool_is_no_majority_and_the_pool_is_told_once() -> None:
    rows = [running(f"G{n}", "550" if n % 2 else "535", node=f"n{n}") for n in range(4)]
    (found,) = drift(rows, RULES, NOW)
    assert (found.family, found.subject, found.evidence["versions"]) == (
        "pool",
        "train",
        {"535": 2, "550": 2},
    )
    assert (found.evidence["most_run"], found.since_us) == (None, NOW)  # nobody knows since when: from now


def test_two_cards_that_differ_are_not_one_odd_one() -> None:
    assert drift([running("G1", "550"), running("G2", "535")], RULES, NOW) == []


def test_a_rollout_of_the_agent_is_no_drift() -> None:
    rows = [
        running(f"n{n}", "1" if n else "2", name="agent", family="node", node=f"n{n}", kind="")
        for n in range(5)
    ]
    assert drift(rows, RULES, NOW) == []


# ---------------------------------------------------------------------------------------- in a job
def test_a_running_job_on_two_drivers_is_told_and_one_on_one_is_not() -> None:
    rows = [running("G1", "550", node="n1"), running("G2", "535", node="n2"), running("G3", "550", node="n3")]
    rows += [
        running(
            f"n{n}", "5.15.0-91" if n < 3 else "6.8.0", name="kernel", family="node", node=f"n{n}", kind=""
        )
        for n in (1, 2, 3)
    ]
    held = [
        Holding("slurm/c1/nlp/1", "G1", "c1", "n1"),
        Holding("slurm/c1/nlp/1", "G2", "c1", "n2"),
        Holding("slurm/c1/nlp/2", "G3", "c1", "n3"),
    ]
    (found,) = drift_in_jobs(rows, held, RULES, NOW)
    assert (found.family, found.subject, found.key) == ("workload", "slurm/c1/nlp/1", "driver H800")
    assert found.evidence["versions"] == {"535": ["G2"], "550": ["G1"]}
    held.append(Holding("slurm/c1/nlp/2", "G1", "c1", "n1"))
    kinds = {(f.subject, f.evidence["name"]) for f in drift_in_jobs(rows, held, RULES, NOW)}
    assert kinds == {("slurm/c1/nlp/1", "driver"), ("slurm/c1/nlp/2", "kernel")}


def test_a_card_that_says_no_version_makes_no_job_mixed() -> None:
    held = [Holding("w", "G1", "c1", "n1"), Holding("w", "G2", "c1", "n2")]
    assert drift_in_jobs([running("G1", "550")], held, RULES, NOW) == []


def test_two_makers_in_one_job_are_two_things() -> None:
    rows = [running("G1", "550"), running("N1", "24.1", kind="910B", vendor="ascend")]
    held = [Holding("w", "G1", "c1", "n1"), Holding("w", "N1", "c1", "n1")]
    assert drift_in_jobs(rows, held, RULES, NOW) == []


# ---------------------------------------------------------------------------------------- below a minimum
def rules(*minimum: Minimum) -> Rules:
    from dataclasses import replace

    return replace(RULES, minimum=minimum)


def test_below_the_sites_minimum_is_told_by_node_with_who_said_so() -> None:
    rows = [
        running("G1", "535.104.05"),
        running("G2", "550.54.15"),
        running("G3", "560.1", node="n2"),
        running("N1", "23.0", kind="910B", vendor="ascend", node="n3"),
        running("A1", "535.1", kind="A800", node="n4"),
        running("G4", "R-unknown", node="n5"),
    ]
    minimum = Minimum("driver", "550.54.15", vendor="NVIDIA", model="h*", source="bulletin 7")
    (found,) = below_minimum(rows, rules(minimum), NOW)
    assert (found.subject, found.evidence["versions"], found.evidence["because"]) == (
        "n1",
        ["535.104.05"],
        "bulletin 7",
    )
    assert found.evidence["subjects"] == ["G1"]


def test_a_minimum_is_written_in_the_collectors_settings() -> None:
    found = rules_of({"minimum": [{"name": "driver", "version": "550", "vendor": "nvidia"}]})
    assert found.minimum == (Minimum("driver", "550", "nvidia"),)
    for wrong, message in (
        ({"minimum": {}}, "write .*minimum"),
        ({"minimum": [{"name": "driver"}]}, "write the version"),
        ({"minimum": [{"name": "bios", "version": "1"}]}, "write one of driver"),
        ({"minimum": [{"name": "driver", "version": "1", "maker": "x"}]}, "no such key"),
        ({"rules": "relative"}, "absolute path"),
    ):
        with pytest.raises(ConfigError, match=message):
            rules_of(wrong)
    with pytest.raises(ConfigError, match=r"x: \[pool\] names = 'bios'"):
        parse_rules('[pool]\nnames = ["bios"]\n', "x")


# ---------------------------------------------------------------------------------------- before a fault
def ran(subject: str, *versions: tuple[str, int], name: str = "driver", family: str = "card") -> list[Ran]:
    return [Ran(family, subject, name, version, at, None) for version, at in versions]


def test_a_change_shortly_before_a_fault_is_evidence_and_never_a_verdict() -> None:
    changes = ran("G1", ("535", 0), ("550", NOW - 30 * HOUR)) + ran(
        "n1", ("5.15", 0), ("6.8", NOW - 8 * HOUR), name="kernel", family="node"
    )
    fault = Fault(7, "card", "G1", "xid-79", NOW - 7 * HOUR, "n1")
    (found,) = before_faults(changes, [fault], RULES, NOW)
    assert (found.family, found.subject, found.key, found.confidence) == ("card", "G1", "7", 0.3)
    assert [(c["subject"], c["from"], c["to"], c["hours_before"]) for c in found.evidence["changes"]] == [
        ("G1", "535", "550", 23.0),
        ("n1", "5.15", "6.8", 1.0),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        ran("G1", ("550", NOW - 8 * HOUR)),  # the first version ever seen is no change
        ran("G1", ("535", 0), ("550", NOW - 32 * HOUR)),  # a day and an hour before
        ran("G1", ("535", 0), ("550", NOW - 6 * HOUR)),  # after it
        ran("G2", ("535", 0), ("550", NOW - 8 * HOUR)),  # another card
        ran("G1", ("1", 0), ("2", NOW - 8 * HOUR), name="agent"),  # ours
    ],
)
def test_what_is_no_change_before_the_fault_is_no_evidence(changes: list[Ran]) -> None:
    assert before_faults(changes, [Fault(7, "card", "G1", "x", NOW - 7 * HOUR, None)], RULES, NOW) == []


def test_a_nodes_fault_counts_its_cards_changes_and_an_old_fault_is_left() -> None:
    changes = ran("G1", ("535", 0), ("550", NOW - 8 * HOUR))
    assert (
        len(before_faults(changes, [Fault(1, "node", "n1", "x", NOW - 7 * HOUR, "n1", ("G1",))], RULES, NOW))
        == 1
    )
    old = NOW + 8 * 24 * HOUR
    assert (
        before_faults(changes, [Fault(1, "node", "n1", "x", NOW - 7 * HOUR, "n1", ("G1",))], RULES, old) == []
    )
