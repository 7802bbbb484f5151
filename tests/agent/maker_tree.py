"""Recorded-style trees of /sys, /proc and /dev for makers that are read from files, and ways to read them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ullage_agent.backend import Backend, Host, Reading
from ullage_agent.backends.roster import Maker, Roster
from ullage_agent.children.dialogue import Item
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family

T = TypeVar("T")


def straight(card: str, name: str, function: Callable[[], T]) -> T:
    """A Call that watches nobody."""
    return function()


class Ticks:
    """A clock for differences."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Tree:
    """/sys, /proc and /dev below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sysfs, self.proc, self.dev = root / "sys", root / "proc", root / "dev"
        for place in (self.sysfs / "bus/pci/devices", self.proc, self.dev):
            place.mkdir(parents=True)

    def host(self, **settings: Any) -> Host:
        return Host("n1", sysfs=self.sysfs, proc=self.proc, dev=self.dev, settings=settings)

    def write(self, place: str | Path, files: Mapping[str, object]) -> Path:
        """Files below /sys, a line each; bytes as they are."""
        base = self.sysfs / place
        for name, value in files.items():
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(value, bytes):
                path.write_bytes(value)
            else:
                path.write_text(f"{value}\n")
        return base

    def function(
        self,
        address: str,
        ids: str,
        class_code: str,
        driver: str | None,
        files: Mapping[str, object] | None = None,
        *,
        above: str = "",
    ) -> Path:
        """A PCI function "8086:56c0" below the bridges ``above``, as sysfs shows it: a link on the bus."""
        vendor, device = ids.split(":")
        base = f"devices/pci0000:00/{above + '/' if above else ''}{address}"
        place = self.write(
            base, {"vendor": f"0x{vendor}", "device": f"0x{device}", "class": f"0x{class_code}", **(files or {})}
        )  # fmt: skip
        link = self.sysfs / "bus/pci/devices" / address
        if not link.exists():
            link.symlink_to(place)
        if driver is not None and not (place / "driver").exists():
            target = self.sysfs / "bus/pci/drivers" / driver
            target.mkdir(parents=True, exist_ok=True)
            (place / "driver").symlink_to(target)
            (target / address).symlink_to(place)
        return place

    def remove(self, address: str) -> None:
        """The function falls off the bus."""
        link = self.sysfs / "bus/pci/devices" / address
        place = link.resolve()
        if (place / "driver").exists():
            ((place / "driver").resolve() / address).unlink()
        link.unlink()
        shutil.rmtree(place)

    def process(self, pid: int, command: str, files: Mapping[int, tuple[str, str]]) -> Path:
        """A process with open files: descriptor -> (target, fdinfo)."""
        place = self.proc / str(pid)
        for name in ("fd", "fdinfo"):
            (place / name).mkdir(parents=True, exist_ok=True)
        (place / "comm").write_text(f"{command}\n")
        (place / "cgroup").write_text("0::/system.slice/slurmstepd.scope/job_77\n")
        for descriptor, (target, fdinfo) in files.items():
            link = place / "fd" / str(descriptor)
            if not link.is_symlink():
                link.symlink_to(target)
            (place / "fdinfo" / str(descriptor)).write_text(fdinfo)
        return place


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A directory anybody may enter, read by somebody who is not root: mode 0 keeps him out of a file."""
    place = Path(tempfile.mkdtemp(prefix="ullage-tree-"))
    place.chmod(0o755)
    root = os.geteuid() == 0
    try:
        yield place
    finally:
        if root:
            os.seteuid(0)
        for path in place.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(place)


def become_nobody() -> None:
    """Inside ``as_nobody``, when the tree is written. Somebody else than root is nobody enough."""
    if os.geteuid() == 0:
        os.seteuid(65534)


def pipe_in_place_of(path: Path) -> None:
    """A file that never answers."""
    path.unlink()
    os.mkfifo(path)


def facts(roster: Roster, family: Family = Family.CARD) -> dict[str, Facts]:
    return {fact.subject: fact for fact in roster.facts(straight) if fact.family is family}


def readings(roster: Roster, tier: Tier = Tier.SLOW, family: Family = Family.CARD) -> dict[str, Reading]:
    return {
        item.subject: item
        for item in roster.read(tier, straight)
        if isinstance(item, Reading) and item.family is family
    }


def told(roster: Roster) -> list[Event]:
    return list(roster.events(straight))


def roster_of(maker: Maker) -> Roster:
    roster = Roster(maker)
    roster.clock = lambda: 1_800_000_000.0
    return roster


def through_a_child(
    backend: Backend,
    host: Host,
    *,
    ticks: int = 1,
    call_seconds: float = 5.0,
    start_seconds: float = 20.0,
    environment: Any = None,
) -> list[Item]:
    """What the real supervisor and real children of this maker deliver at slow ticks."""
    kept: list[Item] = []
    supervisor = Supervisor(
        backend,
        host,
        ManualClock(),
        environment=dict(environment or os.environ),
        deadlines=Deadlines(call=call_seconds, start=start_seconds),
    )
    try:
        for _ in range(ticks):
            report = supervisor.tick(Tier.SLOW, kept.append)
            assert report.success, report.message
    finally:
        supervisor.close()
    return kept
