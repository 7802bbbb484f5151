"""Pools, quotas and sprints on a real store: hand-worked figures, and what was known at a time stays so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.quota_world import CARD, HOUR_US, QuotaWorld, at, us

from ullage_collector.quota import sprint
from ullage_collector.quota.entry import NO_POOL, Scope
from ullage_collector.quota.hours import catch_up, due, found, judge, make, watch
from ullage_collector.quota.show import hours_text
from ullage_collector.quota.steps import by_hour, total
from ullage_contract.errors import BadInput

POOLS = """
[[pool]]
name = "train"
match = "model:*h800*"
"""
TREE = """
[[quota]]
tree = "company"
name = "rd"
pool = "train"
min = 10
max = 12
department = "rd"
[[quota]]
tree = "company"
name = "rd/nlp"
parent = "rd"
pool = "train"
min = 6
max = 8
department = "rd/nlp"
[[quota]]
tree = "company"
name = "rd/rec"
parent = "rd"
pool = "train"
min = 4
department = "rd/rec"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QuotaWorld]:
    made = QuotaWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def company(world: QuotaWorld) -> QuotaWorld:
    """12 cards of pool train, two teams; quotas and pools were told at hour -24."""
    world.clock.step_wall(-36 * 3600)
    world.bring("pools", POOLS, "pools.toml")
    world.bring("quotas", TREE, "company.toml")
    world.clock.step_wall(36 * 3600)
    world.rule("k8s:nlp*", "rd/nlp")
    world.rule("k8s:rec*", "rd/rec")
    world.all = world.cards(12)  # type: ignore[attr-defined]
    return world


