"""Recorded texts: the decoder refuses what is not its tool's, the kernel-log patterns end on any line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ullage_agent import registry
from ullage_agent.backend import Backend, LogPattern
from ullage_agent.commands import decode
from ullage_agent.conformance.result import Bench, Result
from ullage_contract import catalogue
from ullage_contract.errors import BadInput
from ullage_contract.event import KINDS
from ullage_contract.sample import Family

NOISE: Final[Mapping[str, str]] = {
    "nothing": "",
    "blanks": " \n\t\n",
    "a web page": "<html><body>404</body></html>",
    "an empty table": "+-----+\n|     |\n+-----+\n",
    "a JSON list": "[]",
    "a JSON number": "7",
    "half a line": "| 0  ",
    "control characters": "\x00\x1b[31m\x7f",
}
"""Texts that are no maker's."""
PATTERN_SECONDS: Final = (
    5.0  # our choice: because a line is at most 8 KiB and a kernel can print thousands a second
)


def decoder_refuses(backend: Backend, bench: Bench) -> Iterator[Result]:
    """Other texts are refused as bad input; its own become cards of the catalogue."""
    if backend.decoder is None:
        yield Result("it decodes its tool", None, "it has no decoder")
        return
    decoder = registry.resolve(backend.decoder)
    taken, raised = [], []
    for name, text in NOISE.items():
        try:
            result = decode.checked(decoder, text)
            if result.cards:
                taken.append(name)
        except BadInput:
            pass
        except Exception as e:  # whatever it raises is the finding
            raised.append(f"{name}: {type(e).__name__}")
    yield Result(
        "it refuses what is not its tool's",
        not taken and not raised,
        f"cards in {', '.join(taken)}; " * bool(taken)
        + f"raised {', '.join(raised)}: raise BadInput naming line and reason" * bool(raised),
    )
    if not bench.tools:
        yield Result("it decodes its tool", None, "give recorded outputs with --tool FILE")
    known = set(catalogue.keys(Family.CARD))
    for file in bench.tools:
        result = decode.checked(decoder, decode.read(str(file)))
        stray = sorted({key for card in result.cards for key in card.values} - known)
        nulls = sorted({k for card in result.cards for k, v in card.values.items() if v is None})
        json.dumps(decode.as_document(result), allow_nan=False)
        yield Result(
            f"it decodes {file.name}",
            bool(result.cards) and not stray and not nulls and result.maker == backend.name,
            f"{len(result.cards)} cards"
            + f"; no metric of a card: {', '.join(stray)}" * bool(stray)
            + f"; None instead of left out: {', '.join(nulls)}" * bool(nulls)
            + f"; maker is {result.maker!r}, not {backend.name!r}" * (result.maker != backend.name),
        )


def patterns(backend: Backend, bench: Bench) -> Iterator[Result]:
    """Its patterns are patterns, of kinds there are, and quick on any line."""
    if backend.kernel_log is None:
        yield Result("its kernel-log patterns", None, "it has none")
        return
    patterns: Sequence[LogPattern] = registry.resolve(backend.kernel_log)
    problems = []
    for pattern in patterns:
        if pattern.kind not in KINDS:
            problems.append(f"{pattern.kind!r} is no event kind")
        if pattern.vendor != backend.name:
            problems.append(f"vendor {pattern.vendor!r} is not {backend.name!r}")
        try:
            compiled = re.compile(pattern.regex)
        except re.error as e:
            problems.append(f"{pattern.regex[:40]!r}: {e}")
            continue
        if compiled.search("") is not None:
            problems.append(f"{pattern.regex[:40]!r} matches an empty line")
    yield Result("its kernel-log patterns", bool(patterns) and not problems, "; ".join(problems[:5]))
    if not problems:
        yield _patterns_end(backend.kernel_log)
    for file in bench.logs:
        from ullage_agent.sources.kernel_log import decode as read_log

        events = [e for e in read_log(decode.read(str(file))).events if e.vendor == backend.name]
        yield Result(f"it knows lines of {file.name}", bool(events), f"{len(events)} events")


def _patterns_end(text: str) -> Result:
    """A pattern that takes for ever on a long line would blind the kernel log: tried in a process of its own."""
    program = (
        "import re; from ullage_agent.registry import resolve\n"
        f"for p in resolve({text!r}):\n"
        "    words = [w for w in re.findall(r'[A-Za-z]{3,}', p.regex)]\n"
        "    for unit in ('a', ' ', '0', 'a ', '0000:3b:00.0 ', ', ', *(w + ' ' for w in words)):\n"
        "        line = ' '.join(words) + ' ' + unit * (8192 // len(unit))\n"
        "        re.search(p.regex, line[:8192]); re.search(p.regex, line[:8191] + '!')\n"
    )
    try:
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, timeout=PATTERN_SECONDS + 5, check=False
        )
    except subprocess.TimeoutExpired:
        return Result(
            "its patterns end on any line",
            False,
            "one takes seconds on a line of 8 KiB: avoid nested repetition",
        )
    return Result("its patterns end on any line", True)
