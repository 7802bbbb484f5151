"""Small worlds in which things become known late, in any order: what is closed stands, and the corrections make up the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.collector.fleet_world import DAY, NANO, World, at, us

from ullage_collector.adjust import corrections
from ullage_collector.publish import beside, closing
from ullage_collector.states import States, keep, reconcile

SLOW: Final = settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # a world takes seconds: no failure is worth its shrinking
)
KEYS: Final = "cost_class, department_id, business, scenario, vendor, model, pool, cluster_id, state"
DAYS: Final = (DAY.date(), DAY.date() + timedelta(days=1))
# A period with edges inside both UTC days and inside UTC hours, as in India: from 18:30 to 18:30.
FROM, TO = 18.5, 42.5
Sums = dict[tuple[Any, ...], tuple[int, int]]

# What each brings does not depend on what else is known: so the order must not matter.
LATE: Final[Sequence[Callable[[World, datetime], object]]] = (
    lambda w, now: w.rule("slurm:ads", "growth/ads", business="search", scenario="training", known=now),
    lambda w, now: w.price("H800", 31_415_926, start=at(30), known=now),
    lambda w, now: w.price("A100", 7_777_777, start=at(-24), known=now),
    lambda w, now: w.price("MI300", 3_000_000, currency="USD", known=now),
    lambda w, now: w.minutes("G0", 20, 23, 0.9, power_watts=613.7),
    lambda w, now: w.minutes("G1", 30, 35, 0.0, power_watts=97.0),
    lambda w, now: w.db.execute(
        "INSERT INTO tariff VALUES (1, NULL, 'CNY', 612345, 'Asia/Shanghai', '23:00-07:00', NULL, ?, NULL, ?, NULL, 'file')",
        [at(-24), now],
    ),
    lambda w, now: w.db.execute(
        "INSERT INTO pue VALUES (1, NULL, 1270, ?, NULL, ?, NULL, 'file')", [at(31), now]
    ),
    lambda w, now: w.own("G9", "H800", start=at(25.3), known=now),
    lambda w, now: w.hold("G1", "slurm/dc1/ads/7", 20, 40, NANO // 3, known=now),
    lambda w, now: w.hold("G2", "slurm/dc1/nobody/8", 17.77, 33.3, known=now),
    lambda w, now: w.incident("G1", 36, 41),
)


def closed_world() -> World:
    """Four cards, work on two of them, and a period closed as it was known on the 20th."""
    world = World()
    for name, model in (("G0", "H800"), ("G1", "H800"), ("G2", "A100"), ("G3", "MI300")):
        world.card(name, model)
    world.db.execute(
        "INSERT INTO card (card_key, card_id, node_key, vendor, model, origin) VALUES (9, 'G9', ?, 'nvidia', 'H800', 'real')",
        [world.node()],
    )
    world.price("H800", 20_000_000)
    world.rule("slurm:nlp", "rd/nlp", scenario="inference")
    world.hold("G0", "slurm/dc1/nlp/1", 2, 44)
    look(world, datetime(2026, 10, 20, tzinfo=UTC))
    world.db.execute(
        "INSERT INTO period_close (zone, valid_from, valid_to, closed_at, closed_by) VALUES ('Asia/Kolkata', ?, ?, ?, 'ada')",
        [at(FROM), at(TO), at(0, day=datetime(2026, 10, 20, tzinfo=UTC))],
    )
    return world


def look(world: World, now: datetime) -> None:
    """What a round of publishing does with both days, but for the files."""
    reconcile(world.db, now)
    for day in DAYS:
        belief = closing.work_out(world.db, States(world.db), day, now)
        late = corrections.look(world.db, day, belief)
        keep(world.db, belief.stands)
        beside.keep(world.db, belief.stands)
        if late is not None:
            corrections.keep(world.db, late)
    corrections.post(world.db, now)


def stands(world: World) -> Sums:
    """key -> quantity and atoms of the closed period's lines as they are kept."""
    return _sums(world, "segment", "energy_line")


def believed(world: World, now: datetime) -> Sums:
    """The same as believed now, from nothing."""
    import pyarrow as pa

    worked = [States(world.db).work_out(day, now) for day in DAYS]
    world.db.register("lines_now", pa.concat_tables([day.lines for day in worked]))
    world.db.register("energy_now", pa.concat_tables([day.energy for day in worked]))
    try:
        return _sums(world, "lines_now", "energy_now")
    finally:
        world.db.unregister("lines_now")
        world.db.unregister("energy_now")


