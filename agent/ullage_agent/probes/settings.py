"""``[probes]`` of agent.toml: which probes may run here, and how far each may go. Empty: none.

    [probes]
    enable = ["enumerate", "settled", "memory", "diagnose"]

    [probes.diagnose.nvidia]
    command = ["/usr/bin/dcgmi", "diag", "-r", "1", "-i", "{card}"]

A command is a program and its arguments, never a shell line; placeholders stand for the card and are filled from the
maker's own facts. Not here: running any of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_contract.settings import Table

NAMES: Final = ("enumerate", "settled", "memory", "bandwidth", "compute", "diagnose")
"""Every probe there is; docs/probes-and-drills.md says what each does."""
COMMANDS: Final = ("compute", "diagnose")
"""Those that are a command of the site's choice, a table a maker."""
PLACEHOLDERS: Final = ("card", "minor", "pci", "uuid")
"""card: the maker's index; minor: of the device node; pci: the address; uuid: the maker's own id."""
LONGEST_SECONDS: Final = 3600.0
"""our choice: an hour, because a long diagnosis is a person's decision; the collector waits as long for an answer."""
_PLACE: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the allow-list. argv: program (an absolute path) and arguments, placeholders unfilled.

    good: exit codes that mean nothing wrong was found; not_run: those that mean it could not be run at all.
    """

    probe: str
    vendor: str
    argv: tuple[str, ...]
    good: tuple[int, ...] = (0,)
    not_run: tuple[int, ...] = ()
    deadline_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Probes:
    """The whole table.

    enable: names that may run. deadline_seconds: of memory and bandwidth. settled_seconds: how long ``settled``
    looks. memory_bytes: how much of the card's memory is tested at most. least_bytes_per_second: what ``bandwidth``
    must reach to and from the host, 0 to measure without judging. nice: of the process that runs one.
    cgroup: where its cgroup is made; None is below the agent's own. fence_accounts: jobs of these scheduler accounts
    keep work off a card and are no work themselves.
    """

    enable: tuple[str, ...] = ()
    deadline_seconds: float = 120.0
    settled_seconds: float = 120.0
    memory_bytes: int = 4 * 1024**3  # our choice: seconds on any card; `diagnose` is for all of it
    least_bytes_per_second: float = 0.0
    nice: int = 19
    cgroup: Path | None = None
    fence_accounts: tuple[str, ...] = ("ullage-fence",)
    commands: tuple[Command, ...] = ()

    def command(self, probe: str, vendor: str | None) -> Command | None:
        """What ``probe`` is for this maker; None where the file names nothing."""
        return next((c for c in self.commands if (c.probe, c.vendor) == (probe, vendor)), None)


def read(table: Table) -> Probes:
    """The table of agent.toml. Raises ConfigError."""
    plain = Probes()
    enable = table.texts("enable", '["enumerate", "settled"]')
    for name in enable:
        if name not in NAMES:
            raise table.wrong("enable", name, f"no such probe; write some of {', '.join(NAMES)}")
    nice = table.whole("nice", plain.nice, 0, 19)
    result = Probes(
        enable=enable,
        deadline_seconds=table.number("deadline_seconds", plain.deadline_seconds, 1, LONGEST_SECONDS),
        settled_seconds=table.number("settled_seconds", plain.settled_seconds, 1, LONGEST_SECONDS),
        memory_bytes=table.whole("memory_bytes", plain.memory_bytes, 1 << 20, 1 << 50),
        least_bytes_per_second=table.number("least_bytes_per_second", 0.0, 0, 1e13),
        nice=nice,
        cgroup=table.path("cgroup"),
        fence_accounts=table.texts("fence_accounts", '["ullage-fence"]') or plain.fence_accounts,
        commands=tuple(command for probe in COMMANDS for command in _commands(table, probe)),
    )
    table.finish()
    for name in COMMANDS:
        if name in enable and not any(command.probe == name for command in result.commands):
            raise table.wrong(
                "enable", name, f"it needs a command: write [probes.{name}.MAKER] command = [...]"
            )
    return result


def _commands(table: Table, probe: str) -> list[Command]:
    found = []
    for vendor, content in table.table(probe).rest().items():
        if not isinstance(content, dict):
            raise table.wrong(f"{probe}.{vendor}", content, f"write a table: [probes.{probe}.{vendor}]")
        own = Table(content, table.file, f"probes.{probe}.{vendor}")
        argv = own.texts("command", '["/usr/bin/dcgmi", "diag", "-r", "1", "-i", "{card}"]')
        if not argv or not argv[0].startswith("/"):
            raise own.wrong(
                "command", list(argv), "write a program with its absolute path, then its arguments"
            )
        for place in (place for part in argv for place in _PLACE.findall(part)):
            if place not in PLACEHOLDERS:
                raise own.wrong("command", f"{{{place}}}", f"placeholders are {', '.join(PLACEHOLDERS)}")
        found.append(
            Command(
                probe=probe,
                vendor=vendor,
                argv=argv,
                good=own.wholes("good", (0,), 0, 255),
                not_run=own.wholes("not_run", (), 0, 255),
                deadline_seconds=own.number("deadline_seconds", 600.0, 1, LONGEST_SECONDS),
            )
        )
        own.finish()
    return found


def filled(argv: tuple[str, ...], values: dict[str, str | None]) -> tuple[str, ...]:
    """``argv`` with its placeholders filled. Raises KeyError with the name of one that is not known."""

    def fill(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None:
            raise KeyError(match[1])
        return value

    return tuple(_PLACE.sub(fill, part) for part in argv)
