"""Slurm's programs as the actuators use them: small bulk reads as text, and changes as exact calls.

Text, because its few columns are the same since Slurm 20.11, and squeue's filters hold for text alone (with
``--json`` of 22.05 they are ignored, and ten thousand waiting jobs come along). Not here: what to do with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ullage_collector.allocation.slurm import gres, words
from ullage_collector.allocation.slurm.command import Programs
from ullage_collector.allocation.slurm.command import Run as Read
from ullage_collector.allocation.slurm.gres import Gres
from ullage_collector.isolate.actuator import CommandCall, Ran, Run
from ullage_contract.errors import ActuatorError, BadInput, ReadingError

READ_SECONDS: Final = 15.0
"""# our choice: because slurmctld answers in milliseconds, and slurm.conf's MessageTimeout is 10 s."""
PROGRAMS: Final = ("scontrol", "squeue", "sbatch", "scancel", "sinfo")
_COLUMNS: Final = "%i|%A|%T|%a|%V|%e|%E|%N|%r|%k"
_DETAIL: Final = re.compile(r"\bNodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)")
_AWAY: Final = (
    "DOWN DRAIN DRAINED DRAINING FAIL FAILING NOT_RESPONDING MAINT REBOOT REBOOT^ REBOOT_REQUESTED REBOOT_ISSUED "
    "POWERED_DOWN POWERING_DOWN POWERING_UP POWER_DOWN INVALID INVALID_REG FUTURE UNKNOWN BLOCKED"
)
"""Words of a state that keep new jobs away (scontrol(1), NODES)."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as ``scontrol --details show node`` says it.

    states: its words, upper case. configured, used: generic resources, used with the indices of all jobs there.
    reason: None where there is none; reason_by, reason_at: who set it (a user's name) and when, seconds since the
    epoch, None where not said. version: of its slurmd.
    """

    name: str
    states: tuple[str, ...]
    configured: tuple[Gres, ...]
    used: tuple[Gres, ...]
    partitions: tuple[str, ...]
    reason: str | None
    reason_by: str | None
    reason_at: int | None
    version: str | None

    @property
    def available(self) -> bool:
        """Whether new jobs may start there."""
        return not set(_AWAY.split()).intersection(self.states)

    @property
    def draining(self) -> bool:
        """Somebody or something keeps new jobs off it."""
        return bool({"DRAIN", "DRAINED", "DRAINING"}.intersection(self.states))


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as ``squeue`` says it. label: as scancel takes it (17, 17_3, 17_[2-5] for waiting tasks).

    submit, end: seconds since the epoch, end None where it has no limit or has not begun. waits_for: what its
    dependency names, None without one. node: one host, None while it waits. tasks: how many jobs this line is.
    """

    label: str
    job_id: int
    state: str
    account: str
    submit: int | None
    end: int | None
    waits_for: str | None
    nodes: tuple[str, ...]
    reason: str
    comment: str

    @property
    def waiting(self) -> bool:
        return self.state == "PENDING"

    @property
    def leaving(self) -> bool:
        """It ended; its cards are still being given back."""
        return self.state not in ("PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING")

    @property
    def tasks(self) -> int:
        match = re.fullmatch(r"\d+_\[([0-9,-]+)(?:%\d+)?\]", self.label)
        return len(words.indices(match[1])) if match else 1


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition's row of ``scontrol show partition``, its keys as written there."""

    name: str
    row: Mapping[str, str]

    @property
    def tier(self) -> int:
        return words.amount(self.row.get("PriorityTier", "1")) or 0

    @property
    def exclusive(self) -> bool:
        """Its jobs take whole nodes."""
        return self.row.get("OverSubscribe", "") == "EXCLUSIVE"

    def why_not(self, account: str, qos: str) -> str | None:
        """Why a small job of this account cannot start there; None: nothing known against it."""
        row = self.row
        if row.get("State") != "UP":
            return f"partition {self.name} is {row.get('State', 'not up').lower()}"
        if self.exclusive:
            return f"partition {self.name} gives whole nodes only (OverSubscribe=EXCLUSIVE)"
        if row.get("ExclusiveUser") == "YES":
            return f"partition {self.name} gives a node to one user at a time (ExclusiveUser)"
        if row.get("ReqResv") == "YES":
            return f"partition {self.name} takes jobs of reservations only (ReqResv)"
        for key, mine, word in (("Accounts", account, "account"), ("Qos", qos, "QOS")):
            allowed, denied = words.text(row.get(f"Allow{key}")), words.text(row.get(f"Deny{key}"))
            if mine and allowed not in (None, "ALL") and mine not in str(allowed).split(","):
                return f"partition {self.name} does not allow {word} {mine} (Allow{key})"
            if mine and denied is not None and mine in denied.split(","):
                return f"partition {self.name} denies {word} {mine} (Deny{key})"
        return None


