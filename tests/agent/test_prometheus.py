"""/metrics: the text, held against a golden file, promtool and prometheus_client's own parsers."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from picture import GPU, NODE, everything, fill, lanes, row
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from ullage_agent.outputs.http_door import MAX_REQUESTS, HttpDoor
from ullage_agent.outputs.latest import Latest
from ullage_agent.outputs.prometheus import OPENMETRICS, PLAIN, Exposition, negotiate
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind
from ullage_contract.clock import ManualClock
from ullage_contract.errors import ConfigError
from ullage_contract.sample import Family, Origin, Sample

GOLDEN = Path(__file__).parent.parent / "fixtures/prometheus"


def exposition(latest: Latest) -> Exposition:
    return Exposition(latest, cluster="c1", node=NODE, lanes=lanes)


def series(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in parse_plain(text.decode()):
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found, f"twice: {place}"
            found[place] = sample.value
    return found


def names_of(text: bytes) -> set[str]:
    return {name for name, _ in series(text)}


@pytest.mark.parametrize(("kind", "name"), [(PLAIN, "plain.txt"), (OPENMETRICS, "openmetrics.txt")])
def test_the_text_of_a_fixed_picture_is_the_golden_one(kind: str, name: str) -> None:
    text = exposition(fill(ManualClock())).render(kind)
    if os.environ.get("ULLAGE_WRITE_GOLDEN"):
        (GOLDEN / name).write_bytes(text)
    assert text.decode() == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.prometheus
def test_promtool_finds_nothing_to_say() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool of Debian's prometheus")
    text = exposition(everything(ManualClock())).render()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    # A link's rate is sold in bits, and FEC corrects bits: these two count what they say.
    bits = ("ullage_port_rate_bits_per_second", "ullage_port_rx_corrected_bits_phy_total")
    said = [x for x in done.stderr.decode().splitlines() if x and not x.startswith(bits)]
    assert said == [] and done.returncode in (0, 3)  # 3: it had something to say


def test_every_metric_of_the_catalogue_is_a_series_under_its_catalogue_name() -> None:
    found = names_of(exposition(everything(ManualClock())).render())
    for family in (Family.CARD, Family.SLICE, Family.PORT, Family.NODE):
        for metric in catalogue.keys(family).values():
            suffix = "_total" if metric.kind is Kind.COUNTER else ""
            assert metric.prometheus(family) + suffix in found


def test_both_formats_say_the_same_to_prometheus_clients_parsers() -> None:
    door = exposition(everything(ManualClock()))
    plain = series(door.render(PLAIN))
    text = door.render(OPENMETRICS).decode()
    assert text.endswith("# EOF\n")
    openmetrics = {
        (s.name, tuple(sorted(s.labels.items()))): s.value for f in parse_openmetrics(text) for s in f.samples
    }
    assert openmetrics == plain and len(plain) > 300


def test_what_is_failed_nan_or_of_a_process_is_no_series_and_zero_is_one() -> None:
    found = series(exposition(fill(ManualClock())).render())
    of_gpu = {name for name, labels in found if ("card", GPU) in labels}
    assert "ullage_card_utilization_ratio" in of_gpu
    assert of_gpu.isdisjoint({"ullage_card_temperature_celsius", "ullage_card_fan_ratio"})
    assert not [name for name, _ in found if "process" in name]
    lost = {name for name, labels in found if ("card", "huawei-1-c0") in labels}
    assert lost == {"ullage_card_health", "ullage_card_info"}


def test_labels_are_the_stable_ones_and_simulated_cards_say_so() -> None:
    found = series(exposition(fill(ManualClock())).render())
    labels = {
        dict(labels)["card"]: dict(labels)
        for name, labels in found
        if name == "ullage_card_utilization_ratio"
    }
    assert labels[GPU].keys() == {"cluster", "node", "card", "vendor", "model"}
    assert labels[GPU]["model"] == 'NVIDIA "H100"\\80GB'
    assert labels["SIM-0"]["origin"] == "simulated"
    info = {dict(labels)["card"]: dict(labels) for name, labels in found if name == "ullage_card_info"}
    assert info[GPU]["origin"] == "real" and info["SIM-0"]["origin"] == "simulated"
    assert info[GPU]["driver_version"] == "580.65.06"
    assert "1652722000123" not in str(info), "serial numbers stay out"


def tick(latest: Latest, *rows: Sample, origin: Origin = Origin.REAL) -> None:
    """One whole tick, as the sampler hands it over."""
    latest.samples(rows, origin=origin)
    latest.sources(())


def test_a_value_lives_as_long_as_its_row_and_a_silent_subject_not_even_that() -> None:
    clock = ManualClock()
    latest = fill(clock)
    door = exposition(latest)
    clock.advance(10)
    tick(latest, row(Family.CARD, GPU, {"power_watts": 5.0}))
    found = names_of(door.render())
    assert "ullage_card_power_watts" in found and "ullage_card_ecc_uncorrected_total" in found
    assert "ullage_card_memory_used_bytes" not in found  # a fast tick without it: it is gone
    assert "ullage_port_link_downed_total" not in found  # nobody read the port in this tick
    clock.advance(24)
    assert "ullage_card_power_watts" in names_of(door.render())
    clock.advance(2)
    assert "ullage_card_power_watts" not in names_of(door.render())  # two ticks and a half without a word
    assert "ullage_card_ecc_uncorrected_total" in names_of(door.render())
    clock.advance(115)
    found = names_of(door.render())
    assert not [n for n in found if n.startswith("ullage_card_")]


def test_a_card_that_misses_a_tick_is_absent_and_back_with_its_slow_values() -> None:
    clock = ManualClock()
    latest = fill(clock)
    door = exposition(latest)
    clock.advance(10)
    tick(latest, row(Family.NODE, NODE, {"load1": 1.0}))
    assert not [n for n in names_of(door.render()) if n.startswith("ullage_card_")]
    clock.advance(10)
    tick(latest, row(Family.CARD, GPU, {"power_watts": 5.0}))
    found = names_of(door.render())
    assert {"ullage_card_power_watts", "ullage_card_ecc_uncorrected_total"} <= found


def test_a_tick_in_which_nothing_could_be_read_shows_nothing() -> None:
    clock = ManualClock()
    latest = fill(clock)
    clock.advance(10)
    latest.sources(())  # no samples call at all: there were no rows
    assert not [
        n for n in names_of(exposition(latest).render()) if n.startswith(("ullage_card_", "ullage_port_"))
    ]


def test_half_a_tick_takes_nobody_away() -> None:
    clock = ManualClock()
    latest = fill(clock)
    clock.advance(10)
    latest.samples([row(Family.CARD, GPU, {"power_watts": 5.0})])  # the simulated ones come in the next call
    found = series(exposition(latest).render())
    assert [labels for name, labels in found if ("card", "SIM-0") in labels]


def test_a_failed_slow_reading_takes_the_last_value_away() -> None:
    clock = ManualClock()
    latest = fill(clock)
    clock.advance(60)
    tick(latest, row(Family.CARD, GPU, {"power_watts": 5.0}, 60.0, failed={"ecc_uncorrected": "broken"}))
    found = names_of(exposition(latest).render())
    assert "ullage_card_power_watts" in found and "ullage_card_ecc_uncorrected_total" not in found


def test_what_is_gone_for_good_is_forgotten() -> None:
    clock = ManualClock()
    latest = fill(clock)
    clock.advance(1_000)
    tick(latest, row(Family.NODE, NODE, {"load1": 1.0}))
    assert len(latest._subjects) == 1


def test_a_clock_that_jumps_changes_nothing() -> None:
    clock = ManualClock()
    latest = fill(clock)
    before = exposition(latest).render()
    clock.step_wall(-86_400.0)
    assert exposition(latest).render() == before


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", PLAIN),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;q=0", PLAIN),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: str | None, kind: str) -> None:
    assert negotiate(accept) == kind


# ---- the server


@pytest.fixture
def door() -> Iterator[HttpDoor]:
    made = HttpDoor(exposition(fill(ManualClock())), listen=("127.0.0.1", 0))
    made.start()
    yield made
    made.close()


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    finally:
        connection.close()


def test_metrics_are_served_in_the_format_asked_for(door: HttpDoor) -> None:
    status, kind, text = get(door.port, "/metrics")
    assert (status, kind) == (200, PLAIN) and b"ullage_card_power_watts" in text
    status, kind, text = get(door.port, "/metrics?x=1", Accept="application/openmetrics-text")
    assert (status, kind) == (200, OPENMETRICS) and text.endswith(b"# EOF\n")
    assert get(door.port, "/metrics", "HEAD")[2] == b""


def test_health_is_the_agents_own_word() -> None:
    well = [True]
    latest = fill(ManualClock())
    made = HttpDoor(exposition(latest), listen=("127.0.0.1", 0), health=lambda: (well[0], "three ticks late"))
    made.start()
    try:
        assert get(made.port, "/healthz")[0] == 200
        well[0] = False
        assert get(made.port, "/healthz")[::2] == (503, b"three ticks late\n")
    finally:
        made.close()


def test_nothing_else_is_served(door: HttpDoor) -> None:
    assert get(door.port, "/")[0] == 404
    assert get(door.port, "/../../etc/passwd")[0] == 404
    assert get(door.port, "/metrics", "POST")[0] == 501


def test_idle_connections_do_not_keep_scrapes_out_for_long_and_are_bounded(door: HttpDoor) -> None:
    idle = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(MAX_REQUESTS)]
    try:
        deadline = time.monotonic() + 10
        while (status := get(door.port, "/metrics")[0]) != 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert status == 503  # at once, not after a wait
    finally:
        for one in idle:
            one.close()
    while (status := get(door.port, "/metrics")[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status == 200


def test_many_scrapes_at_once_all_get_whole_texts(door: HttpDoor) -> None:
    found: list[tuple[int, int]] = []

    def scrape() -> None:
        for _ in range(20):
            status, _, text = get(door.port, "/metrics")
            found.append((status, len(text)))

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and len(set(found)) == 1 and found[0][0] == 200


def test_a_taken_port_is_a_configuration_error_that_names_it(door: HttpDoor) -> None:
    with pytest.raises(ConfigError, match=str(door.port)):
        HttpDoor(exposition(fill(ManualClock())), listen=("127.0.0.1", door.port))


def test_close_ends_the_thread_and_frees_the_port() -> None:
    made = HttpDoor(exposition(fill(ManualClock())), listen=("127.0.0.1", 0))
    made.start()
    made.close()
    assert made._thread is not None and not made._thread.is_alive()
    HttpDoor(exposition(fill(ManualClock())), listen=("127.0.0.1", made.port)).close()


@pytest.mark.prometheus
def test_a_real_prometheus_scrapes_it(tmp_path: Path, door: HttpDoor) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("needs Debian's prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "p.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: ullage\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{door.port}']\n"
    )
    process = subprocess.Popen(
        ["prometheus", f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/db",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 30
        text = b""
        while time.monotonic() < end and GPU.encode() not in text:
            time.sleep(0.2)
            try:
                text = get(port, "/api/v1/query?query=ullage_card_power_watts")[2]
            except OSError:
                continue
        assert b'"612.5"' in text and GPU.encode() in text
        assert b'"1"]' in get(port, "/api/v1/query?query=up")[2]
    finally:
        process.kill()
        process.wait()
