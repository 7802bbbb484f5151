"""Quotas as schedulers write them: each reader against a file written after its published API, with exact numbers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ullage_collector.quota.binding import Binder
from ullage_collector.quota.entry import QuotaEntry, Scope
from ullage_collector.quota.readers import FORMATS, Given, detect
from ullage_collector.quota.readers.objects import objects
from ullage_collector.quota.readers.plain import read_pools
from ullage_collector.quota.tree import Tree, trees
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parents[1] / "fixtures" / "quota"
CARD = 10**9
NVIDIA = Scope(vendor="nvidia")


def read(
    name: str, form: str | None = None, **more: object
) -> tuple[dict[tuple[str, Scope], QuotaEntry], object]:
    text = (FIXTURES / name).read_text(encoding="utf-8")
    form = form or detect(text, name)
    reading = FORMATS[form](text, Given(name, **more))  # type: ignore[arg-type]
    return {(entry.quota, entry.scope): entry for entry in reading.entries}, reading


def in_cards(nano: int | None) -> float | None:
    return None if nano is None else nano / CARD


def limits(entry: QuotaEntry) -> tuple[float | None, float | None, float | None]:
    return in_cards(entry.min_nano), in_cards(entry.max_nano), in_cards(entry.lend_nano)


# ------------------------------------------------------------------------------------------ Kueue
@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_kueue_both_versions_say_the_same_tree(version: str) -> None:
    found, reading = read(f"kueue-{version}.json", cluster="dc1")
    assert reading.refused == ()
    h100 = Scope(vendor="nvidia", model="NVIDIA?H100?80GB?HBM3")
    spot = Scope("spot", vendor="nvidia")
    assert {key: limits(entry) for key, entry in found.items()} == {
        # the cohort's own 2 come on top of its queues' 8 and 4
        ("cohort ai", h100): (14, None, None),
        ("cohort ai", spot): (0, None, None),
        ("nlp", h100): (8, 12, 6),
        ("nlp", spot): (0, 4, None),
        ("vision", h100): (4, None, None),
        ("cohort all", h100): (14, None, None),
        ("cohort all", spot): (0, None, None),
        ("alone", h100): (1, 1, None),
    }
    assert found["nlp", h100].parent == "cohort ai"
    assert found["cohort ai", h100].parent == "cohort all"
    assert found["cohort all", h100].parent is None
    assert found["cohort ai", h100].attributes == {"flavor": "h100", "own_nano": 2 * CARD}
    assert found["cohort ai", h100].weight == 0.75
    assert {entry.tree for entry in found.values()} == {"kueue/dc1"}
    # a namespace of one LocalQueue binds as such, one of two by its queues alone
    assert found["nlp", h100].binds == (
        "k8s=team-nlp & queue=main",
        "k8s=team-shared & queue=nlp",
        "k8s=team-nlp",
    )
    assert found["vision", h100].binds == ("k8s=team-shared & queue=vision",)
    assert reading.notes == (
        "flavor spot is the pool spot: import a pool of that name with match = 'label:node-kind=spot'",
    )
    assert Tree("t", found.values()).problems == []


def test_kueue_two_flavors_of_the_same_cards_are_told_and_not_added() -> None:
    queue = {
        "kind": "ClusterQueue",
        "metadata": {"name": "q"},
        "spec": {
            "resourceGroups": [
                {
                    "flavors": [
                        {"name": name, "resources": [{"name": "nvidia.com/gpu", "nominalQuota": 4}]}
                        for name in ("a", "b")
                    ]
                }
            ]
        },
    }
    reading = FORMATS["kueue"](json.dumps(queue), Given())
    assert [entry.min_nano for entry in reading.entries] == [4 * CARD]
    assert "flavors a and b are the same cards" in reading.refused[0][1]


def test_kueue_a_circle_of_cohorts_is_told_and_ends() -> None:
    objects = [
        {"kind": "Cohort", "metadata": {"name": "a"}, "spec": {"parentName": "b"}},
        {"kind": "Cohort", "metadata": {"name": "b"}, "spec": {"parentName": "a"}},
        {
            "kind": "ClusterQueue",
            "metadata": {"name": "q"},
            "spec": {
                "cohortName": "a",
                "resourceGroups": [
                    {
                        "flavors": [
                            {"name": "f", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": "3"}]}
                        ]
                    }
                ],
            },
        },
    ]
    reading = FORMATS["kueue"]("\n".join(map(json.dumps, objects)), Given())
    (problem,) = [p for p in Tree("t", reading.entries).problems if p.kind == "cycle"]
    assert set(problem.names) == {"cohort a", "cohort b"}
    assert {e.quota: in_cards(e.min_nano) for e in reading.entries} == {"cohort a": 3, "cohort b": 3, "q": 3}


# ------------------------------------------------------------------------------------------ Volcano
def test_volcano_deserved_is_min_and_guarantee_is_never_lent() -> None:
    found, reading = read("volcano.json", cluster="dc1")
    ascend = Scope(vendor="ascend", model="*910*")
    a100 = Scope(vendor="nvidia", model="*A100*")
    assert {key: limits(entry) for key, entry in found.items()} == {
        ("root", Scope()): (None, None, None),
        ("rd", NVIDIA): (16, 32, None),
        ("rd-train", NVIDIA): (12, 16, 8),
        ("rd-train", a100): (4, None, None),
        ("rd-dev", NVIDIA): (2, None, 0),
        ("npu", ascend): (8, 8, None),
        ("default", Scope()): (None, None, None),
    }
    assert found["rd-train", NVIDIA].parent == "rd"
    assert found["rd", NVIDIA].parent == "root"
    assert found["npu", ascend].binds == ("queue=npu",)
    assert found["rd", NVIDIA].weight == 3.0
    assert reading.refused == (
        (
            4,
            "resource 'example.com/fpga' is not known: nothing is counted of it; add it to quota/resources.toml",
        ),
    )


# ------------------------------------------------------------------------------------------ ElasticQuota
def test_koordinator_reads_the_tree_from_labels() -> None:
    found, reading = read("koordinator.json", cluster="dc1")
    assert reading.refused == ()
    assert {key: limits(entry) for key, entry in found.items()} == {
        ("rd", NVIDIA): (40, 40, None),
        ("rd-nlp", NVIDIA): (24, 40, None),
        ("rd-vision", NVIDIA): (16, 24, 0),
        ("shares", Scope(resource="card_shares")): (2.5, 4, None),
    }
    nlp = found["rd-nlp", NVIDIA]
    assert (nlp.tree, nlp.parent, nlp.weight) == ("koordinator/dc1/tree-a", "rd", 30.0)
    assert nlp.binds == ("queue=rd-nlp", "k8s=nlp-train", "k8s=nlp-dev")
    assert found["rd", NVIDIA].binds == ()
    assert found["rd", NVIDIA].parent is None
    # the only quota of its namespace takes the namespace's pods
    assert found["rd-vision", NVIDIA].binds == ("queue=rd-vision", "k8s=vision")


def test_a_plain_elastic_quota_is_its_namespaces() -> None:
    found, _ = read("sigs-elasticquota.json", cluster="dc1")
    assert {key: limits(entry) for key, entry in found.items()} == {("team-a/quota", NVIDIA): (3, 8, None)}
    entry = found["team-a/quota", NVIDIA]
    assert (entry.tree, entry.binds, entry.parent) == ("elasticquota/dc1", ("k8s=team-a",), None)


def test_ack_reads_the_whole_tree_of_one_object() -> None:
    found, reading = read("ack.json", cluster="dc1", pool="train")
    cards = Scope("train", vendor="nvidia")
    assert reading.refused == ()
    assert {key: limits(entry) for key, entry in found.items()} == {
        ("root", cards): (16, 16, None),
        ("devops", cards): (4, 8, None),
        ("algorithm", cards): (8, 16, None),
        ("text", cards): (4, 10, None),
        ("video", cards): (4, None, None),
        ("infrastructure", cards): (0, 2, None),
        ("no-cards", Scope()): (None, None, None),
    }
    assert found["text", cards].parent == "algorithm"
    assert found["text", cards].binds == ("k8s=text1", "k8s=text2")
    assert found["infrastructure", cards].min_nano == 0  # not stated is 0 here, as ACK says
    assert reading.rows == 7


# ------------------------------------------------------------------------------------------ Slurm, as 22.05 wrote it
def test_slurm_associations_give_the_account_tree_and_ceilings() -> None:
    found, reading = read("slurm-assoc.txt")
    every, h200 = Scope(), Scope(model="*h200|*h200[!0-9]*")
    assert reading.refused == ()
    assert {key: limits(entry)[:2] for key, entry in found.items()} == {
        ("root", every): (None, None),
        ("nlp", every): (None, 16),
        ("nlp", h200): (None, 8),
        ("nlp/daemon", every): (None, 2),
        ("search", every): (None, None),
        ("vision", every): (None, 8),
        ("vision-a", every): (None, 4),
    }
    assert found["nlp", every].attributes == {"budget_card_minutes": 600000}
    assert found["nlp", every].weight == 3.0
    assert found["vision", every].attributes == {"max_a_job_nano": 4 * CARD}
    assert (found["vision-a", every].parent, found["nlp/daemon", every].parent) == ("vision", "nlp")
    assert found["nlp/daemon", every].binds == ("slurm=nlp & user=daemon",)
    assert found["nlp", every].cluster == "mini"


def test_slurms_indented_tree_says_the_same_as_its_parent_column() -> None:
    by_column, _ = read("slurm-assoc.txt")
    indented, _ = read("slurm-assoc-tree.txt")
    assert indented == by_column


def test_slurms_flat_output_stands_below_root_and_says_so() -> None:
    found, reading = read("slurm-assoc-flat.txt")
    assert found["vision-a", Scope()].parent == "root"
    assert "sacctmgr -P show assoc tree" in reading.notes[0]


def test_slurms_limits_are_promises_only_when_somebody_says_so() -> None:
    found, _ = read("slurm-assoc.txt", guaranteed=True)
    assert limits(found["vision", Scope()])[:2] == (8, 8)


def test_slurm_qos_is_a_tree_of_its_own() -> None:
    found, _ = read("slurm-qos.txt", cluster="mini")
    entry = found["high", Scope()]
    assert (entry.tree, entry.binds, limits(entry)[:2]) == ("slurm-qos/mini", ("qos=high",), (None, 12))
    assert entry.attributes == {"max_a_job_nano": 2 * CARD, "max_a_user_nano": 4 * CARD}
    assert limits(found["normal", Scope()]) == (None, None, None)


def test_a_slurm_row_with_too_few_columns_is_refused_alone() -> None:
    text = "Cluster|Account|User|GrpTRES\nc|root||\nc|a\nc|b||gres/gpu=x\nc|d||gres/gpu=3\n"
    reading = FORMATS["slurm"](text, Given())
    assert [number for number, _ in reading.refused] == [2, 3]
    assert "'x' is no quantity" in reading.refused[1][1]
    assert {e.quota: e.max_nano for e in reading.entries} == {"root": None, "b": None, "d": 3 * CARD}


# ------------------------------------------------------------------------------------------ plain
PLAIN = """
[[quota]]
name = "rd"
pool = "train"
min = 24
max = 32
owner = "Li Lei"
department = "rd"
[[quota]]
name = "rd/nlp"
parent = "rd"
pool = "train"
min = 16.5
lend = 8
binds = ["k8s=team-a", "slurm:nlp-*"]
from = "2026-10-01T00:00:00+08:00"
to = "2027-01-01T00:00:00+08:00"
[[quota]]
name = "bad"
min = "many"
"""


def test_a_plain_file_carries_its_dates_and_refuses_rows_alone() -> None:
    reading = FORMATS["plain"](PLAIN, Given("company.toml"))
    top, nlp = reading.entries
    assert (top.tree, top.scope, limits(top), top.owner, top.from_us) == (
        "company",
        Scope("train"),
        (24, 32, None),
        "Li Lei",
        0,
    )
    assert limits(nlp) == (16.5, None, 8)
    assert nlp.from_us == 1790784000 * 10**6  # 2026-09-30T16:00:00Z
    assert reading.refused == ((3, "min 'many' is no number of cards; write 16 or 0.5"),)


def test_a_csv_says_the_same_as_toml() -> None:
    text = (
        "name,parent,pool,min,max,lend,owner,department,binds,from,to\n"
        "rd,,train,24,32,,Li Lei,rd,,,\n"
        "rd/nlp,rd,train,16.5,,8,,,k8s=team-a; slurm:nlp-*,2026-10-01T00:00:00+08:00,2027-01-01T00:00:00+08:00\n"
    )
    by_csv = FORMATS["plain"](text, Given("company.csv"))
    assert by_csv.entries == FORMATS["plain"](PLAIN, Given("company.toml")).entries
    assert by_csv.refused == ()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('name = "a"\nminimum = 3', "not known here"),
        ('name = "a"\nmin = 1\nmax = -1', "no number of cards"),
        ('name = "a"\nparent = "a"', "its own parent"),
        ('name = "a"\nbinds = ["namespace=x"]', "KIND one of"),
        ('name = "a"\nlend = 2', "nothing to lend"),
        ('name = "a"\nweight = "NaN"', "no number of at least 0"),
        ('name = "a"\nmin = 1e999999', "no number of cards"),
        ('name = "a"\nresource = "watts"', "none of cards, card_shares"),
        ('name = "a"\nfrom = "2026-10-02T00:00:00Z"\nto = "2026-10-01T00:00:00Z"', "ends before it begins"),
        ('name = "a"\nfrom = "2026-10-02T00:00:00"', "has no zone"),
        ("min = 2", "no name"),
    ],
)
def test_a_wrong_quota_is_refused_with_what_to_write(row: str, says: str) -> None:
    reading = FORMATS["plain"](f"[[quota]]\n{row}\n", Given("q.toml"))
    assert reading.entries == ()
    assert says in reading.refused[0][1]


def test_pools_are_rules_and_lists() -> None:
    rules, rows, refused = read_pools(
        '[[pool]]\nname = "train"\nmatch = "cluster:dc* & model:*H800*"\npriority = 5\n'
        '[[pool]]\nname = "lab"\ncards = ["G1", "G[2]"]\n'
        '[[pool]]\nname = "__none__"\nmatch = "node:*"\n[[pool]]\nname = "x"\nmatch = "rack:*"\n'
        '[[pool]]\nname = "y"\nmatch = "node:*"\npriority = 3000000000\n',
        Given("pools.toml"),
    )
    assert [(r.pool, r.match, r.priority) for r in rules] == [
        ("train", "cluster:dc* & model:*H800*", 5),
        ("lab", "card=G1", 0),
        ("lab", "card=G[2]", 0),
    ]
    assert rows == 5
    assert [number for number, _ in refused] == [3, 4, 5]


# ------------------------------------------------------------------------------------------ telling forms apart
def test_a_form_is_told_by_the_content() -> None:
    names = {
        "kueue-v1beta1.json": "kueue",
        "volcano.json": "volcano",
        "koordinator.json": "koordinator",
        "sigs-elasticquota.json": "koordinator",
        "ack.json": "ack",
        "slurm-assoc.txt": "slurm",
        "slurm-qos.txt": "slurm",
    }
    for name, form in names.items():
        assert detect((FIXTURES / name).read_text(encoding="utf-8"), name) == form
    assert detect(PLAIN, "company.toml") == "plain"  # it begins as JSON does


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("hello", "q.txt", "--format"),
        ('{"kind": "Pod"}', "p.json", "no object of Kueue"),
        ("{", "p.json", "not JSON at character 0"),
    ],
)
def test_what_is_none_says_what_to_do(text: str, name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        detect(text, name)


JUNK: list = [
    None,
    1,
    -1,
    1e308,
    True,
    "",
    [],
    {},
    "x",
    [1],
    {"a": 1},
    "9" * 400,
    "1e999999",
    "NaN",
    "\0",
    "a & b",
]


def damaged(item: object, chance: random.Random) -> object:
    """The same with some of it lost or replaced."""
    if chance.random() < 0.03:
        return chance.choice(JUNK)
    if isinstance(item, dict):
        return {key: damaged(value, chance) for key, value in item.items() if chance.random() > 0.015}
    if isinstance(item, list):
        return [damaged(value, chance) for value in item]
    return item


@given(
    st.randoms(use_true_random=False), st.sampled_from(sorted(path.name for path in FIXTURES.glob("*.json")))
)
def test_a_damaged_export_is_refused_or_read_and_never_a_crash(chance: random.Random, name: str) -> None:
    whole = (FIXTURES / name).read_text(encoding="utf-8")
    form = detect(whole, name)
    try:
        reading = FORMATS[form](json.dumps(damaged(json.loads(whole), chance)), Given(name))
    except BadInput:
        return
    for tree in trees(reading.entries, 0):
        Binder(tree.nodes)
        assert len({node.name for node in tree.nodes}) == len(tree.nodes)
    assert all(0 <= (entry.min_nano or 0) < 2**63 for entry in reading.entries)


@given(
    st.randoms(use_true_random=False),
    st.sampled_from(["slurm-assoc.txt", "slurm-assoc-tree.txt", "slurm-qos.txt"]),
)
def test_a_damaged_table_is_refused_or_read_and_never_a_crash(chance: random.Random, name: str) -> None:
    text = list((FIXTURES / name).read_text(encoding="utf-8"))
    for _ in range(chance.randint(1, 6)):
        text[chance.randrange(len(text))] = chance.choice("|=,\n:x9-\0 &")
    try:
        reading = FORMATS["slurm"]("".join(text), Given(name))
    except BadInput:
        return
    for tree in trees(reading.entries, 0):
        Binder(tree.nodes)


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("slurm", "plain")])
@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '{"kind": "ClusterQueue", "metadata": [], "spec": 1}',
        '{"kind": "Queue", "metadata": {"name": "q"}, "spec": {"deserved": {"nvidia.com/gpu": "1e400"}}}',
        '{"kind": "ElasticQuota", "metadata": {"name": "q"}, "spec": {"min": {"nvidia.com/gpu": "-3"}}}',
        '{"kind": "ElasticQuotaTree", "metadata": {}, "spec": {"root": {"children": [7]}}}',
    ],
)
def test_objects_of_the_wrong_shape_are_bad_input_and_never_a_crash(form: str, text: str) -> None:
    try:
        reading = FORMATS[form](text, Given())
    except BadInput:
        return
    assert all(entry.min_nano is None or entry.min_nano >= 0 for entry in reading.entries)


@pytest.mark.parametrize("name", ["kueue-v1beta2", "volcano", "koordinator", "ack"])
def test_the_same_objects_as_yaml_say_the_same(name: str) -> None:
    as_json = (FIXTURES / f"{name}.json").read_text(encoding="utf-8")
    found = list(objects(as_json))
    documents = yaml.safe_dump_all(found, explicit_start=True, sort_keys=False)
    listing = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": found}, sort_keys=False)
    assert list(objects(documents)) == list(objects(listing)) == found
    assert detect(documents, "q.yaml") == detect(as_json, "q.json")
