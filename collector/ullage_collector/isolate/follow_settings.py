"""[isolation.follow]: a site's own programs or services that reset a card, reboot a node, or ask for a replacement.

Every key with its default and reason stands in collector.example.toml. Nothing is run unless a site names what and says
``mode = "automatic"``. Not here: when it is run (following.py), how (follow_call.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ullage_collector.isolate.verdict import Follow
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

PLACEHOLDERS: Final = (
    "follow",
    "cluster",
    "node",
    "family",
    "card",
    "vendor",
    "model",
    "serial",
    "minor",
    "pci_address",
    "incident",
    "isolation",
    "rule",
    "bundle",
)
"""What a program may be told, each as one whole argument."""
_PLACEHOLDER: Final = re.compile(r"^\{([a-z_]+)\}$")


class FollowMode(StrEnum):
    """How far a hook goes by itself, least first.

    SHADOW: what would be run is shown. APPROVE: shown, and a person is asked. AUTOMATIC: run.
    """

    SHADOW = "shadow"
    APPROVE = "approve"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class Hook:
    """One program (argv, parts of PLACEHOLDERS alone in theirs) or one service (url). Exactly one of the two is set."""

    argv: tuple[str, ...] = ()
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    timeout_seconds: float = 1500.0  # NVSentinel's janitor gives a reset or reboot 25 min
    mode: FollowMode = FollowMode.SHADOW


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """hooks: by what follows. at_once: how many run side by side, in the whole collector. settle_seconds: from a hook's
    end until it is believed that a fault has not come again. heard_seconds: how old a scheduler's last whole answer may
    be for a card to count as free; None: a site without schedulers, whose program looks itself. bundles: where bundles
    for ``{bundle}`` are written; None: beside the store.
    """

    hooks: Mapping[Follow, Hook] = field(default_factory=dict)
    at_once: int = 4  # our choice: because a rack of servers that boot at once is a load of its own
    settle_seconds: float = (
        600.0  # as the grace after a boot: drivers, fabric and links are up within ten minutes
    )
    heard_seconds: float | None = 180.0  # our choice: three missed rounds of a scheduler that is asked slowly
    bundles: Path | None = None


def read(content: Mapping[str, Any], file: str) -> FollowSettings:
    """The settings of the table's content. Raises ConfigError for a wrong or unknown key."""
    table = Table(content, file, "isolation.follow")
    plain = FollowSettings()
    modes = tuple(mode.value for mode in FollowMode)
    mode = FollowMode(table.word("mode", FollowMode.SHADOW.value, modes))
    seconds = table.number("timeout_seconds", Hook().timeout_seconds, 1, 86_400)
    heard = table.number("heard_seconds", plain.heard_seconds or 0.0, 0, 86_400)
    found = FollowSettings(
        at_once=table.whole("at_once", plain.at_once, 1, 1000),
        settle_seconds=table.number("settle_seconds", plain.settle_seconds, 0, 86_400),
        heard_seconds=heard or None,
        bundles=table.path("bundles"),
        hooks={
            follow: _hook(table.table(follow.value).content, file, follow, mode, seconds)
            for follow in Follow
            if follow is not Follow.NONE and follow.value in content
        },
    )
    table.finish()
    return found


def _hook(content: Mapping[str, Any], file: str, follow: Follow, mode: FollowMode, seconds: float) -> Hook:
    table = Table(content, file, f"isolation.follow.{follow.value}")
    argv, url = (
        table.texts("command", '["/usr/local/sbin/reset-card", "{node}", "{pci_address}"]'),
        table.url("url"),
    )
    token_file = table.path("token_file")
    found = Hook(
        argv=argv,
        url=url,
        token=_token(token_file, table) if token_file else None,
        timeout_seconds=table.number("timeout_seconds", seconds, 1, 86_400),
        mode=FollowMode(table.word("mode", mode.value, tuple(mode.value for mode in FollowMode))),
    )
    table.finish()
    if bool(argv) == bool(url):
        raise table.wrong("command", list(argv), "write a command as a list, or a url: one of the two")
    if argv and ("{" in argv[0] or not argv[0].startswith("/")):
        raise table.wrong("command", list(argv), "begin with the program's absolute path")
    for part in argv:
        named = _PLACEHOLDER.match(part)
        if ("{" in part or "}" in part) and (named is None or named[1] not in PLACEHOLDERS):
            raise table.wrong(
                "command", part, f"a placeholder is a whole argument, one of {', '.join(PLACEHOLDERS)}"
            )
    return found


def _token(file: Path, table: Table) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{table.file}: [isolation.follow] token_file: {file}: cannot be read: {e}") from e
