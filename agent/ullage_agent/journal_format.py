"""Log lines as systemd's journal wants them: a priority in front, no time (the journal has its own)."""

from __future__ import annotations

import logging
from typing import Final

_PRIORITY: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.DEBUG, 7),
)
"""sd-daemon(3): <0> emerg ... <7> debug."""


class JournalFormatter(logging.Formatter):
    """``<4>name: message``; every line of a traceback carries the priority, or the journal would split it."""

    def format(self, record: logging.LogRecord) -> str:
        number = next((p for level, p in _PRIORITY if record.levelno >= level), 7)
        text = f"{record.name}: {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return "\n".join(f"<{number}>{line}" for line in text.splitlines())
