"""The scenario file of the small emulators (tests/emulators/scenario.h): things, their keys and values."""

from __future__ import annotations

from pathlib import Path


class Scenario:
    """``world["chip 0.0"]["power"] = 905`` then ``write()``; the library reads it at its next call."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scenario.txt"
        self.things: dict[str, dict[str, object]] = {"system": {}}
        self._written = 0

    def __getitem__(self, thing: str) -> dict[str, object]:
        return self.things.setdefault(thing, {})

    def write(self) -> Path:
        """A new file each time, so that the library sees a change within one tick of the file system's clock."""
        self._written += 1
        lines = [
            f"{thing} {key} {value}" for thing, keys in self.things.items() for key, value in keys.items()
        ]
        fresh = self.path.with_suffix(f".{self._written}")
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
        fresh.replace(self.path)
        return self.path
