"""One card is kept from new work by rules that hit exactly its devices; where that cannot be, the node is proposed.

Device taints are held to the stand-in and to the published models: no real server with them was at hand.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import api_controllers
import pytest
from api_server import ApiServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kube_isolation_world import (
    DRIVER,
    World,
    card_target,
    carry_out,
    kubeconfig,
    node_target,
    writes_at,
    writes_of,
)
from kube_world import Kube, access_to, gpu

from ullage_collector.isolate import kubernetes_card
from ullage_collector.isolate.actuator import Standing
from ullage_collector.isolate.kubernetes_card import KubernetesCard
from ullage_collector.isolate.kubernetes_devices import Place, Served, rule
from ullage_collector.isolate.kubernetes_mark import Mark
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, ConfigError

NODE = "n1"
RULES = "/apis/resource.k8s.io/v1/devicetaintrules"


class Bench(World):
    def __init__(self, folder: Path, **server: Any) -> None:
        made = ApiServer(**server).start()
        super().__init__(Kube(access_to(made.url), f"ullage-{uuid.uuid4().hex[:8]}"), made)
        self.api = made
        self.path = kubeconfig(folder, made.url)
        self.kube.make_namespace()
        self.kube.node(NODE)

    def actuator(self, **more: Any) -> KubernetesCard:
        return kubernetes_card.actuator({"kubeconfig": str(self.path), **more}, ManualClock())

    def free(self) -> list[str]:
        return api_controllers.free_devices(self.api.objects)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.devices(NODE)
    bench.api.writes.clear()
    yield bench
    bench.api.kill()


# ------------------------------------------------------------------------------------ isolate and release


def test_exactly_one_card_is_tainted_and_given_back(bench: Bench) -> None:
    actuator, target = bench.actuator(), card_target(NODE, gpu(5))
    assert actuator.standing(target) is Standing.GONE
    plan = actuator.plan_isolate(target)
    assert not plan.whole_node
    carry_out(plan)
    (made,) = bench.rules()
    assert made["spec"]["deviceSelector"] == {"driver": DRIVER, "pool": NODE, "device": "gpu-5"}
    assert made["spec"]["taint"] == {
        "key": "ullage.dev/isolated",
        "value": "incident-17",
        "effect": "NoSchedule",
    }
    (text,) = bench.our_annotations(made).values()
    assert json.loads(text)["marker"] == f"ullage:{gpu(5)}" and json.loads(text)["incident"] == 17
    assert bench.free() == [f"gpu-{n}" for n in range(8) if n != 5]
    assert actuator.standing(target) is Standing.OURS
    assert actuator.standing(card_target(NODE, gpu(4))) is Standing.GONE
    assert bench.taints(NODE) == []
    carry_out(actuator.plan_release(target))
    assert bench.rules() == [] and len(bench.free()) == 8
    assert actuator.standing(target) is Standing.GONE


def test_a_dry_run_prints_exactly_what_is_sent_and_sends_nothing(bench: Bench) -> None:
    actuator, target = bench.actuator(), card_target(NODE)
    plan = actuator.plan_isolate(target)
    assert bench.api.writes == []
    assert f"POST {bench.api.url}{RULES}?fieldManager=ullage&fieldValidation=Strict" in str(plan.calls[0])
    carry_out(plan)
    assert writes_at(bench.api) == writes_of(plan)
    bench.api.writes.clear()
    release = actuator.plan_release(target)
    carry_out(release)
    assert writes_at(bench.api) == writes_of(release)
    (rule_given,) = release.calls
    assert set(rule_given.to_json()["body"]["preconditions"]) == {"uid", "resourceVersion"}


def test_the_undo_of_a_plan_gives_back(bench: Bench) -> None:
    plan = bench.actuator().plan_isolate(card_target(NODE))
    carry_out(plan)
    for call in plan.undo:
        call.run(lambda argv: pytest.fail("a program"))  # type: ignore[union-attr]
    assert bench.rules() == []


def test_isolating_twice_sends_nothing_the_second_time(bench: Bench) -> None:
    carry_out(bench.actuator().plan_isolate(card_target(NODE)))
    again = bench.actuator().plan_isolate(card_target(NODE))
    assert again.calls == () and "already" in again.notes[0]
    carry_out(bench.actuator().plan_release(card_target(NODE)))
    assert bench.actuator().plan_release(card_target(NODE)).calls == ()


@pytest.mark.parametrize(
    ("dra", "taint_rules"),
    [(("v1",), ("v1beta2",)), (("v1", "v1beta1"), ("v1alpha3",)), (("v1", "v1beta2"), ("v1", "v1beta2"))],
)
def test_the_newest_version_the_server_has_is_spoken(
    tmp_path: Path, dra: tuple[str, ...], taint_rules: tuple[str, ...]
) -> None:
    bench = Bench(tmp_path, dra=dra, taint_rules=taint_rules)
    bench.devices(NODE)
    carry_out(bench.actuator().plan_isolate(card_target(NODE)))
    (made,) = bench.rules(taint_rules[0])
    assert made["metadata"]["name"].startswith("ullage-gpu-1-")
    assert bench.actuator().standing(card_target(NODE)) is Standing.OURS
    bench.api.kill()


# ------------------------------------------------------------------------------------ which devices


def device(name: str, **attributes: str) -> dict[str, Any]:
    return {"name": name, "attributes": {key: {"string": value} for key, value in attributes.items()}}


def test_parts_of_a_card_and_other_ways_to_it_are_tainted_with_it(bench: Bench) -> None:
    at = {"resource.kubernetes.io/pciBusID": "0000:41:00.0"}
    bench.slice(
        "n2",
        [
            device("gpu-0", type="gpu", uuid=gpu(8), **at),
            device("gpu-0-mig-1g", type="mig", uuid="MIG-1", parentUUID=gpu(8), profile="1g.10gb"),
            device("vfio-0", type="vfio", **at),
            device("gpu-1", type="gpu", uuid=gpu(9)),
        ],
    )
    bench.kube.node("n2")
    target = card_target("n2", gpu(8), pci_address="0000:41:00.0")
    carry_out(bench.actuator().plan_isolate(target))
    hit = sorted(r["spec"]["deviceSelector"]["device"] for r in bench.rules())
    assert hit == ["gpu-0", "gpu-0-mig-1g", "vfio-0"]
    assert bench.actuator().standing(target) is Standing.OURS
    (first, *_) = bench.rules()
    bench.kube.ask("DELETE", f"{RULES}/{first['metadata']['name']}")
    assert bench.actuator().standing(target) is Standing.GONE  # one way to the card is open again
    carry_out(bench.actuator().plan_isolate(target))
    assert len(bench.rules()) == 3
    carry_out(bench.actuator().plan_release(target))
    assert bench.rules() == []


def test_a_card_without_a_uuid_there_is_found_by_its_place(bench: Bench) -> None:
    bench.slice(
        "n2", [device("npu-3", pciAddress="0000:c1:00.0"), device("npu-4", pciAddress="0000:c2:00.0")]
    )
    target = card_target("n2", "n2/0000:c1:00.0", pci_address="0000:c1:00.0", vendor="ascend")
    carry_out(bench.actuator().plan_isolate(target))
    assert [r["spec"]["deviceSelector"]["device"] for r in bench.rules()] == ["npu-3"]


def test_two_chips_at_one_place_are_not_guessed_between(bench: Bench) -> None:
    bench.slice("n2", [device("a", pciAddress="0000:c1:00.0"), device("b", pciAddress="0000:c1:00.0")])
    with pytest.raises(ActuatorError, match=r"a, b are all at .* isolate the node"):
        bench.actuator().plan_isolate(card_target("n2", "n2/0000:c1:00.0/1", pci_address="0000:c1:00.0"))
    bench.slice(
        "n3",
        [
            device("a", uuid="NPU-a", pciAddress="0000:c1:00.0"),
            device("b", uuid="NPU-b", pciAddress="0000:c1:00.0"),
        ],
    )
    carry_out(bench.actuator().plan_isolate(card_target("n3", "NPU-a", pci_address="0000:c1:00.0")))
    assert [r["spec"]["deviceSelector"]["device"] for r in bench.rules()] == ["a"]


def test_a_card_in_no_slice_and_a_server_without_rules_propose_the_node(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ActuatorError, match=r"in no ResourceSlice .* isolate the node \(kubernetes-node\)"):
        bench.actuator().plan_isolate(card_target(NODE, gpu(9)))
    with pytest.raises(ActuatorError, match="use kubernetes-node"):
        bench.actuator().plan_isolate(node_target(NODE))
    for number, served in enumerate(({"dra": ()}, {"taint_rules": ()})):
        folder = tmp_path / str(number)
        folder.mkdir()
        old = Bench(folder, **served)
        with pytest.raises(
            ActuatorError, match=r"has no DeviceTaintRule .* isolate the node \(kubernetes-node\)"
        ):
            old.actuator().plan_isolate(card_target(NODE))
        assert old.actuator().plan_release(card_target(NODE)).calls == ()
        assert old.actuator().standing(card_target(NODE)) is Standing.UNKNOWN
        old.api.kill()


def test_old_generations_of_a_pool_and_half_published_ones_say_nothing(bench: Bench) -> None:
    bench.slice(NODE, [device("renamed-1", type="gpu", uuid=gpu(1))], generation=2)
    carry_out(bench.actuator().plan_isolate(card_target(NODE)))
    assert [r["spec"]["deviceSelector"]["device"] for r in bench.rules()] == ["renamed-1"]
    spec = {
        "driver": DRIVER,
        "nodeName": "n4",
        "pool": {"name": "n4", "generation": 1, "resourceSliceCount": 2},
        "devices": [],
    }
    body = {"metadata": {"name": "half"}, "spec": spec}
    bench.kube.ask("POST", "/apis/resource.k8s.io/v1/resourceslices", body)
    with pytest.raises(ActuatorError, match="publishing its devices just now"):
        bench.actuator().plan_isolate(card_target("n4", gpu(7)))


def test_a_rule_whose_device_is_another_card_after_a_reboot_follows_its_card(bench: Bench) -> None:
    target = card_target(NODE, gpu(1))
    carry_out(bench.actuator().plan_isolate(target))
    swapped = [device("gpu-0", type="gpu", uuid=gpu(1)), device("gpu-1", type="gpu", uuid=gpu(0))]
    bench.slice(NODE, swapped, generation=2)
    assert bench.actuator().standing(target) is Standing.GONE
    plan = bench.actuator().plan_isolate(target)
    assert any("hits another device now" in note for note in plan.notes)
    carry_out(plan)
    assert [r["spec"]["deviceSelector"]["device"] for r in bench.rules()] == ["gpu-0"]
    assert bench.actuator().standing(target) is Standing.OURS


def test_a_rule_outlives_slices_that_are_away_while_the_driver_restarts(bench: Bench) -> None:
    target = card_target(NODE)
    carry_out(bench.actuator().plan_isolate(target))
    bench.kube.ask("DELETE", f"/apis/resource.k8s.io/v1/resourceslices/{NODE}-{DRIVER}-1")
    assert bench.actuator().standing(target) is Standing.OURS
    carry_out(bench.actuator().plan_release(target))
    assert bench.rules() == []


# ------------------------------------------------------------------------------------ never all devices


TEXTS = st.one_of(
    st.none(), st.just(""), st.just("  "), st.text(max_size=8), st.sampled_from(["gpu-1", DRIVER])
)
MARK = Mark("ullage:x", 17, "r", "2026-11-21T14:00:00Z", "ullage")
TAINT = {"key": "ullage.dev/isolated", "value": "incident-17", "effect": "NoExecute"}


@given(driver=TEXTS, pool=TEXTS, name=TEXTS)
def test_a_rule_with_an_empty_part_of_its_selector_is_never_made(driver: Any, pool: Any, name: Any) -> None:
    try:
        made = rule(Served("v1", "v1"), Place(driver, pool, name), TAINT, MARK)
    except ActuatorError:
        assert not all(isinstance(part, str) and part.strip() for part in (driver, pool, name))
        return
    assert made["spec"]["deviceSelector"] == {"driver": driver, "pool": pool, "device": name}
    assert all(part.strip() for part in made["spec"]["deviceSelector"].values())


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("odd"))
    yield bench
    bench.api.kill()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    driver=TEXTS,
    pool=st.one_of(TEXTS.map(lambda name: {"name": name, "generation": 1}), st.none()),
    devices=st.lists(st.tuples(TEXTS, st.sampled_from([gpu(1), gpu(2), ""])), max_size=3),
    node=st.sampled_from([NODE, None, ""]),
)
def test_whatever_slices_say_no_rule_for_more_than_a_device_is_sent(
    odd: Bench, driver: Any, pool: Any, devices: list[tuple[Any, str]], node: Any
) -> None:
    """Slices as no driver should write them, past the server's own checks."""
    spec = {
        "driver": driver,
        "nodeName": node,
        "pool": pool,
        "devices": [{"name": name, "attributes": {"uuid": {"string": uid}}} for name, uid in devices],
    }
    objects = odd.api.objects
    objects.create(("resourceslices", "", "odd"), {"metadata": {"name": "odd"}, "spec": spec})
    odd.api.writes.clear()
    try:
        with suppress(ActuatorError):
            carry_out(odd.actuator().plan_isolate(card_target(NODE)))
        for method, path, body in odd.api.writes:
            if method == "POST" and "devicetaintrules" in path:
                selector = json.loads(body)["spec"]["deviceSelector"]
                assert set(selector) == {"driver", "pool", "device"}
                assert all(isinstance(part, str) and part.strip() for part in selector.values())
    finally:
        objects.delete(("resourceslices", "", "odd"), None, {})
        for made in odd.rules():
            odd.kube.ask("DELETE", f"{RULES}/{made['metadata']['name']}")


