"""TPU chips of a virtual machine: from the bus that they are there, from the workload's libtpu what they do.

A guest is told no temperature, power, clock or error of a TPU (Cloud Monitoring has some of the node's). libtpu
serves its metrics while a workload runs, so a refused connection and nobody on the chip is an idle chip.

The runtime's device ids are not the numbers of the device nodes (a slice of several hosts counts on). Where it
reports as many chips as are held here, its k-th smallest id is taken for the k-th of them: our choice, so that
a node's sum is right and a chip's figure may be its neighbour's of the same job; where the counts differ nothing
is guessed. Several processes a host serve on several ports: [backends.tpu] ports = "8431,8432".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends import holders
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_agent.backends.sysfs import glance
from ullage_agent.backends.tpu.runtime import DUTY, TOTAL, USED, Rows, ask
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, NotPermitted, NotPresent, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

PORT: Final = 8431
TIMEOUT_SECONDS: Final = 1.0  # our choice: because a call may take 2 s and the server is this machine's

MODELS: Final[Mapping[tuple[str | None, str | None], tuple[str | None, int]]] = {
    ("0x0027", "0x004e"): ("TPU v2", 2),
    ("0x0027", "0x004f"): ("TPU v3", 2),
    ("0x005e", None): ("TPU v4", 1),
    ("0x0063", None): ("TPU v5e", 1),
    ("0x0062", None): ("TPU v5p", 1),
    ("0x006f", None): ("TPU v6e", 1),
    ("0x0076", None): ("TPU7x", 2),
}
"""(device, subsystem device) -> (name, devices libtpu counts on a chip)."""


class _Chip:
    def __init__(self, host: Host, address: str) -> None:
        self.pci = PciFunction(host.sysfs, address)
        place = self.pci.files.root
        device, subsystem = glance(place / "device"), glance(place / "subsystem_device")
        self.model, self.devices = MODELS.get((device, subsystem)) or MODELS.get((device, None)) or (None, 1)
        self.node = _node(host, place)


class Tpu:
    """backends.roster.Maker over the bus, /proc and libtpu."""

    vendor = "tpu"

    def __init__(self, host: Host) -> None:
        self._host = host
        chosen = str(host.settings.get("ports", PORT))
        self._ports = [int(port) for port in chosen.split(",") if port.strip().isdecimal()] or [PORT]
        self._address = str(host.settings.get("address", "localhost"))
        self._chips: dict[str, _Chip] = {}
        self._watch = holders.Watch(host.proc)
        self._held = holders.Held({}, False)
        self._answer: dict[str, Rows | ReadingError] | None = None
        self._read: set[tuple[str, str]] = set()

    def open(self, call: Call) -> None:
        """Nothing to open: each sample asks anew who serves."""

    def look(self, call: Call) -> Sequence[Found]:
        """Every chip on the bus."""
        root = self._host.sysfs / "bus/pci/devices"
        try:
            addresses = sorted(path.name for path in root.iterdir() if _is_tpu(path))
        except OSError as e:
            raise NotPresent(f"{root} cannot be read: mount the host's /sys") from e
        for gone in set(self._chips) - set(addresses):
            self._chips.pop(gone).pci.close()
        for address in addresses:
            if address not in self._chips:
                self._chips[address] = _Chip(self._host, address)
        nodes = [chip.node for chip in self._chips.values() if chip.node]
        self._held = call("", "/proc", lambda: self._watch.scan(nodes))
        return [self._found(chip, number) for number, chip in enumerate(self._in_order())]

    def close(self) -> None:
        """Close the files."""
        for chip in self._chips.values():
            chip.pci.close()

    # ---- one chip

    def _in_order(self) -> list[_Chip]:
        """By the number of the device node, then by place."""
        return sorted(self._chips.values(), key=lambda chip: (_number(chip.node), chip.pci.address))

    def _found(self, chip: _Chip, number: int) -> Found:
        attributes: Attributes = {
            "model": chip.model,
            "pci_address": chip.pci.address,
            "index": number,
            "device_node": chip.node,
            "numa_node": chip.pci.numa_node,
            "util_kind": "duty_cycle",
        }
        return Found(
            card_id=card_id(vendor=self.vendor, node_id=self._host.node_id, pci=chip.pci.address),
            attributes={name: value for name, value in attributes.items() if value is not None},
            probes=list(self._probes(chip)),
            processes=lambda: [(holders.identity(self._host.proc, pid), {}) for pid in self._pids(chip)],
        )

    def _probes(self, chip: _Chip) -> Iterator[Probe]:
        yield Probe("dutycycle", ("utilization_ratio",), lambda: self._duty(chip))
        yield Probe(
            "hbm.usage", ("memory_used_bytes",), lambda: self._memory(chip, USED, "memory_used_bytes")
        )
        yield Probe(
            "hbm.total", ("memory_total_bytes",), lambda: self._memory(chip, TOTAL, "memory_total_bytes")
        )
        yield Probe("/proc", ("processes",), lambda: {"processes": len(self._pids(chip))}, Tier.SLOW)
        yield from chip.pci.probes()

    def _duty(self, chip: _Chip) -> Mapping[str, Value]:
        shares = self._own(chip, DUTY)
        if shares is None:
            return {"utilization_ratio": 0.0}
        percent = sum(shares) / len(shares)
        if not 0 <= percent <= 100.5:
            raise Broken(f"libtpu says a duty cycle of {percent:g} %")
        return {"utilization_ratio": min(1.0, percent / 100)}

    def _memory(self, chip: _Chip, name: str, key: str) -> Mapping[str, Value]:
        sizes = self._own(chip, name)
        if sizes is None:  # nobody holds it: nothing is in use, and nobody says how much there is
            return {key: 0} if name == USED else {}
        if not all(0 <= size < 1 << 50 for size in sizes):
            raise Broken(f"libtpu says {name} {sizes}")
        return {key: round(sum(sizes))}

    # ---- whose row is it

    def _own(self, chip: _Chip, name: str) -> list[float] | None:
        """The chip's rows of a metric, one a device on it; None when it is idle for want of a holder."""
        rows = self._rows(chip, name)
        busy = [c for c in self._in_order() if c.node and self._held.by_node.get(c.node)]
        if rows is None:
            if chip in busy:
                raise Broken(
                    f"{chip.node} is held and nobody serves libtpu's metrics on port "
                    f"{', '.join(map(str, self._ports))}: set [backends.tpu] ports"
                )
            if not self._held.complete:
                raise NotPermitted("whether a process holds the chip cannot be seen: run as root")
            return None
        chips = busy if self._fits(busy, rows) else self._in_order()
        if not self._fits(chips, rows):
            raise Broken(
                f"libtpu reports {len(rows)} devices, {len(busy)} of {len(self._chips)} chips are held here"
            )
        if chip not in chips:
            if not self._held.complete:
                raise NotPermitted("whether a process holds the chip cannot be seen: run as root")
            return None
        each = len(rows) // len(chips)
        at = chips.index(chip) * each
        return [value for _, value in rows[at : at + each]]

    @staticmethod
    def _fits(chips: Sequence[_Chip], rows: Rows) -> bool:
        """One row a chip (duty cycle), or one a device of every chip (memory)."""
        return bool(chips) and len(rows) in {len(chips), sum(chip.devices for chip in chips)}

    def _rows(self, chip: _Chip, name: str) -> Rows | None:
        """Asked once for all chips: a chip that asks for the same metric again begins the next round."""
        key = (chip.pci.address, name)
        if self._answer is None or key in self._read:
            self._answer = self._ask()
            self._read.clear()
        self._read.add(key)
        found = self._answer.get(name)
        if isinstance(found, ReadingError):
            raise Broken(str(found)) from found  # also "unimplemented": another libtpu may serve the next job
        return found

    def _ask(self) -> dict[str, Rows | ReadingError]:
        """All ports' rows together; {} when nobody serves on any."""
        together: dict[str, Rows | ReadingError] = {}
        for port in self._ports:
            try:
                answer = ask(self._address, port, TIMEOUT_SECONDS / len(self._ports))
            except NotPresent:
                continue
            except ReadingError as e:
                answer = {name: e for name in (DUTY, USED, TOTAL)}
            for name, rows in answer.items():
                known = together.get(name)
                if isinstance(known, list) and isinstance(rows, list):
                    together[name] = sorted(known + rows)
                elif known is None or isinstance(rows, ReadingError):
                    together[name] = rows
        return together

    def _pids(self, chip: _Chip) -> tuple[int, ...]:
        if chip.node is None:
            raise NotSupported("the chip has no device node here")
        pids = self._held.by_node.get(chip.node, ())
        if not pids and not self._held.complete:
            raise NotPermitted("other users' open files cannot be seen: run as root or with CAP_SYS_PTRACE")
        return pids


def _is_tpu(place: Path) -> bool:
    return glance(place / "vendor") == "0x1ae0" and any(glance(place / "device") == ids[0] for ids in MODELS)


def _node(host: Host, place: Path) -> str | None:
    """/dev/vfio/GROUP (v5e and newer), /dev/accelN (older driver)."""
    for found in sorted(place.glob("accel/accel[0-9]*")):
        return f"/dev/{found.name}"
    try:
        group = (place / "iommu_group").readlink().name
    except OSError:
        return None
    # noiommu-N where the guest has no IOMMU (kernel Documentation/driver-api/vfio.rst)
    return next(
        (f"/dev/vfio/{n}" for n in (group, f"noiommu-{group}") if (host.dev / "vfio" / n).exists()), None
    )


def _number(node: str | None) -> int:
    digits = "".join(ch for ch in (node or "").rpartition("/")[2] if ch.isdecimal())
    return int(digits) if digits else 1 << 30


def open_reader(host: Host) -> Roster:
    """What the child runs."""
    return Roster(Tpu(host))
