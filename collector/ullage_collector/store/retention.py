"""What is old leaves the store: telemetry, and nothing else, ever.

Raw days go after ``hot_days``. Minute days go after ``minute_days`` and only when their newest published
revision is sealed and holds all that came: the published day is then the only copy and the evidence.
Hours stay for ``HOUR_DAYS``. Requests of five minutes go with the minutes, those of hours with the hours.
Inventory, allocations, prices, segments, incidents and audit stay.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ullage_collector.serving.book import KEEP_SERIES_SECONDS
from ullage_collector.sql import fill, statements
from ullage_collector.store.columns import KINDS, Grain
from ullage_collector.store.days import day_start_us
from ullage_collector.store.rollup import through_us

if TYPE_CHECKING:
    from ullage_collector.config import Store as Settings
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

HOUR_DAYS: Final = (
    800  # our choice: because a quarter is compared with the same one of the year before, twice
)


class Retention:
    """Drops whole days. ``step`` is cheap when there is nothing to do."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def step(self, now: datetime) -> list[tuple[str, date]]:
        """Drop what is old at ``now`` (aware UTC); which (kind, day)."""
        today = now.date()
        raw_before = today - timedelta(days=self._settings.hot_days)
        minutes_before = today - timedelta(days=self._settings.minute_days)
        dropped: list[tuple[str, date]] = []
        sql = statements("publish_telemetry")
        with self._store.write() as cursor:
            rolled = through_us(cursor)
            while day_start_us(raw_before) > rolled:
                raw_before -= timedelta(days=1)  # never before its minutes are made
                if raw_before.year < 1971:
                    break
            sealed = {row[0] for row in cursor.execute(sql["sealed_days"]).fetchall()}
            naive = now.replace(tzinfo=None)
            for kind in KINDS:
                if kind.grain is Grain.SAMPLE:
                    gone = self._store.days.drop_before(cursor, kind, raw_before)
                elif kind.grain is Grain.MINUTE:
                    keep = [
                        table.day
                        for table in self._store.days.tables(kind)
                        if table.day and (table.day >= minutes_before or table.day not in sealed)
                    ]
                    gone = self._store.days.drop_others(cursor, kind, keep)
                    for day in gone:
                        cursor.execute(sql["drop_day"], [kind.name, day, naive])
                else:
                    table = self._store.days.tables(kind)[0].name
                    oldest = naive - timedelta(days=HOUR_DAYS)
                    cursor.execute(fill(sql["old_hours"], table=table), [oldest])
                    gone = []
                dropped += [(kind.name, day) for day in gone]
            serving = statements("serving")
            # What may still be told later has to find the rest of its hour.
            spans_before = min(minutes_before, today - timedelta(seconds=KEEP_SERIES_SECONDS + 86_400))
            cursor.execute(
                serving["drop_spans"], {"before": datetime.combine(spans_before, datetime.min.time())}
            )
            cursor.execute(serving["drop_hours"], {"before": naive - timedelta(days=HOUR_DAYS)})
            cursor.execute(serving["drop_series"], {"before": naive - timedelta(seconds=KEEP_SERIES_SECONDS)})
        for name, day in dropped:
            log.info("%s of %s dropped, it is older than the retention", name, day)
        return dropped
