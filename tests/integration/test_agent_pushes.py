"""The agent's outputs against the collector's real listener and journals: both ends of the contract."""

from __future__ import annotations

import random
from pathlib import Path

from tests.agent.batch_rows import SENDER, card_sample, samples_body, xid
from tests.agent.picture import NODE, everything, fill
from tests.collector.front_world import Front

from ullage_agent.outputs.latest import Latest
from ullage_agent.outputs.otlp import OtlpExporter
from ullage_agent.outputs.push import Pusher
from ullage_agent.outputs.push_sink import PushSink
from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool import Spool
from ullage_agent.outputs.transport import Endpoint, HttpTransport
from ullage_collector.receive.identity import Role
from ullage_contract.wire import decode


class Agent:
    """Both lanes of an agent whose clock is the collector's."""

    def __init__(self, place: Path, front: Front, token: str | None = None) -> None:
        quarantine = Quarantine(place / "quarantine")
        token_file = None
        if token is not None:
            place.mkdir(parents=True)
            token_file = place / "token"
            token_file.write_text(token)
        self.front = front
        self.spools = {
            lane: Spool(place / lane, lane=lane, quarantine=quarantine) for lane in ("samples", "events")
        }
        self.pushers = {
            lane: Pusher(
                spool,
                HttpTransport(Endpoint(url=f"http://127.0.0.1:{front.port}/v1/push", token_file=token_file)),
                clock=front.clock,
                chance=random.Random(1),
            )
            for lane, spool in self.spools.items()
        }
        self.sink = PushSink(
            sender=SENDER,
            samples=self.spools["samples"],
            events=self.spools["events"],
            samples_pusher=self.pushers["samples"],
            events_pusher=self.pushers["events"],
            clock=front.clock,
        )

    def send(self) -> None:
        self.sink.step(everything=True)
        for pusher in self.pushers.values():
            while pusher.step() == 0.0:
                pass


def test_what_the_agent_spools_is_what_the_collector_journals(tmp_path: Path) -> None:
    with Front(tmp_path / "collector") as front:
        agent = Agent(tmp_path / "agent", front)
        bodies = []
        for n in range(5):
            agent.sink.samples([card_sample(n, time=front.clock.wall())])
            agent.sink.events([xid(n)])
            agent.sink.step(everything=True)
        for spool in agent.spools.values():
            bodies += [f.read_bytes() for f in sorted((tmp_path / "agent" / spool.lane).glob("*/*.batch"))]
        agent.send()
        assert all(spool.batches == 0 for spool in agent.spools.values())
        front.settle()
        journalled = [r.body for lane in ("samples", "events") for r in front.journalled(lane)]
        assert journalled == bodies and len(bodies) == 10


def test_a_lost_answer_is_sent_again_and_journalled_once(tmp_path: Path) -> None:
    with Front(tmp_path / "collector") as front:
        agent = Agent(tmp_path / "agent", front)
        entry = agent.spools["samples"].append(samples_body(1))
        (file,) = (tmp_path / "agent/samples").glob("*/*.batch")
        assert front.push(file.read_bytes()).status == 200  # whose answer never arrived
        agent.send()
        assert agent.spools["samples"].batches == 0 and agent.pushers["samples"].failures == 0
        assert [decode(r.body).sequence for r in front.journalled()] == [entry.sequence]


def test_a_copied_agent_is_told_and_goes_on_under_another_stream(tmp_path: Path) -> None:
    with Front(tmp_path / "collector") as front:
        agent = Agent(tmp_path / "agent", front)
        spool = agent.spools["samples"]
        stream = spool.stream
        assert front.push(samples_body(99)(stream, 1)).status == 200
        agent.sink.samples([card_sample(1)])
        agent.send()
        assert spool.stream != stream and agent.pushers["samples"].refused == 1
        agent.sink.samples([card_sample(2)])
        agent.send()
        assert [decode(r.body).stream for r in front.journalled()] == [stream, spool.stream]


def test_another_nodes_token_keeps_everything_and_the_right_one_sends_it(tmp_path: Path) -> None:
    (tmp_path / "collector").mkdir()
    front = Front(tmp_path / "collector", tokens=True)
    right = front.add_token(SENDER.node, Role.NODE)
    with front:
        agent = Agent(tmp_path / "agent", front, token=front.token["gpu-a01"])  # we are gpu-a017
        agent.sink.samples([card_sample(1)])
        agent.send()
        assert agent.pushers["samples"].trouble == "forbidden" and agent.spools["samples"].batches == 1
        (tmp_path / "agent/token").write_text(right + "\n")
        front.clock.advance(60)
        agent.send()
        assert agent.spools["samples"].batches == 0 and len(front.journalled()) == 1


def test_a_collector_under_pressure_is_given_the_time_it_asks_for(tmp_path: Path) -> None:
    with Front(tmp_path / "collector") as front:
        front.pressure.pending = 10**9
        agent = Agent(tmp_path / "agent", front)
        agent.sink.samples([card_sample(1)])
        agent.send()
        assert agent.pushers["samples"].trouble == "busy" and agent.spools["samples"].batches == 1
        front.pressure.pending = 0
        front.clock.advance(120)
        agent.send()
        assert agent.spools["samples"].batches == 0


def export(latest: Latest, front: Front) -> OtlpExporter:
    endpoint = Endpoint(url=f"http://127.0.0.1:{front.port}/v1/metrics")
    made = OtlpExporter(latest, HttpTransport(endpoint), clock=front.clock, cluster="c1", node=NODE)
    made.export()
    return made


def test_what_the_agent_says_over_otlp_the_collector_understands_to_the_last_point(tmp_path: Path) -> None:
    with Front(tmp_path / "collector") as front:
        made = export(everything(front.clock), front)
        assert (made.exported, made.failures, made.rejected) == (1, 0, 0)
        front.settle()
        assert front.journalled()


def test_a_picture_with_gaps_comes_back_with_the_same_gaps(tmp_path: Path) -> None:
    with Front(tmp_path / "collector") as front:
        made = export(fill(front.clock), front)
        assert (made.exported, made.failures) == (1, 0)
        front.settle()
        found = {}
        for record in front.journalled():
            for family, columns in decode(record.body).families.items():
                for i, subject in enumerate(columns.subject):
                    values = {k: v[i] for k, v in columns.columns.items() if v[i] is not None}
                    found[family, subject] = values
        (gpu,) = [v for (_, subject), v in found.items() if subject.startswith("GPU-") and "/" not in subject]
        assert gpu["power_watts"] == 612.5 and gpu["health"] == "ok" and gpu["throttle_reasons"] == 0b101
        assert "temperature_celsius" not in gpu and "fan_ratio" not in gpu
        (lost,) = [v for (_, subject), v in found.items() if subject == "huawei-1-c0"]
        assert lost == {"health": "lost"}
