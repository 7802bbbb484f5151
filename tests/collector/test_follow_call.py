"""A site's own program or service: told in whole arguments, ended in time, and never believed more than it said."""

from __future__ import annotations

import json
import os
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ullage_collector.isolate import follow_settings
from ullage_collector.isolate.follow_call import Outcome, call_of, run_call
from ullage_collector.isolate.follow_settings import FollowMode, FollowSettings, Hook
from ullage_collector.isolate.verdict import Follow
from ullage_contract.errors import ActuatorError, ConfigError


def program(folder: Path, body: str) -> str:
    path = folder / "reset"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def run(argv: tuple[str, ...], seconds: float = 20.0, **values: Any) -> Any:
    return run_call(call_of(Hook(argv=argv, timeout_seconds=seconds), values))


def test_a_program_gets_whole_arguments_and_its_last_words_are_kept(tmp_path: Path) -> None:
    told = program(tmp_path, 'echo "$#:$1:$2" ; echo done >&2\n')
    ended = run((told, "{node}", "--force"), node="g1; rm -rf /")
    assert (ended.outcome, ended.said) == (Outcome.DONE, "2:g1; rm -rf /:--force done")


def test_a_program_that_says_no_has_failed(tmp_path: Path) -> None:
    ended = run((program(tmp_path, "echo in use by 3 processes; exit 4\n"),))
    assert ended.outcome is Outcome.FAILED
    assert ended.said.endswith("ended with 4: in use by 3 processes")


def test_a_program_that_does_not_end_is_ended_with_its_children_and_nobody_knows(tmp_path: Path) -> None:
    left = tmp_path / "child"
    told = program(tmp_path, f"sleep 300 & echo $! > {left}; wait\n")
    ended = run((told,), seconds=0.5)
    assert ended.outcome is Outcome.UNKNOWN
    child = int(left.read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("its child lives on")


def test_a_program_whose_child_stays_behind_has_still_ended(tmp_path: Path) -> None:
    """A child that inherits the output never keeps the collector waiting."""
    left = tmp_path / "child"
    ended = run((program(tmp_path, f"sleep 60 & echo $! > {left}; exit 0\n"),), seconds=30)
    os.kill(int(left.read_text()), 9)
    assert ended.outcome is Outcome.DONE


def test_a_program_that_is_killed_or_is_not_there(tmp_path: Path) -> None:
    assert run((program(tmp_path, "kill -9 $$\n"),)).outcome is Outcome.UNKNOWN
    assert run((str(tmp_path / "nowhere"),)).outcome is Outcome.NOT_BEGUN


@pytest.mark.parametrize("value", [None, "", "-rf", "--all", "a\nb"])
def test_what_is_not_known_or_looks_like_an_option_is_never_filled_in(value: str | None) -> None:
    with pytest.raises(ActuatorError):
        call_of(Hook(argv=("/bin/reset", "{node}")), {"node": value})


class Service(BaseHTTPRequestHandler):
    status, body = 200, b""
    got: ClassVar[list[tuple[dict[str, Any], str | None]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        Service.got.append((json.loads(self.rfile.read(length)), self.headers.get("Authorization")))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Service.got = []
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/reset"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"", Outcome.DONE),
        (202, b"", Outcome.ACCEPTED),
        (200, b'{"outcome": "failed", "message": "in use"}', Outcome.FAILED),
        (202, b'{"outcome": "done"}', Outcome.DONE),
        (200, b'{"outcome": "perhaps"}', Outcome.UNKNOWN),
        (404, b"", Outcome.NOT_BEGUN),
        (503, b"", Outcome.UNKNOWN),
    ],
)
def test_what_a_service_answers(url: str, status: int, body: bytes, outcome: Outcome) -> None:
    Service.status, Service.body = status, body
    call = call_of(Hook(url=url, token="secret"), {"node": "g1", "card": None})
    assert run_call(call).outcome is outcome
    assert Service.got == [
        ({"schema_version": 1, "action": "follow", "node": "g1", "card": None}, "Bearer secret")
    ]
    assert "secret" not in json.dumps(call.to_json()) and "secret" not in repr(call)


def test_a_service_that_is_not_there_was_not_asked() -> None:
    ended = run_call(call_of(Hook(url="http://127.0.0.1:1/"), {}))
    assert ended.outcome is Outcome.NOT_BEGUN


# ---- settings


def read(text: str) -> FollowSettings:
    return follow_settings.read(tomllib.loads(text), "collector.toml")


def test_a_hook_has_the_tables_mode_and_time_unless_it_says_its_own(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3\n")
    found = read(
        'mode = "automatic"\ntimeout_seconds = 60\n[reset]\ncommand = ["/bin/r", "{node}"]\n'
        f'[replace]\nurl = "https://t.example.com"\ntoken_file = "{token}"\nmode = "approve"\n'
    )
    assert found.hooks == {
        Follow.RESET: Hook(argv=("/bin/r", "{node}"), timeout_seconds=60.0, mode=FollowMode.AUTOMATIC),
        Follow.REPLACE: Hook(
            url="https://t.example.com", token="s3", timeout_seconds=60.0, mode=FollowMode.APPROVE
        ),
    }


def test_nothing_is_run_unless_a_site_says_so() -> None:
    assert read("").hooks == {}
    assert read('[reset]\ncommand = ["/bin/r"]\n').hooks[Follow.RESET].mode is FollowMode.SHADOW


@pytest.mark.parametrize(
    "text",
    [
        '[reset]\ncommand = ["/bin/r", "--node={node}"]\n',
        '[reset]\ncommand = ["/bin/r", "{user}"]\n',
        '[reset]\ncommand = ["{node}"]\n',
        '[reset]\ncommand = ["reset-card"]\n',
        '[reset]\ncommand = "reset {node}"\n',
        '[reset]\ncommand = ["/bin/r"]\nurl = "http://a"\n',
        "[reset]\n",
        '[melt]\ncommand = ["/bin/r"]\n',
        'mode = "yes"\n',
        '[reset]\ncommand = ["/bin/r"]\nshell = true\n',
    ],
)
def test_a_wrong_setting_says_where(text: str) -> None:
    with pytest.raises(ConfigError, match=r"isolation\.follow"):
        read(text)


def test_the_example_shows_the_defaults() -> None:
    root = Path(__file__).parents[2]
    example = tomllib.loads((root / "collector/collector.example.toml").read_text(encoding="utf-8"))
    assert follow_settings.read(example["isolation"]["follow"], "example") == FollowSettings()
    page = (root / "docs/isolation.md").read_text(encoding="utf-8")
    for name in follow_settings.PLACEHOLDERS:
        assert f"`{{{name}}}`" in page
