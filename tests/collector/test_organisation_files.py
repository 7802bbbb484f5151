"""A file of departments is the tree; a re-organisation is a dated fact; a broken tree changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.organisation_world import TREE, Import, kept, own_root_handlers, paths, taking

from ullage_collector.cli import main
from ullage_collector.organisation import Department
from ullage_collector.ownership.history import since
from ullage_collector.ownership.reading import us


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    yield from own_root_handlers()


@pytest.fixture
def take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    return taking(tmp_path, capsys)


def test_a_file_is_the_tree_and_the_same_again_changes_nothing(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    code, said = take(file)
    assert (code, said["rows_added"], said["rows_ended"]) == (0, 3, 0)
    code, said = take(file)
    assert (code, said["rows_added"], said["rows_ended"], said["imported_before"]) == (0, 0, 0, True)
    tree = kept(tmp_path / "data").tree(0)
    head = tree.departments["rd"]
    assert (head.name, head.owner, head.deputy, head.cost_center, head.source_key) == (
        "R&D",
        "ada",
        "bob",
        "100",
        "k0",
    )
    assert head.source == "import:hr.csv"
    assert tree.place("rd/nlp").path == ("rd", "rd/nlp")


def test_a_reorganisation_closes_what_changed_at_its_date_and_opens_the_new(
    tmp_path: Path, take: Import
) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    take(file)
    file.write_text(TREE.replace("rd/nlp,NLP", "rd/cv/nlp,NLP"))
    code, said = take(file, "--from", "2026-10-01T00:00:00Z")
    assert (code, said["rows_ended"], said["rows_added"]) == (0, 1, 2), "the old one ends, the new one begins"
    found = kept(tmp_path / "data")
    assert paths(found, "2026-09-30T23:59:59") == ["rd", "rd > rd/cv", "rd > rd/nlp"]
    assert paths(found, "2026-10-01") == ["rd", "rd > rd/cv", "rd > rd/cv > rd/cv/nlp"]
    before = found.place(
        "rd/nlp", us(datetime(2026, 9, 1, tzinfo=UTC)), us(datetime(2026, 11, 1, tzinfo=UTC))
    )
    assert before.path == ("rd", "rd/cv", "rd/cv/nlp"), "its stable id is still the same"


def test_a_reorganisation_told_late_goes_before_the_one_that_followed(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    head = "id,name\nrd,R&D\n"
    for date, rest in (
        ("2026-01-01", "rd/a,A\n"),
        ("2026-10-01", "rd/c,C\n"),
        ("2026-05-01", "rd/b,B\n"),
    ):
        file.write_text(head + rest)
        assert take(file, "--from", date)[0] == 0
    found = kept(tmp_path / "data")
    for at, name in (("2026-02-01", "a"), ("2026-06-01", "b"), ("2026-11-01", "c")):
        assert paths(found, at) == ["rd", f"rd > rd/{name}"]
    assert len([row for row in found.believed() if row.department_id == "rd"]) == 1, (
        "what never changed is one row"
    )


def test_dates_in_the_file_are_its_whole_history_by_local_midnights(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(
        "id,name,from,to\nrd,R&D,2026-01-01,\nrd/nlp,NLP,2026-01-01,2026-10-01\nrd/ai,AI,2026-10-01,\n"
    )
    zone = tmp_path / "map.toml"
    zone.write_text(
        '[departments]\nid = "{id}"\nname = "{name}"\nfrom = "from"\nto = "to"\nzone = "Asia/Shanghai"\n'
    )
    assert take(file, "--map", zone)[0] == 0
    found = kept(tmp_path / "data")
    assert paths(found, "2026-09-30T15:59:59") == ["rd", "rd > rd/nlp"]
    assert paths(found, "2026-09-30T16:00:00") == ["rd", "rd > rd/ai"]
    code, _ = take(file, "--map", zone, "--from", "2026-11-01")
    assert code == 2


def test_what_was_believed_is_kept_and_can_be_asked_for(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    take(file)
    before = us(datetime.now(UTC))
    file.write_text(TREE.replace("eve", "mallory"))
    take(file)
    found = kept(tmp_path / "data")
    assert found.tree(0, before).departments["rd/nlp"].owner == "eve"
    assert found.tree(0).departments["rd/nlp"].owner == "mallory"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\nrd,R\nrd/x/y,Y\n", "row 2: the parent 'rd/x' of 'rd/x/y' is not there"),
        ("id,name\nrd,R\nsales,S\n", "2 roots at one time ('rd' in row 1, 'sales' in row 2)"),
        ("id,name\nrd,R\nrd,Again\n", "row 1 and row 2: id 'rd' twice"),
        ("id,name,parent\na,A,b\nb,B,a\n", "row 1, row 2: a circle"),
        ("id,name,key\nrd,R,1\nrd/a,A,1\n", "row 1 and row 2: key '1' twice"),
        ("id,name\n,R\n", "row 1: no id"),
        ("id,name\nplatform,R\n", "is Ullage's own"),
        ("id,name\nrd//x,R\n", "is no path"),
        ("id,name,from,to\nrd,R,2026-02-01,2026-01-01\n", "ends before it begins"),
        ("id,name,from\nrd,R,soon\n", "from 'soon' is no time"),
        ("id,name\n", "there is no department in it"),
        ("id,name\nrd\n", "row 1 has not as many fields"),
    ],
)
def test_a_tree_that_does_not_hold_together_is_refused_whole_and_names_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    command = ["--data", str(tmp_path / "data"), "import", "departments", str(file)]
    assert main(command) == 0
    capsys.readouterr()
    file.write_text(text)
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, said in err) == ("", True), err
    assert len(kept(tmp_path / "data").believed()) == 3


def test_many_roots_are_taken_where_the_map_says_so(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text("id,name\nrd,R\nsales,S\n")
    spec = tmp_path / "map.toml"
    spec.write_text('[departments]\nid = "{id}"\nname = "{name}"\nroots = "many"\n')
    assert take(file, "--map", spec)[0] == 0


def test_another_source_may_hang_its_departments_below_and_hears_when_the_parent_goes(
    tmp_path: Path, take: Import
) -> None:
    hr, lab = tmp_path / "hr.csv", tmp_path / "lab.csv"
    hr.write_text(TREE)
    lab.write_text("id,name\nrd/cv/lab,Lab\n")
    take(hr)
    assert take(lab)[0] == 0
    hr.write_text("id,name,key\nrd,R&D,k0\n")
    _, said = take(hr, "--from", "2026-10-01")
    assert said["warnings"] == [
        "'rd/cv/lab' of import:lab.csv: its parent 'rd/cv' is not in the organisation"
    ]


def test_a_department_of_a_mapping_file_is_taken_over(tmp_path: Path, take: Import, capsys: Any) -> None:
    rules = tmp_path / "mapping.toml"
    rules.write_text('[[department]]\nid = "rd"\nname = "old"\ndeputy = "bob"\nkey = "k"\n')
    assert main(["--data", str(tmp_path / "data"), "import", "mapping", str(rules)]) == 0
    capsys.readouterr()
    assert kept(tmp_path / "data").tree(0).departments["rd"].deputy == "bob"
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    assert take(file, "--from", "2026-10-01")[0] == 0
    found = kept(tmp_path / "data")
    assert found.tree(0).departments["rd"].name == "old"
    assert found.tree(us(datetime(2026, 10, 2, tzinfo=UTC))).departments["rd"].name == "R&D"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sets(st.sampled_from("abcd")), st.sampled_from("xy")),
        min_size=1,
        max_size=6,
    )
)
def test_after_any_order_of_statements_each_instant_is_as_the_newest_about_it_says(
    told: Sequence[tuple[int, set[str], str]],
) -> None:
    """A statement from t on holds until the next instant at which something was said to change."""
    believed: list[Department] = []
    expected: dict[int, dict[str, str]] = {at: {} for at in range(60)}
    for at, names, owner in told:
        edges = {row.valid_from_us for row in believed} | {
            row.valid_to_us for row in believed if row.valid_to_us is not None
        }
        until = min((edge for edge in edges if edge > at), default=60)
        rows = [Department(name, name, owner=owner) for name in names]
        believed = since(rows, believed, "import:s", at)
        for instant in range(at, min(until, 60)):
            expected[instant] = dict.fromkeys(names, owner)
        for instant in range(60):
            there = {row.department_id: row.owner for row in believed if row.valid(instant)}
            assert there == expected[instant]
            assert len([row for row in believed if row.valid(instant)]) == len(there)