@pytest.mark.parametrize("known", [(), ("driver",), ("driver", "pool")])
def test_a_server_that_knows_less_of_a_selector_is_refused_not_obeyed(
    tmp_path: Path, known: tuple[str, ...]
) -> None:
    bench = Bench(tmp_path, selector_fields=known)
    bench.devices(NODE)
    with pytest.raises(ActuatorError, match="unknown field"):
        carry_out(bench.actuator().plan_isolate(card_target(NODE)))
    assert bench.rules() == [] and len(bench.free()) == 8
    bench.api.kill()


def test_a_server_that_drops_part_of_a_selector_all_the_same_has_the_rule_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, selector_fields=())
    bench.devices(NODE)
    from ullage_collector.isolate.kubernetes_api import Api

    plain = Api.call

    def lax(self: Api, *args: Any, strict: bool = False, **more: Any) -> Any:
        return plain(self, *args, **more)  # as where a server does not know strict validation

    monkeypatch.setattr(Api, "call", lax)
    with pytest.raises(ActuatorError, match="the rule was taken back"):
        carry_out(bench.actuator().plan_isolate(card_target(NODE)))
    assert bench.rules() == [] and len(bench.free()) == 8
    bench.api.kill()


# ------------------------------------------------------------------------------------ others


def test_rules_and_taints_of_others_are_shown_and_left(bench: Bench) -> None:
    theirs = {
        "metadata": {"name": "admins"},
        "spec": {
            "deviceSelector": {"driver": DRIVER, "pool": NODE},
            "taint": {"key": "maintenance", "effect": "NoSchedule"},
        },
    }
    bench.kube.ask("POST", RULES, theirs)
    actuator, target = bench.actuator(), card_target(NODE)
    assert actuator.standing(target) is Standing.OTHERS
    plan = actuator.plan_isolate(target)
    assert any("rule admins with maintenance:NoSchedule: left alone" in note for note in plan.notes)
    carry_out(plan)
    assert actuator.standing(target) is Standing.OURS
    carry_out(actuator.plan_release(target))
    assert [r["metadata"]["name"] for r in bench.rules()] == ["admins"]
    tainted = device("gpu-0", type="gpu", uuid=gpu(8)) | {
        "taints": [{"key": "driver", "effect": "NoExecute"}]
    }
    bench.slice("n2", [tainted])
    assert actuator.standing(card_target("n2", gpu(8))) is Standing.OTHERS


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"deviceSelector": {"device": None}}},
        {"spec": {"deviceSelector": {"device": "gpu-2"}}},
        {"spec": {"taint": {"effect": "NoExecute"}}},
        {"spec": {"taint": {"value": "keep"}}},
        {"metadata": {"annotations": None}},
    ],
)
def test_a_rule_of_ours_that_somebody_changed_is_theirs(bench: Bench, change: dict[str, Any]) -> None:
    actuator, target = bench.actuator(), card_target(NODE)
    carry_out(actuator.plan_isolate(target))
    (made,) = bench.rules()
    path = f"{RULES}/{made['metadata']['name']}"
    bench.kube.ask("PATCH", path, change, "application/merge-patch+json")
    assert actuator.standing(target) is Standing.OTHERS
    with suppress(ActuatorError):
        carry_out(actuator.plan_release(target))
    assert [r["metadata"]["name"] for r in bench.rules()] == [made["metadata"]["name"]]


