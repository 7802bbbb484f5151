"""The organisation as a dated tree; sums over it that add up exactly at every level, by the tree then or now."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, NANO, World, at, us

from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.organisation import Amount, Department, Organisation, roll_up, trouble
from ullage_collector.ownership.departments import departments, rollup
from ullage_collector.states import States
from ullage_contract.errors import BadInput

LATER = datetime(2026, 11, 1, tzinfo=UTC)
IDS = [f"d{n}" for n in range(9)]


@st.composite
def organisations(draw: st.DrawFn) -> list[Department]:
    """Dated trees of any shape: parents that change, are missing, form circles; ids that come and go."""
    rows = []
    for name in IDS:
        cuts = sorted(draw(st.sets(st.integers(1, 99), max_size=3)))
        for begin, end in zip([0, *cuts], [*cuts, None], strict=True):
            if draw(st.booleans()) or begin == 0:
                rows.append(
                    Department(
                        name,
                        name.upper(),
                        draw(st.sampled_from([None, *IDS, "nowhere"])),
                        source_key=draw(st.sampled_from([None, "k" + name])),
                        valid_from_us=begin,
                        valid_to_us=end,
                    )
                )
    return rows


AMOUNTS = st.lists(
    st.builds(
        Amount,
        st.sampled_from([*IDS, "d1/below/it", "elsewhere", PLATFORM, UNMAPPED]),
        st.integers(0, 99),
        st.fixed_dictionaries({"quantity": st.integers(0, 10**26), "atoms:CNY": st.integers(0, 10**34)}),
    ),
    max_size=30,
)


@given(organisations(), AMOUNTS, st.one_of(st.none(), st.integers(0, 120)))
def test_every_parent_is_its_own_and_its_children_exactly(
    rows: list[Department], amounts: list[Amount], tree_at: int | None
) -> None:
    found = roll_up(amounts, Organisation(rows), tree_at_us=tree_at)
    children: dict[tuple[str, ...], list[int]] = defaultdict(list)
    by_path = {each.path: each for each in found}
    assert len(by_path) == len(found)
    for measure in ("quantity", "atoms:CNY"):
        children.clear()
        for each in found:
            children[each.path[:-1]].append(each.total.get(measure, 0))
        for each in found:
            assert each.total.get(measure, 0) == each.own.get(measure, 0) + sum(children[each.path])
        assert sum(children[()]) == sum(amount.measures[measure] for amount in amounts)


@given(organisations(), AMOUNTS)
def test_then_and_now_differ_in_places_never_in_the_sum(
    rows: list[Department], amounts: list[Amount]
) -> None:
    organisation = Organisation(rows)
    sums = []
    for tree_at in (None, 0, 50, 99):
        found = roll_up(amounts, organisation, tree_at_us=tree_at)
        sums.append(sum(each.total.get("quantity", 0) for each in found if len(each.path) == 1))
    assert len(set(sums)) == 1


def moved() -> Organisation:
    """NLP moves from R&D to AI at 50 and keeps its stable id; its old path goes to a new team."""
    return Organisation(
        [
            Department("rd", "R&D"),
            Department("rd/nlp", "NLP", "rd", source_key="nlp", valid_to_us=50),
            Department("ai", "AI", valid_from_us=50),
            Department("ai/nlp", "NLP", "ai", source_key="nlp", valid_from_us=50),
            Department("rd/nlp", "New Language Products", "rd", source_key="new", valid_from_us=60),
        ]
    )


def test_a_move_is_one_department_in_two_places_then_and_in_one_now() -> None:
    amounts = [Amount("rd/nlp", 10, {"q": 3}), Amount("ai/nlp", 55, {"q": 5}), Amount("rd/nlp", 70, {"q": 7})]
    then = {each.path: dict(each.total) for each in roll_up(amounts, moved(), tree_at_us=None)}
    assert then == {
        ("ai",): {"q": 5},
        ("ai", "ai/nlp"): {"q": 5},
        ("rd",): {"q": 10},
        ("rd", "rd/nlp"): {"q": 10},
    }
    now = {each.path: dict(each.total) for each in roll_up(amounts, moved(), tree_at_us=90)}
    assert now == {
        ("ai",): {"q": 8},
        ("ai", "ai/nlp"): {"q": 8},
        ("rd",): {"q": 7},
        ("rd", "rd/nlp"): {"q": 7},
    }, "hours of the one that moved go with it; those of the one that took its path stay"


def test_a_correction_of_the_past_is_seen_only_by_who_asks_later() -> None:
    rows = [
        Department("rd", "R&D"),
        Department("hw", "Hardware"),
        Department("cv", "CV", "rd", known_to_us=500),
        Department("cv", "CV", "hw", known_from_us=500),
    ]
    organisation = Organisation(rows)
    assert organisation.tree(0, 499).place("cv").path == ("rd", "cv")
    assert organisation.tree(0, 500).place("cv").path == ("hw", "cv")
    assert organisation.tree(0).place("cv").path == ("hw", "cv")


def test_what_no_tree_knows_stands_below_its_own_path_and_is_never_lost() -> None:
    tree = Organisation([Department("rd", "R&D")]).tree(0)
    assert tree.place("rd/x/y").path == ("rd", "rd/x", "rd/x/y")
    assert tree.place("rd/x/y").department is None
    assert tree.place(UNMAPPED).path == (UNMAPPED,)


def test_circles_orphans_doubles_and_two_roots_are_each_told_with_their_rows() -> None:
    rows = [
        ("row 1", Department("a", "A", "c")),
        ("row 2", Department("b", "B", "a")),
        ("row 3", Department("c", "C", "b")),
        ("row 4", Department("d", "D", "nobody")),
        ("row 5", Department("e", "E")),
        ("row 6", Department("f", "F")),
        ("row 7", Department("f", "F again", "e")),
        ("row 8", Department("g", "G", "e", source_key="k")),
        ("row 9", Department("h", "H", "e", source_key="k")),
    ]
    said = "\n".join(trouble(rows))
    assert "row 1, row 2, row 3: a circle: 'a' below 'c' below 'b' below 'a'" in said
    assert "row 4: the parent 'nobody' of 'd' is not there at that time" in said
    assert "row 6 and row 7: id 'f' twice at one time" in said
    assert "row 8 and row 9: key 'k' twice at one time" in said
    assert "2 roots at one time ('e' in row 5, 'f' in row 6)" in said
    assert len(said.splitlines()) == 5


def test_one_id_after_the_other_and_a_parent_of_another_source_are_no_trouble() -> None:
    rows = [
        ("row 1", Department("a", "A", "elsewhere", valid_to_us=10)),
        ("row 2", Department("a", "A", None, valid_from_us=10)),
    ]
    assert trouble(rows, [Department("elsewhere", "E", valid_to_us=10)]) == []
    assert "row 1: the parent" in trouble(rows, [Department("elsewhere", "E", valid_to_us=5)])[0]


@given(organisations())
def test_a_tree_without_trouble_has_one_root_over_all(rows: list[Department]) -> None:
    if trouble([(f"row {n}", row) for n, row in enumerate(rows)]):
        return
    organisation = Organisation(rows)
    for at_us in range(0, 100, 7):
        tree = organisation.tree(at_us)
        assert len({tree.place(name).path[0] for name in tree.departments}) <= 1


# ------------------------------------------------------------------------------- from the store
@pytest.fixture
def world() -> World:
    world = World()
    world.card("G1")
    world.price("H800", 20_000_000)
    world.hold("G1", "slurm/dc1/nlp/7", 0, 24)
    world.rule("slurm:nlp", "rd/nlp", end=at(18))
    world.rule("slurm:nlp", "ai/nlp", start=at(18))
    for row in (
        ("rd", None, None, -2400, None),
        ("rd/nlp", "rd", "k1", -2400, 12),
        ("ai", None, None, 12, None),
        ("ai/nlp", "ai", "k1", 12, None),
    ):
        name, parent, key, begin, end = row
        world.db.execute(
            "INSERT INTO department (department_id, name, parent_id, source_key, owner, valid_from, valid_to, known_from) "
            "VALUES (?, upper(?), ?, ?, 'ada', ?, ?, TIMESTAMP '2020-01-01')",
            [name, name, parent, key, at(begin), None if end is None else at(end)],
        )
    States(world.db).make(DAY.date(), LATER)
    return world


def test_sums_by_the_tree_then_and_now_say_which(world: World) -> None:
    day = (DAY, datetime(2026, 10, 8, tzinfo=UTC))
    then = rollup(world.db, *day, "then", LATER)
    hours = {tuple(each["path"]): each["total"]["card_hours"] for each in then["departments"]}
    # Until 18:00 lines say rd/nlp; from 12:00 that department stands below AI.
    assert {path: float(value) for path, value in hours.items()} == {
        ("ai",): 12.0,
        ("ai", "ai/nlp"): 12.0,
        ("rd",): 12.0,
        ("rd", "rd/nlp"): 12.0,
    }
    assert then["tree"] == "then"
    assert "it changed 1 times" in then["tree_says"]
    now = rollup(world.db, *day, "now", LATER)
    assert {tuple(each["path"]): float(each["total"]["card_hours"]) for each in now["departments"]} == {
        ("ai",): 24.0,
        ("ai", "ai/nlp"): 24.0,
    }
    assert now["tree"] == "2026-11-01T00:00:00Z"
    assert now["departments"][0]["total"]["cost"] == {"CNY": "480.00"}
    for answer in (then, now):
        assert sum(int(e["own"]["quantity"]) for e in answer["departments"]) == us(24) * NANO - us(0) * NANO


def test_part_of_a_day_costs_its_part_and_what_one_may_not_see_is_in_no_sum(world: World) -> None:
    part = rollup(world.db, DAY.replace(hour=17), DAY.replace(hour=19), "now", LATER)
    assert float(part["departments"][0]["total"]["card_hours"]) == 2.0
    seen = rollup(
        world.db, DAY.replace(hour=17), DAY.replace(hour=19), "now", LATER, lambda name: name == "ai/nlp"
    )
    assert float(seen["departments"][0]["total"]["card_hours"]) == 1.0
    with pytest.raises(BadInput, match="neither then, now nor a time"):
        rollup(world.db, DAY, LATER, "yesterday", LATER)


def test_the_tree_as_of_an_instant_lists_parents_first(world: World) -> None:
    early = departments(world.db, DAY)
    assert [d["department_id"] for d in early["departments"]] == ["rd", "rd/nlp"]
    late = departments(world.db, LATER)
    assert [(d["department_id"], d["depth"], d["owner"]) for d in late["departments"]] == [
        ("ai", 0, "ada"),
        ("ai/nlp", 1, "ada"),
        ("rd", 0, "ada"),
    ]
