"""``ullage-collector uneven``: who waited for cards while others' idled, over a stretch. Exit codes: 0 good, 3 days missing."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from ullage_collector.config import Config
from ullage_collector.detect.uneven.answer import lines
from ullage_collector.estate.answers import ask

ROUTE: Final = "/api/v1/uneven"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The stretch, and how to show it."""
    parser.add_argument(
        "--from",
        dest="from_",
        metavar="T",
        help="its begin, e.g. 2026-11-20T00:00:00Z (default: a week before its end)",
    )
    parser.add_argument("--to", metavar="T", help="its end (default: that of the newest published day)")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")


def run(args: argparse.Namespace, config: Config) -> int:
    """Ask and print. Raises UllageError when it cannot be answered."""
    found = ask(config, ROUTE, {"from": args.from_, "to": args.to})
    if args.json:
        json.dump(found, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        for line in lines(found):
            print(line)
    return 3 if found["days_published"] < found["days"] else 0
