"""Isolate and release: a plan first, a dry run by default, an audit row for every step, others' drains untouched."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from ullage_collector.isolate import command, slurm_node, webhook
from ullage_collector.isolate.isolation import Isolation
from ullage_collector.sql import migrations
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ActuatorError, BadInput, ConfigError


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for _, _, text in migrations():
            connection.execute(text)
        connection.execute(
            "INSERT INTO node (node_key, cluster_id, node_id, origin) VALUES (1, 'c', 'g1', 'real')"
        )
        for i in range(4):
            connection.execute(
                "INSERT INTO card (card_key, card_id, node_key, vendor, model, card_index, minor, origin) "
                "VALUES (?, ?, 1, 'nvidia', 'H800', ?, ?, 'real')",
                [10 + i, f"GPU-{i}", i, i],
            )
        connection.execute(
            "INSERT INTO workload (workload_key, workload_id, kind, cluster_id, origin) "
            "VALUES (5, 'slurm/c/77', 'slurm_job', 'c', 'real')"
        )
        connection.execute(
            "INSERT INTO allocation (allocation_id, workload_key, card_key, node_key, share_nano, valid_from, "
            "known_from, source) VALUES (1, 5, 12, 1, 1000000000, '2020-01-01', '2020-01-01', 'test')"
        )
        yield connection


class Scheduler:
    """A stand-in for scontrol and sinfo: real programs that keep the node's reason in a file."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        self.reason_file = folder / "reason"
        self.calls_file.touch()
        self.reason_file.write_text("none")
        self.scontrol = self._program(
            folder / "scontrol",
            f'echo "$@" >> {self.calls_file}\n'
            f"[ -e {folder}/refuse ] && echo 'Invalid user id' >&2 && exit 1\n"
            f'for a in "$@"; do case "$a" in reason=*) printf "%s" "${{a#reason=}}" > {self.reason_file};; '
            f"state=resume) printf none > {self.reason_file};; esac; done\n",
        )
        self.sinfo = self._program(
            folder / "sinfo", f'printf "g1|drained|%s|%s\\n" "$(id -un)" "$(cat {self.reason_file})"\n'
        )
        self.refuse = folder / "refuse"

    def _program(self, path: Path, body: str) -> str:
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def scheduler(tmp_path: Path) -> Scheduler:
    return Scheduler(tmp_path)


@pytest.fixture
def isolation(store: duckdb.DuckDBPyConnection, scheduler: Scheduler) -> Isolation:
    slurm = slurm_node.actuator({"scontrol": scheduler.scontrol, "sinfo": scheduler.sinfo})
    return Isolation(store.cursor, {"slurm-node": slurm}, ManualClock())


