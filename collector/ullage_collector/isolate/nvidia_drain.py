"""Bare metal with NVIDIA cards: the driver's own drain state, so that no new process sees the card.

``nvidia-smi drain -p ADDRESS -m 1`` on the card's node, reached by the site's own command (``prefix``, as ssh).
Persistence mode has to be off before (NVML API reference, "Drain states"). While it is drained the card is not
listed, so its agent does not see it either. The driver does not say who drained a card: ours is the one whose
isolation the store knows. Not tried on a real card; the words of the query are those of driver 525
(NVIDIA/dcgm-exporter issue 213).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.isolate.actuator import (
    CommandCall,
    Plan,
    Ran,
    Run,
    Standing,
    Target,
    run_program,
)
from ullage_collector.sql import statements
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.errors import ActuatorError, ConfigError
from ullage_contract.settings import Table

if TYPE_CHECKING:
    import duckdb

TABLE: Final = "isolation.nvidia-drain"
NAME: Final = "nvidia-drain"
END_SECONDS: Final = 10.0  # our choice: because a process that saves nothing on TERM ends within seconds
_ADDRESS: Final = re.compile(r"(?:0{4})?([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])")
_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """prefix: the program and arguments that run a command on {node_id}; () for this machine alone.

    persistence: whether persistence mode is switched on again after a release. end_with: what drain "end" does to
    processes on the card: "kill" sends TERM; empty: nothing, and the driver may refuse.
    """

    nvidia_smi: str = "nvidia-smi"
    prefix: tuple[str, ...] = ()
    persistence: bool = True
    end_with: str = ""


class NvidiaDrain:
    """See the module. run: runs the programs that only read. here: the names of this machine."""

    name = NAME
    whole_node = False

    def __init__(
        self,
        settings: DrainSettings,
        *,
        run: Run = run_program,
        clock: Clock | None = None,
        here: tuple[str, ...] | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._run = run
        self._here = here if here is not None else (socket.gethostname(), socket.getfqdn())
        self._is_known: Callable[[str], bool] = lambda subject: False

    def read_from(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """Which cards we drained says the store: their isolations stand there before anything is called."""

        def known(subject: str) -> bool:
            cursor = connect()
            try:
                row = cursor.execute(statements("nvidia_drain")["drained_by_us"], [subject, NAME]).fetchone()
                return row is not None
            finally:
                cursor.close()

        self._is_known = known

    def plan_isolate(self, target: Target) -> Plan:
        """Persistence off, then the drain. Raises ActuatorError while processes hold the card, unless drain is
        "end", and where somebody else drained it."""
        draining = self.is_draining(target, self._run)
        if draining and not self._is_known(target.subject):
            raise ActuatorError(
                f"{target.subject} is in drain state already and not by us: it is left alone, nothing to do"
            )
        notes = ["no new process sees the card; its agent does not see it either until it is released"]
        if draining:
            return Plan(self.name, (), self._undo(target), False, ("it is in drain state already", *notes))
        pids = self.processes(target, self._run)
        if pids and target.drain != "end":
            raise ActuatorError(self.busy(target, pids))
        return Plan(self.name, (Draining(self, target, pids),), self._undo(target), False, tuple(notes))

    def plan_release(self, target: Target) -> Plan:
        """Take the drain state back. Raises ActuatorError when it stands and is not ours."""
        if not self.is_draining(target, self._run):
            return Plan(self.name, (), (), False, (f"{target.subject} is not in drain state any more",))
        if not self._is_known(target.subject):
            raise ActuatorError(
                f"{target.subject} is in drain state, not by us: release it where it was placed"
            )
        return Plan(self.name, self._undo(target), (), False)

    def standing(self, target: Target) -> Standing:
        """By the driver's word, and ours by the store's. Never raises."""
        try:
            if not self.is_draining(target, self._run):
                return Standing.GONE
        except ActuatorError:
            return Standing.UNKNOWN
        return Standing.OURS if self._is_known(target.subject) else Standing.OTHERS

    # ---- the calls

    def call(self, target: Target, *arguments: str) -> CommandCall:
        """nvidia-smi on the card's node. Raises ActuatorError where that node cannot be reached."""
        return CommandCall((*self._prefix(target), self.settings.nvidia_smi, *arguments))

    def kill(self, target: Target, pids: tuple[int, ...]) -> CommandCall:
        """TERM to these processes."""
        return CommandCall((*self._prefix(target), "kill", "-TERM", *(str(pid) for pid in pids)))

    def is_draining(self, target: Target, run: Run) -> bool:
        """What the driver says. Raises ActuatorError when it does not, or says something else."""
        said = checked(run, self.call(target, "drain", "-p", address(target), "-q")).output
        match = re.search(r"drain state of GPU \S+ is: (not draining|draining)", said)
        if match is None:
            raise ActuatorError(f"nvidia-smi drain -q said {said.strip()[:120]!r}: its state is not known")
        return match[1] == "draining"

    def processes(self, target: Target, run: Run) -> tuple[int, ...]:
        """Who computes on the card, by process id. Raises ActuatorError when the driver does not say."""
        said = checked(
            run,
            self.call(target, "--query-compute-apps=pid", "--format=csv,noheader", f"--id={address(target)}"),
        ).output
        found = []
        for line in said.splitlines():
            if line.strip().isdecimal():
                found.append(int(line))
            elif line.strip():
                raise ActuatorError(f"nvidia-smi named a process {line.strip()[:60]!r}: not a number")
        return tuple(sorted(set(found)))

    def busy(self, target: Target, pids: tuple[int, ...]) -> str:
        """Why not now."""
        named = ", ".join(str(pid) for pid in pids[:5])
        return (
            f"{len(pids)} processes hold {target.subject} (process {named}): they are let finish; try again then, "
            "or isolate with drain end"
        )

    def draining(self, target: Target) -> tuple[CommandCall, CommandCall]:
        """Persistence off and the drain."""
        return (
            self.call(target, f"--id={address(target)}", "-pm", "0"),
            self.call(target, "drain", "-p", address(target), "-m", "1"),
        )

    def _undo(self, target: Target) -> tuple[CommandCall, ...]:
        calls = [self.call(target, "drain", "-p", address(target), "-m", "0")]
        if self.settings.persistence:
            calls.append(self.call(target, f"--id={address(target)}", "-pm", "1"))
        return tuple(calls)

    def _prefix(self, target: Target) -> tuple[str, ...]:
        if target.family != "card" or target.vendor != "nvidia":
            raise ActuatorError(
                f"nvidia-drain isolates NVIDIA cards; {target.subject} is a {target.vendor or ''} {target.family}"
            )
        if self.settings.prefix:
            if not _NODE.fullmatch(target.node_id):
                raise ActuatorError(
                    f"node {target.node_id[:60]!r} is no host name: it is not put into a command"
                )
            return tuple(part.replace("{node_id}", target.node_id) for part in self.settings.prefix)
        if target.node_id not in self._here:
            raise ActuatorError(
                f"{target.subject} is on {target.node_id}, not on this machine; say how commands are run there: "
                f'[{TABLE}] prefix = ["ssh", "-o", "BatchMode=yes", "root@{{node_id}}"]'
            )
        return ()