def test_a_rule_changed_between_plan_and_release_is_left(bench: Bench) -> None:
    actuator, target = bench.actuator(), card_target(NODE)
    carry_out(actuator.plan_isolate(target))
    (made,) = bench.rules()
    path = f"{RULES}/{made['metadata']['name']}"
    release = actuator.plan_release(target)
    status = {"metadata": {"labels": {"seen": "yes"}}}
    bench.kube.ask("PATCH", path, status, "application/merge-patch+json")  # stale, yet as we placed it
    carry_out(release)
    assert bench.rules() == []
    carry_out(actuator.plan_isolate(target))
    release = actuator.plan_release(target)
    bench.kube.ask("PATCH", path, {"spec": {"taint": {"value": "keep"}}}, "application/merge-patch+json")
    with pytest.raises(ActuatorError, match="changed since we placed it"):
        carry_out(release)
    assert len(bench.rules()) == 1


# ------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_a_connection_lost_in_any_call_ends_in_the_right_state(bench: Bench, number: int, when: str) -> None:
    bench.slice(
        "n2",
        [
            device("gpu-0", type="gpu", uuid=gpu(8)),
            device("mig", type="mig", parentUUID=gpu(8), profile="1g.10gb"),
        ],
    )
    actuator, target = bench.actuator(), card_target("n2", gpu(8))
    bench.kube.node("n2")
    bench.api.lose(*["not"] * number, when)
    carry_out(actuator.plan_isolate(target))
    assert len(bench.rules()) == 2 and actuator.standing(target) is Standing.OURS
    bench.api.lose(*["not"] * min(number, 1), when)
    carry_out(actuator.plan_release(target))
    assert bench.rules() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_collector_that_dies_in_a_call_ends_in_the_right_state_when_run_again(
    bench: Bench, when: str
) -> None:
    target = card_target(NODE)
    for plan, rules in (("plan_isolate", 1), ("plan_release", 0)):
        bench.api.lose(when, *["before"] * 100)
        with suppress(ActuatorError):
            carry_out(getattr(bench.actuator(), plan)(target))
        bench.api._losses.clear()
        carry_out(getattr(bench.actuator(), plan)(target))
        assert len(bench.rules()) == rules


