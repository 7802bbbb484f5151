"""The command line that all three commands share: common options at any place, errors of the command they are about, times.

docs/interfaces.md has the options and exit codes. Not here: what a command does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ullage_contract.errors import BadInput, ConfigError, UllageError
from ullage_contract.instants import iso

GOOD: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3


if TYPE_CHECKING:
    _Listed = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    _Listed = argparse._SubParsersAction  # a generic class for checkers alone


class _Commands(_Listed):
    """What the list says of a command stands on the command's own page as well."""

    def add_parser(self, name: str, **settings: Any) -> argparse.ArgumentParser:
        settings.setdefault("description", settings.get("help"))
        return super().add_parser(name, **settings)


class Parser(argparse.ArgumentParser):
    """``--config``, ``--data`` and ``--log-level`` before or after any word of a command; who gives none has no such name.

    A subclass names what the first two are by default, for the help alone. Its subparsers are of the same class, so
    a word too many is told with the usage of the command it was given to.
    """

    config_default: ClassVar[Path]
    data_default: ClassVar[Path]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("action", "parsers", _Commands)
        absent = argparse.SUPPRESS
        common = self.add_argument_group("common options")
        common.add_argument(
            "--config",
            type=Path,
            default=absent,
            metavar="FILE",
            help=f"settings (default {self.config_default})",
        )
        common.add_argument(
            "--data", type=Path, default=absent, metavar="DIR", help=f"data (default {self.data_default})"
        )
        common.add_argument(
            "--log-level",
            choices=("debug", "info", "warning", "error"),
            default=absent,
            help="how much to say on stderr",
        )

    def parse_known_args(  # type: ignore[override]  # of argparse's two forms the one that is used
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Nothing is left unknown: whose word it is, says so."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}; {self.prog} --help lists what there is")
        return found, unknown


def exit_code(error: UllageError) -> int:
    """USAGE where what was asked or given is wrong: asking again is of no use. FAILED for everything else."""
    return USAGE if isinstance(error, (ConfigError, BadInput)) else FAILED


def day(text: str) -> date:
    """An argument that is a day, e.g. 2026-11-20."""
    try:
        return date.fromisoformat(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, e.g. 2026-11-20") from e


def instant(text: str) -> datetime:
    """An argument that is a time, aware: ISO 8601; UTC where it names no offset."""
    try:
        found = iso(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, e.g. 2026-11-20T00:00:00Z") from e
    return found if found.tzinfo else found.replace(tzinfo=UTC)