@dataclass(frozen=True, slots=True)
class SlurmCalls:
    """One cluster's programs. programs: names or paths by PROGRAMS. read: runs what only reads.

    Every method that reads raises ActuatorError when Slurm does not answer, naming the program.
    """

    conf: str | None = None
    path: str = Programs().path
    programs: Mapping[str, str] = field(default_factory=dict)
    read: Read | None = None

    def change(self, program: str, *arguments: str) -> CommandCall:
        """A call that changes something, with nothing of our own environment in it."""
        conf = (f"SLURM_CONF={self.conf}",) if self.conf else ()
        return CommandCall(("env", "-i", f"PATH={self.path}", *conf, self._name(program), *arguments))

    def text(self, program: str, *arguments: str) -> str:
        """What a reading program says."""
        read = self.read or Programs(conf=self.conf, path=self.path)
        try:
            said = read((self._name(program), *arguments), seconds=READ_SECONDS)
        except ReadingError as e:
            raise ActuatorError(f"Slurm does not answer: {e}") from e
        return said.decode("utf-8", "replace")

    def config(self) -> dict[str, str]:
        """``scontrol show config``: SelectType, PreemptType, SLURM_VERSION and so on."""
        found = {}
        for line in self.text("scontrol", "show", "config").splitlines():
            key, equals, value = line.partition("=")
            if equals:
                found[key.strip()] = value.strip()
        return found

    def node(self, name: str) -> NodeView:
        """One node."""
        for found in self.nodes(name):
            return found
        raise ActuatorError(f"Slurm has no node {name}")

    def nodes(self, name: str | None = None) -> list[NodeView]:
        """This node, or all of them."""
        said = self.text("scontrol", "--oneliner", "--details", "show", "node", *([name] if name else []))
        return [_node(words.fields(line)) for line in said.splitlines() if line.startswith("NodeName=")]

    def partitions(self, names: Sequence[str]) -> list[Partition]:
        """Those of these names."""
        said = self.text("scontrol", "--oneliner", "show", "partition")
        rows = [words.fields(line) for line in said.splitlines() if line.startswith("PartitionName=")]
        return [Partition(row["PartitionName"], row) for row in rows if row["PartitionName"] in names]

    def jobs(self, *filters: str) -> list[JobView]:
        """The jobs that wait, run or leave, by squeue's own filters (``--account=``, ``--nodelist=``)."""
        said = self.text("squeue", "--all", "--noheader", *filters, f"--format={_COLUMNS}")
        try:
            return [_job(line) for line in said.splitlines() if line.count("|") >= 9]
        except BadInput as e:
            raise ActuatorError(f"squeue's answer cannot be read: {e}") from e

    def indices(self, label: str, node: str, names: Sequence[str]) -> tuple[int, ...] | None:
        """The card indices a job has on a node; () when it has none there, None when Slurm does not say which.

        None too when the job is gone.
        """
        try:
            said = self.text("scontrol", "--oneliner", "--details", "show", "job", label)
        except ActuatorError:
            return None
        found: list[int] = []
        try:
            for listed, written in _DETAIL.findall(said):
                if node not in words.hosts(listed):
                    continue
                for item in gres.read(written):
                    if item.name in names:
                        if item.indices is None and item.count:
                            return None
                        found += item.indices or ()
        except BadInput:
            return None
        return tuple(found) if _DETAIL.search(said) else None

    def _name(self, program: str) -> str:
        return self.programs.get(program, program)


def call(run: Run, what: CommandCall) -> Ran:
    """Run one call. Raises ActuatorError with the last line it said when it fails."""
    ran = run(what.argv)
    if ran.status != 0:
        said = (ran.error or ran.output).strip().splitlines()
        name = next((part for part in what.argv[1:] if "=" not in part and part != "-i"), what.argv[0])
        raise ActuatorError(
            f"{name.rpartition('/')[2]} ended with {ran.status}: {said[-1].strip() if said else 'it said nothing'}"
        )
    return ran


def _node(row: Mapping[str, str]) -> NodeView:
    written = words.text(row.get("Reason"))
    reason, by, at = written, None, None
    if written and (match := re.fullmatch(r"(.*?)\s*\[([^@\]]+)@(\d+)\]", written)):
        reason, by, at = match[1], match[2], int(match[3])
    try:
        configured, used = gres.read(row.get("Gres")), gres.read(row.get("GresUsed"))
    except BadInput:
        configured, used = (), ()
    states = row.get("State", "").upper().replace("*", "+NOT_RESPONDING")
    return NodeView(
        name=row["NodeName"],
        states=tuple(word for word in states.split("+") if word),
        configured=configured,
        used=used,
        partitions=tuple((words.text(row.get("Partitions")) or "").split(",")),
        reason=reason,
        reason_by=by,
        reason_at=at,
        version=words.text(row.get("Version")),
    )


def _job(line: str) -> JobView:
    label, number, state, account, submit, end, depends, nodes, reason, comment = line.split("|", 9)
    waits = words.text(re.sub(r"\([a-z]*\)", "", depends))
    return JobView(
        label=label.strip(),
        job_id=int(number) if number.strip().isdecimal() else 0,
        state=state.strip().upper(),
        account=account.strip(),
        submit=_seconds(submit),
        end=_seconds(end),
        waits_for=waits.partition(":")[2] if waits else None,
        nodes=tuple(words.hosts(nodes)),
        reason=reason.strip(),
        comment=(words.text(comment) or ""),
    )


def _seconds(written: str) -> int | None:
    word = written.strip()
    return int(word) if word.isdecimal() else None
