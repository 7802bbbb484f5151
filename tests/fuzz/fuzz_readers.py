"""Feeds damaged texts to everything that reads what others wrote, and tells what breaks.

    python tests/fuzz/fuzz_readers.py --seconds 600 [--seed N] [--shared FOLDER] [--only TARGET ...]
    python tests/fuzz/fuzz_readers.py --only acme --recording acme-smi.txt [--recording ...] --seconds 60
    python tests/fuzz/fuzz_readers.py --replay FILE --only TARGET

Read by: every maker's decoder, the decoder of RDMA dumps, the kernel log (recorded and live) and the two
readers of the wire, and the agent's side of the pipe of a maker's child. Damaged are our fixtures
(tests/fixtures/MAKER/), where ``--shared`` or ULLAGE_SHARED names a folder its recordings/MAKER/, and what
``--recording`` names. A decoder that takes none of its texts undamaged is not tested by damaging them. Round i of a seed is always the same input, however long it runs.

A finding is anything raised but BadInput (WireError is one), more than CPU_SECONDS for one call, memory
beyond MEMORY_BYTES, or an answer that breaks the contract: a value that is None or no number, a key
outside the catalogue, a document that is no JSON. Each is cut down, printed once and kept below
tests/fuzz/findings/. Exit: 0 nothing found, 1 findings, 2 usage, or a target of ``--only`` refused every text.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib
import json
import logging
import math
import os
import pkgutil
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from damage import damaged, damaged_bytes

import ullage_agent.backends
from ullage_agent import registry
from ullage_agent.backend import Backend, Decoded, Reading
from ullage_agent.children.dialogue import item_of, message
from ullage_agent.commands.decode import as_document, checked
from ullage_agent.intake import Intake
from ullage_agent.sources import kernel_log
from ullage_agent.sources.kernel_events import Recognizer
from ullage_agent.sources.kernel_lines import parse_printed, parse_record
from ullage_agent.sources.rdma_decode import decode as rdma_decode
from ullage_collector.batch import read_batch
from ullage_contract import catalogue, wire
from ullage_contract.errors import BadInput, WireError
from ullage_contract.event import KINDS, Event
from ullage_contract.sample import Facts, Family, Origin, Sample

ROOT: Final = Path(__file__).resolve().parents[2]
FINDINGS: Final = Path(__file__).resolve().parent / "findings"
CPU_SECONDS: Final = 2.0
"""our choice: because a person waits for ``decode`` and a support bundle decodes several; of the
processor, not of the clock, so that a busy machine finds nothing."""
MEMORY_BYTES: Final = 1 << 30
"""our choice: because an input is a megabyte at most and no table is a thousand times its text."""

NOW: Final = 1_795_000_000.0


class TooSlow(BaseException):
    """Raised by the timer; no decoder may catch it."""


class Broke(Exception):
    """An answer that the contract forbids."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is fed. feed: the input to it. corpus: what is damaged, (name, text). binary: bytes, not text.
    decodes: it reads the outputs of one tool and refuses all others."""

    name: str
    feed: Callable[[Any], None]
    corpus: Sequence[tuple[str, Any]]
    binary: bool = False
    decodes: bool = False

    def takes(self, one: tuple[str, Any]) -> bool:
        """Whether a text of the corpus is read as it is, or breaks something: not refused."""
        try:
            run(self, one[1])
        except BadInput:
            return False
        return True


@dataclass(slots=True)
class Tally:
    """Rounds and findings of one run. signatures: what broke -> how often."""

    rounds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    signatures: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    slowest: str = ""


# ---- what an answer must be


def check_decoded(result: Any) -> None:
    """Raises Broke for an answer no decoder may give."""
    if not isinstance(result, Decoded):
        raise Broke(f"gave a {type(result).__name__}")
    for card in result.cards:
        _check_values(card.values, catalogue.keys(Family.CARD))
    for event in result.events:
        check_event(event)
    try:
        json.dumps(as_document(result), allow_nan=False).encode()
    except (TypeError, ValueError) as e:
        raise Broke(f"no JSON: {e}") from e


def _check_values(values: Any, known: Any) -> None:
    for key, value in values.items():
        metric = known.get(key)
        if metric is None:
            raise Broke(f"{key} is not in the catalogue")
        if metric.type is catalogue.Type.TEXT:
            if not isinstance(value, str):
                raise Broke(f"{key} is {type(value).__name__}, not text")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Broke(f"{key} is no number")


def check_event(event: Event) -> None:
    """Raises Broke for an event that cannot travel."""
    if event.kind not in KINDS:
        raise Broke(f"event kind {event.kind!r}")
    if not event.subject or not math.isfinite(event.time):
        raise Broke("an event without subject or time")
    for name, value in event.attributes.items():
        if not isinstance(value, str | int | float) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise Broke(f"attribute {name} is {type(value).__name__}")


# ---- targets


def backends() -> Iterator[Backend]:
    """Every installed maker, and every one in our own package that is not yet an entry point."""
    known = {backend.name: backend for backend in registry.load().backends}
    for module in pkgutil.iter_modules(ullage_agent.backends.__path__):
        if module.ispkg and module.name not in known:
            try:
                found = importlib.import_module(f"ullage_agent.backends.{module.name}")
            except ImportError as e:
                print(f"left out: {module.name}: {e}", file=sys.stderr)
                continue
            if isinstance(getattr(found, "backend", None), Backend):
                known[found.backend.name] = found.backend
    for name in sorted(known):
        yield known[name]


def texts(folder: Path) -> list[tuple[str, str]]:
    """Every text below a folder, by name; what the recordings expect is none."""
    found: list[tuple[str, str]] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".txt", ".csv", ".json", ".xml"}:
            if path.name.endswith(".expected.json"):
                continue
            found.append((f"{folder.name}/{path.name}", path.read_bytes().decode("utf-8-sig", "replace")))
    return found


def targets(shared: Path | None) -> list[Target]:
    """Everything that is fed, with what is damaged for it."""
    folders: dict[str, list[tuple[str, str]]] = {}
    for root in (ROOT / "tests" / "fixtures", shared / "recordings" if shared else None):
        if root is not None and root.is_dir():
            for folder in sorted(path for path in root.iterdir() if path.is_dir()):
                if folder.name not in {"wire", "host", "prometheus"}:
                    folders.setdefault(folder.name, []).extend(texts(folder))
    makers = list(backends())
    everything = [one for folder in folders.values() for one in folder]
    found: list[Target] = []
    for backend in makers:
        if backend.decoder is not None:
            try:
                decode = registry.resolve(backend.decoder)
            except ImportError as e:
                print(f"left out: {backend.name}: {e}", file=sys.stderr)
                continue
            own = folders.get(backend.name) or everything
            found.append(Target(backend.name, _decoding(decode), own, decodes=True))
    found.append(Target("rdma", _decoding(rdma_decode), folders.get("rdma") or everything))

    patterns = kernel_log.patterns_of(makers)
    logs = [(name, text) for name, text in everything if _is_kernel_log(text)] or everything
    found.append(
        Target("kernel-log", _decoding(lambda text: kernel_log.decode(text, patterns, now=NOW)), logs)
    )
    found.append(Target("kernel-live", _live(patterns), [(name, _records(text)) for name, text in logs]))

    found.append(Target("child", _child, [("answers", CHILD_ANSWERS)]))

    bodies = sorted((ROOT / "tests" / "fixtures" / "wire").rglob("*.batch"))
    plain = [(path.name, gzip.decompress(path.read_bytes()).decode()) for path in bodies]
    found.append(Target("wire", _wire_text, plain))
    found.append(Target("wire-bytes", _wire, [(p.name, p.read_bytes()) for p in bodies], binary=True))
    return found


def recorded(target: Target, files: Sequence[Path]) -> Target:
    """The target with these files' texts to damage instead. Raises OSError for one that cannot be read."""
    given = [(path.name, path.read_bytes()) for path in files]
    corpus: list[tuple[str, Any]] = [
        (name, body if target.binary else body.decode("utf-8-sig", "replace")) for name, body in given
    ]
    return replace(target, corpus=corpus)


