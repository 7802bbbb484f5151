"""Every error Ullage raises, in one tree. Standard library only.

UllageError
├── ConfigError          a setting is wrong: says file, key, value and what to write instead
├── BadInput             a file, row or request somebody gave us is wrong; the rest goes on
│   ├── WireError        a batch that is not one: refused for good, quarantined by the agent
│   │   └── SchemaTooNew a batch of a schema version this side does not read
│   └── UnknownMetric    a metric key that is not in the catalogue
├── ReadingError         why one reading of one card is not there
│   ├── NotSupported     the card cannot give it: a fact of card and metric, remembered
│   ├── NotPresent       the card, device node or library is not there
│   ├── NotPermitted     we may not read it; says which permission is missing
│   ├── Broken           it answered nonsense or an error
│   ├── CardLost         the card no longer answers at all
│   └── DeadlineExceeded the call did not return in time
├── StoreError           the store or journal cannot do it: torn file, wrong version, another's lock
│   └── DiskFull         there is no room left: answered with 507, nothing acknowledged is lost
├── LedgerError          money that does not add up, or cannot be priced
├── ActuatorError        a scheduler or hook refused or did not do what was asked
└── AssetMissing         a third-party file the wheel should carry is not there

A vendor's exception is caught in its backend and nowhere else. Not supported, not present,
not permitted and broken are four different answers. Impossible states raise with ``BUG:``.
"""

from __future__ import annotations

from typing import ClassVar


class UllageError(Exception):
    """Root of every error Ullage raises on purpose. The message names the thing, the value and the next step."""


class ConfigError(UllageError):
    """A setting is wrong. The message says file, key, value and what to write instead."""


class BadInput(UllageError):
    """A file, row or request somebody gave us is wrong. Nothing else stops for it."""


class WireError(BadInput):
    """Bytes that are not a batch of ours. ``code`` is the stable word the HTTP answer carries."""

    def __init__(self, message: str, *, code: str = "malformed") -> None:
        super().__init__(message)
        self.code = code


class SchemaTooNew(WireError):
    """A batch whose schema version this side does not read; it reads N and N-1."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="schema_version")


class UnknownMetric(BadInput):
    """A metric key that the catalogue does not hold."""


class ReadingError(UllageError):
    """Why one reading is not there. ``reason`` is the word that travels in a sample's failed list."""

    reason: ClassVar[str] = "broken"


class NotSupported(ReadingError):
    """The card cannot give this metric: a fact of card and metric, kept in the inventory, not asked again."""

    reason: ClassVar[str] = "unsupported"


class NotPresent(ReadingError):
    """The card, device node, tool or library is not there."""

    reason: ClassVar[str] = "not_present"


class NotPermitted(ReadingError):
    """We may not read it; the message says which permission is missing."""

    reason: ClassVar[str] = "not_permitted"


class Broken(ReadingError):
    """The maker's library or file answered an error or nonsense."""

    reason: ClassVar[str] = "broken"


class CardLost(ReadingError):
    """The card no longer answers at all (fallen off the bus, lost)."""

    reason: ClassVar[str] = "card_lost"


class DeadlineExceeded(ReadingError):
    """The call did not return in time; the child that made it was ended and skips it for a while."""

    reason: ClassVar[str] = "deadline"


class StoreError(UllageError):
    """The store or the journal cannot do it: full disk, torn file, a version it does not know."""


class DiskFull(StoreError):
    """There is no room left on the disk. Nothing acknowledged is lost; nothing new is taken."""


class LedgerError(UllageError):
    """Money that does not add up, or an hour nobody gave a price for."""


class ActuatorError(UllageError):
    """A scheduler, webhook or command refused, or did not do what was asked."""


class AssetMissing(UllageError):
    """A third-party file that the build brings is not there; says how to get it."""


REASONS = frozenset(
    cls.reason for cls in (NotSupported, NotPresent, NotPermitted, Broken, CardLost, DeadlineExceeded)
)
"""The words allowed in a sample's failed list (``unsupported`` travels in card facts instead)."""
