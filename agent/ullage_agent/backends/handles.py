"""Libraries made after NVML: initialise, count, a handle a card, one C call a value, one table of return codes.

``Library`` turns calls into values and return codes into our errors; ``HandleMaker`` is the walk over the cards
that a ``roster.Roster`` needs, ``IndexMaker`` the same for a library without handles. Shared by MetaX, Iluvatar,
Kunlunxin, Enflame, Biren and Rebellions. Not here: what is asked.
"""

from __future__ import annotations

import ctypes
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ctypes import byref, c_float, c_int, c_uint, c_ulonglong, create_string_buffer
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from ullage_agent.backend import Call, Host
from ullage_agent.backends.clibrary import CLibrary, roomy, text_of
from ullage_agent.backends.holders import identity
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe
from ullage_contract.catalogue import Tier
from ullage_contract.errors import (
    BadInput,
    Broken,
    CardLost,
    NotPermitted,
    NotPresent,
    NotSupported,
    ReadingError,
)
from ullage_contract.sample import Value

log = logging.getLogger(__name__)
S = TypeVar("S", bound=ctypes.Structure)
T = TypeVar("T")
Ask = Callable[[], Mapping[str, Value | None]]

MOST_CARDS: Final = 256  # our choice: because 64 chips of 4 functions is more than one server holds
MOST_PROCESSES: Final = 4096  # our choice: because a library that names more is not to be believed


class ResetRequired(Broken):
    """The card is there and refuses work until it is reset."""


class Uninitialised(Broken):
    """The library says it was never initialised: it is opened anew before the next look."""


@dataclass(frozen=True, slots=True)
class Codes:
    """What a maker's return codes mean. Anything that is not 0 and not listed is Broken.

    unsupported: asking again is useless (until the next facts). absent: the driver or a part of the library is not
    there; of one value the same as unsupported, of the count of cards it reopens the library. No code of one card:
    an index or device that is not there is ``lost``. permission: the agent's user may not. lost: the card is gone.
    reset: it is there and waits for a reset. uninitialised: the library wants to be initialised anew. more: the
    array was too small. messages: code -> what to tell, where more helps than the number.
    """

    unsupported: frozenset[int]
    absent: frozenset[int] = frozenset()
    permission: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    reset: frozenset[int] = frozenset()
    uninitialised: frozenset[int] = frozenset()
    more: frozenset[int] = frozenset()
    messages: Mapping[int, str] = field(default_factory=dict)

    def failure(self, code: int, function: str) -> ReadingError:
        """The error of a return code."""
        text = f"{function}: {self.messages.get(code, f'error {code}')}"
        for codes, kind in (
            (self.unsupported, NotSupported),
            (self.absent, NotPresent),
            (self.permission, NotPermitted),
            (self.lost, CardLost),
            (self.reset, ResetRequired),
            (self.uninitialised, Uninitialised),
        ):
            if code in codes:
                return kind(text)
        return Broken(text)


NVML_CODES: Final = Codes(
    # invalid argument (an enum this release does not know), not supported, function not found,
    # frequency not supported, argument version mismatch, deprecated
    unsupported=frozenset({2, 3, 13, 24, 25, 26}),
    absent=frozenset({9, 12}),
    permission=frozenset({4, 17}),
    lost=frozenset({15}),
    reset=frozenset({16}),
    uninitialised=frozenset({1}),
    more=frozenset({7}),
    messages={
        4: "no permission: run as root or make the device nodes readable",
        9: "the driver is not loaded",
        12: "the library's driver part is not found: install the driver",
        15: "the card is lost",
        16: "the card requires a reset",
        17: "the operating system (cgroup) does not let this process have the device",
        18: "library and driver are of different versions: reload the driver or reboot",
    },
)
"""nvmlReturn_t, and the makers who took it over: ixml (api.h), xpuml (xpuml.h), efml's handle calls (efml.h)."""


