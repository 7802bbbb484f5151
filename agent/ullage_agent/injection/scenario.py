"""A scenario: what shall happen when, to which card or port, of which target.

    title = "a card falls off the bus and comes back"

    [[fault]]
    at = 5                      # seconds after the start
    target = "simulated"        # simulated, emulated, kernel_log or rdma; simulated when left out
    do = "lost"                 # what: see ACTIONS
    card = 3

    [[fault]]
    at = 65
    do = "back"
    card = 3

A table ``[mix]`` instead of faults is drawn from: mix.py. Not here: making anything happen (targets.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import pci_address
from ullage_contract.settings import Table

ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "simulated": (
        "xid",
        "lost",
        "back",
        "ecc",
        "corrected",
        "throttle",
        "slow",
        "hang",
        "port_down",
        "port_up",
    ),
    "emulated": ("line", "lost", "back"),
    "kernel_log": ("xid", "line"),
    "rdma": ("port_down", "port_up", "counter"),
}
"""What each target can do."""
MOST_FAULTS: Final = 10_000
MOST_SECONDS: Final = 100 * 86_400.0
_ENDS: Final = {"back": "lost", "port_up": "port_down"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do. at: seconds after the start. for_seconds: how long, None without an end.

    card, port: place on the node. device: of an RDMA port, as sysfs names it. pci: of the card a kernel-log line is
    about. maker: whose emulator. line: a text as it stands. counter: an RDMA counter's file name. cause: why it is in
    a mix, for people.
    """

    at: float
    target: str
    do: str
    card: int = 0
    port: int = 0
    device: str = ""
    pci: str = ""
    maker: str = ""
    code: str = ""
    count: int = 1
    for_seconds: float | None = None
    line: str = ""
    counter: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """title: one line. faults: by time. mix: what faults are to be drawn from, or None."""

    title: str
    faults: tuple[Fault, ...]
    mix: Mapping[str, Any] | None = None


def shipped() -> dict[str, str]:
    """name -> text of every scenario that comes with the agent."""
    folder = resources.files("ullage_agent.injection").joinpath("scenarios")
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def load(name: str) -> Scenario:
    """A shipped scenario by its name, or a file. Raises BadInput or ConfigError naming file, key and value."""
    known = shipped()
    if name in known:
        return parse(known[name], f"{name} (shipped)")
    try:
        return parse(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "not UTF-8"
        raise BadInput(
            f"{name}: cannot be read: {why}; give the file of a scenario, or one of {', '.join(known)}"
        ) from e


def parse(text: str, file: str) -> Scenario:
    """A scenario's text. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{file}: not TOML: {e}") from e
    top = Table(document, file, "")
    title = top.text("title") or file
    mix = top.table("mix").rest() if "mix" in document else None
    entries = document.get("fault", [])
    top.rest()
    if stray := set(document) - {"title", "fault", "mix"}:
        raise ConfigError(f"{file}: {sorted(stray)[0]} is no key of a scenario; known are title, fault, mix")
    if not isinstance(entries, list) or len(entries) > MOST_FAULTS:
        raise ConfigError(f"{file}: write at most {MOST_FAULTS} tables [[fault]]")
    if not entries and mix is None:
        raise ConfigError(f"{file}: nothing happens in it; write [[fault]] tables or a [mix]")
    faults = [_fault(entry, file, number) for number, entry in enumerate(entries, 1)]
    return Scenario(title, tuple(paired(sorted(faults, key=lambda fault: fault.at))), mix)


def _fault(entry: Any, file: str, number: int) -> Fault:
    if not isinstance(entry, dict):
        raise ConfigError(f"{file}: fault {number} is no table; write [[fault]]")
    table = Table(entry, file, f"fault {number}")
    target = table.word("target", "simulated", tuple(ACTIONS))
    do = table.word("do", "", ACTIONS[target])
    lasts = table.number("for", 0.0, 0.0, MOST_SECONDS)
    pci = table.text("pci") or ""
    fault = Fault(
        at=table.number("at", 0.0, 0.0, MOST_SECONDS),
        target=target,
        do=do,
        card=table.whole("card", 0, 0, 1023),
        port=table.whole("port", 1 if target == "rdma" else 0, 0, 1023),
        device=_one_word(table, "device"),
        pci=pci_address(pci) if pci else "",
        maker=_one_word(table, "maker"),
        code=_one_word(table, "code"),
        count=table.whole("count", 1, 1, 2**31),
        for_seconds=lasts or None,
        line=_one_line(table, "line"),
        counter=_one_word(table, "counter"),
        cause=table.text("cause") or "",
    )
    table.finish()
    for key, wanted in (
        ("line", do == "line"),
        ("pci", (target, do) == ("kernel_log", "xid")),
        ("device", target == "rdma"),
        ("counter", do == "counter"),
        ("maker", target == "emulated"),
    ):
        if wanted and not getattr(fault, key):
            raise table.wrong(key, "", f"{target} {do} needs it")
    return fault


def _one_word(table: Table, key: str) -> str:
    text = table.text(key) or ""
    if text and not text.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise table.wrong(key, text, "letters, digits, _ - and . only")
    if ".." in text or len(text) > 64:
        raise table.wrong(key, text, "a plain name of at most 64 characters")
    return text


def _one_line(table: Table, key: str) -> str:
    text = table.text(key) or ""
    if len(text) > 500 or any(not ch.isprintable() for ch in text):
        raise table.wrong(key, text, "one line of at most 500 printable characters")
    return text


def paired(faults: list[Fault]) -> list[Fault]:
    """Simulated faults whose end stands as a fault of its own (back, port_up) get their duration instead.

    Raises ConfigError for an end without a beginning.
    """
    kept: list[Fault] = []
    for fault in faults:
        begins = _ENDS.get(fault.do)
        if fault.target != "simulated" or begins is None:
            kept.append(fault)
            continue
        for place in range(len(kept) - 1, -1, -1):
            first = kept[place]
            same = (first.target, first.do, first.card, first.port) == (
                "simulated",
                begins,
                fault.card,
                fault.port,
            )
            if same and first.for_seconds is None:
                kept[place] = replace(first, for_seconds=max(fault.at - first.at, 0.001))
                break
        else:
            raise ConfigError(f"{fault.do} at {fault.at:g} s ends nothing: no {begins} of it came before")
    return kept
