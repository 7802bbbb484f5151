"""The RDMA ports of this server: which there are, what they count, and when one goes down or away.

One port is rdma_port.py's; names are rdma_counters.py's; which card a port is near to is pci.py's.

Rows carry no counters_epoch: a port's counters have lives of their own (Q-counters end with the
driver, port counters with the NIC's firmware or ``perfquery -R``), so no one epoch would be true of
a row. ``ullage_contract.counters.increase`` judges each by itself.
"""

from __future__ import annotations

import logging
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_agent.backend import Reading
from ullage_agent.sources import pci
from ullage_agent.sources.ethtool import Ioctl, Socket
from ullage_agent.sources.kept_file import names_in
from ullage_agent.sources.rdma_port import Port, PortReading
from ullage_agent.sources.watch import Watch
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock, SystemClock
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family

log = logging.getLogger(__name__)

CONFIRM_READS: Final = 2
"""our choice: a port is up, down or missing for us after two readings in a row say so: one blip is no storm,
and the kernel's own link_downed counts it anyway."""

DEVICE_DEADLINE_SECONDS: Final = 1.5
"""our choice: an mlx5 firmware query answers in well under a millisecond; a device of 50 files that needs
this long is held, and the other devices must still fit in the tick."""

FILES_PER_PORT: Final = 64
"""At most this many descriptors are kept a port (a ConnectX-7 port has 55 files that we read)."""


@dataclass(slots=True)
class _Watched:
    """A port with what we believe of it.

    status: up, down, missing, or None before the first reading. candidate: another status, seen ``seen``
    times in a row, first at ``since`` (wall clock). usable: its files are open.
    """

    port: Port
    usable: bool = False
    status: str | None = None
    candidate: str | None = None
    seen: int = 0
    since: float = 0.0


