"""A machine with cards of a maker whose library counts them and hands out handles; emulated by tests/emulators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.agent.maker_bench import Bench, Child, pci_function
from tests.agent.once import once
from tests.agent.scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.backend import Backend, Host
from ullage_agent.backends.roster import Roster
from ullage_contract.catalogue import keys
from ullage_contract.sample import Facts, Family


class World:
    """The scenario, the library and the trees below ``root`` of one maker's machine."""

    def __init__(
        self,
        root: Path,
        monkeypatch: Any,
        backend: Backend,
        emulator: str,
        make: Callable[[Host], Roster],
        *,
        vendor: str,
        hidden: tuple[str, ...] = (),
        defines: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.backend = backend
        self.vendor = vendor
        self.scenario = Scenario(root)
        self.variable = f"ULLAGE_{backend.name.upper()}_SCENARIO"
        self.library = build(emulator, defines=defines, hidden=hidden)
        self._make = make
        monkeypatch.setenv(self.variable, str(self.scenario.path))
        for name in ("sys", "proc", "dev"):
            (root / name).mkdir(exist_ok=True)

    def host(self, **settings: Any) -> Host:
        settings.setdefault("library", str(self.library))
        return Host(
            "n1", sysfs=self.root / "sys", proc=self.root / "proc", dev=self.root / "dev", settings=settings
        )

    def card(self, number: int, values: Mapping[str, object], **more: object) -> dict[str, object]:
        """A card of the scenario, and its function on the bus."""
        card = self.scenario[f"card {number}"]
        card.update(values)
        card.update(more)
        place = str(card["pci"])
        if not (self.root / "sys/bus/pci/devices" / place).exists():
            pci_function(self.root / "sys", place, self.vendor, "0001", "120000", numa_node=1)
        return card

    def system(self, **values: object) -> None:
        self.scenario["system"].update(values)

    def bench(self, **settings: Any) -> Bench:
        """The reader in this process. A library loaded before keeps its state, as it does in a child."""
        self.scenario.write()
        return Bench(self._make(self.host(**settings)))

    def child(self, children: Callable[..., Child], **settings: Any) -> Child:
        self.scenario.write()
        return children(
            self.backend, self.host(**settings), environment={self.variable: str(self.scenario.path)}
        )

    def once(self) -> str:
        """What ``ullage-agent once --json`` prints for this machine: the real command and the real child."""
        self.scenario.write()
        config = (
            f'node = "n1"\n[backends.{self.backend.name}]\nenabled = true\nlibrary = "{self.library}"\n'
            "[sources]\nrdma = false\nkernel_log = false\n"
        )
        return once(self.root, config, **{self.variable: str(self.scenario.path)})


def unsupported(facts: Facts) -> set[str]:
    """The facts' list of what the card cannot give."""
    found = facts.attributes["unsupported"]
    assert isinstance(found, list)
    return set(found)


def accounted(facts: Facts, values: Mapping[str, object], failed: Mapping[str, str]) -> None:
    """Every key of the catalogue is a value, failed or unsupported: nothing falls through."""
    missing = set(keys(Family.CARD)) - set(values) - set(failed) - unsupported(facts)
    assert not missing, f"neither value, failed nor unsupported: {sorted(missing)}"
