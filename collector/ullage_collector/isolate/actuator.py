"""What an actuator is: something that can keep new work off a card or node, and take that back.

An actuator first *plans*: the exact calls, what else they take, and the calls that undo them. Nothing
runs while planning except reading. Executing a plan runs its calls in order and stops at the first that
fails. It also says what the scheduler shows for a target (``standing``), so that what we believe can be
held against it after a crash, a reboot or a person's hand. Actuators are entry points of the group ``ullage.actuators``: a callable that gets its own table of
collector.toml and returns an Actuator.
"""

from __future__ import annotations

import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from ullage_contract.errors import ActuatorError, ConfigError

if TYPE_CHECKING:
    import duckdb

MARK = "ullage:"
"""What we place begins with it, so that only that is taken back."""
CALL_TIMEOUT_SECONDS = 20.0  # our choice: because slurmctld answers in milliseconds or is not well


Drain = Literal["finish", "notify", "end"]
"""What becomes of the work there. finish: it ends by itself. notify: its owner is told and it ends by itself.
end: after the settings' deadline it is requeued or evicted; only where a rule opted in."""


class Standing(StrEnum):
    """What the scheduler shows for a target.

    OURS: what we placed, unchanged. GONE: nothing of ours, new work may come. OTHERS: kept from new work by
    somebody or something else, or what we placed was changed since: never ours to remove. UNKNOWN: the
    scheduler did not answer, or what stands there cannot be read; it is no reason to do anything.
    """

    OURS = "ours"
    GONE = "gone"
    OTHERS = "others"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """What to isolate or release.

    family: card or node. node_id: the scheduler's name of the node. minor, pci_address: of the card, None
    when not known. marker: MARK and the subject: what makes the thing we place ours. incident_id: the
    incident it is for, None for a person's isolation without one. drain: what becomes of the work there.
    """

    family: str
    subject: str
    cluster_id: str
    node_id: str
    vendor: str | None
    minor: int | None
    pci_address: str | None
    reason: str
    marker: str
    incident_id: int | None = None
    drain: Drain = "finish"


