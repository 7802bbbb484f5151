"""What a maker's backend is: a description that is cheap to load, and a reader that runs in a child.

The description (``Backend``) says how to notice the hardware and where the reader, the decoder and
the kernel-log patterns live, as ``module:name`` texts, so that importing it costs nothing. The agent
imports the reader's module only in a child process of its own, and only where ``detect`` found the
hardware. A backend is an entry point of the group ``ullage.backends``; ours come through the same door.

Inside the child a reader makes every call that could hang through ``Call``, which marks it in memory
shared with the parent: when the call does not return, the parent knows (card, call), ends the child,
and the next child skips that call for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from ullage_contract.catalogue import Tier, keys
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Value

T = TypeVar("T")

UTIL_KINDS: Final = ("kernel_resident", "sm", "duty_cycle", "core_mean", "proxy_power")
"""What a maker's utilisation can mean: ``util_kind`` of sample.FACT_NAMES."""
_LOWER_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Host:
    """Where to look. Tests point it at a recorded tree.

    sysfs, proc, dev: roots of those file systems.
    settings: the backend's own table of agent.toml ([backends.<name>]), strings and numbers only.
    """

    node_id: str
    sysfs: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Detection:
    """What ``detect`` found.

    present: there is hardware of this maker (a child is started).
    found: what was seen, one line each ("PCI 0000:3b:00.0 10de:2330", "/dev/nvidia0").
    tried: what was looked for, one line each.
    why_not: why it is not used, or None when it is.
    cards_expected: accelerators the PCI bus shows, or None when the bus cannot tell.
    """

    present: bool
    found: tuple[str, ...]
    tried: tuple[str, ...]
    why_not: str | None = None
    cards_expected: int | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """A maker, described. All ``module:name`` texts are imported lazily.

    name: our lower-case word for the maker, also the entry point's name and the facts' ``vendor``.
    title: the maker as people write it.
    pci: (vendor id, PCI class prefixes) in lower-case hex without 0x, e.g. ("10de", ("0302", "0300")).
        An empty class tuple means any class. Device ids may be listed in ``pci_devices`` to narrow it.
    device_nodes: globs below /dev; sysfs_nodes: globs below /sys. Any hit counts as hardware.
    reader: ``module:callable`` called as callable(Host) -> Reader in the child.
    decoder: ``module:callable`` called as callable(text) -> Decoded; raises BadInput for a text that
        is not this maker's. None when the maker has no tool.
    kernel_log: ``module:NAME`` of a Sequence[LogPattern], or None.
    sources: catalogue key -> where this maker gets it (call, file, column); printed in docs/metrics.md.
    util_kind: what this maker's utilisation means (sample.FACT_NAMES).
    simulated: rows are labelled simulated; never detected, only configured.
    """

    name: str
    title: str
    pci: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pci_devices: frozenset[str] = frozenset()
    device_nodes: tuple[str, ...] = ()
    sysfs_nodes: tuple[str, ...] = ()
    reader: str | None = None
    decoder: str | None = None
    kernel_log: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    util_kind: str | None = None
    simulated: bool = False
    detector: str | None = None
    """``module:callable`` called as callable(Host, Backend) -> Detection when PCI ids and nodes do not suffice."""

    def mistakes(self) -> list[str]:
        """What of the description cannot be meant so, one line each, with what is wanted. Told when it is loaded;
        the maker is used all the same, because what is right of it is worth having."""
        found = []
        for field_name, words, digits in (
            ("pci: vendor id", [vendor for vendor, _ in self.pci], (4, 4)),
            ("pci: class prefix", [prefix for _, classes in self.pci for prefix in classes], (2, 6)),
            ("pci_devices: device id", sorted(self.pci_devices), (4, 4)),
        ):
            least, most = digits
            wanted = f"{least}" if least == most else f"{least} to {most}"
            found += [
                f"{field_name} {word!r} matches nothing: {wanted} lower-case hex digits without 0x are wanted"
                for word in words
                if not (isinstance(word, str) and least <= len(word) <= most and not set(word) - _LOWER_HEX)
            ]
        for place, globs in (("/dev", self.device_nodes), ("/sys", self.sysfs_nodes)):
            found += [
                f"{text!r} matches nothing: a glob below {place} without {place}/ is wanted"
                for text in globs
                if text.startswith("/")
            ]
        if self.util_kind is not None and self.util_kind not in UTIL_KINDS:
            found.append(f"util_kind {self.util_kind!r} is none of {', '.join(UTIL_KINDS)}")
        known = {key for family in Family for key in keys(family)}
        found += [
            f"sources: {key!r} is no key of the catalogue (docs/metrics.md)"
            for key in sorted(set(self.sources) - known)
        ]
        return found


