"""The import command alone and through a running collector; a Prometheus that answers; the real traces."""

from __future__ import annotations

import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ullage_collector.cli import main
from ullage_collector.config import Store as StoreSettings
from ullage_collector.store.store import Store

SHARED = Path(os.environ.get("ULLAGE_SHARED", Path(__file__).parents[3] / "shared"))
TRACES = SHARED / "traces"
needs_traces = pytest.mark.skipif(
    not TRACES.is_dir(),
    reason=f"no real traces in {TRACES}: set ULLAGE_SHARED to the folder that holds traces/",
)


@pytest.fixture(autouse=True)
def _root_handlers():
    """The command logs to the stderr of its test: give the root logger its own handlers back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


def run(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main(["--data", str(data), *arguments])
    return code, json.loads(capsys.readouterr().out)


def rows(data: Path, sql: str) -> list[tuple]:
    store = Store.open(data / "collector" / "store.duckdb", StoreSettings(threads=1))
    try:
        return store.reader().execute(sql).fetchall()
    finally:
        store.close()


def test_a_partial_import_is_exit_code_3_and_json_stands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "time,node_id,card_id,vendor,model,power_watts\n2026-10-21 12:00,n1,G1,nvidia,H800,300\n2026-10-21 12:01,n1,G1,nvidia,H800,hot\n"
    )
    code, said = run(tmp_path / "data", capsys, "import", "telemetry", str(path))
    assert code == 3
    assert said["schema_version"] == 1
    (report,) = said["imports"]
    assert (report["rows_added"], report["rows_refused"]) == (1, 1)
    assert report["refusals"][0]["row"] == 2
    path.write_text(path.read_text().replace("hot", "300"))
    code, said = run(tmp_path / "data", capsys, "import", "telemetry", str(path))
    assert (code, said["imports"][0]["rows_added"], said["imports"][0]["rows_present"]) == (0, 1, 1)
    code, said = run(tmp_path / "data", capsys, "import", "telemetry", str(path))
    assert (code, said["imports"][0]["imported_before"]) == (0, True)


def test_a_wrong_map_and_an_absent_file_are_usage_errors_and_make_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path / "d"), "import", "telemetry", "x.csv", "--map", "nowhere.toml"]) == 2
    assert "shipped map" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "d"), "import", "telemetry", str(tmp_path / "x.csv")]) == 2
    assert "no such file; name the telemetry to import" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


class Prometheus(BaseHTTPRequestHandler):
    """Answers query_range as Prometheus does, for two cards; the first answer is a 503."""

    asked: list[str]
    failures: int

    def do_GET(self) -> None:
        query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
        server = self.server
        server.asked.append(query["query"])  # type: ignore[attr-defined]
        if server.failures:  # type: ignore[attr-defined]
            server.failures -= 1  # type: ignore[attr-defined]
            self.send_error(503)
            return
        start, end, step = float(query["start"]), float(query["end"]), float(query["step"])
        result = []
        for card in ("GPU-a", "GPU-b"):
            samples = []
            at = start
            while at <= end:
                value = "NaN" if card == "GPU-b" and int(at) % 120 else "50"
                samples.append([at, value])
                at += step
            result.append(
                {"metric": {"UUID": card, "Hostname": "n1", "modelName": "H800"}, "values": samples}
            )
        if "POWER" in query["query"]:
            result = result[:1]
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_prometheus_gives_its_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    server.asked, server.failures = [], 1  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        map_file = tmp_path / "p.toml"
        map_file.write_text(
            '[prometheus]\nnode = "{Hostname}"\nsubject = "{UUID}"\nvendor = "nvidia"\nmodel = "{modelName}"\n'
            '[prometheus.metrics]\nutilization_ratio = { query = "DCGM_FI_DEV_GPU_UTIL", factor = 0.01 }\npower_watts = "DCGM_FI_DEV_POWER_USAGE"\n'
        )
        arguments = ["import", "prometheus", "--url", f"http://127.0.0.1:{server.server_port}", "--map", str(map_file),
                     "--from", "2026-10-21T00:00:00Z", "--to", "2026-10-21T08:00:00Z"]  # fmt: skip
        code, said = run(tmp_path / "data", capsys, *arguments)
        assert code == 0
        assert len(said["imports"]) == 2  # two windows of six hours
        assert len(server.asked) == 5  # type: ignore[attr-defined]
        found = rows(
            tmp_path / "data",
            "SELECT card_id, count(*), count(utilization_ratio), count(power_watts) FROM card_minute JOIN card USING (card_key) GROUP BY 1 ORDER BY 1",
        )
        assert found == [("GPU-a", 480, 480, 480), ("GPU-b", 240, 240, 0)]
        code, said = run(tmp_path / "data", capsys, *arguments)
        assert sum(r["rows_added"] for r in said["imports"]) == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_prometheus_that_refuses_is_told_by_its_query(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--data", str(tmp_path), "import", "prometheus", "--url", "ftp://x", "--map", "dcgm_exporter",
                 "--from", "2026-10-21T00:00:00Z", "--to", "2026-10-22T00:00:00Z"])  # fmt: skip
    assert code == 2
    assert "http://" in capsys.readouterr().err


@needs_traces
def test_a_trace_of_serving_pods_gives_76_workloads_with_their_hours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = TRACES / "genai_pods.parquet"
    code, said = run(tmp_path, capsys, "import", "telemetry", str(file), "--map", "genai_pods")
    assert code == 0
    assert [r["kind"] for r in said["imports"]] == ["inventory", "allocations", "telemetry"]
    assert [r["rows_added"] for r in said["imports"]] == [76, 76, 84_372]
    assert rows(
        tmp_path, "SELECT count(*), count(*) FILTER (utilization_ratio IS NULL) FROM card_minute"
    ) == [(84_372, 1_723)]
    held, seen = rows(
        tmp_path,
        "SELECT (SELECT sum(epoch(valid_to - valid_from)) FROM allocation), (SELECT sum(covered_seconds) FROM card_hour)",
    )[0]
    assert seen == 84_372 * 60
    assert held >= seen
    code, said = run(tmp_path, capsys, "import", "telemetry", str(file), "--map", "genai_pods", "--again")
    assert [r["rows_added"] for r in said["imports"]] == [0, 0, 0]
    code, done = run(tmp_path, capsys, "publish")
    assert code == 0
    assert [d["day"] for d in done["facts"]] == ["2022-09-11", "2022-09-12"]
    by_state = dict(
        rows(
            tmp_path,
            "SELECT state, sum(share_nano::DOUBLE * (to_us - from_us)) / 3.6e18 FROM segment GROUP BY 1",
        )
    )
    assert sum(by_state.values()) == pytest.approx(held / 3600)
    assert by_state["used"] > 0
    assert by_state["allocated_idle"] > 0
    assert rows(tmp_path, "SELECT count(DISTINCT workload_key) FROM segment") == [(76,)]


@needs_traces
def test_a_trace_of_a_gpu_cluster_gives_its_cards_and_places_its_pods(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, nodes = run(
        tmp_path,
        capsys,
        "import",
        "inventory",
        str(TRACES / "openb_node_list_gpu_node.csv"),
        "--map",
        "openb_nodes",
    )
    assert nodes["imports"][0]["rows_added"] == 6_212
    _, pods = run(
        tmp_path,
        capsys,
        "import",
        "allocations",
        str(TRACES / "openb_pod_list_default.csv"),
        "--map",
        "openb_pods",
    )
    assert pods["imports"][0]["notes"] == {"unplaced": 0, "workloads": 6_203}
    overfull = rows(
        tmp_path,
        "WITH edge AS (SELECT card_key, valid_from AS instant, share_nano AS s FROM allocation UNION ALL "
        "SELECT card_key, valid_to, -share_nano FROM allocation) "
        "SELECT max(held) FROM (SELECT sum(s) OVER (PARTITION BY card_key ORDER BY instant, s) AS held FROM edge)",
    )
    assert overfull[0][0] <= 10**9


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["topology", "x", "--format", "kueue"], "of another kind; write one of csv, slurm-conf"),
        (["quotas", "x", "--format", "lldp-json"], "of another kind; write one of kueue, volcano"),
        (["prices", "x", "--format", "csv"], "prices takes no --format; it is for topology, quotas"),
        (["prices", "x", "--cluster", "c"], "prices takes no --cluster; it is for slurm, topology, quotas"),
    ],
)
def test_an_option_of_another_kind_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], why: str
) -> None:
    assert main(["--data", str(tmp_path), "import", *argv]) == 2
    assert why in capsys.readouterr().err


def test_a_form_nobody_has_is_refused_before_anything_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "import", "topology", "x", "--format", "png"])
    assert "lldp-json" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
