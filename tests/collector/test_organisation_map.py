"""A map makes departments of rows that have numbers and no paths; what it cannot use is told with its key or row."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.collector.organisation_world import BY_KEY

from ullage_collector.imports.departments import departments_of, json_rows, parse, rows_of
from ullage_collector.organisation import trouble
from ullage_contract.errors import BadInput, ConfigError


def test_ids_are_paths_of_steps_where_the_source_has_numbers_only() -> None:
    rows, dated = departments_of(
        json_rows(
            [
                {"id": 3, "up": 2, "code": "nlp", "title": {"en": "NLP"}, "head": {"mail": "eve@x"}},
                {"id": 1, "up": None, "code": "acme", "title": {"en": "Acme"}},
                {"id": 2, "up": 1, "code": "rd", "title": {"en": "R&D"}},
            ]
        ),
        parse(BY_KEY, "hr.toml"),
    )
    assert not dated
    by_id = {row.department_id: row for _, row in rows}
    assert sorted(by_id) == ["acme", "acme/rd", "acme/rd/nlp"]
    assert by_id["acme/rd/nlp"].parent_id == "acme/rd"
    assert (by_id["acme/rd/nlp"].source_key, by_id["acme/rd/nlp"].owner) == ("3", "eve@x")
    assert trouble(rows) == []


def test_circles_and_orphans_by_key_are_told_with_their_rows() -> None:
    with pytest.raises(BadInput) as refused:
        departments_of(
            json_rows(
                [
                    {"id": 1, "up": 2, "code": "a"},
                    {"id": 2, "up": 1, "code": "b"},
                    {"id": 3, "up": 9, "code": "c"},
                    {"id": 4, "code": "d/e"},
                ]
            ),
            parse(BY_KEY, "hr.toml"),
        )
    for said in (
        "row 1: a circle of parents: 1 below 2 below 1",
        "row 3: the parent '9'",
        "row 4: step 'd/e'",
    ):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[departments]\n", r'write id = "\{path\}"'),
        ('[departments]\nid = "{a"\n', "columns in braces"),
        ('[departments]\nid = "{a}"\nroot = "x"\n', "did you mean roots"),
        ('[departments]\nstep = "{a}"\n', "needs key and parent_key"),
        ('[departments]\nid = "{a}"\nzone = "Mars"\n', "IANA zone"),
        ('[departments]\nid = "{a}"\n[mapping]\n', "no such key"),
        ('[departments]\nid = "{a}"\nparent_key = "{b}"\nfrom = "f"\n', "a parent_key has no time"),
        ('[departments]\nid = "{a}"\n[file]\nencoding = "klingon"\n', "codec"),
    ],
)
def test_a_wrong_map_is_told_with_its_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text, "hr.toml")


def test_a_file_of_another_encoding_and_delimiter_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hr.csv"
    file.write_bytes("id;name\nrd;研发\n".encode("gb18030"))
    spec = parse(
        '[file]\nencoding = "gb18030"\ndelimiter = ";"\n[departments]\nid = "{id}"\nname = "{name}"\n', "m"
    )
    rows, _ = departments_of(rows_of(file, spec), spec)
    assert rows[0][1].name == "研发"
    with pytest.raises(BadInput, match=r"say \[file\] encoding"):
        list(rows_of(file, parse('[departments]\nid = "{id}"\n', "m")))