def _decoding(decode: Callable[[str], Any]) -> Callable[[str], None]:
    def feed(text: str) -> None:
        check_decoded(checked(decode, text))

    return feed


def _is_kernel_log(text: str) -> bool:
    return any(word in text for word in ("NVRM", "kernel:", "amdgpu 0000", "neuron:", "mlx5_core"))


def _records(text: str) -> str:
    """A printed log as the device gives it: one record a line."""
    lines = parse_printed(text.splitlines(), now=NOW)
    return "\n".join(
        f"6,{n},{int((line.uptime_seconds or n) * 1e6)},-;{line.message}" for n, line in enumerate(lines)
    )


def _live(patterns: Sequence[Any]) -> Callable[[str], None]:
    def feed(text: str) -> None:
        recognizer = Recognizer(
            patterns, node_id="node", card_of=lambda pci, uuid: uuid or pci, time_of=lambda line: NOW
        )
        for record in text.encode().split(b"\n"):
            line = parse_record(record.decode("utf-8", "replace"))
            if line is not None and (event := recognizer.feed(line)) is not None:
                check_event(event)
        for event in recognizer.due(NOW + 3600):
            check_event(event)

    return feed


CHILD_ANSWERS: Final = """\
{"id": 1, "reading": {"family": "card", "subject": "ACME-0", "values": {"power_watts": 312.5, "ecc_corrected": 12, \
"health": "ok", "utilization_ratio": 0.97}, "failed": {"temperature_celsius": "deadline"}, "epoch": "7"}}
{"id": 1, "facts": {"family": "card", "subject": "ACME-0", "time": 1795000000.5, "attributes": {"model": "A1", \
"index": 0, "numa_node": null, "unsupported": ["fan_ratio"]}}}
{"id": 1, "event": {"time": 1795000000.5, "kind": "card_lost", "severity": "fatal", "family": "card", \
"subject": "ACME-0", "source": "library", "message": "gone", "code": "79", "vendor": "acme", "attributes": {"lines": 1}}}
{"id": 1, "recovered": ["ACME-0", "acmePower"]}
{"id": 1, "end": true}
"""
"""What a maker's child says to the agent: its library may write anything into its memory."""


