"""An Xid in the kernel log is an event at the sinks within a moment, not at the next tick."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from test_sampler import KeepingSink

from ullage_agent.assembly import Agent
from ullage_agent.config import Config, Sources
from ullage_agent.pump import EventPump
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Origin


class WaitingSink(KeepingSink):
    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()

    def events(self, events: Sequence[Event], *, origin: Origin = Origin.REAL) -> None:
        super().events(events, origin=origin)
        if any(event.kind == "xid" for event in events):
            self.came.set()


def test_an_xid_does_not_wait_for_the_tick(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/kmsg")
    sink = WaitingSink()
    agent = Agent(
        Config(node="n1", sources=Sources(rdma=False, host=False)), ManualClock(), root=tmp_path, sinks=[sink]
    )
    writer = os.open(tmp_path / "dev/kmsg", os.O_RDWR)  # both ends, so that opening waits for nobody
    try:
        agent.tick(Tier.FAST)
        os.write(
            writer,
            b"4,1,1000000000,-;NVRM: Xid (PCI:0000:9b:00): 79, pid=7, name=python, GPU has fallen off the bus.\n",
        )
        assert sink.came.wait(10), "it came without another tick"
        (event,) = [event for _, event in sink.events_seen if event.kind == "xid"]
        assert (event.code, event.subject) == ("79", "n1"), "no card is known there: the node's"
    finally:
        agent.close()
        os.close(writer)


def test_a_source_that_cannot_be_pumped_does_not_end_the_pump() -> None:
    pumped = threading.Event()

    class Sampler:
        def pump(self, name: str) -> None:
            if name == "bad":
                raise OSError("gone")
            pumped.set()

    pump = EventPump(Sampler())
    pump.wake("bad")
    pump.wake("good")
    assert pumped.wait(10)
    pump.close()
