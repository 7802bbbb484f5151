"""What reading the RDMA ports and the host costs, against reading the same the plain way in the same run.

    python benchmarks/node_sources.py [--ports 8] [--rounds 300]

Ports: a /sys of our own in memory with that many ports, read by ``RdmaPorts`` and by opening every file anew
(what a script does). The driver's own time is not in it: on mlx5 each file below counters/ is a firmware query.
Host: this machine, read by ``HostSource`` and by psutil. CPU time, not wall time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ullage_agent.sources.host import HostSource
from ullage_agent.sources.rdma import RdmaPorts
from ullage_contract.catalogue import Tier

FIXTURE = Path(__file__).parent.parent / "tests/fixtures/rdma/ib400_four_ports.txt"


def tree(sysfs: Path, ports: int) -> None:
    """class/infiniband with ``ports`` devices of one port, from one device of the fixture."""
    root = sysfs / "class/infiniband"
    for line in FIXTURE.read_text().splitlines():
        path, _, value = line.partition(": ")
        device, _, rest = path.partition("/")
        if device == "mlx5_0":
            for number in range(ports):
                file = root / f"mlx5_{number}" / rest
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(value + "\n")


def plainly(sysfs: Path) -> int:
    """Open, read and parse every file; how many numbers there were."""
    numbers = 0
    for port in (sysfs / "class/infiniband").glob("*/ports/*"):
        for folder in ("counters", "hw_counters"):
            for file in (port / folder).iterdir():
                numbers += int(file.read_text()) >= 0
        for name in ("state", "phys_state", "rate"):
            (port / name).read_text()
    return numbers


def by_psutil() -> None:
    """The part of the host's row that psutil gives."""
    psutil.cpu_times_percent()
    psutil.virtual_memory()
    psutil.swap_memory()
    psutil.net_io_counters(pernic=True)
    psutil.disk_io_counters(perdisk=True)
    psutil.getloadavg()
    psutil.boot_time()


def cpu_milliseconds(function: Callable[[], object], rounds: int) -> float:
    """CPU time of one call, the mean of ``rounds`` after one that warms up."""
    function()
    began = time.process_time()
    for _ in range(rounds):
        function()
    return (time.process_time() - began) / rounds * 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ports", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(dir=memory))
    try:
        tree(folder / "sys", given.ports)
        source = RdmaPorts("n", sysfs=folder / "sys", proc=folder / "proc")
        list(source.facts())
        values = sum(len(reading.values) for reading in source.read(Tier.FAST))
        ports = cpu_milliseconds(lambda: list(source.read(Tier.FAST)), given.rounds)
        plain = cpu_milliseconds(lambda: plainly(folder / "sys"), given.rounds)
        source.close()
    finally:
        shutil.rmtree(folder)
    host = HostSource("n")
    fast = cpu_milliseconds(lambda: list(host.read(Tier.FAST)), given.rounds)
    slow = cpu_milliseconds(lambda: list(host.read(Tier.SLOW)), given.rounds)
    peer = cpu_milliseconds(by_psutil, given.rounds)
    host.close()
    figures = {
        "ports": given.ports,
        "port_values": values,
        "ports_ms": round(ports, 3),
        "ports_plain_ms": round(plain, 3),
        "ports_ratio": round(plain / ports, 2),
        "host_fast_ms": round(fast, 3),
        "host_slow_ms": round(slow, 3),
        "host_psutil_ms": round(peer, 3),
        "host_ratio": round(peer / fast, 2),
    }
    print(
        f"{given.ports} ports, {values} values: {ports:.2f} ms of CPU, opening every file anew {plain:.2f} ms"
    )
    print(f"host: {fast:.2f} ms fast, {slow:.2f} ms with the slow tier; psutil {peer:.2f} ms for less")
    print(json.dumps({"benchmark": "node_sources", "figures": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
