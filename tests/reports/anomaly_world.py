"""Ten weeks of published days made line by line, with unusual days whose causes are known because they were put there."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
from tests.collector.fleet_world import HOUR, LATER, NANO, World

from ullage_collector.publish.files import publish_dimensions, publish_facts_day

FIRST = date(2026, 8, 3)  # a Monday
CARDS = 8


class Days:
    """A fleet of CARDS cards: rd trains on two of them each day, longer on working days, cv serves on two; the rest is free."""

    def __init__(self) -> None:
        self.world = World(minutes=False)
        for number in range(CARDS + 2):
            self.world.card(f"C{number}")
        self.lines: list[tuple[object, ...]] = []
        self.price = 10_000_000

    def line(self, day: date, card: int, begin: float, end: float, department: str, job: str | None, *, state: str = "used",
             price: int | None = -1, incident: int | None = None, scenario: str | None = None) -> None:  # fmt: skip
        midnight = (day - date(1970, 1, 1)).days * 24 * HOUR
        key = self.world.cards[f"C{card}"]
        work = None if job is None else self.world.workload(f"slurm/dc1/{job}")
        for hour in range(int(begin), int(end)):
            self.lines.append(
                (day, key, midnight + hour * HOUR, midnight + (hour + 1) * HOUR, state, work, department, scenario,
                 self.price if price == -1 else price, "CNY" if price is not None else None, incident)
            )  # fmt: skip

    def usual(self, day: date, *, hours: float | None = None, cards: int = CARDS) -> None:
        """An ordinary day: rd's jobs have another number each day, as real ones do."""
        number = (day - FIRST).days
        busy = hours if hours is not None else 20.0 if day.weekday() < 5 else 8.0
        for card in (0, 1):
            self.line(day, card, 0, busy, "rd", f"sft-{number}{card}", scenario="training")
            self.line(day, card, busy, 24, "platform", None, state="unallocated_idle")
        for card in (2, 3):
            self.line(day, card, 0, 24, "cv", "serve-1", scenario="inference")
        for card in range(4, cards):
            self.line(day, card, 0, 24, "platform", None, state="unallocated_idle")

    def publish(self, root: Path, days: list[date]) -> None:
        db = self.world.db
        names = ("day", "card_key", "from_us", "to_us", "state", "workload_key", "department_id", "scenario", "price_micro",
                 "currency", "incident_id")  # fmt: skip
        db.register(
            "given", pa.table(dict(zip(names, map(list, zip(*self.lines, strict=True)), strict=True)))
        )
        db.execute(
            "INSERT INTO segment (day, revision, card_key, from_us, to_us, state, share_nano, workload_key, department_id, "
            f"scenario, price_micro, currency, incident_id, inventory_id) SELECT day, 1, card_key, from_us, to_us, state, {NANO}, "
            "workload_key, department_id, scenario, price_micro, currency, incident_id, i.inventory_id FROM given "
            "JOIN card USING (card_key) JOIN inventory i USING (card_id)"
        )
        for day in days:
            publish_facts_day(db, root, day, status="sealed", now=LATER)
        publish_dimensions(db, root, now=LATER)


def on(number: int) -> date:
    """The day so many days after the first."""
    return FIRST + timedelta(days=number)
