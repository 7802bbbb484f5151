"""Host networking: physical interfaces, TCP retransmissions, bonds.

Counted are interfaces with a device behind them and no SR-IOV functions: a bond, bridge, VLAN or veth
repeats what its members carry. Not here: RDMA traffic, which these counters do not see (rdma.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ullage_agent.sources.growth import Growth
from ullage_agent.sources.kept_file import KeptFile, names_in, text_of
from ullage_contract.sample import Value

_KEYS: Final = ("network_rx_bytes", "network_tx_bytes", "network_drops", "network_errors", "tcp_retransmits")


class Network:
    """Reads /proc/net and /sys/class/net. ``refresh`` looks for interfaces anew."""

    def __init__(self, sysfs: Path, proc: Path) -> None:
        self._sysfs = sysfs
        self._interfaces = KeptFile(str(proc / "net/dev"), size=1 << 18)
        self._tcp = KeptFile(str(proc / "net/snmp"), size=1 << 14)
        self._growth = Growth()
        self._physical: frozenset[str] = frozenset()
        self._bonds: tuple[str, ...] = ()

    def refresh(self) -> None:
        """Which interfaces are physical and which are bonds."""
        root = self._sysfs / "class/net"
        names = names_in(root)
        self._physical = frozenset(
            name
            for name in names
            if (root / name / "device").exists() and not (root / name / "device/physfn").exists()
        )
        self._bonds = tuple(name for name in names if (root / name / "bonding").is_dir())

    def fast(self) -> dict[str, Value]:
        """Bytes, drops, errors and retransmissions since the agent started."""
        text = self._interfaces.text() or ""
        for line in text.splitlines()[2:]:
            name, _, rest = line.partition(":")
            name = name.strip()
            fields = rest.split()
            if name not in self._physical or len(fields) < 16:
                continue
            # linux/net/core/net-procfs.c: rx bytes packets errs drop fifo frame compressed multicast, tx the same
            rx_bytes, rx_errors, rx_drops = int(fields[0]), int(fields[2]), int(fields[3])
            tx_bytes, tx_errors, tx_drops = int(fields[8]), int(fields[10]), int(fields[11])
            self._growth.add("network_rx_bytes", name, rx_bytes)
            self._growth.add("network_tx_bytes", name, tx_bytes)
            self._growth.add("network_drops", name, rx_drops + tx_drops)
            self._growth.add("network_errors", name, rx_errors + tx_errors)
        retransmitted = _snmp(self._tcp.text() or "", "Tcp", "RetransSegs")
        if retransmitted is not None:
            self._growth.add("tcp_retransmits", "", retransmitted)
        return self._growth.values(*_KEYS)

    def slow(self) -> dict[str, Value]:
        """Bond members that are down; absent where there is no bond."""
        if not self._bonds:
            return {}
        root = self._sysfs / "class/net"
        down = 0
        for bond in self._bonds:
            for member in text_of(root / bond / "bonding/slaves").split():
                status = text_of(root / member / "bonding_slave/mii_status")
                down += bool(status) and status != "up"
        return {"bond_slaves_down": down}

    def close(self) -> None:
        """Give the descriptors back."""
        self._interfaces.close()
        self._tcp.close()


def _snmp(text: str, protocol: str, name: str) -> int | None:
    """One value of /proc/net/snmp: a line of names, then a line of numbers, both led by the protocol."""
    names: list[str] | None = None
    for line in text.splitlines():
        head, _, rest = line.partition(":")
        if head != protocol:
            continue
        if names is None:
            names = rest.split()
            continue
        numbers = dict(zip(names, rest.split(), strict=False))
        value = numbers.get(name, "")
        return int(value) if value.isdecimal() else None
    return None
