"""How much of recorded tool outputs our decoders find, per maker.

    python benchmarks/recordings.py ../shared/recordings [--maker nvidia] [--verbose] [--strict]

FOLDER/MAKER/NAME.txt is decoded by the backend of that name (entry points of ``ullage.backends``; the
folder ``rdma`` by ``ullage_agent.sources.rdma_decode``) and compared with FOLDER/MAKER/NAME.expected.json as
``recording_fields`` says. Score: expected fields found right over fields expected. A decoder that
refuses or crashes has every field of that recording wrong. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recording_fields import Comparison, compare

from ullage_agent.backend import Backend, Decoded

Decoder = Callable[[str], Decoded]


def load(reference: str) -> Any:
    """The object a ``module:name`` text names."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def decoder_for(maker: str) -> Decoder:
    """The maker's decoder. Raises LookupError naming what is missing."""
    if maker == "rdma":
        try:
            return load("ullage_agent.sources.rdma_decode:decode")  # type: ignore[no-any-return]
        except (ImportError, AttributeError) as e:
            raise LookupError(f"no decoder ullage_agent.sources.rdma_decode:decode ({e})") from e
    # a backend under work may not be in the installed metadata yet: our own package is tried after it
    named = [point.value for point in entry_points(group="ullage.backends") if point.name == maker]
    for reference in [*named, f"ullage_agent.backends.{maker}:backend"]:
        try:
            backend: Backend = load(reference)
        except ImportError as e:
            if not (e.name or "").startswith("ullage_agent"):
                raise
            continue
        if backend.decoder is None:
            raise LookupError(f"backend {maker} names no decoder")
        return load(backend.decoder)  # type: ignore[no-any-return]
    raise LookupError(f"no backend named {maker} in entry points or ullage_agent.backends")


def judge(text: str, expected: dict[str, Any], decoder: Decoder | None, why_not: str) -> Comparison:
    """One recording. A decoder that is missing, refuses or crashes finds nothing."""
    result = Comparison()
    if decoder is None:
        result.missing(why_not, expected)
        return result
    try:
        decoded = decoder(text)
    except Exception as e:  # a crash is a finding of this benchmark, not its end
        result.missing(f"{type(e).__name__}: {e}", expected)
        return result
    return compare(expected, decoded, text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds MAKER/NAME.txt and MAKER/NAME.expected.json")
    parser.add_argument("--maker", action="append", help="only this maker; may be repeated")
    parser.add_argument("--verbose", action="store_true", help="print every difference")
    parser.add_argument("--strict", action="store_true", help="exit 1 below 100 %%")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder of recordings")

    figures: dict[str, Any] = {}
    totals = [0, 0, 0, 0]
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        maker = folder.name
        if arguments.maker and maker not in arguments.maker:
            continue
        recordings = sorted(folder.glob("*.txt"))
        decoder: Decoder | None = None
        why_not = ""
        try:
            decoder = decoder_for(maker)
        except LookupError as e:
            why_not = str(e)
        right = fields = whole = judged = 0
        for path in recordings:
            wanted = path.with_name(path.name.removesuffix(".txt") + ".expected.json")
            if not wanted.exists():
                continue
            expected = json.loads(wanted.read_text(encoding="utf-8"))
            text = path.read_text(encoding="utf-8", errors="replace")
            result = judge(text, expected, decoder, why_not)
            judged += 1
            right += result.right
            fields += result.fields
            whole += not result.differences
            if result.differences:
                print(f"{maker}/{path.name}: {result.right}/{result.fields}")
                shown = result.differences if arguments.verbose else ()
                for line in shown:
                    print(f"    {line}")
        print(f"{maker:14s} fields {right}/{fields}  recordings {whole}/{judged}  {why_not}".rstrip())
        figures[maker] = {"fields": fields, "right": right, "recordings": judged, "whole": whole}
        for position, amount in enumerate((right, fields, whole, judged)):
            totals[position] += amount
    right, fields, whole, judged = totals
    figures["total"] = {
        "fields": fields,
        "right": right,
        "recordings": judged,
        "whole": whole,
        "ratio": round(right / fields, 6) if fields else None,
    }
    print(json.dumps({"benchmark": "recordings", "figures": figures}))
    return 1 if arguments.strict and right < fields else 0


if __name__ == "__main__":
    raise SystemExit(main())
