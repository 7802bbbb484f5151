"""Cards too big for their work and holders that would fit one card: hand-worked needs, the ledger's money, nothing from gaps."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from benchmarks.sizing import score, score_sharing, seconds
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.detect.findings import Found
from ullage_collector.detect.idle_finding import DAY_US, Gang, Held
from ullage_collector.detect.sizing.finding import OVERSIZED, SHAREABLE, Worked, find, serves, together
from ullage_collector.detect.sizing.fit import Owned, share_for, slice_for, slices, smaller_for
from ullage_collector.detect.sizing.need import Need, figure, spare
from ullage_collector.detect.sizing.pack import Small, fits, packed
from ullage_collector.detect.sizing.settings import default_rules, parse_rules, rules_of
from ullage_collector.ledger import NANO, cost_atoms, formatted, quantity, rounded
from ullage_collector.prices import Price, PriceBook
from ullage_contract.errors import ConfigError

NOW = 1_792_584_000_000_000
GIB = 1 << 30
CARD = int(79.6 * GIB)
RULES = default_rules()
BOOK = PriceBook(
    [Price(1, "H800", "CNY", 12_345_678), Price(2, "A30", "CNY", 2_000_000), Price(3, "L4", "USD", 500_000)]
)
FLEET = [Owned("nvidia", "H800", CARD, 12_345_678, "CNY"), Owned("nvidia", "A30", 24 * GIB, 2_000_000, "CNY")]
MINUTES = 3 * 1440


def need(
    activity: float = 0.05, gib: float = 6, bandwidth: float = 0.04, watts: float = 150, **more: Any
) -> Need:
    return Need(
        activity, bandwidth, int(gib * GIB), watts, more.pop("active", 2000), more.pop("total", CARD), 700.0
    )


def work(
    name: str, *needs: Need, model: str = "H800", scenario: str | None = "training", **more: Any
) -> Worked:
    held = tuple(
        Held(f"{name}/{n}", f"GPU-{name}-{n}", "n1", NANO, NOW - 30 * DAY_US, model, more.get("pool"))
        for n in range(len(needs))
    )
    gang = Gang(name, "slurm_job", "c", scenario, more.get("department", "rd"), "li", held)
    return Worked(gang, needs, more.get("vendor", "nvidia"), model, NOW - 3 * DAY_US, MINUTES)


def told(*worked: Worked, owned: list[Owned] | None = None, kind: str = OVERSIZED) -> list[Found]:
    found = find(worked, FLEET if owned is None else owned, RULES, BOOK, NOW)
    return [one for one in found if one.kind == kind]


# ------------------------------------------------------------------------------- figures
def test_a_figure_is_what_all_but_a_share_of_the_minutes_stay_below() -> None:
    values = [0.9, 0.8, 0.1, 0.1, 0.1]
    assert spare(20, 0.9) == 2 and spare(4320, 0.999) == 4 and spare(7, 1) == 0
    assert figure(values, 20, 20, 0.9) == 0.1
    assert figure(values, 19, 20, 0.9) == 0.8  # a missing minute counts as one above
    assert figure(values, 18, 20, 0.9) == 0.9
    assert figure(values, 17, 20, 0.9) is None
    assert figure(None, 20, 20, 0.9) is None


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=60), st.floats(0.5, 1), st.data())
@settings(max_examples=200, deadline=None)
def test_losing_minutes_only_ever_raises_a_figure_or_makes_it_unknown(
    minutes: list[float | None], quantile: float, data: st.DataObject
) -> None:
    def of(some: list[float | None]) -> float | None:
        known = sorted((value for value in some if value is not None), reverse=True)
        return figure(known[: spare(len(some), quantile) + 1], len(known), len(some), quantile)

    lost = [value if data.draw(st.booleans()) else None for value in minutes]
    before, after = of(minutes), of(lost)
    if after is not None:
        assert before is not None and after >= before


# ------------------------------------------------------------------------------- what fits
def test_the_smallest_profile_of_the_very_model_with_room_for_it() -> None:
    assert [one.profile for one in slices("NVIDIA A30", 24 * GIB, RULES)] == ["1g.6gb", "2g.12gb"]
    assert next(one.profile for one in slices("NVIDIA A100-SXM4-40GB", int(39.4 * GIB), RULES)) == "1g.5gb"
    assert slices("NVIDIA L40S", 48 * GIB, RULES) == []  # no MIG
    assert next(one.profile for one in slices("NVIDIA H100 NVL", int(93.6 * GIB), RULES)) == "1g.12gb"
    assert slices("NVIDIA H100", 60 * GIB, RULES) == []
    small = slice_for(need(gib=6), "NVIDIA H800", RULES)
    assert small is not None and (small.profile, small.takes) == ("1g.10gb", Fraction(1, 7))
    # 9 GiB with a fifth more are 10.8: over an eighth of 79.6
    larger = slice_for(need(gib=9), "NVIDIA H800", RULES)
    assert larger is not None and (larger.profile, larger.takes) == ("1g.20gb", Fraction(1, 4))
    # 15 % of a card is more than 70 % of a seventh
    busy = slice_for(need(activity=0.15), "NVIDIA H800", RULES)
    assert busy is not None and busy.profile == "2g.20gb"
    assert slice_for(need(gib=60), "NVIDIA H800", RULES) is None
    npu = slice_for(need(gib=5, total=64 * GIB), "Ascend910B3", RULES)
    assert npu is not None and (npu.kind, npu.profile, npu.compute) == (
        "vNPU",
        "vir05_1c_16g",
        Fraction(1, 4),
    )


def test_shares_are_asked_for_in_the_makers_own_units() -> None:
    mlu = share_for(need(), "cambricon", "MLU370", RULES)
    # 5 % / 70 % = 8 hundredths; 6 GiB x 1.2 = 7.2 GiB = 29 x 256 MiB
    assert mlu is not None and dict(mlu.ask) == {
        "cambricon.com/mlu.smlu.vcore": 8,
        "cambricon.com/mlu.smlu.vmemory": 29,
    }
    assert mlu.takes == Fraction(29 * 256 << 20, CARD)
    hami = share_for(need(activity=0.2), "nvidia", "NVIDIA L40S", RULES)
    assert hami is not None and (hami.system, hami.takes) == ("hami", Fraction(29, 100))
    assert share_for(need(), "tpu", "v5e", RULES) is None


def test_a_smaller_model_has_to_be_owned_and_known_and_to_hold_it() -> None:
    # 5 % of 989 TFLOPS are 49: less than 70 % of an A30's 165; 4 % of 3.35 TB/s are 134 GB/s
    found = smaller_for(need(), "nvidia", "H800", FLEET, RULES)
    assert found is not None and found.model == "A30"
    assert smaller_for(need(activity=0.12), "nvidia", "H800", FLEET, RULES) is None  # 119 TFLOPS are too much
    assert smaller_for(need(bandwidth=0.2), "nvidia", "H800", FLEET, RULES) is None  # 670 GB/s
    assert smaller_for(need(gib=21), "nvidia", "H800", FLEET, RULES) is None
    assert smaller_for(need(), "nvidia", "H800", FLEET[:1], RULES) is None
    assert smaller_for(need(), "nvidia", "B999", FLEET, RULES) is None


# ------------------------------------------------------------------------------- too big
def test_a_whole_card_for_a_tenth_of_one_is_found_with_the_dearest_way_out() -> None:
    (found,) = told(work("a", need()))
    evidence = found.evidence
    assert (evidence["slice"], evidence["smaller_model"], evidence["fits"]) == ("MIG 1g.10gb", "A30", "share")
    # hami: 8 hundredths of compute, and 7373 MiB of 79.6 GiB are more: it takes 0.0905 of the card
    takes = Fraction(7373 << 20, CARD)
    left = NANO - (-(-NANO * takes.numerator // takes.denominator))
    atoms = cost_atoms(quantity(left, 0, 30 * DAY_US), 12_345_678)
    assert evidence["saved_per_month"] == {"CNY": formatted(rounded(atoms, "CNY"), grouped=False)}
    assert evidence["saving_per_day"] == {"CNY": formatted(rounded(atoms // 30, "CNY"), grouped=False)}
    assert evidence["saved_card_hours_per_month"] == round(720 * left / NANO, 1)
    assert (found.action, found.owner, found.subject) == ("use_a_share", "li", "a")


def test_a_job_of_many_cards_gets_a_smaller_model_at_the_difference_of_both_prices() -> None:
    (found,) = told(work("a", need(), need(activity=0.07)))
    evidence = found.evidence
    assert (evidence["slice"], evidence["share"], evidence["fits"]) == (None, None, "smaller_model")
    month = quantity(NANO, 0, 30 * DAY_US)
    atoms = 2 * (cost_atoms(month, 12_345_678) - cost_atoms(month, 2_000_000))
    assert evidence["saved_per_month"] == {"CNY": formatted(rounded(atoms, "CNY"), grouped=False)}
    assert evidence["activity_peak"] == 0.07


def test_without_a_price_hours_alone_are_saved() -> None:
    (found,) = told(work("a", need(), need()), owned=[replace(FLEET[1], price_micro=None, currency=None)])
    assert (found.evidence["saved_per_month"], found.evidence["saved_card_hours_per_month"]) == (None, 1440.0)
    (other,) = told(work("a", need(), need()), owned=[Owned("nvidia", "L4", 24 * GIB, 500_000, "USD")])
    assert (other.evidence["smaller_model"], other.evidence["saved_per_month"]) == (
        "L4",
        None,
    )  # no rate between them
    (own,) = told(work("a", need(), model="H100"))
    assert own.evidence["cards_without_price"] == 1 and own.evidence["saved_per_month"] is None


def test_a_smaller_model_that_costs_no_less_is_not_proposed() -> None:
    dear = [Owned("nvidia", "A30", 24 * GIB, 12_345_678, "CNY")]
    (found,) = told(work("a", need(), need()), owned=dear)
    assert (found.evidence["smaller_model"], found.evidence["fits"], found.action) == (
        None,
        "not_known",
        "ask_for_less",
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"activity": 0.21}, {"memory_bytes": int(0.26 * CARD)}, {"bandwidth": 0.21}, {"watts": 360.0},
        {"activity": None}, {"memory_bytes": None}, {"bandwidth": None}, {"watts": None}, {"total_bytes": None},
        {"limit_watts": None}, {"active_minutes": 10},
    ],
)  # fmt: skip
def test_one_figure_above_its_limit_or_unknown_or_an_idle_card_is_no_finding(changed: dict[str, Any]) -> None:
    assert told(work("a", replace(need(), **changed))) == []
    assert told(
        work("a", need(), replace(need(), **{**changed, "active_minutes": 2000}))
    ) == [] or changed == {"active_minutes": 10}


def test_work_that_serves_or_that_nobody_explains_is_judged_by_peaks() -> None:
    assert not serves(work("a", need()).gang, RULES)
    assert serves(work("a", need(), scenario="online_inference").gang, RULES)
    assert serves(work("a", need(), scenario=None).gang, RULES)
    assert told(work("a", need(), scenario=None))[0].evidence["judged_by"] == "peaks"


def test_of_several_cards_the_most_of_each_figure_counts() -> None:
    both = together([need(activity=0.1, gib=2), need(activity=0.05, gib=9)])
    assert (both.activity, both.memory_bytes) == (0.1, 9 * GIB)
    assert together([need(), replace(need(), watts=None)]).watts is None


# ------------------------------------------------------------------------------- together
def test_small_holders_of_one_department_are_put_on_fewer_cards() -> None:
    found = told(*(work(f"w{n}", need(gib=14, activity=0.09)) for n in range(5)), kind=SHAREABLE)
    (one,) = found
    # 14 GiB x 1.2 = 16.8: each a 1g.20gb, a quarter of the memory: four a card; memory 4 x 21 % = 84 %
    assert (one.evidence["holders"], one.evidence["cards_saved"], one.action) == (4, 3, "share_a_card")
    assert set(one.evidence["groups"][0].values()) == {"MIG 1g.20gb"}
    atoms = cost_atoms(3 * quantity(NANO, 0, 30 * DAY_US), 12_345_678)
    assert one.evidence["saved_per_month"] == {"CNY": formatted(rounded(atoms, "CNY"), grouped=False)}
    assert one.evidence["saved_card_hours_per_month"] == 2160.0
    assert one.evidence["workloads"] == [f"w{n}/0" for n in range(4)]


def test_the_parts_a_card_can_be_cut_into_are_counted() -> None:
    """2g.20gb takes two sevenths of compute and a quarter of memory: three fit, a fourth would only fit its memory."""
    (found,) = told(*(work(f"w{n}", need(gib=14, activity=0.15)) for n in range(4)), kind=SHAREABLE)
    assert (found.evidence["holders"], found.evidence["cards_saved"]) == (3, 2)
    assert set(found.evidence["groups"][0].values()) == {"MIG 2g.20gb"}


def test_who_answers_for_different_departments_or_clusters_is_left_apart() -> None:
    assert told(work("a", need(), department="x"), work("b", need(), department="y"), kind=SHAREABLE) == []
    assert told(work("a", need()), work("b", need(), need()), kind=SHAREABLE) == []  # a job of two cards
    assert told(work("a", need()), work("b", need(), model="H100"), kind=SHAREABLE) == []
    assert len(told(work("a", need()), work("b", need()), kind=SHAREABLE)) == 1


@pytest.mark.parametrize("more", [{"activity": 0.4}, {"gib": 37}, {"bandwidth": 0.4}, {"watts": 360}])
def test_two_that_are_too_much_together_stay_apart(more: dict[str, Any]) -> None:
    assert told(work("a", need(**more)), work("b", need(**more)), kind=SHAREABLE) == []


amounts = st.tuples(st.floats(0.01, 0.6), st.floats(0.5, 45), st.floats(0.01, 0.6), st.floats(60, 500))


@given(st.lists(amounts, max_size=9), st.sampled_from(["NVIDIA H800", "NVIDIA L40S"]))
@settings(max_examples=80, deadline=None)
def test_every_group_fits_its_card_and_nobody_is_in_two(drawn: list[tuple[float, ...]], model: str) -> None:
    some = []
    for number, (activity, gib, bandwidth, watts) in enumerate(drawn):
        one = need(activity, gib, bandwidth, watts)
        some.append(
            Small(f"w{number}", "", one, slice_for(one, model, RULES), share_for(one, "nvidia", model, RULES))
        )
    groups = packed(some, RULES)
    assert all(len(group) > 1 and fits(group, RULES) for group in groups)
    names = [one.name for group in groups for one in group]
    assert len(names) == len(set(names))
    for group in groups:
        assert sum(one.need.memory or 0 for one in group) * RULES.memory_headroom <= 1
        if all(one.slice for one in group):
            assert sum(one.slice.compute for one in group if one.slice) <= 1


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["activity", "bandwidth", "memory_bytes", "watts"])),
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_what_becomes_unknown_only_ever_takes_findings_away(lost: list[tuple[bool, str]]) -> None:
    whole = [work(f"w{n}", need(gib=5 + n)) for n in range(max(1, len(lost)))]
    less = [
        replace(one, needs=(replace(one.needs[0], **{lost[n][1]: None}),))
        if n < len(lost) and lost[n][0]
        else one
        for n, one in enumerate(whole)
    ]
    for kind in (OVERSIZED, SHAREABLE):
        assert len(told(*less, kind=kind)) <= len(told(*whole, kind=kind))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[window]\nserving_days = 3\n", "serving_days"),
        ('[[slices]]\nkind = "MIG"\nmodels = ["H100"]\nprofiles = ["no"]\nsource = "x"\n', "no"),
        ('[[model]]\nwords = []\ntflops = 1\ngb_per_second = 1\nsource = "x"\n', "words"),
        ("[share]\nmany = 2\n", "many"),
    ],
)
def test_a_wrong_rule_is_told(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        parse_rules(f"schema_version = 1\n{text}", "mine.toml")


def test_the_shipped_rules_are_read() -> None:
    assert rules_of({}) == default_rules()
    assert len(default_rules().slices) > 8 and default_rules().models == ()


def test_a_model_is_proposed_by_documented_figures_alone_and_a_sites_own_stand_first() -> None:
    work, fleet = need(activity=0.05), [Owned("nvidia", "NVIDIA A30", 24 * GIB, 1, "CNY")]
    assert smaller_for(work, "nvidia", "NVIDIA H800", fleet, RULES) == fleet[0]
    # no document names what these can do, or their bandwidth
    assert smaller_for(work, "nvidia", "NVIDIA H800 PCIe", fleet, RULES) is None
    assert smaller_for(work, "nvidia", "A100", fleet, RULES) is None
    nobody = [Owned("nvidia", "NVIDIA H20-3e", 141 * GIB, 1, "CNY")]
    assert smaller_for(work, "nvidia", "NVIDIA H800", nobody, RULES) is None
    own = '[[model]]\nwords = ["H800 PCIe"]\ntflops = 700\ngb_per_second = 2000\nsource = "contract 7"\n'
    mine = parse_rules(f"schema_version = 1\n{own}", "mine.toml")
    assert smaller_for(work, "nvidia", "NVIDIA H800 PCIe", fleet, mine) == fleet[0]


def test_of_made_work_what_is_small_for_days_is_told() -> None:
    figures = score(120, 3)
    assert figures["true"] >= 30
    assert (figures["precision"], figures["recall"]) == (1.0, 1.0)
    assert figures["peer_precision"] < 0.8


def test_of_made_holders_those_who_fit_one_card_are_told() -> None:
    figures = score_sharing(60, 3)
    assert (figures["share_precision"], figures["share_recall"], figures["share_saved_of_possible"]) == (
        1.0,
        1.0,
        1.0,
    )
    assert figures["share_peer_precision"] < 0.5


def test_hours_leave_out_only_cards_whose_minutes_are_busy() -> None:
    assert seconds(4)["cards"] == 4  # raises where they leave out another
