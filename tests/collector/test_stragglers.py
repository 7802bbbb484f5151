"""Stragglers, hangs and starved cards in made jobs: what is named, what is not, and that silence never accuses anybody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.stragglers import (
    A_NODE,
    FAULTS,
    MINUTES,
    THROUGH_US,
    TRAPS,
    Job,
    broken,
    fleet,
    healthy,
    named,
    score,
    thinned,
    window,
)

from ullage_collector.detect.findings import Found
from ullage_collector.detect.stragglers.finding import HANG, STARVED, STRAGGLER, find
from ullage_collector.detect.stragglers.peers import Groups
from ullage_collector.detect.stragglers.settings import default_rules, parse, rules_of
from ullage_collector.detect.stragglers.window import Window
from ullage_collector.prices import Price, PriceBook
from ullage_contract.errors import ConfigError

RULES = default_rules()
FREE = PriceBook(())


def job(seed: int = 3, *, nodes: int = 4, kind: str = "plain") -> Job:
    return healthy(np.random.default_rng(seed), "job", nodes, kind)


def looked(*jobs: Job, lost: float = 0.0) -> list[Found]:
    return find(window(jobs, lost=lost), RULES, FREE)


def hung(seed: int = 3) -> Job:
    return broken(np.random.default_rng(seed), job(seed), "hang", 0)


def test_injected_faults_are_found_and_traps_are_not() -> None:
    made = fleet(39, 128, 11)
    found = named(find(window(made), RULES, FREE))
    truth = {one for one_job in made for one in one_job.truth if one[0] != "responsible"}
    precision, recall = score(found, truth)
    assert precision >= 0.9
    assert recall >= 0.9


def test_losing_a_fifth_of_the_minutes_only_takes_findings_away() -> None:
    made = fleet(39, 128, 12)
    whole = window(made)
    truth = {one for one_job in made for one in one_job.truth}
    before = named(find(whole, RULES, FREE))
    after = named(find(thinned(whole, 0.2, 5), RULES, FREE))
    assert len(after) <= len(before)
    assert after - before <= truth


@pytest.mark.parametrize("kind", TRAPS)
def test_a_healthy_job_is_left_alone_whatever_its_habits(kind: str) -> None:
    assert [one for seed in range(5) for one in looked(job(seed, nodes=16, kind=kind))] == []


def test_nothing_known_is_nothing_found() -> None:
    made = [broken(np.random.default_rng(n), job(n), fault, 0) for n, fault in enumerate(FAULTS)]
    assert find(window(made, lost=1.0), RULES, FREE) == []


def test_a_card_that_fell_silent_is_not_unlike_its_peers() -> None:
    one = job()
    for values in one.cards.values():
        values[5] = np.nan
        values[9, 3:] = np.nan
    assert looked(one) == []


def test_a_slow_card_is_named_with_what_can_be_checked_and_since_when() -> None:
    one = job()
    for key in ("clock_hertz", "power_watts"):
        one.cards[key][9, 6:] *= 0.7
    (found,) = looked(one)
    assert (found.kind, found.family, found.subject) == (STRAGGLER, "card", "job/n1/c9")
    assert found.since_us == THROUGH_US - (MINUTES - 6) * 60_000_000
    assert (found.evidence["node"], found.evidence["workload"]) == ("job/n1", "job")
    clock = found.evidence["unlike"]["clock_hertz"]
    assert clock["value"] == pytest.approx(0.7 * clock["peers"], rel=0.05)
    assert found.evidence["before_the_window"] is False
    assert (found.owner, found.action) == ("platform", "check_card")


def test_it_has_to_last() -> None:
    one = job()
    for key in ("clock_hertz", "power_watts", "sm_active_ratio"):
        one.cards[key][9, 12:] *= 0.5
        one.cards[key][17, 4:8] *= 0.5
    assert looked(one) == []


def test_a_node_whose_cards_are_all_slow_is_named_once() -> None:
    one = job()
    for key in ("clock_hertz", "power_watts"):
        one.cards[key][8:16] *= 0.7
    (found,) = looked(one)
    assert (found.family, found.subject, found.action) == ("node", "job/n1", "check_node")
    assert len(found.evidence["cards"]) == 8


def test_a_stage_on_one_node_is_a_suspect_only_when_it_changed() -> None:
    began_so, changed = job(4), job(4)
    for one, start in ((began_so, 0), (changed, 7)):
        one.cards["tensor_active_ratio"][8:16, start:] *= 0.6
        one.cards["power_watts"][8:16, start:] *= 0.75
    assert looked(began_so) == []
    assert [found.subject for found in looked(changed)] == ["job/n1"]
    later = window([began_so], lost=0.0)
    open_since = replace(later, standing={"job/n1": THROUGH_US - 3_600_000_000})
    (still,) = find(open_since, RULES, FREE)
    assert still.subject == "job/n1"


def test_the_same_place_of_every_node_may_have_a_role_of_its_own() -> None:
    one = job(4, nodes=16)
    last = np.arange(128) % A_NODE == 7
    one.cards["tensor_active_ratio"][last] *= 0.6
    one.cards["power_watts"][last] *= 0.75
    assert looked(one) == []


def test_in_a_small_job_one_card_may_have_a_role_unless_it_changed() -> None:
    began_so, changed = job(4, nodes=1), job(4, nodes=1)
    for one, start in ((began_so, 0), (changed, 7)):
        one.cards["tensor_active_ratio"][3, start:] *= 0.4
        one.cards["power_watts"][3, start:] *= 0.6
    assert looked(began_so) == []
    assert [found.subject for found in looked(changed)] == ["job/n0/c3"]


def test_three_known_cards_are_too_few_to_say_who_is_unlike() -> None:
    one = job(nodes=1)
    for key in ("clock_hertz", "power_watts"):
        one.cards[key][0] *= 0.6
    assert [found.subject for found in looked(one)] == ["job/n0/c0"]
    for values in one.cards.values():
        values[3:] = np.nan
    assert looked(one) == []


def test_an_open_finding_does_not_flap_at_the_bound() -> None:
    one = job()
    for key, factor in (("clock_hertz", 0.95), ("memory_bandwidth_ratio", 0.79)):
        one.cards[key][9] = np.median(one.cards[key], axis=0) * factor
    whole = window([one], lost=0.0)
    assert find(whole, RULES, FREE) == []
    standing = replace(whole, standing={"job/n1/c9": THROUGH_US - 3_600_000_000})
    assert [found.subject for found in find(standing, RULES, FREE)] == ["job/n1/c9"]


def test_a_bad_port_is_named_among_the_same_ports_of_other_nodes() -> None:
    one = job()
    one.ports["link_errors"][13] = 25.0
    (found,) = looked(one)
    assert (found.family, found.subject, found.action) == ("port", "job/n1/mlx5_5/1", "check_port")


def test_cards_of_another_model_or_of_nobody_are_no_peers() -> None:
    one = job()
    whole = window([one], lost=0.0)
    whole.cards.values["power_watts"][9] *= 0.5
    whole.cards.values["clock_hertz"][9] *= 0.5
    peers = whole.cards.peers.copy()
    peers[9] = -1
    assert find(replace(whole, cards=replace(whole.cards, peers=peers)), RULES, FREE) == []


def test_a_spinning_job_is_a_hang_since_it_stopped() -> None:
    one = hung()
    (found,) = looked(one)
    assert (found.kind, found.family, found.subject) == (HANG, "workload", "job")
    assert (found.evidence["symptom"], found.action, found.owner) == ("spinning", "collect_stacks", "li")
    assert found.evidence["power_of_usual"] == pytest.approx(0.27, abs=0.03)
    assert found.evidence["responsible_cards"] == []


def test_a_job_in_which_somebody_works_is_not_hung() -> None:
    one, well = hung(), job(3)
    for key, values in one.cards.items():
        values[24:] = well.cards[key][24:]
    assert [found for found in looked(one) if found.kind == HANG] == []


def test_who_stopped_first_is_responsible_for_the_hang() -> None:
    one = job(5)
    for card in range(32):
        late = slice(1 if card == 20 else 4, MINUTES)
        one.cards["utilization_ratio"][card, late] = 1.0
        one.cards["power_watts"][card, late] = 150
        one.cards["link_bytes"][card, late] = 0
    one.ports["traffic_bytes"][:, 4:] = 0
    (found,) = looked(one)
    assert (found.evidence["responsible_cards"], found.evidence["why"]) == (["job/n2/c20"], "first_to_stop")
    assert found.evidence["responsible_nodes"] == ["job/n2"]


@pytest.mark.parametrize("key", ["power_watts", "utilization_ratio", "link_bytes"])
def test_without_power_utilisation_or_traffic_nobody_can_tell_a_hang(key: str) -> None:
    one = hung()
    keys = {
        "link_bytes": ("link_bytes", "pcie_bytes"),
        "utilization_ratio": ("utilization_ratio", "sm_active_ratio"),
    }
    for gone in keys.get(key, (key,)):
        one.cards[gone][:] = np.nan
    one.ports["traffic_bytes"][:] = np.nan
    assert [found for found in looked(one) if found.kind == HANG] == []


def test_usual_power_nobody_knows_makes_no_hang() -> None:
    whole = window([hung()], lost=0.0)
    unknown = replace(whole, usual_watts=np.full(len(whole.held), np.nan))
    assert [found for found in find(unknown, RULES, FREE) if found.kind == HANG] == []


def test_a_job_that_writes_to_storage_is_not_called_hung() -> None:
    one = hung()
    one.hosts["storage_written_bytes"][2] = 2e9
    assert looked(one) == []
    whole = window([one], lost=0.0)
    shared = np.zeros(len(whole.nodes), np.bool_)
    shared[2] = True
    assert [found.kind for found in find(replace(whole, shared=shared), RULES, FREE)] == [HANG]


def test_a_job_that_never_moved_data_is_not_missing_it() -> None:
    one = broken(np.random.default_rng(1), job(), "silent job", 0)
    whole = window([one], lost=0.0)
    assert [found.evidence["symptom"] for found in find(whole, RULES, FREE)] == ["no_traffic"]
    for rows in (whole.cards.values["link_bytes"], whole.ports.values["traffic_bytes"]):
        rows[:] = 1e3
    never = replace(whole, usual_bytes=np.full(1, np.nan))
    assert find(never, RULES, FREE) == []


def test_cards_that_still_work_without_traffic_do_not_hang() -> None:
    assert looked(job(6, kind="evaluation")) == []


@pytest.mark.parametrize(
    ("change", "cause", "owner", "action"),
    [
        (lambda one: _add(one.hosts, "cpu_iowait_ratio", 0.3), "data", "li", "speed_up_input"),
        (lambda one: _add(one.hosts, "storage_read_bytes", 2e9), "data", "li", "speed_up_input"),
        (lambda one: _add(one.hosts, "cpu_busy_ratio", 0.7), "host", "li", "give_more_processors"),
        (lambda one: _add(one.ports, "pause_ratio", 0.4), "network", "platform", "check_network"),
        (lambda one: _add(one.cards, "throttled", 1.0), "throttled", "platform", "check_cooling_and_power"),
    ],
)
def test_starved_cards_say_what_they_wait_for(
    change: Callable[[Job], None], cause: str, owner: str, action: str
) -> None:
    one = job()
    one.cards["sm_active_ratio"] *= 0.4
    assert looked(one) == []
    change(one)
    (found,) = looked(one)
    assert (found.kind, found.key, found.owner, found.action) == (STARVED, cause, owner, action)
    assert found.evidence["cards"] == 32
    assert found.evidence["activity"] == pytest.approx(0.31, abs=0.03)


def _add(table: dict[str, np.ndarray], key: str, value: float) -> None:
    table[key] = table[key] + np.float32(value)


def test_a_few_slow_cards_are_no_hunger_of_the_job() -> None:
    one = job()
    one.cards["sm_active_ratio"][:8] *= 0.4
    _add(one.hosts, "cpu_iowait_ratio", 0.3)
    assert [found for found in looked(one) if found.kind == STARVED] == []


def test_busy_hosts_of_busy_cards_and_serving_work_are_no_hunger() -> None:
    busy = job()
    _add(busy.hosts, "cpu_iowait_ratio", 0.3)
    assert looked(busy) == []
    busy.cards["sm_active_ratio"] *= 0.4
    whole = window([busy], lost=0.0)
    serving = [replace(gang, scenario="online_inference") for gang in whole.gangs]
    assert find(replace(whole, gangs=serving), RULES, FREE) == []


def test_a_job_that_just_began_is_not_judged() -> None:
    whole = window([hung()], lost=0.0)
    young = [
        replace(gang, held=tuple(replace(held, begun_us=THROUGH_US - 1_200_000_000) for held in gang.held))
        for gang in whole.gangs
    ]
    assert find(replace(whole, gangs=young), RULES, FREE) == []


def test_cost_is_the_ledgers_price_of_the_cards_that_wait() -> None:
    price = Price(1, "H800", "CNY", 10_000_000, None, False, 0, None, 0, None)
    (found,) = find(window([hung()], lost=0.0), RULES, PriceBook((price,)))
    assert found.evidence["cost_per_day"] == {"CNY": "7680.00"}
    slow = job()
    for key in ("clock_hertz", "power_watts"):
        slow.cards[key][9] *= 0.7
    (found,) = find(window([slow], lost=0.0), RULES, PriceBook(()))
    assert (found.evidence["job_cost_per_day"], found.evidence["cards_without_price"]) == ({}, 32)


def test_medians_of_groups_are_those_of_their_known_members() -> None:
    chance = np.random.default_rng(2)
    label = chance.integers(-1, 7, 200)
    values = chance.normal(0, 1, (200, 4)).astype(np.float32)
    values[chance.random((200, 4)) < 0.3] = np.nan
    groups = Groups(label)
    found, known = groups.median(values)
    for number, name in enumerate(sorted(set(label.tolist()) - {-1})):
        mine = values[label == name]
        assert found[number] == pytest.approx(np.nanmedian(mine, axis=0))
        assert known[number].tolist() == (~np.isnan(mine)).sum(axis=0).tolist()
    assert np.isnan(groups.spread(found)[label == -1]).all()


def test_an_empty_fleet_is_no_trouble() -> None:
    whole = window([job()], lost=0.0)

    def none(rows: object) -> object:
        return replace(
            rows,  # type: ignore[type-var]
            names=[],
            gang=np.empty(0, np.int64),
            node=np.empty(0, np.int64),
            peers=np.empty(0, np.int64),
            values={},
        )

    empty = Window(
        THROUGH_US, MINUTES, [], [], [], none(whole.cards), none(whole.ports), none(whole.hosts),  # type: ignore[arg-type]
        np.empty(0, np.bool_), np.empty(0), np.empty(0),
    )  # fmt: skip
    assert find(empty, RULES, FREE) == []
    assert len(whole.held) == A_NODE * 4


def test_settings_say_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="exempts"):
        rules_of({"exempts": []})
    with pytest.raises(ConfigError, match="schema_version"):
        parse("schema_version = 2", "own.toml")
    with pytest.raises(ConfigError, match="card"):
        parse("", "own.toml")
    with pytest.raises(ConfigError, match="span"):
        parse("[window]\nwindow = 5\n[[card]]\nkey = 'a'\nlevel = ['a']\n", "own.toml")
    with pytest.raises(ConfigError, match="any"):
        parse(
            'schema_version = 1\n[[cause]]\nname = "a"\naction = "b"\nany = [["host", "x", 1]]\n', "own.toml"
        )
    with pytest.raises(ConfigError, match="group"):
        parse('schema_version = 1\n[[card]]\nkey = "a"\nlevel = ["a"]\nmatters = 1\n', "own.toml")
