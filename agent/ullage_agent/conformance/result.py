"""What a check says, and where and with what checks run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ullage_agent.backend import Backend, Host


@dataclass(frozen=True, slots=True)
class Result:
    """One check. passed None: it could not be tried here, and message says why."""

    check: str
    passed: bool | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and with what the checks run. tools, logs: recorded texts of the maker's tool and of the kernel."""

    host: Host
    own_settings: bool = False
    tools: tuple[Path, ...] = ()
    logs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry point of a package, loaded. problem: why it is no backend, one line."""

    name: str
    value: str
    backend: Backend | None
    problem: str | None = None