class Draining:
    """The procedure: look for processes once more, end them where that was asked for, then drain."""

    def __init__(self, driver: NvidiaDrain, target: Target, pids: tuple[int, ...]) -> None:
        self._driver = driver
        self._target = target
        self._pids = pids

    def _calls(self) -> list[CommandCall]:
        ends = [self._driver.kill(self._target, self._pids)] if self._pids and self._kills else []
        return [*ends, *self._driver.draining(self._target)]

    @property
    def _kills(self) -> bool:
        return self._target.drain == "end" and self._driver.settings.end_with == "kill"

    def to_json(self) -> dict[str, Any]:
        return {"procedure": "nvidia drain", "commands": [list(call.argv) for call in self._calls()]}

    def __str__(self) -> str:
        return "; ".join(str(call) for call in self._calls())

    def run(self, run: Run) -> list[str]:
        """Raises ActuatorError when a process holds the card still, or the driver refuses."""
        did = []
        pids = self._driver.processes(self._target, run)
        if pids and self._target.drain != "end":
            raise ActuatorError(self._driver.busy(self._target, pids))
        if pids and self._kills:
            checked(run, self._driver.kill(self._target, pids))
            did.append(f"sent TERM to {len(pids)} processes")
            until = self._driver.clock.monotonic() + END_SECONDS
            while pids := self._driver.processes(self._target, run):
                if self._driver.clock.monotonic() >= until:
                    raise ActuatorError(self._driver.busy(self._target, pids))
                self._driver.clock.sleep(1.0)
        for call in self._driver.draining(self._target):
            checked(run, call)
            did.append(f"{self._driver.settings.nvidia_smi} ended with 0")
        if not self._driver.is_draining(self._target, run):
            raise ActuatorError(f"the driver took the drain of {self._target.subject} and does not drain it")
        return did


def address(target: Target) -> str:
    """domain:bus:device.function as nvidia-smi takes it, the domain with four digits where that is enough."""
    match = _ADDRESS.fullmatch(target.pci_address or "")
    if match is None:
        raise ActuatorError(
            f"the PCI address of {target.subject} is {target.pci_address or 'not known'}: nothing to drain by"
        )
    return match[1].lower()


def checked(run: Run, call: CommandCall) -> Ran:
    """Run it. Raises ActuatorError with what it said when it fails."""
    ran = run(call.argv)
    if ran.status != 0:
        said = (ran.error or ran.output).strip().splitlines()
        raise ActuatorError(
            f"{call} ended with {ran.status}: {said[-1][:200] if said else 'it said nothing'}"
        )
    return ran


def actuator(settings: Mapping[str, Any]) -> NvidiaDrain:
    """From [isolation.nvidia-drain]: nvidia_smi, prefix, persistence, end_with. Raises ConfigError."""
    table = Table(settings, "collector.toml", TABLE)
    plain = DrainSettings()
    prefix = table.texts("prefix", '["ssh", "-o", "BatchMode=yes", "root@{node_id}"]')
    if prefix and not any("{node_id}" in part for part in prefix):
        raise ConfigError(
            f"[{TABLE}] prefix = {list(prefix)!r}: no part of it holds {{node_id}}; every node's command would run "
            "on one machine"
        )
    found = DrainSettings(
        nvidia_smi=table.text("nvidia_smi") or plain.nvidia_smi,
        prefix=prefix,
        persistence=table.flag("persistence", plain.persistence),
        end_with=table.word("end_with", plain.end_with, ("", "kill")),
    )
    table.finish()
    return NvidiaDrain(found)
