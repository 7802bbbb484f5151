"""NVIDIA's kernel log lines: Xid, NVSwitch SXid and the driver's own words about a lost or dead card.

The meaning of each Xid is data: xid.toml. Not here: reading the log (ullage_agent.sources.kernel_log).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

from ullage_agent.backend import Decoded, LogPattern
from ullage_agent.sources.kernel_log import decode
from ullage_contract.event import Severity
from ullage_contract.sample import Value


@dataclass(frozen=True, slots=True)
class Xid:
    """One row of xid.toml. klass: our class word; action: NVIDIA's immediate resolution or ""; note: or None."""

    code: int
    name: str
    severity: Severity
    klass: str
    action: str
    note: str | None = None


@cache
def xids() -> Mapping[int, Xid]:
    """The shipped table by code."""
    text = (files(__package__) / "xid.toml").read_text(encoding="utf-8")
    return {
        row["code"]: Xid(
            code=row["code"],
            name=row["name"],
            severity=Severity(row["severity"]),
            klass=row["class"],
            action=row["action"],
            note=row.get("note"),
        )
        for row in tomllib.loads(text)["xid"]
    }


def _by_code() -> dict[str, dict[str, Value]]:
    return {
        str(code): {"name": xid.name, "class": xid.klass, **({"action": xid.action} if xid.action else {})}
        for code, xid in xids().items()
    }


_SEVERITIES: Final = {str(code): xid.severity for code, xid in xids().items()}

# The PCI address stands without a function digit; MIG adds the GPU instance. Before R450 there was no
# pid, before R515 no name; both read <unknown> when the fault has no process.
_XID_HEAD: Final = (
    r"NVRM: (?:GPU\d+ )?Xid \((?:PCI:)?(?P<pci>[0-9a-fA-F]+:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?)"
    r"(?:\s+GPU-I:(?P<gpu_instance>\w+))?\): "
)
_XID_PROCESS: Final = r"(?:, pid='?(?P<pid>\d+|<unknown>)'?)?(?:, name='?(?P<process>[^,']*)'?)?"
_SXID_HEAD: Final = r"nvidia-nvswitch(?P<switch>\d+): SXid \(PCI:(?P<pci>[0-9a-fA-F:.]+)\): (?P<code>\d+)"

