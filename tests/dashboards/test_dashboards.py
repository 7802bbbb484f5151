"""The Grafana dashboard: fresh, sound by Grafana's own types, and every query answered by a real Prometheus."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))

from whole_stack import WholeStack, free_port, wait_for  # noqa: E402

FLEET = json.loads((ROOT / "dashboards/grafana/fleet.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in FLEET["panels"] if panel["type"] != "row"]
WHEN_ALL_IS_WELL_EMPTY = {
    "Cards that are not well / 异常的卡",
    "Uncorrected memory errors, 24 h / 不可纠正内存错误",
    "Ports not active / 未激活端口",
    "Sources that cannot be read / 读不到的数据源",
    "Held and quiet for an hour / 占用且一小时无动作",
}


def test_the_file_is_what_the_generator_makes() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    done = subprocess.run(
        [sys.executable, str(ROOT / "dashboards/generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
def test_grafanas_own_types_read_and_write_it_unchanged() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(FLEET)))
    assert again == FLEET


def test_panels_have_an_id_a_unit_a_description_and_two_languages() -> None:
    ids = [panel["id"] for panel in FLEET["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert " / " in panel["title"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["type"] in ("stat", "timeseries", "table", "bargauge")


def test_no_two_panels_overlap() -> None:
    for one, two in itertools.combinations([panel["gridPos"] for panel in FLEET["panels"]], 2):
        apart = (
            one["x"] + one["w"] <= two["x"]
            or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"]
            or two["y"] + two["h"] <= one["y"]
        )
        assert apart, (one, two)
        assert one["x"] + one["w"] <= 24


def test_every_series_is_one_that_the_agent_or_the_collector_makes() -> None:
    from ullage_contract import catalogue
    from ullage_contract.sample import Family

    made = {"ullage_source_success", "ullage_card_info", "ullage_card_allocation_info"}
    made |= {"ullage_fleet_cards", "ullage_fleet_card_share", "ullage_department_cards"}
    made |= {"ullage_department_cost_per_hour", "ullage_incidents_open", "ullage_nodes"}
    for family in Family:
        for metric in catalogue.keys(family).values():
            suffix = "_total" if metric.kind is catalogue.Kind.COUNTER else ""
            made.add(metric.prometheus(family) + suffix)
    used = {name for expr in expressions() for name in re.findall(r"ullage_[a-z0-9_]+", expr)}
    assert used <= made, used - made


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


class Prometheus:
    """Debian's Prometheus on an ephemeral port, scraping every second."""

    def __init__(self, folder: Path, targets: list[int]) -> None:
        self.port = free_port()
        config = folder / "prometheus.yml"
        listed = ", ".join(f'"127.0.0.1:{port}"' for port in targets)
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: ullage, static_configs: [{{targets: [{listed}]}}]}}]\n"
        )
        with (folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"),
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            if e.code == HTTPStatus.SERVICE_UNAVAILABLE:  # it listens before it has opened its store
                return None
            raise AssertionError(f"{parameters}: {e.read().decode()[:400]}") from e
        except OSError:
            return None

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real agent and collector with allocations, prices and a department, scraped by a real Prometheus."""
    if shutil.which("prometheus") is None:
        pytest.skip("Debian's prometheus is not installed")
    folder = tmp_path_factory.mktemp("dashboards")
    stack = WholeStack(folder)
    prometheus = None
    try:
        stack.start()
        cards = wait_for(
            "four cards", lambda: stack.api("cards")["cards"] if stack.api("cards")["total"] == 4 else None
        )
        write_history(stack, folder, [card["card_id"] for card in cards])
        prometheus = Prometheus(folder, [stack.metrics_port, stack.collector.port])
        wait_for("Prometheus", lambda: prometheus.ask("query", query="ullage_department_cards"))
        wait_for(
            "two scrapes", lambda: _value(prometheus, "count_over_time(ullage_card_power_watts[1m])") >= 4
        )
        yield prometheus
    finally:
        if prometheus is not None:
            prometheus.close()
        stack.close()


def write_history(stack: WholeStack, folder: Path, cards: list[str]) -> None:
    """Who holds the cards and what they cost, through the import door."""
    start = "2026-01-01T00:00:00Z"
    (folder / "allocations.csv").write_text(
        "cluster_id,node_id,card_id,workload_id,kind,user,namespace,scenario,from\n"
        + "".join(
            f"lab,sim-1,{card},slurm/lab/{i},slurm_job,ada,nlp,training,{start}\n"
            for i, card in enumerate(cards)
        )
    )
    (folder / "prices.csv").write_text(f"model,currency,hourly,assumed,from\n*,CNY,20.00,true,{start}\n")
    (folder / "mapping.csv").write_text(f"match,priority,department,from\nslurm:nlp,1,rd/nlp,{start}\n")
    for kind in ("allocations", "prices", "mapping"):
        stack.command("import", kind, str(folder / f"{kind}.csv"))


def _value(prometheus: Prometheus, query: str) -> float:
    found = prometheus.ask("query", query=query)
    return float(found["result"][0]["value"][1]) if found and found["result"] else 0.0


def expanded(expr: str) -> str:
    for variable in ("cluster", "vendor", "node"):
        expr = expr.replace(f"${variable}", ".*")
    return expr.replace("$__rate_interval", "1m").replace("$__range", "1h")


@pytest.mark.prometheus
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_query_is_answered(panel: dict[str, Any], scraped: Prometheus) -> None:
    for target in panel["targets"]:
        query = expanded(target["expr"])
        assert "$" not in query
        now = time.time()
        instant = scraped.ask("query", query=query)
        ranged = scraped.ask("query_range", query=query, start=str(now - 30), end=str(now), step="5")
        if panel["title"] not in WHEN_ALL_IS_WELL_EMPTY:
            assert instant["result"], query
            assert ranged["result"], query


@pytest.mark.prometheus
def test_what_must_be_empty_when_all_is_well_is_not_empty_otherwise(scraped: Prometheus) -> None:
    """The comparisons of the tables that are empty now select something when turned round."""
    for query in (
        'ullage_card_health{state="ok"} == 1',
        "ullage_source_success == 1",
        'ullage_port_state{state="active"}',
    ):
        assert scraped.ask("query", query=query)["result"], query


@pytest.mark.prometheus
def test_every_variable_has_values(scraped: Prometheus) -> None:
    for variable in FLEET["templating"]["list"]:
        if variable["type"] != "query":
            continue
        text = variable["query"] if isinstance(variable["query"], str) else variable["query"]["query"]
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
        assert match, text
        found = scraped.ask(f"label/{match[2]}/values", **{"match[]": expanded(match[1])})
        assert found, text


def test_the_provisioning_files_name_the_folder_the_page_names() -> None:
    yaml = (ROOT / "dashboards/grafana/provisioning/dashboards/ullage.yaml").read_text()
    assert "/var/lib/grafana/dashboards/ullage" in yaml
    assert "/var/lib/grafana/dashboards/ullage" in (ROOT / "dashboards/README.md").read_text()