def test_a_team_that_borrows_and_one_that_lends_at_an_instant(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/nlp-a/p1", company.all[:1], 0, 6)
    company.hold("k8s/dc1/rec-a/p2", company.all[1:10], 1, 5)
    figures = company.figures(2)
    nlp, rec, rd = (figures["company", name] for name in ("rd/nlp", "rd/rec", "rd"))
    assert {k: nlp[k] for k in ("min", "max", "used", "borrowed", "lent", "headroom")} == {
        "min": "6",
        "max": "8",
        "used": "1",
        "borrowed": "0",
        "lent": "5",
        "headroom": "2",
    }
    assert (rec["used"], rec["borrowed"], rec["lent"], rec["max"]) == ("9", "5", "0", None)
    assert (rd["used"], rd["borrowed"], rd["lent"]) == ("10", "0", "0")
    assert company.figures(5.5)["company", "rd/nlp"]["lent"] == "0"


def test_sums_over_time_are_exact_and_cut_anywhere(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/rec-a/p2", company.all[:9], 1, 2.5, share=333_333_333)
    company.hold("k8s/dc1/nlp-a/p1", company.all[9:], 0.25, 7.125)
    scope = Scope("train")
    whole = total(company.known(0, 8).steps("company", scope))
    parts = [total(company.known(a, b).steps("company", scope)) for a, b in ((0, 1.7), (1.7, 2.2), (2.2, 8))]
    hours = by_hour(company.known(0, 8).steps("company", scope))
    for name in ("rd", "rd/nlp", "rd/rec"):
        for figure in ("used", "borrowed", "lent", "guaranteed_used", "headroom", "min"):
            expected = getattr(whole.nodes[name], figure)
            assert sum(getattr(p.nodes[name], figure) for p in parts) == expected
            assert sum(getattr(h.nodes[name], figure) for h in hours.values()) == expected
    assert whole.nodes["rd/rec"].used == 9 * 333_333_333 * round(1.5 * HOUR_US)
    assert whole.nodes["rd/nlp"].used == 3 * CARD * round(6.875 * HOUR_US)
    assert whole.capacity == 12 * CARD * 8 * HOUR_US
    shown = company.summed(0, 8)["trees"][0]["cards"][0]
    assert shown["used"] == hours_text(whole.used)
    assert sorted(hours) == [us(h) for h in range(8)]


def test_work_that_no_quota_binds_is_shown_and_borrows(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/who/p", company.all[:8], 0, 2)
    part = company.shown(1)["trees"][0]["cards"][0]
    assert (part["used_outside"], part["borrowed"], part["unguaranteed_used"], part["lent"]) == (
        "8",
        "8",
        "2",
        "6",
    )
    lent = {node["quota"]: node["lent"] for node in part["nodes"]}
    assert lent == {"rd": "6", "rd/nlp": "3.6", "rd/rec": "2.4"}


def test_cards_in_maintenance_are_in_the_pool_and_not_promised(company: QuotaWorld) -> None:
    company.cards(3, life="maintenance")
    company.cards(2, life="ordered")
    part = company.shown(1)["trees"][0]["cards"][0]
    assert part["capacity"] == "12"
    assert company.shown(1)["pools"] == [{"pool": "train", "cards": 12}]


def test_a_reservation_without_work_uses_no_quota(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/nlp-a/p1", company.all[:2], 0, 3, rank="reserved")
    assert company.figures(1)["company", "rd/nlp"]["used"] == "0"


# ------------------------------------------------------------------------------------------ pools
def test_cards_in_no_pool_are_a_pool_of_their_own(company: QuotaWorld) -> None:
    company.cards(4, model="A100")
    assert {p["pool"]: p["cards"] for p in company.shown(1)["pools"]} == {"train": 12, NO_POOL: 4}
    (finding,) = [f for f in found(company.known(1, 2)) if f.kind == "pool_none"]
    assert finding.evidence["cards"] == 4


def test_priority_decides_and_a_tie_is_told(company: QuotaWorld) -> None:
    company.bring(
        "pools",
        POOLS
        + '[[pool]]\nname = "lab"\ncards = ["G1", "G2"]\npriority = 5\n'
        + '[[pool]]\nname = "other"\nmatch = "node:n1"\n',
        "pools.toml",
        since_us=None,
    )
    shown = company.shown(1)
    assert {p["pool"]: p["cards"] for p in shown["pools"]} == {"lab": 2, "train": 10}
    assert shown["conflicts"]["count"] == 10
    first = shown["conflicts"]["first"][0]
    assert first["pools"] == ["train", "other"]


def test_a_rule_with_dates_moves_cards_at_them(company: QuotaWorld) -> None:
    company.bring(
        "pools",
        '[[pool]]\nname = "train"\nmatch = "model:H800"\nto = "2026-10-21T06:00:00Z"\n'
        '[[pool]]\nname = "infer"\nmatch = "model:H800 & cluster=dc1"\nfrom = "2026-10-21T06:00:00Z"\n',
        "pools.toml",
    )
    sizes = {h: company.shown(h)["pools"] for h in (5.999, 6)}
    assert sizes == {5.999: [{"pool": "train", "cards": 12}], 6: [{"pool": "infer", "cards": 12}]}


def test_node_labels_are_dated_facts(world: QuotaWorld) -> None:
    world.cards(2, node="n1")
    world.bring("pools", '[[pool]]\nname = "spot"\nmatch = "label:kind=spot"\n', "pools.toml")
    for hour, value in ((2, '"spot"'), (4, '"solid"')):
        world.run(
            "INSERT INTO fact (family, subject, name, value, valid_from, received_at) VALUES ('node','n1','kind',?,?,?)",
            *(value, at(hour), at(hour)),
        )
    assert [world.shown(h)["pools"][0]["pool"] for h in (1, 2, 3.9, 4)] == [NO_POOL, "spot", "spot", NO_POOL]


# ------------------------------------------------------------------------------------------ what binds
def test_a_queue_binds_before_its_namespace_and_a_namespace_before_a_department(world: QuotaWorld) -> None:
    world.cards(6)
    world.rule("k8s:team", "rd")
    world.bring(
        "quotas",
        '[[quota]]\nname = "by-department"\ndepartment = "rd"\nmin = 1\n'
        '[[quota]]\nname = "by-namespace"\nbinds = ["k8s=team"]\nmin = 1\n'
        '[[quota]]\nname = "by-queue"\nbinds = ["k8s=team & queue=fast"]\nmin = 1\n'
        '[[quota]]\nname = "elsewhere"\ncluster = "dc2"\nbinds = ["k8s=team & queue=fast & user=li"]\nmin = 1\n',
        "q.toml",
    )
    label = json.dumps({"kueue.x-k8s.io/queue-name": "fast"})
    world.hold("k8s/dc1/team/p1", ["G1"], 0, 9, labels=label, user="li")
    world.hold("k8s/dc1/team/p2", ["G2", "G3"], 0, 9)
    world.rule("k8s:wide", "rd/deep/er")
    world.hold("k8s/dc1/wide/p3", ["G4", "G5", "G6"], 0, 9)
    used = {name: node["used"] for (_, name), node in world.figures(1).items()}
    assert used == {"by-queue": "1", "by-namespace": "2", "by-department": "3", "elsewhere": "0"}


def test_slurms_accounts_users_and_types_bind_as_the_associations_say(world: QuotaWorld) -> None:
    fixture = Path(__file__).parents[1] / "fixtures" / "quota" / "slurm-assoc.txt"
    world.cards(8, node="g1", model="NVIDIA H200", cluster="mini")
    world.cards(8, node="g2", model="NVIDIA H20", cluster="mini")
    world.bring("quotas", fixture.read_text(), "slurm-assoc.txt", since_us=us(-1))
    world.hold("slurm/mini/1", ["G1", "G2"], 0, 9, namespace="nlp", user="daemon", kind="slurm_job")
    world.hold("slurm/mini/2", ["G9"], 0, 9, namespace="nlp", user="root", kind="slurm_job")
    world.hold("slurm/mini/3", ["G10", "G11"], 0, 9, namespace="vision-a", user="games", kind="slurm_job")
    shown = {
        (part["model"], node["quota"]): node
        for part in world.shown(1)["trees"][0]["cards"]
        for node in part["nodes"]
    }
    assert shown[None, "nlp"]["used"] == "3"
    assert shown[None, "nlp/daemon"]["used"] == "2"
    assert shown["*h200|*h200[!0-9]*", "nlp"]["used"] == "2"  # the H20 is none
    assert shown[None, "vision"]["used"] == "2"
    assert shown[None, "vision"]["headroom"] == "6"
    assert shown[None, "vision-a"]["headroom"] == "2"
    # nobody is promised anything: there is nothing to borrow or lend
    assert (shown[None, "nlp"]["min"], shown[None, "nlp"]["borrowed"], shown[None, "nlp"]["lent"]) == (
        None,
        None,
        None,
    )


# ------------------------------------------------------------------------------------------ sprints
def declare(
    world: QuotaWorld, start: float, end: float, department: str = "rd/rec", pool: str = "train"
) -> int:
    with world.store.write() as cursor:
        return sprint.declare(
            cursor,
            pool,
            department,
            us(start),
            us(end),
            reason="launch",
            actor="li",
            now=world.clock.wall(),
        ).sprint_id


def cancel(world: QuotaWorld, number: int) -> sprint.Sprint | None:
    with world.store.write() as cursor:
        return sprint.cancel(cursor, number, reason="done", actor="li", now=world.clock.wall())


def test_a_sprint_gives_all_cards_to_one_department_from_its_first_to_before_its_last_instant(
    company: QuotaWorld,
) -> None:
    company.hold("k8s/dc1/nlp-a/p1", company.all[:3], 0, 12)
    company.hold("k8s/dc1/rec-a/p2", company.all[3:9], 0, 12)
    declare(company, 4, 8)
    mins = {h: {n: f["min"] for (_, n), f in company.figures(h).items()} for h in (3.999, 4, 7.999, 8)}
    normal = {"rd": "10", "rd/nlp": "6", "rd/rec": "4"}
    ruled = {"rd": "12", "rd/nlp": "0", "rd/rec": "12"}
    assert mins == {3.999: normal, 4: ruled, 7.999: ruled, 8: normal}
    during = company.figures(5)
    assert (during["company", "rd/nlp"]["borrowed"], during["company", "rd/rec"]["lent"]) == ("3", "3")
    assert company.figures(3)["company", "rd/rec"]["borrowed"] == "2"
    assert company.shown(5)["trees"][0]["cards"][0]["sprint"] is True
    assert company.shown(3)["trees"][0]["cards"][0]["sprint"] is False
    assert company.shown(5)["sprints"][0]["reason"] == "launch"


def test_a_sprint_follows_the_pool_as_it_grows(company: QuotaWorld) -> None:
    company.cards(4, start=6.0)
    declare(company, 4, 8)
    assert [company.figures(h)["company", "rd/rec"]["min"] for h in (5, 6, 7.5)] == ["12", "16", "16"]


def test_a_department_without_a_quota_gets_a_place_for_its_sprint(company: QuotaWorld) -> None:
    company.rule("k8s:biz*", "biz")
    company.hold("k8s/dc1/biz-a/p", company.all[:5], 0, 12)
    declare(company, 4, 8, department="biz")
    assert company.figures(5)["company", "biz"]["used"] == "5"
    assert company.figures(5)["company", "biz"]["min"] == "12"
    assert company.figures(5)["company", "rd"]["min"] == "0"
    assert ("company", "biz") not in company.figures(3)


def test_overlapping_sprints_on_one_pool_are_refused_and_touching_ones_are_not(company: QuotaWorld) -> None:
    declare(company, 4, 8)
    for start, end in ((3, 5), (4, 8), (5, 6), (7.999, 9)):
        with pytest.raises(BadInput, match="sprint 1 of rd/rec"):
            declare(company, start, end, department="rd/nlp")
    assert declare(company, 8, 9) == 2
    assert declare(company, 3, 4) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"start": 5, "end": 5}, "before it begins"),
        ({"start": 5, "end": 6, "pool": "moon"}, "no pool 'moon'"),
        ({"start": 5, "end": 6, "pool": "*"}, "no pool"),
        ({"start": 5, "end": 6, "department": "nobody"}, "no department"),
    ],
)
def test_a_wrong_sprint_is_refused_and_leaves_nothing(
    company: QuotaWorld, arguments: dict, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        declare(company, **arguments)
    assert company.run("SELECT count(*) FROM sprint") == [(0,)]
    assert company.run("SELECT count(*) FROM audit") == [(0,)]


def test_a_cancelled_sprint_ends_now_and_what_was_stays(company: QuotaWorld) -> None:
    """Noon; the sprint runs from 10 to 20. Cancelled at noon, its first two hours stay a sprint."""
    number = declare(company, 10, 20)
    company.clock.advance(1)
    before = round(company.clock.wall() * 1e6)
    company.clock.advance(1)
    left = cancel(company, number)
    assert left is not None
    assert left.to_us == round(company.clock.wall() * 1e6)
    assert company.figures(11)["company", "rd/rec"]["min"] == "12"
    assert company.figures(13)["company", "rd/rec"]["min"] == "4"
    known_before = (before - us(0)) / HOUR_US
    assert company.figures(13, known=known_before)["company", "rd/rec"]["min"] == "12"
    with pytest.raises(BadInput, match="is over"):
        cancel(company, number)
    assert declare(company, 13, 14) == number + 1
    actions = company.run("SELECT action, actor, result FROM audit ORDER BY audit_id")
    assert actions == [
        ("quota_sprint", "li", "declared"),
        ("quota_sprint_cancel", "li", "ended"),
        ("quota_sprint", "li", "declared"),
    ]


def test_a_sprint_cancelled_before_it_begins_never_was(company: QuotaWorld) -> None:
    number = declare(company, 14, 20)
    assert cancel(company, number) is None
    assert company.figures(15)["company", "rd/rec"]["min"] == "4"
    with pytest.raises(BadInput, match="no sprint"):
        cancel(company, number)


def test_a_sprint_rules_nothing_where_limits_are_on_all_pools_and_says_so(company: QuotaWorld) -> None:
    company.bring("quotas", '[[quota]]\nname = "all"\nmin = 3\nbinds = ["k8s=x"]\n', "wide.toml")
    number = declare(company, 4, 8)
    trees = {tree["tree"]: tree for tree in company.shown(5)["trees"]}
    assert [p["kind"] for p in trees["wide"]["problems"]] == ["sprint_unruled"]
    assert f"sprint {number}" in trees["wide"]["problems"][0]["message"]
    assert trees["wide"]["cards"][0]["nodes"][0]["min"] == "3"
    assert trees["company"]["problems"] == []


def test_a_maker_is_the_same_however_the_inventory_writes_it(world: QuotaWorld) -> None:
    world.cards(3, vendor="huawei", model="Ascend 910B3")
    world.cards(2, model="H800", node="n2")
    world.bring(
        "quotas",
        json.dumps(
            {
                "apiVersion": "scheduling.volcano.sh/v1beta1",
                "kind": "Queue",
                "metadata": {"name": "npu"},
                "spec": {"deserved": {"huawei.com/Ascend910": 2}},
            }
        ),
        "volcano.json",
        since_us=us(-1),
    )
    assert world.shown(1)["trees"][0]["cards"][0]["capacity"] == "3"


def test_work_on_a_card_nobody_knows_is_shown_beside_the_pools(company: QuotaWorld) -> None:
    """A node with cards of two pools, held without its cards being known: in neither pool, not lost either."""
    company.cards(2, model="A100", node="n1")
    company.workload("k8s/dc1/nlp-a/loose")
    company.run(
        "INSERT INTO allocation (allocation_id, workload_key, node_key, share_nano, valid_from, known_from, source) "
        "VALUES (1, ?, ?, ?, ?, ?, 'test')",
        *(company.workload("k8s/dc1/nlp-a/loose"), company.node("n1"), 2 * CARD, at(0), at(0)),
    )
    (tree,) = company.shown(1)["trees"]
    assert tree["unplaced"] == {"used": "2", "waiting": "0"}
    assert tree["cards"][0]["used"] == "0"


# ------------------------------------------------------------------------------------------ known then and now
def test_figures_as_known_at_a_time_never_change(company: QuotaWorld) -> None:
    """Everything that can change does, after noon: what was known at noon gives the same document, byte for byte."""
    company.hold("k8s/dc1/nlp-a/p1", company.all[:4], 0, 6, known=0)
    company.hold("k8s/dc1/rec-a/p2", company.all[4:9], 1, 9, known=1)
    noon = json.dumps([company.summed(0, 10, known=12.0), company.shown(5, known=12.0)])
    company.clock.advance(3600)
    company.bring("pools", '[[pool]]\nname = "train"\nmatch = "card=G1"\n', "pools.toml")
    company.bring("quotas", TREE.replace("min = 6", "min = 2"), "company.toml")
    company.rule("k8s:nlp-a", "rd/rec", known=13.0)
    declare(company, 2, 4)
    company.run("UPDATE allocation SET known_to = ? WHERE share_nano > 0", at(13))
    company.hold("k8s/dc1/nlp-a/p9", company.all[:1], 0, 1, known=13)
    now = json.dumps([company.summed(0, 10, known=13.5), company.shown(5, known=13.5)])
    assert now.replace("13:30", "12:00") != noon
    assert json.dumps([company.summed(0, 10, known=12.0), company.shown(5, known=12.0)]) == noon


def test_a_plain_file_twice_adds_nothing_and_what_it_says_no_more_ends(company: QuotaWorld) -> None:
    again = company.bring("quotas", TREE, "company.toml")
    assert again.again is True
    again = company.bring("quotas", TREE, "company.toml", again=True)
    assert (again.rows_added, again.rows_present) == (0, 3)
    company.clock.advance(60)
    less = company.bring("quotas", TREE.rpartition("[[quota]]")[0], "company.toml")
    assert (less.rows_added, less.rows_present) == (0, 2)
    assert company.run("SELECT quota FROM quota WHERE known_to IS NULL ORDER BY quota") == [
        ("rd",),
        ("rd/nlp",),
    ]
    assert company.run("SELECT count(*) FROM quota") == [(3,)]


def volcano(**deserved: int) -> str:
    return json.dumps(
        {
            "kind": "List",
            "items": [
                {
                    "apiVersion": "scheduling.volcano.sh/v1beta1",
                    "kind": "Queue",
                    "metadata": {"name": name},
                    "spec": {"deserved": {"nvidia.com/gpu": cards}},
                }
                for name, cards in deserved.items()
            ],
        }
    )


def test_a_snapshot_begins_when_it_is_told_and_what_it_said_before_stays_true_until_then(
    world: QuotaWorld,
) -> None:
    world.cards(8)
    world.bring("quotas", volcano(a=4, b=2), "volcano.json", since_us=us(2))
    world.clock.advance(60)
    second = world.bring("quotas", volcano(a=6, b=2), "volcano.json", since_us=us(8))
    assert (second.rows_added, second.rows_present) == (2, 2)  # a until 8 and a from 8; b and root go on
    world.clock.advance(60)
    again = world.bring("quotas", volcano(a=6, b=2), "volcano.json", since_us=us(9))
    assert (again.rows_added, again.rows_present) == (0, 4)

    def mins(hour: float, known: float | None = None) -> dict[str, str | None]:
        return {name: f["min"] for (_, name), f in world.figures(hour, known).items()}

    assert mins(1) == {}
    assert mins(3) == {"root": None, "a": "4", "b": "2"}
    assert mins(8) == {"root": None, "a": "6", "b": "2"}
    assert mins(8, known=12.0) == {"root": None, "a": "4", "b": "2"}
    world.clock.advance(60)
    world.bring("quotas", volcano(b=2), "volcano.json", since_us=us(10))
    assert mins(9)["a"] == "6"
    assert mins(10) == {"root": None, "b": "2"}


# ------------------------------------------------------------------------------------------ hours
def test_hours_are_made_once_and_again_when_something_is_learned(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/rec-a/p2", company.all[:9], 9, None, known=9)
    assert [(h - us(0)) // HOUR_US for h in due(company.store)] == [11, 10, 9]
    assert catch_up(company.store) == 3
    assert due(company.store) == []
    rows = company.run(
        "SELECT quota, used, borrowed, lent, headroom, min FROM quota_hour WHERE hour = ? ORDER BY quota",
        at(10),
    )
    card_hour = CARD * HOUR_US
    assert [(name, *(None if v is None else v / card_hour for v in row)) for name, *row in rows] == [
        ("__pool__", 9, 0, 0, 3, 12),
        ("rd", 9, 0, 0, 3, 10),
        ("rd/nlp", 0, 0, 5, 3, 6),
        ("rd/rec", 9, 5, 0, 3, 4),
    ]
    company.clock.advance(300)
    company.hold("k8s/dc1/nlp-a/late", company.all[9:], 10.5, 11, known=12.05)
    watch(company.store)
    assert [(h - us(0)) // HOUR_US for h in due(company.store)] == [10]
    assert catch_up(company.store) == 1
    (used,) = company.run("SELECT used FROM quota_hour WHERE hour = ? AND quota = 'rd/nlp'", at(10))[0]
    assert used == 3 * CARD * HOUR_US // 2
    company.clock.advance(300)
    company.rule("k8s:nobody", "rd/nlp", known=12.1)
    watch(company.store)
    assert len(due(company.store)) == 3


def test_a_long_job_that_ends_makes_only_the_hours_since_then_again(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/rec-a/p2", company.all[:2], -40, None, known=-40)
    while catch_up(company.store):
        pass
    company.clock.advance(300)
    company.run("UPDATE allocation SET known_to = ?", at(12.05))
    company.hold("k8s/dc1/rec-a/p2", company.all[:2], -40, 10.5, known=12.05)
    watch(company.store)
    assert [(h - us(0)) // HOUR_US for h in due(company.store)] == [11, 10]


def test_hours_of_a_closed_period_stay_as_they_are(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/rec-a/p2", company.all[:9], 9, None, known=9)
    catch_up(company.store)
    company.run(
        "INSERT INTO period_close (zone, valid_from, valid_to, closed_at, closed_by) VALUES ('UTC', ?, ?, ?, 'li')",
        *(at(-24), at(11), at(12)),
    )
    company.clock.advance(300)
    company.rule("k8s:rec-a", "rd/nlp", known=12.05)
    watch(company.store)
    assert [(h - us(0)) // HOUR_US for h in due(company.store)] == [11]


def test_hours_add_up_to_the_stretch(company: QuotaWorld) -> None:
    company.hold("k8s/dc1/rec-a/p2", company.all[:9], 3.2, 5.7)
    company.hold("k8s/dc1/x/p", company.all[9:], 4.1, 4.3)
    make(company.store, us(3), us(6))
    summed = total(company.known(3, 6).steps("company", Scope("train")))
    for quota, figure in (
        ("rd/rec", summed.nodes["rd/rec"].used),
        ("__pool__", summed.used),
        (NO_POOL, summed.outside),
    ):
        (made,) = company.run("SELECT sum(used) FROM quota_hour WHERE quota = ?", quota)[0]
        assert made == figure


def test_what_is_wrong_with_a_tree_is_a_finding_until_it_is_mended(world: QuotaWorld) -> None:
    world.cards(2)
    report = world.bring(
        "quotas",
        '[[quota]]\nname = "top"\nmin = 4\nmax = 3\n[[quota]]\nname = "a"\nparent = "top"\nmin = 3\nbinds = ["k8s=x"]\n'
        '[[quota]]\nname = "b"\nparent = "top"\nmin = 2\nbinds = ["k8s=x"]\n[[quota]]\nname = "lost"\nparent = "gone"\n'
        '[[quota]]\nname = "r1"\nparent = "r2"\n[[quota]]\nname = "r2"\nparent = "r1"\n',
        "q.toml",
    )
    assert [text.partition(": ")[2] for text in report.warnings] == [
        "lost: its parent gone is not in the tree",
        "r1 > r2 > r1 goes round in a circle",
        "top (all pools): min 4 is more than max 3",
        "top (all pools): its children's min add up to 5, its own is 4: a 3, b 2",
        "k8s=x is bound to a and to b",
    ]
    assert report.rows_refused == 0
    assert judge(world.store) == 5
    world.clock.advance(60)
    world.bring("quotas", '[[quota]]\nname = "top"\nmin = 4\n', "q.toml")
    assert judge(world.store) == 0
    assert len(world.figures(1)) == 1