@dataclass(frozen=True, slots=True)
class CommandCall:
    """A program and its arguments, never a shell line. secret_free: shown and audited as it is."""

    argv: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"command": list(self.argv)}

    def __str__(self) -> str:
        return " ".join(shlex.quote(part) for part in self.argv)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP request with a JSON body. Headers with secrets are added when it runs and never shown."""

    method: str
    url: str
    body: str
    secret_headers: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "url": self.url, "body": self.body}

    def __str__(self) -> str:
        return f"{self.method} {self.url} {self.body}"


@runtime_checkable
class Procedure(Protocol):
    """Calls with a decision between them: submit, look, take the rest back.

    ``str`` and ``to_json`` list the calls it may make, as they will be made.
    """

    def to_json(self) -> dict[str, Any]:
        """The calls it may make; no secret in them."""
        ...

    def run(self, run: Run) -> list[str]:
        """Do it; one line of result a call. Raises ActuatorError when it did not come to its end.

        Crash-safe: a second run, in another process, finishes or cleans up what a first left at any point,
        recognised by our marker. After it raised, nothing stands that ``standing`` does not show as OURS.
        """
        ...


Call = CommandCall | HttpCall | Procedure


@dataclass(frozen=True, slots=True)
class Plan:
    """The exact calls, in order. whole_node: they take every card of the node. undo: what takes them back."""

    actuator: str
    calls: tuple[Call, ...]
    undo: tuple[Call, ...]
    whole_node: bool
    notes: tuple[str, ...] = ()


class Actuator(Protocol):
    """See the module. Planning and looking may read the scheduler; they change nothing.

    An actuator may also have ``verifies`` (bool, True where absent: False says that ``standing`` can never be
    anything but UNKNOWN, because the site gave no way to look) and be a Surveyor and a Labeller.
    """

    @property
    def name(self) -> str:
        """As in collector.toml and the entry point."""
        ...

    @property
    def whole_node(self) -> bool:
        """It can only take whole nodes."""
        ...

    def plan_isolate(self, target: Target) -> Plan:
        """The calls that keep new work off the target.

        Raises ActuatorError when it cannot be done, saying why and what can be done instead (the node).
        """
        ...

    def plan_release(self, target: Target) -> Plan:
        """The calls that give it back; no calls when nothing stands. Raises ActuatorError when what stands
        there is not ours."""
        ...

    def standing(self, target: Target) -> Standing:
        """What the scheduler shows for the target. One bulk read may be kept for a second. Never raises."""
        ...


@runtime_checkable
class Surveyor(Protocol):
    """An actuator that can say in one read what others keep from new work, for the limits."""

    def taken_by_others(self, cluster_id: str) -> Mapping[str, str] | None:
        """node_id -> by whom or why; a node drained, tainted or cordoned by us alone is not in it. None: no answer."""
        ...


@runtime_checkable
class Labeller(Protocol):
    """An actuator whose scheduler has words on its nodes, for opt-out and overrides."""

    def node_labels(self, cluster_id: str) -> Mapping[str, Mapping[str, str]] | None:
        """node_id -> its labels (a word without a value has ""). None: no answer."""
        ...


@runtime_checkable
class ReadsStore(Protocol):
    """An actuator that needs to know the fleet's cards, as for which index of a scheduler means which card."""

    def read_from(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """Told once, after it was made. connect: a cursor of the open store; whoever takes one closes it."""
        ...


def verifies(actuator: Actuator) -> bool:
    """Whether ``standing`` of this actuator can be anything but UNKNOWN."""
    return bool(getattr(actuator, "verifies", True))


Run = Callable[[Sequence[str]], "Ran"]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended. status: its exit code; output: stdout; error: stderr, both at most 4,000 characters."""

    status: int
    output: str
    error: str


def run_program(argv: Sequence[str]) -> Ran:
    """Run a program with a deadline. Raises ActuatorError when it is not there or does not end."""
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CALL_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError as e:
        raise ActuatorError(
            f"{argv[0]} is not installed here; install it or set its path in [isolation]"
        ) from e
    except PermissionError as e:
        raise ActuatorError(f"{argv[0]} may not be run by this user") from e
    except subprocess.TimeoutExpired as e:
        raise ActuatorError(f"{argv[0]} did not end within {CALL_TIMEOUT_SECONDS:g} s") from e
    return Ran(done.returncode, done.stdout[:4000], done.stderr[:4000])


def execute(plan: Plan, *, run: Run = run_program) -> list[str]:
    """Run the plan's calls in order; one line of result each. Raises ActuatorError at the first that fails."""
    results = []
    for call in plan.calls:
        results += execute_call(call, run=run)
    return results


def execute_call(call: Call, *, run: Run = run_program) -> list[str]:
    """Make one call of a plan; its lines of result. Raises ActuatorError when it fails."""
    if isinstance(call, CommandCall):
        return [_execute_command(call, run)]
    if isinstance(call, HttpCall):
        return [_execute_http(call)]
    return call.run(run)


def load(
    settings: Mapping[str, Mapping[str, Any]],
    connect: Callable[[], duckdb.DuckDBPyConnection] | None = None,
) -> dict[str, Actuator]:
    """Every installed actuator by name, each given its own table, and the store where it wants one.

    Raises ConfigError for a wrong table.
    """
    loaded: dict[str, Actuator] = {}
    for entry in entry_points(group="ullage.actuators"):
        made = loaded[entry.name] = entry.load()(settings.get(entry.name, {}))
        if connect is not None and isinstance(made, ReadsStore):
            made.read_from(connect)
    if stray := set(settings) - set(loaded):
        raise ConfigError(
            f"[isolation.{sorted(stray)[0]}]: no such actuator; installed are {', '.join(sorted(loaded))}"
        )
    return loaded


def _execute_command(call: CommandCall, run: Run) -> str:
    ran = run(call.argv)
    if ran.status != 0:
        said = (ran.error or ran.output).strip().splitlines()
        raise ActuatorError(
            f"{call.argv[0]} ended with {ran.status}: {said[-1] if said else 'it said nothing'}"
        )
    return f"{call.argv[0]} ended with 0"


def _execute_http(call: HttpCall) -> str:
    request = urllib.request.Request(
        call.url,
        data=call.body.encode("utf-8"),
        method=call.method,
        headers={"Content-Type": "application/json", **call.secret_headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_SECONDS) as answer:
            return f"{call.method} {call.url} answered {answer.status}"
    except urllib.error.HTTPError as e:
        raise ActuatorError(f"{call.method} {call.url} answered {e.code}") from e
    except (urllib.error.URLError, OSError) as e:
        raise ActuatorError(f"{call.method} {call.url} failed: {e}") from e