def _child(text: str) -> None:
    """The agent's side of the pipe: what is admitted must fit the wire."""
    intake = Intake()
    for line in text.encode().split(b"\n"):
        try:
            item = item_of(message(line))
        except BadInput:
            continue
        admitted = None if item is None else intake.admit("acme", item)
        if isinstance(admitted, Reading):
            _check_values(admitted.values, catalogue.keys(admitted.family))
            row = (admitted.values, admitted.failed, admitted.counters_epoch)
            _travels(
                samples=[Sample(admitted.family, admitted.subject, NOW, 1.0, 10.0, *row)], facts=[], events=[]
            )
        elif isinstance(admitted, Event):
            check_event(admitted)
            _travels(samples=[], facts=[], events=[admitted])
        elif isinstance(admitted, Facts):
            _travels(samples=[], facts=[admitted], events=[])


def _travels(**content: Any) -> None:
    """Raises Broke for what the agent would send and could not."""
    batch = wire.Batch(
        stream="0123456789abcdef",
        sequence=1,
        lane="events" if content["events"] else "samples",
        agent="1",
        cluster="c",
        node="n",
        machine_id=None,
        boot_id=None,
        origin=Origin.REAL,
        **content,
    )
    try:
        wire.encode(batch)
    except BadInput as e:
        raise Broke(f"cannot travel: {e}") from e


def _wire_text(text: str) -> None:
    _wire(gzip.compress(text.encode(), compresslevel=1, mtime=0))


def _wire(body: bytes) -> None:
    """Both readers of a body: the fast one may be stricter than the contract's, never laxer."""
    slow: Any = None
    fast: Any = None
    try:
        slow = wire.decode(body)
    except WireError:
        pass
    try:
        fast = read_batch(body)
    except WireError:
        pass
    if fast is not None and slow is None:
        raise Broke("read_batch takes what wire.decode refuses")
    if fast is None and slow is None:
        raise BadInput("refused by both")


# ---- one round


def run(target: Target, given: Any) -> str | None:
    """What broke, as a signature, or None. Raises BadInput when the input was refused, as it should be."""
    before = signal.signal(signal.SIGPROF, _late)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        target.feed(given)
    except BadInput as e:
        if not str(e):
            return "BadInput without a message"
        raise
    except TooSlow as e:
        return f"more than {CPU_SECONDS} s of CPU at {_place(e)}"
    except Exception as e:
        said = f" {e}" if isinstance(e, Broke) else ""
        return f"{type(e).__name__}{said} at {_place(e)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return None


def _place(error: BaseException) -> str:
    """The innermost line of ours that was running."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "ullage_" in frame.filename:
            return f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno}"
    return "the check of the answer"


def signature(target: Target, given: Any) -> str | None:
    """As ``run``; a refusal is nothing that broke."""
    try:
        return run(target, given)
    except BadInput:
        return None


def smaller(target: Target, text: str, wanted: str, *, tries: int = 400, seconds: float = 5.0) -> str:
    """The text with lines and then characters left out as long as it breaks in the same way."""
    end = time.monotonic() + seconds
    for pieces in (text.splitlines(keepends=True), None):
        parts = list(text) if pieces is None else pieces
        size = max(1, len(parts) // 2)
        while size and tries > 0 and time.monotonic() < end:
            at = 0
            while at < len(parts) and tries > 0 and time.monotonic() < end:
                tries -= 1
                candidate = parts[:at] + parts[at + size :]
                if signature(target, "".join(candidate)) == wanted:
                    parts = candidate
                else:
                    at += size
            size //= 2
        text = "".join(parts)
    return text


def kept(target: Target, given: Any, broke: str) -> Path:
    """The finding's file."""
    body = given if target.binary else given.encode()
    name = (
        f"{target.name}-{hashlib.sha256(broke.encode()).hexdigest()[:12]}.{'bin' if target.binary else 'txt'}"
    )
    FINDINGS.mkdir(exist_ok=True)
    path = FINDINGS / name
    path.write_bytes(body)
    return path


