"""The command of a benchmark that is judged by precision and recall of made cases."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence

JUDGED = ("precision", "recall")


def run(
    name: str,
    of: str,
    sizes: Mapping[str, int],
    score: Callable[[argparse.Namespace], Mapping[str, float]],
    *,
    least: float,
    judged: Sequence[str] = JUDGED,
) -> int:
    """Read the command line, score, print a figure a line and all of them as JSON on the last; the exit code.

    name: of the benchmark. of: the kind of finding. sizes: options that are numbers, with what they are unless given. With --strict the
    exit code is 1 when one of ``judged`` is below ``least``.
    """
    parser = argparse.ArgumentParser(description=f"precision and recall of {of}")
    for word, number in {**sizes, "seed": 1}.items():
        parser.add_argument(f"--{word}", type=int, default=number)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    figures = score(args)
    width = max(map(len, figures))
    for key, value in figures.items():
        print(f"{key:<{width}} {value:g}")
    print(json.dumps({"benchmark": name, "figures": figures}))
    return int(args.strict and min(figures[key] for key in judged) < least)
