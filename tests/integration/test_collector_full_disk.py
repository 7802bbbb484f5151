"""The collector's disk runs full while it serves, and is emptied again: nothing acknowledged is missing."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.collector_process import CollectorProcess
from tests.integration.test_collector_kill import Node, check, drain


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB in memory; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here: no disk that can run full")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("reserve_bytes", [16 * 1024 * 1024, 0], ids=["with a reserve", "to the last byte"])
def test_a_full_disk_is_told_to_senders_and_costs_nothing_acknowledged(
    small_disk: Path, reserve_bytes: int
) -> None:
    collector = CollectorProcess(small_disk / "data")
    config = small_disk / "data" / "collector.toml"
    config.write_text(config.read_text().replace("reserve_bytes = 0", f"reserve_bytes = {reserve_bytes}"))
    collector.log = small_disk.parent / "collector.log"
    collector.start()
    nodes = [Node(collector, i, "samples") for i in range(4)] + [Node(collector, 0, "events")]
    try:
        for node in nodes:
            node.start()
        wait_until(lambda: all(node.acknowledged > 20 for node in nodes), collector)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass  # full
        samples = nodes[:-1]
        wait_until(lambda: all(node.refused[507] > 2 for node in samples), collector)
        time.sleep(3.0)  # the store meets it too
        filler.unlink()
        before = [node.acknowledged for node in nodes]
        wait_until(
            lambda: all(n.acknowledged > b + 20 for n, b in zip(nodes, before, strict=True)), collector
        )
        for node in nodes:
            node.ending.set()
        for node in nodes:
            node.join(30)
        drain(collector, nodes)
        assert collector.stop() == 0
    finally:
        for node in nodes:
            node.ending.set()
        collector.ensure_ended()
    check(small_disk / "data" / "collector" / "store.duckdb", nodes)


def wait_until(what: object, collector: CollectorProcess) -> None:
    deadline = time.monotonic() + 90
    pause = threading.Event()
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, collector.log.read_text()[-3000:]
        pause.wait(0.05)