class Library:
    """A maker's library and its codes.

    Every method names the C function and its leading arguments (ctypes values) and appends the output's
    pointer. Raises NotSupported where this release lacks the symbol, else what the return code means.
    """

    def __init__(self, library: CLibrary, codes: Codes) -> None:
        self.c = library
        self.codes = codes

    def run(self, function: str, *arguments: Any) -> None:
        """Call it; nothing but the return code matters."""
        code = self.c.function(function)(*arguments)
        if code != 0:
            raise self.codes.failure(code, function)

    def u32(self, function: str, *arguments: Any) -> int:
        """An ``unsigned int *`` as the last argument."""
        value = c_uint(0)
        self.run(function, *arguments, byref(value))
        return value.value

    def i32(self, function: str, *arguments: Any) -> int:
        """An ``int *`` as the last argument."""
        value = c_int(0)
        self.run(function, *arguments, byref(value))
        return value.value

    def u64(self, function: str, *arguments: Any) -> int:
        """An ``unsigned long long *`` as the last argument."""
        value = c_ulonglong(0)
        self.run(function, *arguments, byref(value))
        return value.value

    def real(self, function: str, *arguments: Any) -> float:
        """A ``float *`` as the last argument."""
        value = c_float(0)
        self.run(function, *arguments, byref(value))
        return float(value.value)

    def pair(self, function: str, *arguments: Any) -> tuple[int, int]:
        """Two ``unsigned int *`` at the end."""
        first, second = c_uint(0), c_uint(0)
        self.run(function, *arguments, byref(first), byref(second))
        return first.value, second.value

    def text(self, function: str, *arguments: Any, length: int = 96) -> str | None:
        """A ``char *`` and its length at the end. None where it holds no printable text."""
        buffer = create_string_buffer(length + 256)
        self.run(function, *arguments, buffer, c_uint(length))
        return text_of(buffer.raw)

    def struct(self, function: str, kind: type[S], *arguments: Any) -> S:
        """A struct's pointer at the end, with room behind it."""
        value = roomy(kind)
        self.run(function, *arguments, byref(value))
        return value

    def rows(self, function: str, kind: type[S], *arguments: Any) -> list[S]:
        """``unsigned int *count, kind *rows`` at the end: asked with room for 32, again when that was too few."""
        room = 32
        while True:
            count = c_uint(room)
            rows = roomy(kind * room)
            code = self.c.function(function)(*arguments, byref(count), byref(rows))
            if code not in self.codes.more and code != 0:
                raise self.codes.failure(code, function)
            if code == 0 and count.value <= room:
                return list(rows)[: count.value]
            wanted = max(count.value, room * 2)
            if wanted > MOST_PROCESSES:
                raise Broken(f"{function}: {count.value} rows are not to be believed")
            room = wanted

    def known(self, ask: Callable[[], T]) -> T | None:
        """``ask()``, or None when this card or release does not have it. For what a card's key is made of: a
        value that is only missing *now* is raised, for without it the card would get another key."""
        try:
            return ask()
        except NotSupported:
            return None

    def maybe(self, ask: Callable[[], T]) -> T | None:
        """``ask()``, or None when it cannot be had. For names and versions; a lost card is still raised."""
        try:
            return ask()
        except CardLost:
            raise
        except ReadingError:
            return None


# ---- the walk over the cards


@dataclass(frozen=True, slots=True)
class Who:
    """A card that answered: its key, static facts and PCI address."""

    card_id: str
    attributes: Attributes
    pci: str | None = None


@dataclass(slots=True)
class Seat:
    """What is kept of a card between looks: its facts, found once, and its PCI function."""

    found: Found
    pci: PciFunction | None


Watched = Callable[[str, Callable[[], T]], T]
"""Makes one call of the card being identified: (function's name, the call)."""


