"""What an import did: read, added, already there, refused, and the first refused rows with their reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

LISTED: Final = 20
"""Refused rows that are listed; all are counted."""


@dataclass(slots=True)
class Report:
    """One kind out of one file.

    rows_read: rows of the file that the map's filter takes (all of them, of telemetry). rows_added: records that
    are new; a row of an inventory may be eight cards, and a thousand rows one allocation. Of telemetry
    rows_read = rows_added + rows_present + rows_refused + rows_skipped. rows_present: what the store had already. rows_skipped: what the map's filter leaves out.
    again: the very same file and map were imported before; nothing was read. warnings: what was taken as it
    stands and looks wrong; the first are listed, all are counted.
    """

    kind: str
    file: str
    rows_read: int = 0
    rows_added: int = 0
    rows_present: int = 0
    rows_refused: int = 0
    rows_skipped: int = 0
    refusals: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    warned: int = 0
    again: bool = False
    seconds: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)

    def refuse(self, row: int, reason: str, count: int = 1) -> None:
        """Count refused rows and list this one while there is room."""
        self.rows_refused += count
        if len(self.refusals) < LISTED:
            self.refusals.append((row, reason))

    def warn(self, text: str) -> None:
        """Count a warning and list it while there is room."""
        self.warned += 1
        if len(self.warnings) < LISTED:
            self.warnings.append(text)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "file": self.file,
            "rows_read": self.rows_read,
            "rows_added": self.rows_added,
            "rows_present": self.rows_present,
            "rows_refused": self.rows_refused,
            "rows_skipped": self.rows_skipped,
            "refusals": [{"row": row, "reason": reason} for row, reason in self.refusals],
            "warnings": self.warnings,
            "warned": self.warned,
            "imported_before": self.again,
            "seconds": round(self.seconds, 3),
            "notes": self.notes,
        }
