"""NVIDIA's drain state against a stand-in for nvidia-smi: what is refused, what is called, whose drain it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pytest

from ullage_collector.isolate import nvidia_drain
from ullage_collector.isolate.actuator import Ran, Standing, Target, execute
from ullage_collector.isolate.nvidia_drain import DrainSettings, NvidiaDrain
from ullage_collector.sql import migrations
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, ConfigError

CARD = Target("card", "GPU-1", "c", "n1", "nvidia", 0, "00000000:3F:00.0", "Xid 79", "ullage:GPU-1", 17)
SSH = ("ssh", "-o", "BatchMode=yes", "root@{node_id}")


@dataclass
class Driver:
    """One node's nvidia-smi; drains only with persistence off and nobody on the card."""

    draining: bool = False
    persistence: bool = True
    pids: list[int] = field(default_factory=list)
    ends_on_term: bool = True
    says: str | None = None
    status: int = 0
    called: list[str] = field(default_factory=list)

    def __call__(self, argv: Sequence[str]) -> Ran:
        words = " ".join(argv)
        if self.status:
            return Ran(self.status, "", "ssh: connect to host n1: No route to host")
        if "-q" in argv:
            state = "draining" if self.draining else "not draining"
            return Ran(0, self.says or f"The current drain state of GPU 00000000:3F:00.0 is: {state}.\n", "")
        if "--query-compute-apps=pid" in argv:
            return Ran(0, "".join(f"{pid}\n" for pid in self.pids), "")
        self.called.append(words)
        if "kill" in argv:
            self.pids = [] if self.ends_on_term else self.pids
        elif "-pm" in argv:
            self.persistence = argv[-1] == "1"
        elif "-m" in argv:
            if argv[-1] == "1" and (self.persistence or self.pids):
                return Ran(1, "Failed to set drain state: In use by another client", "")
            self.draining = argv[-1] == "1"
        return Ran(0, "", "")


def made(driver: Driver, *, ours: bool = True, **settings: object) -> NvidiaDrain:
    found = NvidiaDrain(
        DrainSettings(**{"prefix": SSH, **settings}),  # type: ignore[arg-type]
        run=driver,
        clock=ManualClock(),
        here=("collector",),
    )
    found._is_known = lambda subject: ours
    return found


def test_the_card_is_drained_on_its_own_node_and_given_back() -> None:
    driver = Driver()
    actuator = made(driver)
    plan = actuator.plan_isolate(CARD)
    assert driver.called == []
    execute(plan, run=driver)
    on = "ssh -o BatchMode=yes root@n1 nvidia-smi"
    assert driver.called == [f"{on} --id=0000:3f:00.0 -pm 0", f"{on} drain -p 0000:3f:00.0 -m 1"]
    assert str(plan.calls[0]) == "; ".join(driver.called)
    assert actuator.standing(CARD) is Standing.OURS
    assert actuator.plan_isolate(CARD).calls == ()
    execute(actuator.plan_release(CARD), run=driver)
    assert not driver.draining and driver.persistence
    assert actuator.standing(CARD) is Standing.GONE
    assert actuator.plan_release(CARD).calls == ()


def test_a_card_with_processes_is_refused_also_when_one_comes_between_plan_and_call() -> None:
    driver = Driver(pids=[4711])
    with pytest.raises(ActuatorError, match=r"1 processes hold GPU-1 \(process 4711\)"):
        made(driver).plan_isolate(CARD)
    driver.pids = []
    plan = made(driver).plan_isolate(CARD)
    driver.pids = [4712]
    with pytest.raises(ActuatorError, match="process 4712"):
        execute(plan, run=driver)
    assert driver.called == []


def test_processes_are_ended_only_where_drain_and_settings_say_so() -> None:
    driver = Driver(pids=[7, 8])
    target = replace(CARD, drain="end")
    with pytest.raises(ActuatorError, match="In use by another client"):
        execute(made(driver).plan_isolate(target), run=driver)
    assert not any("kill" in call for call in driver.called)
    execute(made(driver, end_with="kill").plan_isolate(target), run=driver)
    assert driver.draining
    stubborn = Driver(pids=[9], ends_on_term=False)
    with pytest.raises(ActuatorError, match="process 9"):
        execute(made(stubborn, end_with="kill").plan_isolate(target), run=stubborn)
    assert not stubborn.draining


def test_a_drain_that_is_not_ours_is_left_alone() -> None:
    driver = Driver(draining=True)
    actuator = made(driver, ours=False)
    assert actuator.standing(CARD) is Standing.OTHERS
    for plan in (actuator.plan_isolate, actuator.plan_release):
        with pytest.raises(ActuatorError, match="not by us"):
            plan(CARD)
    assert driver.called == []


def test_ours_is_the_drain_whose_isolation_the_store_knows() -> None:
    with duckdb.connect() as store:
        for _, _, text in migrations():
            store.execute(text)
        driver = Driver(draining=True)
        actuator = made(driver)
        actuator.read_from(store.cursor)
        assert actuator.standing(CARD) is Standing.OTHERS
        store.execute(
            "INSERT INTO isolation (isolation_id, family, subject, reason, actuator, requested_by, isolated_at,"
            " placed, undo) VALUES (1, 'card', 'GPU-1', 'x', 'nvidia-drain', 'ada', '2026-01-01', '{}', '[]')"
        )
        assert actuator.standing(CARD) is Standing.OURS


def test_no_answer_and_odd_answers_are_unknown_and_never_acted_on() -> None:
    for driver in (Driver(status=255), Driver(says="No devices were found")):
        actuator = made(driver)
        assert actuator.standing(CARD) is Standing.UNKNOWN
        with pytest.raises(ActuatorError):
            actuator.plan_isolate(CARD)


def test_another_nodes_card_is_never_drained_on_this_machine() -> None:
    driver = Driver()
    with pytest.raises(ActuatorError, match="not on this machine"):
        made(driver, prefix=()).plan_isolate(CARD)
    execute(made(driver, prefix=()).plan_isolate(replace(CARD, node_id="collector")), run=driver)
    assert driver.called[0].startswith("nvidia-smi ")


@pytest.mark.parametrize(
    "change",
    [
        {"vendor": "amd"},
        {"family": "node"},
        {"pci_address": None},
        {"pci_address": "0000:3f:00.0; reboot"},
        {"node_id": "n1; reboot"},
        {"node_id": "-oProxyCommand=x"},
    ],
)
def test_what_is_no_nvidia_card_with_an_address_is_refused(change: dict[str, object]) -> None:
    driver = Driver()
    with pytest.raises(ActuatorError):
        made(driver).plan_isolate(replace(CARD, **change))  # type: ignore[arg-type]
    assert driver.called == []


def test_a_prefix_that_names_no_node_is_refused() -> None:
    with pytest.raises(ConfigError, match="on one machine"):
        nvidia_drain.actuator({"prefix": ["ssh", "root@n1"]})
    with pytest.raises(ConfigError, match="no such key"):
        nvidia_drain.actuator({"prefx": []})