def test_a_server_that_is_away_is_unknown(bench: Bench) -> None:
    actuator = bench.actuator()
    bench.api.kill()
    assert actuator.standing(card_target(NODE)) is Standing.UNKNOWN
    assert actuator.taken_by_others("k8s-test") is None
    with pytest.raises(ActuatorError):
        actuator.plan_isolate(card_target(NODE))


# ------------------------------------------------------------------------------------ work and effects


def test_running_work_stays_and_no_execute_ends_exactly_the_cards_holder(bench: Bench) -> None:
    held, other = bench.running("held", NODE, tolerations=[]), bench.running("other", NODE, tolerations=[])
    bench.claim("c1", NODE, "gpu-1", ("held", held))
    bench.claim("c2", NODE, "gpu-2", ("other", other))
    carry_out(bench.actuator().plan_isolate(card_target(NODE)))
    api_controllers.evict_tainted(bench.api.objects)
    assert not bench.ending("held") and not bench.ending("other")
    ended = card_target(NODE, drain="end")
    carry_out(bench.actuator(end_with="no_execute").plan_isolate(ended))
    api_controllers.evict_tainted(bench.api.objects)
    assert bench.ending("held") and not bench.ending("other")
    carry_out(bench.actuator().plan_release(ended))
    assert bench.rules() == []


def test_a_rehearsal_places_the_effect_none_where_the_server_knows_it(bench: Bench, tmp_path: Path) -> None:
    actuator, target = bench.actuator(effect="None"), card_target(NODE, drain="end")
    plan = actuator.plan_isolate(target)
    assert any("a rehearsal" in note for note in plan.notes)
    carry_out(plan)
    assert bench.rules()[0]["spec"]["taint"]["effect"] == "None" and len(bench.free()) == 8
    assert actuator.standing(target) is Standing.OURS
    (tmp_path / "old").mkdir()
    old = Bench(tmp_path / "old", taint_rules=("v1alpha3",))
    old.devices(NODE)
    with pytest.raises(ActuatorError, match="None is not known"):
        old.actuator(effect="None").plan_isolate(card_target(NODE))
    old.api.kill()


def test_a_wrong_setting_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match="NoSchedule, NoExecute, None"):
        kubernetes_card.actuator({"effect": "PreferNoSchedule"})
    with pytest.raises(ConfigError, match=r"\[isolation.kubernetes-card\] cordon .*no such key"):
        kubernetes_card.actuator({"cordon": True})