def audit_rows(store: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return store.execute("SELECT action, result FROM audit ORDER BY audit_id").fetchall()


def test_a_dry_run_calls_nothing_and_says_what_else_it_takes(
    isolation: Isolation, scheduler: Scheduler, store: duckdb.DuckDBPyConnection
) -> None:
    outcome = isolation.isolate("GPU-1", reason="xid 79", actor="ada")
    assert not outcome.executed
    assert outcome.calls == (
        f"{scheduler.scontrol} update nodename=g1 state=drain 'reason=ullage:GPU-1 xid 79'",
    )
    assert outcome.also.cards == ("GPU-0", "GPU-2", "GPU-3")
    assert outcome.also.workloads == ("slurm/c/77",)
    assert scheduler.calls() == []
    assert audit_rows(store) == [("isolate", "dry run: nothing was called")]
    assert store.execute("SELECT count(*) FROM isolation").fetchone() == (0,)


def test_isolate_then_release_leaves_the_node_as_it_was(
    isolation: Isolation, scheduler: Scheduler, store: duckdb.DuckDBPyConnection
) -> None:
    assert isolation.isolate("g1/1", reason="xid 79", actor="ada", execute_calls=True).executed
    assert scheduler.reason_file.read_text() == "ullage:GPU-1 xid 79"
    with pytest.raises(BadInput, match="isolated already"):
        isolation.isolate("GPU-1", reason="again", actor="ada", execute_calls=True)
    assert isolation.release("GPU-1", reason="replaced", actor="bob", execute_calls=True).executed
    assert scheduler.calls()[-1] == "update nodename=g1 state=resume"
    assert store.execute("SELECT released_by FROM isolation").fetchall() == [("bob",)]
    actions = [action for action, _ in audit_rows(store)]
    assert actions == ["isolate", "isolate", "release"]


def test_a_drain_a_person_placed_is_left_alone(isolation: Isolation, scheduler: Scheduler) -> None:
    isolation.isolate("GPU-1", reason="xid 79", actor="ada", execute_calls=True)
    scheduler.reason_file.write_text("maintenance by root")
    with pytest.raises(ActuatorError, match="another reason"):
        isolation.release("GPU-1", reason="done", actor="ada", execute_calls=True)
    assert not any("resume" in call for call in scheduler.calls())


def test_the_node_stays_isolated_while_another_of_its_cards_is(
    isolation: Isolation, scheduler: Scheduler
) -> None:
    isolation.isolate("GPU-1", reason="a", actor="ada", execute_calls=True)
    isolation.isolate("GPU-2", reason="b", actor="ada", execute_calls=True)
    outcome = isolation.release("GPU-2", reason="ok", actor="ada", execute_calls=True)
    assert outcome.calls == ()
    assert "GPU-1" in outcome.notes[0]


def test_a_refusal_is_told_and_leaves_nothing_standing(
    isolation: Isolation, scheduler: Scheduler, store: duckdb.DuckDBPyConnection
) -> None:
    scheduler.refuse.touch()
    with pytest.raises(ActuatorError, match="Invalid user id"):
        isolation.isolate("GPU-1", reason="a", actor="ada", execute_calls=True)
    assert store.execute("SELECT released_by FROM isolation").fetchall() == [("failed",)]
    assert audit_rows(store)[-1][1].startswith("failed")


def test_an_unknown_card_and_an_empty_reason_are_refused(isolation: Isolation) -> None:
    with pytest.raises(BadInput, match="no card or node"):
        isolation.isolate("GPU-9", reason="x", actor="ada")
    with pytest.raises(BadInput, match="give a reason"):
        isolation.isolate("GPU-1", reason=" \n\t", actor="ada")


def test_a_reason_is_one_argument_whatever_it_holds(isolation: Isolation, scheduler: Scheduler) -> None:
    isolation.isolate("GPU-1", reason="x; rm -rf $HOME `id`\nstate=resume", actor="ada", execute_calls=True)
    assert scheduler.reason_file.read_text() == "ullage:GPU-1 x; rm -rf $HOME `id` state=resume"
    assert len(scheduler.calls()) == 1


def test_a_sites_command_gets_the_target_as_arguments(store: duckdb.DuckDBPyConnection) -> None:
    site = command.actuator({"isolate": ["fence", "{node_id}", "{minor}"], "release": ["free", "{marker}"]})
    isolation = Isolation(store.cursor, {"command": site}, ManualClock(), default_actuator="command")
    assert isolation.isolate("GPU-3", reason="x", actor="ada").calls == ("fence g1 3",)
    with pytest.raises(ConfigError, match="placeholder"):
        command.actuator({"isolate": ["fence", "{password}"]})
    with pytest.raises(ConfigError, match="list of texts"):
        command.actuator({"isolate": "fence {node_id}"})


def test_a_webhooks_token_is_never_shown(store: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    hook = webhook.actuator({"url": "http://127.0.0.1:9/x", "token_file": str(token)})
    isolation = Isolation(store.cursor, {"webhook": hook}, ManualClock(), default_actuator="webhook")
    with pytest.raises(ActuatorError, match="failed"):
        isolation.isolate("GPU-1", reason="x", actor="ada", execute_calls=True)
    assert "s3cret" not in repr(hook)
    written = json.dumps(store.execute("SELECT * FROM audit").fetchall(), default=str)
    assert "s3cret" not in written
    assert "127.0.0.1:9/x" in written
