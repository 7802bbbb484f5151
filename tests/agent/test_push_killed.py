"""kill -9 at any instant: what was spooled arrives, once, and no number ever has two bodies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_rows import samples_body
from wire_server import WireServer

from ullage_agent.outputs.push import Pusher
from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool import Spool
from ullage_agent.outputs.transport import Endpoint, HttpTransport
from ullage_contract.clock import ManualClock
from ullage_contract.wire import decode

HERE = Path(__file__).parent


def rows_of(server: WireServer) -> list[int]:
    """The test's row numbers as the server holds them, one a batch."""
    return [int(b.families[f].columns["power_watts"][0] - 300.0) for b in server.batches for f in b.families]  # type: ignore[operator]


def kill_loop(place: Path, rounds: int) -> None:
    chance = random.Random(20261121)
    promised: list[int] = []
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    with WireServer() as server:
        for _ in range(rounds):
            first = promised[-1] + 1 if promised else 0
            process = subprocess.Popen(
                [sys.executable, str(HERE / "push_loop.py"), str(place), server.url, str(first)],
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
            assert process.stdout is not None
            promised.append(int(process.stdout.readline()))  # it works; now anything may happen
            time.sleep(chance.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
            rest, _ = process.communicate()
            promised += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        spool = Spool(place / "samples", lane="samples", quarantine=Quarantine(place / "quarantine"))
        pusher = Pusher(spool, HttpTransport(Endpoint(url=server.url)), clock=ManualClock())
        spool.append(samples_body(1_000_000))
        while (delay := pusher.step()) is not None:
            assert delay == 0.0
        assert server.conflicts == [], "one number, two bodies"
        arrived = rows_of(server)
        # A killed process may have spooled one row more than it could say; the next one then
        # says it again under a new number. Nothing it said may be missing.
        assert set(promised) <= set(arrived)
        assert len(server.taken) == len(server.order) == len(set(server.order))
        assert [n for _, n in server.order] == sorted({n for _, n in server.order})
        assert len({stream for stream, _ in server.order}) == 1
        assert not list((place / "quarantine").glob("*"))
        for (stream, sequence), body in server.taken.items():
            batch = decode(body)
            assert (batch.stream, batch.sequence) == (stream, sequence)


def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    kill_loop(tmp_path, 20)


@pytest.mark.soak
def test_two_hundred_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    kill_loop(tmp_path, 200)
