"""Who pays, by rules that are dated twice; and what an hour costs, by prices that are too."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_collector.ledger import UNMAPPED
from ullage_collector.mapping import Mapper, Rule, Subject, explained
from ullage_collector.prices import Price, PriceBook
from ullage_contract.errors import BadInput, LedgerError

POD = Subject(
    "k8s/dc1/nlp-dev/trainer-0/uid",
    cluster="dc1",
    namespace="nlp-dev",
    user="li",
    labels={"team": "rec", "project": "search"},
)


def test_priority_wins_then_the_longer_pattern() -> None:
    rules = [
        Rule(1, "k8s:*", 0, "everybody"),
        Rule(2, "k8s:nlp-*", 0, "nlp"),
        Rule(3, "label:team=rec", -1, "rec"),
    ]
    assert Mapper(rules).at(POD, 5).department == "nlp"
    assert Mapper([*rules, Rule(4, "user:*", 1, "boss")]).at(POD, 5).department == "boss"


def test_each_dimension_has_a_winner_of_its_own() -> None:
    owner = Mapper(
        [
            Rule(1, "k8s:nlp-*", 5, "nlp"),
            Rule(2, "k8s:*-dev", 0, scenario="development"),
            Rule(3, "label:project=*", 0, business="search"),
        ]
    ).at(POD, 0)
    assert (owner.department, owner.business, owner.scenario) == ("nlp", "search", "development")
    assert owner.rule_id == 1


def test_the_sources_own_word_for_the_scenario_counts_where_no_rule_gives_one() -> None:
    subject = Subject("slurm/dc1/9", namespace="nlp", scenario="training")
    assert Mapper([Rule(1, "slurm:nlp", 0, "nlp")]).at(subject, 0).scenario == "training"
    assert Mapper([Rule(1, "slurm:nlp", 0, "nlp", scenario="batch")]).at(subject, 0).scenario == "batch"


def test_no_match_is_unmapped_and_says_so() -> None:
    owner = Mapper([Rule(1, "slurm:nlp", 0, "nlp")]).at(POD, 0)
    assert (owner.department, owner.rule_id) == (UNMAPPED, None)
    assert "no mapping rule" in explained(owner, {})


def test_a_rule_holds_from_its_first_instant_to_before_its_last() -> None:
    mapper = Mapper(
        [Rule(1, "k8s:*", 0, "old", valid_to_us=100), Rule(2, "k8s:*", 0, "new", valid_from_us=100)]
    )
    assert [mapper.at(POD, t).department for t in (0, 99, 100)] == ["old", "old", "new"]
    spans = mapper.spans(POD, 50, 200)
    assert [(s.from_us, s.to_us, s.owner.department) for s in spans] == [(50, 100, "old"), (100, 200, "new")]


def test_a_closed_statement_is_mapped_as_it_was_believed_then() -> None:
    rules = [
        Rule(1, "k8s:*", 0, "wrong", known_from_us=10, known_to_us=500),
        Rule(2, "k8s:*", 0, "right", known_from_us=500),
    ]
    assert Mapper(rules, known_at_us=499).at(POD, 0).department == "wrong"
    assert Mapper(rules, known_at_us=500).at(POD, 0).department == "right"
    assert Mapper(rules).at(POD, 0).department == "right"
    assert Mapper(rules, known_at_us=9).at(POD, 0).department == UNMAPPED


def test_rules_that_contradict_each_other_are_named() -> None:
    rules = [Rule(1, "k8s:nlp-*", 0, "nlp"), Rule(2, "user:li***", 0, "li"), Rule(3, "k8s:nlp-d*", -1, "x")]
    owner = Mapper([*rules, Rule(9, "k8s:*-dev", 0, "dev")]).at(POD, 0)
    assert owner.department == "li"
    tied = Mapper([Rule(1, "k8s:nlp-*", 0, "nlp"), Rule(9, "k8s:*-dev", 0, "dev")]).at(POD, 0)
    assert (tied.department, tied.contested) == ("dev", (1,))
    assert "contested by rules 1" in explained(tied, {9: Rule(9, "k8s:*-dev", 0, "dev")})


@pytest.mark.parametrize("match", ["nlp", "account:nlp", "k8s:", "", ":x"])
def test_a_pattern_that_could_never_match_is_refused(match: str) -> None:
    with pytest.raises(BadInput, match="kind:pattern"):
        Mapper([Rule(7, match, 0, "x")])


def test_case_counts_and_brackets_are_a_shells() -> None:
    assert Mapper([Rule(1, "k8s:NLP-*", 0, "x")]).at(POD, 0).department == UNMAPPED
    assert Mapper([Rule(1, "k8s:[mn]lp-dev", 0, "x")]).at(POD, 0).department == "x"


@given(st.integers(2, 8), st.randoms())
def test_the_order_of_rules_changes_nothing(count: int, rng: random.Random) -> None:
    patterns = ["k8s:*", "k8s:nlp-*", "k8s:*-dev", "user:l*", "label:team=*", "workload:k8s/*", "cluster:dc?"]
    rules = [
        Rule(n, rng.choice(patterns), rng.randint(0, 2), f"d{n}", valid_from_us=rng.randint(0, 50))
        for n in range(count)
    ]
    expected = Mapper(rules).spans(POD, 0, 100)
    rng.shuffle(rules)
    assert Mapper(rules).spans(POD, 0, 100) == expected
    assert [s.from_us for s in expected] == [0, *(s.to_us for s in expected[:-1])]
    assert expected[-1].to_us == 100


def test_a_price_of_the_pool_beats_one_for_all_and_a_longer_pattern_a_shorter() -> None:
    book = PriceBook(
        [
            Price(1, "*", "CNY", 1),
            Price(2, "H800*", "CNY", 2),
            Price(3, "H*", "CNY", 3, pool="gold"),
        ]
    )
    found = [book.at("H800-80G", pool, 0) for pool in (None, "gold", "silver")]
    assert [p.price_id for p in found if p] == [2, 3, 2]


def test_no_price_is_an_answer() -> None:
    book = PriceBook([Price(1, "H800", "CNY", 1, valid_from_us=10, valid_to_us=20)])
    assert book.at("A100", None, 15) is None
    assert [(s.from_us, s.to_us, s.price and s.price.price_id) for s in book.spans("H800", None, 0, 30)] == [
        (0, 10, None),
        (10, 20, 1),
        (20, 30, None),
    ]


def test_a_price_that_became_known_later_does_not_change_what_was_closed_before() -> None:
    book = [Price(1, "H800", "CNY", 10, known_to_us=50), Price(2, "H800", "CNY", 12, known_from_us=50)]
    assert PriceBook(book, known_at_us=49).at("H800", None, 5) == book[0]
    assert PriceBook(book).at("H800", None, 5) == book[1]


def test_prices_nobody_can_mean_are_refused() -> None:
    with pytest.raises(LedgerError, match="below 0"):
        Price(1, "H800", "CNY", -1)
    with pytest.raises(LedgerError, match="ISO 4217"):
        Price(1, "H800", "rmb", 1)
