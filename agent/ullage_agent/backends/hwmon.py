"""A driver's hwmon directory: sensors by their labels, in the catalogue's units.

Units are the kernel's (Documentation/hwmon/sysfs-interface.rst): millidegrees, microwatts, microjoules,
millivolts, milliamperes, revolutions a minute. Not here: which sensor is whose, each maker knows its labels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ullage_agent.backends.sysfs import SysfsFiles, labelled
from ullage_contract.errors import Broken, NotSupported

_PER_UNIT: Final = {
    "temp": 1e-3,
    "power": 1e-6,
    "energy": 1e-6,
    "in": 1e-3,
    "curr": 1e-3,
    "fan": 1.0,
}
"""What one count of an input is in our unit, by the attribute's prefix."""


class Hwmon:
    """One directory. A sensor that is not there raises NotSupported, as its file does when it does not answer."""

    def __init__(self, directory: Path) -> None:
        self.files = SysfsFiles(directory)
        self._labels = {prefix: labelled(directory, prefix) for prefix in _PER_UNIT}

    def labels(self, prefix: str) -> tuple[str, ...]:
        """The labels of a kind of sensor, in lower case."""
        return tuple(self._labels[prefix])

    def labelled(self, prefix: str, *labels: str) -> float:
        """The sensor with the first of these labels (lower case) that is there."""
        for label in labels:
            name = self._labels[prefix].get(label)
            if name is not None:
                return self.value(prefix, name)
        raise NotSupported(f"{self.files.root}: no {prefix} sensor labelled {' or '.join(labels)}")

    def matching(self, prefix: str, wanted: Callable[[str], bool]) -> list[float]:
        """Every sensor whose label is wanted; one that does not answer raises."""
        return [self.value(prefix, name) for label, name in self._labels[prefix].items() if wanted(label)]

    def value(self, prefix: str, name: str) -> float:
        """One file's value in our unit."""
        return self.files.number(name) * _PER_UNIT[prefix]

    def positive(self, prefix: str, *names: str) -> float:
        """The first of these files that says more than 0. 0 is how limits and unfitted sensors say there is none.

        Raises the last file's error, or NotSupported when all say 0.
        """
        trouble: NotSupported | None = None
        for name in names:
            try:
                found = self.value(prefix, name)
            except NotSupported as e:
                trouble = e
                continue
            if found > 0:
                return found
        raise trouble or NotSupported(f"{self.files.root}: {' and '.join(names)} say 0, which means none")

    def close(self) -> None:
        """Close the descriptors."""
        self.files.close()


def directories(device: Path) -> dict[str, Path]:
    """The hwmon directories of a device by the name their driver gave them; {} where there are none."""
    found: dict[str, Path] = {}
    try:
        places = sorted((device / "hwmon").glob("hwmon[0-9]*"))
    except OSError:
        return {}
    for place in places:
        try:
            name = (place / "name").read_text(encoding="utf-8").strip()
        except OSError:
            name = place.name
        found.setdefault(name, place)
    return found


def temperature(value: float) -> float:
    """The value if a card can have it; else Broken."""
    if not -100 <= value <= 300:
        raise Broken(f"{value:g} is no temperature of a card")
    return value
