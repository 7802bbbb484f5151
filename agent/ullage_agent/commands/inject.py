"""``ullage-agent inject list | NAME | FILE``: faults made on purpose, where this node's settings allow it.

Everything is checked before the first fault is made; each is told on stderr as it is made. Not here: what a scenario
says (injection/scenario.py) and where faults go (injection/targets.py).
"""

from __future__ import annotations

import sys
from typing import Any, Final

from ullage_agent.config import Config
from ullage_agent.injection import mix as mixes
from ullage_agent.injection import scenario as scenarios
from ullage_agent.injection.scenario import Fault, Scenario
from ullage_agent.injection.targets import Targets, allowed
from ullage_contract.clock import Clock
from ullage_contract.errors import ConfigError

SECONDS: Final = 3600.0  # our choice: how long a mix runs when nobody says: a drill of an hour


def listing(config: Config) -> dict[str, Any]:
    """What ships, and what may be injected here."""
    return {
        "schema_version": 1,
        "node": config.node,
        "allowed": allowed(config),
        "actions": {target: list(actions) for target, actions in scenarios.ACTIONS.items()},
        "scenarios": [
            {"name": name, "title": scenarios.parse(text, name).title}
            for name, text in scenarios.shipped().items()
        ],
    }


def planned(
    config: Config, scenario: Scenario, *, seconds: float, seed: int, faster: float
) -> tuple[Fault, ...]:
    """The faults on this node; a mix is drawn for its simulated cards. Raises ConfigError."""
    if scenario.mix is None:
        return scenario.faults
    settings = config.settings("simulated")
    cards = int(settings.get("cards", 8))
    drawn = mixes.draw(mixes.mix(scenario), nodes=1, cards=cards, seconds=seconds, seed=seed, faster=faster)
    return tuple(mixes.on_one_node(drawn, ports=int(settings.get("ports", cards))))


def run(
    config: Config,
    name: str,
    clock: Clock,
    *,
    seconds: float = SECONDS,
    seed: int = 1,
    faster: float = 1.0,
    dry_run: bool = False,
    targets: Targets | None = None,
) -> dict[str, Any]:
    """Make the faults at their time; what was made. Raises ConfigError before anything is made, BadInput in between."""
    scenario = scenarios.load(name)
    faults = planned(config, scenario, seconds=seconds, seed=seed, faster=faster)
    targets = targets or Targets(config, clock)
    targets.check(faults)
    if not faults:
        raise ConfigError(
            f"{scenario.title}: nothing happens on so few cards in {seconds:g} s; give --faster or --seconds"
        )
    began = clock.monotonic()
    made = []
    for fault in faults:
        entry: dict[str, Any] = {"at": fault.at, "target": fault.target, "do": fault.do}
        if fault.cause:
            entry["cause"] = fault.cause
        entry["place"] = str(targets.place(fault))
        if not dry_run:
            clock.sleep(max(0.0, began + fault.at - clock.monotonic()))
            entry["wrote"] = targets.make(fault)
            sys.stderr.write(f"+{fault.at:g} s {fault.target} {entry['wrote']}\n")
        made.append(entry)
    return {"schema_version": 1, "title": scenario.title, "dry_run": dry_run, "faults": made}
