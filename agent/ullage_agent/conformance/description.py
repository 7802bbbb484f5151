"""What a backend says of itself: cheap to import, in the contract's words, and quiet where its hardware is not."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from ullage_agent import detection
from ullage_agent.backend import UTIL_KINDS, Backend
from ullage_agent.conformance.result import Bench, Entry, Result
from ullage_contract import catalogue
from ullage_contract.sample import Family

_STDLIB: Final = frozenset(sys.stdlib_module_names)


def cheap(entry: Entry) -> Iterator[Result]:
    """Importing the description loads neither its reader nor anybody's library."""
    module = entry.value.partition(":")[0]
    program = f"import sys, {module}; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        yield Result("its description is cheap", False, (done.stderr.strip().splitlines() or ["no word"])[-1])
        return
    backend = entry.backend
    texts = (backend.reader, backend.decoder, backend.kernel_log) if backend else ()
    lazy = {text.partition(":")[0] for text in texts if text} - {module}
    own = module.split(".")[0]
    heavy = [
        name
        for name in done.stdout.split()
        if name in lazy
        or (
            name.split(".")[0] not in _STDLIB | {own, "ullage_agent", "ullage_contract", "__main__", "ctypes"}
            and not name.startswith(("_", "sitecustomize", "usercustomize"))
            and _of_package(name)
        )
    ]
    yield Result(
        "its description is cheap",
        not heavy,
        f"importing {module} also imports {', '.join(heavy[:5])}: name them as 'module:name' texts instead"
        if heavy
        else "",
    )


def _of_package(name: str) -> bool:
    """Whether a module comes from an installed package and not from how this Python was started."""
    origin = getattr(getattr(sys.modules.get(name), "__spec__", None), "origin", None)
    return origin is None or "site-packages" in str(origin)


def words(backend: Backend, bench: Bench) -> Iterator[Result]:
    """Its words are the contract's."""
    known = (
        set(catalogue.keys(Family.CARD))
        | set(catalogue.keys(Family.SLICE))
        | set(catalogue.keys(Family.PROCESS))
    )
    stray = sorted(set(backend.sources) - known)
    yield Result(
        "its sources are metrics of the catalogue",
        not stray and bool(backend.sources),
        f"no metric: {', '.join(stray)}; docs/metrics.md lists them"
        if stray
        else ("" if backend.sources else "sources is empty: say where each metric comes from"),
    )
    kind = backend.util_kind
    silent = kind is None and "utilization_ratio" in backend.sources and not backend.simulated
    yield Result(
        "it says what its utilisation means",
        None if silent else kind is None or kind in UTIL_KINDS,
        "no document says it: reports then call it unknown"
        if silent
        else (
            f"util_kind {kind!r} is none of {', '.join(UTIL_KINDS)}"
            if kind not in (None, *UTIL_KINDS)
            else ""
        ),
    )
    wrong = [
        text
        for vendor, classes in backend.pci
        for text in (vendor, *classes)
        if not re.fullmatch(r"[0-9a-f]{2,6}", text)
    ]
    wrong += [text for text in backend.device_nodes + backend.sysfs_nodes if text.startswith("/")]
    notices = bool(backend.pci or backend.device_nodes or backend.sysfs_nodes or backend.detector)
    yield Result(
        "it says how its hardware is noticed",
        not wrong and (notices or backend.simulated),
        f"{', '.join(wrong)}: ids are lower-case hex without 0x, globs are below /dev and /sys without a slash"
        if wrong
        else ("" if notices or backend.simulated else "give pci, device_nodes, sysfs_nodes or a detector"),
    )


def importable(backend: Backend, bench: Bench) -> Iterator[Result]:
    """What it names as texts can be imported; in a process of its own, as the agent would."""
    for what, text in (
        ("reader", backend.reader),
        ("decoder", backend.decoder),
        ("kernel_log", backend.kernel_log),
        ("detector", backend.detector),
    ):
        if text is None:
            continue
        program = f"from ullage_agent.registry import resolve; resolve({text!r})"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        said = done.stderr.strip().splitlines()
        yield Result(f"its {what} can be imported", done.returncode == 0, said[-1] if said else text)


def noticed(backend: Backend, bench: Bench) -> Iterator[Result]:
    """A server without its hardware is one without its hardware, and no error."""
    if backend.simulated:
        return
    with tempfile.TemporaryDirectory() as empty:
        root = Path(empty)
        host = replace(bench.host, sysfs=root / "sys", proc=root / "proc", dev=root / "dev", settings={})
        found = detection.detect(host, backend, detection.pci_devices(host.sysfs))
    yield Result(
        "it is not found where nothing is",
        not found.present and bool(found.tried),
        f"present {found.present}, tried {list(found.tried)}: look below Host's roots only, and say what was tried"
        if found.present or not found.tried
        else "",
    )
