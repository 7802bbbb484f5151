"""``python -m ullage_agent.conformance PACKAGE``: does a backend keep what it promises?

For whoever writes one (docs/writing-a-backend.md), of ours or their own package. Every check is a line: ok, FAILED
with what to do, or skipped with why. What needs cards runs where they are, or where ``--config`` and ``--root`` point
at a stand-in. It proves the shape, not the values: those are for the maker's own tests.

Exit codes: 0 nothing failed, 1 something failed, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from ullage_agent import config as settings
from ullage_agent import registry
from ullage_agent.backend import Backend, Host
from ullage_agent.conformance import description, reading, texts
from ullage_agent.conformance.result import Bench, Entry, Result
from ullage_contract.errors import ConfigError

SCHEMA_VERSION: Final = 1

Check = Callable[[Backend, Bench], Iterator[Result]]
_CHECKS: Final[tuple[Check, ...]] = (
    description.words,
    description.importable,
    description.noticed,
    texts.decoder_refuses,
    texts.patterns,
    reading.reads,
)


def conform(entry: Entry, bench: Bench) -> list[Result]:
    """Every check of one backend, in order. A check that raises is a failed check."""
    results = [Result("it loads", entry.problem is None, entry.problem or entry.value)]
    if entry.backend is None:
        return results
    results += description.cheap(entry)
    for check in _CHECKS:
        try:
            results += check(entry.backend, bench)
        except Exception as e:  # a stranger's code may raise anything; that is what is tested
            results.append(
                Result(
                    f"its {check.__name__.replace(chr(95), chr(32))} can be tried",
                    False,
                    f"{type(e).__name__}: {e}",
                )
            )
    return results


def find(package: str) -> list[Entry]:
    """The backends of a package: its import name, its distribution's name or one ``module:name``.

    Raises ConfigError when nothing installed is called so.
    """
    known = [
        e
        for e in entry_points(group=registry.GROUP)
        if package in (e.value, e.name)
        or e.value.partition(":")[0].split(".")[0] == package.replace("-", "_")
        or e.value.partition(":")[0] == package
        or (e.dist is not None and e.dist.name == package)
    ]
    if not known:
        there = sorted({e.value.partition(":")[0] for e in entry_points(group=registry.GROUP)})
        raise ConfigError(
            f"no installed package, module or maker {package!r} has an entry point of group {registry.GROUP!r}: "
            f"install it (pip install -e .) where the agent is; there are {', '.join(there)}"
        )
    loaded = registry.load(known)
    by_name = {backend.name: backend for backend in loaded.backends}
    broken = {b.name: b.message for b in loaded.broken}
    return [Entry(e.name, e.value, by_name.get(e.name), broken.get(e.name)) for e in known]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ullage_agent.conformance", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("package", metavar="PACKAGE", help="import name, distribution, maker or module:name")
    parser.add_argument("--config", type=Path, metavar="FILE", help="agent.toml with the backend's own table")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="a recorded tree instead of /"
    )
    parser.add_argument(
        "--tool", type=Path, action="append", default=[], metavar="FILE", help="its tool's recorded output"
    )
    parser.add_argument(
        "--kernel-log", type=Path, action="append", default=[], metavar="FILE", help="kernel lines it knows"
    )
    parser.add_argument("--json", action="store_true", help="results as JSON")
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        entries = find(args.package)
        config = settings.load(args.config) if args.config else None
    except ConfigError as e:
        sys.stderr.write(f"conformance: {e}\n")
        return 2
    everything: dict[str, list[Result]] = {}
    for entry in entries:
        own = dict(config.settings(entry.name)) if config else {}
        host = Host("conformance", args.root / "sys", args.root / "proc", args.root / "dev", settings=own)
        here = bool(config and config.enabled.get(entry.name)) or bool(own)
        everything[entry.name] = conform(entry, Bench(host, here, tuple(args.tool), tuple(args.kernel_log)))
    if args.json:
        body = {name: [asdict(r) for r in results] for name, results in everything.items()}
        sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, "backends": body}, indent=1) + "\n")
    else:
        sys.stdout.write(_text(everything))
    return 1 if any(r.passed is False for results in everything.values() for r in results) else 0


def _text(everything: Mapping[str, Sequence[Result]]) -> str:
    lines = []
    for name, results in everything.items():
        lines.append(name)
        for result in results:
            word = {True: "ok", False: "FAILED", None: "skipped"}[result.passed]
            lines.append(f"  {word:8}{result.check}{': ' + result.message if result.message else ''}")
        failed = sum(r.passed is False for r in results)
        tried = sum(r.passed is not None for r in results)
        lines.append(
            f"  {tried - failed} of {tried} checks passed, {len(results) - tried} could not be tried here"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
