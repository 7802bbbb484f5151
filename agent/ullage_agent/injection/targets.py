"""Where injected faults go: the simulated cards' control file, an emulator's scenario, a kernel log, an RDMA tree.

Each writes what the real reader then reads, nothing behind it. Whatever is written to is named in this node's own
settings, so that its rows and events are labelled simulated there (assembly.py); a line for the kernel's own log
carries MARK instead. Raises ConfigError for a place that the settings do not name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ullage_agent.config import Config
from ullage_agent.injection.scenario import Fault
from ullage_agent.sources.kernel_events import INJECTED_MARK
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, ConfigError

KMSG: Final = Path("/dev/kmsg")
_SIMULATED: Final = {"throttle": "hot"}
"""What the simulated cards call it (backends/simulated/faults.py)."""
_PORT_STATES: Final = {"port_down": ("1: DOWN", "2: Polling"), "port_up": ("4: ACTIVE", "5: LinkUp")}
"""state and phys_state of /sys/class/infiniband/DEV/ports/N (Documentation/ABI/stable/sysfs-class-infiniband)."""
_XID_TEXT: Final[Mapping[str, str]] = {
    "79": "pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
    "48": "pid=0, name=, An uncorrectable double bit error (DBE) has been detected.",
}


class Targets:
    """``make`` one fault at a time. Raises ConfigError in ``check`` for what this node does not allow."""

    def __init__(self, config: Config, clock: Clock, *, kmsg: Path = KMSG) -> None:
        self._config = config
        self._clock = clock
        self._kmsg = kmsg

    def check(self, faults: tuple[Fault, ...]) -> None:
        """Every place of every fault, before the first is made."""
        if not self._config.inject.allow:
            raise ConfigError(
                f"{self._config.path or 'agent.toml'}: [inject] allow is not true: nothing is injected on this node"
            )
        for fault in faults:
            self.place(fault)

    def place(self, fault: Fault) -> Path:
        """The file it is written to. Raises ConfigError where the settings name none."""
        inject = self._config.inject
        if fault.target == "simulated":
            file = self._config.settings("simulated").get("control_file")
            if not file or not self._config.enabled.get("simulated"):
                raise ConfigError(
                    "[backends.simulated] is not enabled with a control_file: nothing reads the faults"
                )
            return Path(str(file))
        if fault.target == "emulated":
            file = inject.emulated.get(fault.maker)
            if file is None:
                raise ConfigError(f"[inject.emulated] {fault.maker} names no scenario file of an emulator")
            return file
        if fault.target == "rdma":
            if inject.sysfs is None:
                raise ConfigError(
                    "[inject] sysfs names no tree that is read in place of /sys; /sys is never written to"
                )
            return inject.sysfs / "class/infiniband" / fault.device / "ports" / str(fault.port)
        if inject.kernel_log is not None:
            return inject.kernel_log
        if not inject.kmsg:
            raise ConfigError("[inject] kernel_log names no recorded log, and kmsg is not true")
        return self._kmsg

    def make(self, fault: Fault) -> str:
        """Make it happen; what was written, for people. Raises BadInput when it cannot be written."""
        place = self.place(fault)
        try:
            if fault.target == "simulated":
                return _append(place, simulated_line(fault))
            if fault.target == "emulated":
                return _emulate(place, fault)
            if fault.target == "rdma":
                return _port(place, fault)
            return self._log(place, fault)
        except OSError as e:
            raise BadInput(f"{place}: {e.strerror or e}: {fault.do} was not made") from e

    def _log(self, place: Path, fault: Fault) -> str:
        text = fault.line or xid_line(fault)
        if place == self._kmsg:
            with place.open(
                "wb", buffering=0
            ) as log:  # one write is one record (Documentation/ABI/testing/dev-kmsg)
                log.write(f"<4>{text} {INJECTED_MARK}\n".encode())
            return text
        micros = int(self._clock.monotonic() * 1e6)
        return _append(place, f"4,{_next_sequence(place)},{micros},-;{text}")


def simulated_line(fault: Fault) -> str:
    """The fault in the simulated cards' words."""
    do = _SIMULATED.get(fault.do, fault.do)
    words = [do, f"port={fault.port}" if do == "port_down" else f"card={fault.card}"]
    if fault.code:
        words.append(f"code={fault.code}")
    if fault.count != 1:
        words.append(f"count={fault.count}")
    if fault.for_seconds is not None:
        words.append(f"for={fault.for_seconds:g}")
    return " ".join(words)


def xid_line(fault: Fault) -> str:
    """A line as NVIDIA's driver prints it: bus address without function, code, pid and name, text."""
    code = fault.code or "79"
    text = _XID_TEXT.get(code, "pid='<unknown>', name=<unknown>, injected.")
    return f"NVRM: Xid (PCI:{fault.pci.rpartition('.')[0]}): {code}, {text}"


def _append(place: Path, line: str) -> str:
    with place.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    return line


def _next_sequence(place: Path) -> int:
    """One more than the newest record's; 0 in an empty log."""
    try:
        with place.open("rb") as file:
            file.seek(max(0, place.stat().st_size - 16_384))
            lines = [line for line in file.read().splitlines() if line[:1].isdigit()]
        return int(lines[-1].split(b",")[1]) + 1 if lines else 0
    except (OSError, ValueError, IndexError):
        return 0


def _emulate(place: Path, fault: Fault) -> str:
    """A new file each time, renamed into place: the emulators look at its inode."""
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    lost = f"card {fault.card} lost 1"
    if fault.do == "back":
        lines = [line for line in lines if line.split() != lost.split()]
        said = f"without {lost}"
    else:
        said = lost if fault.do == "lost" else fault.line
        lines.append(said)
    fresh = place.with_name(place.name + ".injecting")
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh.replace(place)
    return said


def _port(place: Path, fault: Fault) -> str:
    if not (place / "state").is_file():
        raise BadInput(f"{place} is no port: give device and port as the tree names them")
    if fault.do == "counter":
        for folder in ("counters", "hw_counters"):
            file = place / folder / fault.counter
            if file.is_file():
                value = int(file.read_text(encoding="ascii")) + fault.count
                _in_place(file, str(value))
                return f"{folder}/{fault.counter} = {value}"
        raise BadInput(f"{place} has no counter {fault.counter}")
    state, physical = _PORT_STATES[fault.do]
    _in_place(place / "state", state)
    _in_place(place / "phys_state", physical)
    return f"state = {state}"


def _in_place(file: Path, text: str) -> None:
    """As the kernel does: whoever holds the file open reads the new text."""
    with file.open("r+", encoding="ascii") as held:
        held.write(text + "\n")
        held.truncate()


def allowed(config: Config) -> dict[str, Any]:
    """What may be injected on this node, for ``inject list``."""
    inject = config.inject
    simulated = config.settings("simulated").get("control_file") if config.enabled.get("simulated") else None
    return {
        "allow": inject.allow,
        "simulated": str(simulated) if simulated else None,
        "emulated": {maker: str(path) for maker, path in inject.emulated.items()},
        "kernel_log": str(inject.kernel_log) if inject.kernel_log else str(KMSG) if inject.kmsg else None,
        "rdma": str(inject.sysfs) if inject.sysfs else None,
    }
