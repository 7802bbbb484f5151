"""The commands: JSON alone on stdout, exit codes as written, and a machine without cards is no error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ullage_agent import cli
from ullage_agent.commands.pseudonym import Pseudonyms


def _run(*words: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ullage_agent", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, done.stderr
    return done.stdout


def _json(*words: str) -> Any:
    return json.loads(_run(*words))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text('cluster = "secret-cluster"\nnode = "secret-node-17"\n[sources]\nkernel_log = false\n')
    return file


def test_once_without_cards_shows_the_host_and_why_there_is_none(settings: Path, tmp_path: Path) -> None:
    found = _json("once", "--json", "--config", str(settings), "--data", str(tmp_path))
    assert found["schema_version"] == 1
    assert found["node"]["node_id"] == "secret-node-17"
    assert found["node"]["values"]["memory_total_bytes"] > 0
    assert found["node"]["kernel_version"] == os.uname().release
    if found["makers"]["nvidia"]["present"]:
        pytest.skip("this machine has cards")
    assert found["cards"] == []
    assert "none of these is here" in found["makers"]["nvidia"]["why_not"]
    assert set(found["makers"]["nvidia"]) >= {"present", "why_not", "found", "tried", "children", "message"}
    assert set(found) >= {"ports", "events", "duration_seconds"}


def test_what_is_simulated_says_so_wherever_it_shows(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('node = "n1"\n[sources]\nkernel_log = false\n[backends.simulated]\nenabled = true\n')
    found = _json("once", "--json", "--config", str(file))
    assert found["cards"]
    assert {card["origin"] for card in found["cards"]} == {"simulated"}
    assert found["node"]["origin"] == "real"
    table = _run("once", "--config", str(file)).splitlines()
    shown = [line for line in table if any(str(card.get("model")) in line for card in found["cards"])]
    assert len(shown) >= len(found["cards"])
    assert all("(simulated)" in line for line in shown)


def test_options_may_stand_before_and_after_the_command(settings: Path) -> None:
    before = _json("--config", str(settings), "probe", "--json")
    after = _json("probe", "--json", "--config", str(settings))
    assert before == after
    assert before["node"] == "secret-node-17"


def test_people_get_tables(settings: Path) -> None:
    assert "secret-node-17" in _run("once", "--config", str(settings))
    assert "nvidia" in _run("probe", "--config", str(settings))
    assert (
        "NVIDIA"
        in subprocess.run(
            [sys.executable, "-m", "ullage_agent", "backends"], capture_output=True, text=True, check=False
        ).stdout
    )


def test_usage_settings_and_bad_input_are_two(settings: Path, tmp_path: Path) -> None:
    _run("decode", "acme", str(settings), expect=2)
    _run("once", "--config", str(tmp_path / "absent"), expect=2)
    _run("once", "--tier", "third", expect=2)
    _run(expect=2)
    _run("decode", "nvidia", str(tmp_path / "absent"), expect=2)
    _run("decode", "nvidia", str(settings), expect=2)
    assert _run("--version").startswith("ullage-agent ")


def test_decode_prints_what_a_text_says(tmp_path: Path) -> None:
    text = tmp_path / "smi.csv"
    text.write_text(
        "index, name, uuid, utilization.gpu [%], memory.used [MiB], power.draw [W]\n"
        "0, NVIDIA H100 80GB HBM3, GPU-5a4f1c32-0f1e-4a77-9d2b-0c9d3f6a7b10, 97 %, 1024 MiB, 412.50 W\n"
    )
    found = _json("decode", "nvidia", str(text), "--json")
    assert found["schema_version"] == 1
    assert set(found) == {
        *("schema_version", "maker", "tool", "format", "driver_version", "cards"),
        *("events", "ports", "samples", "extra", "notes"),
    }
    (card,) = found["cards"]
    assert card["values"]["utilization_ratio"] == 0.97
    assert card["values"]["memory_used_bytes"] == 1 << 30
    assert card["values"]["power_watts"] == 412.5
    assert set(card) == {
        *("index", "model", "uuid", "serial", "pci_address", "board_id", "chip", "partition_mode"),
        *("values", "processes", "slices", "extra"),
    }
    assert "97%" in _run("decode", "nvidia", str(text))
    piped = subprocess.run(
        [sys.executable, "-m", "ullage_agent", "decode", "nvidia", "-", "--json"],
        input=text.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(piped.stdout) == found


def test_decode_reads_kernel_logs(tmp_path: Path) -> None:
    log = tmp_path / "dmesg"
    log.write_text(
        "[ 100.5] NVRM: Xid (PCI:0000:9b:00): 79, pid=1234, name=python, GPU has fallen off the bus.\n"
    )
    (event,) = _json("decode", "kernel-log", str(log), "--json")["events"]
    assert (event["kind"], event["code"]) == ("xid", "79")
    assert "79" in _run("decode", "kernel-log", str(log))


def test_a_bundle_hides_who_and_where(settings: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    data = tmp_path / "data"
    (data / "agent").mkdir(parents=True)
    (data / "agent/state.json").write_text(
        '{"node":"secret-node-17","ip":"10.20.30.40","mac":"aa:bb:cc:dd:ee:ff","home":"/home/zhang/x",'
        '"uuid":"GPU-5a4f1c32-0f1e-4a77-9d2b-0c9d3f6a7b10","pci":"0000:3b:00.0","mail":"li@corp.example"}'
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ullage_agent",
            "bundle",
            "--config",
            str(settings),
            "--data",
            str(data),
            "--out",
            str(out),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(out)
    assert done.stderr.index("This bundle will hold") < done.stderr.index("Hidden: ")
    assert out.stat().st_mode & 0o077 == 0
    with tarfile.open(out) as archive:
        names = archive.getnames()
        assert names[0] == "ullage-bundle/CONTENTS.txt"
        texts = {name: archive.extractfile(name).read().decode() for name in names}  # type: ignore[union-attr]
    for private in (
        "secret-node-17",
        "secret-cluster",
        "10.20.30.40",
        "aa:bb:cc:dd:ee:ff",
        "zhang",
        "5a4f1c32",
        "li@corp",
    ):
        assert not [name for name, text in texts.items() if private in text], private
    assert "0000:3b:00.0" in texts["ullage-bundle/state.json"], "a PCI address tells nobody where"
    listed = texts["ullage-bundle/CONTENTS.txt"]
    assert all(name.rpartition("/")[2] in listed for name in names[1:])


def test_pseudonyms_are_stable_and_keyed() -> None:
    one, same, other = Pseudonyms(b"key"), Pseudonyms(b"key"), Pseudonyms(b"other")
    text = (
        "GPU-5a4f1c32-0f1e-4a77-9d2b-0c9d3f6a7b10 at 10.1.2.3, fe80::1ff:fe23:4567:890a, 12:34:56, 535.104.05"
    )
    assert one.scrub(text) == same.scrub(text) != other.scrub(text)
    assert one.scrub(text).endswith(", 12:34:56, 535.104.05"), "times and versions stay"
    assert "fe80" not in one.scrub(text)
    one.hide("host", ["gpu-a017"])
    assert one.scrub("gpu-a017 gpu-a0171") == f"{one.word('host', 'gpu-a017')} gpu-a0171"


def test_the_reader_of_our_output_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        f"{sys.executable} -m ullage_agent backends --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


def test_the_command_is_the_module() -> None:
    assert cli.GOOD == 0
    assert (
        _run("--version")
        == subprocess.run(
            [str(Path(sys.executable).with_name("ullage-agent")), "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
