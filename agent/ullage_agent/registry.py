"""The makers this installation knows: entry points of the group ``ullage.backends``.

Ours and anybody's come through the same door. Loading one costs an import of a small description,
never of a maker's library. One that cannot be loaded is reported and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from ullage_agent.backend import Backend
from ullage_contract.errors import ConfigError

GROUP: Final = "ullage.backends"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokenBackend:
    """An entry point that gave no backend. entry: its text, ``package.module:name``. message: why, one line."""

    name: str
    entry: str
    distribution: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Registry:
    """backends: by name, sorted. broken: what could not be loaded, in the order found."""

    backends: tuple[Backend, ...]
    broken: tuple[BrokenBackend, ...] = ()

    def named(self, name: str) -> Backend:
        """The backend of that name. Raises ConfigError listing the names there are."""
        for backend in self.backends:
            if backend.name == name:
                return backend
        for broken in self.broken:
            if broken.name == name:
                raise ConfigError(f"backend {name!r} ({broken.entry}) cannot be loaded: {broken.message}")
        names = ", ".join(b.name for b in self.backends)
        raise ConfigError(f"no maker is called {name!r}; known: {names or 'none'}")


def load(entries: Iterable[EntryPoint] | None = None) -> Registry:
    """Every backend among ``entries`` (the installed ones by default). Never raises for a bad one.

    Two of one name: ours wins, else the first by distribution name, so that the choice never depends
    on the order of a directory; the other is reported.
    """
    found = list(entries) if entries is not None else list(entry_points(group=GROUP))
    found.sort(key=lambda e: (e.name, _distribution(e) != "ullage", _distribution(e) or "", e.value))
    backends: dict[str, Backend] = {}
    broken: list[BrokenBackend] = []
    for entry in found:
        try:
            backend = entry.load()
            problem = _problem(entry.name, backend, backends)
        except Exception as e:  # a stranger's module may raise anything; only its own maker suffers
            problem = f"{type(e).__name__}: {e}"
        except SystemExit as e:
            problem = f"its module called exit({e.code})"
        if problem is not None:
            one_line = " ".join(problem.split())[:300]
            broken.append(BrokenBackend(entry.name, entry.value, _distribution(entry), one_line))
            log.warning("backend %s (%s) is left out: %s", entry.name, entry.value, one_line)
            continue
        for mistake in backend.mistakes():
            log.warning("backend %s: %s", entry.name, mistake)
        backends[entry.name] = backend
    return Registry(tuple(backends[name] for name in sorted(backends)), tuple(broken))


def resolve(text: str) -> Any:
    """What ``module:name`` stands for. Raises ConfigError when it does not exist; import errors pass through."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise ConfigError(f"{text!r} is not of the form module:name")
    found = import_module(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(f"{text!r}: {module} has no {name}") from None
    return found


def call(text: str, *arguments: Any) -> Any:
    """The result of calling what ``module:name`` stands for."""
    function: Callable[..., Any] = resolve(text)
    return function(*arguments)


def _problem(name: str, backend: Any, known: dict[str, Backend]) -> str | None:
    if not isinstance(backend, Backend):
        return f"it is a {type(backend).__name__}, not a ullage_agent.backend.Backend"
    if backend.name != name:
        return f"its name is {backend.name!r}; entry point and backend must have one name"
    if name in known:
        return "another distribution has a backend of this name"
    if not (name.replace("-", "").replace("_", "").isalnum() and name == name.lower() and name.isascii()):
        return "a maker's name is lower-case letters, digits and hyphens"
    return None


def _distribution(entry: EntryPoint) -> str | None:
    return entry.dist.name if entry.dist is not None else None
