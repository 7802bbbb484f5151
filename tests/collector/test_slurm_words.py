"""Slurm's small texts: lists of hosts, TRES, times, generic resources, scontrol's and sacctmgr's lines."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ullage_collector.allocation.slurm import gres, reports, words
from ullage_collector.allocation.slurm.gres import Gres
from ullage_contract.errors import BadInput


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("g1", ["g1"]),
        ("g[1-3,05]-ib0", ["g1-ib0", "g2-ib0", "g3-ib0", "g05-ib0"]),
        ("g[08-11]", ["g08", "g09", "g10", "g11"]),
        ("r[1-2]n[1-2],login1", ["r1n1", "r1n2", "r2n1", "r2n2", "login1"]),
        ("a,b , c", ["a", "b", "c"]),
        ("", []),
        ("(null)", []),
        ("None assigned", []),
        (None, []),
    ],
)
def test_lists_of_hosts_are_written_out(written: str | None, hosts: list[str]) -> None:
    assert words.hosts(written) == hosts


@pytest.mark.parametrize(
    "written", ["g[1-3", "g1-3]", "g[3-1]", "g[a-b]", "g[1-[2]]", "g[0-999999]", "a[0-999]b[0-999]"]
)
def test_what_is_no_list_of_hosts_is_refused(written: str) -> None:
    with pytest.raises(BadInput):
        words.hosts(written)


def test_no_time_has_many_words_and_zero_is_one_of_them() -> None:
    for word in ("Unknown", "None", "N/A", "0", "", "(null)", "INVALID", 0, None, -1):
        assert words.instant(word) is None
    assert words.instant("1795270101") == words.instant(1795270101) == 1795270101


def test_a_calendar_time_without_its_zone_is_refused() -> None:
    with pytest.raises(BadInput, match="SLURM_TIME_FORMAT"):
        words.instant("2026-11-01T02:30:00")


def test_tres_are_counts() -> None:
    assert words.tres("cpu=2,mem=500G,node=1,billing=2,gres/gpu=4,gres/gpu:h200=4,energy=N/A") == {
        "cpu": 2,
        "mem": 500 * 2**30,
        "node": 1,
        "billing": 2,
        "gres/gpu": 4,
        "gres/gpu:h200": 4,
    }
    assert words.tres("") == words.tres(None) == {}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("gpu:h200:4(IDX:0-2,5)", [Gres("gpu", "h200", 4, (0, 1, 2, 5))]),
        ("gpu:2(IDX:0-1)", [Gres("gpu", None, 2, (0, 1))]),
        ("gpu:2", [Gres("gpu", None, 2)]),
        ("gpu:0(IDX:N/A)", [Gres("gpu", None, 0, None)]),
        ("gpu", [Gres("gpu", None, 1)]),
        ("gpu:h200", [Gres("gpu", "h200", 1)]),
        ("gpu:h200:8(S:0-1),nic:2(S:0)", [Gres("gpu", "h200", 8), Gres("nic", None, 2)]),
        ("gres:gpu:mi300x:4", [Gres("gpu", "mi300x", 4)]),
        ("gres/gpu:4", [Gres("gpu", None, 4)]),
        ("gpu:a100:1(IDX:3),shard:2(IDX:1)", [Gres("gpu", "a100", 1, (3,)), Gres("shard", None, 2, (1,))]),
        ("shard:a100:3(3/4,0/4)", [Gres("shard", "a100", 3, parts=((0, 3, 4),))]),
        ("shard:3(0/4,1/4,2/4)", [Gres("shard", None, 3, parts=((1, 1, 4), (2, 2, 4)))]),
        ("mps:150(0:50/100,1:100/100)", [Gres("mps", None, 150, parts=((0, 50, 100), (1, 100, 100)))]),
        ("gpu:1g.10gb:2(IDX:0-1)", [Gres("gpu", "1g.10gb", 2, (0, 1))]),
        ("bandwidth:lustre:4K", [Gres("bandwidth", "lustre", 4096)]),
        ("(null)", []),
        ("", []),
    ],
)
def test_generic_resources_of_a_node(written: str, found: list[Gres]) -> None:
    assert list(gres.read(written)) == found


@pytest.mark.parametrize("written", ["gpu:2(IDX:0-1", "gpu:2(IDX:x)", ":2", "shard:1(1/0)", "gpu:2(IDX:3-1)"])
def test_what_is_no_generic_resource_is_refused(written: str) -> None:
    with pytest.raises(BadInput):
        gres.read(written)


def test_a_mig_type_is_a_share_of_a_card() -> None:
    [found] = gres.read("gpu:nvidia_h100_80gb_hbm3_3g.40gb:2")
    assert (found.mig, found.mig_share) == ("3g.40gb", Fraction(3, 7))
    [a30] = gres.read("gpu:1g.6gb:1")
    assert a30.mig_share == Fraction(1, 4)
    [whole] = gres.read("gpu:h200:2")
    assert (whole.mig, whole.mig_share) == (None, None)


def test_totals_prefer_types_that_add_up() -> None:
    assert gres.from_tres({"gres/gpu": 3, "gres/gpu:a": 1, "gres/gpu:b": 2}, gres.CARDS) == (
        Gres("gpu", "a", 1),
        Gres("gpu", "b", 2),
    )
    assert gres.from_tres({"gres/gpu": 3, "gres/gpu:a": 1}, gres.CARDS) == (Gres("gpu", None, 3),)
    assert gres.from_tres({"cpu": 4, "gres/nic": 2}, gres.CARDS) == ()
    assert gres.from_tres({"gres/shard": 3}, gres.CARDS) == (Gres("shard", None, 3),)


def test_reservations_are_read_from_one_line_each() -> None:
    said = (
        "ReservationName=r1 StartTime=1795270140 EndTime=1795273740 Duration=01:00:00 Nodes=g[1-2] NodeCnt=2 CoreCnt=128 "
        "Features=(null) PartitionName=(null) Flags=IGNORE_JOBS,SPEC_NODES TRES=cpu=128,gres/gpu=4 Users=(null) "
        "Groups=(null) Accounts=nlp,-search,vision Licenses=(null) State=ACTIVE\n"
        "ReservationName=m StartTime=1795270140 EndTime=1795273740 Nodes=g3 Flags=MAINT TRES=cpu=64 Users=root "
        "Accounts=(null)\nNo more reservations\n"
    )
    first, second = reports.reservations(said)
    assert (first.name, first.start, first.end) == ("r1", 1795270140, 1795273740)
    assert first.nodes == ("g1", "g2")
    assert first.accounts == ("nlp", "vision")
    assert first.tres == {"cpu": 128, "gres/gpu": 4}
    assert not first.maintenance
    assert (second.maintenance, second.users, second.accounts) == (True, ("root",), ())
    assert reports.reservations("No reservations in the system\n") == []


def test_nodes_say_what_they_are_configured_with() -> None:
    said = (
        "NodeName=m1 Arch=x86_64 Gres=gpu:mi300x:7 NodeAddr=127.0.0.1 OS=Linux 6.1 #1 SMP CfgTRES=cpu=64,gres/gpu=7\n"
        "NodeName=c1 Arch=x86_64 Gres=(null) NodeAddr=127.0.0.1\n"
        "NodeName=odd Arch=x86_64 Gres=gpu:2(IDX:0 NodeAddr=127.0.0.1\n"
    )
    assert reports.nodes(said) == {"m1": (Gres("gpu", "mi300x", 7),), "c1": ()}


def test_the_account_tree_becomes_paths() -> None:
    said = "root||\nroot|root|\nrd||root\nnlp||rd\nnlp|daemon|\nloop||pool\npool||loop\n"
    paths = reports.account_paths(said)
    assert paths["nlp"] == "/root/rd/nlp"
    assert paths["rd"] == "/root/rd"
    assert paths["loop"] == "/pool/loop"
