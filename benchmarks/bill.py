"""What sharing cost out costs: a month of ten thousand cards under each policy, beside the sums every statement is made of.

    python benchmarks/bill.py [--cards 10000] [--days 31] [--keep FOLDER] [--strict]

published_fleet.py writes the days; the quota book (60 departments with guarantees, every hour) is made up in the reader. Processor seconds
of this process; the peer is the finest sums of a statement, read plainly by one query over the same open days in the same run. What is moved must add
up to nothing. The last line is JSON; with --strict the exit code is 1 where a policy without guarantees takes more than 5 times the peer, or
one with them more than 40 times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.published_fleet import publish

from ullage_collector.published import Facts, Published
from ullage_reports.cost_policy import CostPolicy, stretches
from ullage_reports.shared_costs import Shared, share_out

FIRST = date(2026, 10, 1)
NOW = datetime(2026, 11, 2, tzinfo=UTC)
POLICIES = {
    "proportional": CostPolicy("p", unallocated_idle="proportional"),
    "all_losses": CostPolicy(
        "l", unallocated_idle="even", faulty="loss_shared_by_all", allocated_idle="platform_pays"
    ),
    "unused_guarantee": CostPolicy("u", unallocated_idle="unused_guarantee"),
    "half_credit": CostPolicy("h", unallocated_idle="proportional", borrowing="reserved_with_half_credit"),
}
LEAN, GUARANTEED = 5.0, 40.0
SUMS = """
SELECT department_id, business, scenario, vendor, model, pool, cluster_id, state, sum(quantity), sum(atoms)
FROM segment WHERE currency = 'CNY' GROUP BY ALL
"""
QUOTAS = """
CREATE OR REPLACE VIEW quota_hour AS
SELECT h.hour_us, 'company' AS tree, '*' AS pool, 'cards' AS resource, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model,
       'division' || t % 6 || '/team' || t AS quota, NULL::VARCHAR AS parent, 'division' || t % 6 || '/team' || t AS department_id,
       3600.0 AS seconds, ({cards} // 80 * 3600000000000000000::HUGEINT)::DECIMAL(38, 0) AS "min", NULL::DECIMAL(38, 0) AS "max",
       0::DECIMAL(38, 0) AS used, ({cards} // (80 + t % 40) * 3600000000000000000::HUGEINT)::DECIMAL(38, 0) AS guaranteed_used,
       (CASE WHEN t % 3 = 0 THEN {cards} // 200 ELSE 0 END * 3600000000000000000::HUGEINT)::DECIMAL(38, 0) AS borrowed,
       (CASE WHEN t % 3 = 1 THEN {cards} // 400 ELSE 0 END * 3600000000000000000::HUGEINT)::DECIMAL(38, 0) AS lent,
       0::DECIMAL(38, 0) AS waiting, NULL::DECIMAL(38, 0) AS headroom, false AS sprint
FROM (SELECT DISTINCT from_us // 3600000000 * 3600000000 AS hour_us FROM segment) h, range(60) r(t)
"""


def measured(work: Callable[[], Shared]) -> tuple[float, Shared]:
    """Processor seconds, and what came of it."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def plain(facts: Facts) -> float:
    """Processor seconds of the peer."""
    began = time.process_time()
    facts.rows(SUMS)
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=31, help="of October 2026, from the first")
    parser.add_argument("--keep", type=Path, help="make the days there, or take them from there")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    data = args.keep or Path(tempfile.mkdtemp())
    figures: dict[str, float] = {}
    try:
        door = Published(data / "published")
        if not door.days():
            publish(door.root, FIRST, args.days, args.cards, NOW)
        start = datetime.combine(FIRST, datetime.min.time(), UTC)
        end = start + timedelta(days=len(door.days()))
        with door.open(start, end, verify=False) as facts:
            facts.connection.execute(QUOTAS.format(cards=args.cards))
            peer = min(plain(facts) for _ in range(3))
            figures["sums_seconds"] = round(peer, 2)
            for name, policy in POLICIES.items():
                cut = stretches((policy,), start, end)
                took, shared = measured(lambda cut=cut: share_out(facts, "CNY", cut))  # type: ignore[misc]
                if sum(shared.by_payer().values()):
                    raise SystemExit(f"{name}: what is moved does not add up to nothing")
                figures[f"{name}_seconds"] = round(took, 2)
                figures[f"{name}_moves"] = len(shared.moves)
                figures[f"{name}_ratio"] = round(took / peer, 1)
                print(f"{name:18}{took:8.2f} s  {took / peer:6.1f} x the sums  {len(shared.moves)} moves")
    finally:
        if args.keep is None:
            shutil.rmtree(data, ignore_errors=True)
    print(json.dumps({"benchmark": "bill", "figures": figures}))
    lean = max(figures["proportional_ratio"], figures["all_losses_ratio"])
    guaranteed = max(figures["unused_guarantee_ratio"], figures["half_credit_ratio"])
    return 1 if args.strict and (lean > LEAN or guaranteed > GUARANTEED) else 0


if __name__ == "__main__":
    sys.exit(main())