class HandleMaker(ABC):
    """A ``roster.Maker``. A maker subclasses it and says how to start, count, identify and ask.

    A card whose identity cannot be had *now* keeps the seat it had; one that says it is lost, or is not counted
    any more, has none and is found lost. A library whose calls take an index: ``IndexMaker``.
    """

    vendor: str = ""

    def __init__(self, host: Host, library: Library) -> None:
        self.host = host
        self.library = library
        self._started = False
        self._seats: dict[str, Seat] = {}
        self._places: dict[int, str] = {}
        self._on_bus: set[str] = set()

    # ---- what a maker says

    @abstractmethod
    def start(self) -> None:
        """Initialise the loaded library."""

    def stop(self) -> None:  # noqa: B027 not every maker has something to call
        """Give it back. Some makers have nothing to call."""

    @abstractmethod
    def places(self) -> Iterable[int]:
        """The indexes there are now."""

    @abstractmethod
    def handle(self, index: int) -> Any:
        """What the library's calls take for this card."""

    @abstractmethod
    def who(self, handle: Any, index: int, watched: Watched[Any]) -> Who | None:
        """Who sits at an index; None when it is no card of its own (a function of another one).

        Raises a ReadingError; CardLost when it is gone.
        """

    @abstractmethod
    def found(self, handle: Any, index: int, who: Who) -> Found:
        """The card's probes and the rest. Asked anew at every look, for the handle may have changed."""

    def name_of(self, handle: Any, index: int) -> object | None:
        """What tells the card behind this handle from every other (UUID, serial number, PCI address), in one cheap
        call; asked after every reading, so that no other card's values are taken for its own. None where a handle
        belongs to one card for good."""
        return None

    # ---- roster.Maker

    def open(self, call: Call) -> None:
        if self._started:
            return
        call("", "dlopen", self.library.c.open)
        call("", "init", self.start)
        self._started = True
        self._seats.clear()

    def look(self, call: Call) -> Sequence[Found]:
        try:
            indexes = list(call("", "count", lambda: list(self.places())))
        except Uninitialised:
            self._started = False
            self.open(call)
            indexes = list(call("", "count", lambda: list(self.places())))
        except NotPresent:
            self._restart()
            raise
        seats: dict[str, Seat] = {}
        places: dict[int, str] = {}
        for index in indexes[:MOST_CARDS]:
            try:
                named = self._seat(index, call)
            except CardLost as e:
                log.warning("%s card %d is lost: %s", self.vendor, index, e)
                continue
            except ReadingError as e:
                key = self._places.get(index)
                if key is None or key not in self._seats:
                    log.warning("%s card %d cannot be identified: %s", self.vendor, index, e)
                    continue
                named = key, self._seats[key]  # not known who sits there now: who sat there is asked on
            if named is not None and named[0] not in seats:
                seats[named[0]] = named[1]
                places[index] = named[0]
        for key, seat in self._seats.items():
            if key not in seats and seat.pci is not None:
                seat.pci.close()
        self._seats, self._places = seats, places
        return [seat.found for seat in seats.values()]

    def close(self) -> None:
        self._restart()

    # ---- shared

    def _seat(self, index: int, call: Call) -> tuple[str, Seat] | None:
        place = f"#{index}"

        def watched(function: str, ask: Callable[[], T]) -> T:
            return call(place, function, ask)

        handle = watched("handle", lambda: self.handle(index))
        still = self._still(handle, index, watched)
        try:
            who = self.who(handle, index, watched)
        except BadInput as e:
            raise Broken(f"nothing identifies it: {e}") from e
        if who is None:
            return None
        known = self._seats.get(who.card_id)
        pci = self._function(who.pci)
        if pci is None and who.card_id in self._on_bus:
            raise CardLost(f"{who.pci} is not on the bus any more")  # whatever the library still answers
        if pci is not None:
            self._on_bus.add(who.card_id)
            if known is not None and known.pci is not None and known.pci.address == pci.address:
                pci = known.pci  # its files are open
        found = self.found(handle, index, who)
        probes = [*found.probes, *(pci.probes() if pci else ())]
        attributes: Attributes = {"index": index, **found.attributes}
        if pci is not None and pci.numa_node is not None:
            attributes.setdefault("numa_node", pci.numa_node)
        whole = replace(
            found,
            attributes={key: value for key, value in attributes.items() if value is not None},
            probes=probes,
            still=found.still or still,
        )
        return who.card_id, Seat(whole, pci)

    def _still(self, handle: Any, index: int, watched: Watched[Any]) -> Callable[[], None] | None:
        """``Found.still`` of a handle that other cards can come to sit behind."""
        try:
            name = watched("identity", lambda: self.name_of(handle, index))
        except NotSupported:
            return None
        if name is None:
            return None

        def still() -> None:
            now = self.name_of(handle, index)
            if now != name:
                raise CardLost(f"index {index} answers as {now}, not as {name}")

        return still

    def _function(self, place: str | None) -> PciFunction | None:
        """The card's PCI function, where /sys shows it: a container may not."""
        if place is None or not (self.host.sysfs / "bus/pci/devices" / place).is_dir():
            return None
        return PciFunction(self.host.sysfs, place)

    def process(self, pid: int, values: Mapping[str, Value]) -> tuple[Attributes, Mapping[str, Value]]:
        """A row of ``Found.processes``: who the process is, as far as this machine shows it."""
        return identity(self.host.proc, pid), values

    def _restart(self) -> None:
        if self._started:
            self._started = False
            with suppress(ReadingError, OSError):
                self.stop()
        for seat in self._seats.values():
            if seat.pci is not None:
                seat.pci.close()
        self._seats.clear()


class IndexMaker(HandleMaker):
    """A HandleMaker for a library without handles: its calls take the index, and that moves when a card before it
    drops out. The handle is the index; every reading ends with ``name_of``, and one of another card is thrown away
    and the card looked for."""

    def handle(self, index: int) -> Any:
        return index

    @abstractmethod
    def name_of(self, handle: Any, index: int) -> object | None:
        """See HandleMaker. None, or NotSupported, only where this release has no name for a card at all."""


def probe(function: str, key: str, ask: Callable[[], Value | None], tier: Tier = Tier.FAST) -> Probe:
    """A probe of one key: ``ask`` gives its value, or None where there is none just now. For several keys
    ``roster.Probe``, whose ``ask`` gives a mapping."""
    return Probe(function, (key,), lambda: {key: ask()}, tier)


def candidates(host: Host, *names: str) -> tuple[str, ...]:
    """The library's names: the one of ``[backends.X] library = ...`` alone when it is set."""
    configured = host.settings.get("library")
    return (str(configured),) if configured else names
