"""Where things stand, dated twice: what a source no longer says ends, conflicts are shown, and unknown is never one domain."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_fixture import NOON

from ullage_collector.config import Store as StoreSettings
from ullage_collector.detect.rounds import conflicts_of
from ullage_collector.sql import migrations
from ullage_collector.store.store import Store
from ullage_collector.topology import Subject, Topology
from ullage_collector.topology.domains import Port, Row
from ullage_collector.topology.door import Asked, import_topology
from ullage_collector.topology.keep import cut, joined, keep
from ullage_collector.topology.reading import check, load, settings_of, shipped_precedence
from ullage_collector.topology.relation import Relation
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput, ConfigError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "topology"
DAY = 86_400_000_000
START = round(NOON * 1e6)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOON)
        self.store = Store.open(folder / "store.duckdb", StoreSettings(threads=1), self.clock)

    def now(self) -> int:
        return round(self.clock.wall() * 1e6)

    def say(self, text: str, at: int | None = None, source: str = "racks.csv", form: str = "csv"):
        """A source says a whole table, known a minute later than the last."""
        self.clock.advance(60)
        path = self.folder / "said.txt"
        path.write_text(text, encoding="utf-8")
        asked = Asked(path, form, cluster="c1", source=source, at_us=at)
        return import_topology(self.store, asked, {})

    def racks(self, at: int, known: int | None = None) -> dict[str, str | None]:
        found = load(self.store.reader(), at, self.now() if known is None else known)
        return {row.subject: row.target for row in found.rows if row.relation == "rack"}

    def count(self) -> int:
        return self.store.reader().execute("SELECT count(*) FROM topology").fetchall()[0][0]


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.store.close()


def test_the_same_statement_twice_adds_nothing(world: World) -> None:
    text = "node,rack\nn1,A\nn2,A\n"
    assert world.say(text).rows_added == 2
    before = world.count()
    again = world.say(text)
    assert (again.rows_added, again.rows_present, again.notes) == (0, 2, {"ended": 0})
    assert world.count() == before


def test_what_a_source_no_longer_says_ends_and_another_sources_word_stays(world: World) -> None:
    world.say("node,rack\nn1,A\nn2,A\n", START)
    world.say("node,rack\nn2,B\n", START, source="other.csv")
    report = world.say("node,rack\nn1,C\n", START + 5 * DAY)
    assert (report.rows_added, report.notes) == (1, {"ended": 2})
    assert world.racks(START + 4 * DAY)["n1"] == "A"
    assert world.racks(START + 5 * DAY) == {"n1": "C", "n2": "B"}


def test_what_was_believed_before_a_correction_can_be_asked_again(world: World) -> None:
    world.say("node,rack\nn1,A\n", START)
    then = world.now()
    world.say("node,rack\nn1,B\n", START)  # a correction from the very start
    assert world.racks(START + DAY) == {"n1": "B"}
    assert world.racks(START + DAY, known=then) == {"n1": "A"}
    assert world.racks(START - DAY) == {}


def test_a_late_statement_about_an_earlier_time_changes_only_the_time_up_to_the_next(world: World) -> None:
    world.say("node,rack\nn1,C\n", START + 10 * DAY)
    world.say("node,rack\nn1,A\n", START)
    world.say("node,rack\nn1,B\n", START + 5 * DAY)
    places = [world.racks(START + n * DAY).get("n1") for n in (-1, 0, 4, 5, 9, 10, 99)]
    assert places == [None, "A", "A", "B", "B", "C", "C"]


def test_a_wrong_or_empty_file_changes_nothing(world: World) -> None:
    world.say("node,rack\nn1,A\n", START)
    before = world.count()
    with pytest.raises(BadInput, match=r"said\.txt:2"):
        world.say("node,rack\nn1\n")
    with pytest.raises(BadInput, match="says nothing of topology; nothing is changed"):
        world.say("node,rack\n")
    with pytest.raises(ConfigError, match="--format 'png'"):
        world.say("", form="png")
    with pytest.raises(ConfigError, match="name it with --node"):
        world.say("{}", form="lldp-json")
    assert world.count() == before


def test_whose_names_they_are_is_asked_where_it_is_not_plain(world: World) -> None:
    asked = Asked(FIXTURES / "racks.csv", "csv")
    with pytest.raises(ConfigError, match="none is known yet"):
        import_topology(world.store, asked, {})
    for cluster in ("c1", "c2"):
        with world.store.write() as cursor:
            world.store.identities.node(cursor, cluster, "n1", None, "real")
            world.store.identities.flush(cursor)
        if cluster == "c1":
            assert import_topology(world.store, asked, {}).rows_added == 13
    with pytest.raises(ConfigError, match="there are c1, c2"):
        import_topology(world.store, asked, {})


def test_what_was_said_again_stands_against_a_late_word_about_the_time_before(world: World) -> None:
    world.say("node,rack\nn1,A\n", START)
    world.say("node,rack\nn1,A\n", START + 5 * DAY)
    world.say("node,rack\nn1,B\n", START + 2 * DAY)
    assert [world.racks(START + n * DAY)["n1"] for n in (0, 2, 4, 5, 9)] == ["A", "B", "B", "A", "A"]


@settings(deadline=None, max_examples=60)
@example(said=[(2, {"A"}), (0, {"A", "B"}), (3, {"A", "B"}), (1, {"A"}), (1, {"A"})])  # spans out of order
@given(st.lists(st.tuples(st.integers(0, 11), st.sets(st.sampled_from("AB"))), min_size=1, max_size=6))
def test_statements_in_any_order_make_the_timeline_they_should(said: list[tuple[int, set[str]]]) -> None:
    """A dense picture, instant by instant: a statement paints from its time to when the source next spoke or confirmed."""
    db = duckdb.connect(":memory:")
    for _, _, text in migrations():
        db.execute(text)
    picture: list[frozenset[str]] = [frozenset()] * 13
    confirmed: dict[int, int] = {}
    for now, (at, racks) in enumerate(said, 1):
        kept = keep(db, "csv:x", "c1", [Relation("node", f"n{r}", "rack", r) for r in racks], at, now)
        later = [start if start > at else end for start, end in confirmed.items() if end > at]
        until = min(later, default=13)
        assert kept.changed == any(shown != racks for shown in picture[at:until])
        if kept.changed:
            picture[at:until] = [frozenset(racks)] * (until - at)
            confirmed[at] = max(confirmed.get(at, at), at)
        elif earlier := [start for start in confirmed if start <= at]:
            confirmed[max(earlier)] = max(confirmed[max(earlier)], at)
    for instant, racks in enumerate(picture):
        rows = db.execute(
            "SELECT target FROM topology WHERE known_to IS NULL AND valid_from <= make_timestamp(?) "
            "AND (valid_to IS NULL OR valid_to > make_timestamp(?))",
            [instant, instant],
        ).fetchall()
        assert sorted(row[0] for row in rows) == sorted(racks)
    db.close()


def test_spans_are_cut_and_joined() -> None:
    assert cut([(0, None)], 3, 5) == [(0, 3), (5, None)]
    assert cut([(0, 3), (5, 9)], 3, 5) == [(0, 3), (5, 9)]
    assert cut([(0, 9)], 0, None) == []
    assert joined([(5, None), (0, 3), (3, 5)]) == [(0, None)]
    assert joined([(0, 2), (4, 6), (1, 3)]) == [(0, 3), (4, 6)]


# ------------------------------------------------------------------------------------------- domains
def row(subject: str, relation: str, target: str, source: str = "csv:x", family: str = "node", **more) -> Row:
    return Row(source, more.pop("cluster", "c1"), family, subject, relation, target, more)


def node(name: str, cluster: str = "c1") -> Subject:
    return Subject("node", name, cluster)


def topology(*rows: Row, **more) -> Topology:
    more.setdefault("precedence", shipped_precedence())
    return Topology(rows, **more)


def test_unknown_topology_is_never_one_domain_and_never_two() -> None:
    found = topology(row("n1", "rack", "A"))
    for level in ("rack", "room", "leaf_switch", "link_domain", "power_feed", "spine", "rail"):
        assert found.same_domain(node("n1"), node("n2"), level) is None
    assert found.same_domain(Subject("card", "G1"), Subject("card", "G2"), "node") is None


def test_the_same_rack_name_is_one_rack_only_where_nothing_speaks_against_it() -> None:
    found = topology(
        row("n1", "rack", "A"), row("n2", "rack", "A"), row("n3", "rack", "B"),
        row("n4", "rack", "A"), row("n4", "room", "R2"),
        row("n5", "rack", "A"), row("n5", "room", "R3"),
        row("n6", "rack", "A"), row("n6", "room", "R2"),
    )  # fmt: skip
    assert found.same_domain(node("n1"), node("n2"), "rack") is True
    assert found.same_domain(node("n1"), node("n3"), "rack") is False
    assert found.same_domain(node("n4"), node("n5"), "rack") is False  # two rooms with a rack A
    assert found.same_domain(node("n4"), node("n6"), "rack") is True
    assert found.same_domain(node("n1"), node("n4"), "rack") is None  # n1's room is not known


def test_a_better_source_is_believed_and_the_conflict_is_shown() -> None:
    found = topology(
        row("n1", "rack", "A", "csv:racks"),
        row("n1", "rack", "B", "kubernetes:nodes"),
        row("n2", "rack", "A", "csv:racks"),
        row("n3", "rack", "A", "csv:one"),
        row("n3", "rack", "B", "csv:two"),
    )
    assert found.place("c1", "n1", "rack") == "A"
    assert found.same_domain(node("n1"), node("n2"), "rack") is True
    assert found.place("c1", "n3", "rack") is None
    assert found.same_domain(node("n2"), node("n3"), "rack") is None
    shown = [(c.subject, c.relation, c.said, c.believed) for c in found.conflicts()]
    assert shown == [
        ("n1", "rack", (("csv:racks", "A"), ("kubernetes:nodes", "B")), "A"),
        ("n3", "rack", (("csv:one", "A"), ("csv:two", "B")), None),
    ]
    kinds = [(f.kind, f.family, f.subject, f.evidence["believed"]) for f in conflicts_of(found)]
    assert kinds == [("topology_conflict", "node", "n1", "A"), ("topology_conflict", "node", "n3", None)]


def test_a_site_says_whom_it_believes() -> None:
    order, _ = settings_of({"precedence": {"rack": ["kubernetes", "csv"]}})
    found = topology(row("n1", "rack", "A"), row("n1", "rack", "B", "kubernetes:x"), precedence=order)
    assert found.place("c1", "n1", "rack") == "B"
    with pytest.raises(ConfigError, match=r"\[precedence\] rack = 'oracle'"):
        settings_of({"precedence": {"rack": ["oracle"]}})
    with pytest.raises(ConfigError, match="write default or one of"):
        settings_of({"precedence": {"colour": ["csv"]}})


def test_two_power_feeds_are_no_conflict_and_one_shared_feed_is_one_domain() -> None:
    found = topology(
        row("n1", "power_feed", "F1"), row("n1", "power_feed", "F2"),
        row("n2", "power_feed", "F2"), row("n3", "power_feed", "F3"),
    )  # fmt: skip
    assert found.conflicts() == []
    assert found.same_domain(node("n1"), node("n2"), "power_feed") is True
    assert found.same_domain(node("n1"), node("n3"), "power_feed") is False


PORTS = (
    Port("n1/mlx5_0/1", "c1", "n1", 1, "a088:c203:0001:0001", "ib0", "fabric"),
    Port("n1/mlx5_1/1", "c1", "n1", 1, "a088:c203:0001:0002", "ib1", "fabric"),
    Port("n1/mlx5_9/1", "c1", "n1", 1, None, "eno1", "management"),
    Port("n2/mlx5_0/1", "c1", "n2", 1, "0xa088c20300020001", "ib0", "fabric"),
    Port("n2/mlx5_9/1", "c1", "n2", 1, None, "eno1", "management"),
)
LEAF, OTHER = "b0cf0e0300aa0001", "b0cf0e0300aa0009"


def cabled(*rows: Row) -> Topology:
    return topology(
        row(LEAF, "name", "leaf01", "ibnetdiscover:x", "switch"),
        row("a088c20300010001/1", "leaf_switch", LEAF, "ibnetdiscover:x", "hca"),
        row("a088c20300020001/1", "leaf_switch", LEAF, "ibnetdiscover:x", "hca"),
        *rows,
        nodes=[("c1", "n1"), ("c1", "n2"), ("c1", "n3")],
        cards=[("G1", "c1", "n1"), ("G2", "c1", "n1"), ("G3", "c1", "n2")],
        ports=PORTS,
    )


def test_an_adapters_guid_joins_the_cabling_to_the_port_the_agent_sees() -> None:
    found = cabled(row("G1", "nearest_port", "n1/mlx5_0/1", "agents:facts", "card"))
    a, b = Subject("port", "n1/mlx5_0/1"), Subject("port", "n2/mlx5_0/1")
    assert found.same_domain(a, b, "leaf_switch") is True
    assert found.same_domain(Subject("card", "G1"), Subject("card", "G3"), "leaf_switch") is True
    leaves = found.domains(a, "leaf_switch")
    assert leaves is not None and leaves.targets == {"leaf01"}


def test_a_switch_is_the_same_by_guid_and_by_name() -> None:
    found = cabled(row("n3", "leaf_switch", "leaf01", "slurm:topology.conf"))
    assert found.same_domain(node("n2"), node("n3"), "leaf_switch") is True
    assert found.conflicts() == []


def test_a_port_in_two_switches_is_a_conflict_and_what_measured_it_is_believed() -> None:
    found = cabled(row("n2/ib0", "leaf_switch", "leaf07", "lldp:n2", "netdev"))
    ((conflict,),) = [found.conflicts()]
    assert (conflict.family, conflict.subject, conflict.believed) == ("port", "n2/mlx5_0/1", "leaf01")


def test_ports_that_are_not_all_known_prove_no_difference() -> None:
    found = cabled(row("n3", "leaf_switch", "leaf07", "slurm:topology.conf"))
    # one of n1's two fabric ports is not cabled in any list: it may hang on leaf07; its management port does not count
    assert found.same_domain(node("n1"), node("n3"), "leaf_switch") is None
    assert found.same_domain(node("n2"), node("n3"), "leaf_switch") is False


def test_an_adapter_no_agent_knows_is_its_descriptions_node() -> None:
    found = cabled(
        row("a088c20300030001/1", "leaf_switch", LEAF, "ibnetdiscover:x", "hca", description="n3 mlx5_0")
    )
    assert found.same_domain(node("n2"), node("n3"), "leaf_switch") is True


def test_spines_are_said_or_stand_above_the_leaves() -> None:
    rows = [
        row("s1", "parent_switch", "root", "slurm:t", "switch"),
        row("s2", "parent_switch", "root", "slurm:t", "switch"),
        row("n1", "leaf_switch", "s1", "slurm:t"),
        row("n2", "leaf_switch", "s2", "slurm:t"),
        row("n3", "leaf_switch", "s3", "slurm:t"),
    ]
    found = topology(*rows)
    assert found.same_domain(node("n1"), node("n2"), "leaf_switch") is False
    assert found.same_domain(node("n1"), node("n2"), "spine") is True
    assert found.same_domain(node("n1"), node("n3"), "spine") is None
    assert found.same_domain(node("n1"), node("n2"), "core") is None


def test_link_domains_are_of_cards_or_of_their_whole_node_and_never_taken_for_granted() -> None:
    cards = [("G1", "c1", "n1"), ("G2", "c1", "n1"), ("G3", "c1", "n2"), ("G4", "c1", "n3")]
    found = topology(
        row("n1", "link_domain", "nvl1"),
        row("n2", "link_domain", "nvl1"),
        row("n3", "block", "nvl1"),
        cards=cards,
    )
    card = [Subject("card", name) for name in ("G1", "G2", "G3", "G4")]
    assert found.same_domain(card[0], card[2], "link_domain") is True
    assert found.same_domain(card[0], card[3], "link_domain") is None  # a block is no link domain
    alone = topology(cards=cards)
    assert alone.same_domain(card[0], card[1], "node") is True
    assert (
        alone.same_domain(card[0], card[1], "link_domain") is None
    )  # one box is no proof of NVLink between two


def test_a_clusters_names_are_its_own_but_what_is_unique_in_the_world_is_one() -> None:
    found = topology(
        row("n1", "leaf_switch", "s1"), row("m1", "leaf_switch", "s1", cluster="c2"),
        row("n2", "leaf_switch", LEAF), row("m2", "leaf_switch", LEAF, cluster="c2"),
        row("n1", "rack", "A"), row("m1", "rack", "A", cluster="c2"),
    )  # fmt: skip
    assert found.same_domain(node("n1"), node("m1", "c2"), "leaf_switch") is None
    assert found.same_domain(node("n2"), node("m2", "c2"), "leaf_switch") is True
    assert found.same_domain(node("n1"), node("m1", "c2"), "rack") is True


def test_rails_are_of_cards_through_their_nearest_ports() -> None:
    found = cabled(
        row("G1", "nearest_port", "n1/mlx5_0/1", "agents:facts", "card"),
        row("G2", "nearest_port", "n1/mlx5_1/1", "agents:facts", "card"),
        row("G3", "nearest_port", "n2/mlx5_0/1", "agents:facts", "card"),
        row("n1/mlx5_0/1", "rail", "0", family="port"),
        row("n1/mlx5_1/1", "rail", "1", family="port"),
        row("n2/mlx5_0/1", "rail", "0", family="port"),
    )
    one, two, three = (Subject("card", name) for name in ("G1", "G2", "G3"))
    assert found.same_domain(one, three, "rail") is True
    assert found.same_domain(one, two, "rail") is False
    assert found.same_domain(node("n1"), node("n2"), "rail") is None


def test_unknowns_and_strangers_are_shown() -> None:
    found = check(
        topology(
            row("n1", "rack", "A"), row("nl", "rack", "A", "slurm:x"), nodes=[("c1", "n1"), ("c1", "n2")]
        )
    )
    assert found["unknown"]["rack"] == {"nodes": 1, "first": ["c1/n2"]}
    assert found["unknown"]["site"]["nodes"] == 2
    assert found["strangers"] == [{"source": "slurm:x", "cluster": "c1", "node": "nl"}]


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from(["n1", "n2", "n3"]),
            st.sampled_from(["rack", "room", "leaf_switch", "power_feed", "link_domain"]),
            st.sampled_from("AB"),
            st.sampled_from(["csv:x", "slurm:x", "kubernetes:x"]),
        ),
        max_size=12,
    ),
    st.sampled_from(["rack", "room", "leaf_switch", "power_feed", "link_domain", "spine"]),
)
def test_sameness_is_symmetric_and_a_yes_needs_a_word_of_both(rows: list[Row], level: str) -> None:
    found = topology(*rows)
    for a in ("n1", "n2", "n3"):
        for b in ("n1", "n2", "n3"):
            answer = found.same_domain(node(a), node(b), level)
            assert answer == found.same_domain(node(b), node(a), level)
            if answer is not None:
                assert {a, b} <= {r.subject for r in rows if r.relation == level}
