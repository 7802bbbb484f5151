"""NETINT VPUs: NVMe controllers to the kernel, video engines to ni_rsrc_mon.

What needs no tool (who it is, temperature, health, link) is read from sysfs, so that a server without the tool, or
an agent outside the group that may open the device, still tells it. ni_rsrc_mon needs read access to /dev/nvmeN
(root, or the group "disk"), and creates its own lock files where libxcoder keeps them.
Settings: tool, tool_logan (paths), interval (seconds, 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ullage_agent.backend import Call, Host
from ullage_agent.backends.holders import Held, Watch, identity
from ullage_agent.backends.hwmon import Hwmon, directories, temperature
from ullage_agent.backends.netint.monitor import Monitor
from ullage_agent.backends.netint.names import LOGAN, STORAGE, VENDOR
from ullage_agent.backends.pcie import PciFunction
from ullage_agent.backends.roster import Attributes, Found, Probe, Roster
from ullage_agent.backends.sysfs import SysfsFiles
from ullage_agent.backends.toolstream import find_tool
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, NotPermitted, NotSupported, ReadingError
from ullage_contract.identity import card_id
from ullage_contract.sample import Value

INTERVAL_SECONDS: Final = 5  # our choice: because half a fast tick makes every reading at most 5 s old
_TOOL_FOLDERS: Final = ("/usr/local/bin", "/usr/bin")
_FORMS: Final = {"ni_rsrc_mon": ("json2", "json1", "text"), "ni_rsrc_mon_logan": ("json1", "text")}
_TOOL_KEYS: Final = (
    "utilization_ratio",
    "decoder_ratio",
    "encoder_ratio",
    "control_cpu_ratio",
    "memory_ratio",
    "power_watts",
    "pcie_tx_bytes_per_second",
)
_STATES: Final = {
    # drivers/nvme/host/sysfs.c nvme_sysfs_show_state
    "live": "ok",
    "new": "degraded",
    "resetting": "degraded",
    "connecting": "degraded",
    "deleting": "critical",
    "deleting (no IO)": "critical",
    "dead": "critical",
}


class _Card:
    def __init__(self, host: Host, address: str, monitor: Monitor) -> None:
        self._host = host
        self.pci = PciFunction(host.sysfs, address)
        self._monitor = monitor
        root = self.pci.files.root
        self.controller = next((path.name for path in sorted(root.glob("nvme/nvme[0-9]*"))), None)
        place = root / "nvme" / (self.controller or "none")
        self._nvme = SysfsFiles(place)
        found = (
            sorted(place.glob("hwmon[0-9]*"))
            or list(directories(place).values())
            or list(directories(root).values())
        )
        self._hwmon = Hwmon(found[0]) if found else None
        names = [self.controller, *(path.name for path in sorted(place.glob(f"{self.controller}n[0-9]*")))]
        self.nodes = tuple(f"/dev/{name}" for name in names if name)
        self.held = Held({}, False)

    def text(self, name: str) -> str | None:
        """An attribute of the controller."""
        try:
            return self._nvme.text(name) or None
        except ReadingError:
            return None

    def probes(self) -> list[Probe]:
        return [
            Probe("nvme_state", ("health", "health_detail"), self._health),
            Probe("temp1_input", ("temperature_celsius",), self._temperature),
            *(Probe(f"ni_rsrc_mon {key}", (key,), self._tool(key)) for key in _TOOL_KEYS),
            Probe("holders", ("processes",), self._count, Tier.SLOW),
            *self.pci.probes(),
        ]

    def processes(self) -> Sequence[tuple[Attributes, Mapping[str, Value]]]:
        return [(who, {}) for who in self._users()]

    def close(self) -> None:
        self.pci.close()
        self._nvme.close()
        if self._hwmon is not None:
            self._hwmon.close()

    def _health(self) -> dict[str, Value]:
        if not self.pci.files.root.exists():
            raise CardLost(f"{self.pci.files.root} is gone")
        if self.controller is None:
            return {
                "health": "critical",
                "health_detail": "no NVMe controller: the nvme driver does not serve it",
            }
        try:
            state = self._nvme.text("state")
        except CardLost as e:
            raise CardLost(f"{self.controller} is gone") from e
        return {"health": _STATES.get(state, "degraded"), "health_detail": state}

    def _temperature(self) -> dict[str, Value]:
        if self._hwmon is not None:
            try:
                return {"temperature_celsius": temperature(self._hwmon.value("temp", "temp1_input"))}
            except NotSupported:
                pass
        return self._tool("temperature_celsius")()

    def _tool(self, key: str) -> Callable[[], dict[str, Value]]:
        def ask() -> dict[str, Value]:
            cards = self._monitor.cards()
            card = cards.get(self.controller or "")
            if card is None:
                raise Broken(f"ni_rsrc_mon does not list {self.controller}")
            value = card.values.get(key)
            if value is None:
                raise NotSupported(f"this release of ni_rsrc_mon or of the firmware tells no {key}")
            return {key: value}

        return ask

    def _users(self) -> list[Attributes]:
        """All but the monitor, which has every device open itself."""
        pids = sorted({pid for node in self.nodes for pid in self.held.by_node.get(node, ())})
        known = [identity(self._host.proc, pid) for pid in pids]
        return [who for who in known if not str(who.get("command", "")).startswith("ni_rsrc_mon")]

    def _count(self) -> dict[str, Value]:
        if not self.held.complete:
            raise NotPermitted("the open files of other users' processes: give the agent CAP_SYS_PTRACE")
        return {"processes": len(self._users())}


class NetintMaker:
    """See roster.Maker."""

    vendor = "netint"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._cards: dict[str, _Card] = {}
        self._monitors: dict[str, Monitor] = {}
        self._watch = Watch(host.proc)

    def open(self, call: Call) -> None:
        """Nothing to open: the tools start with the first question."""

    def look(self, call: Call) -> Sequence[Found]:
        """Every function of NETINT's that is no SSD."""
        found: list[Found] = []
        present = set()
        for place in sorted((self._host.sysfs / "bus/pci/devices").glob("*:*:*.*")):
            try:
                vendor, device = (
                    (place / name).read_text(encoding="ascii").strip().removeprefix("0x")
                    for name in ("vendor", "device")
                )
            except OSError:
                continue
            if vendor != VENDOR or device in STORAGE or (place / "physfn").exists():
                continue
            present.add(place.name)
            found.append(
                self._found(len(found), place, "ni_rsrc_mon_logan" if device in LOGAN else "ni_rsrc_mon")
            )
        for gone in set(self._cards) - present:
            self._cards.pop(gone).close()
        nodes = [node for card in self._cards.values() for node in card.nodes]
        held = call("", "/proc", lambda: self._watch.scan(nodes))
        for card in self._cards.values():
            card.held = held
        return found

    def close(self) -> None:
        """End the tools and close every descriptor."""
        for monitor in self._monitors.values():
            monitor.close()
        for card in self._cards.values():
            card.close()

    def _found(self, index: int, place: Path, tool: str) -> Found:
        card = self._cards.get(place.name)
        if card is None or card.controller is None:
            card = self._cards[place.name] = _Card(self._host, place.name, self._monitor(tool))
        serial = card.text("serial")
        return Found(
            card_id(vendor=self.vendor, serial=serial, node_id=self._host.node_id, pci=place.name),
            {
                "model": card.text("model") or "NETINT VPU",
                "serial": serial,
                "pci_address": place.name,
                "index": index,
                "numa_node": card.pci.numa_node,
                "device_node": card.nodes[0] if card.nodes else None,
                "firmware_version": card.text("firmware_rev"),
                "util_kind": "duty_cycle",
            },
            card.probes(),
            processes=card.processes,
        )

    def _monitor(self, tool: str) -> Monitor:
        monitor = self._monitors.get(tool)
        if monitor is None:
            settings = self._host.settings
            path = find_tool(
                tool, _TOOL_FOLDERS, settings.get("tool_logan" if tool.endswith("logan") else "tool")
            )
            interval = settings.get("interval", INTERVAL_SECONDS)
            seconds = interval if isinstance(interval, int) else INTERVAL_SECONDS
            monitor = self._monitors[tool] = Monitor(path, _FORMS[tool], seconds)
        return monitor


def open_reader(host: Host) -> Roster:
    """The reader for the child process."""
    return Roster(NetintMaker(host))
