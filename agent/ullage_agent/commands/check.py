"""``ullage-agent check``: one line and an exit code from the running agent's last state.

Called by schedulers before every job, so it imports next to nothing and asks nobody: it reads one
small file. A state that is missing, stale or from before a reboot is unknown, and unknown fails
nothing unless --unknown-fails says so: a monitoring agent that is being updated must not drain a fleet.

Exit codes are Nagios': 0 good, 1 warning, 2 critical, 3 unknown (only with --unknown-fails, else 0).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_GOOD, _WARNING, _CRITICAL, _UNKNOWN = 0, 1, 2, 3
_CODES = {"good": _GOOD, "warning": _WARNING, "critical": _CRITICAL, "unknown": _UNKNOWN}
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_WORST_FIRST = (_CRITICAL, _WARNING, _UNKNOWN, _GOOD)
_STALE_TICKS = 3  # our choice: because two missed ticks are a busy node, three a dead agent
_STALE_GRACE_SECONDS = 10.0

USAGE = """usage: ullage-agent check [--card N] [--unknown-fails] [--data DIR]

  --card N         only this card: its index, device minor, UUID, card id or PCI address
  --unknown-fails  exit 3 when the state is unknown (without it unknown is 0)
  --data DIR       where the agent keeps its state (default /var/lib/ullage)
"""


def main(arguments: list[str]) -> int:
    """Print one line and give the exit code. 2 is also the usage error's, as its callers expect."""
    data, card, unknown_fails = "/var/lib/ullage", None, False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--card", "--data", "--config", "--log-level"):
            if not equals:
                if not rest:
                    return _usage(name + " needs a value")
                value = rest.pop(0)
            if name == "--card":
                card = value
            elif name == "--data":
                data = value
        elif word == "--unknown-fails":
            unknown_fails = True
        elif word in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return 0
        else:
            return _usage("no such option: " + word)
    code, line = judge(data + "/agent/state.json", card)
    sys.stdout.write(_WORDS[code] + " - " + " ".join(line.split())[:400] + "\n")
    return 0 if code == _UNKNOWN and not unknown_fails else code


def judge(path: str, card: str | None = None) -> tuple[int, str]:
    """The Nagios code and what to say, from the state at ``path``; never raises."""
    import json
    import time

    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib alone would take a third of the time
            state = json.load(file)
        age = _age_seconds(state, time.monotonic())
        interval = float(state["interval_seconds"])
    except FileNotFoundError:
        return _UNKNOWN, path + " is not there; is ullage-agent running?"
    except OSError as e:
        return _UNKNOWN, path + " cannot be read: " + str(e.strerror)
    except (ValueError, KeyError, TypeError):
        return _UNKNOWN, path + " is no state of this version"
    if age is None:
        return _UNKNOWN, "the state is from before this boot; is ullage-agent running?"
    if age > _STALE_TICKS * interval + _STALE_GRACE_SECONDS:
        return _UNKNOWN, f"the state is {age:.0f} s old; ullage-agent is not running or is stuck"
    try:
        code, text = _one_card(state, card) if card is not None else _node(state)
    except (KeyError, TypeError, AttributeError):
        return _UNKNOWN, path + " is no state of this version"
    return code, f"{text} ({age:.0f} s ago)"


def _age_seconds(state: dict[str, Any], now: float) -> float | None:
    """By the monotonic clock, which no operator sets; None when it is from another boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - see judge
            boot = file.read().strip()
    except OSError:
        boot = None
    if state["boot_id"] != boot:
        return None
    return max(0.0, now - float(state["monotonic"]))


def _node(state: dict[str, Any]) -> tuple[int, str]:
    cards = state["cards"]
    told = []
    for entry in cards:
        if entry["verdict"] != "good":
            told.append((_CODES[entry["verdict"]], _name(entry) + " " + ", ".join(entry["reasons"])))
    for port in state["ports_down"]:
        told.append((_WARNING, "port " + port + " down"))
    for source in state["sources"]:
        if source["maker"] and not source["success"]:
            told.append((_UNKNOWN, source["name"] + ": " + str(source["message"])))
    expected, seen = state["cards_expected"], state["cards_seen"]
    if expected is not None and seen is not None and seen < expected:
        # our choice: a warning, because the bus may show cards that were never meant for jobs
        told.append((_WARNING, f"{seen} of the {expected} cards on the PCI bus answer"))
    if not told and not cards:
        return _GOOD, "no cards"
    if not told:
        simulated = sum(1 for entry in cards if entry["simulated"])
        note = f", {simulated} of them simulated" if simulated else ""
        return _GOOD, f"{len(cards)} card{'' if len(cards) == 1 else 's'} good{note}"
    told.sort(key=lambda pair: _WORST_FIRST.index(pair[0]))
    text = "; ".join(words for _, words in told[:4])
    if len(told) > 4:
        text += f"; and {len(told) - 4} more"
    return told[0][0], text


def _one_card(state: dict[str, Any], wanted: str) -> tuple[int, str]:
    found = [entry for entry in state["cards"] if _is(entry, wanted)]
    if len(found) > 1:  # an index says less than the node's minor numbers
        found = [entry for entry in found if str(entry.get("index")) == wanted] or found
    if not found:
        return _UNKNOWN, "no card is known as " + wanted
    if len(found) > 1:
        return _UNKNOWN, f"{len(found)} cards are known as {wanted}; name it by UUID or PCI address"
    entry = found[0]
    reasons = ", ".join(entry["reasons"]) or "good"
    return _CODES[entry["verdict"]], _name(entry) + " " + reasons


def _is(entry: dict[str, Any], wanted: str) -> bool:
    low = wanted.lower()
    if wanted.isdecimal():
        return wanted in (str(entry.get("index")), str(entry.get("minor")))
    address = str(entry.get("pci_address", "")).lower()
    short = low[4:] if len(low.partition(":")[0]) == 8 else low  # 00000000:3B:00.0 as nvidia-smi prints it
    return low in (str(entry["card_id"]).lower(), str(entry.get("uuid")).lower()) or (
        bool(address) and short in (address, address.partition(":")[2])
    )


def _name(entry: dict[str, Any]) -> str:
    index = entry.get("index")
    place = entry.get("pci_address") or entry["card_id"]
    place = f"{place}, simulated" if entry.get("simulated") else place
    return f"card {index} ({place})" if index is not None else f"card {place}"


def _usage(problem: str) -> int:
    sys.stderr.write("ullage-agent check: " + problem + "\n" + USAGE)
    return 2