class RdmaPorts:
    """The source ``rdma``. See ``source.Source``; ``nearest_ports`` may be called from any thread.

    management: device names that serve no card (out of band, provisioning); they are kept out of
        ``nearest_ports``, their role is "management" and their going down is a warning only.
    lossless_priority: the RoCE traffic class whose pauses and drops are told apart, 0..7; site
        configuration, usually 3.
    """

    name = "rdma"

    def __init__(
        self,
        node_id: str,
        *,
        sysfs: Path = Path("/sys"),
        proc: Path = Path("/proc"),
        clock: Clock | None = None,
        lossless_priority: int = 3,
        management: frozenset[str] = frozenset(),
        ioctl: Ioctl | None = None,
        device_deadline_seconds: float = DEVICE_DEADLINE_SECONDS,
    ) -> None:
        self._node_id = node_id
        self._sysfs = sysfs
        self._clock = clock or SystemClock()
        self._lossless_priority = lossless_priority
        self._management = management
        self._ioctl = ioctl or Socket()
        self._root = sysfs / "class/infiniband"
        self._ports: dict[str, _Watched] = {}
        self._places: dict[str, pci.Place] = {}
        self._virtual = pci.is_virtual(sysfs, proc)
        held: dict[str, threading.Thread] = {}  # a device held in one kind of round is held in the other
        self._watch: Watch[list[_Watched]] = Watch(device_deadline_seconds, held)
        self._reads: Watch[list[tuple[_Watched, PortReading]]] = Watch(device_deadline_seconds, held)
        self._known: set[str] = set()
        self._events: list[Event] = []
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._kept_ports = max(limit // 2, 0) // FILES_PER_PORT

    def facts(self) -> Iterator[Facts]:
        """Every port there is now. Opens ports anew, so that what a driver offers since is found."""
        self._discover()
        now = self._clock.wall()
        for outcome in self._watch.round({name: _opener(ports) for name, ports in self._devices().items()}):
            for watched in outcome.value or ():
                port = watched.port
                attributes = {"node_id": self._node_id, **port.facts()}
                if "role" not in attributes:
                    attributes["role"] = "management" if port.device in self._management else "fabric"
                yield Facts(Family.PORT, port.id, now, attributes)
        self._places = self._find_places()

    def read(self, tier: Tier) -> Iterator[Reading]:
        """One reading a port, device by device; a held device yields failed readings, the rest goes on."""
        self._discover()
        devices = self._devices()
        for outcome in self._reads.round({name: _reader(ports, tier) for name, ports in devices.items()}):
            if outcome.value is not None:
                for watched, reading in outcome.value:
                    yield self._reading(watched, reading)
                continue
            reason = "deadline" if outcome.late else "broken"
            if outcome.error is not None:
                log.warning("RDMA device %s: %s", outcome.name, outcome.error)
            for watched in devices[outcome.name]:
                if outcome.first:
                    self._tell_held(watched)
                yield Reading(Family.PORT, watched.port.id, {}, {"state": reason})

    def events(self) -> Iterator[Event]:
        """Ports that went down, up or away since the last call."""
        found, self._events = self._events, []
        yield from found

    def nearest_ports(self, address: str) -> tuple[list[str], pci.Distance | None]:
        """The port_ids on the closest PCI path to the card at ``address``, and how close.

        ([], None) when it is unknown: a flattened virtual machine, no such device, no ports.
        """
        places = self._places
        card = pci.place(self._sysfs, address) if places else None
        if card is None:
            return [], None
        return pci.nearest(card, places, virtual=self._virtual)

    def close(self) -> None:
        """Give all descriptors back."""
        for watched in self._ports.values():
            watched.port.close()

    def _discover(self) -> None:
        """New ports are added; a port is never dropped, so that a lost one is told and not forgotten."""
        for device in names_in(self._root):
            if device in self._known:
                continue
            for number in names_in(self._root / device / "ports"):
                if number.isdecimal():
                    self._add(self._root / device / "ports" / number)
                    self._known.add(device)

    def _add(self, directory: Path) -> None:
        port = Port(
            node_id=self._node_id,
            directory=directory,
            ioctl=self._ioctl,
            lossless_priority=self._lossless_priority,
            sysfs=self._sysfs,
            keep=len(self._ports) < self._kept_ports,
        )
        self._ports[port.id] = _Watched(port)

    def _devices(self) -> dict[str, list[_Watched]]:
        devices: dict[str, list[_Watched]] = {}
        for watched in self._ports.values():
            devices.setdefault(watched.port.device, []).append(watched)
        return devices

    def _find_places(self) -> dict[str, pci.Place]:
        """Places of the ports that serve cards: no management, and no virtual function beside its physical one."""
        physical: dict[str, pci.Place] = {}
        virtual: dict[str, pci.Place] = {}
        for watched in list(self._ports.values()):
            port = watched.port
            address = port.facts().get("pci_address")
            if port.device in self._management or not watched.usable or not isinstance(address, str):
                continue
            found = pci.place(self._sysfs, address)
            if found is not None:
                (physical if found.address == address else virtual)[port.id] = found
        return physical or virtual

    def _reading(self, watched: _Watched, reading: PortReading) -> Reading:
        if reading.gone:
            self._judge(watched, "missing")
            return Reading(Family.PORT, watched.port.id, {}, {"state": "not_present"})
        if reading.is_up is not None:
            self._judge(watched, "up" if reading.is_up else "down", reading)
        return Reading(Family.PORT, watched.port.id, reading.values, reading.failed)

    def _judge(self, watched: _Watched, status: str, reading: PortReading | None = None) -> None:
        """Believe a status after CONFIRM_READS readings in a row; the first one ever is believed at once."""
        if watched.status is None:
            watched.status = status
        if status == watched.status:
            watched.candidate = None
            return
        if status != watched.candidate:
            watched.candidate, watched.seen, watched.since = status, 0, self._clock.wall()
        watched.seen += 1
        if watched.seen < CONFIRM_READS:
            return
        before, watched.status, watched.candidate = watched.status, status, None
        self._tell(watched, before, status, reading)
        if status == "missing" and watched.port.is_virtual:
            del self._ports[watched.port.id]
            self._known.discard(watched.port.device)

    def _tell(self, watched: _Watched, before: str, status: str, reading: PortReading | None) -> None:
        port = watched.port
        values = reading.values if reading is not None else {}
        state, physical = values.get("state", ""), values.get("physical_state", "")
        severity = Severity.CRITICAL
        if port.device in self._management:
            severity = Severity.WARNING
        elif port.is_virtual:  # functions come and go with virtual machines
            severity = Severity.INFO
        where = f"port {port.device}/{port.number}"
        message = {
            "up": f"{where} is up again ({state}, {physical})",
            "down": f"{where} is down ({state}, {physical})",
            "missing": f"{where} is gone from /sys/class/infiniband",
        }[status]
        self._events.append(
            Event(
                time=watched.since,
                kind=f"port_{status}",
                severity=Severity.INFO if status == "up" else severity,
                family=Family.PORT,
                subject=port.id,
                source="sysfs",
                message=message,
                attributes={
                    "was": before,
                    **({"state": state} if state else {}),
                    **({"physical_state": physical} if physical else {}),
                },
            )
        )

    def _tell_held(self, watched: _Watched) -> None:
        port = watched.port
        log.warning("RDMA port %s: a read did not return; its device is left out until it does", port.id)
        self._events.append(
            Event(
                time=self._clock.wall(),
                kind="call_hung",
                severity=Severity.CRITICAL,
                family=Family.PORT,
                subject=port.id,
                source="sysfs",
                message=f"reading the counters of {port.device} did not return in time",
                attributes={"call": "sysfs", "device": port.device},
            )
        )


def _opener(ports: list[_Watched]) -> Callable[[], list[_Watched]]:
    def open_all() -> list[_Watched]:
        """Opens them anew; those that cannot be opened are left out."""
        for watched in ports:
            _open(watched)
        return [watched for watched in ports if watched.usable]

    return open_all


def _reader(ports: list[_Watched], tier: Tier) -> Callable[[], list[tuple[_Watched, PortReading]]]:
    def read_all() -> list[tuple[_Watched, PortReading]]:
        return [(watched, _read(watched, tier)) for watched in ports]

    return read_all


def _read(watched: _Watched, tier: Tier) -> PortReading:
    if watched.usable:
        reading = watched.port.read(tier)
        if not reading.gone:
            if not reading.values:  # not even a state: its files are opened anew next time
                watched.usable = False
            return reading
    # Gone, or its driver was loaded anew under the same name and the old descriptors are dead.
    return watched.port.read(tier) if _open(watched) else PortReading({}, {}, gone=True)


def _open(watched: _Watched) -> bool:
    try:
        watched.port.open()
        watched.usable = True
    except OSError as e:
        log.debug("RDMA port %s: %s", watched.port.id, e)
        watched.port.close()
        watched.usable = False
    return watched.usable