PATTERNS: Final[tuple[LogPattern, ...]] = (
    # NVLink 5: the same codes are harmless or not by a word in the line (Xid catalogue, 144-150 decode)
    LogPattern(
        regex=_XID_HEAD + r"(?P<code>14[4-9]|150)" + _XID_PROCESS + r", (?P<unit>\w+)\s+Non-?fatal\b"
        r"(?:.*?\bLink (?P<link>\d+))?",
        kind="xid",
        severity=Severity.WARNING,
        vendor="nvidia",
        attributes={"fatal": 0},
        by_code=_by_code(),
    ),
    LogPattern(
        regex=_XID_HEAD + r"(?P<code>14[4-9]|150)" + _XID_PROCESS + r", (?P<unit>\w+)\s+Fatal\b"
        r"(?:.*?\bLink (?P<link>\d+))?",
        kind="xid",
        severity=Severity.CRITICAL,
        vendor="nvidia",
        attributes={"fatal": 1},
        by_code=_by_code(),
    ),
    LogPattern(
        regex=_XID_HEAD + r"(?P<code>154)" + _XID_PROCESS + r".*changed from .*\((?P<recovery_before>[^)]*)\)"
        r" to \S+ \((?P<recovery>[^)]*)\)",
        kind="xid",
        severity=Severity.WARNING,
        vendor="nvidia",
        by_code=_by_code(),
    ),
    # NVLink up to generation 4: "NVLink: fatal error detected on link 6(0x10000, ...)"; one code for every link
    LogPattern(
        regex=_XID_HEAD + r"(?P<code>74)" + _XID_PROCESS + r".*?\bon link (?P<link>\d+)",
        kind="xid",
        severity=Severity.WARNING,
        vendor="nvidia",
        severities=_SEVERITIES,
        by_code=_by_code(),
    ),
    LogPattern(
        regex=_XID_HEAD
        + r"(?P<code>\d+)"
        + _XID_PROCESS
        + r"(?:, (?:Ch|Channel ID) (?P<channel>[0-9a-fA-F]+))?",
        kind="xid",
        severity=Severity.WARNING,
        vendor="nvidia",
        severities=_SEVERITIES,
        by_code=_by_code(),
    ),
    LogPattern(
        regex=_SXID_HEAD + r", (?P<detail>Severity|Data)\b",
        kind="sxid",
        severity=Severity.INFO,
        vendor="nvidia",
    ),
    LogPattern(
        regex=_SXID_HEAD + r", Non-fatal(?:, Link (?P<link>\d+))?",
        kind="sxid",
        severity=Severity.WARNING,
        vendor="nvidia",
        attributes={"fatal": 0},
    ),
    LogPattern(
        regex=_SXID_HEAD + r", Fatal(?:, Link (?P<link>\d+))?",
        kind="sxid",
        severity=Severity.FATAL,
        vendor="nvidia",
        attributes={"fatal": 1},
    ),
    # who the next Xid is about, printed just before it
    LogPattern(
        regex=r"NVRM: (?P<context>GPU) at PCI:(?P<pci>[0-9a-fA-F:.]+?): (?P<uuid>GPU-[0-9a-fA-F-]+)",
        kind="driver_error",
        severity=Severity.INFO,
        vendor="nvidia",
    ),
    LogPattern(
        regex=r"NVRM: (?P<context>GPU) Board Serial Number: (?P<board_serial>\w+)",
        kind="driver_error",
        severity=Severity.INFO,
        vendor="nvidia",
    ),
    # a card that died without an Xid; beside one it is a remark of that Xid's burst
    LogPattern(
        regex=r"NVRM: (?:The NVIDIA )?GPU (?P<pci>[0-9a-fA-F]{4}:[0-9a-fA-F:.]+?)(?: \(PCI ID: [^)]*\))?:?\s"
        r"(?:.*\b)?fallen off the bus",
        kind="driver_error",
        severity=Severity.FATAL,
        vendor="nvidia",
        attributes={"name": "FALLEN_OFF_THE_BUS"},
    ),
    LogPattern(
        regex=r"NVRM: GPU (?P<pci>[0-9a-fA-F]{4}:[0-9a-fA-F:.]+?): RmInitAdapter failed!",
        kind="driver_error",
        severity=Severity.CRITICAL,
        vendor="nvidia",
        attributes={"name": "RM_INIT_ADAPTER_FAILED"},
    ),
    LogPattern(
        regex=r"NVRM: API mismatch",
        kind="driver_error",
        severity=Severity.WARNING,
        vendor="nvidia",
        attributes={"name": "API_MISMATCH"},
    ),
)

_WORST: Final = (
    "isolate_restart",
    "isolate_reset",
    "isolate_decide",
    "mechanical",
    "follow",
    "application",
    "log",
)


def decode_kernel_log(text: str) -> Decoded:
    """A recorded kernel log by NVIDIA's patterns; ``extra["normalized"]`` is the worst Xid's verdict."""
    decoded = decode(text, PATTERNS, maker="nvidia")
    extra: dict[str, Any] = dict(decoded.extra)
    extra["sxid_detail_lines"] = extra.pop("detail_lines", 0)
    codes = {int(event.code) for event in decoded.events if event.kind == "xid" and event.code is not None}
    found = [xids()[code] for code in sorted(codes) if code in xids()]
    if found:
        worst = min(found, key=lambda xid: _WORST.index(xid.klass))
        extra["normalized"] = {
            "code": worst.name,
            "immediate_action": worst.action or None,
            "health": "isolate" if worst.klass.startswith("isolate") else worst.klass,
        }
    return replace(decoded, extra=extra)
