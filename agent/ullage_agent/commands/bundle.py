"""``ullage-agent bundle``: one file with what a maintainer needs, and nothing about who works here.

What goes in is listed before it is written; names, addresses and numbers are replaced by stable
pseudonyms unless --reveal asks otherwise; tokens and process arguments never go in at all. Nothing
is sent anywhere.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import platform
import pwd
import secrets
import socket
import sys
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from time import gmtime, strftime, time
from typing import Any, Final

from ullage_agent import detection
from ullage_agent.assembly import Agent
from ullage_agent.commands.pseudonym import KINDS, Pseudonyms
from ullage_agent.commands.snapshot import Gathered, document
from ullage_agent.config import Config
from ullage_contract import __version__
from ullage_contract.catalogue import Tier
from ullage_contract.clock import SystemClock
from ullage_contract.errors import BadInput
from ullage_contract.identity import machine_id

MAX_FILE_BYTES: Final = 2 * 1024 * 1024  # our choice: because a bundle should fit a mail
_SECRET_KEYS: Final = ("token", "password", "secret", "header", "key")
_PLAIN_FILES: Final = (
    "etc/os-release",
    "proc/driver/nvidia/version",
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
    "sys/module/nvidia/version",
    "sys/module/amdgpu/version",
    "sys/module/mlx5_core/version",
)


def run(config: Config, *, out: Path | None = None, reveal: bool = False, root: Path = Path("/")) -> int:
    """List, gather, write. 0 when the file stands; the path is the last line on stdout.

    Raises BadInput when it cannot be written.
    """
    target = out or Path(f"ullage-bundle-{strftime('%Y%m%dT%H%M%SZ', gmtime())}.tar.gz")
    pieces = list(_pieces(config, root))
    _say("This bundle will hold:")
    for name, meaning, _ in pieces:
        _say(f"  {name:<24} {meaning}")
    _say("Revealed: nothing is hidden." if reveal else "Hidden: " + "; ".join(KINDS) + ".")
    names = None if reveal else _pseudonyms(config, root)
    contents = []
    for name, meaning, make in pieces:
        try:
            text = make()
        except Exception as e:  # one thing that cannot be read must not cost the rest
            text = f"could not be gathered: {type(e).__name__}: {e}\n"
        if names is not None and name == "once.json":
            _hide_identities(names, text)
        contents.append((name, meaning, text))
    try:
        _write(target, contents, names)
    except OSError as e:
        raise BadInput(f"{target}: cannot be written: {e.strerror}; give another place with --out") from e
    sys.stdout.write(f"{target}\n")
    return 0


def _pieces(config: Config, root: Path) -> Iterator[tuple[str, str, Callable[[], str]]]:
    yield "versions.json", "versions of ullage, Python, kernel and installed packages", _versions
    yield "once.json", "one sample of everything, and per maker what was found", lambda: _once(config, root)
    yield "pci.txt", "ids of the devices on the PCI bus", lambda: _pci(root)
    yield "nodes.txt", "names of device nodes and kernel modules of accelerators", lambda: _nodes(root)
    yield "settings.json", "settings in force, without secrets", lambda: _settings(config)
    yield "state.json", "the running agent's last state", lambda: _text(config.agent_dir / "state.json")
    yield (
        "spool.txt",
        "names and sizes of the files in the agent's data directory",
        lambda: _listing(config.agent_dir),
    )
    for name in _PLAIN_FILES:
        if (root / name).exists():
            yield name.replace("/", "-") + ".txt", f"/{name}", lambda name=name: _text(root / name)  # type: ignore[misc]


def _versions() -> str:
    packages = {d.metadata["Name"]: d.version for d in distributions()}
    return _json(
        {
            "ullage": __version__,
            "python": sys.version,
            "kernel": platform.release(),
            "machine": platform.machine(),
            "libc": "-".join(platform.libc_ver()),
            "user_id": os.geteuid(),
            "capabilities": _capabilities(),
            "packages": dict(sorted(packages.items())),
        }
    )


def _once(config: Config, root: Path) -> str:
    gathered = Gathered()
    agent = Agent(config, SystemClock(), root=root, sinks=[gathered])
    try:
        patience = config.sampling.start_deadline_seconds + config.sampling.tick_budget_seconds
        tick = agent.tick(Tier.SLOW, patience_seconds=patience)
        found = document(agent, tick, gathered)
    finally:
        agent.close()
    for card in found["cards"]:
        for process in card["processes"]:
            for private in ("command", "user", "cgroup"):
                process.pop(private, None)
    return _json(found)


def _pci(root: Path) -> str:
    lines = [
        f"{d.address} {d.vendor}:{d.device} class {d.class_code}{' virtual' if d.virtual else ''}"
        for d in detection.pci_devices(root / "sys")
    ]
    return "\n".join(lines) + "\n"


def _nodes(root: Path) -> str:
    nodes = sorted(
        entry.name for entry in (root / "dev").iterdir() if not entry.name.startswith(("tty", "loop", "ram"))
    )
    modules = sorted(entry.name for entry in (root / "sys/module").iterdir())
    return "\n".join(["/dev:", *nodes, "", "/sys/module:", *modules, ""])


def _settings(config: Config) -> str:
    def shown(value: Any) -> Any:
        if hasattr(value, "__dataclass_fields__"):
            return {name: shown(getattr(value, name)) for name in value.__dataclass_fields__}
        if hasattr(value, "items"):
            return {
                k: "(left out)" if any(word in k.lower() for word in _SECRET_KEYS) else shown(v)
                for k, v in value.items()
            }
        return str(value) if isinstance(value, Path) else value

    return _json(shown(config))


def _listing(directory: Path) -> str:
    lines = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            lines.append(f"{path.stat().st_size:>12} {path.relative_to(directory)}")
    shown = lines[:500]
    return "\n".join(shown + ([f"and {len(lines) - 500} more"] if len(lines) > 500 else [])) + "\n"


def _capabilities() -> str | None:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return line.split()[1]
    return None


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"


def _pseudonyms(config: Config, root: Path) -> Pseudonyms:
    own = machine_id(root)
    names = Pseudonyms(own.encode() if own else secrets.token_bytes(16))
    hosts = {config.node, socket.gethostname(), socket.getfqdn()}
    hosts |= {host.partition(".")[0] for host in hosts}
    names.hide("host", hosts)
    names.hide("cluster", [config.cluster])
    names.hide("id", [own])
    # system accounts tell nothing and stand in many paths; people start at 1000 (login.defs UID_MIN)
    users = {entry.pw_name for entry in pwd.getpwall() if 1000 <= entry.pw_uid < 65534}
    names.hide("user", users | {getpass.getuser()})
    if config.push.url:
        names.hide("host", [config.push.url.partition("://")[2].partition("/")[0].partition(":")[0]])
    return names


def _hide_identities(names: Pseudonyms, text: str) -> None:
    """The identities in a snapshot, so that they are hidden in every other file too."""
    try:
        found = json.loads(text)
    except ValueError:
        return
    names.hide("host", [found["node"].get("hostname"), found["node"].get("node_id")])
    for card in found["cards"]:
        for kind in ("serial", "uuid", "board_id"):
            names.hide(kind, [str(card[kind])] if card.get(kind) else [])
        names.hide("card", [card["card_id"]])
        for part in card["slices"]:
            names.hide("slice", [str(part["uuid"])] if part.get("uuid") else [])
    for port in found["ports"]:
        names.hide("guid", [str(port["node_guid"])] if port.get("node_guid") else [])


def _write(target: Path, contents: list[tuple[str, str, str]], names: Pseudonyms | None) -> None:
    listing = "".join(f"{name}: {meaning}\n" for name, meaning, _ in contents)
    listing += "hidden: nothing\n" if names is None else "".join(f"hidden: {kind}\n" for kind in KINDS)
    aside = target.with_name(f".{target.name}.new")
    with aside.open("xb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        os.fchmod(raw.fileno(), 0o600)
        for name, text in [("CONTENTS.txt", listing), *[(name, text) for name, _, text in contents]]:
            body = (names.scrub(text) if names is not None else text).encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"ullage-bundle/{name}")
            entry.size, entry.mode, entry.mtime = len(body), 0o600, int(time())
            archive.addfile(entry, io.BytesIO(body))
    aside.replace(target)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