def _sums(world: World, lines: str, energy: str) -> Sums:
    a, b = us(FROM), us(TO)
    span = f"FROM {{}} s JOIN inventory i USING (inventory_id) WHERE from_us < {b} AND to_us > {a}"
    who = "department_id, business, scenario, i.vendor, i.model, i.pool, i.cluster_id, state"
    part = f"(energy_mj::HUGEINT * (least(to_us, {b}) - from_us) // (to_us - from_us) " + (
        f"- energy_mj::HUGEINT * (greatest(from_us, {a}) - from_us) // (to_us - from_us))"
    )
    return _rows(
        world,
        f"SELECT 'capacity' AS cost_class, {who}, (least(to_us, {b}) - greatest(from_us, {a}))::HUGEINT * share_nano AS q, "
        f"q * coalesce(price_micro, 0) AS a {span.format(lines)} "
        f"UNION ALL SELECT 'energy', {who}, {part} AS q, q * pue_milli * coalesce(tariff_micro, 0) * 1000000 AS a "
        f"{span.format(energy)}",
    )


def posted(world: World) -> Sums:
    """key -> what the corrections add up to."""
    return _rows(world, f"SELECT {KEYS}, quantity AS q, cost_atoms AS a FROM adjustment")


def _rows(world: World, query: str) -> Sums:
    rows = world.db.execute(
        f"SELECT {KEYS}, sum(q), sum(a) FROM ({query}) GROUP BY ALL HAVING sum(q) <> 0 OR sum(a) <> 0"
    ).fetchall()
    return {tuple(row[:9]): (int(row[9]), int(row[10])) for row in rows}


def together(*parts: Sums) -> Sums:
    found: Sums = {}
    for part in parts:
        for key, (q, a) in part.items():
            before = found.get(key, (0, 0))
            found[key] = (before[0] + q, before[1] + a)
    return {key: amounts for key, amounts in found.items() if any(amounts)}


def live(order: Sequence[int], looks: set[int]) -> tuple[World, datetime]:
    """A closed world in which things become known one after the other, looked at after some of them and at the end."""
    world = closed_world()
    before, kept = stands(world), world.lines()
    now = datetime(2026, 10, 21, tzinfo=UTC)
    seen: list[tuple[Any, ...]] = []
    for n, which in enumerate(order):
        now += timedelta(hours=1)
        LATE[which](world, now.replace(tzinfo=None))
        if n in looks or n == len(order) - 1:
            now += timedelta(hours=1)
            look(world, now)
            rows = world.db.execute("SELECT * FROM adjustment ORDER BY adjustment_id").fetchall()
            assert rows[: len(seen)] == seen, "a line that is posted is never edited"
            seen = rows
    look(world, now + timedelta(minutes=1))
    again = world.db.execute("SELECT * FROM adjustment ORDER BY adjustment_id").fetchall()
    assert again == seen, "what is looked at again posts nothing new"
    assert stands(world) == before, "what is closed stands"
    inside = [line for line in kept if us(FROM) <= line["from_us"] and line["to_us"] <= us(TO)]
    lines = [line | {"revision": None} for line in world.lines()]
    assert all(line | {"revision": None} in lines for line in inside)
    assert all(q >= 0 and a >= 0 for q, a in before.values()), "only a correction may be negative"
    assert together(before, posted(world)) == believed(world, now), "to the atom, by every key"
    return world, now


@SLOW
@given(
    first=st.permutations(range(len(LATE))),
    size=st.integers(2, len(LATE)),
    looks=st.sets(st.integers(0, len(LATE))),
    data=st.data(),
)
def test_closed_and_corrections_are_what_is_believed_in_whatever_order_it_became_known(
    first: list[int], size: int, looks: set[int], data: st.DataObject
) -> None:
    order = first[:size]
    world, _ = live(order, looks)
    other, _ = live(data.draw(st.permutations(order)), data.draw(st.sets(st.integers(0, size))))
    assert posted(other) == posted(world), "the sum of the corrections is the same in any order"
    whole = [sum(amount[n] for amount in posted(world).values()) for n in (0, 1)]
    for column in range(9):  # the parts of every table add up to the same whole
        parts: dict[Any, list[int]] = {}
        for key, amounts in posted(world).items():
            part = parts.setdefault(key[column], [0, 0])
            part[0] += amounts[0]
            part[1] += amounts[1]
        assert [sum(part[n] for part in parts.values()) for n in (0, 1)] == whole


def test_the_opposite_is_posted_when_the_first_belief_comes_back() -> None:
    world = closed_world()
    now = datetime(2026, 10, 21, tzinfo=UTC)
    number = world.hold("G1", "slurm/dc1/nlp/9", 20, 40, known=now.replace(tzinfo=None))
    look(world, now)
    first = posted(world)
    assert len(first) == 2
    now += timedelta(hours=1)
    world.db.execute(
        "UPDATE allocation SET known_to = ? WHERE allocation_id = ?", [now.replace(tzinfo=None), number]
    )
    look(world, now)
    assert posted(world) == {}
    assert world.db.execute("SELECT count(*) FROM adjustment").fetchall() == [(2 * len(first),)]
