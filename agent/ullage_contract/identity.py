"""Who is who: cluster, node, card, slice, port. Never an index, never a PCI address alone.

A node is named by configuration, else by the scheduler, else by its host name; its machine-id is
an attribute. A card is named by its maker's UUID, else serial and chip, else place. The same words
are keys in SQL, JSON, Prometheus labels and reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ullage_contract.errors import BadInput

MAX_ID_LENGTH = 200  # our choice: because keys stand in every row, label and file name

_PCI = re.compile(r"^(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.?([0-7])?$")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def check_id(kind: str, value: str) -> str:
    """``value`` itself, if it can be a key: not empty, at most 200 characters, no control or bidi characters.

    Raises BadInput naming ``kind`` and the value.
    """
    if not value or len(value) > MAX_ID_LENGTH or _FORBIDDEN.search(value):
        raise BadInput(
            f"{kind} {value[:60]!r} cannot be a key: give 1 to {MAX_ID_LENGTH} characters "
            "without control characters"
        )
    return value


def pci_address(text: str) -> str:
    """A PCI address as DDDD:BB:DD.F in lower case, whatever the tool printed.

    ``00000000:3B:00.0``, ``3b:00.0`` and ``0000:3B:00`` all become ``0000:3b:00.0``.
    A domain wider than 16 bits (VMD, some Arm hosts) is kept.
    Raises BadInput for anything else.
    """
    match = _PCI.match(text.strip())
    if match is None:
        raise BadInput(f"PCI address {text[:40]!r} is not of the form DDDD:BB:DD.F")
    domain, bus, device, function = match.groups()
    return f"{int(domain or '0', 16):04x}:{bus.lower()}:{device.lower()}.{function or '0'}"


def card_id(
    *,
    uuid: str | None = None,
    vendor: str,
    serial: str | None = None,
    chip: int | None = None,
    node_id: str | None = None,
    pci: str | None = None,
) -> str:
    """The card's key: the maker's UUID, else vendor + serial + chip, else node + PCI address + chip.

    Two chips of one board or one PCI address differ in ``chip``. Raises BadInput when nothing
    identifies the card.
    """
    if uuid and uuid.strip():
        return check_id("card uuid", uuid.strip())
    suffix = f"-c{chip}" if chip is not None else ""
    if serial and serial.strip() and set(serial.strip()) - {"0"}:
        return check_id("card serial", f"{vendor}-{serial.strip()}{suffix}")
    if node_id and pci:
        return check_id("card place", f"{node_id}-{pci_address(pci)}{suffix}")
    if node_id and chip is not None:
        return check_id("card place", f"{node_id}-{vendor}{suffix}")
    raise BadInput(f"a {vendor} card with neither UUID, serial nor node and PCI address has no key")


def slice_id(card: str, instance: str) -> str:
    """The slice's key: card_id + ``/`` + the maker's instance id."""
    return check_id("slice", f"{card}/{instance}")


def port_id(node_id: str, device: str, port: int) -> str:
    """The RDMA port's key: node_id/device/port."""
    return check_id("port", f"{node_id}/{device}/{port}")


def node_id(
    *,
    configured: str | None = None,
    environ: Mapping[str, str] | None = None,
    fqdn: str | None = None,
) -> str:
    """The node's name: configured, else Kubernetes NODE_NAME, else Slurm SLURMD_NODENAME, else FQDN.

    ``NODE_NAME`` is set by our DaemonSet from spec.nodeName; ``SLURMD_NODENAME`` by slurmd.
    """
    env = environ if environ is not None else {}
    for value in (configured, env.get("NODE_NAME"), env.get("SLURMD_NODENAME")):
        if value:
            return check_id("node", value)
    if not fqdn:
        # imported here, because each maker's child imports this module and none asks for the host's name
        import socket

        fqdn = socket.getfqdn()
    return check_id("node", fqdn or "localhost")


def machine_id(root: Path = Path("/")) -> str | None:
    """/etc/machine-id, or None where there is none. An attribute of the node, never its key."""
    try:
        text = (root / "etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text or None


def boot_id(root: Path = Path("/")) -> str | None:
    """The kernel's random id of this boot, or None where /proc does not give it."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