def fuzz(chosen: Sequence[Target], *, seed: int, seconds: float, rounds: int, first: int = 0) -> Tally:
    """Rounds from ``first`` on until the time is over or ``rounds`` of them are done (0: no bound)."""
    tally = Tally()
    others = [text for target in chosen if not target.binary for _, text in target.corpus]
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end and (not rounds or number < first + rounds):
        draw = random.Random(f"{seed}:{number}")
        number += 1
        target = draw.choice(chosen)
        name, whole = draw.choice(target.corpus)
        given = damaged_bytes(draw, whole) if target.binary else damaged(draw, whole, others)
        tally.rounds[target.name] += 1
        before = time.process_time()
        try:
            broke = run(target, given)
        except BadInput:
            tally.refused[target.name] += 1
            broke = None
        took = time.process_time() - before
        if took > tally.slowest_seconds:
            tally.slowest_seconds, tally.slowest = took, f"{target.name} {seed}:{number - 1}"
        if broke is None:
            continue
        told = f"{target.name}: {broke}"
        tally.signatures[told] += 1
        if tally.signatures[told] > 1:
            continue
        if not target.binary and "s of CPU" not in broke:
            given = smaller(target, given, broke)
        path = kept(target, given, broke)
        print(f"FINDING {told}\n    round {seed}:{number - 1}, from {name}, kept as {path.name}")
        print(f"    {(given if target.binary else given.encode())[:300]!r}", flush=True)
    return tally


def _late(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default 600)")
    parser.add_argument("--rounds", type=int, default=0, help="how many rounds at most (default no bound)")
    parser.add_argument("--seed", type=int, default=1, help="0 takes one from the clock")
    parser.add_argument("--first", type=int, default=0, help="round to begin with")
    parser.add_argument("--shared", type=Path, default=os.environ.get("ULLAGE_SHARED"))
    parser.add_argument("--only", action="append", help="only this target; may be repeated")
    parser.add_argument(
        "--recording",
        type=Path,
        action="append",
        default=[],
        help="damage this file's text for the targets of --only; may be repeated",
    )
    parser.add_argument("--replay", type=Path, help="feed this file once to each target chosen")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    shared = Path(arguments.shared) if arguments.shared else None
    chosen = [t for t in targets(shared) if not arguments.only or t.name in arguments.only]
    if not chosen:
        parser.error(f"no target is called {', '.join(arguments.only)}")
    if arguments.recording:
        if not arguments.only:
            parser.error("--recording says what to damage for a target: name it with --only")
        try:
            chosen = [recorded(target, arguments.recording) for target in chosen]
        except OSError as e:
            parser.error(f"{e.filename}: {e.strerror}")
    if arguments.replay is not None:
        body = arguments.replay.read_bytes()
        broken = 0
        for target in chosen:
            broke = signature(target, body if target.binary else body.decode("utf-8-sig", "replace"))
            broken += broke is not None
            print(f"{target.name}: {broke or 'holds'}")
        return 1 if broken else 0
    if arguments.only and (
        untested := [t.name for t in chosen if t.decodes and not any(map(t.takes, t.corpus))]
    ):
        for name in untested:
            print(
                f"{name}: every text is refused as it is, so damaging it tests nothing. Give outputs of its tool: "
                f"--recording FILE, or files in FOLDER/recordings/{name}/ with --shared FOLDER",
                file=sys.stderr,
            )
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY_BYTES, hard))
    seed = arguments.seed or int(time.time())
    begun = time.monotonic()
    tally = fuzz(chosen, seed=seed, seconds=arguments.seconds, rounds=arguments.rounds, first=arguments.first)
    for name, count in sorted(tally.rounds.items()):
        print(f"{name:14s} {count:8d} rounds, {tally.refused[name] / count:4.0%} refused")
    for told, count in tally.signatures.most_common():
        print(f"{count:6d} x {told}")
    figures = {
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "rounds": tally.rounds.total(),
        "findings": len(tally.signatures),
        "slowest_cpu_seconds": round(tally.slowest_seconds, 3),
        "slowest_round": tally.slowest,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps({"fuzz": figures}))
    if tally.signatures:
        return 1
    refused = [t.name for t in chosen if t.decodes and 0 < tally.rounds[t.name] == tally.refused[t.name]]
    if arguments.only and refused:
        print(f"{', '.join(refused)}: 100% refused: run it longer or give more recordings", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