@dataclass(frozen=True, slots=True)
class Reading:
    """One card's or slice's row as a reader yields it, before the sampler stamps it.

    family: CARD, SLICE or PROCESS. subject: its key. values and failed as in sample.Sample.
    counters_epoch: the driver's load or reset generation as a text when the library tells, else None.
    """

    family: Family
    subject: str
    values: Mapping[str, Value]
    failed: Mapping[str, str] = field(default_factory=dict)
    counters_epoch: str | None = None


class Call(Protocol):
    """Makes one call to the maker's library under the parent's watch."""

    def __call__(self, card: str, name: str, function: Callable[[], T]) -> T:
        """``function()``, marked as (card, name) while it runs.

        Raises DeadlineExceeded at once when (card, name) hung before and its back-off is not over;
        else whatever ``function`` raises.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """Runs in the child. Opened once, asked every tick. Never raises a maker's own exception type."""

    def facts(self, call: Call) -> Iterator[Facts]:
        """Every card and slice that is there now, with its static facts and ``unsupported`` list.

        Called at start and whenever the parent asks anew (once an hour, after an error, on SIGHUP).
        A card that should be there and does not answer is yielded by ``events`` as card_lost.
        """
        ...

    def read(self, tier: Tier, call: Call) -> Iterator[Reading | Facts]:
        """One reading a card, slice and process, yielded as soon as it is there.

        Facts come along where they are new since ``facts``: a process that started, a slice that was made.
        FAST reads the fast metrics; SLOW reads both tiers. Metrics known as unsupported are not asked
        for again. A card that is lost yields a reading with health "lost" and nothing invented.
        """
        ...

    def events(self, call: Call) -> Iterator[Event]:
        """What happened since the last call, as far as the library tells: lost cards, health changes."""
        ...

    def close(self) -> None:
        """Give everything back. Called once; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class LogPattern:
    """A kernel log line of a maker's driver. Patterns are tried in order; the first that matches counts.

    regex: searched in the message, with named groups. ``pci`` (the card's address, with or without
        function), ``uuid`` (the card's own), ``code``, ``pid`` and ``link`` say what it happened to: lines
        equal in these within 60 s are one event with a line count. Any other group becomes an attribute
        of its name; ``channel`` values are gathered as ``channels``. Three groups make no event:
        ``context`` (its line's other groups go to the next event of that card), ``detail`` (the line
        belongs to an event of its card and code) and ``ignored``.
    kind, severity: of the event; ``severities`` overrides by code.
    attributes: added to every event; ``by_code`` adds those of a code.
    """

    regex: str
    kind: str
    severity: Severity
    vendor: str
    severities: Mapping[str, Severity] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)
    by_code: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecodedCard:
    """One card in a recorded tool output. None means the text does not say; 0 means the text says 0.

    values: catalogue key -> value in the catalogue's unit (ratios 0..1, bytes, hertz).
    processes: None when the text has no process section, () when the section lists none; each is
        {"pid", "name", "memory_used_bytes", ...}.
    slices: each {"instance", "profile", "values": {...}, ...}.
    extra: what the text says beyond the catalogue, under plain snake-case names.
    """

    index: int | None
    model: str | None = None
    uuid: str | None = None
    serial: str | None = None
    pci_address: str | None = None
    board_id: str | None = None
    chip: int | None = None
    partition_mode: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    processes: Sequence[Mapping[str, Any]] | None = None
    slices: Sequence[Mapping[str, Any]] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a recorded tool output says.

    tool: the tool's name as people call it; format: table, text, csv, json, xml, sysfs, kernel_log.
    driver_version: None when the text does not say.
    events: from kernel logs; ports: from RDMA dumps; samples: rows of a dump over time.
    notes: what the reader of the decoded output should know (truncated, masked, suspect).
    """

    maker: str
    tool: str
    format: str
    driver_version: str | None = None
    cards: Sequence[DecodedCard] = ()
    events: Sequence[Event] = ()
    ports: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
