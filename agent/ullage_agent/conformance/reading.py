"""The reader in its real child: what it states, that it stays who it is, and that every metric it names comes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ullage_agent import detection
from ullage_agent.backend import Backend, Reading
from ullage_agent.children.dialogue import Item
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_agent.conformance.result import Bench, Result
from ullage_agent.intake import Intake
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind, Tier
from ullage_contract.clock import SystemClock
from ullage_contract.sample import Facts, Family


@dataclass(slots=True)
class Ticks:
    """What the reader said: facts, a slow tick, a fast one, facts again and a second slow tick."""

    facts: dict[tuple[Family, str], Facts] = field(default_factory=dict)
    again: dict[tuple[Family, str], Facts] = field(default_factory=dict)
    first: dict[tuple[Family, str], Reading] = field(default_factory=dict)
    fast: dict[tuple[Family, str], Reading] = field(default_factory=dict)
    second: dict[tuple[Family, str], Reading] = field(default_factory=dict)
    unasked: list[str] = field(default_factory=list)
    refused: int = 0
    troubles: list[str] = field(default_factory=list)


def reads(backend: Backend, bench: Bench) -> Iterator[Result]:
    """The reader in its real child: facts, slow, fast, facts and slow again."""
    if backend.reader is None:
        yield Result("its reader", None, "it only decodes")
        return
    present = detection.detect(bench.host, backend, detection.pci_devices(bench.host.sysfs)).present
    if not present and not bench.own_settings:
        yield Result(
            "its reader",
            None,
            f"no hardware here: give --config with [backends.{backend.name}] of a stand-in, or --root",
        )
        return
    ticks = _ticked(backend, bench)
    yield Result("every question is answered", not ticks.troubles, "; ".join(ticks.troubles[:3]))
    cards = [subject for family, subject in ticks.facts if family is Family.CARD]
    yield Result("it states its cards", bool(cards), f"{len(cards)} cards" if cards else "facts gave none")
    yield Result(
        "facts come before readings",
        not ticks.unasked,
        f"read without facts: {', '.join(ticks.unasked[:3])}: give their facts in facts() or along in read()"
        if ticks.unasked
        else "",
    )
    yield Result(
        "nothing is outside the contract",
        ticks.refused == 0,
        f"{ticks.refused} kinds of answers were left out or changed; the lines above say which"
        if ticks.refused
        else "",
    )
    yield Result(
        "its identities stay",
        ticks.facts.keys() == ticks.again.keys(),
        "the second facts() names others: an index is no identity"
        if ticks.facts.keys() != ticks.again.keys()
        else "",
    )
    known = catalogue.keys(Family.CARD)
    slow = sorted(
        {
            k
            for r in ticks.fast.values()
            if r.family is Family.CARD
            for k in r.values
            if known[k].tier is Tier.SLOW
        }
    )
    yield Result(
        "a fast tick reads fast metrics only",
        not slow,
        f"slow ones were read too: {', '.join(slow[:5])}" if slow else "",
    )
    yield _every_source(backend, ticks)
    yield _counters(ticks)


def _every_source(backend: Backend, ticks: Ticks) -> Result:
    """Each metric it names is read, failed or said to be unsupported by each card."""
    missing: dict[str, set[str]] = {}
    keys = set(backend.sources) & set(catalogue.keys(Family.CARD))
    for (family, subject), facts in ticks.facts.items():
        if family is not Family.CARD:
            continue
        reading = ticks.first.get((family, subject))
        said = set(facts.attributes.get("unsupported") or ())  # type: ignore[arg-type]
        if reading is not None:
            said |= set(reading.values) | set(reading.failed)
        if reading is None or reading.values.get("health") != "lost":
            for key in keys - said:
                missing.setdefault(key, set()).add(subject)
    silent = sorted(
        key for key, cards in missing.items() if len(cards) == sum(f is Family.CARD for f, _ in ticks.facts)
    )
    return Result(
        "every metric it names is read, failed or unsupported",
        not silent,
        f"no card says anything of {', '.join(silent[:8])}: a misspelt call, or a key that is not read"
        if silent
        else "",
    )


def _counters(ticks: Ticks) -> Result:
    """Counters do not fall between two ticks of one life."""
    fallen = []
    for name, before in ticks.first.items():
        after = ticks.second.get(name)
        if after is None or after.counters_epoch != before.counters_epoch:
            continue
        for key, value in before.values.items():
            metric = catalogue.keys(name[0]).get(key)
            later = after.values.get(key)
            if (
                metric is not None
                and metric.kind is Kind.COUNTER
                and isinstance(value, int | float)
                and isinstance(later, int | float)
                and later < value
            ):
                fallen.append(f"{key} of {name[1]}: {value:g} then {later:g}")
    return Result("counters do not fall", not fallen, "; ".join(fallen[:3]))


def _ticked(backend: Backend, bench: Bench) -> Ticks:
    ticks = Ticks()
    intake = Intake()
    supervisor = Supervisor(
        backend,
        bench.host,
        SystemClock(),
        deadlines=Deadlines(call=5.0, start=60.0),
        environment=dict(os.environ),
    )

    def ask(
        tier: Tier, *, facts: bool, into: dict[tuple[Family, str], Reading]
    ) -> dict[tuple[Family, str], Facts]:
        stated: dict[tuple[Family, str], Facts] = {}

        def deliver(item: Item) -> None:
            admitted = intake.admit(backend.name, item)
            if isinstance(admitted, Facts):
                stated[admitted.family, admitted.subject] = admitted
            elif isinstance(admitted, Reading):
                name = (admitted.family, admitted.subject)
                if name not in stated and name not in ticks.facts:
                    ticks.unasked.append(admitted.subject)
                if any(isinstance(v, float) and not math.isfinite(v) for v in admitted.values.values()):
                    ticks.troubles.append(f"{admitted.subject}: a value is no number")
                before = into.get(name)
                into[name] = (
                    admitted
                    if before is None
                    else replace(
                        before,
                        values={**before.values, **admitted.values},
                        failed={**before.failed, **admitted.failed},
                    )
                )

        report = supervisor.tick(tier, deliver, facts=facts)
        if not report.success:
            ticks.troubles.append(report.message or "a tick failed")
        return stated

    try:
        ticks.facts = ask(Tier.SLOW, facts=True, into=ticks.first)
        ask(Tier.FAST, facts=False, into=ticks.fast)
        ticks.again = ask(Tier.SLOW, facts=True, into=ticks.second)
    finally:
        supervisor.close()
    ticks.refused = intake.told
    return ticks
