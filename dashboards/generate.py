"""Makes dashboards/grafana/*.json from panels written down here. `make docs` runs it; a test holds it fresh.

Users import the JSON and need nothing of this. Names of series come from the metric catalogue and
docs/interfaces.md; every query is run against a real Prometheus in tests/dashboards.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from ullage_reports.palette import STATE_COLOURS

HERE = Path(__file__).parent / "grafana"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

PICK = 'cluster=~"$cluster"'
CARD = 'cluster=~"$cluster",vendor=~"$vendor",node=~"$node"'
CARD_LEGEND = "{{cluster}} {{node}} {{card}}"


@dataclass(frozen=True)
class Query:
    """One target: an expression and how its series are named; instant for tables and single figures."""

    expr: str
    legend: str = ""
    instant: bool = False

    def build(self) -> prometheus.Dataquery:
        query = prometheus.Dataquery().expr(self.expr).legend_format(self.legend).datasource(SOURCE)
        if self.instant:
            return query.instant().format("table" if not self.legend else "time_series")
        return query.range()


def _states_overrides(panel: timeseries.Panel) -> timeseries.Panel:
    for state, color in STATE_COLOURS.items():
        panel = panel.override_by_name(
            state, [models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})]
        )
    return panel


def _number(
    title: str, description: str, expr: str, unit: str, *, bad_above: float | None = None
) -> stat.Panel:
    steps = [models.Threshold(value=None, color="#56a0e0")]
    if bad_above is not None:
        steps.append(models.Threshold(value=bad_above, color="#d7301f"))
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("no data")
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(Query(expr, title).build())
    )


def _lines(
    title: str,
    description: str,
    queries: list[Query],
    unit: str,
    *,
    stacked: bool = False,
    maximum: float | None = None,
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .no_value("no data")
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if maximum is not None:
        panel = panel.max(maximum)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL)).fill_opacity(
            70
        )
        panel = panel.line_width(0)
    for query in queries:
        panel = panel.with_target(query.build())
    return panel


def _bars(title: str, description: str, query: Query, unit: str) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .no_value("no data")
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(
            dashboard.ThresholdsConfig()
            .mode(models.ThresholdsMode.ABSOLUTE)
            .steps([models.Threshold(value=None, color="#56a0e0")])
        )
        .with_target(query.build())
    )


def _table(title: str, description: str, query: Query, unit: str) -> table.Panel:
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .no_value("no data")
        .with_target(query.build())
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True, "__name__": True, "instance": True, "job": True}},
            )
        )
    )


def fleet() -> dashboard.Dashboard:
    """One page for the whole fleet: how many, who holds them, is it working, what is broken, what it costs."""
    board = (
        dashboard.Dashboard("Ullage · Fleet / 机群")
        .uid("ullage-fleet")
        .description("Every card of every maker: working, idle, fragmented or broken, and what it costs.")
        .tags(["ullage", "gpu", "npu"])
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("1m")
        .time("now-24h", "now")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, query in (
        ("cluster", "label_values(ullage_fleet_cards, cluster)"),
        ("vendor", 'label_values(ullage_fleet_cards{cluster=~"$cluster"}, vendor)'),
        ("node", 'label_values(ullage_card_info{cluster=~"$cluster",vendor=~"$vendor"}, node)'),
    ):
        board = board.with_variable(
            dashboard.QueryVariable(name)
            .label(name)
            .datasource(SOURCE)
            .query(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    fleet_cards = 'ullage_fleet_cards{cluster=~"$cluster",vendor=~"$vendor"}'
    rows: list[tuple[str, list[tuple[Any, int, int]]]] = [
        (
            "Now / 现在",
            [
                (_number("Cards / 卡数", "Owned cards in service.", f"sum({fleet_cards})", "short"), 4, 4),
                (
                    _number(
                        "Used / 使用中",
                        "Share of owned capacity that is held and busy.",
                        'ullage_fleet_card_share{state="used"} / ignoring(state) sum without(state) (ullage_fleet_card_share)',
                        "percentunit",
                    ),
                    4,
                    4,
                ),
                (
                    _number(
                        "Held but idle / 占而未用",
                        "Cards' worth of capacity that somebody holds and does not use.",
                        'ullage_fleet_card_share{state="allocated_idle"}',
                        "short",
                    ),
                    4,
                    4,
                ),
                (
                    _number(
                        "Free / 空闲",
                        "Cards' worth of capacity that nobody holds, whole cards and free parts.",
                        'sum(ullage_fleet_card_share{state=~"unallocated_idle|fragmented"})',
                        "short",
                    ),
                    4,
                    4,
                ),
                (
                    _number(
                        "Out of order / 故障",
                        "Faulty or isolated cards.",
                        'sum(ullage_fleet_card_share{state=~"faulty|isolated"})',
                        "short",
                        bad_above=0.5,
                    ),
                    4,
                    4,
                ),
                (
                    _number(
                        "Open incidents / 未结事件",
                        "Incidents that are open now.",
                        "sum(ullage_incidents_open)",
                        "short",
                        bad_above=0.5,
                    ),
                    4,
                    4,
                ),
            ],
        ),
        (
            "Capacity / 容量",
            [
                (
                    _states_overrides(
                        _lines(
                            "States over time / 状态变化",
                            "Cards' worth of capacity by state; the seven add up to what is owned.",
                            [Query("sum by (state) (ullage_fleet_card_share)", "{{state}}")],
                            "short",
                            stacked=True,
                        )
                    ),
                    16,
                    9,
                ),
                (
                    _bars(
                        "Cards by model / 各型号卡数",
                        "Owned cards of each maker and model.",
                        Query(
                            f"sort_desc(sum by (vendor, model) ({fleet_cards}))",
                            "{{vendor}} {{model}}",
                            instant=True,
                        ),
                        "short",
                    ),
                    8,
                    9,
                ),
                (
                    _lines(
                        "Departments: cards held / 各部门占用",
                        "Cards' worth of capacity each department holds.",
                        [Query("sum by (department) (ullage_department_cards)", "{{department}}")],
                        "short",
                        stacked=True,
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Departments: cost per hour / 各部门每小时费用",
                        "What the cards each department holds cost an hour, in the currency of its price.",
                        [
                            Query(
                                "sum by (department, currency) (ullage_department_cost_per_hour)",
                                "{{department}} {{currency}}",
                            )
                        ],
                        "short",
                        stacked=True,
                    ),
                    12,
                    8,
                ),
                (
                    _table(
                        "Held and quiet for an hour / 占用且一小时无动作",
                        "Cards that a workload holds and whose utilisation stayed under 1 % for an hour. "
                        "A hint; the ledger judges by more signals.",
                        Query(
                            "(max by (cluster, node, card, workload, user, department, scenario) "
                            f'(ullage_card_allocation_info{{{PICK},node=~"$node"}})) * on (cluster, node, card) '
                            "group_left () (1 - max by (cluster, node, card) "
                            f"(max_over_time(ullage_card_utilization_ratio{{{CARD}}}[1h])) > 0.99)",
                            instant=True,
                        ),
                        "percentunit",
                    ),
                    24,
                    9,
                ),
            ],
        ),
        (
            "Use / 使用",
            [
                (
                    _lines(
                        "Utilisation by model / 各型号利用率",
                        "Mean of what each maker calls utilisation; see docs/makers.md for what that is.",
                        [
                            Query(
                                f"avg by (vendor, model) (ullage_card_utilization_ratio{{{CARD}}})",
                                "{{vendor}} {{model}}",
                            )
                        ],
                        "percentunit",
                        maximum=1,
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Memory in use by model / 各型号显存占用",
                        "Device memory in use over what there is.",
                        [
                            Query(
                                f"sum by (vendor, model) (ullage_card_memory_used_bytes{{{CARD}}}) / "
                                f"sum by (vendor, model) (ullage_card_memory_total_bytes{{{CARD}}})",
                                "{{vendor}} {{model}}",
                            )
                        ],
                        "percentunit",
                        maximum=1,
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Power by cluster / 各集群功率",
                        "Power drawn by cards; a board that several cards share is counted by its first card.",
                        [Query(f"sum by (cluster) (ullage_card_power_watts{{{CARD}}})", "{{cluster}}")],
                        "watt",
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "RDMA traffic by node, busiest ten / RDMA 流量前十",
                        "Bytes sent by all RDMA ports of a node.",
                        [
                            Query(
                                "topk(10, sum by (cluster, node) "
                                f'(rate(ullage_port_xmit_data_bytes_total{{{PICK},node=~"$node"}}[$__rate_interval])))',
                                "{{cluster}} {{node}}",
                            )
                        ],
                        "Bps",
                    ),
                    12,
                    8,
                ),
            ],
        ),
        (
            "Health / 健康",
            [
                (
                    _table(
                        "Cards that are not well / 异常的卡",
                        "Cards whose maker does not call them well.",
                        Query(f'ullage_card_health{{{CARD},state!="ok"}} == 1', instant=True),
                        "short",
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Uncorrected memory errors, 24 h / 不可纠正内存错误",
                        "Growth of uncorrectable memory errors in the last day, cards that have any.",
                        [
                            Query(
                                f"increase(ullage_card_ecc_uncorrected_total{{{CARD}}}[1d]) > 0", CARD_LEGEND
                            )
                        ],
                        "short",
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Hottest ten cards / 温度前十",
                        "Core temperature.",
                        [Query(f"topk(10, ullage_card_temperature_celsius{{{CARD}}})", CARD_LEGEND)],
                        "celsius",
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Ports not active / 未激活端口",
                        "RDMA ports whose logical state is not active.",
                        [
                            Query(
                                f'sum by (cluster, node, device, port) (ullage_port_state{{{PICK},node=~"$node",'
                                'state!~"active|active_defer"}) > 0',
                                "{{cluster}} {{node}} {{device}}/{{port}}",
                            )
                        ],
                        "short",
                    ),
                    12,
                    8,
                ),
                (
                    _lines(
                        "Nodes by status / 节点状态",
                        "up, silent, clock_wrong, never_seen.",
                        [Query("sum by (status) (ullage_nodes)", "{{status}}")],
                        "short",
                        stacked=True,
                    ),
                    12,
                    8,
                ),
                (
                    _table(
                        "Sources that cannot be read / 读不到的数据源",
                        "A maker's library, the kernel log or another source that fails on a node.",
                        Query(f'ullage_source_success{{{PICK},node=~"$node"}} == 0', instant=True),
                        "short",
                    ),
                    12,
                    8,
                ),
            ],
        ),
    ]
    y = 0
    number = 1
    for title, panels in rows:
        board = board.with_row(dashboard.Row(title).grid_pos(models.GridPos(h=1, w=24, x=0, y=y)).id(number))
        number += 1
        y += 1
        x = tallest = 0
        for panel, width, height in panels:
            if x + width > 24:
                y += tallest
                x = tallest = 0
            placed = panel.grid_pos(models.GridPos(h=height, w=width, x=x, y=y)).id(number)
            board = board.with_panel(placed)
            number += 1
            x += width
            tallest = max(tallest, height)
        y += tallest
    return board


def rendered() -> dict[str, str]:
    """File name -> JSON text of every dashboard."""
    boards = {"fleet.json": fleet()}
    return {
        name: json.dumps(
            json.loads(JSONEncoder(sort_keys=True).encode(board.build())), indent=2, ensure_ascii=False
        )
        + "\n"
        for name, board in boards.items()
    }


def main() -> int:
    """Write the files; with --check only say whether they are fresh."""
    stale = []
    for name, text in rendered().items():
        file = HERE / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                file.write_text(text, encoding="utf-8")
                print(f"wrote {name}")
    if stale and "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
