"""What somebody who does not know the commands gets wrong first: the answer names the thing and the next step, exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ullage_agent import cli as agent_cli
from ullage_collector import cli as collector_cli
from ullage_reports import arguments as report_arguments
from ullage_reports import cli as report_cli

agent, collector, report = agent_cli.main, collector_cli.main, report_cli.main

MISTAKES: list[tuple[Callable[[list[str]], int], str, str]] = [
    (agent, "once --config nope.toml", "nope.toml: no such file"),
    (agent, "once --config unknown.toml", "lisen"),
    (agent, "decode nope nope.txt", "no maker is called 'nope'"),
    (agent, "decode nvidia nope.txt", "nope.txt: cannot be read: No such file"),
    (agent, "inject nope", "nope: cannot be read: No such file or directory; give the file of a scenario"),
    (agent, "bundle --out bad.csv/x.tgz", "bad.csv/x.tgz: cannot be written: Not a directory; give another"),
    (collector, "serve --config nope.toml", "nope.toml: no such file"),
    (collector, "serve --config unknown.toml", "did you mean listen?"),
    (
        collector,
        "serve --data bad.csv",
        "bad.csv/collector: Not a directory; give another place with --data DIR",
    ),
    (collector, "token n1 --data bad.csv/x", "Not a directory; give another place with --data DIR"),
    (collector, "publish --data bad.csv", "Not a directory; give another place with --data DIR"),
    (collector, "publish --day 2099-01-01", "2099-01-01 has not begun"),
    (collector, "import inventory", "name the FILE"),
    (collector, "import inventory nope.csv", "nope.csv: no such file; name the inventory to import"),
    (collector, "import inventory bad.csv", "bad.csv has no column 'node_id'; it has a, b"),
    (collector, "import inventory bad.csv --map nope", "nope: no such file, and no shipped map; there are"),
    (collector, "import prices unknown.toml", "unknown.toml"),
    (collector, "close --from 2026-10-01 --to 2026-09-01 --zone UTC --reason x", "not after --from"),
    (collector, "close --from 2026-10-01 --to 2026-11-01 --zone Mars --reason x", "'Mars' is not known"),
    (collector, "mapping explain nope", "no workload 'nope'"),
    (collector, "quota sprint", "quota sprint needs POOL"),
    (collector, "faults explain xid_fallen_off_bus", "did you mean xid_fallen_off_the_bus"),
    (collector, "faults list --mode nope", "--mode 'nope' is none of shadow, advise, approve, automatic"),
    (collector, "faults list --maker nope", "--maker 'nope' is none of"),
    (collector, "faults test nope.jsonl", "nope.jsonl: cannot be read: No such file or directory\n"),
    (collector, "fragmentation --nodes nope.csv --tasks nope.csv", "nope.csv: cannot be read"),
    (collector, "isolate GPU-9 --reason x", "'GPU-9' is no card or node that Ullage knows"),
    (collector, "release GPU-9 --reason x", "'GPU-9' is no card or node that Ullage knows"),
    (collector, "approve 7", "incident 7: nothing to decide"),
    (collector, "isolations", "no collector answers there; start ullage-collector serve"),
    (collector, "inventory history", "name a card_id, a serial or an asset_id"),
    (collector, "inventory history nope", "'nope' is not listed"),
    (collector, "topology show --node nope", "no source says anything of node 'nope'"),
    (collector, "topology check --at x", "'x' is neither epoch seconds nor ISO 8601"),
    (collector, "versions --of nope", "nothing is known of 'nope'"),
    (collector, "maintenance plan n1", "when the window is planned to end (--to), e.g."),
    (collector, "maintenance end 7", "no window 7"),
    (collector, "incidents cost --from x", "from: 'x' is no time, e.g."),
    (collector, "incidents cost --incident 7", "no incident 7"),
    (
        collector,
        "audit verify nope.jsonl",
        "nope.jsonl: cannot be read: No such file or directory; name what",
    ),
    (collector, "notify test nope", "no [[notify]] is named 'nope'"),
    (collector, "backup --out bad.csv/x", "bad.csv/x: cannot be made: Not a directory; give another place"),
    (report, "daily --date yesterday", "'yesterday' is no such period; write e.g. --date 2026-11-20"),
    (report, "daily --date 2099-01-01", "--date 2099-01-01 has not begun"),
    (report, "weekly --week 2026-46", "'2026-46' is no such period; write e.g. --week 2026-W47"),
    (report, "weekly --week 2026-W46 --data nope", "nope: no such folder; name the collector's data with"),
    (
        report,
        "weekly --week 2026-W46 --data . --out bad.csv/x",
        "name a folder that can be written with --out",
    ),
    (report, "weekly --week 2026-W46 --data . --zone Mars", "'Mars' is no IANA time zone"),
    (report, "weekly --week 2026-W46 --data . --currency RMBX", "'RMBX' is no ISO 4217 code"),
    (report, "weekly --week 2026-W46 --data . --format docx", "'docx' is not known; choose from html"),
    (report, "settle nope.json", "nope.json: cannot be read: No such file"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "unknown.toml").write_text('[lisen]\naddress = "x"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("command", "words", "said"), MISTAKES, ids=[words for _, words, _ in MISTAKES])
def test_a_first_mistake_is_named_with_exit_code_2(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], int],
    words: str,
    said: str,
) -> None:
    """An OSError or any other exception that comes out of main fails here: it would be a traceback."""
    data = [] if "--data" in words else ["--data", str(folder / "data" if command is not report else folder)]
    assert command([*words.split(), *data]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


@pytest.mark.parametrize(
    ("command", "words", "usage"),
    [
        (agent, "once --format xml", "usage: ullage-agent once"),
        (collector, "versions nope", "usage: ullage-collector versions"),
        (collector, "faults list nope", "usage: ullage-collector faults list"),
        (report, "daily --date 2026-11-01 nope", "usage: ullage-report daily"),
    ],
)
def test_a_word_too_many_is_told_with_the_usage_of_its_own_command(
    capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int], words: str, usage: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(words.split())
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(usage)
    assert "unrecognized arguments: " in err


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from every_parser(below)


def test_every_command_and_argument_says_what_it_is_for() -> None:
    """In the help of each command, also of those below a command."""
    mute = []
    for top in (
        agent_cli._parser(),
        collector_cli._parser(list(collector_cli._DOORS)),
        report_arguments.parser(),
    ):
        for parser in every_parser(top):
            mute += [] if parser.description else [parser.prog]
            mute += [
                f"{parser.prog} {' '.join(action.option_strings) or action.dest}"
                for action in parser._actions
                if not action.help and not isinstance(action, argparse._SubParsersAction)
            ]
    assert mute == []


@pytest.mark.parametrize(
    "words",
    ["--data DATA quota show", "quota --data DATA show", "quota show --data DATA", "quota show --log-level error --data DATA"],
)  # fmt: skip
def test_common_options_stand_before_or_after_any_word(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert collector(words.replace("DATA", str(folder / "here")).split()) == 0
    assert (folder / "here/collector/store.duckdb").exists()
