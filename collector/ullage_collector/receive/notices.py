"""Events the collector makes itself: a node's clock is wrong, two machines under one name.

They go into the events' journal like everybody's, as streams of this process, so that the fault engine and
the store see one kind of event only.
"""

from __future__ import annotations

import hashlib
import logging
import secrets

import ullage_contract
from ullage_collector.journal import Record
from ullage_collector.receive.commit import Committer
from ullage_contract.clock import Clock
from ullage_contract.errors import StoreError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Family, Origin
from ullage_contract.wire import Batch, encode

log = logging.getLogger(__name__)

REPEAT_SECONDS = 3600.0  # our choice: because a standing fault needs a reminder, not a flood
IDENTITY = "collector"


class Notices:
    """Journals an event about a node, at most once an hour for the same node, kind and detail."""

    def __init__(self, events: Committer, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._nonce = secrets.token_hex(8)
        self._sequences: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str, str, str], float] = {}

    def tell(self, cluster: str, node: str, kind: str, detail: str, message: str) -> None:
        """Journal one event about ``node``; returns at once, a failure is logged."""
        now = self._clock.wall()
        key = (cluster, node, kind, detail)
        if 0 <= now - self._told.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        if len(self._told) > 100_000:
            self._told.clear()
        self._told[key] = now
        sequence = self._sequences[cluster, node] = self._sequences.get((cluster, node), 0) + 1
        event = Event(
            time=now,
            kind=kind,
            severity=Severity.WARNING,
            family=Family.NODE,
            subject=node,
            source="collector",
            message=message[:500],
        )
        stream = stream_id("notices", self._nonce, cluster, node)
        body = encode(
            Batch(
                stream=stream,
                sequence=sequence,
                lane="events",
                agent=ullage_contract.__version__,
                cluster=cluster,
                node=node,
                machine_id=None,
                boot_id=None,
                origin=Origin.REAL,
                events=[event],
            )
        )
        log.warning("%s/%s: %s", cluster, node, message)
        record = Record(stream, sequence, "events", cluster, node, IDENTITY, int(now * 1e6), None, body)
        self._events.submit(record, _logged)


def stream_id(*parts: str) -> str:
    """A stream's name made of what it stands for: 32 letters and digits."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _logged(error: StoreError | None) -> None:
    if error is not None:
        log.error("an event of the collector's own could not be journalled: %s", error)
